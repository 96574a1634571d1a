"""The section "Before | after" of a panel: buttons, planes, reference, measurements, undo. Shared by our modules.

The section's widgets, by name: ``showButton``, ``swapButton``, ``rockButton``, ``differenceButton`` (checkable),
``restoreButton``, ``undoButton``, ``measuresLabel``. It never computes in the window's thread what takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.slicer_adapter import records, results, texts
from MRHarmonizationLib.slicer_adapter.layouts import ComparisonView
from MRHarmonizationLib.slicer_adapter.measures import BackgroundMeasure, BeforeAfter, measure
from MRHarmonizationLib.slicer_adapter.nodes import volume_from_node, volume_in_frame_of
from MRHarmonizationLib.slicer_adapter.tasks import Poller


class ComparisonPanel:
    """Drives the section for one result at a time.

    Parameters
    ----------
    ui : object
        Holds the widgets as attributes.
    translate : callable(str) -> str
    on_error : callable(MRHarmonizationError)
        Shows an error to the user.
    """

    def __init__(
        self, ui: Any, translate: Callable[[str], str], on_error: Callable[[MRHarmonizationError], None]
    ) -> None:
        self._ui, self._translate, self._on_error = ui, translate, on_error
        self.view = ComparisonView()
        self._result: Any = None
        self._reference: Any = None
        self._measuring: BackgroundMeasure | None = None
        self._poller: Poller | None = None
        self._planes = "axial_sagittal"
        for button, slot in (
            (ui.showButton, self._on_show),
            (ui.swapButton, self._on_swap),
            (ui.rockButton, self._on_rock),
            (ui.differenceButton, self._on_difference),
            (ui.restoreButton, self._on_restore),
            (ui.undoButton, self._on_undo),
        ):
            button.connect("clicked(bool)", slot)

    def close(self) -> None:
        """Stop everything and let go of all nodes."""
        self._stop_measuring()
        self.view.forget()
        self._result = self._reference = None
        self.show_measures(())
        self.update()

    def set_result(self, node: Any, reference: Any, planes: str) -> None:
        """Follow the panel's choices.

        Parameters
        ----------
        node : vtkMRMLScalarVolumeNode or None
            The result; one that was not made by this extension counts as none.
        reference : vtkMRMLScalarVolumeNode or None
        planes : str
            A key of :data:`~MRHarmonizationLib.slicer_adapter.layouts.PLANES`.
        """
        node = node if records.is_output(node) else None
        changed, planes_changed = node is not self._result, planes != self._planes
        reference_changed = reference is not self._reference
        self._result, self._reference, self._planes = node, reference, planes
        if changed:
            self._ui.measuresLabel.text = ""
        if planes_changed and self.view.is_shown:
            self.show()
        if node is not None and (changed or reference_changed):
            self.measure()
        self.update()

    def show(self) -> None:
        """Show scan and result side by side."""
        scan = self._scan()
        if scan is None:
            return
        self.view.show(scan, self._result, self._planes)
        if self._ui.differenceButton.checked:
            self._show_difference(True)
        self.update()

    def update(self) -> None:
        """Enable and check the buttons as the result and the views are."""
        ui, view = self._ui, self.view
        comparable = self._scan() is not None
        shown = view.is_shown and comparable
        ui.showButton.enabled = comparable
        for button, checked in (
            (ui.showButton, shown),
            (ui.swapButton, shown and view.is_swapped),
            (ui.rockButton, shown and view.is_rocking),
            (ui.differenceButton, shown and view.shows_difference),
        ):
            button.checked = checked
        for button in (ui.swapButton, ui.rockButton, ui.differenceButton):
            button.enabled = shown
        ui.restoreButton.enabled = view.is_laid_out
        ui.undoButton.enabled = results.residual_node_of(self._result) is not None
        undone = self._result is not None and results.is_undone(self._result)
        ui.undoButton.text = self._translate("Redo") if undone else self._translate("Undo")

    def voxels_changed(self) -> None:
        """Bring difference and measurements up to date after the result got other voxels."""
        if self._result is None:
            return
        if self.view.shows_difference:
            self._show_difference(True)
        self.measure()
        self.update()

    def show_measures(self, found: tuple[BeforeAfter, ...], held_against: str = "") -> None:
        """Show measurements."""
        self._ui.measuresLabel.text = texts.measures_text(found, held_against)
        self._ui.measuresLabel.toolTip = texts.measures_help(found)

    def measure(self) -> None:
        """Measure the result in the background and show the numbers when they are there."""
        self._stop_measuring()
        try:
            result, baseline = volume_from_node(self._result), results.baseline_of(self._result)
            truth = None if self._reference is None else volume_in_frame_of(self._reference, self._result)
        except MRHarmonizationError as error:
            self.show_measures(())
            self._on_error(error)
            return
        self._ui.measuresLabel.text = self._translate("Measuring…")
        self._measuring = BackgroundMeasure(lambda: measure(baseline, result, truth))
        self._poller = Poller(self._on_measured)

    @property
    def is_measuring(self) -> bool:
        """Whether numbers are still to come."""
        return self._measuring is not None

    # -- slots
    def _on_measured(self) -> None:
        job = self._measuring
        if job is None or not job.is_done():
            return
        self._stop_measuring()
        if job.error is not None:
            self.show_measures(())
            self._on_error(job.error)
        else:
            self.show_measures(job.found or (), "" if self._reference is None else self._reference.GetName())

    def _on_show(self, on: bool) -> None:
        if on:
            self.show()
        else:
            self._on_restore()

    def _on_swap(self, on: bool) -> None:
        self.view.swap(on)
        self.update()

    def _on_rock(self, on: bool) -> None:
        self.view.rock(on)
        self.update()

    def _on_difference(self, on: bool) -> None:
        self._show_difference(on)
        self.update()

    def _on_restore(self, *_: Any) -> None:
        self.view.restore()
        self.update()

    def _on_undo(self, *_: Any) -> None:
        try:
            results.toggle_undo(self._result)
        except MRHarmonizationError as error:
            self._on_error(error)
            return
        self.voxels_changed()

    # -- how it works
    def _scan(self) -> Any:
        return None if self._result is None else self._result.GetNodeReference(records.INPUT_ROLE)

    def _show_difference(self, on: bool) -> None:
        try:
            self.view.show_difference(results.update_difference(self._result) if on else None)
        except MRHarmonizationError as error:
            self._on_error(error)

    def _stop_measuring(self) -> None:
        if self._poller is not None:
            self._poller.stop()
        self._measuring = self._poller = None
