"""The tasks of the panel MR Enhance: what can be chosen for each, and how it is run.

All have one face: ``fill``, ``show``, ``readiness``, ``start``, and the texts of the panel.
"""

from __future__ import annotations

import html
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.inference.enhance import OUTPUT_SPACING_RANGE_MM, TASK
from MRHarmonizationLib.inference.harmonize import NEAREST
from MRHarmonizationLib.methods.harmonizers import Harmonizer
from MRHarmonizationLib.methods.reference_group import ReferenceGroup, load_group
from MRHarmonizationLib.slicer_adapter import records, results, texts, units
from MRHarmonizationLib.slicer_adapter.choices import Mode
from MRHarmonizationLib.slicer_adapter.enhance_logic import DEFAULT_METHOD, DEFAULT_MODEL, EnhanceOperations
from MRHarmonizationLib.slicer_adapter.masks import parts_of
from MRHarmonizationLib.slicer_adapter.node_task import NodeTask
from MRHarmonizationLib.slicer_adapter.readiness import Readiness, readiness, standardise_readiness
from MRHarmonizationLib.slicer_adapter.run_control import RunControl
from MRHarmonizationLib.weights.card import Card

Translate = Callable[[str], str]
Report = Callable[[float, str], None]

#: Between a method and the network it is to run, in the list of methods.
OF_MODEL = ":"
#: Widgets of the panel that belong to one task, by name, and the section they lie in.
WIDGETS: Mapping[Mode, Mapping[str, tuple[str, ...]]] = {
    Mode.ENHANCE: {
        "modelSection": (
            *("modelLabel", "modelComboBox", "modelInfoLabel", "strengthLabel", "strengthSlider"),
            *("deviceLabel", "deviceComboBox"),
        ),
        "advancedSection": (
            *("spacingLabel", "spacingSpinBox", "backendLabel", "backendComboBox"),
            *("importLabel", "importModelButton"),
        ),
        "compareSection": ("referenceLabel", "referenceSelector"),
    },
    Mode.STANDARDISE: {
        "modelSection": (
            *("methodLabel", "methodComboBox", "methodInfoLabel"),
            *("groupLabel", "groupComboBox", "groupFileButton", "groupInfoLabel"),
            *("strengthLabel", "strengthSlider"),
        ),
        "advancedSection": ("maskLabel", "maskSelector", "segmentLabel", "segmentComboBox"),
    },
    Mode.RESTORE: {
        "modelSection": (
            *("denoiseLabel", "denoiseSlider", "sharpenLabel", "sharpenSlider"),
            *("previewLabel", "previewCheckBox", "restoreInfoLabel", "deviceLabel", "deviceComboBox"),
        ),
        "advancedSection": (
            *("noiseLevelLabel", "noiseLevelSpinBox", "blurLevelLabel", "blurLevelSpinBox"),
            *("interpolatedLabel", "interpolatedCheckBox"),
            *("backendLabel", "backendComboBox", "importLabel", "importModelButton"),
        ),
        "compareSection": ("referenceLabel", "referenceSelector"),
    },
}


class PanelMode(Protocol):
    """What the panel needs of a task."""

    def title(self) -> str:
        """Return the title of the section with the task's choices."""

    def ready_text(self) -> str:
        """Say what the button does."""

    def fill(self) -> None:
        """List what there is."""

    def show(self, parameters: Any) -> None:
        """Show what is chosen, and what it means."""

    def hide(self) -> None:
        """Take back what the task shows outside of the panel: another task is chosen, or the panel left."""

    def readiness(self, parameters: Any) -> Readiness:
        """Look at the choices."""

    def start(self, parameters: Any, on_progress: Report) -> NodeTask[Any]:
        """Install what is missing and start a run."""


def show_widgets(ui: Any, mode: Mode) -> None:
    """Show the widgets of one task and hide the others'; a collapsed section decides itself, until it is opened."""
    for sections in WIDGETS.values():
        for section, names in sections.items():
            if not getattr(ui, section).collapsed:
                for name in names:
                    getattr(ui, name).visible = name in WIDGETS[mode].get(section, ())


def mode_of(node: Any) -> Mode:
    """Return the task a result was made by."""
    if units.is_restored(node):
        return Mode.RESTORE
    return Mode.STANDARDISE if units.is_standardised(node) else Mode.ENHANCE


