"""Before | after: two linked columns of slice views beside the user's own layout, which is put back on request.

A plot view can be placed beside them.
"""

from __future__ import annotations

import contextlib
from typing import Any

#: Rows of slice views by choice, in the order they are offered.
PLANES: dict[str, tuple[str, ...]] = {
    "axial": ("Axial",),
    "sagittal": ("Sagittal",),
    "coronal": ("Coronal",),
    "axial_sagittal": ("Axial", "Sagittal"),
    "all": ("Axial", "Sagittal", "Coronal"),
}
#: Layout numbers of the choices: this one and the following; far from Slicer's own and other extensions'.
FIRST_LAYOUT_ID = 40317
#: Added to the number of a layout for the same one with a plot view.
WITH_CURVES = 20
#: Layout name of the plot view.
CURVES_VIEW = "MRHarmonizationCurves"
#: Group of the views, so that they are linked with each other and not with the user's views.
VIEW_GROUP = 4031
BEFORE, AFTER, DIFFERENCE, CHECKERBOARD = "Before", "After", "Difference", "Checkerboard"
_COLOURS = {BEFORE: "#8C9BAB", AFTER: "#3FA796"}
ROCK_INTERVAL_MS = 700
#: Attribute of the layout node: number of the layout which the user had before any comparison was shown.
FORMER_LAYOUT = "MRHarmonization.FormerLayout"
#: vtkMRMLLayoutNode.SlicerLayoutFourUpView, the layout of a fresh Slicer.
FOUR_UP = 3


def view_name(side: str, orientation: str) -> str:
    """Return the layout name of a view, unique among all extensions."""
    return f"MRHarmonization{side}{orientation}"


def layout_id(planes: str, curves: bool = False) -> int:
    """Return the layout number of a choice of planes, with or without a plot view."""
    return FIRST_LAYOUT_ID + list(PLANES).index(planes) + (WITH_CURVES if curves else 0)


def layout_ids() -> list[int]:
    """Return the numbers of all layouts."""
    return [layout_id(planes, curves) for planes in PLANES for curves in (False, True)]


def layout_description(planes: str, curves: bool = False) -> str:
    """Return the XML of a layout: one row per orientation, before on the left and after on the right.

    The plot view lies below a single row, to the right of several.
    """
    rows = []
    for orientation in PLANES[planes]:
        views = "".join(_view_description(side, orientation) for side in (BEFORE, AFTER))
        rows.append(f'<item><layout type="horizontal" split="true">{views}</layout></item>')
    slices = f'<layout type="vertical" split="true">{"".join(rows)}</layout>'
    if not curves:
        return slices
    plot = (
        f'<item><view class="vtkMRMLPlotViewNode" singletontag="{CURVES_VIEW}">'
        '<property name="viewlabel" action="default">Curves</property></view></item>'
    )
    direction = "vertical" if len(rows) == 1 else "horizontal"
    return f'<layout type="{direction}" split="true"><item>{slices}</item>{plot}</layout>'


def _view_description(side: str, orientation: str) -> str:
    properties = {"orientation": orientation, "viewlabel": side, "viewcolor": _COLOURS[side], "viewgroup": VIEW_GROUP}
    lines = "".join(f'<property name="{key}" action="default">{value}</property>' for key, value in properties.items())
    return f'<item><view class="vtkMRMLSliceNode" singletontag="{view_name(side, orientation)}">{lines}</view></item>'


def register_layouts() -> None:
    """Make the layouts known to Slicer, so that scenes saved with one of them open well."""
    import slicer

    manager = slicer.app.layoutManager()
    if manager is None:  # Slicer without a main window
        return
    node = manager.layoutLogic().GetLayoutNode()
    for planes in PLANES:
        for curves in (False, True):
            number, description = layout_id(planes, curves), layout_description(planes, curves)
            if node.IsLayoutDescription(number):
                node.SetLayoutDescription(number, description)
            else:
                node.AddLayoutDescription(number, description)


def _former_layout(node: Any) -> int:
    """Return the number of the layout to go back to, one that Slicer can show."""
    written = node.GetAttribute(FORMER_LAYOUT) or ""
    number = int(written) if written.isdecimal() else FOUR_UP
    return number if node.IsLayoutDescription(number) and number not in layout_ids() else FOUR_UP


