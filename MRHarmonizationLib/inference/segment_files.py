"""Segmentation of files: label map, table of volumes and sidecar whole, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import OutputError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.file_targets import (
    READING_PART,
    WORKING_PART,
    WRITING_ALLOWANCE,
    AnyPath,
    refuse_same_file,
)
from MRHarmonizationLib.inference.provenance import sidecar_path
from MRHarmonizationLib.inference.region_volumes import volume_rows
from MRHarmonizationLib.inference.segment import DEFAULT_MODEL, SegmentRequest, SegmentResult, segment, segmenter
from MRHarmonizationLib.volumes.atomic import check_output_path, write_csv, write_json_atomic
from MRHarmonizationLib.volumes.files import check_volume_output, read_volume, write_volume
from MRHarmonizationLib.volumes.staging import Staging

TABLE_SUFFIX = ".csv"


@dataclass(frozen=True)
class SegmentedFiles:
    """Where :func:`segment_file` put its result.

    Attributes
    ----------
    output, table, sidecar : Path or None
        The label map, the table of volumes, and the record of where they come from, where they were asked for.
    result : SegmentResult
    """

    output: Path | None
    table: Path | None
    sidecar: Path | None
    result: SegmentResult


def segment_file(
    source: AnyPath,
    output: AnyPath | None = None,
    volumes: AnyPath | None = None,
    *,
    model: str = DEFAULT_MODEL,
    series_uid: str | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> SegmentedFiles:
    """Find the structures of the brain in a file or a DICOM folder.

    Parameters
    ----------
    source : path-like
        Anything :func:`~MRHarmonizationLib.volumes.files.read_volume` reads.
    output : path-like, optional
        Where to write the label map on the scan's grid; ends with .nii.gz, .nii, .nrrd or .mha.
    volumes : path-like, optional
        Where to write the table of volumes; ends with .csv. The provenance is written beside the label map, without
        one beside the table, ``.mrh.json`` in place of the extension.
    model : str
        Id of a model card.
    series_uid : str, optional
        Which DICOM series of the folder.
    progress : Progress, optional
    **options
        device, backend, threads, refine: see :class:`~MRHarmonizationLib.inference.segment.SegmentRequest`.

    Raises
    ------
    InputError, OutputError, ParameterError
        Checked before the work begins as far as it can be known then.
    Other errors of the library
        As :func:`~MRHarmonizationLib.inference.segment.segment`.
    """
    progress = progress or Progress()
    segmenter(model)
    target = None if output is None else check_volume_output(output)
    table = None if volumes is None else _checked_table(volumes)
    first = target or table
    sidecar = None if first is None else check_output_path(_sidecar_of(first))
    refuse_same_file({"input": Path(source), "output": target, "volumes": table, "sidecar": sidecar})
    progress.report(0.0, "Reading the scan")
    scan = read_volume(source, series_uid)
    if target is not None:
        check_output_path(target, int(scan.array.size * 2 * WRITING_ALLOWANCE))
    request = SegmentRequest(scan, model, **options)
    result = segment(request, progress.part(READING_PART, WORKING_PART))
    progress.report(WORKING_PART, "Writing the result")
    rows = volume_rows(result.volumes_mm3)
    with Staging() as staging:
        if sidecar is not None:
            write_json_atomic(result.provenance.to_dict() | {"volumes": rows}, staging.place(sidecar))
        if table is not None:
            write_csv(rows, staging.place(table))
        if target is not None:
            write_volume(result.labels, staging.place(target))
        progress.check()
    progress.report(1.0, "Done")
    return SegmentedFiles(target, table, sidecar, result)


def _checked_table(volumes: AnyPath) -> Path:
    path = Path(volumes)
    if path.suffix.lower() != TABLE_SUFFIX:
        raise OutputError(f"table of volumes {path} does not end with {TABLE_SUFFIX}", "name a .csv file")
    return check_output_path(path)


def _sidecar_of(path: Path) -> Path:
    return sidecar_path(path.with_suffix("") if path.suffix.lower() == TABLE_SUFFIX else path)
