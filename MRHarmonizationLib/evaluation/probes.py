"""Scanner probes by name: what learns to tell scanners apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.registry import Registry
from MRHarmonizationLib.evaluation.probe_settings import ProbeSettings


@dataclass(frozen=True, eq=False)
class ProbeOutput:
    """What a probe says about slices.

    Attributes
    ----------
    probabilities : ndarray, float, shape (N, C)
    features : ndarray, float, shape (N, F)
        What the decision is made from: the layer before a network's classifier, or the texture features.
    """

    probabilities: np.ndarray
    features: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """Most probable class of each slice, int, shape (N,)."""
        return np.asarray(self.probabilities.argmax(axis=1))


class FittedProbe(Protocol):
    """A probe that has learned."""

    def __call__(self, pixels: np.ndarray) -> ProbeOutput:
        """Classify slices, float32, shape (N, H, W)."""
        ...


class Probe(Protocol):
    """A way of learning to tell scanners apart from slices alone."""

    def __call__(
        self,
        pixels: np.ndarray,
        scanner: np.ndarray,
        classes: int,
        settings: ProbeSettings,
        seed: int,
        progress: Progress,
    ) -> FittedProbe:
        """Learn from slices (N, H, W) on a scale of about 0 to 1 and their classes (N,)."""
        ...


#: Every probe by name; filled by the files of this folder.
PROBES: Registry[Probe] = Registry("probe", "MRHarmonizationLib.evaluation")
