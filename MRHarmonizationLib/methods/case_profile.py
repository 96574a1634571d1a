"""What an image looks like, in numbers that hold no anatomy: quantiles, the white stripe, the spectrum.

All intensities are on the image's own scale (0 at air, 1000 at the 99th percentile of the object's inside), so that
cases from scanners with other units can be averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import GridMismatchError, InputError
from MRHarmonizationLib.core.intensity import IntensityScale, fit_intensity_scale
from MRHarmonizationLib.core.regions import inner_region, thinning_steps
from MRHarmonizationLib.volumes.volume import Volume

#: Contrasts that a group can be of; which mode of the histogram is the white stripe depends on it.
CONTRASTS = ("t1", "t2", "flair", "pd", "other")
#: Unit of standardised intensities at the upper percentile; air is 0.
FULL_SCALE = 1000.0
#: Percentiles of the whole image that is 0, and of the object's inside that is full scale.
AIR_PERCENTILE, UPPER_PERCENTILE = 0.5, 99.0
#: Percentiles of the object's inside that are kept.
PERCENTILES: tuple[float, ...] = (0.5, *(float(p) for p in range(1, 100)), 99.5)
#: Frequencies at which spectra are kept, cycles/mm.
FREQUENCIES: tuple[float, ...] = tuple(float(f"{f:.4g}") for f in np.geomspace(0.015, 0.45, 20))
#: Planes of which the spectrum is taken, at most: the middle ones across the thickest axis.
SPECTRUM_PLANES = 32
#: Standard deviation, mm, of the Gaussian whose derivative measures borders; bins of rank they are averaged in.
EDGE_SIGMA_MM, RANK_BINS = 1.0, 5
#: Half width of the white stripe, in shares of the voxels.
STRIPE_HALF_WIDTH = 0.05
#: Above these percentiles there is no tissue mode, by which end of the histogram is looked at.
TAIL_PERCENTILE = {"last": 96.0, "first": 99.0}
#: Grid and bandwidth floor of the smoothed histogram.
DENSITY_POINTS = 256


@dataclass(frozen=True, eq=False)
class MeasuredValues:
    """Intensities of an image where it is measured.

    Attributes
    ----------
    values : ndarray, float64, shape (n,)
        Of the mask, or of the object's inside; thinned in large images.
    scale : IntensityScale
        Air to 0, the 99th percentile of ``values`` to 1.
    lowest, highest : float
        Of the whole image.
    array, inside : ndarray, float64 and bool, three-dimensional
        The image as looked at (thinned) and where it is measured.
    spacing_kji_mm : tuple of three floats
        Of ``array``.
    """

    values: np.ndarray
    scale: IntensityScale
    lowest: float
    highest: float
    array: np.ndarray
    inside: np.ndarray
    spacing_kji_mm: tuple[float, ...]

    @property
    def standardised(self) -> np.ndarray:
        """``values`` on the scale of 0 (air) to 1000, float64."""
        return FULL_SCALE * (self.values - self.scale.offset) / self.scale.scale


def measured_values(volume: Volume, mask: np.ndarray | None = None) -> MeasuredValues:
    """Return the intensities by which an image is judged.

    Parameters
    ----------
    volume : Volume
        A single slice will do.
    mask : ndarray, shape (K, J, I), optional
        Nonzero where to measure (the brain, for example); the object's inside when omitted, see
        :func:`~MRHarmonizationLib.core.regions.inner_region`.

    Raises
    ------
    InputError
        Values that are not finite, a constant image or region, an empty mask.
    GridMismatchError
        The mask has another shape.
    """
    name = f"image '{volume.name}'" if volume.name else "the image"
    array = volume.array
    if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
        bad = int(np.count_nonzero(~np.isfinite(array)))
        raise InputError(f"{name} has {bad} of {array.size} values that are NaN or infinite", "replace them first")
    lowest, highest = float(array.min()), float(array.max())
    if not highest > lowest:
        raise InputError(f"{name} is constant (every voxel is {lowest:g})", "choose an image that shows anatomy")
    whole = None if mask is None else _checked_mask(mask, array, name)
    thin = thinning_steps(array.shape)
    if whole is not None and not whole[thin].any():  # a mask so small that thinning would miss it
        thin = thinning_steps(array.shape, array.size)
    few = array[thin].astype(np.float64)
    spacing = tuple(float(s) * part.step for s, part in zip(volume.grid.spacing_mm[::-1], thin, strict=True))
    inside = inner_region(few, spacing) if whole is None else whole[thin]
    values = few[inside]
    if not values.max() > values.min():
        raise InputError(f"{name} is constant ({values[0]:g}) where it is measured", "choose another mask")
    scale = fit_intensity_scale(few, inside, AIR_PERCENTILE, UPPER_PERCENTILE)
    return MeasuredValues(values, scale, lowest, highest, few, inside, spacing)


def _checked_mask(mask: np.ndarray, array: np.ndarray, name: str) -> np.ndarray:
    if mask.shape != array.shape:
        raise GridMismatchError(
            f"mask shape {mask.shape} differs from that of {name}, {array.shape}", "resample the mask, nearest"
        )
    inside = np.asarray(mask) != 0
    if not inside.any():
        raise InputError(f"the mask of {name} is empty ({mask.size} voxels, all 0)", "choose a mask with voxels")
    return inside


def density(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return a smooth histogram: (intensities, density), 256 points each.

    Parameters
    ----------
    values : ndarray, shape (n,)

    Source
    ------
    Gaussian kernel density estimate with the bandwidth of Scott, Multivariate Density Estimation (1992).
    """
    from scipy.ndimage import gaussian_filter1d

    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, bins=DENSITY_POINTS, range=(low, high))
    step = (high - low) / DENSITY_POINTS
    bandwidth = float(values.std(ddof=1)) * values.size ** (-0.2) if values.size > 1 else step
    smooth = gaussian_filter1d(counts.astype(np.float64), max(bandwidth / step, 0.5), mode="constant")
    return (edges[:-1] + edges[1:]) / 2, smooth / max(float(smooth.sum()) * step, 1e-300)


