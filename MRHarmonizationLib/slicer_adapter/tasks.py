"""An enhancement from node to node: started, looked at from Qt's event loop or waited for, stored when it has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import InputError, MRHarmonizationError, ParameterError
from MRHarmonizationLib.inference.domain import check_scan
from MRHarmonizationLib.inference.enhance import EnhanceRequest
from MRHarmonizationLib.slicer_adapter import records
from MRHarmonizationLib.slicer_adapter.enhance_run import EnhanceRun
from MRHarmonizationLib.slicer_adapter.jobs import FAILED, RUNNING, SUCCEEDED, ProcessRunner
from MRHarmonizationLib.slicer_adapter.nodes import volume_from_node
from MRHarmonizationLib.slicer_adapter.results import store_enhancement

POLL_INTERVAL_MS = 100


class EnhanceTask:
    """A started enhancement of a node.

    Parameters
    ----------
    input_node : vtkMRMLScalarVolumeNode
        Read once, now; never changed.
    output_node : vtkMRMLScalarVolumeNode or None
        Changed only when the enhancement has succeeded; None: a new node ``<input>_<model>`` is made then.
    request : EnhanceRequest
    runner : ProcessRunner
    on_progress : callable(fraction: float, message: str), optional

    Attributes
    ----------
    state : {'running', 'succeeded', 'failed', 'cancelled'}
    error : MRHarmonizationError or None
    output_node : vtkMRMLScalarVolumeNode or None
    warnings : tuple of str
    seconds : float

    Raises
    ------
    InputError
        The input cannot be enhanced.
    ParameterError
        The output is the input.
    OutputError
        There is no room for the temporary files.
    """

    def __init__(
        self,
        input_node: Any,
        output_node: Any,
        request: EnhanceRequest,
        runner: ProcessRunner,
        on_progress: Callable[[float, str], None] | None = None,
    ) -> None:
        import slicer

        if input_node is not None and output_node is input_node:
            raise ParameterError("the result cannot replace its input", "choose another result volume")
        volume = volume_from_node(input_node)
        check_scan(volume)
        self.input_node, self.output_node = input_node, output_node
        self.warnings: tuple[str, ...] = ()
        self.error: MRHarmonizationError | None = None
        self.seconds = 0.0
        self.state = RUNNING
        temporary = Path(slicer.app.temporaryPath)
        self._run = EnhanceRun(volume, request, runner, on_progress, temporary if temporary.is_dir() else None)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return self._run.elapsed_s

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
        """Wait for the end and return the output node; raises why there is none."""
        try:
            self._run.wait(while_waiting)
        except MRHarmonizationError:
            pass  # kept in the run; raised below
        finally:
            self._end(self._run.state)
        if self.error is not None:
            raise self.error
        return self.output_node

    def _end(self, state: str) -> None:
        self.seconds, self.error = self._run.elapsed_s, self._run.error
        if state == SUCCEEDED:
            state = self._store()
        self.state = state

    def _store(self) -> str:
        done = self._run.outcome
        assert done is not None
        if self.input_node.GetScene() is None:
            self.error = InputError("the scan was removed while it was enhanced", "load it and press Apply again")
            return FAILED
        if self.output_node is None or self.output_node.GetScene() is None:
            name = f"{self.input_node.GetName()}_{self._run.request.model}"
            self.output_node = records.new_volume_node(name, self.input_node)
        done = replace(done, provenance=replace(done.provenance, input_name=self.input_node.GetName()))
        store_enhancement(done, self.input_node, self.output_node)
        self.warnings = done.warnings
        return SUCCEEDED


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
