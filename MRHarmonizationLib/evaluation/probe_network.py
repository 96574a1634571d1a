"""Probes that are networks trained from scratch: ResNet-50, as in the publication, and a small CNN beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from MRHarmonizationLib.core.errors import DependencyError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.probe_settings import ProbeSettings
from MRHarmonizationLib.evaluation.probes import PROBES, FittedProbe, ProbeOutput

if TYPE_CHECKING:
    from MRHarmonizationLib.training.probe_loop import TrainedClassifier


@dataclass(frozen=True)
class FittedNetwork:
    """A trained network as a probe."""

    classifier: TrainedClassifier

    def __call__(self, pixels: np.ndarray) -> ProbeOutput:
        """Classify slices, float32, shape (N, H, W)."""
        return ProbeOutput(*self.classifier.predict(pixels))


@dataclass(frozen=True)
class NetworkProbe:
    """A network trained from random weights.

    Attributes
    ----------
    architecture : str
    epochs : int
        Where the settings name none.
    """

    architecture: str
    epochs: int

    def __call__(
        self,
        pixels: np.ndarray,
        scanner: np.ndarray,
        classes: int,
        settings: ProbeSettings,
        seed: int,
        progress: Progress,
    ) -> FittedProbe:
        """Train on slices; see :class:`~MRHarmonizationLib.evaluation.probes.Probe`."""
        try:
            from MRHarmonizationLib.training.probe_loop import ClassifierPlan, train_classifier
        except ModuleNotFoundError as missing:
            if missing.name != "torch":
                raise
            raise DependencyError(
                f"the probe '{self.architecture}' needs torch, which is not installed",
                'run: pip install "mrharmonization[torch]", or choose the probe "texture"',
            ) from missing
        plan = ClassifierPlan(
            self.architecture,
            classes,
            settings.epochs or self.epochs,
            settings.batch,
            seed,
            settings.learning_rate,
            settings.device,
        )
        return FittedNetwork(train_classifier(pixels, scanner, plan, progress))


PROBES.register("resnet50")(NetworkProbe("resnet50", 10))
PROBES.register("small_cnn")(NetworkProbe("small_cnn", 15))
