"""One run of the command line on volumes: files in a temporary folder, a process, its results read, all cleaned up."""

from __future__ import annotations

import abc
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from MRHarmonizationLib.core.errors import MRHarmonizationError, OutputError
from MRHarmonizationLib.slicer_adapter.jobs import FAILED, RUNNING, SUCCEEDED, Job, ProcessRunner, process_environment

#: Pause between two looks at a process when somebody waits for it.
WAIT_STEP_S = 0.05

Outcome = TypeVar("Outcome")


class ProcessRun(abc.ABC, Generic[Outcome]):
    """A started run; subclasses say which files go in, which command is run, and how its results are read.

    Parameters
    ----------
    runner : ProcessRunner
    on_progress : callable(fraction: float, message: str), optional
        Called from :meth:`step`.
    folder : path, optional
        Where the temporary folder is made; the system's by default. It is gone when the run has ended.

    Attributes
    ----------
    state : {'running', 'succeeded', 'failed', 'cancelled'}
    error : MRHarmonizationError or None
    outcome : object or None
        What :meth:`_read` returned.

    Raises
    ------
    OutputError
        If the volumes cannot be written to the temporary folder, or the process not be started.
    """

    def __init__(
        self,
        runner: ProcessRunner,
        on_progress: Callable[[float, str], None] | None = None,
        folder: Path | None = None,
    ) -> None:
        self.outcome: Outcome | None = None
        self._started = time.monotonic()
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="MRHarmonization-", dir=folder))
        except OSError as error:
            raise OutputError(f"no temporary folder can be made: {error}", "free space on the disk") from error
        try:
            command, promised = self._prepare(self._folder)
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

    def wait(self, while_waiting: Callable[[], None] | None = None) -> Outcome:
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

    @abc.abstractmethod
    def _prepare(self, folder: Path) -> tuple[list[str], list[Path]]:
        """Write the volumes into a folder; return the command and the files it promises."""

    @abc.abstractmethod
    def _read(self, folder: Path) -> Outcome:
        """Read what the process wrote; OSError, ValueError and KeyError mean that it does not load."""

    def _load(self) -> str:
        try:
            self.outcome = self._read(self._folder)
        except (OSError, ValueError, KeyError) as error:
            self.error = OutputError(f"the process ended well but its result does not load: {error}", "run it again")
            return FAILED
        return SUCCEEDED

    def _clean_up(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
