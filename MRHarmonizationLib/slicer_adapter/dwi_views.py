"""Scan and harmonised scan in the views: volume by volume, or as maps of b0, trace, FA and MD.

The widgets, by name: those of :mod:`~MRHarmonizationLib.slicer_adapter.view_controls`, ``differenceButton``
(checkable), ``shownComboBox``, ``volumeSlider``, ``volumeLabel``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.slicer_adapter import derived
from MRHarmonizationLib.slicer_adapter.background import BackgroundCall
from MRHarmonizationLib.slicer_adapter.dwi_nodes import check_dwi_node, values_of_dwi_node, weighting_of_node
from MRHarmonizationLib.slicer_adapter.dwi_readiness import shell_name, volume_text
from MRHarmonizationLib.slicer_adapter.dwi_results import MAP_TITLES, DwiResult
from MRHarmonizationLib.slicer_adapter.layouts import DIFFERENCE
from MRHarmonizationLib.slicer_adapter.node_task import Poller
from MRHarmonizationLib.slicer_adapter.nodes import grid_of_node, moved_to_frame, volume_from_node
from MRHarmonizationLib.slicer_adapter.view_controls import ViewControls
from MRHarmonizationLib.volumes.volume import Volume

#: Entry of the list of what is shown that stands for the volumes of the scan.
VOLUMES = ""
#: Maps in physical units: both sides always have one window, the one that is usual for them (low, high).
FIXED_WINDOWS = {"fa": (0.0, 1.0), "md": (0.0, 3e-3)}
#: Their differences are shown up to this: noise far below the limits is to look like nothing.
DIFFERENCE_LIMITS = {"fa": 0.05, "md": 1e-4}
#: Brightness range of a volume or map: from 0 to this percentile of its values.
BRIGHT_PERCENTILE = 99.5
#: Slices looked at for it, at most.
_LOOKED_AT_SLICES = 24


class DwiViews:
    """Drives the section for one scan and one result at a time.

    Parameters
    ----------
    ui : object
        Holds the widgets as attributes.
    translate : callable(str) -> str
    on_error : callable(MRHarmonizationError)
    choose : callable(str, object)
        Called with the parameter the user changes and its new value: 'shown' ('' for the volumes, or a map), 'volume'.
    """

    def __init__(
        self,
        ui: Any,
        translate: Callable[[str], str],
        on_error: Callable[[MRHarmonizationError], None],
        choose: Callable[[str, Any], None],
    ) -> None:
        self._ui, self._translate, self._on_error = ui, translate, on_error
        self._choose = choose
        self._scan: Any = None
        self._result: DwiResult | None = None
        self._shown, self._volume = VOLUMES, 0
        self._scheme: tuple[np.ndarray, np.ndarray] | None = None
        self._same_window = False
        self._windows: dict[str, tuple[tuple[float, float], ...]] = {}
        self._seen: tuple[str, tuple[Any, ...]] = ("", ())
        self._picture: BackgroundCall[Volume] | None = None
        self._poller: Poller | None = None
        self.controls = ViewControls(ui, self._pair, {DIFFERENCE: (ui.differenceButton, self._make)}, on_error)
        self.view = self.controls.view
        ui.shownComboBox.connect("currentIndexChanged(int)", self._on_shown_chosen)
        ui.volumeSlider.connect("valueChanged(double)", self._on_slider)

    @property
    def is_working(self) -> bool:
        """Whether a picture is still to come."""
        return self._picture is not None

    def set_scan(self, scan: Any, result: DwiResult | None, planes: str, same_window: bool) -> None:
        """Follow the panel's choices.

        Parameters
        ----------
        scan : vtkMRMLDiffusionWeightedVolumeNode or None
        result : DwiResult or None
            What was made of the scan.
        planes : str
            A key of :data:`~MRHarmonizationLib.slicer_adapter.layouts.PLANES`.
        same_window : bool
            One window and level for both sides.
        """
        node = None if result is None else result.node
        old = None if self._result is None else self._result.node
        changed = scan is not self._scan or node is not old
        unlike = same_window != self._same_window
        self._scan, self._result, self._same_window = scan, result, same_window
        self._scheme = _scheme_of(scan)
        if changed:
            self._windows, self._seen = {}, ("", ())
        self.controls.set_planes(planes)
        if (changed or unlike) and self.view.is_shown:
            if self._pair() is None:
                self.view.forget()
            self.show()
        elif changed or unlike:
            self._bring_up()
        self.update()

    def set_shown(self, shown: str, volume: int) -> None:
        """Show a map, or the volume of this index."""
        combo, maps = self._ui.shownComboBox, self._result.map_names if self._result is not None else []
        combo.blockSignals(True)
        combo.clear()
        combo.addItem(self._translate("Volumes"), VOLUMES)
        for name in maps:
            combo.addItem(self._translate(MAP_TITLES[name]), name)
        combo.currentIndex = max(0, combo.findData(shown))
        combo.blockSignals(False)
        combo.enabled = bool(maps)
        shown = shown if shown in maps else VOLUMES
        last = self._scheme[0].size - 1 if self._scheme is not None else 0
        volume = min(max(int(volume), 0), last)
        moved, other = volume != self._volume, shown != self._shown
        self._shown, self._volume = shown, volume
        self._fill_slider(last)
        if other and self.view.is_shown:
            self.show()
        elif moved or other:
            self._bring_up()
        self.update()

    def show(self) -> None:
        """Show both sides."""
        self._bring_up(refresh=False)
        self.controls.show()
        self.update()

    def voxels_changed(self) -> None:
        """Show the result with its new voxels in the right brightness, and its difference anew."""
        self._windows, self._seen = {}, ("", ())
        self._bring_up()

    def update(self) -> None:
        """Enable and check the buttons as nodes and views are."""
        self.controls.update()

    def close(self) -> None:
        """Stop everything and let go of all nodes."""
        self._stop()
        self.view.forget()
        self._scan = self._result = self._scheme = None
        self._windows, self._seen = {}, ("", ())
        self.set_shown(VOLUMES, 0)

    # -- what is shown
    def _pair(self) -> tuple[Any, Any] | None:
        if self._scan is None or self._result is None:
            return None
        if self._shown != VOLUMES:
            pair = self._result.map(self._shown, "before"), self._result.map(self._shown, "after")
        else:
            pair = self._scan, self._result.node
        if None in pair:
            return None
        try:
            if self._shown == VOLUMES:
                for node in pair:
                    check_dwi_node(node)
        except MRHarmonizationError:
            return None
        return pair

    def _bring_up(self, refresh: bool = True) -> None:
        """Turn both sides to the chosen volume, each with its brightness."""
        shared = self._shown in FIXED_WINDOWS or self._same_window
        self.view.same_window = shared
        alone = (self._scan,) if self._scheme is not None else ()
        pair: tuple[Any, ...] = self._pair() or alone
        if self._shown == VOLUMES:
            for node in pair:
                _turn_to(node, self._volume)
        key = f"{self._shown or self._shell()}{' shared' if shared else ''}"
        if pair and (key, pair) != self._seen:
            self._remember()
            self._apply_windows(pair, key, shared)
            self._seen = (key, pair)
        if refresh:
            self.controls.refresh_overlay()

    def _shell(self) -> str:
        return "" if self._scheme is None else shell_name(self._volume, self._scheme[0])

    def _remember(self) -> None:
        """Keep the brightness the user may have changed, for the next time this kind of volume is shown."""
        key, nodes = self._seen
        displays = [node.GetScalarVolumeDisplayNode() for node in nodes if node.GetScene() is not None]
        if key and len(displays) == len(nodes) and None not in displays:
            self._windows[key] = tuple((display.GetWindow(), display.GetLevel()) for display in displays)

    def _apply_windows(self, pair: tuple[Any, ...], key: str, shared: bool) -> None:
        found = self._windows.get(key)
        if found is None or len(found) != len(pair):
            found = tuple(self._window_of(node) for node in pair)
        for number, node in enumerate(pair):
            display = node.GetScalarVolumeDisplayNode()
            if display is not None:
                display.SetAutoWindowLevel(False)
                display.SetWindowLevel(*found[0 if shared else number])

    def _window_of(self, node: Any) -> tuple[float, float]:
        if self._shown in FIXED_WINDOWS:
            low, high = FIXED_WINDOWS[self._shown]
        else:
            low, high = 0.0, _bright_value(_values_of(node, self._volume))
        return high - low, (low + high) / 2

    def _fill_slider(self, last: int) -> None:
        ui, on_volumes = self._ui, self._shown == VOLUMES and self._scheme is not None
        ui.volumeSlider.blockSignals(True)
        ui.volumeSlider.maximum = float(max(last, 1) + 1)
        ui.volumeSlider.value = float(self._volume + 1)  # people count from 1
        ui.volumeSlider.blockSignals(False)
        ui.volumeSlider.enabled = on_volumes and last > 0
        ui.volumeLabel.text = volume_text(self._volume, *self._scheme) if on_volumes and self._scheme else ""

    # -- difference
    def _make(self, done: Callable[[Any], None]) -> None:
        pair = self._pair()
        if pair is None:
            return
        before, after = (Volume(np.array(_values_of(n, self._volume)), grid_of_node(n), n.GetName()) for n in pair)
        before = moved_to_frame(before, *pair)
        self._stop()  # a picture asked for earlier is no longer wanted
        self._picture = BackgroundCall(lambda: derived.difference_volume(before, after), "making the difference")
        self._poller = Poller(lambda: self._look(pair, done), 30)

    def _look(self, pair: tuple[Any, Any], done: Callable[[Any], None]) -> None:
        job = self._picture
        if job is None or not job.is_done():
            return
        self._stop()
        if any(node.GetScene() is None for node in pair):
            return
        if job.error is not None:
            self._on_error(job.error)
            self.update()
        elif job.found is not None:
            node = derived.store_derived(derived.DIFFERENCE, job.found, *pair)
            limit = DIFFERENCE_LIMITS.get(self._shown)
            if limit is not None:
                node.GetScalarVolumeDisplayNode().SetWindowLevel(2 * limit, 0.0)
            done(node)

    def _stop(self) -> None:
        if self._poller is not None:
            self._poller.stop()
        self._picture = self._poller = None

    # -- slots
    def _on_shown_chosen(self, index: int) -> None:
        if index >= 0:
            self._choose("shown", self._ui.shownComboBox.itemData(index))

    def _on_slider(self, value: float) -> None:
        self._choose("volume", round(value) - 1)


def _scheme_of(scan: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Return b-values and directions of a scan; None where it is none."""
    if scan is None:
        return None
    try:
        return weighting_of_node(scan)
    except MRHarmonizationError:
        return None


def _turn_to(node: Any, volume: int) -> None:
    display = node.GetDisplayNode()
    if display is None:
        node.CreateDefaultDisplayNodes()
        display = node.GetDisplayNode()
    if display.GetDiffusionComponent() != volume:
        display.SetDiffusionComponent(volume)


def _values_of(node: Any, volume: int) -> np.ndarray:
    """Return one volume of a diffusion node or the voxels of a map, [K, J, I], to be read."""
    if not node.IsA("vtkMRMLDiffusionWeightedVolumeNode"):
        return volume_from_node(node).array
    return values_of_dwi_node(node)[..., volume]


def _bright_value(values: np.ndarray) -> float:
    looked_at = values[:: max(1, values.shape[0] // _LOOKED_AT_SLICES)]
    return float(np.percentile(looked_at, BRIGHT_PERCENTILE)) or 1.0