def curves_view_node() -> Any:
    """Return the node of the plot view beside the slices (vtkMRMLPlotViewNode), or None before it was shown."""
    import slicer

    return slicer.mrmlScene.GetSingletonNode(CURVES_VIEW, "vtkMRMLPlotViewNode")


class ComparisonView:
    """Shows two volumes side by side with one window and level, swaps and rocks them, shows what is made of both.

    Parameters
    ----------
    has_curves : bool
        Whether curves belong to what is shown; else those of another panel are taken away.

    Attributes
    ----------
    same_window : bool
        Whether both sides have one window and level, from the next :meth:`show` on.
    """

    def __init__(self, has_curves: bool = False) -> None:
        self._has_curves = has_curves
        self._before: Any = None
        self._after: Any = None
        self._overlay: Any = None
        self._overlay_name = ""
        self.same_window = True
        self._planes, self._curves = "axial_sagittal", False
        self._swapped = self._rocked = False
        self._timer: Any = None
        self._observations: list[tuple[Any, int]] = []
        self._copying = False

    @property
    def is_shown(self) -> bool:
        """Whether the comparison is what the user sees."""
        return self._before is not None and self.is_laid_out

    @property
    def is_laid_out(self) -> bool:
        """Whether the user sees the layout of the comparison, with or without volumes in it."""
        manager = _layout_manager()
        return bool(manager is not None and manager.layout in layout_ids())

    @property
    def is_swapped(self) -> bool:
        """Whether the sides have changed places."""
        return self._swapped

    @property
    def is_rocking(self) -> bool:
        """Whether the right column alternates between after and before."""
        return self._timer is not None

    @property
    def shows_curves(self) -> bool:
        """Whether the plot view is what the user sees."""
        manager = _layout_manager()
        return bool(manager is not None and manager.layout in [layout_id(planes, True) for planes in PLANES])

    @property
    def overlay(self) -> str:
        """Name of what the after side shows in place of after: 'Difference', 'Checkerboard', or ''."""
        return self._overlay_name

    def show(self, before: Any, after: Any, planes: str | None = None) -> None:
        """Show two volumes, fitted to the views, linked.

        Parameters
        ----------
        before, after : vtkMRMLScalarVolumeNode
        planes : str, optional
            A key of :data:`PLANES`; the last one used if omitted.
        """
        manager = _layout_manager()
        if manager is None:
            return
        register_layouts()
        if self.is_laid_out:
            self._curves = self._has_curves and self.shows_curves
        else:
            manager.layoutLogic().GetLayoutNode().SetAttribute(FORMER_LAYOUT, str(manager.layout))
        self._planes = planes or self._planes
        same = self._before is before and self._after is after
        self._before, self._after = before, after
        if not same:
            self._overlay, self._overlay_name, self._swapped = None, "", False
        self.rock(False)
        manager.setLayout(layout_id(self._planes, self._curves))
        self._share_window_level()
        self._link()
        self._assign()
        self.fit()
        self._fit_soon()

    def restore(self) -> None:
        """Put the user's layout back, whichever panel or scene brought the comparison's; four views if unknown."""
        manager = _layout_manager()
        self.rock(False)
        if manager is not None and self.is_laid_out:
            manager.setLayout(_former_layout(manager.layoutLogic().GetLayoutNode()))

    def forget(self) -> None:
        """Let go of nodes and observers, as when the scene closes."""
        self.rock(False)
        self._stop_sharing()
        self._before = self._after = self._overlay = None
        self._overlay_name, self._swapped = "", False

    def swap(self, on: bool) -> None:
        """Let the sides change places, or put them back."""
        self._swapped = bool(on)
        self._assign()

    def rock(self, on: bool) -> None:
        """Let the right column alternate between after and before, or stop."""
        if on and self._timer is None and self._before is not None:
            import qt

            self._timer = qt.QTimer()
            self._timer.setInterval(ROCK_INTERVAL_MS)
            self._timer.connect("timeout()", self._on_rock)
            self._timer.start()
        elif not on and self._timer is not None:
            self._timer.stop()
            self._timer = None
            self._rocked = False
            self._assign()

    def show_overlay(self, volume: Any, name: str = DIFFERENCE) -> None:
        """Show what was made of both volumes instead of the after side; None brings after back."""
        self._overlay, self._overlay_name = volume, "" if volume is None else name
        self._assign()

    def show_curves(self, on: bool) -> None:
        """Place the plot view beside the slices, or take it away, now or when they are shown next."""
        self._curves = bool(on)
        manager = _layout_manager()
        if self.is_laid_out:
            manager.setLayout(layout_id(self._planes, self._curves))
            self._assign()
            self.fit()
            self._fit_soon()

    def fit(self) -> None:
        """Fit the slices to the volumes; both sides of a row show the same field of view and slice."""
        for orientation in PLANES[self._planes]:
            left, right = (_slice_widget(side, orientation) for side in (BEFORE, AFTER))
            if left is None or right is None:
                continue
            left.sliceLogic().FitSliceToBackground()
            left.sliceLogic().SnapSliceOffsetToIJK()
            source, target = left.mrmlSliceNode(), right.mrmlSliceNode()
            target.GetSliceToRAS().DeepCopy(source.GetSliceToRAS())
            target.SetFieldOfView(*source.GetFieldOfView())
            target.SetXYZOrigin(*source.GetXYZOrigin())
            target.UpdateMatrices()

    # -- how it works
    def _fit_soon(self) -> None:
        """Fit again when Qt has given the new views their size."""
        import qt

        qt.QTimer.singleShot(0, lambda: self.fit() if self.is_shown else None)

    def _on_rock(self) -> None:
        self._rocked = not self._rocked
        self._assign()

    def _assign(self) -> None:
        """Give each view its volume and its label."""
        if self._before is None or self._after is None:
            return
        before = (self._before, BEFORE)
        after = (self._after, AFTER) if self._overlay is None else (self._overlay, self._overlay_name)
        left, right = (after, before) if self._swapped else (before, after)
        if self._rocked:
            right = left
        for side, (volume, name) in ((BEFORE, left), (AFTER, right)):
            for orientation in PLANES[self._planes]:
                widget = _slice_widget(side, orientation)
                if widget is not None:
                    widget.mrmlSliceCompositeNode().SetBackgroundVolumeID(volume.GetID())
                    widget.mrmlSliceNode().SetLayoutLabel(name)

    def _link(self) -> None:
        """Link the views with each other only; closing a scene resets views to a group of all."""
        for side in (BEFORE, AFTER):
            for orientation in PLANES[self._planes]:
                widget = _slice_widget(side, orientation)
                if widget is not None:
                    widget.mrmlSliceNode().SetViewGroup(VIEW_GROUP)
                    composite = widget.mrmlSliceCompositeNode()
                    composite.SetLinkedControl(True)
                    composite.SetHotLinkedControl(True)
                    composite.SetForegroundVolumeID(None)
                    composite.SetLabelVolumeID(None)

    def _share_window_level(self) -> None:
        """Let a change of window or level on one side change the other."""
        import vtk

        self._stop_sharing()
        if not self.same_window:
            return
        for node, other in ((self._before, self._after), (self._after, self._before)):
            display = node.GetScalarVolumeDisplayNode()
            if display is not None:
                tag = display.AddObserver(vtk.vtkCommand.ModifiedEvent, self._window_level_copier(display, other))
                self._observations.append((display, tag))

    def _window_level_copier(self, source: Any, other: Any) -> Any:
        def copy(*_: Any) -> None:
            target = other.GetScalarVolumeDisplayNode()
            if target is None or self._copying or not self.is_shown:
                return
            if (target.GetWindow(), target.GetLevel()) != (source.GetWindow(), source.GetLevel()):
                self._copying = True
                target.SetAutoWindowLevel(False)
                target.SetWindowLevel(source.GetWindow(), source.GetLevel())
                self._copying = False

        return copy

    def _stop_sharing(self) -> None:
        for display, tag in self._observations:
            with contextlib.suppress(AttributeError):
                display.RemoveObserver(tag)
        self._observations = []


def _layout_manager() -> Any:
    import slicer

    return slicer.app.layoutManager()


def _slice_widget(side: str, orientation: str) -> Any:
    return _layout_manager().sliceWidget(view_name(side, orientation))
