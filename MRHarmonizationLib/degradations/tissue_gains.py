"""A gain of its own for every tissue of a label map; voxels of the borders stay mixtures of two tissues."""

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

#: Standard deviation, mm, of the Gaussian that tells how near another tissue is.
BLEND_SIGMA_MM = 0.7
#: Least of it in voxels: every voxel shows something of those beside it.
BLEND_SIGMA_VOXELS = 0.6
#: A voxel may show another tissue where this much of it is near.
LEAST_SHARE = 1e-5
#: Tissues explain a voxel that reach this part of its excess over its own tissue; others do by this factor only.
REACHED, UNLIKELY = 0.8, 1e-3
#: Tissues differ whose medians are this part of the largest apart; intensity tells nothing of the shares of others.
LEAST_APART = 0.05
#: The median of a tissue is that of its voxels away from borders where there are as many.
FEW_VOXELS = 20
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


def apply_tissue_gains(
    image: np.ndarray, labels: np.ndarray, parameters: TissueGains, spacing_kji_mm: Sequence[float]
) -> np.ndarray:
    """Return the image as bright as its tissues become, float32, shape (K, J, I).

    Inside a tissue intensities are multiplied by its gain. A voxel at a border shows two tissues; how much of each
    follows from its intensity between their medians, and the result is the same mixture of both as they become. A gain
    that only followed the labels would make voxels of the border brighter than either tissue.

    Parameters
    ----------
    image : ndarray, shape (K, J, I)
        Finite.
    labels : int ndarray, shape (K, J, I)
        Not negative.
    parameters : TissueGains
    spacing_kji_mm : three floats
        Along the array axes.
    """
    tissues, levels, gains = _tissues(image, labels, parameters)
    values = np.asarray(image, np.float32)
    own_gain, own_level = gains[tissues], levels[tissues]
    other, share = _neighbouring(tissues, levels, values - own_level, spacing_kji_mm)
    border = np.flatnonzero((share > LEAST_SHARE).ravel())
    result = values * own_gain
    if border.size:
        one, two = tissues.ravel()[border], other.ravel()[border]
        values = values.ravel()[border]
        here, there = own_level.ravel()[border], levels[two]
        apart = np.abs(there - here) > LEAST_APART * float(np.abs(levels).max())
        distance = np.where(apart, there - here, 1.0)
        part = np.where(apart, np.clip((values - here) / distance, 0.0, 1.0), share.ravel()[border])
        mixed, changed = here + part * (there - here), (1 - part) * gains[one] * here + part * gains[two] * there
        blended = np.exp((1 - part) * np.log(gains[one]) + part * np.log(gains[two]))
        solid = np.abs(mixed) > 1e-6 * max(float(np.abs(levels).max()), 1e-12)
        result.ravel()[border] = values * np.where(solid, changed / np.where(solid, mixed, 1.0), blended)
    return np.asarray(result, np.float32)


def _tissues(
    image: np.ndarray, labels: np.ndarray, parameters: TissueGains
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the tissue of every voxel (both sides are one where they share a gain), their medians and their gains."""
    from scipy.ndimage import generate_binary_structure, maximum_filter, minimum_filter

    known = dict(zip(parameters.labels, parameters.gains, strict=True))
    present = [int(value) for value in np.unique(labels)]
    keys = [(TISSUE_PAIRS.get(value, value), known.get(value, 1.0)) for value in present]
    order = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    table = np.zeros(present[-1] + 1, np.int16)
    table[present] = [order[key] for key in keys]
    tissues = table[labels]
    cross = generate_binary_structure(3, 1)
    inside = minimum_filter(tissues, footprint=cross) == maximum_filter(tissues, footprint=cross)
    deep = np.bincount(tissues[inside], minlength=len(order)) >= FEW_VOXELS
    levels = np.array([np.median(image[(tissues == n) & (inside | ~deep[n])]) for n in order.values()], np.float32)
    return tissues, levels, np.array([key[1] for key in order], np.float32)


def _neighbouring(
    tissues: np.ndarray, levels: np.ndarray, excess: np.ndarray, spacing_kji_mm: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return for every voxel the tissue that it shows beside its own, and how much lies near, after a slight blur.

    The one of which most lies near, among those towards which the voxel's excess over its own tissue points and rather
    among those that are far enough; 0 where there is none.
    """
    from scipy.ndimage import find_objects, gaussian_filter

    sigmas = [
        max(BLEND_SIGMA_MM / float(s), BLEND_SIGMA_VOXELS) if n > 1 else 0.0
        for s, n in zip(spacing_kji_mm, tissues.shape, strict=True)
    ]
    reach = [int(np.ceil(3.0 * sigma)) + 1 for sigma in sigmas]
    other, share = np.zeros(tissues.shape, np.int16), np.zeros(tissues.shape, np.float32)
    for number, box in enumerate(find_objects(tissues + 1, len(levels))):
        if box is None:
            continue
        wide = tuple(slice(max(0, part.start - r), part.stop + r) for part, r in zip(box, reach, strict=True))
        inside = tissues[wide] == number
        near = gaussian_filter(inside.astype(np.float32), sigmas, truncate=3.0)
        ahead = (levels[number] - levels[tissues[wide]]) * np.sign(excess[wide])
        near[inside | (ahead < 0)] = 0.0
        near[ahead < REACHED * np.abs(excess[wide])] *= UNLIKELY
        more = near > share[wide]
        share[wide][more] = near[more]
        other[wide][more] = number
    return other, share
