"""Brightness of the brain's structures in one image, place by place, and a change of contrast that follows from it.

A network that knows any contrast says where structures are likely. How bright each is in this very image, near each
place, is found with their borders as a mixture of Gaussians (as in ``core/region_mixture``, but softly and locally). A
voxel then goes along a straight line through the brightness that the structures near it have here and are to have, and
each structure by what the line leaves over. Shading, tone curves that rise, fall or fold, and changes that differ from
tissue to tissue are all undone by this; what is no structure (lesions, vessels, texture) keeps its contrast to what
surrounds it.

Sources: Van Leemput et al., IEEE Trans. Med. Imaging 18:897 (1999), doi 10.1109/42.811270 (mixture and bias field).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.brain_regions import classes_of
from MRHarmonizationLib.core.region_mixture import TISSUES

#: Tissues by the class of their left side, the background first: both sides have one brightness.
TISSUE_CLASSES: tuple[int, ...] = tuple(int(tissue) for tissue in np.unique(TISSUES))
#: Voxels of a cell in which brightness is gathered, and standard deviation of its neighbourhood in cells: 16 mm.
CELL, SIGMA_CELLS = 4, 2.0
#: The same of the shading that all tissues share, 20 mm.
SHADING_SIGMA_CELLS = 2.5
#: A tissue's own brightness near a place counts as much as that of the whole image with this many voxels of it near.
TRUSTED_VOXELS = 30.0
#: Voxels that belong to a tissue by halves tell little of its brightness: their shares are taken to this power.
SHARE_POWER = 2
#: Rounds of brightness and borders.
ROUNDS = 4
#: Voxels count for the first guess by this power of their probability.
SURE_POWER = 4
#: Lateral ventricle, and classes of the other fluids: inferior lateral, third and fourth ventricle, around the brain.
FLUIDS = tuple(int(tissue) for tissue in classes_of(np.array([4, 5, 14, 15, 24])))
#: Distance of the quartiles of a normal distribution, in standard deviations.
QUARTILES_APART = 1.349
#: Power to which the network's probabilities are taken: neighbouring voxels do not tell it independently.
PRIOR_POWER = 0.7
#: Share of voxels that fit no tissue: lesions, vessels.
OUTLIERS = 0.05
#: Least standard deviation of a tissue's brightness, and contrast below which a line has no slope, as parts of the
#: brightest tissue's.
LEAST_DEVIATION, LEAST_CONTRAST = 0.02, 0.02
#: Steepest line, up or down, in units of the scale of the reference over that of the image.
STEEPEST = 4.0
#: Least steep line, as a part of the brightness that few voxels of the reference exceed over that of the image: what is
#: no structure keeps this part of its contrast.
LEAST_STEEP = 0.9
#: Tissues with this share of the brain are large; their order counts where they differ by this part of the brightest.
LARGE_SHARE, LEAST_ORDER = 0.1, 0.1
#: Voxels that are background with more than this probability are not looked at.
SURELY_BACKGROUND = 0.98
#: Bins of the brightness of what is no brain.
BINS = 64
#: Largest change of brightness by shading.
MOST_SHADING = 5.0


@dataclass(frozen=True, eq=False)
class StructureBrightness:
    """How bright tissues are in one image.

    Attributes
    ----------
    levels : ndarray, float64, shape (T,)
        Brightness of each of :data:`TISSUE_CLASSES` without shading; NaN where the image has nothing of it.
    deviations : ndarray, float64, shape (T,)
    fields : ndarray, float32, shape (T, k, j, i)
        Brightness near each cell.
    presence : ndarray, float32, shape (T, k, j, i)
        How much of each tissue is near each cell, background left out, together 1.
    shading : ndarray, float32, shape (k, j, i)
        Factor that all tissues share, 1 on average over the brain.
    outside : tuple of two ndarrays
        Brightness and its density in what is no brain.
    """

    levels: np.ndarray
    deviations: np.ndarray
    fields: np.ndarray
    presence: np.ndarray
    shading: np.ndarray
    outside: tuple[np.ndarray, np.ndarray]

    @property
    def brightest(self) -> float:
        """Brightness of the brightest tissue."""
        return float(np.nanmax(self.levels[1:]))


def merge_sides(likely: np.ndarray) -> np.ndarray:
    """Return probabilities of tissues from those of structures, float32, shape (T, K, J, I).

    Parameters
    ----------
    likely : ndarray, shape (33, K, J, I)
    """
    merged = np.empty((len(TISSUE_CLASSES), *likely.shape[1:]), np.float32)
    for place, tissue in enumerate(TISSUE_CLASSES):
        members = np.flatnonzero(tissue == TISSUES)
        merged[place] = likely[members[0]] if members.size == 1 else likely[members].sum(axis=0)
    return merged


def measure_structures(image: np.ndarray, chances: np.ndarray) -> StructureBrightness:
    """Find how bright tissues are.

    Parameters
    ----------
    image : ndarray, shape (K, J, I)
        Finite; on voxels of about 2 mm.
    chances : ndarray, shape (T, K, J, I)
        Of :data:`TISSUE_CLASSES`, from :func:`merge_sides`. Some voxels are brain.

    Returns
    -------
    StructureBrightness
    """
    places = np.flatnonzero(chances[0].ravel() < SURELY_BACKGROUND)
    prior = chances.reshape(len(chances), -1)[:, places].astype(np.float32)
    values = image.ravel()[places].astype(np.float32)
    cells = _Cells(image.shape, places)
    found = _guessed(values, prior, cells)
    for _ in range(ROUNDS):
        shares, fitting = _shares(values, prior, cells.at_voxels(found.fields), found)
        found = _measured(values, shares * fitting, cells)
    return found


def shares_of(values: np.ndarray, chances: np.ndarray, fields: np.ndarray, found: StructureBrightness) -> np.ndarray:
    """Return which tissue voxels belong to, from where they lie and how bright they are.

    Parameters
    ----------
    values : ndarray, shape (V,)
    chances, fields : ndarrays, shape (T, V)
        Probabilities by place; brightness of the tissues there.
    found : StructureBrightness

    Returns
    -------
    float ndarray, shape (T, V)
        Sums to 1 over the tissues.
    """
    return _shares(values, chances, fields, found)[0]


def _shares(
    values: np.ndarray, chances: np.ndarray, fields: np.ndarray, found: StructureBrightness
) -> tuple[np.ndarray, np.ndarray]:
    """Return the shares, and which part of each is as bright as its tissue: lesions tell nothing of a tissue."""
    shares = np.maximum(chances, 1e-6) ** PRIOR_POWER
    fitting = np.ones_like(shares)
    outlier = OUTLIERS / max(float(np.ptp(found.outside[0])), 1e-12)
    shares[0] *= np.interp(values, *found.outside) + outlier
    for tissue in range(1, len(shares)):
        if np.isnan(found.levels[tissue]):
            shares[tissue] = 0.0
            continue
        deviation = found.deviations[tissue]
        distance = (values - fields[tissue]) / deviation
        density = np.exp(-0.5 * distance**2) / (deviation * np.sqrt(2 * np.pi))
        fitting[tissue] = density / (density + outlier)
        shares[tissue] *= density + outlier
    shares /= shares.sum(axis=0)
    return shares, fitting


def _guessed(values: np.ndarray, chances: np.ndarray, cells: _Cells) -> StructureBrightness:
    """Return the brightness of tissues as the network's probabilities alone tell it, the same everywhere.

    Medians of the voxels that it is sure of. All fluid is as bright as that of the ventricles: between folds of the
    cortex the network is sure of nothing.
    """
    order = np.argsort(values)
    sure = chances**SURE_POWER
    fluid = [TISSUE_CLASSES.index(tissue) for tissue in FLUIDS]
    sure[fluid[1:]] = sure[fluid[0]]
    masses = sure.sum(axis=1, dtype=np.float64)
    low, high = (float(v) for v in np.percentile(values, (0.1, 99.9)))
    levels, deviations = np.full(len(chances), np.nan), np.full(len(chances), np.nan)
    for tissue in range(1, len(chances)):
        if masses[tissue] < 1.0:
            continue
        shares = np.cumsum(sure[tissue][order]) / masses[tissue]
        quarter, half, other = (float(values[order[np.searchsorted(shares, q)]]) for q in (0.25, 0.5, 0.75))
        levels[tissue] = half
        deviations[tissue] = max((other - quarter) / QUARTILES_APART, LEAST_DEVIATION * max(abs(low), abs(high)))
    fields = np.zeros((len(chances), *cells.shape), np.float32) + levels[:, None, None, None].astype(np.float32)
    ones = np.ones(cells.shape, np.float32)
    return StructureBrightness(levels, deviations, fields, np.zeros_like(fields), ones, _outside(values, chances[0]))


def _measured(values: np.ndarray, shares: np.ndarray, cells: _Cells) -> StructureBrightness:
    """Return the brightness of tissues from the shares that voxels have in them."""
    weights = shares**SHARE_POWER
    masses = weights.sum(axis=1, dtype=np.float64)
    known = masses >= 1.0
    known[0] = False
    levels = np.where(known, weights @ values / np.maximum(masses, 1.0), np.nan)
    shading = _shading(values, weights, levels, cells)
    there = cells.at_voxels(shading[None])[0]
    levels = np.where(known, weights @ (values * there) / np.maximum(weights @ there**2, 1e-12), np.nan)
    fields = np.zeros((len(shares), *cells.shape), np.float32)
    presence = np.zeros_like(fields)
    deviations = np.full(len(shares), np.nan)
    trusted = TRUSTED_VOXELS / (np.sqrt(2 * np.pi) * SIGMA_CELLS) ** 3
    brightest = np.nanmax(np.abs(levels))
    for tissue in np.flatnonzero(known):
        near = cells.gathered(weights[tissue], SIGMA_CELLS)
        excess = cells.gathered(weights[tissue] * (values - there * levels[tissue]), SIGMA_CELLS)
        fields[tissue] = shading * levels[tissue] + excess / (near + trusted)
        presence[tissue] = near + 1e-6 * masses[tissue] / values.size
        rest = values - cells.at_voxels(fields[tissue : tissue + 1])[0]
        spread = np.sqrt(weights[tissue] @ rest**2 / masses[tissue])
        deviations[tissue] = max(float(spread), LEAST_DEVIATION * brightest)
    presence /= presence.sum(axis=0)
    return StructureBrightness(levels, deviations, fields, presence, shading, _outside(values, shares[0]))


def _shading(values: np.ndarray, weights: np.ndarray, levels: np.ndarray, cells: _Cells) -> np.ndarray:
    """Return the smooth factor of brightness that all tissues share, 1 on average over the brain."""
    known = np.nan_to_num(levels).astype(np.float32)
    above, below = (known @ weights) * values, known**2 @ weights
    smooth = [cells.gathered(part, SHADING_SIGMA_CELLS) for part in (above, below)]
    # where there is no brain near, the factor fades to 1
    faint = 1e-3 * float(smooth[1].max())
    factor = np.clip((smooth[0] + faint) / (smooth[1] + faint), 1.0 / MOST_SHADING, MOST_SHADING)
    mass = (known != 0).astype(np.float32) @ weights
    mean = np.exp((mass @ np.log(cells.at_voxels(factor[None])[0])) / mass.sum())
    return np.asarray(factor / mean, np.float32)


def _outside(values: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return brightness and its density in what is no brain, smoothed."""
    from scipy.ndimage import gaussian_filter1d

    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, BINS, (low, max(high, low + 1e-6)), weights=share)
    smooth = gaussian_filter1d(counts.astype(np.float64), 1.5, mode="nearest")
    width = float(edges[1] - edges[0])
    return (edges[1:] + edges[:-1]) / 2, smooth / max(float(smooth.sum()) * width, 1e-12)


