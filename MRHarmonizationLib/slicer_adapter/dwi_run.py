"""One harmonisation of a diffusion scan in a process of its own: series in; series, table, maps and report out."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from MRHarmonizationLib.inference.dwi_request import HarmonizeDwiRequest
from MRHarmonizationLib.inference.provenance import Provenance, sidecar_path
from MRHarmonizationLib.methods.dwi_target import DwiTarget, save_target
from MRHarmonizationLib.slicer_adapter.compare_run import file_stem
from MRHarmonizationLib.slicer_adapter.dwi_rows import TissueRow, tissue_rows
from MRHarmonizationLib.slicer_adapter.jobs import ProcessRunner, python_executable
from MRHarmonizationLib.slicer_adapter.process_run import ProcessRun
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.dwi_files import read_dwi, write_dwi
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.volume import Volume

#: Maps there are of a scan, by the names of the command line, and when they were made.
MAPS, SIDES = ("b0", "trace", "fa", "md"), ("before", "after")
#: What becomes nodes: the maps of both sides, and the contrast gain that every volume got.
KEPT_MAPS = (*(f"{name}_{side}" for name in MAPS for side in SIDES), "gain")


@dataclass(frozen=True)
class DwiHarmonization:
    """What a harmonisation gave.

    Attributes
    ----------
    dwi : DwiVolume
        float32, in the frame of the series that went in.
    residual : DwiVolume or None
        int32, where it was asked for.
    provenance : Provenance
    rows : tuple of TissueRow
    strength_used : float
    warnings : tuple of str
        What the user should know about the result.
    maps : dict of str to Volume
        ``b0_before``, ``b0_after``, ``trace_…``, ``fa_…``, ``md_…``, where they were asked for.
    files : dict of str to bytes
        The report's files by name, where it was asked for.
    seconds : float
        From start to the loaded result.
    """

    dwi: DwiVolume
    residual: DwiVolume | None
    provenance: Provenance
    rows: tuple[TissueRow, ...]
    strength_used: float
    warnings: tuple[str, ...]
    maps: dict[str, Volume] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class DwiJob:
    """What is to be harmonised, and what is wanted of it.

    Attributes
    ----------
    dwi : DwiVolume
    request : HarmonizeDwiRequest
    mask : Volume or None
        Brain, on the scan's grid.
    target : DwiTarget or None
        Statistics that are aimed at, in place of the request's target.
    maps, report : bool
        Whether maps are kept, and a report is written.
    """

    dwi: DwiVolume
    request: HarmonizeDwiRequest
    mask: Volume | None = None
    target: DwiTarget | None = None
    maps: bool = False
    report: bool = False


def harmonize_dwi_command(job: DwiJob, paths: Mapping[str, Path]) -> list[str]:
    """Return the command line of a job.

    Parameters
    ----------
    job : DwiJob
    paths : mapping of str to path
        Of the files 'scan' and 'output'; where there are any, of 'residual', 'mask' and 'target', and of the folders
        'maps' and 'report'.
    """
    request = job.request
    command = [
        python_executable(),
        "-m",
        "MRHarmonizationLib",
        "harmonize-dwi",
        str(paths["scan"]),
        str(paths["output"]),
    ]
    command += ["--method", request.method, "--strength", repr(float(request.strength)), "--noise", request.noise]
    if request.fitted is not None:
        command += ["--fitted", str(request.fitted)]
    else:
        command += ["--target", str(paths.get("target", request.target))]
    if request.spacing_mm is not None:
        spacing = request.spacing_mm
        text = spacing if isinstance(spacing, str) else ",".join(repr(float(value)) for value in spacing)
        command += ["--spacing", text]
    for role in ("mask", "residual", "maps", "report"):
        if role in paths:
            command += [f"--{role}", str(paths[role])]
    return [*command, "--jsonl"]


class DwiRun(ProcessRun[DwiHarmonization]):
    """A started harmonisation.

    Parameters
    ----------
    job : DwiJob
    runner, on_progress, folder
        As for :class:`~MRHarmonizationLib.slicer_adapter.process_run.ProcessRun`.

    Raises
    ------
    OutputError
        If the scan cannot be written to the temporary folder, or the process not be started.
    """

    def __init__(
        self,
        job: DwiJob,
        runner: ProcessRunner,
        on_progress: Callable[[float, str], None] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.job = job
        super().__init__(runner, on_progress, folder)

    def _prepare(self, folder: Path) -> tuple[list[str], list[Path]]:
        job, out = self.job, folder / "out"
        out.mkdir()
        paths = {"output": out / "harmonized.nii"}
        # NIfTI, since it is not compressed: the window waits while it is written
        paths["scan"] = write_dwi(job.dwi, folder / f"{file_stem(job.dwi.name, 'scan')}.nii")[0]
        if job.request.keep_residual:
            paths["residual"] = out / "residual.nrrd"
        if job.mask is not None:
            paths["mask"] = write_volume(job.mask, folder / "mask.nrrd")
        if job.target is not None:
            paths["target"] = save_target(job.target, folder / "target.json")
        if job.report:
            paths["report"] = folder / "report"
        if job.maps:
            paths["maps"] = folder / "maps"
        self._paths = paths
        return harmonize_dwi_command(job, paths), [paths[role] for role in ("output", "residual") if role in paths]

    def _read(self, folder: Path) -> DwiHarmonization:
        paths = self._paths
        record = json.loads(sidecar_path(paths["output"]).read_text(encoding="utf-8"))
        provenance = Provenance.from_dict(record)
        warnings = [*provenance.warnings, *(text for text in self._job.warnings if text not in provenance.warnings)]
        kept = [path for path in _files(paths.get("maps")) if path.stem in KEPT_MAPS]
        return DwiHarmonization(
            dwi=read_dwi(paths["output"]),
            residual=read_dwi(paths["residual"]) if "residual" in paths else None,
            provenance=provenance,
            rows=tuple(tissue_rows(record["table"])),
            strength_used=float(record["strength_used"]),
            warnings=tuple(warnings),
            maps={path.stem: read_volume(path) for path in kept},
            files={path.name: path.read_bytes() for path in _files(paths.get("report"))},
            seconds=self.elapsed_s,
        )


def _files(folder: Path | None) -> list[Path]:
    return [] if folder is None else sorted(path for path in folder.iterdir() if path.is_file())


def make_harmonization(result: Any, maps: bool, seconds: float = 0.0) -> DwiHarmonization:
    """Return what the library's function gave, as a run of the command line gives it.

    Parameters
    ----------
    result : HarmonizeDwiResult
    maps : bool
        Whether maps are kept.
    seconds : float
    """
    from MRHarmonizationLib.inference.harmonize_dwi_files import result_maps

    found = {name: volume for name, volume in result_maps(result).items() if maps and name in KEPT_MAPS}
    return DwiHarmonization(
        dwi=result.dwi,
        residual=result.residual,
        provenance=result.provenance,
        rows=tuple(tissue_rows(row.to_dict() for row in result.table)),
        strength_used=result.strength_used,
        warnings=result.warnings,
        maps=found,
        seconds=seconds,
    )
