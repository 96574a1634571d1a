"""Writing a comparison down: one HTML file that needs nothing else, a CSV and a JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import OutputError
from MRHarmonizationLib.evaluation.figures import display_window, histogram_figure, planes_figure
from MRHarmonizationLib.evaluation.html import HtmlPage, format_value
from MRHarmonizationLib.inference.compare import COMPARISONS, ComparisonResult
from MRHarmonizationLib.volumes.atomic import write_bytes_atomic, write_json_atomic, write_text_atomic

DIRECTION = {"higher": "↑", "lower": "↓", "none": ""}


@dataclass(frozen=True)
class ReportPaths:
    """The files of a comparison report."""

    html: Path
    csv: Path
    json: Path


def write_report(
    result: ComparisonResult,
    folder: str | Path,
    title: str = "Comparison",
    provenance: Mapping[str, Any] | None = None,
) -> ReportPaths:
    """Write ``report.html``, ``metrics.csv`` and ``compare.json`` into a folder, each whole or not at all.

    Parameters
    ----------
    result : ComparisonResult
    folder : path
        Made if it does not exist.
    title : str
        Heading of the page.
    provenance : mapping, optional
        What produced ``after``; shown as a table and kept in the JSON.

    Returns
    -------
    ReportPaths

    Raises
    ------
    OutputError
        The folder cannot be made or written.
    DependencyError
        matplotlib is not installed.
    """
    target = make_folder(folder)
    page = comparison_page(result, title, provenance)
    paths = ReportPaths(target / "report.html", target / "metrics.csv", target / "compare.json")
    summary = {**result.to_dict(), "provenance": dict(provenance or {})}
    write_json_atomic(summary, paths.json)
    write_csv(result.rows(), paths.csv)
    write_text_atomic(page, paths.html)
    return paths


def comparison_page(result: ComparisonResult, title: str, provenance: Mapping[str, Any] | None = None) -> str:
    """Return the HTML page of a comparison; see :func:`write_report`."""
    page = HtmlPage(title, f"{result.before.name or 'before'} → {result.after.name or 'after'}")
    for note in result.notes:
        page.paragraph(note, note=True)
    window = display_window(result.reference or result.before, result.mask)
    images = [("before", result.before), ("after", result.after)]
    if result.reference is not None:
        images.append(("reference", result.reference))
    page.heading("Pictures")
    page.picture(
        planes_figure(images, window, result.mask, ("after - before", result.after, result.before)),
        f"Three planes through the middle of the mask, window {window[0]:.4g} to {window[1]:.4g}; patient's right on "
        "the left.",
    )
    page.heading("Measurements")
    for key, measurements in result.measurements.items():
        page.paragraph(f"{COMPARISONS[key].capitalize()}:")
        page.table(
            [
                {
                    "metric": f"{m.name} {DIRECTION[m.better]}".strip(),
                    "value": m.value,
                    "unit": m.unit if m.unit != "1" else "",
                    "data range": m.data_range,
                    "mask": m.mask,
                    "voxels": m.voxels,
                }
                for m in measurements
            ]
        )
    page.heading("Histograms")
    page.picture(
        histogram_figure([(name, volume.array[result.mask]) for name, volume in images], window),
        f"Intensities inside the mask ({result.mask_name}).",
    )
    if provenance:
        page.heading("Provenance")
        page.table([{"key": key, "value": value} for key, value in flatten(provenance).items()])
    return page.render()


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested mappings as one level, keys joined by dots, values as text."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = format_value(value)
    return flat


def write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Write rows with the columns of the first as CSV, whole or not at all; no rows make an empty file."""
    stream = io.StringIO(newline="")
    if rows:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return write_bytes_atomic(stream.getvalue().encode("utf-8"), path)


def make_folder(folder: str | Path) -> Path:
    """Return a folder, made with its parents if needed; raise OutputError where that is not possible."""
    target = Path(folder).expanduser()
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"output folder {target} cannot be made: {error.strerror or error}", "choose a folder you may write to"
        ) from error
    return target
