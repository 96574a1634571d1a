"""Which structure a voxel belongs to, from where structures are likely and how bright each is in this very image.

A network that knows any contrast says where structures are likely; their brightness is learned from the image itself,
as a mixture of Gaussians, and so are a smooth bias field and the borders that the network leaves blurred.

Sources: Van Leemput et al., IEEE Trans. Med. Imaging 18:897 (1999), doi 10.1109/42.811270, for the mixture with bias
field and neighbours; Puonti et al., NeuroImage 143:235 (2016), doi 10.1016/j.neuroimage.2016.09.011, for contrasts that
are not known before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.brain_regions import BACKGROUND, CLASS_NUMBERS, MIRRORED_CLASSES, REGION_BY_NUMBER

#: Structures that a voxel is chosen from, at most.
CANDIDATES = 6
#: Voxels that are background with at least this probability are not looked at.
SURELY_BACKGROUND = 0.98
#: Structures less likely than this at a voxel are none of its candidates: what is nowhere likely gathers no outliers.
LEAST_CHANCE = 1e-3
#: Percentiles of the image's range; brightness goes from the second number to 1 more, so that a bias field, a factor,
#: changes dark voxels too.
RANGE_PERCENTILES, DARKEST = (0.1, 99.9), 0.05
#: Brightness of a tissue is kept in so many bins from 0 to the second number.
BINS, BRIGHTEST = 512, 1.1
#: Gaussians of the background and of the fluid around the brain (class → count); one of any other structure.
GAUSSIANS = {BACKGROUND: 5, REGION_BY_NUMBER[24].class_index: 2}
#: Rounds of fitting the Gaussians, the first time and each later time.
FIRST_FITS, LATER_FITS = 20, 3
#: Share of voxels that fit no Gaussian: lesions, vessels.
OUTLIERS = 0.02
#: Least standard deviation of a structure's brightness, as a part of the image's range.
LEAST_DEVIATION = 0.012
#: Rounds of the whole, of which the first leave the neighbours out; after which the bias field is estimated anew, from
#: every n-th voxel.
ROUNDS, ROUNDS_WITHOUT, BIAS_ROUNDS, BIAS_VOXELS = 10, 3, (2, 4, 7), 4
#: Smoothness of the bias field and cells in which it is estimated, in voxels of 1 mm.
BIAS_SIGMA, BIAS_CELL = 30.0, 6
#: Largest change of brightness by the bias field.
MOST_BIAS = 2.5
#: What each of the six neighbours of the same structure adds to a voxel's logarithm of likelihood.
NEIGHBOUR_WEIGHT = 0.35
#: Power to which the network's probabilities are taken: neighbouring voxels do not tell it independently.
PRIOR_POWER = 0.7
#: Voxels whose candidates are sorted at once.
_CHUNK = 200_000

#: Structures of both sides have one brightness: class → tissue (the smaller of the two classes).
TISSUES = np.minimum(np.arange(CLASS_NUMBERS.size), MIRRORED_CLASSES).astype(np.int64)


@dataclass
class Candidates:
    """The voxels in question and the structures that each is chosen from.

    Attributes
    ----------
    places : ndarray of int64, shape (V,)
        Flat indices into the image.
    classes : ndarray of uint8, shape (CANDIDATES, V)
    chances : ndarray of float32, shape (CANDIDATES, V)
        Prior probabilities.
    """

    places: np.ndarray
    classes: np.ndarray
    chances: np.ndarray


def candidates_from(likely: np.ndarray, factor: int) -> Candidates:
    """Return the likeliest structures of every voxel of a grid finer by a whole factor.

    Parameters
    ----------
    likely : ndarray, shape (classes, K, J, I), float32
        Probabilities on the coarse grid, linearly interpolated between its voxels.
    factor : int
        Fine voxels along an axis of a coarse one; the fine grid has the shape (factor·K, factor·J, factor·I).
    """
    from scipy.ndimage import binary_dilation, zoom

    def finer(part: np.ndarray) -> np.ndarray:
        if factor == 1:
            return part
        return np.asarray(zoom(part, factor, order=1, mode="nearest", grid_mode=True))

    unsure = binary_dilation(likely[0] < SURELY_BACKGROUND)
    for axis in range(3):
        unsure = np.repeat(unsure, factor, axis=axis)
    places = np.flatnonzero(unsure & (finer(likely[0]) < SURELY_BACKGROUND))
    chances = np.empty((likely.shape[0], places.size), np.float16)
    for number, part in enumerate(likely):
        chances[number] = finer(part).ravel()[places]
    classes = np.empty((CANDIDATES, places.size), np.uint8)
    kept = np.empty((CANDIDATES, places.size), np.float32)
    for start in range(0, places.size, _CHUNK):
        part = chances[:, start : start + _CHUNK].astype(np.float32)
        best = np.argpartition(-part, CANDIDATES - 1, axis=0)[:CANDIDATES]
        classes[:, start : start + _CHUNK] = best
        kept[:, start : start + _CHUNK] = np.take_along_axis(part, best, 0)
    return Candidates(places, classes, kept)


def name_by_brightness(
    image: np.ndarray, candidates: Candidates, check: Callable[[float], None] | None = None
) -> np.ndarray:
    """Return the class of every voxel.

    Parameters
    ----------
    image : ndarray, shape (K, J, I), float32
        Finite intensities at 1 mm.
    candidates : Candidates
        Voxels that are not named are background.
    check : callable, optional
        Told the share that is done after every round; may raise.

    Returns
    -------
    uint8 ndarray, shape (K, J, I)
    """
    if candidates.places.size == 0:
        return np.zeros(image.shape, np.uint8)
    values = image.ravel()[candidates.places].astype(np.float32)
    low, high = (float(v) for v in np.percentile(values, RANGE_PERCENTILES))
    values = np.clip((values - low) / max(high - low, 1e-6), 0.0, 1.0) + np.float32(DARKEST)
    tissues = TISSUES[candidates.classes]
    prior = np.where(candidates.chances < LEAST_CHANCE, 0.0, candidates.chances) ** np.float32(PRIOR_POWER)
    named = candidates.classes[np.argmax(candidates.chances, axis=0), np.arange(values.size)]
    labels = np.zeros(image.shape, np.uint8)
    mixture, bias, posterior = _Mixture(), np.ones_like(values), prior / prior.sum(axis=0)
    for number in range(ROUNDS):
        bins = np.clip((values / bias) / BRIGHTEST * BINS, 0, BINS - 1).astype(np.int64)
        mixture.fit(_histograms(tissues, bins, posterior), start=number == 0)
        likelihood = mixture.table()[tissues, bins[None]]
        posterior = prior * likelihood
        if number >= ROUNDS_WITHOUT:
            labels.ravel()[candidates.places] = named
            posterior *= np.exp(np.float32(NEIGHBOUR_WEIGHT) * _alike_neighbours(labels, candidates))
        posterior /= posterior.sum(axis=0)
        named = candidates.classes[np.argmax(posterior, axis=0), np.arange(values.size)]
        if number in BIAS_ROUNDS:
            bias = _bias_field(values, tissues, posterior, mixture, candidates.places, image.shape)
        if check is not None:
            check((number + 1) / ROUNDS)
    labels.ravel()[candidates.places] = named
    return labels


def _histograms(tissues: np.ndarray, bins: np.ndarray, posterior: np.ndarray) -> np.ndarray:
    """Return how much of each tissue has which brightness, shape (classes, BINS)."""
    size = CLASS_NUMBERS.size * BINS
    found = np.zeros(size)
    for tissue, weight in zip(tissues, posterior, strict=True):
        found += np.bincount(tissue * BINS + bins, weights=weight, minlength=size)
    return found.reshape(CLASS_NUMBERS.size, BINS)


class _Mixture:
    """Gaussians of the brightness of every tissue, in bins."""

    def __init__(self) -> None:
        self._centres = (np.arange(BINS) + 0.5) / BINS * BRIGHTEST
        self.parts: dict[int, np.ndarray] = {}

    def fit(self, histograms: np.ndarray, start: bool) -> None:
        """Fit rows (share, mean, deviation) of every tissue that is there."""
        for tissue in np.unique(TISSUES):
            histogram = histograms[tissue]
            total = histogram.sum()
            if total < 1.0:
                self.parts[int(tissue)] = np.array([[0.0, 0.5, 0.5]])  # what is not there has no brightness
                continue
            if start:
                self.parts[int(tissue)] = self._first(histogram / total, GAUSSIANS.get(int(tissue), 1))
            for _ in range(FIRST_FITS if start else LATER_FITS):
                self.parts[int(tissue)] = self._better(histogram / total, self.parts[int(tissue)])

    def _first(self, histogram: np.ndarray, count: int) -> np.ndarray:
        """Return Gaussians at evenly spaced quantiles."""
        quantiles = np.interp((np.arange(count) + 0.5) / count, np.cumsum(histogram), self._centres)
        mean = float(histogram @ self._centres)
        spread = float(np.sqrt(histogram @ (self._centres - mean) ** 2))
        return np.array([[1.0 / count, q, max(spread / count, LEAST_DEVIATION)] for q in quantiles])

    def _better(self, histogram: np.ndarray, parts: np.ndarray) -> np.ndarray:
        densities = self._densities(parts)
        shares = densities / (densities.sum(axis=0) + OUTLIERS / BRIGHTEST) * histogram
        sums = shares.sum(axis=1) + 1e-9
        means = shares @ self._centres / sums
        variances = (shares * (self._centres - means[:, None]) ** 2).sum(axis=1) / sums
        # a Gaussian that nothing belongs to keeps its place
        kept = sums < 1e-6
        means[kept], variances[kept] = parts[kept, 1], parts[kept, 2] ** 2
        deviations = np.maximum(np.sqrt(variances), LEAST_DEVIATION)
        return np.stack([(sums + 1e-6) / (sums + 1e-6).sum(), means, deviations], axis=1)

    def _densities(self, parts: np.ndarray) -> np.ndarray:
        share, mean, deviation = (column[:, None] for column in parts.T)
        distance = (self._centres - mean) / deviation
        return np.asarray((1.0 - OUTLIERS) * share / (deviation * np.sqrt(2 * np.pi)) * np.exp(-0.5 * distance**2))

    def table(self) -> np.ndarray:
        """Return the density of every brightness for every class, float32, shape (classes, BINS)."""
        table = np.full((CLASS_NUMBERS.size, BINS), OUTLIERS / BRIGHTEST, np.float32)
        for tissue, parts in self.parts.items():
            table[tissue] += self._densities(parts).sum(axis=0).astype(np.float32)
        return table

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean brightness and inverse variance of every class, shape (classes,); background weighs nothing."""
        mean, weight = np.zeros(CLASS_NUMBERS.size, np.float32), np.zeros(CLASS_NUMBERS.size, np.float32)
        for tissue, parts in self.parts.items():
            mean[tissue] = parts[:, 0] @ parts[:, 1]
            variance = parts[:, 0] @ (parts[:, 2] ** 2 + parts[:, 1] ** 2) - mean[tissue] ** 2
            weight[tissue] = 0.0 if tissue == BACKGROUND or parts[:, 0].sum() == 0 else 1.0 / variance
        return mean, weight