def tissue_mode(values: np.ndarray, contrast: str) -> float:
    """Return the intensity at the mode of the histogram that stands for white matter.

    The last mode for T1 and other contrasts, the largest for T2 and FLAIR, the first for proton density.

    Parameters
    ----------
    values : ndarray, shape (n,)
    contrast : str
        One of :data:`CONTRASTS`.

    Source
    ------
    Shinohara et al., NeuroImage Clin. 6:9 (2014), doi 10.1016/j.nicl.2014.08.008; choice of modes and tails as in the
    package intensity-normalization (Reinhold et al., Proc. SPIE 10949 (2019), doi 10.1117/12.2513089).
    """
    which = {"t2": "largest", "flair": "largest", "pd": "first"}.get(contrast, "last")
    if which != "largest":
        values = values[values <= np.percentile(values, TAIL_PERCENTILE[which])]
    if not values.max() > values.min():
        return float(values[0])
    places, heights = density(values)
    inner = (heights[1:-1] > heights[:-2]) & (heights[1:-1] > heights[2:])
    maxima = np.flatnonzero(inner) + 1
    if which == "largest" or not maxima.size:
        return float(places[int(np.argmax(heights))])
    return float(places[maxima[-1 if which == "last" else 0]])


def white_stripe(values: np.ndarray, contrast: str) -> tuple[float, float]:
    """Return mean and standard deviation of the tenth of the values around the white-matter mode.

    Raises
    ------
    InputError
        The stripe is constant.
    """
    mode = tissue_mode(values, contrast)
    place = float(np.mean(values < mode))
    limits = (max(place - STRIPE_HALF_WIDTH, 0.0), min(place + STRIPE_HALF_WIDTH, 1.0))
    low, high = np.quantile(values, limits)
    stripe = values[(values >= low) & (values <= high)]
    deviation = float(stripe.std()) if stripe.size else 0.0
    if not deviation > 0:
        raise InputError(f"the white stripe around {mode:g} is constant", "choose an image with more grey levels")
    return float(stripe.mean()), deviation


@dataclass(frozen=True)
class CaseProfile:
    """One image in numbers; intensities from 0 (air) to 1000.

    Attributes
    ----------
    quantiles : tuple of float
        At :data:`PERCENTILES` of the object's inside.
    mean, deviation : float
    maximum : float
        Of the whole image.
    stripe_mean, stripe_deviation : float
        White stripe.
    edges : tuple of float
        Mean gradient at the ranks of intensity 0-20 %, 20-40 % ... over their mean: between which ranks the borders
        lie, which no monotone tone curve changes.
    log_power : tuple of float or None
        log10 of the share of power per frequency sample at :data:`FREQUENCIES`, in the planes across the thickest
        axis; None beyond the Nyquist frequency.
    spacing_mm : three floats
        Sorted: the two finer ones first.
    voxels : int
        Voxels looked at.
    """

    quantiles: tuple[float, ...]
    mean: float
    deviation: float
    maximum: float
    stripe_mean: float
    stripe_deviation: float
    edges: tuple[float, ...]
    log_power: tuple[float | None, ...]
    spacing_mm: tuple[float, ...]
    voxels: int


