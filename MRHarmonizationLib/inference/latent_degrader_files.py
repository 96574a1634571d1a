"""Degrading of files with a latent diffusion model: the result whole with its sidecar, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.file_targets import (
    READING_PART,
    WORKING_PART,
    WRITING_ALLOWANCE,
    AnyPath,
    refuse_same_file,
)
from MRHarmonizationLib.inference.latent_degrader import (
    LatentDegradeRequest,
    LatentDegradeResult,
    degrade_scan,
    degrader_card,
)
from MRHarmonizationLib.inference.provenance import sidecar_path
from MRHarmonizationLib.volumes.files import (
    check_output_path,
    check_volume_output,
    read_volume,
    write_json_atomic,
    write_volume,
)
from MRHarmonizationLib.volumes.staging import Staging


@dataclass(frozen=True)
class LatentDegradedFiles:
    """Where :func:`degrade_scan_file` put its result.

    Attributes
    ----------
    output, sidecar : Path
    result : LatentDegradeResult
    """

    output: Path
    sidecar: Path
    result: LatentDegradeResult


def degrade_scan_file(
    source: AnyPath,
    output: AnyPath,
    request: LatentDegradeRequest,
    series_uid: str | None = None,
    progress: Progress | None = None,
) -> LatentDegradedFiles:
    """Degrade a scan in a file or a DICOM folder.

    Parameters
    ----------
    source : path-like
        Anything :func:`~MRHarmonizationLib.volumes.files.read_volume` reads.
    output : path-like
        Ends with .nii.gz, .nii, .nrrd or .mha; its provenance is written beside it as ``.mrh.json``.
    request : LatentDegradeRequest
    series_uid : str, optional
        Which DICOM series of the folder.
    progress : Progress, optional

    Raises
    ------
    InputError, OutputError, ParameterError, ModelNotFoundError
        Checked before the work begins as far as it can be known then.
    Other errors of the library
        As :func:`~MRHarmonizationLib.inference.latent_degrader.degrade_scan`.
    """
    progress = progress or Progress()
    degrader_card(request)
    target = check_volume_output(output)
    sidecar = check_output_path(sidecar_path(target))
    refuse_same_file({"input": Path(source), "output": target, "sidecar": sidecar})
    progress.report(0.0, "Reading the scan")
    scan = read_volume(source, series_uid)
    check_output_path(target, int(scan.array.size * 4 * WRITING_ALLOWANCE))
    result = degrade_scan(scan, request, progress.part(READING_PART, WORKING_PART))
    progress.report(WORKING_PART, "Writing the result")
    with Staging() as staging:
        write_json_atomic(result.provenance.to_dict(), staging.place(sidecar))
        write_volume(result.volume, staging.place(target))
        progress.check()
    progress.report(1.0, "Done")
    return LatentDegradedFiles(target, sidecar, result)
