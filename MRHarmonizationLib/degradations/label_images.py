"""Images from label maps: random tissue intensities with within-tissue texture.

Source: Billot et al., SynthSeg, Med. Image Anal. 86:102789 (2023), doi 10.1016/j.media.2023.102789; the spatially
correlated texture is ours, because smooth synthetic tissue teaches a network to erase real texture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.degradations.base import build_parameters

#: Left and right labels that share one tissue (FreeSurfer numbers); the first is the key.
TISSUE_PAIRS = {
    41: 2,
    42: 3,
    43: 4,
    44: 5,
    46: 7,
    47: 8,
    49: 10,
    50: 11,
    51: 12,
    52: 13,
    53: 17,
    54: 18,
    58: 26,
    60: 28,
}
#: Labels of the brain as evaluated (FreeSurfer numbers): the 32 morphometry structures.
BRAIN_LABELS = tuple(sorted({2, 3, 4, 5, 7, 8, 10, 11, 12, 13, 14, 15, 16, 17, 18, 24, 26, 28} | set(TISSUE_PAIRS)))
#: Tissue group of each brain label, for contrasts that resemble real ones.
WHITE = frozenset({2, 7, 16, 28, 13, 10})
GREY = frozenset({3, 8, 11, 12, 17, 18, 26})
FLUID = frozenset({4, 5, 14, 15, 24})
#: Mean intensities (white, grey, fluid) and their spread for contrasts that resemble a sequence.
SEQUENCE_MEANS = {"t1": (170.0, 120.0, 45.0), "t2": (80.0, 115.0, 210.0), "flair": (100.0, 140.0, 40.0)}
#: Correlation lengths of texture, in voxels.
TEXTURE_SIGMAS = (0.6, 1.2, 2.5)


@dataclass(frozen=True)
class LabelImageParameters:
    """Intensities of every label.

    Attributes
    ----------
    labels : tuple of int
    means, widths : tuple of float
        Mean and standard deviation of the texture of each label, on a scale of about 0–255.
    texture_weights : tuple of three floats
        Share of each correlation length of :data:`TEXTURE_SIGMAS`.
    blur_sigma : float
        Gaussian standard deviation in voxels that mixes tissues at their borders.
    seed : int
        Seed of the texture.
    """

    labels: tuple[int, ...]
    means: tuple[float, ...]
    widths: tuple[float, ...]
    texture_weights: tuple[float, float, float]
    blur_sigma: float
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            name: list(v) if isinstance(v := getattr(self, name), tuple) else v for name in self.__dataclass_fields__
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelImageParameters:
        """Build from :meth:`to_dict`."""
        return build_parameters(cls, values)


def _tissue_mean(rng: np.random.Generator, label: int, sequence: str) -> float:
    if label == 0:
        return float(rng.uniform(0, 12)) if rng.random() < 0.9 else float(rng.uniform(0, 60))
    if sequence != "random":
        white, grey, fluid = SEQUENCE_MEANS[sequence]
        if label in WHITE:
            deep = 0.35 if label in (10, 13) else 0.1  # thalamus and pallidum lie between white and grey
            return float(white + (grey - white) * rng.uniform(0, deep) + rng.normal(0, 7))
        if label in GREY:
            return float(grey + (white - grey) * rng.uniform(-0.1, 0.3) + rng.normal(0, 7))
        if label in FLUID:
            return float(max(fluid + rng.normal(0, 10), 5))
    return float(rng.uniform(25, 225))


def sample_label_image(
    rng: np.random.Generator, labels: np.ndarray, sequence: str | None = None, texture: float = 1.0
) -> LabelImageParameters:
    """Draw intensities for the labels of a map.

    Parameters
    ----------
    rng : numpy Generator
    labels : ndarray of int
        Label map or its distinct values.
    sequence : {'t1', 't2', 'flair', 'random'}, optional
        Family of contrast; drawn when omitted.
    texture : float
        Factor on the widths.
    """
    values = tuple(int(v) for v in np.unique(labels))
    chosen = sequence or str(rng.choice(["t1", "t2", "flair", "random"], p=[0.35, 0.2, 0.15, 0.3]))
    shared: dict[int, tuple[float, float]] = {}
    for label in values:
        key = TISSUE_PAIRS.get(label, label)
        if key not in shared:
            width = 2.0 if label == 0 else float(rng.uniform(2.0, 14.0))
            shared[key] = (_tissue_mean(rng, key, chosen), width * texture)
    weights = rng.dirichlet((1.0, 1.5, 1.0))
    return LabelImageParameters(
        labels=values,
        means=tuple(shared[TISSUE_PAIRS.get(v, v)][0] for v in values),
        widths=tuple(shared[TISSUE_PAIRS.get(v, v)][1] for v in values),
        texture_weights=(float(weights[0]), float(weights[1]), float(weights[2])),
        blur_sigma=float(rng.uniform(0.35, 0.8)),
        seed=int(rng.integers(2**31)),
    )


def render_label_image(labels: np.ndarray, parameters: LabelImageParameters) -> np.ndarray:
    """Return the image of a label map.

    Parameters
    ----------
    labels : int ndarray, shape (K, J, I)
    parameters : LabelImageParameters
        Labels it does not name become 0.

    Returns
    -------
    ndarray, float32, shape (K, J, I), non-negative
    """
    from scipy.ndimage import gaussian_filter

    size = int(max(labels.max(), max(parameters.labels))) + 1
    means, widths = np.zeros(size, np.float32), np.zeros(size, np.float32)
    means[list(parameters.labels)] = parameters.means
    widths[list(parameters.labels)] = parameters.widths
    rng = np.random.default_rng(parameters.seed)
    texture = np.zeros(labels.shape, np.float32)
    for sigma, weight in zip(TEXTURE_SIGMAS, parameters.texture_weights, strict=True):
        field = gaussian_filter(rng.standard_normal(labels.shape, dtype=np.float32), sigma, mode="wrap", truncate=3.0)
        texture += np.float32(np.sqrt(weight) / max(float(field.std()), 1e-6)) * field
    image = means[labels] + widths[labels] * texture
    if parameters.blur_sigma > 0:
        image = gaussian_filter(image, parameters.blur_sigma, truncate=3.0)
    return np.asarray(np.maximum(image, 0.0), np.float32)
