"""A probe without a network: texture features of each slice and a random forest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.texture import DIRECTIONS_4, TextureSettings, glcm_texture
from MRHarmonizationLib.evaluation.mixing import need_scikit_learn
from MRHarmonizationLib.evaluation.probe_settings import ProbeSettings
from MRHarmonizationLib.evaluation.probes import PROBES, FittedProbe, ProbeOutput

#: Texture of a slice on the common scale of its set: 32 levels between 0 and 1, neighbours in the plane, two distances.
TEXTURE = TextureSettings(
    bin_width=1 / 32, intensity_range=(0.0, 1.0), normalisation="none", distances=(1, 3), directions=DIRECTIONS_4
)
TREES = 200


@dataclass(frozen=True)
class FittedForest:
    """A random forest on texture features."""

    forest: Any
    classes: int

    def __call__(self, pixels: np.ndarray) -> ProbeOutput:
        """Classify slices, float32, shape (N, H, W)."""
        features = texture_of_slices(pixels, Progress())
        probabilities = np.zeros((len(pixels), self.classes))
        probabilities[:, self.forest.classes_] = self.forest.predict_proba(features)
        return ProbeOutput(probabilities, features)


@PROBES.register("texture")
def texture_probe(
    pixels: np.ndarray,
    scanner: np.ndarray,
    classes: int,
    settings: ProbeSettings,
    seed: int,
    progress: Progress,
) -> FittedProbe:
    """Train a random forest on texture features; see :class:`~MRHarmonizationLib.evaluation.probes.Probe`."""
    need_scikit_learn("texture probes")
    from sklearn.ensemble import RandomForestClassifier

    features = texture_of_slices(pixels, progress)
    forest = RandomForestClassifier(TREES, class_weight="balanced", random_state=seed)
    return FittedForest(forest.fit(features, scanner), classes)


def texture_of_slices(pixels: np.ndarray, progress: Progress) -> np.ndarray:
    """Return co-occurrence features and the first two moments of slices, float64, shape (N, F).

    Parameters
    ----------
    pixels : ndarray, float32, shape (N, H, W)
        On a scale of about 0 to 1.
    progress : Progress
    """
    rows = []
    for number, plane in enumerate(pixels):
        progress.report(number / len(pixels), "texture of slices")
        found = glcm_texture(plane[None], settings=TEXTURE).by_distance()
        values = [value for features in found.values() for value in features.values()]
        rows.append([*values, float(plane.mean()), float(plane.std())])
    return np.nan_to_num(np.array(rows))