class _Cells:
    """Blocks of voxels in which sums are gathered and smoothed, and from which fields are read."""

    def __init__(self, shape: tuple[int, ...], places: np.ndarray) -> None:
        self.shape = tuple(-(-size // CELL) for size in shape)
        self._places, self._sizes = places, shape
        where = np.stack(np.unravel_index(places, shape))
        self._flat = np.ravel_multi_index(tuple(where // CELL), self.shape)

    def gathered(self, values: np.ndarray, sigma_cells: float) -> np.ndarray:
        """Return sums over cells, smoothed; shape of the cells, float64."""
        from scipy.ndimage import gaussian_filter

        sums = np.bincount(self._flat, values, int(np.prod(self.shape))).reshape(self.shape)
        return np.asarray(gaussian_filter(sums, sigma_cells, mode="constant", truncate=3.0))

    def at_voxels(self, fields: np.ndarray) -> np.ndarray:
        """Return fields of the cells, shape (n, k, j, i), at the places, shape (n, V), float32."""
        axes = [(np.arange(size) + 0.5) / CELL - 0.5 for size in self._sizes]
        return np.stack([interpolated(field, axes).ravel()[self._places] for field in fields])


def interpolated(array: np.ndarray, places: list[np.ndarray]) -> np.ndarray:
    """Return a three-dimensional array linearly interpolated along each axis, its ends continued, float32.

    Parameters
    ----------
    array : ndarray, shape (k, j, i)
    places : three ndarrays
        Along each axis, in its indices.
    """
    found = np.asarray(array, np.float32)
    for axis in (2, 1, 0):
        size = array.shape[axis]
        place = np.clip(places[axis], 0, size - 1)
        lower = np.minimum(place.astype(np.int64), max(size - 2, 0))
        share = (place - lower).astype(np.float32)
        share = share.reshape([-1 if n == axis else 1 for n in range(3)])
        first = np.take(found, lower, axis)
        found = first + share * (np.take(found, np.minimum(lower + 1, size - 1), axis) - first)
    return np.asarray(found, np.float32)


def slopes(found: StructureBrightness, targets: np.ndarray, top: tuple[float, float]) -> np.ndarray:
    """Return the slope of the line from brightness here to brightness there, near each cell.

    Rises everywhere, or falls everywhere (negatives), as the tissues of the whole image do, and is nowhere so flat that
    lesions would fade.

    Parameters
    ----------
    found : StructureBrightness
    targets : ndarray, shape (T,)
        Brightness that tissues are to have; those the image has none of are not looked at.
    top : tuple of two floats
        Brightness that few voxels exceed, here and in the reference.

    Returns
    -------
    float32 ndarray, shape (k, j, i)
    """
    known = ~np.isnan(found.levels)
    weights, fields = found.presence[known], found.fields[known]
    wanted = targets[known].astype(np.float32)[:, None, None, None]
    here, there = (weights * fields).sum(axis=0), (weights * wanted).sum(axis=0)
    shared = (weights * (fields - here) * (wanted - there)).sum(axis=0)
    own = (weights * (fields - here) ** 2).sum(axis=0)
    steepest = STEEPEST * float(np.max(np.abs(targets[known]))) / max(abs(found.brightest), 1e-12)
    least = min(LEAST_STEEP * top[1] / max(top[0], 1e-12), steepest)
    floor = (LEAST_CONTRAST * found.brightest) ** 2
    direction = _direction(found.levels[known], targets[known], weights.sum(axis=(1, 2, 3), dtype=np.float64))
    steep = direction * shared / (own + max(floor, 1e-12))
    return np.asarray(direction * np.clip(steep, least, steepest), np.float32)


def _direction(levels: np.ndarray, targets: np.ndarray, masses: np.ndarray) -> float:
    """Return 1 where the brightness that tissues are to have rises with the one they have, -1 where it falls."""
    here, there = (values - np.average(values, weights=masses) for values in (levels, targets))
    return 1.0 if float(masses @ (here * there)) >= 0.0 else -1.0


def reversed_pairs(found: StructureBrightness, targets: np.ndarray) -> list[tuple[int, int]]:
    """Return pairs of large tissues, places in :data:`TISSUE_CLASSES`, whose order of brightness the change reverses.

    A negative reverses all of them alike, which is none. What lies between the two in brightness cannot keep its place
    among them.

    Parameters
    ----------
    found : StructureBrightness
    targets : ndarray, shape (T,)
    """
    known = np.flatnonzero(~np.isnan(found.levels))
    masses = found.presence[known].sum(axis=(1, 2, 3), dtype=np.float64)
    direction = _direction(found.levels[known], targets[known], masses)
    large = known[masses >= LARGE_SHARE * masses.sum()]
    least = LEAST_ORDER * np.array([abs(found.brightest), float(np.max(np.abs(targets[known])))])
    pairs = []
    for place, one in enumerate(large):
        for other in large[place + 1 :]:
            here, there = found.levels[one] - found.levels[other], targets[one] - targets[other]
            if direction * here * there < 0 and abs(here) > least[0] and abs(there) > least[1]:
                pairs.append((int(one), int(other)))
    return pairs


def outer_curve(
    found: StructureBrightness, targets: np.ndarray, air: float, top: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Return the curve by which what is no brain changes: knots, from brightness without shading to the new one.

    Rises from air, which becomes 0, through the tissues as far as they rise, to the top.

    Parameters
    ----------
    found : StructureBrightness
    targets : ndarray, shape (T,)
    air : float
        Brightness of air.
    top : tuple of two floats
        Brightness that few voxels exceed, here and in the reference.
    """
    from scipy.optimize import isotonic_regression

    known = np.flatnonzero(~np.isnan(found.levels) & (found.levels > air))
    order = known[np.argsort(found.levels[known])]
    mass = found.presence.sum(axis=(1, 2, 3))[order]
    x = found.levels[order]
    y = isotonic_regression(targets[order], weights=mass).x if x.size else x
    inside = x < top[0]
    knots = np.array([air, *x[inside], max(top[0], air + 1e-6)])
    heights = np.maximum.accumulate(np.array([0.0, *y[inside], top[1]]))
    return knots, heights


def toned(
    values: np.ndarray,
    chances: np.ndarray,
    fields: np.ndarray,
    slope: np.ndarray,
    shading: np.ndarray,
    found: StructureBrightness,
    targets: np.ndarray,
    curve: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Return the new brightness of voxels.

    Parameters
    ----------
    values : ndarray, shape (V,)
    chances, fields : ndarrays, shape (T, V)
    slope, shading : ndarrays, shape (V,)
    found : StructureBrightness
    targets : ndarray, shape (T,)
    curve : tuple of two ndarrays
        From :func:`outer_curve`; beyond its last knot brightness goes on in proportion.

    Returns
    -------
    float ndarray, shape (V,)
    """
    shares = shares_of(values, chances, fields, found)
    known = ~np.isnan(found.levels)
    inner = shares[known]
    brain = inner.sum(axis=0)
    whole = np.maximum(brain, 1e-6)
    wanted = (inner * targets[known, None]).sum(axis=0) / whole
    expected = (inner * fields[known]).sum(axis=0) / whole
    return brain * (wanted + slope * (values - expected)) + (1.0 - brain) * beyond_brain(values, shading, curve)


def beyond_brain(values: np.ndarray, shading: np.ndarray, curve: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Return the new brightness of voxels that are no brain."""
    even = values / shading
    knots, heights = curve
    last = heights[-1] / max(knots[-1] - knots[0], 1e-12)
    return np.interp(even, knots, heights) + last * np.maximum(even - knots[-1], 0.0)
