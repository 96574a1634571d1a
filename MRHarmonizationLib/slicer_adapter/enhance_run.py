"""One enhancement in a process of its own: volume in, volume out, through files in a temporary folder."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from MRHarmonizationLib.core.errors import MRHarmonizationError, OutputError
from MRHarmonizationLib.inference.enhance import EnhanceRequest
from MRHarmonizationLib.inference.provenance import Provenance, sidecar_path
from MRHarmonizationLib.slicer_adapter.jobs import (
    FAILED,
    RUNNING,
    SUCCEEDED,
    Job,
    ProcessRunner,
    process_environment,
    python_executable,
)
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.volume import Volume

#: Pause between two looks at a process when somebody waits for it.
WAIT_STEP_S = 0.05


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


class EnhanceRun:
    """A started enhancement.

    Parameters
    ----------
    volume : Volume
        Scan to enhance.
    request : EnhanceRequest
    runner : ProcessRunner
    on_progress : callable(fraction: float, message: str), optional
        Called from :meth:`step`.
    folder : path, optional
        Where the temporary folder is made; the system's by default. It is gone when the run has ended.

    Attributes
    ----------
    state : {'running', 'succeeded', 'failed', 'cancelled'}
    error : MRHarmonizationError or None
    outcome : Enhancement or None

    Raises
    ------
    OutputError
        If the scan cannot be written to the temporary folder, or the process not be started.
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
        self.outcome: Enhancement | None = None
        self._started = time.monotonic()
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="MRHarmonization-", dir=folder))
        except OSError as error:
            raise OutputError(f"no temporary folder can be made: {error}", "free space on the disk") from error
        self._target = self._folder / "enhanced.nrrd"
        self._residual = self._folder / "residual.nrrd" if request.keep_residual else None
        promised = [self._target] if self._residual is None else [self._target, self._residual]
        try:
            source = write_volume(volume, self._folder / "scan.nrrd")
            command = enhance_command(request, source, self._target, self._residual)
            process = runner.start(command, process_environment())
        except BaseException as error:
            self._clean_up()
            if isinstance(error, OSError) and not isinstance(error, MRHarmonizationError):
                raise OutputError(f"the process cannot be started: {error}", "reinstall the extension") from error
            raise
        self._job = Job(process, promised, on_progress)
        self.state, self.error = RUNNING, self._job.error

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self._started

    def step(self) -> str:
        """Look at the process and return the state; waits for nothing but the loading of the result."""
        if self.state == RUNNING:
            state = self._job.step()
            if state != RUNNING:
                self.error = self._job.error
                if state == SUCCEEDED:
                    state = self._load()
                self.state = state
                self._clean_up()
        return self.state

    def cancel(self) -> None:
        """End the process and remove the temporary folder."""
        if self.state == RUNNING:
            self._job.cancel()
            self.state, self.error = self._job.state, self._job.error
            self._clean_up()

    def wait(self, while_waiting: Callable[[], None] | None = None) -> Enhancement:
        """Wait for the end and return the result; raises why there is none.

        Parameters
        ----------
        while_waiting : callable(), optional
            Called between two looks.
        """
        try:
            while self.step() == RUNNING:
                if while_waiting is not None:
                    while_waiting()
                time.sleep(WAIT_STEP_S)
        finally:
            self.cancel()  # whatever interrupted the waiting: nothing is left running
        if self.outcome is None:
            assert self.error is not None
            raise self.error
        return self.outcome

    def _load(self) -> str:
        """Read what the process wrote; a file that does not load means that it has failed."""
        try:
            volume = read_volume(self._target)
            residual = None if self._residual is None else read_volume(self._residual)
            provenance = Provenance.from_dict(json.loads(sidecar_path(self._target).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            self.error = OutputError(f"the process ended well but its result does not load: {error}", "run it again")
            return FAILED
        said = [*provenance.warnings, *(text for text in self._job.warnings if text not in provenance.warnings)]
        self.outcome = Enhancement(volume, residual, provenance, tuple(said), self.elapsed_s)
        return SUCCEEDED

    def _clean_up(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
