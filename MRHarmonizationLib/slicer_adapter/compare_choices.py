"""Lists of a comparison's panel that are filled from what there is: segments and labels of the mask, texture features.

The widgets, by name: ``segmentComboBox``, ``mapComboBox``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from MRHarmonizationLib.core.texture import FEATURES, MAP_FEATURES
from MRHarmonizationLib.slicer_adapter.masks import parts_of
from MRHarmonizationLib.slicer_adapter.metric_rows import metric_title

#: Features listed first, as they say most to a reader.
FIRST_FEATURES = ("contrast", "homogeneity", "correlation", "joint_entropy")


def map_features() -> list[str]:
    """Return the texture features there are maps of, the usual ones first."""
    return [
        *(name for name in FIRST_FEATURES if name in MAP_FEATURES),
        *sorted(set(MAP_FEATURES) - set(FIRST_FEATURES)),
    ]


class CompareChoices:
    """Fills both lists and tells what is chosen.

    Parameters
    ----------
    ui : object
        Holds the widgets as attributes.
    translate : callable(str) -> str
    on_segment, on_feature : callable(str)
        Called when the user chooses; '' stands for all of the mask, and for no map.
    """

    def __init__(
        self,
        ui: Any,
        translate: Callable[[str], str],
        on_segment: Callable[[str], None],
        on_feature: Callable[[str], None],
    ) -> None:
        self._segments, self._features, self._translate = ui.segmentComboBox, ui.mapComboBox, translate
        self._offered: list[tuple[str, str]] | None = None
        self._features.addItem(translate("None"), "")
        for feature in map_features():
            self._features.addItem(metric_title(feature), feature)
        for combo, tell in ((self._segments, on_segment), (self._features, on_feature)):
            combo.connect("currentIndexChanged(int)", _teller(combo, tell))

    @property
    def segment(self) -> str:
        """The chosen part of the mask; '' for all of it."""
        index = self._segments.currentIndex
        return "" if index < 0 else str(self._segments.itemData(index))

    def show(self, mask: Any, segment: str, feature: str) -> None:
        """Offer the parts of a mask and show what is chosen; what is not offered counts as all of it."""
        parts = parts_of(mask)
        if parts != self._offered:
            self._offered = parts
            self._segments.blockSignals(True)
            self._segments.clear()
            for part, text in parts:
                self._segments.addItem(text, part)
            self._segments.blockSignals(False)
        self._segments.enabled = len(parts) > 1
        _choose(self._segments, segment, len(parts))
        _choose(self._features, feature, 1)
        told = FEATURES.get(feature) or self._translate("A texture feature around every voxel, as a volume.")
        self._features.toolTip = told


def _choose(combo: Any, data: str, count: int) -> None:
    combo.blockSignals(True)
    combo.currentIndex = max(0, combo.findData(data)) if count else -1
    combo.blockSignals(False)


def _teller(combo: Any, tell: Callable[[str], None]) -> Callable[[int], None]:
    def told(index: int) -> None:
        if index >= 0:
            tell(combo.itemData(index))

    return told
