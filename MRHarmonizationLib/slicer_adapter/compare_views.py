"""Before and after in the views: side by side, swapped, rocking, difference, checkerboard, feature maps, curves.

The widgets, by name: those of :mod:`~MRHarmonizationLib.slicer_adapter.view_controls`, ``differenceButton``,
``checkerButton``, ``curvesButton`` (checkable), ``shownComboBox``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.slicer_adapter import derived, layouts
from MRHarmonizationLib.slicer_adapter.background import BackgroundCall
from MRHarmonizationLib.slicer_adapter.comparisons import StoredComparison
from MRHarmonizationLib.slicer_adapter.metric_rows import metric_title
from MRHarmonizationLib.slicer_adapter.node_task import Poller
from MRHarmonizationLib.slicer_adapter.nodes import check_scalar_node, volume_from_node, volume_in_frame_of
from MRHarmonizationLib.slicer_adapter.view_controls import ViewControls
from MRHarmonizationLib.volumes.volume import Volume

#: Entry of the list of what is shown that stands for the images themselves.
IMAGES = ""


@dataclass
class _Picture:
    """A picture on its way: what it is made of, and who waits for it."""

    kind: str
    before: Any
    after: Any
    job: BackgroundCall[Volume]
    done: Callable[[Any], None]


class CompareViews:
    """Drives the section for one pair of volumes at a time.

    Parameters
    ----------
    ui : object
        Holds the widgets as attributes.
    translate : callable(str) -> str
    on_error : callable(MRHarmonizationError)
    on_chosen : callable(str)
        Called when the user chooses what is shown.
    """

    def __init__(
        self,
        ui: Any,
        translate: Callable[[str], str],
        on_error: Callable[[MRHarmonizationError], None],
        on_chosen: Callable[[str], None],
    ) -> None:
        self._ui, self._translate, self._on_error, self._on_chosen = ui, translate, on_error, on_chosen
        self._before: Any = None
        self._after: Any = None
        self._stored: StoredComparison | None = None
        self._shown = IMAGES
        self._square_mm = derived.DEFAULT_SQUARE_MM
        self._chart_id = ""
        self._picture: _Picture | None = None
        self._poller: Poller | None = None
        overlays = {
            layouts.DIFFERENCE: (ui.differenceButton, self._maker(derived.DIFFERENCE)),
            layouts.CHECKERBOARD: (ui.checkerButton, self._maker(derived.CHECKERBOARD)),
        }
        self.controls = ViewControls(ui, self._pair, overlays, on_error, has_curves=True)
        self.view = self.controls.view
        ui.curvesButton.connect("clicked(bool)", self._on_curves)
        ui.shownComboBox.connect("currentIndexChanged(int)", self._on_shown)

    @property
    def is_working(self) -> bool:
        """Whether a picture is still to come."""
        return self._picture is not None

    def set_images(self, before: Any, after: Any, planes: str, same_window: bool, square_mm: float) -> None:
        """Follow the panel's choices.

        Parameters
        ----------
        before, after : vtkMRMLScalarVolumeNode or None
        planes : str
            A key of :data:`~MRHarmonizationLib.slicer_adapter.layouts.PLANES`.
        same_window : bool
            One window and level for both sides.
        square_mm : float
            Side of the checkerboard's cubes.
        """
        changed = before is not self._before or after is not self._after
        resized, self._square_mm = square_mm != self._square_mm, square_mm
        unlike = same_window != self.view.same_window
        self._before, self._after, self.view.same_window = before, after, same_window
        self.controls.set_planes(planes)
        if (changed or unlike) and self.view.is_shown:
            if self._pair() is None:
                self.view.forget()
            self.show()
        elif resized and self.view.overlay == layouts.CHECKERBOARD:
            self.controls.refresh_overlay()
        self.update()

    def set_result(self, stored: StoredComparison | None, shown: str) -> None:
        """Offer the maps of a comparison, and show what the panel has chosen of images and maps."""
        self._stored = stored
        features = stored.map_features if stored is not None else []
        combo = self._ui.shownComboBox
        combo.blockSignals(True)
        combo.clear()
        combo.addItem(self._translate("Images"), IMAGES)
        for feature in features:
            combo.addItem(f"{self._translate('Texture map')}: {metric_title(feature).lower()}", feature)
        combo.currentIndex = max(0, combo.findData(shown))
        combo.blockSignals(False)
        combo.enabled = bool(features)
        shown = shown if shown in features else IMAGES
        changed, self._shown = shown != self._shown, shown
        if changed and self.view.is_shown:
            self.show()
        self.update()

    def show(self) -> None:
        """Show both sides."""
        self._share_window()
        self.controls.show()
        self.update()

    def show_chart(self, chart: Any) -> None:
        """Show a chart in the plot view, if there is one; None takes away what was put there, not what others put."""
        node = layouts.curves_view_node()
        if node is None:
            return
        shown, wanted = node.GetPlotChartNodeID(), "" if chart is None else chart.GetID()
        if wanted and (wanted != self._chart_id or not shown):
            node.SetPlotChartNodeID(wanted)
        elif not wanted and self._chart_id and shown == self._chart_id:
            node.SetPlotChartNodeID(None)
        self._chart_id = wanted

    def update(self) -> None:
        """Enable and check the buttons as volumes and views are."""
        self.controls.update()
        self._ui.curvesButton.enabled = self._pair() is not None
        self._ui.curvesButton.checked = self.view.shows_curves

    def close(self) -> None:
        """Stop everything and let go of all nodes."""
        self._stop()
        self.view.forget()
        self._before = self._after = None
        self._chart_id = ""
        self.set_result(None, IMAGES)

    # -- how it works
    def _pair(self) -> tuple[Any, Any] | None:
        if self._shown != IMAGES and self._stored is not None:
            maps = self._stored.maps
            pair = maps.get(f"before_{self._shown}"), maps.get(f"after_{self._shown}")
        else:
            pair = self._before, self._after
        if None in pair or pair[0] is pair[1]:
            return None
        try:
            for node in pair:
                check_scalar_node(node)
        except MRHarmonizationError:
            return None
        return pair

    def _share_window(self) -> None:
        """Give after the window and level of before, where both are to have one."""
        pair = self._pair()
        if pair is None or not self.view.same_window:
            return
        source, target = (node.GetScalarVolumeDisplayNode() for node in pair)
        if source is not None and target is not None:
            target.SetAutoWindowLevel(False)
            target.SetWindowLevel(source.GetWindow(), source.GetLevel())

    def _maker(self, kind: str) -> Callable[[Callable[[Any], None]], None]:
        def make(done: Callable[[Any], None]) -> None:
            pair = self._pair()
            if pair is None:
                return
            before, after = volume_in_frame_of(*pair), volume_from_node(pair[1])
            square_mm = self._square_mm

            def compute() -> Volume:
                if kind == derived.DIFFERENCE:
                    return derived.difference_volume(before, after)
                return derived.checkerboard_volume(before, after, square_mm)

            self._stop()  # a picture asked for earlier is no longer wanted
            self._picture = _Picture(kind, *pair, BackgroundCall(compute, f"making the {kind}"), done)
            self._poller = Poller(self._look, 30)

        return make

    def _look(self) -> None:
        picture = self._picture
        if picture is None or not picture.job.is_done():
            return
        self._stop()
        if picture.before.GetScene() is None or picture.after.GetScene() is None:
            return
        if picture.job.error is not None:
            self._on_error(picture.job.error)
            self.update()
        elif picture.job.found is not None:
            picture.done(derived.store_derived(picture.kind, picture.job.found, picture.before, picture.after))

    def _stop(self) -> None:
        if self._poller is not None:
            self._poller.stop()
        self._picture = self._poller = None

    def _on_curves(self, on: bool) -> None:
        self.view.show_curves(on)
        if on and not self.view.is_shown:
            self.show()
        self._on_chosen(self._shown)
        self.update()

    def _on_shown(self, index: int) -> None:
        if index >= 0:
            self._on_chosen(self._ui.shownComboBox.itemData(index))
