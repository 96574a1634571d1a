"""A gain of its own for every tissue of a label map, blended over the borders as partial volumes are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.degradations.label_images import TISSUE_PAIRS
from MRHarmonizationLib.degradations.signal_equations import (
    USUAL,
    relative_signals,
    tissue_of,
    vary_sequence,
)

#: Standard deviation, mm, of the Gaussian that blends gains over borders.
BLEND_SIGMA_MM = 0.7
#: Limits of a tissue's gain.
LEAST_GAIN, LARGEST_GAIN = 0.25, 4.0


@dataclass(frozen=True)
class TissueGains:
    """Gains of labels.

    Attributes
    ----------
    labels : tuple of int
        Labels that are not named keep their intensities.
    gains : tuple of float
    origin : str
        Where the gains come from: 'drawn', or the two pulse sequences whose signals they are the ratio of.
    """

    labels: tuple[int, ...]
    gains: tuple[float, ...]
    origin: str = "drawn"

    def __post_init__(self) -> None:
        if len(self.labels) != len(self.gains):
            raise ParameterError(
                f"{len(self.labels)} labels have {len(self.gains)} gains", "give one gain for each label"
            )
        wrong = [gain for gain in self.gains if not LEAST_GAIN <= gain <= LARGEST_GAIN]
        if wrong:
            raise ParameterError(f"tissue gain {wrong[0]:g}", f"give {LEAST_GAIN} to {LARGEST_GAIN}")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"labels": list(self.labels), "gains": list(self.gains), "origin": self.origin}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TissueGains:
        """Build from :meth:`to_dict`."""
        return build_parameters(cls, values)


def sample_tissue_gains(rng: np.random.Generator, labels: np.ndarray, strength: float = 1.0) -> TissueGains:
    """Draw gains of the labels of a map (0 left alone): log-normal, one for left and right of a structure.

    Parameters
    ----------
    rng : numpy Generator
    labels : int ndarray
        Label map or its distinct values.
    strength : float
        1 for a deviation of log gain of .18 for tissues (white, grey, fluid) and .05 within one.
    """
    shared: dict[str, float] = {}
    own: dict[int, float] = {}
    values = [int(v) for v in np.unique(labels) if v != 0]
    for label in values:
        key = TISSUE_PAIRS.get(label, label)
        tissue = tissue_of(label) if tissue_of(label) != "other" else str(key)
        if tissue not in shared:
            shared[tissue] = float(rng.normal(0.0, 0.18 * strength))
        if key not in own:
            own[key] = shared[tissue] + float(rng.normal(0.0, 0.05 * strength))
    gains = [float(np.clip(np.exp(own[TISSUE_PAIRS.get(v, v)]), LEAST_GAIN, LARGEST_GAIN)) for v in values]
    return TissueGains(tuple(values), tuple(gains))


def sample_sequence_gains(
    rng: np.random.Generator, image: np.ndarray, labels: np.ndarray, strength: float = 1.0
) -> TissueGains | None:
    """Draw the gains that a change of echo, repetition or inversion time gives the tissues of the brain.

    Parameters
    ----------
    rng : numpy Generator
    image, labels : ndarray, shape (K, J, I)
        The order of its tissues' means tells whether the image is like T1, T2 or FLAIR.
    strength : float
        Scales the change of the times.

    Returns
    -------
    TissueGains or None
        None where the map has no white or no grey matter.
    """
    family = contrast_family(image, labels)
    if family is None:
        return None
    usual = USUAL[family]
    changed = vary_sequence(rng, usual, strength)
    ratios = relative_signals(usual, changed)
    values = [int(v) for v in np.unique(labels) if tissue_of(int(v)) != "other"]
    gains = [float(np.clip(ratios[tissue_of(v)], LEAST_GAIN, LARGEST_GAIN)) for v in values]
    origin = (
        f"{family} {usual.kind}: TR {usual.tr_ms:.0f} to {changed.tr_ms:.0f} ms, TE {usual.te_ms:.0f} to "
        f"{changed.te_ms:.0f} ms, TI {usual.ti_ms:.0f} to {changed.ti_ms:.0f} ms"
    )
    return TissueGains(tuple(values), tuple(gains), origin)


def contrast_family(image: np.ndarray, labels: np.ndarray) -> str | None:
    """Tell from the order of tissue means whether an image is like 't1', 't2' or 'flair'; None without brain labels."""
    means = tissue_means(image, labels)
    if "white" not in means or "grey" not in means:
        return None
    if means["white"] > means["grey"]:
        return "t1"
    return "t2" if means.get("fluid", np.inf) > means["grey"] else "flair"


def tissue_means(image: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Return the mean intensity of 'white', 'grey' and 'fluid', of those that the labels hold."""
    values = np.unique(labels)
    means = {}
    for name in ("white", "grey", "fluid"):
        chosen = np.isin(labels, [v for v in values if tissue_of(int(v)) == name])
        if chosen.any():
            means[name] = float(image[chosen].mean())
    return means


def gain_field(labels: np.ndarray, parameters: TissueGains, spacing_kji_mm: Sequence[float]) -> np.ndarray:
    """Return the gain of every voxel, float32, shape (K, J, I).

    Parameters
    ----------
    labels : int ndarray, shape (K, J, I)
        Not negative.
    parameters : TissueGains
    spacing_kji_mm : three floats
        Along the array axes; borders are blended over about a voxel of 1 mm whatever the grid.
    """
    from scipy.ndimage import gaussian_filter

    table = np.zeros(max(int(labels.max()), *parameters.labels, 0) + 1, np.float32)
    table[list(parameters.labels)] = np.log(parameters.gains)
    field = table[labels]
    sigmas = [BLEND_SIGMA_MM / float(s) if n > 1 else 0.0 for s, n in zip(spacing_kji_mm, labels.shape, strict=True)]
    return np.asarray(np.exp(gaussian_filter(field, sigmas, truncate=3.0)), np.float32)
