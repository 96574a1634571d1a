"""The task "Denoise and sharpen" of the panel MR Enhance: two sliders, a live preview, and how it is run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from MRHarmonizationLib.slicer_adapter import texts
from MRHarmonizationLib.slicer_adapter.enhance_logic import DEFAULT_RESTORER, EnhanceOperations
from MRHarmonizationLib.slicer_adapter.node_task import NodeTask
from MRHarmonizationLib.slicer_adapter.readiness import Readiness, restore_readiness
from MRHarmonizationLib.slicer_adapter.restore_preview import Levels, RestorePreview
from MRHarmonizationLib.slicer_adapter.run_control import RunControl
from MRHarmonizationLib.weights.card import Card

Translate = Callable[[str], str]

#: What a level in the panel means that is left at its lowest value: it is estimated.
ESTIMATED = 0.0


class RestoreMode:
    """Denoising and sharpening: the preview of the shown slice, and what was found out about the scan.

    Parameters
    ----------
    ui : object
        Holds the widgets as attributes.
    translate : callable(str) -> str
    logic : EnhanceOperations
    run : RunControl
        Says what happens.
    """

    def __init__(self, ui: Any, translate: Translate, logic: EnhanceOperations, run: RunControl) -> None:
        self._ui, self._translate, self._logic, self._run = ui, translate, logic, run
        self._cards: list[Card] = []
        self.preview = RestorePreview(self._on_previewed, self._on_preview_error)

    def title(self) -> str:
        """Return the title of the section."""
        return self._translate("Denoise and sharpen")

    def ready_text(self) -> str:
        """Say what the button does."""
        return self._translate("Denoise and sharpen the scan.")

    def fill(self) -> None:
        """Look for the networks that are installed."""
        self._cards = self._logic.restorers()

    def card(self, parameters: Any) -> Card | None:
        """Return the card of the network; None where none is installed."""
        cards = {card.id: card for card in self._cards}
        return cards.get(parameters.restorer) or cards.get(DEFAULT_RESTORER) or next(iter(self._cards), None)

    def show(self, parameters: Any) -> None:
        """Show what is known, and the preview where it is wanted."""
        ui, card, scan = self._ui, self.card(parameters), parameters.inputVolume
        ui.previewCheckBox.enabled = card is not None and scan is not None
        ui.restoreInfoLabel.toolTip = texts.card_help(card) if card else ""
        wanted = parameters.preview and card is not None and scan is not None and self._run.task is None
        if not wanted or card is None:
            self.hide()
            ui.restoreInfoLabel.text = ""
            return
        levels = Levels(_level(parameters.noiseLevel), _level(parameters.blurLevel, 1.0), parameters.interpolated)
        self.preview.show(scan, card, levels, parameters.denoise, parameters.sharpen)

    def hide(self) -> None:
        """Take the preview off the views."""
        self.preview.hide()

    def readiness(self, parameters: Any) -> Readiness:
        """Look at scan, result and network."""
        return restore_readiness(parameters.inputVolume, parameters.outputVolume, self.card(parameters))

    def start(self, parameters: Any, on_progress: Callable[[float, str], None]) -> NodeTask[Any]:
        """Install what is missing and start a run."""
        card = self.card(parameters)
        self._logic.ensureDependencies(parameters.backend.value, parameters.device.value)
        parameters.preview = False  # the result itself is shown next
        self.hide()
        return self._logic.startRestoring(
            parameters.inputVolume,
            parameters.outputVolume,
            parameters.denoise,
            parameters.sharpen,
            model=card.id if card else DEFAULT_RESTORER,
            noiseLevel=_level(parameters.noiseLevel),
            blurLevel=_level(parameters.blurLevel, 1.0),
            interpolated=parameters.interpolated,
            device=parameters.device.value,
            backend=parameters.backend.value,
            keepResidual=parameters.keepResidual,
            onProgress=on_progress,
        )

    def _on_previewed(self, noise_percent: float, resolution: float) -> None:
        """Say what the scan was found to be."""
        said = self._translate("Found: noise {noise} % of the range, resolution {resolution} pixels.")
        self._ui.restoreInfoLabel.text = said.format(noise=f"{noise_percent:.1f}", resolution=f"{resolution:.1f}")

    def _on_preview_error(self, error: Exception) -> None:
        self._ui.restoreInfoLabel.text = texts.sentence(str(error))


def _level(value: float, least: float = 0.0) -> float | None:
    """Return a level of the panel, None where it is to be estimated."""
    return None if value <= ESTIMATED else max(value, least)