def _bias_field(
    values: np.ndarray,
    tissues: np.ndarray,
    posterior: np.ndarray,
    mixture: _Mixture,
    places: np.ndarray,
    shape: tuple[int, ...],
) -> np.ndarray:
    """Return the smooth factor on the brightness of each voxel that makes tissues even, float32, shape (V,)."""
    from scipy.ndimage import gaussian_filter, map_coordinates

    mean, weight = mixture.means()
    some = slice(None, None, BIAS_VOXELS)
    weights = posterior[:, some] * weight[tissues[:, some]]
    expected = mean[tissues[:, some]]
    above, below = (weights * expected).sum(axis=0) * values[some], (weights * expected**2).sum(axis=0)
    where = np.stack(np.unravel_index(places, shape))
    size = tuple(-(-n // BIAS_CELL) for n in shape)
    flat = np.ravel_multi_index(tuple(where[:, some] // BIAS_CELL), size)
    smooth = [
        gaussian_filter(
            np.bincount(flat, weights=part, minlength=int(np.prod(size))).reshape(size),
            BIAS_SIGMA / BIAS_CELL,
            mode="constant",
        )
        for part in (above, below)
    ]
    field = np.where(smooth[1] > 0, smooth[0] / np.maximum(smooth[1], 1e-12), 1.0)
    field = np.clip(field, 1.0 / MOST_BIAS, MOST_BIAS)
    coordinates = (where + 0.5) / BIAS_CELL - 0.5
    found = map_coordinates(field.astype(np.float32), coordinates.astype(np.float32), order=1, mode="nearest")
    return np.asarray(found / np.float32(np.exp(np.log(found).mean())), np.float32)


def _alike_neighbours(labels: np.ndarray, candidates: Candidates) -> np.ndarray:
    """Return how many of the six neighbours of each voxel have the class of each candidate, float32."""
    found = np.zeros(candidates.classes.shape, np.float32)
    padded = np.pad(labels, 1, mode="edge")
    where = np.stack(np.unravel_index(candidates.places, labels.shape)) + 1
    flat, strides = (
        np.ravel_multi_index(tuple(where), padded.shape),
        (padded.shape[1] * padded.shape[2], padded.shape[2], 1),
    )
    values = padded.ravel()
    for step in strides:
        for direction in (-step, step):
            found += candidates.classes == values[flat + direction]
    return found
