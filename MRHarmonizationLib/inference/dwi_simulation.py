"""Simulated diffusion scans as files: a label map in, one scan or those of all scanners out, with their records."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from MRHarmonizationLib.core.errors import InputError, OutputError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.provenance import Provenance, sidecar_path
from MRHarmonizationLib.inference.undo import voxel_digest
from MRHarmonizationLib.volumes.files import check_output_path, read_volume, write_json_atomic, write_volume
from MRHarmonizationLib.volumes.staging import Staging

if TYPE_CHECKING:
    from MRHarmonizationLib.degradations.brain_tensors import DiffusionBrain
    from MRHarmonizationLib.degradations.diffusion_lesions import DiffusionLesionParameters
    from MRHarmonizationLib.degradations.dwi_parameters import DwiScannerParameters
    from MRHarmonizationLib.volumes.dwi import DwiVolume
    from MRHarmonizationLib.volumes.volume import Volume

AnyPath = str | os.PathLike[str]

#: Endings a simulated scan can have, longest first.
SCAN_ENDINGS = (".nii.gz", ".nii", ".nrrd")
#: Kinds of lesion, and none.
LESION_CHOICES = ("none", "stroke", "ms")
#: Fraction of the progress at which the brain is ready.
_BRAIN_PART = 0.25


@dataclass(frozen=True)
class SimulatedScanFiles:
    """Where one simulated scan was put.

    Attributes
    ----------
    scanner : str
    output, sidecar : Path
        The scan and the record that replays it.
    brain_mask : Path
        Where brain tissue lies in the scan.
    lesion_mask : Path or None
    """

    scanner: str
    output: Path
    sidecar: Path
    brain_mask: Path
    lesion_mask: Path | None


def simulate_dwi_file(
    labels: AnyPath,
    output: AnyPath,
    scanner: str = "canonical",
    seed: int = 0,
    lesion: str = "none",
    all_scanners: bool = False,
    replay: AnyPath | None = None,
    progress: Progress | None = None,
) -> list[SimulatedScanFiles]:
    """Simulate the diffusion scan of a label map.

    Parameters
    ----------
    labels : path-like
        Label map of a head with FreeSurfer numbers.
    output : path-like
        Ends with .nii.gz, .nii or .nrrd; with ``all_scanners`` a folder, made if needed, which gets one file per
        scanner.
    scanner : str
        Name of a virtual scanner or path of the JSON file of one.
    seed : int
        Of the brain (fibres, texture), the lesion and the scan.
    lesion : {'none', 'stroke', 'ms'}
    all_scanners : bool
        The same brain on all seven scanners.
    replay : path-like, optional
        The ``.mrh.json`` of an earlier scan: its parameters are used again and the other choices are ignored.
    progress : Progress, optional

    Returns
    -------
    list of SimulatedScanFiles

    Raises
    ------
    InputError
        The label map cannot be read or used.
    OutputError
        The output cannot be written.
    ParameterError
        Unknown scanner or lesion, a negative seed.
    """
    from MRHarmonizationLib.degradations.dwi_scanner import load_scanner, scanner_ids
    from MRHarmonizationLib.degradations.dwi_simulation import draw_scan

    progress = progress or Progress()
    if lesion not in LESION_CHOICES:
        raise ParameterError(f"lesion '{lesion}' is unknown", f"choose one of: {', '.join(LESION_CHOICES)}")
    if seed < 0:
        raise ParameterError(f"seed {seed}", "give a whole number of at least 0")
    if replay is not None and all_scanners:
        raise ParameterError("a record replays one scan, not all scanners", "leave one of the two out")
    record = None if replay is None else _read_record(Path(replay).expanduser())
    if record is not None:
        seed, lesion = record.seed, record.lesion
        plans = [record.scan]
    else:
        names: list[str] = list(scanner_ids()) if all_scanners else [scanner]
        plans = [draw_scan(load_scanner(name), seed) for name in names]
    targets = _targets(output, plans, all_scanners, lesion != "none")
    for files in targets:
        _check_outputs(files, Path(labels).expanduser().resolve())
    progress.report(0.0, "Making the brain")
    label_map = read_volume(labels)
    brain, lesion_parameters = _brain(label_map, seed, lesion, None if record is None else record.lesion_parameters)
    for n, (plan, files) in enumerate(zip(plans, targets, strict=True)):
        part = progress.part(*(_BRAIN_PART + (1 - _BRAIN_PART) * (n + m) / len(plans) for m in (0, 1)))
        _scan_to_files(brain, label_map, plan, files, seed, lesion, lesion_parameters, part)
    progress.report(1.0, "Done")
    return targets


def _check_outputs(files: SimulatedScanFiles, labels: Path) -> None:
    """Make sure that the files can be written and none is the label map; raises OutputError."""
    from MRHarmonizationLib.volumes.dwi_files import check_dwi_output

    paths = [*check_dwi_output(files.output), files.sidecar, files.brain_mask]
    if not files.output.name.lower().endswith(".nrrd"):
        paths.append(_with_ending(files.output, ".json"))
    if files.lesion_mask is not None:
        paths.append(files.lesion_mask)
    for path in paths:
        check_output_path(path)
        if path == labels:
            raise OutputError(f"the label map and the output are the same file {path}", "choose another name")


def _scan_to_files(
    brain: DiffusionBrain,
    label_map: Volume,
    plan: DwiScannerParameters,
    files: SimulatedScanFiles,
    seed: int,
    lesion: str,
    lesion_parameters: DiffusionLesionParameters | None,
    progress: Progress,
) -> None:
    import numpy as np

    from MRHarmonizationLib.degradations.dwi_simulation import seen_mask, simulate_dwi

    dwi = simulate_dwi(brain, plan, progress=progress.part(0.0, 0.9))
    mask = seen_mask(brain, brain.brain_mask, plan)
    values = {
        "seed": seed,
        "lesion": lesion,
        "lesion_parameters": lesion_parameters.to_dict() if lesion_parameters else None,
        "scan": plan.to_dict(),
    }
    progress.report(0.9, "Writing the scan")
    with Staging() as staging:
        _write_scan(dwi, files.output, staging)
        write_volume(mask.with_array(mask.array.astype(np.uint8)), staging.place(files.brain_mask))
        if files.lesion_mask is not None and brain.lesion is not None:
            lesion_seen = seen_mask(brain, brain.lesion, plan)
            write_volume(lesion_seen.with_array(lesion_seen.array.astype(np.uint8)), staging.place(files.lesion_mask))
        write_json_atomic(_provenance(label_map, dwi, values).to_dict(), staging.place(files.sidecar))
        progress.check()


def _write_scan(dwi: DwiVolume, target: Path, staging: Staging) -> None:
    """Write a scan and, beside a NIfTI file, its gradient tables and what BIDS tells of a protocol."""
    from MRHarmonizationLib.volumes.dwi_files import write_dwi

    for written in write_dwi(dwi, staging.place(target)):
        staging.place(target.with_name(written.name))
    if not target.name.lower().endswith(".nrrd"):
        told = dwi.metadata
        sidecar = {
            "EchoTime": float(told["echo_time_ms"]) / 1000,
            "RepetitionTime": float(told["repetition_time_ms"]) / 1000,
            "MagneticFieldStrength": told["field_strength_t"],
            "Manufacturer": told["manufacturer"],
            "ManufacturersModelName": told["model"],
            "PhaseEncodingDirection": told["phase_encoding"],
        }
        write_json_atomic(sidecar, staging.place(_with_ending(target, ".json")))


def _brain(
    labels: Volume, seed: int, lesion: str, replayed: DiffusionLesionParameters | None
) -> tuple[DiffusionBrain, DiffusionLesionParameters | None]:
    import numpy as np

    from MRHarmonizationLib.degradations.brain_tensors import brain_from_labels
    from MRHarmonizationLib.degradations.diffusion_lesions import apply_diffusion_lesion, sample_diffusion_lesion

    brain = brain_from_labels(labels, seed)
    if lesion == "none":
        return brain, None
    parameters = replayed or sample_diffusion_lesion(np.random.default_rng((seed, 2)), brain, lesion)
    return apply_diffusion_lesion(brain, parameters), parameters


def _with_ending(path: Path, ending: str) -> Path:
    """Return a scan's path with another ending; raises OutputError for a file that is no scan."""
    for own in SCAN_ENDINGS:
        if path.name.lower().endswith(own) and len(path.name) > len(own):
            return path.with_name(path.name[: -len(own)] + ending)
    raise OutputError(f"{path} does not end with {', '.join(SCAN_ENDINGS)}", "choose one of these endings")


