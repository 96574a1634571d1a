"""A run from nodes to nodes: started, looked at from Qt's event loop or waited for, stored when it has ended."""

from __future__ import annotations

import abc
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, TypeVar

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.slicer_adapter.jobs import FAILED, RUNNING, SUCCEEDED
from MRHarmonizationLib.slicer_adapter.process_run import ProcessRun

POLL_INTERVAL_MS = 100

Outcome = TypeVar("Outcome")


class NodeTask(abc.ABC, Generic[Outcome]):
    """A started run on nodes; subclasses say how its outcome is stored in the scene.

    Parameters
    ----------
    run : ProcessRun

    Attributes
    ----------
    state : {'running', 'succeeded', 'failed', 'cancelled'}
    error : MRHarmonizationError or None
    seconds : float
    """

    def __init__(self, run: ProcessRun[Outcome]) -> None:
        self.error: MRHarmonizationError | None = None
        self.seconds = 0.0
        self.state = RUNNING
        self._run = run

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._run.elapsed_s

    @property
    @abc.abstractmethod
    def input_nodes(self) -> tuple[Any, ...]:
        """What the run was made from; it is of no use without them."""

    @property
    @abc.abstractmethod
    def product(self) -> Any:
        """What a caller who waits gets."""

    @abc.abstractmethod
    def _store(self, outcome: Outcome) -> None:
        """Write an outcome into the scene; raises MRHarmonizationError where that cannot be."""

    def step(self) -> str:
        """Look at the process, store the result when it has ended well, and return the state."""
        if self.state == RUNNING:
            state = self._run.step()
            if state != RUNNING:
                self._end(state)
        return self.state

    def cancel(self) -> None:
        """End the process; the scene stays as it is."""
        if self.state == RUNNING:
            self._run.cancel()
            self._end(self._run.state)

    def wait(self, while_waiting: Callable[[], None] | None = None) -> Any:
        """Wait for the end and return the product; raises why there is none."""
        try:
            self._run.wait(while_waiting)
        except MRHarmonizationError:
            pass  # kept in the run; raised below
        finally:
            self._end(self._run.state)
        if self.error is not None:
            raise self.error
        return self.product

    def _end(self, state: str) -> None:
        self.seconds, self.error = self._run.elapsed_s, self._run.error
        if state == SUCCEEDED:
            assert self._run.outcome is not None
            try:
                self._store(self._run.outcome)
            except MRHarmonizationError as error:
                self.error, state = error, FAILED
        self.state = state


class Poller:
    """Calls a function from Qt's event loop until it is stopped.

    Parameters
    ----------
    function : callable()
    interval_ms : int
    """

    def __init__(self, function: Callable[[], None], interval_ms: int = POLL_INTERVAL_MS) -> None:
        import qt

        self._function, self._busy = function, False
        self._timer = qt.QTimer()
        self._timer.setInterval(interval_ms)
        self._timer.connect("timeout()", self._on_timeout)
        self._timer.start()

    def stop(self) -> None:
        """Call it no more."""
        self._timer.stop()

    def _on_timeout(self) -> None:
        if self._busy:  # called again from an event loop inside the function
            return
        self._busy = True
        try:
            self._function()
        finally:
            self._busy = False


def temporary_folder() -> Path | None:
    """Return Slicer's folder for temporary files, or None (the system's) where it does not exist."""
    import slicer

    folder = Path(slicer.app.temporaryPath)
    return folder if folder.is_dir() else None
