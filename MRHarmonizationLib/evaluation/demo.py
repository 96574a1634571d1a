"""The demonstration: enhance the sample scan and write down how near the result comes to the truth."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.report import make_folder, write_report
from MRHarmonizationLib.inference.compare import ComparisonResult, compare
from MRHarmonizationLib.inference.enhance import EnhanceRequest
from MRHarmonizationLib.inference.file_operations import EnhancedFiles, enhance_file
from MRHarmonizationLib.samples import LOW_FIELD_SCAN, REFERENCE
from MRHarmonizationLib.volumes.atomic import check_output_path, write_bytes_atomic
from MRHarmonizationLib.volumes.files import read_volume

SAMPLE_NOTE = (
    "The sample is a simulated low-field scan of the Colin27 head, which was not used in training. One head shows what "
    "the model does; it does not prove how well: `mrharmonize evaluate` measures that."
)


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration wrote.

    Attributes
    ----------
    scan, reference : Path
        Copies of the sample's low-field scan and of the truth, to look at beside the result.
    files : EnhancedFiles
    report : Path
        HTML page with pictures and measurements.
    comparison : ComparisonResult
    """

    scan: Path
    reference: Path
    files: EnhancedFiles
    report: Path
    comparison: ComparisonResult


def run_demo(
    folder: str | os.PathLike[str], request: EnhanceRequest | None = None, progress: Progress | None = None
) -> DemoResult:
    """Enhance the sample scan and compare the result with the truth.

    Parameters
    ----------
    folder : path-like
        Made if it does not exist; files of an earlier demonstration are replaced.
    request : EnhanceRequest, optional
        Defaults throughout if omitted.
    progress : Progress, optional

    Raises
    ------
    InputError
        If the installation lacks the sample.
    OutputError
        If the folder cannot be written.
    Other errors of the library
        As :func:`~MRHarmonizationLib.inference.enhance.enhance`.
    """
    progress = progress or Progress()
    for sample in (LOW_FIELD_SCAN, REFERENCE):
        if not sample.is_file():
            raise InputError(f"the sample {sample} is missing", "install MRHarmonization again")
    target = make_folder(Path(folder))
    scan, reference = (check_output_path(target / path.name) for path in (LOW_FIELD_SCAN, REFERENCE))
    files = enhance_file(
        LOW_FIELD_SCAN,
        target / "enhanced.nii.gz",
        request,
        target / "enhanced_residual.nrrd",
        progress=progress.part(0.0, 0.7),
    )
    for source, copy in ((LOW_FIELD_SCAN, scan), (REFERENCE, reference)):
        write_bytes_atomic(source.read_bytes(), copy)
    truth = read_volume(REFERENCE)
    comparison = compare(files.result.baseline, files.result.volume, truth, progress=progress.part(0.7, 0.9))
    progress.report(0.9, "Writing the report")
    told = replace(comparison, notes=(*comparison.notes, SAMPLE_NOTE))
    report = write_report(told, target, "Low-field scan, enhanced", files.result.provenance.to_dict())
    progress.report(1.0, "Done")
    return DemoResult(scan, reference, files, report.html.resolve(), comparison)
