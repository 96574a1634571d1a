"""Comparing files: read, compare, write the report, with the records that lie beside the images."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import OutputError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.report import ReportPaths, make_folder, write_report
from MRHarmonizationLib.inference.compare import MAP_WINDOW_VOXELS, ComparisonResult, chosen_metrics, compare
from MRHarmonizationLib.inference.compare_regions import check_regions
from MRHarmonizationLib.inference.compare_spectrum import ROLES
from MRHarmonizationLib.inference.compare_texture import check_maps
from MRHarmonizationLib.inference.provenance import sidecar_path
from MRHarmonizationLib.inference.undo import voxel_digest
from MRHarmonizationLib.volumes.files import check_output_path, read_volume
from MRHarmonizationLib.volumes.volume import Volume

AnyPath = str | os.PathLike[str]

#: Parts of the progress at which reading and comparing end; the rest is writing.
READ, COMPARED = 0.05, 0.85


@dataclass(frozen=True)
class ComparedFiles:
    """What :func:`compare_files` measured and wrote.

    Attributes
    ----------
    result : ComparisonResult
    paths : ReportPaths
    """

    result: ComparisonResult
    paths: ReportPaths


def compare_files(
    before: AnyPath,
    after: AnyPath,
    out: AnyPath,
    reference: AnyPath | None = None,
    mask: AnyPath | None = None,
    *,
    label: int | None = None,
    maps: Sequence[str] = (),
    window: int = MAP_WINDOW_VOXELS,
    extra_metrics: Sequence[str] = (),
    regions: bool = False,
    segmentations: Sequence[AnyPath] = (),
    progress: Progress | None = None,
) -> ComparedFiles:
    """Compare two image files and write the report with its tables, curves and maps into a folder.

    Parameters
    ----------
    before, after, reference, mask : path-like
        Anything :func:`~MRHarmonizationLib.volumes.files.read_volume` reads. What ``.mrh.json`` files beside them say
        of their making goes into the report.
    out : path-like
        Folder; made if needed, files of an earlier report are replaced or removed.
    label, maps, window, extra_metrics, regions, progress
        As for :func:`~MRHarmonizationLib.inference.compare.compare`.
    segmentations : sequence of path-like
        Label maps of before, after and the reference, in this order; see there.

    Returns
    -------
    ComparedFiles

    Raises
    ------
    OutputError
        The folder cannot be written, or one of the images lies where a report has a file of its own; known before the
        work begins.
    Other errors of the library
        As :func:`~MRHarmonizationLib.inference.compare.compare` and ``read_volume``.

    Examples
    --------
    ::

        done = compare_files("before.nii.gz", "after.nii.gz", "report", mask="brain.nii.gz", maps=["contrast"])
        done.paths.html, done.result.value("after_vs_before", "ssim")
    """
    progress = progress or Progress()
    given = {"before": before, "after": after, "reference": reference, "mask": mask}
    check_maps(maps, window)
    chosen_metrics(extra_metrics)
    check_regions(regions, len(segmentations), 2 if reference is None else 3)
    given |= {f"segmentation of {role}": path for role, path in zip(ROLES, segmentations, strict=False)}
    sources = {name: Path(path) for name, path in given.items() if path is not None}
    folder = make_folder(Path(out))
    check_output_path(ReportPaths.inside(folder).html)
    _refuse_to_overwrite(sources, ReportPaths.every(folder))
    progress.report(0.0, "reading the images")
    volumes = {name: read_volume(path) for name, path in sources.items()}
    records, remarks = _records(sources, volumes)
    progress.report(READ, "comparing")
    result = compare(
        volumes["before"],
        volumes["after"],
        volumes.get("reference"),
        volumes.get("mask"),
        progress.part(READ, COMPARED),
        label=label,
        maps=maps,
        window=window,
        extra_metrics=extra_metrics,
        regions=regions,
        segmentations=[volumes[f"segmentation of {role}"] for role, _ in zip(ROLES, segmentations, strict=False)],
    )
    result = replace(result, notes=(*remarks, *result.notes))
    progress.report(COMPARED, "writing the report")
    files = {f"file.{name}": path.name for name, path in sources.items()}
    title = f"{sources['before'].name} and {sources['after'].name}"
    paths = write_report(result, folder, title, files | records)
    progress.report(1.0, "done")
    return ComparedFiles(result, paths)


def _records(sources: Mapping[str, Path], volumes: Mapping[str, Volume]) -> tuple[dict[str, Any], list[str]]:
    """Return what the sidecars beside the images say, and remarks on those that do not fit their image."""
    records: dict[str, Any] = {}
    remarks: list[str] = []
    for name, path in sources.items():
        sidecar = sidecar_path(path.expanduser())
        if not sidecar.is_file():
            continue
        try:
            record = json.loads(sidecar.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            remarks.append(f"the record {sidecar.name} beside {name} could not be read ({problem})")
            continue
        if not isinstance(record, dict):
            remarks.append(f"the record {sidecar.name} beside {name} holds no provenance")
            continue
        records[name] = {key: value for key, value in record.items() if key != "measurements"}
        promised = record.get("output_digest")
        if promised and promised != voxel_digest(volumes[name].array):
            remarks.append(f"{name} is not the image its record {sidecar.name} describes: it was changed since")
    return records, remarks


def _refuse_to_overwrite(sources: Mapping[str, Path], paths: ReportPaths) -> None:
    written = {path.resolve() for path in paths.all()}
    for name, source in sources.items():
        if source.expanduser().resolve() in written:
            raise OutputError(f"{name} {source} would be overwritten by the report", "choose another folder")
