"""Writing a comparison down: one HTML file that needs nothing else, tables as CSV, everything as JSON, maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib import __version__
from MRHarmonizationLib.core.errors import OutputError
from MRHarmonizationLib.core.texture_maps import MAP_FEATURES
from MRHarmonizationLib.evaluation.figures import display_window
from MRHarmonizationLib.evaluation.html import HtmlPage, format_value
from MRHarmonizationLib.evaluation.report_pictures import Picture, add_comparison_pictures, add_tiles
from MRHarmonizationLib.evaluation.report_plots import add_plots
from MRHarmonizationLib.evaluation.report_tables import (
    change_rows,
    headlines,
    readable,
    region_rows,
    single_rows,
    texture_rows,
)
from MRHarmonizationLib.inference.compare import COMPARISONS, ComparisonResult
from MRHarmonizationLib.inference.compare_regions import REGION_CURVES
from MRHarmonizationLib.inference.compare_spectrum import ROLES
from MRHarmonizationLib.volumes.atomic import check_output_path, write_csv, write_json_atomic
from MRHarmonizationLib.volumes.files import write_text_atomic, write_volume
from MRHarmonizationLib.volumes.staging import Staging

#: Folder of the feature maps inside that of the report.
MAPS_FOLDER = "maps"
#: Percentile inside the mask that is the brightest colour of a map.
MAP_WHITE_PERCENTILE = 99.0
TEXTURE_NOTE = (
    "Which grey levels meet in pairs of neighbouring voxels, {length_mm:.2g} mm apart in the mean of {directions} "
    "directions. Each image is first scaled by its own .5 and 99.5 % percentiles inside the mask and cut into 32 "
    "grey levels, so a different gain does not count as texture. All features and distances are in texture.csv."
)
REGIONS_NOTE = (
    "Volumes of 32 structures, each image measured on its own grid; labels: {source}. A structure becomes larger or "
    "smaller where its border moves: sharper edges, noise, partial volume, or an error of the labels. The numbers are "
    "in regions.csv."
)
RANGE_NOTE = (
    "Everything is measured inside '{mask}' ({voxels} voxels). Where a number refers to a data range it is "
    "{low:.4g} to {high:.4g} image units: .5 to 99.5 % of {yardstick} there, the same for all images."
)


@dataclass(frozen=True)
class ReportPaths:
    """The files of a comparison report.

    Attributes
    ----------
    html, csv, json, curves, texture : Path
        ``report.html``, ``metrics.csv``, ``compare.json``, ``curves.json``, ``texture.csv``.
    maps : dict of str to Path
        Feature maps by their name in :attr:`ComparisonResult.maps`.
    regions : Path or None
        ``regions.csv``, where volumes of brain structures were measured.
    """

    html: Path
    csv: Path
    json: Path
    curves: Path
    texture: Path
    maps: dict[str, Path] = field(default_factory=dict)
    regions: Path | None = None

    @classmethod
    def inside(cls, folder: Path, maps: Sequence[str] = (), regions: bool = False) -> ReportPaths:
        """Return where the files lie in a folder."""
        return cls(
            html=folder / "report.html",
            csv=folder / "metrics.csv",
            json=folder / "compare.json",
            curves=folder / "curves.json",
            texture=folder / "texture.csv",
            maps={name: folder / MAPS_FOLDER / f"{name}.nrrd" for name in maps},
            regions=folder / "regions.csv" if regions else None,
        )

    @classmethod
    def every(cls, folder: Path) -> ReportPaths:
        """Return where the files of any report lie in a folder."""
        return cls.inside(folder, [f"{role}_{feature}" for role in ROLES for feature in MAP_FEATURES], True)

    def all(self) -> list[Path]:
        """Return every file."""
        plain = [self.html, self.csv, self.json, self.curves, self.texture, *self.maps.values()]
        return plain if self.regions is None else [*plain, self.regions]


def write_report(
    result: ComparisonResult,
    folder: str | Path,
    title: str = "Comparison",
    provenance: Mapping[str, Any] | None = None,
) -> ReportPaths:
    """Write a comparison into a folder: all files appear together, or none does.

    Parameters
    ----------
    result : ComparisonResult
    folder : path
        Made if it does not exist; files of an earlier report are replaced, or removed where this one has none.
    title : str
        Heading of the page.
    provenance : mapping, optional
        What produced the images; shown as a table and kept in the JSON.

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
    paths = ReportPaths.inside(target, list(result.maps), result.regions is not None)
    if paths.maps:
        make_folder(target / MAPS_FOLDER)
    for path in paths.all():
        check_output_path(path)
    page = comparison_page(result, title, provenance)
    summary = {**result.to_dict(), "texture": list(result.texture), "provenance": dict(provenance or {})}
    with Staging() as staging:
        for name, path in paths.maps.items():
            write_volume(result.maps[name], staging.place(path))
        write_json_atomic(summary, staging.place(paths.json))
        write_json_atomic([curve.to_dict() for curve in result.curves], staging.place(paths.curves))
        write_csv(result.rows(), staging.place(paths.csv))
        write_csv(result.texture, staging.place(paths.texture))
        if result.regions is not None and paths.regions is not None:
            write_csv(result.regions.rows, staging.place(paths.regions))
        write_text_atomic(page, staging.place(paths.html))
        for path in ReportPaths.every(target).all():
            if path not in paths.all():
                staging.remove(path)
    return paths


