"""Choices of a comparison's panel that depend on what there is: segments of the mask, texture features, brain regions.

The widgets, by name: ``segmentComboBox``, ``mapComboBox``, ``regionsCheckBox``, ``beforeLabelsSelector``,
``afterLabelsSelector``, ``referenceLabelsSelector``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.core.texture import FEATURES, MAP_FEATURES
from MRHarmonizationLib.slicer_adapter.masks import parts_of
from MRHarmonizationLib.slicer_adapter.metric_rows import metric_title
from MRHarmonizationLib.slicer_adapter.texts import sentence

#: What can be done without the network.
OWN_LABELS = "Or choose your own label maps below."
#: Features listed first, as they say most to a reader.
FIRST_FEATURES = ("contrast", "homogeneity", "correlation", "joint_entropy")


def map_features() -> list[str]:
    """Return the texture features there are maps of, the usual ones first."""
    return [
        *(name for name in FIRST_FEATURES if name in MAP_FEATURES),
        *sorted(set(MAP_FEATURES) - set(FIRST_FEATURES)),
    ]


def why_no_regions() -> str:
    """Return why the brain's structures cannot be found by the network, '' where they can."""
    from MRHarmonizationLib.inference.segment import segmenter
    from MRHarmonizationLib.weights.store import verify

    try:
        verify(segmenter())
    except MRHarmonizationError as error:
        return sentence(str(error))
    return ""


class CompareChoices:
    """Fills the lists and tells what is chosen.

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
        self._regions, self._regions_tip, self._no_network = ui.regionsCheckBox, ui.regionsCheckBox.toolTip, ""
        self._labels = [getattr(ui, f"{role}LabelsSelector") for role in ("before", "after", "reference")]
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

    def look_for_network(self) -> None:
        """Look whether the network that finds brain structures is installed."""
        self._no_network = why_no_regions()

    def show_regions(self, labels: Sequence[Any], has_reference: bool) -> None:
        """Enable the choice of brain regions where there is something to measure them by.

        Parameters
        ----------
        labels : sequence of node or None
            The user's own label maps that are chosen.
        has_reference : bool
        """
        possible = not self._no_network or any(node is not None for node in labels)
        self._regions.enabled = possible
        self._regions.toolTip = self._regions_tip if possible else f"{self._no_network} {self._translate(OWN_LABELS)}"
        for number, selector in enumerate(self._labels):
            selector.enabled = has_reference or number < 2


def _choose(combo: Any, data: str, count: int) -> None:
    combo.blockSignals(True)
    combo.currentIndex = max(0, combo.findData(data)) if count else -1
    combo.blockSignals(False)


def _teller(combo: Any, tell: Callable[[str], None]) -> Callable[[int], None]:
    def told(index: int) -> None:
        if index >= 0:
            tell(combo.itemData(index))

    return told
