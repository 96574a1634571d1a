"""The buttons around two volumes side by side: show, swap, rock, difference, restore. Shared by our modules.

The widgets, by name: ``showButton``, ``swapButton``, ``rockButton`` (checkable), ``restoreButton``; and one checkable
button for each picture that can be made of both volumes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.slicer_adapter.layouts import ComparisonView

#: Makes a picture and hands over its node, at once or later: ``maker(done)`` calls ``done(node)``.
OverlayMaker = Callable[[Callable[[Any], None]], None]


class ViewControls:
    """Drives the buttons for one pair of volumes at a time.

    Parameters
    ----------
    ui : object
        Holds the widgets as attributes.
    pair : callable() -> (before, after) or None
        What is to be compared now.
    overlays : mapping of str to (button, OverlayMaker)
        Pictures made of both, by the name that is shown over them.
    on_error : callable(MRHarmonizationError)
    has_curves : bool
        Whether the panel has curves to show beside the slices.

    Attributes
    ----------
    view : ComparisonView
    """

    def __init__(
        self,
        ui: Any,
        pair: Callable[[], tuple[Any, Any] | None],
        overlays: Mapping[str, tuple[Any, OverlayMaker]],
        on_error: Callable[[MRHarmonizationError], None],
        has_curves: bool = False,
    ) -> None:
        self._ui, self._pair, self._overlays, self._on_error = ui, pair, dict(overlays), on_error
        self.view = ComparisonView(has_curves)
        self.planes = "axial_sagittal"
        for button, slot in (
            (ui.showButton, self._on_show),
            (ui.swapButton, self._on_swap),
            (ui.rockButton, self._on_rock),
            (ui.restoreButton, self._on_restore),
        ):
            button.connect("clicked(bool)", slot)
        for name, (button, _) in self._overlays.items():
            button.connect("clicked(bool)", self._overlay_slot(name))

    def show(self) -> None:
        """Show the volumes side by side, with the picture whose button is pressed."""
        pair = self._pair()
        if pair is None:
            return
        wanted = next((name for name, (button, _) in self._overlays.items() if button.checked), "")
        self.view.show(*pair, self.planes)
        if wanted:
            self.show_overlay(wanted)
        self.update()

    def set_planes(self, planes: str) -> None:
        """Choose the planes, a key of :data:`~MRHarmonizationLib.slicer_adapter.layouts.PLANES`."""
        changed, self.planes = planes != self.planes, planes
        if changed and self.view.is_shown:
            self.show()

    def show_overlay(self, name: str) -> None:
        """Make a picture of both and show it on the after side; '' brings after back."""
        if not name:
            self.view.show_overlay(None)
            self.update()
            return
        pair = self._pair()

        def done(node: Any) -> None:
            now = self._pair()
            if pair is not None and now is not None and now[0] is pair[0] and now[1] is pair[1]:
                self.view.show_overlay(node, name)
            self.update()

        try:
            self._overlays[name][1](done)
        except MRHarmonizationError as error:
            self._on_error(error)
            self.update()

    def refresh_overlay(self) -> None:
        """Make the shown picture again, after voxels have changed."""
        if self.view.overlay:
            self.show_overlay(self.view.overlay)

    def update(self) -> None:
        """Enable and check the buttons as the volumes and the views are."""
        ui, view = self._ui, self.view
        comparable = self._pair() is not None
        shown = view.is_shown and comparable
        ui.showButton.enabled = comparable
        states = [(ui.showButton, shown), (ui.swapButton, view.is_swapped), (ui.rockButton, view.is_rocking)]
        states += [(button, view.overlay == name) for name, (button, _) in self._overlays.items()]
        for button, checked in states:
            button.checked = shown and checked
            if button is not ui.showButton:
                button.enabled = shown
        ui.restoreButton.enabled = view.is_laid_out

    # -- slots
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

    def _overlay_slot(self, name: str) -> Callable[[bool], None]:
        def slot(on: bool) -> None:
            self.show_overlay(name if on else "")

        return slot

    def _on_restore(self, *_: Any) -> None:
        self.view.restore()
        self.update()
