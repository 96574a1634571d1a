"""What the panel for diffusion scans offers: methods, noise handling, voxels of the result."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from MRHarmonizationLib.inference.dwi_request import DEFAULT_METHOD, TARGET_SPACING
from MRHarmonizationLib.slicer_adapter import texts
from MRHarmonizationLib.slicer_adapter.masks import parts_of

#: Entries of the list of targets beside the shipped ones.
TARGET_SCAN, TARGET_FILE = "scan:", "file:"


class Noise(enum.Enum):
    """What is done about noise; stored in scenes by name: never rename a member."""

    AUTO = "auto"
    NONE = "none"
    FLOOR = "floor"
    DENOISE = "denoise"

    def label(self) -> str:
        """Return what the list shows."""
        from slicer.i18n import translate

        shown = {
            "AUTO": "Automatic",
            "NONE": "Leave it",
            "FLOOR": "Correct the noise floor",
            "DENOISE": "Denoise, then correct the floor",
        }
        return str(translate("MRHarmonization", shown[self.name]))


class OutputGrid(enum.Enum):
    """Voxels of the result; stored in scenes by name: never rename a member."""

    SCAN = "scan"
    TARGET = "target"
    ISOTROPIC = "isotropic"

    def label(self) -> str:
        """Return what the list shows."""
        from slicer.i18n import translate

        shown = {"SCAN": "As the scan's", "TARGET": "As the target's", "ISOTROPIC": "Cubes of the size below"}
        return str(translate("MRHarmonization", shown[self.name]))


@dataclass(frozen=True)
class DwiMethod:
    """One entry of the list of methods.

    Attributes
    ----------
    id : str
        As the request names it; for scenes and scripts.
    title, text : str
        For the list, for the line below it.
    needs_fitted : bool
        Whether a file of the fitted method has to be given; the target is in it.
    uses_target : bool
        Whether a target can be chosen.
    """

    id: str
    title: str
    text: str
    needs_fitted: bool
    uses_target: bool


def list_methods() -> list[DwiMethod]:
    """Return the methods, the usual one first; the network where one is installed."""
    from MRHarmonizationLib.inference.dwi_network import NETWORK, TASK
    from MRHarmonizationLib.methods.dwi_harmonizers import DWI_HARMONIZERS
    from MRHarmonizationLib.weights.store import list_models

    absent = () if list_models(TASK) else (NETWORK,)
    found = [
        DwiMethod(name, entry.title, texts.sentence(entry.summary), entry.needs_source, not entry.needs_source)
        for name, entry in DWI_HARMONIZERS.items()
        if name not in absent
    ]
    return sorted(found, key=lambda method: method.id != DEFAULT_METHOD)


def list_targets() -> list[tuple[str, str]]:
    """Return the titles and ids of the targets that come with the library."""
    from MRHarmonizationLib.methods.dwi_target import load_target, shipped_targets

    return [(load_target(name).title, name) for name in shipped_targets()]


class DwiChoices:
    """Fills the lists of methods, targets and segments and shows what is chosen.

    The widgets, by name: ``methodComboBox``, ``methodInfoLabel``, ``targetComboBox``, ``targetSelector``,
    ``targetPathEdit``, ``fittedPathEdit``, ``spacingSpinBox``, ``segmentComboBox``, and their labels.

    Parameters
    ----------
    ui : object
        Holds the widgets as attributes.
    translate : callable(str) -> str
    choose : callable(str, str)
        Called with the parameter the user changes ('method', 'target', 'targetPath', 'fittedPath', 'segmentID') and
        its new value.
    """

    def __init__(self, ui: Any, translate: Callable[[str], str], choose: Callable[[str, str], None]) -> None:
        self._ui, self._translate = ui, translate
        self._methods: list[DwiMethod] = []
        self._mask: tuple[Any, int] = (None, 0)
        self.fill()
        for combo, name in (
            (ui.methodComboBox, "method"),
            (ui.targetComboBox, "target"),
            (ui.segmentComboBox, "segmentID"),
        ):
            combo.connect("currentIndexChanged(int)", _teller(combo, name, choose))
        for edit, name in ((ui.targetPathEdit, "targetPath"), (ui.fittedPathEdit, "fittedPath")):
            edit.connect("currentPathChanged(QString)", _path_teller(name, choose))

    def fill(self) -> None:
        """List methods and targets."""
        self._methods = list_methods()
        _fill(self._ui.methodComboBox, [(entry.title, entry.id) for entry in self._methods])
        others = [("Another scan in the scene", TARGET_SCAN), ("A file", TARGET_FILE)]
        _fill(self._ui.targetComboBox, [*list_targets(), *((self._translate(text), data) for text, data in others)])

    def method(self, wanted: str) -> DwiMethod:
        """Return the method of this id, or the first one."""
        return next((entry for entry in self._methods if entry.id == wanted), self._methods[0])

    def show(self, parameters: Any) -> None:
        """Show what is chosen, and of the widgets only those that matter for it.

        Parameters
        ----------
        parameters : object
            The panel's parameter node.
        """
        ui, entry = self._ui, self.method(parameters.method)
        _select(ui.methodComboBox, entry.id)
        ui.methodInfoLabel.text, ui.methodInfoLabel.toolTip = entry.text, entry.title
        _select(ui.targetComboBox, parameters.target)
        for edit, path in ((ui.targetPathEdit, parameters.targetPath), (ui.fittedPathEdit, parameters.fittedPath)):
            if edit.currentPath != path:
                edit.currentPath = path
        for wanted, *widgets in (
            (entry.uses_target, ui.targetComboBox, ui.targetLabel),
            (entry.uses_target and _chosen(ui.targetComboBox) == TARGET_SCAN, ui.targetSelector, ui.targetScanLabel),
            (entry.uses_target and _chosen(ui.targetComboBox) == TARGET_FILE, ui.targetPathEdit, ui.targetFileLabel),
            (entry.needs_fitted, ui.fittedPathEdit, ui.fittedLabel),
            (parameters.outputGrid is OutputGrid.ISOTROPIC, ui.spacingSpinBox, ui.spacingLabel),
        ):
            for widget in widgets:
                widget.visible = wanted
        self._fill_segments(parameters.maskNode, parameters.segmentID)

    def options(self, parameters: Any) -> dict[str, Any]:
        """Return what is chosen as ``MRHarmonizationDWILogic.start`` takes it.

        Parameters
        ----------
        parameters : object
            The panel's parameter node.
        """
        entry, grid = self.method(parameters.method), parameters.outputGrid
        target, segment = _chosen(self._ui.targetComboBox), _chosen(self._ui.segmentComboBox)
        places = {TARGET_SCAN: parameters.targetNode, TARGET_FILE: parameters.targetPath}
        return {
            "method": entry.id,
            "target": places.get(target, target) if entry.uses_target else None,
            "fitted": parameters.fittedPath if entry.needs_fitted else None,
            "strength": parameters.strength,
            "noise": parameters.noise.value,
            "spacingMm": {OutputGrid.SCAN: None, OutputGrid.TARGET: TARGET_SPACING}.get(grid, parameters.spacingMm),
            "maskNode": parameters.maskNode,
            "segmentID": segment,
            "keepMaps": parameters.keepMaps,
            "keepResidual": parameters.keepResidual,
        }

    def missing(self, parameters: Any) -> str:
        """Return what the chosen method still needs, '' for nothing."""
        entry, target = self.method(parameters.method), _chosen(self._ui.targetComboBox)
        if entry.needs_fitted and not parameters.fittedPath:
            return self._translate("choose the file of the fitted method")
        if entry.uses_target and target == TARGET_SCAN and parameters.targetNode is None:
            return self._translate("choose the target scan")
        if entry.uses_target and target == TARGET_FILE and not parameters.targetPath:
            return self._translate("choose the target file")
        return ""

    def _fill_segments(self, mask: Any, segment: str) -> None:
        """Offer the parts of a mask; what is not offered counts as all of it."""
        combo, seen = self._ui.segmentComboBox, (mask, 0 if mask is None else mask.GetMTime())
        if seen != self._mask:
            self._mask = seen
            _fill(combo, [(title, part) for part, title in parts_of(mask)])
        _select(combo, segment)
        combo.enabled = combo.count > 1


def _fill(combo: Any, entries: Iterable[tuple[str, str]]) -> None:
    combo.blockSignals(True)
    combo.clear()
    for title, data in entries:
        combo.addItem(title, data)
    combo.blockSignals(False)


def _select(combo: Any, data: str) -> None:
    """Show the entry of this data, or the first one."""
    combo.blockSignals(True)
    combo.currentIndex = max(0, combo.findData(data)) if combo.count else -1
    combo.blockSignals(False)


def _chosen(combo: Any) -> str:
    return "" if combo.currentIndex < 0 else str(combo.itemData(combo.currentIndex))


def _teller(combo: Any, name: str, tell: Callable[[str, str], None]) -> Callable[[int], None]:
    def told(index: int) -> None:
        if index >= 0:
            tell(name, combo.itemData(index))

    return told


def _path_teller(name: str, tell: Callable[[str, str], None]) -> Callable[[str], None]:
    def told(path: str) -> None:
        tell(name, path)

    return told