def profile_case(volume: Volume, mask: np.ndarray | None = None, contrast: str = "other") -> CaseProfile:
    """Measure what an image looks like.

    Parameters
    ----------
    volume : Volume
    mask : ndarray, shape (K, J, I), optional
        See :func:`measured_values`.
    contrast : str
        One of :data:`CONTRASTS`.

    Raises
    ------
    InputError, GridMismatchError
        As :func:`measured_values`.
    """
    found = measured_values(volume, mask)
    values = found.standardised
    stripe = white_stripe(values, contrast)
    return CaseProfile(
        quantiles=tuple(float(q) for q in np.percentile(values, PERCENTILES)),
        mean=float(values.mean()),
        deviation=float(values.std()),
        maximum=FULL_SCALE * (found.highest - found.scale.offset) / found.scale.scale,
        stripe_mean=stripe[0],
        stripe_deviation=stripe[1],
        edges=_edges_by_rank(found),
        log_power=_log_power(volume),
        spacing_mm=tuple(sorted(round(float(s), 3) for s in volume.grid.spacing_mm)),
        voxels=int(values.size),
    )


def _edges_by_rank(found: MeasuredValues) -> tuple[float, ...]:
    """Return the mean gradient of the ranks of intensity in each fifth of the ranks, their mean 1."""
    from scipy import ndimage, stats

    ranks = np.zeros(found.array.shape, np.float32)
    ranks[found.inside] = stats.rankdata(found.values) / found.values.size
    squared = np.zeros(found.array.shape, np.float32)
    sigmas = [EDGE_SIGMA_MM / s for s in found.spacing_kji_mm]
    for axis, sigma in enumerate(sigmas):
        if ranks.shape[axis] > 1:
            squared += (ndimage.gaussian_filter1d(ranks, sigma, axis, order=1) / found.spacing_kji_mm[axis]) ** 2
    # what lies at the region's own border is no border of the anatomy
    outside = ~found.inside
    if outside.any():
        depth = ndimage.distance_transform_edt(found.inside, sampling=found.spacing_kji_mm)
        inner = depth > 3 * EDGE_SIGMA_MM if np.any(depth > 3 * EDGE_SIGMA_MM) else found.inside
    else:
        inner = found.inside
    gradient, places = np.sqrt(squared[inner]), np.minimum((ranks[inner] * RANK_BINS).astype(int), RANK_BINS - 1)
    counts = np.bincount(places, minlength=RANK_BINS)
    means = np.bincount(places, gradient, RANK_BINS) / np.maximum(counts, 1)
    return tuple(float(m) for m in means / max(float(means.mean()), 1e-12))


def _log_power(volume: Volume) -> tuple[float | None, ...]:
    """Return log10 of the normalised radial power at :data:`FREQUENCIES`; None where the grid holds none."""
    from MRHarmonizationLib.core.spectrum import radial_power_spectrum

    thick = 2 - volume.grid.thick_axis
    middle = volume.array.shape[thick] // 2
    half = SPECTRUM_PLANES // 2
    part = [slice(None)] * 3
    part[thick] = slice(max(middle - half, 0), middle + half)
    array = volume.array[tuple(part)]
    i, j, k = (float(s) for s in volume.grid.spacing_mm)
    try:
        spectrum = radial_power_spectrum(array, (i, j, k), plane=("jk", "ik", "ij")[volume.grid.thick_axis])
    except InputError:  # constant in these planes
        return (None,) * len(FREQUENCIES)
    usable = spectrum.frequency_cycles_per_mm <= spectrum.limit_cycles_per_mm
    frequency, power = spectrum.frequency_cycles_per_mm[usable], spectrum.normalised_power[usable]
    if frequency.size < 2:
        return (None,) * len(FREQUENCIES)
    at = np.interp(FREQUENCIES, frequency, np.log10(np.maximum(power, 1e-30)))
    inside = (np.asarray(FREQUENCIES) >= frequency[0]) & (np.asarray(FREQUENCIES) <= frequency[-1])
    return tuple(float(value) if ok else None for value, ok in zip(at, inside, strict=True))
