"""Apply ↔ Cancel: one button, a progress bar and a line of text around a running task. Shared by our modules."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.slicer_adapter import texts
from MRHarmonizationLib.slicer_adapter.jobs import CANCELLED, RUNNING, SUCCEEDED
from MRHarmonizationLib.slicer_adapter.node_task import NodeTask, Poller


class RunControl:
    """Watches one task at a time from Qt's event loop.

    Parameters
    ----------
    ui : object
        Holds ``applyButton``, ``progressBar`` and ``statusLabel`` as attributes.
    translate : callable(str) -> str
    on_ended : callable(NodeTask)
        Called when a task has ended, however it did.

    Attributes
    ----------
    task : NodeTask or None
        What runs now.
    """

    def __init__(self, ui: Any, translate: Callable[[str], str], on_ended: Callable[[Any], None]) -> None:
        self.task: NodeTask[Any] | None = None
        self._ui, self._translate, self._on_ended = ui, translate, on_ended
        self._poller: Poller | None = None
        self._message = ""

    def run(self, start: Callable[[], NodeTask[Any]]) -> None:
        """Start a task and watch it; an error at the start is shown."""
        self.say(self._translate("Starting…"))
        try:
            self.task = start()
        except MRHarmonizationError as error:
            self.show_error(error)
            return
        self._message = ""
        self._ui.progressBar.value = 0
        self._poller = Poller(self._look)

    def on_progress(self, fraction: float, message: str) -> None:
        """Take in what a task reports."""
        self._ui.progressBar.value = round(100 * fraction)
        self._message = message

    def cancel(self) -> None:
        """End the task, if there is one; the scene stays as it was before it."""
        if self.task is not None:
            self.task.cancel()
            self._end()

    def cancel_without_inputs(self) -> None:
        """End the task if one of the nodes it was made from is no longer in the scene."""
        if self.task is not None and any(node.GetScene() is None for node in self.task.input_nodes):
            self.cancel()

    def show(self, hindrance: str, ready: str) -> None:
        """Show button and progress bar as they are now.

        Parameters
        ----------
        hindrance : str
            Why nothing can be run; empty where it can.
        ready : str
            What the button does.
        """
        running = self.task is not None
        button = self._ui.applyButton
        button.text = self._translate("Cancel") if running else self._translate("Apply")
        button.enabled = running or not hindrance
        button.toolTip = self._translate("Stop; nothing is changed.") if running else hindrance or ready
        self._ui.progressBar.visible = running

    def say(self, text: str, colour: str = "") -> None:
        """Write the line below the button."""
        self._ui.statusLabel.setStyleSheet(f"color: {colour};" if colour else "")
        self._ui.statusLabel.text = text

    def show_error(self, error: MRHarmonizationError) -> None:
        """Say what is wrong and what to do; no pop-up."""
        logging.getLogger(__name__).error("%s", error)
        self.say(texts.sentence(str(error)), texts.WRONG)

    def _look(self) -> None:
        if self.task is None:
            return
        if self.task.step() != RUNNING:
            self._end()
        elif self._message:
            self.say(f"{self._message} ({texts.duration_text(self.task.elapsed_s)})")

    def _end(self) -> None:
        task, self.task = self.task, None
        if task is None:
            return
        if self._poller is not None:
            self._poller.stop()
        if task.state == SUCCEEDED:
            self.say(f"{self._translate('Done in')} {texts.duration_text(task.seconds)}.", texts.GOOD)
        elif task.state == CANCELLED:
            self.say(self._translate("Cancelled; nothing was changed."))
        elif task.error is not None:
            self.show_error(task.error)
        self._on_ended(task)
