"""Noise and resolution of one image, estimated from itself: what a restorer is told about it.

Both are judged within planes. They steer a network that was trained with the same estimates, so what counts is that
they rise with the truth, not that they are exact: structure raises the noise, smooth anatomy the resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import InputError

#: Standard deviation of white noise behind the second difference along both axes of a plane.
SECOND_DIFFERENCE_GAIN = 6.0
#: Standard deviation over mean absolute value of a normal distribution.
SIGMA_PER_MEAN = float(np.sqrt(np.pi / 2.0))
#: Steps of the differences in voxels: scans that were interpolated to twice their matrix show no noise at step 1.
STEPS = (1, 2)
#: How much more the wider step must show to count: structure is always stronger there.
WIDE_EXCESS = 1.6
#: Gaussian standard deviations in voxels: of the windows that are compared, and of the map.
WINDOW_SIGMA, MAP_SIGMA = 2.5, 6.0
#: Share of the windows that hold little structure, and how far its quantile lies below the mean of pure noise.
QUIET_SHARE, QUIET_FACTOR = 0.2, 0.88
#: Share of the intensity range above which a smoothed image counts as inside of the object.
INSIDE = 0.12
#: Planes to either side that the map of a plane depends on.
MAP_REACH = 3
#: Limits of the map over the estimate.
MAP_LIMITS = (0.4, 2.5)
#: Frequencies over Nyquist used for the resolution, and the bins between them.
BAND, BINS = (0.12, 0.92), 20
#: Power of frequency with which the planar power spectrum of anatomy falls.
ANATOMY_SLOPE = 3.0
#: Power over the noise's from which on a bin shows anatomy, and the fewest bins that make an estimate.
ABOVE_NOISE, FEWEST_BINS = 2.0, 4
#: Resolution returned where noise hides all, and the coarsest.
UNKNOWN_RESOLUTION, COARSEST_RESOLUTION = 1.5, 4.0
#: Planes, evenly spread, that an estimate is made from at most.
MOST_PLANES = 24
#: Smallest edge of a plane in voxels.
SMALLEST_PLANE = 16


@dataclass(frozen=True)
class NoiseLevel:
    """How strong the noise is.

    Attributes
    ----------
    sigma : float
        Standard deviation inside the object, image units.
    step : int
        Distance in voxels of the differences that showed it.
    """

    sigma: float
    step: int


def estimate_noise(image: np.ndarray) -> NoiseLevel:
    """Estimate the noise of planes.

    Parameters
    ----------
    image : ndarray, shape (S, A, B), float32
        Planes (A, B); neither of their axes shorter than :data:`SMALLEST_PLANE` voxels.

    Returns
    -------
    NoiseLevel
        Of sigma 0 where most windows are free of noise.

    Raises
    ------
    InputError
        Planes too small.

    Source
    ------
    Immerkær, Comput. Vis. Image Underst. 64:300 (1996), doi 10.1006/cviu.1996.0060: the second difference along both
    axes is blind to slopes and straight edges; taken in many windows, of which the quiet ones show the noise.
    """
    from scipy.ndimage import gaussian_filter

    if image.ndim != 3 or min(image.shape[1:]) < SMALLEST_PLANE:
        raise InputError(
            f"planes of {' x '.join(map(str, image.shape[1:]))} voxels are too small",
            f"give an image of at least {SMALLEST_PLANE} x {SMALLEST_PLANE} voxels",
        )
    array = np.asarray(image[_spread_planes(image.shape[0])], np.float32)
    inside = _inside(array)
    best = NoiseLevel(0.0, STEPS[0])
    for step in STEPS:
        response = np.abs(_second_difference(array, step))
        windows = gaussian_filter(response, (0.0, WINDOW_SIGMA, WINDOW_SIGMA), truncate=2.5)[inside]
        quiet = SIGMA_PER_MEAN * float(np.quantile(windows, QUIET_SHARE)) / QUIET_FACTOR
        if quiet > best.sigma * (1.0 if step == STEPS[0] else WIDE_EXCESS):
            best = NoiseLevel(quiet, step)
    return best


def local_noise(image: np.ndarray, level: NoiseLevel) -> np.ndarray:
    """Return the standard deviation of the noise at every voxel, smooth, float32, shape (S, A, B).

    A voxel's value depends on its own plane and the :data:`MAP_REACH` planes to either side.

    Parameters
    ----------
    image : ndarray, shape (S, A, B), float32
    level : NoiseLevel
        Of the whole image.
    """
    from scipy.ndimage import gaussian_filter

    array = np.asarray(image, np.float32)
    if level.sigma <= 0.0:
        return np.zeros(array.shape, np.float32)
    response = np.abs(_second_difference(array, level.step))
    np.minimum(response, np.float32(3.0 * level.sigma), out=response)  # edges are no noise
    local = gaussian_filter(response, (1.0, MAP_SIGMA, MAP_SIGMA), truncate=2.5)
    local *= np.float32(SIGMA_PER_MEAN)
    return np.clip(local, MAP_LIMITS[0] * level.sigma, MAP_LIMITS[1] * level.sigma)


def estimate_resolution(image: np.ndarray, sigma: float) -> float:
    """Estimate how many voxels of a plane it takes to resolve a detail.

    The planar power spectrum of anatomy falls as a power of frequency; what it falls short of that is blur.

    Parameters
    ----------
    image : ndarray, shape (S, A, B), float32
        Planes (A, B).
    sigma : float
        Standard deviation of the noise, image units.

    Returns
    -------
    float
        1 (as sharp as the grid can be) to :data:`COARSEST_RESOLUTION`;
        :data:`UNKNOWN_RESOLUTION` where noise hides the anatomy.
    """
    from scipy.fft import dctn

    planes = np.asarray(image[_spread_planes(image.shape[0])], np.float32)
    planes = planes - planes.mean(axis=(1, 2), keepdims=True)
    power = np.mean(dctn(planes, axes=(1, 2), norm="ortho") ** 2, axis=0)
    first, second = (np.arange(n) / n for n in power.shape)
    radius = np.hypot(first[:, None], second[None, :])
    edges = np.linspace(*BAND, BINS + 1)
    number = np.digitize(radius.reshape(-1), edges)
    counts = np.bincount(number, minlength=BINS + 2)[1:-1]
    sums = np.bincount(number, weights=power.reshape(-1), minlength=BINS + 2)[1:-1]
    spectrum = sums / np.maximum(counts, 1)
    centres = 0.5 * (edges[1:] + edges[:-1])
    usable = (counts > 0) & (spectrum > ABOVE_NOISE * sigma**2 + 1e-12)
    hidden = np.flatnonzero(~usable)
    if hidden.size:
        usable[hidden[0] :] = False  # what rises again behind the first hidden bin is noise or an artefact
    if np.count_nonzero(usable) < FEWEST_BINS:
        return UNKNOWN_RESOLUTION
    f = centres[usable]
    excess = np.log(spectrum[usable] - sigma**2) + ANATOMY_SLOPE * np.log(f)
    # ln power = constant − loss · f²; the loss of a Gaussian point spread follows from its resolution
    slope = float(np.polyfit(f**2, excess, 1)[0])
    loss = max(-slope, 0.0) / (2.0 * np.log(2.0) * 1.2)
    return float(np.clip(np.sqrt(1.0 + loss), 1.0, COARSEST_RESOLUTION))


def _spread_planes(count: int) -> np.ndarray:
    return np.unique(np.linspace(0, count - 1, min(count, MOST_PLANES)).astype(int))


def _second_difference(array: np.ndarray, step: int) -> np.ndarray:
    """Return the second difference along both axes of the planes over its gain for white noise; edges repeat."""
    result = array
    for axis in (1, 2):
        widths = [(0, 0)] * 3
        widths[axis] = (step, step)
        padded = np.pad(result, widths, mode="edge")
        size = array.shape[axis]
        low, high = (np.take(padded, range(s, s + size), axis) for s in (0, 2 * step))
        result = low + high - 2.0 * result
    return np.asarray(result / np.float32(SECOND_DIFFERENCE_GAIN), np.float32)


def _inside(array: np.ndarray) -> np.ndarray:
    """Return the voxels of the object, bool; all of them where it cannot be told from air."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(array, (0.0, 2.0, 2.0), truncate=2.5)
    low, high = np.percentile(smooth, (0.5, 99.5))
    inside: np.ndarray = smooth > low + INSIDE * (high - low)
    return inside if np.count_nonzero(inside) >= 64 else np.ones(array.shape, bool)
