"""The operations on files: read, run, write the result with its sidecar, whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.enhance import EnhanceRequest, EnhanceResult, enhance
from MRHarmonizationLib.inference.file_targets import (
    READING_PART,
    WORKING_PART,
    AnyPath,
    Targets,
    refuse_same_file,
)
from MRHarmonizationLib.inference.provenance import Provenance, sidecar_path
from MRHarmonizationLib.inference.undo import undo, voxel_digest
from MRHarmonizationLib.volumes.files import (
    check_output_path,
    check_volume_output,
    read_volume,
    write_json_atomic,
    write_volume,
)
from MRHarmonizationLib.volumes.staging import Staging

if TYPE_CHECKING:
    from MRHarmonizationLib.volumes.volume import Volume


@dataclass(frozen=True)
class EnhancedFiles:
    """Where :func:`enhance_file` put its result.

    Attributes
    ----------
    output, sidecar : Path
        The enhanced volume and the record of where it comes from.
    residual : Path or None
        What :func:`undo_file` needs, if it was asked for.
    result : EnhanceResult
    """

    output: Path
    sidecar: Path
    residual: Path | None
    result: EnhanceResult


def enhance_file(
    source: AnyPath,
    output: AnyPath,
    request: EnhanceRequest | None = None,
    residual: AnyPath | None = None,
    series_uid: str | None = None,
    progress: Progress | None = None,
) -> EnhancedFiles:
    """Enhance a scan in a file or a DICOM folder.

    Parameters
    ----------
    source : path-like
        Anything :func:`~MRHarmonizationLib.volumes.files.read_volume` reads.
    output : path-like
        Ends with .nii.gz, .nii, .nrrd or .mha. Its provenance is written beside it, ``.mrh.json`` in place of the
        extension.
    request : EnhanceRequest, optional
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
        As :func:`~MRHarmonizationLib.inference.enhance.enhance`.
    """
    progress = progress or Progress()
    request = replace(request or EnhanceRequest(), keep_residual=residual is not None)
    targets = Targets.checked(output, residual, {"input": source})
    progress.report(0.0, "Reading the scan")
    scan = read_volume(source, series_uid)
    targets.check_space(_output_voxels(scan, request))
    result = enhance(scan, request, progress.part(READING_PART, WORKING_PART))
    progress.report(WORKING_PART, "Writing the result")
    record = result.provenance.to_dict() | {"measurements": [m.to_dict() for m in result.measurements]}
    targets.write(result.volume, result.residual, record, progress)
    progress.report(1.0, "Done")
    return EnhancedFiles(targets.output, targets.sidecar, targets.residual, result)


def _output_voxels(scan: Volume, request: EnhanceRequest) -> int:
    from MRHarmonizationLib.weights.store import get_model

    spacing_mm = request.output_spacing_mm or get_model(request.model).input.spacing_mm
    return math.prod(scan.grid.isotropic(spacing_mm).shape)


def undo_file(enhanced: AnyPath, residual: AnyPath, output: AnyPath) -> Path:
    """Write the resampled input that an enhancement started from, bit for bit.

    Parameters
    ----------
    enhanced, residual : path-like
        The two files :func:`enhance_file` wrote together.
    output : path-like
        Ends with .nii.gz, .nii, .nrrd or .mha.

    Returns
    -------
    Path
        The absolute path written.

    Raises
    ------
    InputError
        If the two do not belong together or one is altered.
    OutputError
        If the output cannot be written.
    """
    target = check_volume_output(output)
    refuse_same_file({"enhanced": Path(enhanced), "residual": Path(residual), "output": target})
    return write_volume(undo(read_volume(enhanced), read_volume(residual)), target)


@dataclass(frozen=True)
class DegradedFiles:
    """Where :func:`degrade_file` put its result.

    Attributes
    ----------
    output, sidecar : Path
        The degraded volume and the record with the parameters; the record replays it.
    parameters_file : Path or None
        Where freshly sampled parameters were saved, if that was asked for.
    volume : Volume
    parameters : mapping
        JSON-ready.
    source : Volume
        The scan before.
    seed : int or None
    companions : dict of str to Volume
        Further volumes that were used.
    """

    output: Path
    sidecar: Path
    parameters_file: Path | None
    volume: Volume
    parameters: Mapping[str, Any]
    source: Volume
    seed: int | None
    companions: dict[str, Volume]


def degrade_file(
    source: AnyPath,
    output: AnyPath,
    kind: str = "lowfield",
    seed: int | None = None,
    parameters_file: AnyPath | None = None,
    series_uid: str | None = None,
    progress: Progress | None = None,
    companions: Mapping[str, AnyPath | None] | None = None,
) -> DegradedFiles:
    """Write a degraded version of a scan; every random draw is recorded and can be replayed.

    Parameters
    ----------
    source, output : path-like
    kind : str
        Name in the registry of degradations.
    seed : int, optional
        Seed of the draw.
    parameters_file : path-like, optional
        If the file exists, the parameters in it are replayed (a file saved here, or the sidecar of an earlier
        output); ``seed`` must then be omitted or the one recorded. If it does not exist, the parameters sampled with
        ``seed`` are saved there.
    series_uid : str, optional
    progress : Progress, optional
    companions : mapping of str to path-like, optional
        Further images that the kind can use, by name ('labels', 'donor').

    Raises
    ------
    ParameterError
        Unknown kind, a seed missing or at odds with the file, parameters of another kind, an image the kind has no use
        for.
    InputError, OutputError
        If a file cannot be read or written.
    """
    import numpy as np

    from MRHarmonizationLib.degradations.base import DEGRADATIONS

    progress = progress or Progress()
    degradation = DEGRADATIONS.get(kind)
    target = check_volume_output(output)
    sidecar = check_output_path(sidecar_path(target))
    parameters_path = None if parameters_file is None else Path(parameters_file).expanduser().resolve()
    refuse_same_file({"input": Path(source), "output": target, "sidecar": sidecar, "parameters": parameters_path})
    further = _companion_paths(kind, getattr(degradation, "companions", ()), companions or {})
    replayed = parameters_path is not None and parameters_path.exists()
    if parameters_path is not None and replayed:
        seed, values = _read_parameters(parameters_path, kind, seed)
        parameters = degradation.parameters_from_dict(values)
    elif seed is None:
        raise ParameterError(
            f"{parameters_path} does not exist" if parameters_path else "no seed and no file of parameters given",
            "give a seed to sample parameters with",
        )
    progress.report(0.0, "Reading the scan")
    scan = read_volume(source, series_uid)
    used = {name: read_volume(path) for name, path in further.items()}
    if not replayed:
        parameters = degradation.sample(np.random.default_rng(seed), scan, **used)
    progress.report(0.2, "Degrading")
    degraded = degradation.apply(scan, parameters, **used)
    record = {"kind": kind, "seed": seed, "parameters": parameters.to_dict()}
    progress.report(WORKING_PART, "Writing the result")
    with Staging() as staging:
        if parameters_path is not None and not replayed:
            write_json_atomic(record, staging.place(parameters_path))
        write_json_atomic(_degrade_provenance(scan, degraded, record).to_dict(), staging.place(sidecar))
        write_volume(degraded, staging.place(target))
        progress.check()
    progress.report(1.0, "Done")
    saved = None if replayed else parameters_path
    return DegradedFiles(target, sidecar, saved, degraded, record["parameters"], scan, seed, used)


def _companion_paths(kind: str, known: Iterable[str], given: Mapping[str, AnyPath | None]) -> dict[str, AnyPath]:
    """Return the images that were given, or refuse those a kind of degradation has no use for."""
    wanted = {name: path for name, path in given.items() if path is not None}
    useless = sorted(set(wanted) - set(known))
    if useless:
        raise ParameterError(f"kind '{kind}' has no use for {', '.join(useless)}", "leave it out")
    return wanted


def _degrade_provenance(scan: Volume, degraded: Volume, record: Mapping[str, Any]) -> Provenance:
    from MRHarmonizationLib import __version__

    return Provenance(
        operation="degrade",
        model_id="",
        model_version="",
        weights_sha256="",
        library_version=__version__,
        parameters=record,
        input_digest=scan.digest(),
        output_digest=voxel_digest(degraded.array),
        input_name=scan.name,
    )


def _read_parameters(path: Path, kind: str, seed: int | None) -> tuple[int | None, Mapping[str, Any]]:
    """Return the seed and the parameters recorded in a file of parameters or in a sidecar."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no file of parameters: {error}", "choose a JSON file saved by degrade") from error
    if isinstance(record, dict) and record.get("operation") == "degrade":
        record = record.get("parameters")
    if not isinstance(record, dict) or not isinstance(record.get("parameters"), dict):
        raise InputError(f"{path} holds no parameters of a degradation", "choose a JSON file saved by degrade")
    if record.get("kind") != kind:
        raise ParameterError(f"{path} holds parameters of kind '{record.get('kind')}', not '{kind}'", "give that kind")
    if seed is not None and seed != record.get("seed"):
        raise ParameterError(
            f"seed {seed} was given, but {path} replays seed {record.get('seed')}",
            "leave the seed out to replay, or name a file that does not exist to sample anew",
        )
    return record.get("seed"), record["parameters"]