def comparison_page(result: ComparisonResult, title: str, provenance: Mapping[str, Any] | None = None) -> str:
    """Return the HTML page of a comparison; see :func:`write_report`."""
    names = " → ".join(volume.name or part for part, volume in list(result.images.items())[:2])
    suffix = f", held against {result.reference.name or 'the reference'}" if result.reference else ""
    page = HtmlPage(title, names + suffix)
    page.heading("In short")
    page.bullets(headlines(result))
    for note in result.notes:
        page.paragraph(f"Note: {note.rstrip('.')}.", note=True)
    page.heading("Pictures")
    window = display_window(result.reference or result.before, result.mask)
    add_comparison_pictures(page, result.images, window, result.mask)
    _add_numbers(page, result)
    page.heading("Curves")
    page.paragraph("Point at a curve to read its values; click on a name in the legend to hide or show its line.")
    curves = tuple(curve for curve in result.curves if curve.id not in REGION_CURVES)
    add_plots(page, curves)
    if not curves:
        page.paragraph("No curve could be measured; the notes say why.")
    _add_texture(page, result)
    if result.regions is not None:
        page.heading("Brain regions")
        page.paragraph(REGIONS_NOTE.format(source=result.regions.source))
        page.table(region_rows(result.regions), caption="volumes of the brain's structures")
        add_plots(page, result.regions.curves)
    page.heading("Where this comes from")
    made = datetime.now(timezone.utc).isoformat(timespec="seconds")
    page.paragraph(f"Written by MRHarmonization {__version__} on {made}.")
    page.table(
        [{"image": part, "name": v.name, "digest of its voxels": v.digest()} for part, v in result.images.items()],
        caption="images on the common grid",
    )
    rows = [{"key": key, "value": value} for key, value in flatten(provenance or {}).items()]
    page.table(rows, caption="records kept beside the images")
    return page.render()


def _add_numbers(page: HtmlPage, result: ComparisonResult) -> None:
    """Add the tables of measurements, each with what its numbers mean."""
    page.heading("Numbers")
    page.paragraph(
        RANGE_NOTE.format(
            mask=result.mask_name,
            voxels=int(np.count_nonzero(result.mask)),
            low=result.scale[0],
            high=result.scale[1],
            yardstick="the reference" if result.reference is not None else "before",
        )
    )
    if result.reference is not None:
        page.heading("Closeness to the reference", 3)
        page.table(
            change_rows(result, "before_vs_reference", "after_vs_reference"), caption="each held against the reference"
        )
    page.heading("Each image alone", 3)
    if result.reference is not None:
        page.paragraph("The verdict tells whether after is nearer to the reference's own value than before is.")
    page.table(change_rows(result, "before", "after"), caption="measured on one image at a time")
    page.heading("What changed", 3)
    page.paragraph("How alike after and before are: far apart is neither good nor bad in itself.")
    page.table(single_rows(result, "after_vs_before"), caption=COMPARISONS["after_vs_before"])


def _add_texture(page: HtmlPage, result: ComparisonResult) -> None:
    """Add the table of texture features and the pictures of their maps."""
    where, rows = texture_rows(result.texture)
    if rows:
        page.heading("Texture")
        page.paragraph(TEXTURE_NOTE.format(**where))
        page.table(rows, caption="grey-level co-occurrence of neighbouring voxels")
    features = list(dict.fromkeys(name.split("_", 1)[1] for name in result.maps))
    if features:
        page.heading("Feature maps")
    for feature in features:
        maps = {name: volume for name, volume in result.maps.items() if name.split("_", 1)[1] == feature}
        inside = np.concatenate([volume.array[result.mask] for volume in maps.values()])
        low, high = float(inside.min()), float(np.percentile(inside, MAP_WHITE_PERCENTILE))
        window = (low, high if high > low else low + 1.0)
        page.heading(readable(feature), 3)
        add_tiles(page, [Picture(name, volume, window, "viridis") for name, volume in maps.items()], result.mask)
        page.paragraph(f"Dark blue {window[0]:.3g} to yellow {window[1]:.3g}, one scale; files in {MAPS_FOLDER}/.")


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested mappings as one level, keys joined by dots, values as text."""
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = format_value(value)
    return flat


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
