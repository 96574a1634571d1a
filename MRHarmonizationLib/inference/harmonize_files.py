"""Harmonisation of files and of whole folders: each result whole with its sidecar, or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from MRHarmonizationLib.core.errors import InputError, MRHarmonizationError, OperationCancelled, OutputError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.file_targets import READING_PART, WORKING_PART, AnyPath, Targets
from MRHarmonizationLib.inference.harmonize import NEAREST, HarmonizeRequest, HarmonizeResult, harmonize
from MRHarmonizationLib.inference.scan_folder import list_scans
from MRHarmonizationLib.methods.reference_group import load_group
from MRHarmonizationLib.volumes.files import (
    read_volume,
    volume_stem,
)

#: Ending of the results of a folder.
FOLDER_ENDING = ".nii.gz"
#: Ending of their residuals.
RESIDUAL_ENDING = "_residual.nrrd"


@dataclass(frozen=True)
class HarmonizedFiles:
    """Where :func:`harmonize_file` put its result.

    Attributes
    ----------
    output, sidecar : Path
        The harmonised volume and the record of where it comes from.
    residual : Path or None
        What :func:`~MRHarmonizationLib.inference.file_operations.undo_file` needs, if it was asked for.
    result : HarmonizeResult
    """

    output: Path
    sidecar: Path
    residual: Path | None
    result: HarmonizeResult


@dataclass(frozen=True)
class HarmonizedScan:
    """One scan of a folder: where its result lies, and what was said of it.

    Attributes
    ----------
    name : str
    output, sidecar : Path
    residual : Path or None
    reference : str
        Id of the group that was used.
    warnings : tuple of str
    """

    name: str
    output: Path
    sidecar: Path
    residual: Path | None
    reference: str
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class HarmonizedFolder:
    """What became of the scans of a folder.

    Attributes
    ----------
    files : tuple of HarmonizedScan
    failed : tuple of (str, MRHarmonizationError)
        Names of the scans that could not be harmonised, and why.
    """

    files: tuple[HarmonizedScan, ...]
    failed: tuple[tuple[str, MRHarmonizationError], ...]


def harmonize_file(
    source: AnyPath,
    output: AnyPath,
    request: HarmonizeRequest | None = None,
    residual: AnyPath | None = None,
    mask: AnyPath | None = None,
    series_uid: str | None = None,
    progress: Progress | None = None,
) -> HarmonizedFiles:
    """Harmonise a scan in a file or a DICOM folder.

    Parameters
    ----------
    source : path-like
        Anything :func:`~MRHarmonizationLib.volumes.files.read_volume` reads.
    output : path-like
        Ends with .nii.gz, .nii, .nrrd or .mha. Its provenance is written beside it, ``.mrh.json`` in place of the
        extension.
    request : HarmonizeRequest, optional
        Defaults throughout if omitted; ``keep_residual`` is set by ``residual``.
    residual : path-like, optional
        Where to write the residual, a ``.nrrd`` file.
    mask : path-like, optional
        Image on the scan's grid, nonzero where intensities are measured.
    series_uid : str, optional
        Which DICOM series of the folder.
    progress : Progress, optional

    Raises
    ------
    InputError, OutputError, ParameterError
        Checked before the work begins as far as it can be known then.
    Other errors of the library
        As :func:`~MRHarmonizationLib.inference.harmonize.harmonize`.
    """
    progress = progress or Progress()
    request = replace(request or HarmonizeRequest(), keep_residual=residual is not None)
    targets = Targets.checked(output, residual, {"input": source, "mask": mask})
    group = None if request.reference == NEAREST else load_group(request.reference)
    progress.report(0.0, "Reading the scan")
    scan = read_volume(source, series_uid)
    region = None if mask is None else read_volume(mask)
    targets.check_space(scan.array.size)
    result = harmonize(scan, request, region, progress.part(READING_PART, WORKING_PART), group)
    progress.report(WORKING_PART, "Writing the result")
    record = result.provenance.to_dict() | {
        "measurements": [m.to_dict() for m in result.measurements],
        "distance": result.distance.to_dict(),
    }
    targets.write(result.volume, result.residual, record, progress)
    progress.report(1.0, "Done")
    return HarmonizedFiles(targets.output, targets.sidecar, targets.residual, result)


def harmonize_folder(
    source: AnyPath,
    output: AnyPath,
    request: HarmonizeRequest | None = None,
    residuals: AnyPath | None = None,
    masks: AnyPath | None = None,
    progress: Progress | None = None,
) -> HarmonizedFolder:
    """Harmonise every scan of a folder; one that fails does not keep the others from being done.

    Parameters
    ----------
    source : path-like
        Image files, and folders that hold a DICOM series each.
    output : path-like
        Folder for the results, made if needed: the scans' names with .nii.gz, and their sidecars.
    request : HarmonizeRequest, optional
    residuals : path-like, optional
        Folder for the residuals, made if needed: the scans' names with _residual.nrrd.
    masks : path-like, optional
        Folder of masks with the names of the scans.
    progress : Progress, optional

    Raises
    ------
    InputError
        No scan, two of one name, or a mask is missing.
    OutputError
        The folders cannot be made.
    """
    progress = progress or Progress()
    request = request or HarmonizeRequest()
    scans = list_scans(source)
    names = _distinct_names(scans)
    regions = {} if masks is None else _masks_of(scans, names, Path(masks).expanduser())
    target = _made_folder(output)
    residual_target = None if residuals is None else _made_folder(residuals)
    if target == Path(source).expanduser().resolve():
        raise OutputError(f"folder {target} is both input and output", "name another folder for the results")
    done: list[HarmonizedScan] = []
    failed: list[tuple[str, MRHarmonizationError]] = []
    for number, (path, name) in enumerate(zip(scans, names, strict=True)):
        part = progress.part(number / len(scans), (number + 1) / len(scans))
        residual = None if residual_target is None else residual_target / f"{name}{RESIDUAL_ENDING}"
        try:
            files = harmonize_file(
                path, target / f"{name}{FOLDER_ENDING}", request, residual, regions.get(path), None, part
            )
        except OperationCancelled:
            raise
        except MRHarmonizationError as error:
            failed.append((name, error))
            continue
        result = files.result
        done.append(HarmonizedScan(name, files.output, files.sidecar, files.residual, result.group.id, result.warnings))
    progress.report(1.0, "Done")
    return HarmonizedFolder(tuple(done), tuple(failed))


def _distinct_names(scans: Sequence[Path]) -> list[str]:
    names = [path.name if path.is_dir() else volume_stem(path) for path in scans]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"two scans are called '{twice[0]}'", "rename one of them: results are named after the scans")
    return names


def _masks_of(scans: Sequence[Path], names: Sequence[str], folder: Path) -> dict[Path, Path]:
    masks = {volume_stem(path): path for path in list_scans(folder)}
    lacking = [name for name in names if name not in masks]
    if lacking:
        raise InputError(
            f"{len(lacking)} of {len(names)} scans have no mask in {folder}, the first is '{lacking[0]}'",
            "give each mask the name of its scan",
        )
    return {path: masks[name] for path, name in zip(scans, names, strict=True)}


def _made_folder(path: AnyPath) -> Path:
    folder = Path(os.fspath(path)).expanduser().resolve()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"folder {folder} cannot be made: {error.strerror}", "choose another folder") from error
    return folder