def _targets(
    output: AnyPath, plans: list[DwiScannerParameters], folder: bool, lesion: bool
) -> list[SimulatedScanFiles]:
    """Return the files to be written; makes the folder of several scans. Raises OutputError."""
    place = Path(output).expanduser().resolve()
    if folder:
        if place.exists() and not place.is_dir():
            raise OutputError(f"{place} is a file", "give a folder for the scans of all scanners")
        try:
            place.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise OutputError(f"{place}: {problem.strerror or problem}", "choose another folder") from problem
        paths = [place / f"{plan.scanner}.nii.gz" for plan in plans]
    else:
        paths = [place]
    return [
        SimulatedScanFiles(
            plan.scanner,
            path,
            sidecar_path(path),
            _with_ending(path, "_brain.nii.gz"),
            _with_ending(path, "_lesion.nii.gz") if lesion else None,
        )
        for plan, path in zip(plans, paths, strict=True)
    ]


@dataclass(frozen=True)
class _Record:
    seed: int
    lesion: str
    lesion_parameters: DiffusionLesionParameters | None
    scan: DwiScannerParameters


def _read_record(path: Path) -> _Record:
    """Return what the sidecar of an earlier scan holds; raises InputError."""
    from MRHarmonizationLib.degradations.diffusion_lesions import DiffusionLesionParameters
    from MRHarmonizationLib.degradations.dwi_parameters import DwiScannerParameters

    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is no record of a simulated scan: {error}", "name its .mrh.json file") from error
    stored = values.get("parameters") if isinstance(values, Mapping) else None
    if not isinstance(stored, Mapping) or values.get("operation") != "simulate-dwi" or "scan" not in stored:
        raise InputError(f"{path} is no record of a simulated scan", "name the .mrh.json file beside one")
    lesion = stored.get("lesion_parameters")
    return _Record(
        int(stored.get("seed", 0)),
        str(stored.get("lesion", "none")),
        None if lesion is None else DiffusionLesionParameters.from_dict(lesion),
        DwiScannerParameters.from_dict(stored["scan"]),
    )


def _provenance(labels: Volume, dwi: DwiVolume, values: Mapping[str, Any]) -> Provenance:
    from MRHarmonizationLib import __version__

    return Provenance(
        operation="simulate-dwi",
        model_id="",
        model_version="",
        weights_sha256="",
        library_version=__version__,
        parameters=values,
        input_digest=labels.digest(),
        output_digest=voxel_digest(dwi.array),
        input_name=labels.name,
    )
