"""One enhancement in a process of its own: volume in, volume out, through files in a temporary folder."""

from __future__ import annotations

import abc
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from MRHarmonizationLib.inference.enhance import EnhanceRequest
from MRHarmonizationLib.inference.provenance import Provenance, sidecar_path
from MRHarmonizationLib.slicer_adapter.jobs import ProcessRunner, python_executable
from MRHarmonizationLib.slicer_adapter.process_run import ProcessRun
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.volume import Volume


@dataclass(frozen=True)
class Enhancement:
    """What a run gave.

    Attributes
    ----------
    volume : Volume
        float32, in the frame of the volume that went in.
    residual : Volume or None
        int32, where it was asked for.
    provenance : Provenance
    warnings : tuple of str
        What the user should know about the result.
    seconds : float
        From start to the loaded result.
    """

    volume: Volume
    residual: Volume | None
    provenance: Provenance
    warnings: tuple[str, ...]
    seconds: float


def enhance_command(request: EnhanceRequest, source: Path, target: Path, residual: Path | None) -> list[str]:
    """Return the command line that does what a request asks for."""
    command = [python_executable(), "-m", "MRHarmonizationLib", "enhance", str(source), str(target)]
    command += ["--model", request.model, "--strength", repr(float(request.strength))]
    command += ["--device", request.device, "--backend", request.backend]
    if request.output_spacing_mm is not None:
        command += ["--spacing", repr(float(request.output_spacing_mm))]
    if residual is not None:
        command += ["--residual", str(residual)]
    return [*command, "--jsonl"]


class VolumeRun(ProcessRun[Enhancement], abc.ABC):
    """A started command that makes a volume, and perhaps a residual, of a volume.

    Parameters
    ----------
    volume : Volume
    keep_residual : bool
    runner, on_progress, folder
        As for :class:`~MRHarmonizationLib.slicer_adapter.process_run.ProcessRun`.

    Raises
    ------
    OutputError
        If the scan cannot be written to the temporary folder, or the process not be started.
    """

    def __init__(
        self,
        volume: Volume,
        keep_residual: bool,
        runner: ProcessRunner,
        on_progress: Callable[[float, str], None] | None = None,
        folder: Path | None = None,
    ) -> None:
        self._volume, self._keep_residual = volume, keep_residual
        super().__init__(runner, on_progress, folder)

    @abc.abstractmethod
    def _command(self, source: Path, target: Path, residual: Path | None) -> list[str]:
        """Return the command line."""

    def _prepare(self, folder: Path) -> tuple[list[str], list[Path]]:
        self._target = folder / "enhanced.nrrd"
        self._residual = folder / "residual.nrrd" if self._keep_residual else None
        source = write_volume(self._volume, folder / "scan.nrrd")
        promised = [self._target] if self._residual is None else [self._target, self._residual]
        return self._command(source, self._target, self._residual), promised

    def _read(self, folder: Path) -> Enhancement:
        volume = read_volume(self._target)
        residual = None if self._residual is None else read_volume(self._residual)
        provenance = Provenance.from_dict(json.loads(sidecar_path(self._target).read_text(encoding="utf-8")))
        said = [*provenance.warnings, *(text for text in self._job.warnings if text not in provenance.warnings)]
        return Enhancement(volume, residual, provenance, tuple(said), self.elapsed_s)


class EnhanceRun(VolumeRun):
    """A started enhancement.

    Parameters
    ----------
    volume : Volume
        Scan to enhance.
    request : EnhanceRequest
    runner, on_progress, folder
        As for :class:`VolumeRun`.
    """

    def __init__(
        self,
        volume: Volume,
        request: EnhanceRequest,
        runner: ProcessRunner,
        on_progress: Callable[[float, str], None] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.request = request
        super().__init__(volume, request.keep_residual, runner, on_progress, folder)

    def _command(self, source: Path, target: Path, residual: Path | None) -> list[str]:
        return enhance_command(self.request, source, target, residual)
