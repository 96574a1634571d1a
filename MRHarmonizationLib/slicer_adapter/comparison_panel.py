"""The section "Before | after" of a panel that makes results: views, reference, measurements, undo.

The section's widgets, by name: those of :mod:`~MRHarmonizationLib.slicer_adapter.view_controls`, ``differenceButton``
(checkable), ``undoButton``, ``measuresLabel``. It never computes in the window's thread what takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.slicer_adapter import records, results, texts, units
from MRHarmonizationLib.slicer_adapter.background import BackgroundCall
from MRHarmonizationLib.slicer_adapter.layouts import DIFFERENCE
from MRHarmonizationLib.slicer_adapter.measures import BeforeAfter, measure, measure_distances
from MRHarmonizationLib.slicer_adapter.node_task import Poller
from MRHarmonizationLib.slicer_adapter.nodes import volume_from_node, volume_in_frame_of
from MRHarmonizationLib.slicer_adapter.tasks import mask_on_grid_of
from MRHarmonizationLib.slicer_adapter.view_controls import ViewControls


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
        self._result: Any = None
        self._reference: Any = None
        self._measuring: BackgroundCall[tuple[BeforeAfter, ...]] | None = None
        self._say: Callable[[tuple[BeforeAfter, ...]], str] = texts.measures_text
        self._poller: Poller | None = None
        overlays = {DIFFERENCE: (ui.differenceButton, self._make_difference)}
        self._controls = ViewControls(ui, self._pair, overlays, on_error)
        self.view = self._controls.view
        ui.undoButton.connect("clicked(bool)", self._on_undo)

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
            Not looked at for a standardised result, whose units are others.
        planes : str
            A key of :data:`~MRHarmonizationLib.slicer_adapter.layouts.PLANES`.
        """
        node = node if records.is_output(node) else None
        changed, reference_changed = node is not self._result, reference is not self._reference
        self._result, self._reference = node, reference
        if changed:
            self._ui.measuresLabel.text = ""
            self.view.same_window = not units.is_standardised(node)
        self._controls.set_planes(planes)
        if node is not None and (changed or reference_changed):
            self.measure()
        self.update()

    def show(self) -> None:
        """Show scan and result side by side."""
        self._controls.show()

    def update(self) -> None:
        """Enable and check the buttons as the result and the views are."""
        self._controls.update()
        ui = self._ui
        ui.undoButton.enabled = results.residual_node_of(self._result) is not None
        undone = self._result is not None and results.is_undone(self._result)
        ui.undoButton.text = self._translate("Redo") if undone else self._translate("Undo")

    def voxels_changed(self) -> None:
        """Bring difference and measurements up to date after the result got other voxels."""
        if self._result is None:
            return
        self._controls.refresh_overlay()
        self.measure()
        self.update()

    def show_measures(self, found: tuple[BeforeAfter, ...]) -> None:
        """Show measurements."""
        self._ui.measuresLabel.text = self._say(found)
        self._ui.measuresLabel.toolTip = texts.measures_help(found)

    def measure(self) -> None:
        """Measure the result in the background and show the numbers when they are there."""
        self._stop_measuring()
        try:
            call = self._distances() if units.is_standardised(self._result) else self._likeness()
        except MRHarmonizationError as error:
            self.show_measures(())
            self._on_error(error)
            return
        self._ui.measuresLabel.text = self._translate("Measuring…")
        self._measuring = BackgroundCall(call)
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
            self.show_measures(job.found or ())

    def _on_undo(self, *_: Any) -> None:
        try:
            results.toggle_undo(self._result)
        except MRHarmonizationError as error:
            self._on_error(error)
            return
        self.voxels_changed()

    # -- how it works
    def _likeness(self) -> Callable[[], tuple[BeforeAfter, ...]]:
        """Return what measures an enhancement: against the reference, or by itself."""
        result, baseline = volume_from_node(self._result), results.baseline_of(self._result)
        truth = None if self._reference is None else volume_in_frame_of(self._reference, self._result)
        name = "" if self._reference is None else self._reference.GetName()
        self._say = lambda found: texts.measures_text(found, name)
        return lambda: measure(baseline, result, truth)

    def _distances(self) -> Callable[[], tuple[BeforeAfter, ...]]:
        """Return what measures a standardisation: distances to its reference, where the run measured them."""
        node = self._result
        result, baseline, group = volume_from_node(node), results.baseline_of(node), units.group_of(node)
        mask = node.GetNodeReference(units.MASK_ROLE)
        part = node.GetAttribute(units.SEGMENT_ATTRIBUTE) or ""
        inside = None if mask is None else mask_on_grid_of(node, mask, part).array != 0
        place = self._translate("inside the object") if mask is None else self._translate("inside the mask")
        self._say = lambda found: texts.distances_text(found, group.id, place)
        return lambda: measure_distances(baseline, result, group, inside)

    def _pair(self) -> tuple[Any, Any] | None:
        scan = None if self._result is None else self._result.GetNodeReference(records.INPUT_ROLE)
        return None if scan is None else (scan, self._result)

    def _make_difference(self, done: Callable[[Any], None]) -> None:
        done(results.update_difference(self._result))

    def _stop_measuring(self) -> None:
        if self._poller is not None:
            self._poller.stop()
        self._measuring = self._poller = None
