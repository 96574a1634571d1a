"""One standardisation of contrast in a process of its own: volume in, volume out, through files."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from MRHarmonizationLib.inference.harmonize import NEAREST, HarmonizeRequest
from MRHarmonizationLib.inference.provenance import Provenance, sidecar_path
from MRHarmonizationLib.methods.reference_group import ReferenceGroup, load_group
from MRHarmonizationLib.slicer_adapter.enhance_run import Enhancement
from MRHarmonizationLib.slicer_adapter.jobs import ProcessRunner, python_executable
from MRHarmonizationLib.slicer_adapter.process_run import ProcessRun
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.volume import Volume


@dataclass(frozen=True)
class Standardisation(Enhancement):
    """What a run gave: as an enhancement, and the reference that was used.

    Attributes
    ----------
    group : ReferenceGroup
    """

    group: ReferenceGroup


def standardise_command(
    request: HarmonizeRequest, source: Path, target: Path, residual: Path | None = None, mask: Path | None = None
) -> list[str]:
    """Return the command line that does what a request asks for."""
    command = [python_executable(), "-m", "MRHarmonizationLib", "harmonize", str(source), str(target)]
    command += ["--method", request.method, "--reference", request.reference]
    command += ["--strength", repr(float(request.strength))]
    for name, value in request.parameters.items():
        command += ["--parameter", f"{name}={value}"]
    if mask is not None:
        command += ["--mask", str(mask)]
    if residual is not None:
        command += ["--residual", str(residual)]
    return [*command, "--jsonl"]


class StandardiseRun(ProcessRun[Standardisation]):
    """A started standardisation.

    Parameters
    ----------
    volume : Volume
        Scan to standardise.
    request : HarmonizeRequest
    mask : Volume or None
        On the scan's grid; nonzero where intensities are measured.
    runner, on_progress, folder
        As for :class:`~MRHarmonizationLib.slicer_adapter.process_run.ProcessRun`.

    Raises
    ------
    InputError
        The reference is no group.
    OutputError
        If the scan cannot be written to the temporary folder, or the process not be started.
    """

    def __init__(
        self,
        volume: Volume,
        request: HarmonizeRequest,
        mask: Volume | None,
        runner: ProcessRunner,
        on_progress: Callable[[float, str], None] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.request, self._volume, self._mask = request, volume, mask
        self._group = None if request.reference == NEAREST else load_group(request.reference)
        super().__init__(runner, on_progress, folder)

    def _prepare(self, folder: Path) -> tuple[list[str], list[Path]]:
        self._target = folder / "standardised.nrrd"
        self._residual = folder / "residual.nrrd" if self.request.keep_residual else None
        source = write_volume(self._volume, folder / "scan.nrrd")
        mask = None if self._mask is None else write_volume(self._mask, folder / "mask.nrrd")
        promised = [self._target] if self._residual is None else [self._target, self._residual]
        return standardise_command(self.request, source, self._target, self._residual, mask), promised

    def _read(self, folder: Path) -> Standardisation:
        volume = read_volume(self._target)
        residual = None if self._residual is None else read_volume(self._residual)
        provenance = Provenance.from_dict(json.loads(sidecar_path(self._target).read_text(encoding="utf-8")))
        group = self._group or load_group(str(provenance.parameters["reference"]))
        said = [*provenance.warnings, *(text for text in self._job.warnings if text not in provenance.warnings)]
        return Standardisation(volume, residual, provenance, tuple(said), self.elapsed_s, group)
