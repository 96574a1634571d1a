"""Denoising and sharpening of files: the result whole with its sidecar, or not at all."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.file_targets import READING_PART, WORKING_PART, AnyPath, Targets
from MRHarmonizationLib.inference.restore import RestoreRequest, RestoreResult, restore
from MRHarmonizationLib.volumes.files import read_volume


@dataclass(frozen=True)
class RestoredFiles:
    """Where :func:`restore_file` put its result.

    Attributes
    ----------
    output, sidecar : Path
        The restored volume and the record of where it comes from.
    residual : Path or None
        What :func:`~MRHarmonizationLib.inference.file_operations.undo_file` needs, if it was asked for.
    result : RestoreResult
    """

    output: Path
    sidecar: Path
    residual: Path | None
    result: RestoreResult


def restore_file(
    source: AnyPath,
    output: AnyPath,
    request: RestoreRequest | None = None,
    residual: AnyPath | None = None,
    series_uid: str | None = None,
    progress: Progress | None = None,
) -> RestoredFiles:
    """Denoise and sharpen a scan in a file or a DICOM folder.

    Parameters
    ----------
    source : path-like
        Anything :func:`~MRHarmonizationLib.volumes.files.read_volume` reads.
    output : path-like
        Ends with .nii.gz, .nii, .nrrd or .mha. Its provenance is written beside it, ``.mrh.json`` in place of the
        extension.
    request : RestoreRequest, optional
        Defaults throughout if omitted; ``keep_residual`` is set by ``residual``.
    residual : path-like, optional
        Where to write the residual, a ``.nrrd`` file.
    series_uid : str, optional
        Which DICOM series of the folder.
    progress : Progress, optional

    Raises
    ------
    InputError, OutputError, ParameterError
        Checked before the work begins as far as it can be known then.
    Other errors of the library
        As :func:`~MRHarmonizationLib.inference.restore.restore`.
    """
    progress = progress or Progress()
    request = replace(request or RestoreRequest(), keep_residual=residual is not None)
    targets = Targets.checked(output, residual, {"input": source})
    progress.report(0.0, "Reading the scan")
    scan = read_volume(source, series_uid)
    targets.check_space(int(scan.array.size * request.finer**2))
    result = restore(scan, request, progress.part(READING_PART, WORKING_PART))
    progress.report(WORKING_PART, "Writing the result")
    record = result.provenance.to_dict() | {"measurements": [m.to_dict() for m in result.measurements]}
    targets.write(result.volume, result.residual, record, progress)
    progress.report(1.0, "Done")
    return RestoredFiles(targets.output, targets.sidecar, targets.residual, result)