class EnhanceMode:
    """Enhancement by a network: the list of models.

    Parameters
    ----------
    ui : object
        Holds the widgets as attributes.
    translate : callable(str) -> str
    logic : EnhanceOperations
    run : RunControl
        Says what happens.
    on_chosen : callable(name, value)
        Sets a parameter the user has chosen.
    """

    def __init__(
        self,
        ui: Any,
        translate: Translate,
        logic: EnhanceOperations,
        run: RunControl,
        on_chosen: Callable[[str, Any], None],
    ) -> None:
        self._ui, self._translate, self._logic, self._run, self._on_chosen = ui, translate, logic, run, on_chosen
        self._cards: list[Card] = []
        _tell(ui.modelComboBox, lambda model: on_chosen("model", model))
        ui.importModelButton.connect("clicked(bool)", self._on_import)

    def title(self) -> str:
        """Return the title of the section."""
        return self._translate("Enhancement")

    def ready_text(self) -> str:
        """Say what the button does."""
        return self._translate("Enhance the scan.")

    def fill(self) -> None:
        """List the models that can be found."""
        self._cards = self._logic.models()
        _offer(self._ui.modelComboBox, [(card.title, card.id) for card in self._cards])

    def card(self, parameters: Any) -> Card | None:
        """Return the card of the chosen model; None where there is no model at all."""
        cards = {card.id: card for card in self._cards}
        return cards.get(parameters.model) or cards.get(DEFAULT_MODEL) or next(iter(self._cards), None)

    def show(self, parameters: Any) -> None:
        """Show the model and what its card says."""
        card, ui = self.card(parameters), self._ui
        _choose(ui.modelComboBox, card.id if card else "")
        ui.modelInfoLabel.text = texts.card_text(card) if card else ""
        ui.modelInfoLabel.toolTip = texts.card_help(card) if card else ""

    def hide(self) -> None:
        """Nothing is shown outside of the panel."""

    def readiness(self, parameters: Any) -> Readiness:
        """Look at scan, result and model."""
        return readiness(parameters.inputVolume, parameters.outputVolume, self.card(parameters), _spacing(parameters))

    def start(self, parameters: Any, on_progress: Report) -> NodeTask[Any]:
        """Install what is missing and start an enhancement."""
        card = self.card(parameters)
        self._logic.ensureDependencies(parameters.backend.value, parameters.device.value)
        return self._logic.start(
            parameters.inputVolume,
            parameters.outputVolume,
            model=card.id if card else parameters.model,
            strength=parameters.strength,
            device=parameters.device.value,
            backend=parameters.backend.value,
            keepResidual=parameters.keepResidual,
            outputSpacingMm=_spacing(parameters),
            onProgress=on_progress,
        )

    def _on_import(self, *_: Any) -> None:
        """Add a model from disk: its card, and the weight file the card names."""
        path = _chosen_file(self._ui.importModelButton, self._translate("Model card"))
        if not path:
            return
        try:
            card = self._logic.importModel(path)
        except MRHarmonizationError as error:
            self._run.show_error(error)
            return
        self.fill()
        if card.task == TASK:
            self._on_chosen("model", card.id)
        else:
            self._on_chosen("restorer", card.id)
        self._run.say(self._translate("Added the model {title}.").format(title=card.title))


