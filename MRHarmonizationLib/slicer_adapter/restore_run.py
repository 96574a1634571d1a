"""One denoising and sharpening in a process of its own: volume in, volume out, through files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from MRHarmonizationLib.inference.restore import RestoreRequest
from MRHarmonizationLib.slicer_adapter.enhance_run import VolumeRun
from MRHarmonizationLib.slicer_adapter.jobs import ProcessRunner, python_executable
from MRHarmonizationLib.volumes.volume import Volume


def restore_command(request: RestoreRequest, source: Path, target: Path, residual: Path | None) -> list[str]:
    """Return the command line that does what a request asks for."""
    command = [python_executable(), "-m", "MRHarmonizationLib", "restore", str(source), str(target)]
    command += ["--denoise", repr(float(request.denoise)), "--sharpen", repr(float(request.sharpen))]
    command += ["--model", request.model, "--device", request.device, "--backend", request.backend]
    if request.noise_level is not None:
        command += ["--noise-level", repr(float(request.noise_level))]
    if request.blur_level is not None:
        command += ["--blur-level", repr(float(request.blur_level))]
    if request.interpolated:
        command.append("--interpolated")
    if residual is not None:
        command += ["--residual", str(residual)]
    return [*command, "--jsonl"]


class RestoreRun(VolumeRun):
    """A started denoising and sharpening.

    Parameters
    ----------
    volume : Volume
        Scan to restore.
    request : RestoreRequest
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
        request: RestoreRequest,
        runner: ProcessRunner,
        on_progress: Callable[[float, str], None] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.request = request
        super().__init__(volume, request.keep_residual, runner, on_progress, folder)

    def _command(self, source: Path, target: Path, residual: Path | None) -> list[str]:
        return restore_command(self.request, source, target, residual)
