"""Writing the harmonisation of a diffusion scan down: one HTML file that needs nothing else, and tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.evaluation.figures import display_window
from MRHarmonizationLib.evaluation.html import HtmlPage
from MRHarmonizationLib.evaluation.report import flatten, make_folder, write_csv
from MRHarmonizationLib.evaluation.report_pictures import Picture, add_tiles
from MRHarmonizationLib.inference.dwi_measures import TissueChange
from MRHarmonizationLib.inference.harmonize_dwi import HarmonizeDwiResult
from MRHarmonizationLib.volumes.atomic import check_output_path, write_json_atomic, write_text_atomic
from MRHarmonizationLib.volumes.staging import Staging
from MRHarmonizationLib.volumes.volume import Volume

HTML_NAME, JSON_NAME, CSV_NAME = "report.html", "measures.json", "measures.csv"
FORMAT = "MRHarmonization diffusion report"
#: Windows of the maps: FA, and MD in mm²/s.
FA_WINDOW, MD_WINDOW = (0.0, 0.8), (0.0, 3.0e-3)
#: Largest differences of FA and MD that are told apart by colour.
FA_CHANGE, MD_CHANGE = 0.1, 0.2e-3
#: Percentiles inside the brain between which the gain is coloured.
GAIN_PERCENTILES = (2.0, 98.0)


@dataclass(frozen=True)
class DwiReportPaths:
    """Where a report lies.

    Attributes
    ----------
    html, json, csv : Path
    """

    html: Path
    json: Path
    csv: Path

    @classmethod
    def inside(cls, folder: Path) -> DwiReportPaths:
        """Return the paths of a report in a folder."""
        return cls(folder / HTML_NAME, folder / JSON_NAME, folder / CSV_NAME)


def check_dwi_report(folder: str | Path) -> DwiReportPaths:
    """Make the folder of a report and make sure, before any work, that it can be written; raises OutputError."""
    paths = DwiReportPaths.inside(make_folder(folder).resolve())
    for path in (paths.html, paths.json, paths.csv):
        check_output_path(path)
    return paths


def write_dwi_report(
    result: HarmonizeDwiResult, folder: str | Path, before_name: str = "scan", after_name: str = "result"
) -> DwiReportPaths:
    """Write the report of a harmonisation.

    Parameters
    ----------
    result : HarmonizeDwiResult
    folder : path-like
        Made if needed; files of an earlier report are replaced.
    before_name, after_name : str
        How the scan and its result are called.

    Raises
    ------
    OutputError
        The folder cannot be written.
    """
    paths = check_dwi_report(folder)
    page = HtmlPage(
        f"{before_name}: diffusion harmonisation",
        f"{datetime.now(timezone.utc).isoformat(timespec='seconds')}: {_summary(result)}",
    )
    for warning in result.warnings:
        page.paragraph(warning[:1].upper() + warning[1:] + ".", note=True)
    _add_measures(page, result)
    _add_pictures(page, result)
    page.heading("How it was made")
    page.paragraph(f"Result: {after_name}. Everything needed to make it again:")
    page.table([{"what": key, "value": text} for key, text in flatten(result.provenance.to_dict()).items()])
    values = {
        "format": FORMAT,
        "before": before_name,
        "after": after_name,
        "table": [row.to_dict() for row in result.table],
        "strength_used": result.strength_used,
        "spatial_strength": result.spatial_strength,
        "noise": result.noise.to_dict(),
        "warnings": list(result.warnings),
        "provenance": result.provenance.to_dict(),
    }
    with Staging() as staging:
        write_text_atomic(page.render(), staging.place(paths.html))
        write_json_atomic(values, staging.place(paths.json))
        write_csv([row.to_dict() for row in result.table], staging.place(paths.csv))
    return paths


def _summary(result: HarmonizeDwiResult) -> str:
    noise = result.noise
    parts = [f"method {result.provenance.model_id}", f"strength {result.strength_used:.3g}"]
    asked = result.provenance.parameters["strength"]
    if result.strength_used != asked:
        parts[-1] += f" of {asked:.3g} asked for"
    steps = {"denoised": noise.denoised, "noise floor taken off": noise.floor_corrected}
    parts.append(", ".join(word for word, was_done in steps.items() if was_done) or "noise left as it is")
    if noise.sigma is not None:
        parts[-1] += f" (standard deviation {noise.sigma:.4g}, from {noise.sigma_method})"
    return "; ".join(parts)


def _add_measures(page: HtmlPage, result: HarmonizeDwiResult) -> None:
    page.heading("Diffusivity and anisotropy")
    page.paragraph(
        "Means per tissue of the scan without noise (before) and of the result (after). A harmonisation changes how "
        "the images look; what they say of diffusion has to stay."
    )
    broken = [number for number, row in enumerate(result.table) if not row.holds]
    page.table([_row(row) for row in result.table])
    if broken:
        page.paragraph("Beyond the limits: " + ", ".join(_label(result.table[n]) for n in broken) + ".", note=True)
    page.paragraph(
        "Tissues are told from the scan before: white matter FA ≥ .3 with an MD of .4 to 1.1, away from the brain's "
        "rim; grey matter FA ≤ .2 with an MD of .6 to 1.2; fluid MD ≥ 2.0 (10⁻³ mm²/s), both median-filtered."
    )


def _label(row: TissueChange) -> str:
    return f"{row.measure} in {row.tissue}"


def _row(row: TissueChange) -> Mapping[str, Any]:
    is_md = row.change_percent is not None
    factor = 1000.0 if is_md else 1.0
    change = f"{row.change_percent:+.2f} %" if is_md else f"{row.change:+.4f}"
    limit = "" if row.limit is None else (f"±{row.limit:g} %" if is_md else f"±{row.limit:g}")
    return {
        "tissue": row.tissue,
        "measure": f"{row.measure}, 10⁻³ mm²/s" if is_md else row.measure,
        "voxels": row.voxels,
        "before": round(row.before * factor, 4),
        "after": round(row.after * factor, 4),
        "change": change,
        "limit": limit,
        "holds": row.holds if row.limit is not None else "",
    }


def _add_pictures(page: HtmlPage, result: HarmonizeDwiResult) -> None:
    mask = result.mask.array != 0
    before, after = result.before, result.after
    page.heading("Contrast")
    page.paragraph("Each image in its own window, since harmonisation changes the unit: black to white is the brain's.")
    for name, pair in (("b0", (before.b0, after.b0)), ("trace", (before.trace, after.trace))):
        images = zip(("before", "after"), pair, strict=True)
        add_tiles(page, [Picture(f"{name} {when}", image, display_window(image, mask)) for when, image in images], mask)
    if result.gain is not None:
        _add_gain(page, result.gain, mask)
    page.heading("Maps")
    if before.fa is not None and after.fa is not None:
        _add_change(page, "FA", (before.fa, after.fa), FA_WINDOW, FA_CHANGE, mask)
    name = "ADC" if before.fa is None else "MD"
    _add_change(page, name, (before.md, after.md), MD_WINDOW, MD_CHANGE, mask)
    page.paragraph(
        f"FA {FA_WINDOW[0]:g} to {FA_WINDOW[1]:g}, {name} {MD_WINDOW[0]:g} to {MD_WINDOW[1]:g} mm²/s; change, after "
        f"minus before: blue −{FA_CHANGE:g} and −{MD_CHANGE:g} mm²/s, red as much more."
    )


def _add_gain(page: HtmlPage, gain: Volume, mask: np.ndarray) -> None:
    low, high = (float(v) for v in np.percentile(gain.array[mask], GAIN_PERCENTILES))
    if high - low < 1e-3 * abs(high):
        page.paragraph(f"The contrast gain of all volumes is {0.5 * (low + high):.4g} everywhere.")
        return
    page.heading("Contrast gain", 3)
    add_tiles(page, [Picture("gain", gain, (low, high), "viridis")], mask)
    page.paragraph(f"The factor of every volume, dark {low:.3g} to yellow {high:.3g}.")


def _add_change(
    page: HtmlPage,
    name: str,
    pair: tuple[Volume, Volume],
    window: tuple[float, float],
    change: float,
    mask: np.ndarray,
) -> None:
    difference = pair[1].with_array(pair[1].array - pair[0].array)
    pictures = [Picture(f"{name} before", pair[0], window), Picture(f"{name} after", pair[1], window)]
    add_tiles(page, [*pictures, Picture(f"{name} change", difference, (-change, change), "RdBu_r")], mask)