class StandardiseMode:
    """Standardisation of contrast: the lists of methods, reference groups and parts of a mask.

    Parameters
    ----------
    ui, translate, logic, on_chosen
        As for :class:`EnhanceMode`.
    """

    def __init__(
        self, ui: Any, translate: Translate, logic: EnhanceOperations, on_chosen: Callable[[str, Any], None]
    ) -> None:
        self._ui, self._translate, self._logic, self._on_chosen = ui, translate, logic, on_chosen
        self._methods: dict[str, tuple[Harmonizer, Card | None]] = {}
        self._groups: dict[str, ReferenceGroup] = {}
        _tell(ui.methodComboBox, lambda method: on_chosen("harmonizer", method))
        _tell(ui.groupComboBox, lambda group: on_chosen("referenceGroup", group))
        _tell(ui.segmentComboBox, lambda segment: on_chosen("segmentID", segment))
        ui.groupFileButton.connect("clicked(bool)", self._on_file)

    def title(self) -> str:
        """Return the title of the section."""
        return self._translate("Contrast")

    def ready_text(self) -> str:
        """Say what the button does."""
        return self._translate("Give the scan the contrast of the reference.")

    def fill(self) -> None:
        """List the methods, each network of one that runs networks, and the reference groups of the extension."""
        self._methods = {}
        installed = {card.id for card in self._logic.segmenters()}
        for method in self._logic.harmonizers():
            model = method.defaults.get("model")
            if model == "":  # any of the networks of its kind
                cards = self._logic.standardisers()
                self._methods |= {f"{method.name}{OF_MODEL}{card.id}": (method, card) for card in cards}
            elif model is None or model in installed:
                self._methods[method.name] = (method, None)
        self._groups = {group.id: group for group in self._logic.referenceGroups()}
        titles = [(card.title if card else method.title, key) for key, (method, card) in self._methods.items()]
        _offer(self._ui.methodComboBox, titles)

    def chosen(self, parameters: Any) -> str:
        """Return the key of the chosen method; the usual one where none is, or it does not exist any more."""
        return parameters.harmonizer if parameters.harmonizer in self._methods else DEFAULT_METHOD

    def show(self, parameters: Any) -> None:
        """Show method, reference and mask, and what is known of them."""
        ui, key, chosen = self._ui, self.chosen(parameters), parameters.referenceGroup
        method, card = self._methods[key]
        _choose(ui.methodComboBox, key)
        ui.methodInfoLabel.text = texts.card_text(card) if card else texts.sentence(method.summary)
        ui.methodInfoLabel.toolTip = texts.card_help(card) if card else self._translate("What the method does.")
        offered = [(self._translate("Most like the scan"), NEAREST)]
        offered += [(group.title, name) for name, group in self._groups.items()]
        if chosen != NEAREST and chosen not in self._groups:
            offered.append((Path(chosen).name, chosen))
        _offer(ui.groupComboBox, offered)
        _choose(ui.groupComboBox, chosen)
        ui.groupInfoLabel.text, ui.groupInfoLabel.toolTip = self._about(chosen, parameters)
        parts = parts_of(parameters.maskNode)
        _offer(ui.segmentComboBox, [(text, part) for part, text in parts])
        _choose(ui.segmentComboBox, parameters.segmentID if parts else "")
        ui.segmentComboBox.enabled = len(parts) > 1

    def hide(self) -> None:
        """Nothing is shown outside of the panel."""

    def readiness(self, parameters: Any) -> Readiness:
        """Look at scan, result and reference; what the shown result was warned of is said too."""
        scan, result = parameters.inputVolume, parameters.outputVolume
        ready = standardise_readiness(scan, result, parameters.referenceGroup)
        if not units.is_standardised(result) or records.input_of(result) is not scan:
            return ready
        return Readiness(ready.info, ready.warnings + results.warnings_of(result), ready.refusal, ready.missing)

    def start(self, parameters: Any, on_progress: Report) -> NodeTask[Any]:
        """Install what is missing and start a standardisation."""
        method, card = self._methods[self.chosen(parameters)]
        self._logic.ensureDependenciesToStandardise(method.name)
        return self._logic.startStandardising(
            parameters.inputVolume,
            parameters.outputVolume,
            method=method.name,
            reference=parameters.referenceGroup,
            strength=parameters.strength,
            maskNode=parameters.maskNode,
            segmentID=self._ui.segmentComboBox.itemData(max(0, self._ui.segmentComboBox.currentIndex)),
            keepResidual=parameters.keepResidual,
            parameters={"model": card.id} if card else {},
            onProgress=on_progress,
        )

    def _on_file(self, *_: Any) -> None:
        """Let the user choose a group file."""
        path = _chosen_file(self._ui.groupFileButton, self._translate("Reference group"))
        if path:
            self._on_chosen("referenceGroup", path)

    def _about(self, chosen: str, parameters: Any) -> tuple[str, str]:
        """Return what is known of a reference, and its notes."""
        result = parameters.outputVolume
        if chosen == NEAREST:
            used = units.is_standardised(result) and records.input_of(result) is parameters.inputVolume
            found = result.GetAttribute(f"{results.PARAMETER_PREFIX}reference") if used else ""
            said = self._translate("Of the groups that come with it, the one most like the scan is taken.")
            return (f"{said}<br>{self._translate('Used:')} <b>{html.escape(found)}</b>" if found else said), ""
        try:
            group = self._groups.get(chosen) or load_group(chosen)
        except MRHarmonizationError:  # said as a refusal
            return "", ""
        return texts.group_text(group), "\n".join(texts.sentence(note) for note in group.notes)


def _spacing(parameters: Any) -> float | None:
    """Return the output spacing in mm, or None for the model's own."""
    value = parameters.outputSpacingMm
    return max(value, OUTPUT_SPACING_RANGE_MM[0]) if value > 0 else None


def _chosen_file(parent: Any, what: str) -> str:
    """Let the user choose a JSON file; '' where they do not."""
    import qt

    return str(qt.QFileDialog.getOpenFileName(parent, what, "", f"{what} (*.json)") or "")


def _offer(combo: Any, entries: list[tuple[str, str]]) -> None:
    """Fill a list with (text, data), if it does not hold them already."""
    if [(combo.itemText(n), combo.itemData(n)) for n in range(combo.count)] == entries:
        return
    combo.blockSignals(True)
    combo.clear()
    for text, data in entries:
        combo.addItem(text, data)
    combo.blockSignals(False)


def _choose(combo: Any, data: str) -> None:
    combo.blockSignals(True)
    combo.currentIndex = combo.findData(data) if combo.findData(data) >= 0 else min(0, combo.count - 1)
    combo.blockSignals(False)


def _tell(combo: Any, tell: Callable[[str], None]) -> None:
    def told(index: int) -> None:
        if index >= 0:
            tell(combo.itemData(index))

    combo.connect("currentIndexChanged(int)", told)
