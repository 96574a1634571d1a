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
#: Gaussian standard deviations in voxels: of the windows that are compared, and of the map.
WINDOW_SIGMA, MAP_SIGMA = 2.5, 6.0
#: Share of the windows that hold little structure, and how far its quantile lies below the mean of pure noise.
QUIET_SHARE, QUIET_FACTOR = 0.2, 0.88
#: Share of the intensity range above which a smoothed image counts as inside of the object.
INSIDE = 0.12
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
#: Slices that the spectrum is averaged over at most.
SPECTRUM_SLICES = 24


@dataclass(frozen=True, eq=False)
class NoiseMap:
    """How strong the noise is.

    Attributes
    ----------
    sigma : float
        In image units, inside the object.
    local : ndarray, shape (S, A, B), float32
        The same for every voxel, smooth.
    """

    sigma: float
    local: np.ndarray


def estimate_noise_map(image: np.ndarray) -> NoiseMap:
    """Estimate the noise of planes and how it varies over them.

    Parameters
    ----------
    image : ndarray, shape (S, A, B), float32
        Planes (A, B); neither of their axes shorter than 8 voxels.

    Returns
    -------
    NoiseMap
        Zero where every window is free of noise.

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

    if image.ndim != 3 or min(image.shape[1:]) < 8:
        raise InputError(f"planes of {image.shape[1:]} voxels", "give an image of at least 8 voxels along each axis")
    array = np.asarray(image, np.float32)
    inside = _inside(array)
    best, best_step = 0.0, STEPS[0]
    responses = {step: np.abs(_second_difference(array, step)) for step in STEPS}
    for step, response in responses.items():
        windows = gaussian_filter(response, (0.7, WINDOW_SIGMA, WINDOW_SIGMA), truncate=2.5)[inside]
        quiet = SIGMA_PER_MEAN * float(np.quantile(windows, QUIET_SHARE)) / QUIET_FACTOR
        if quiet > best * (1.0 if step == STEPS[0] else 1.15):  # structure is stronger at the wider step
            best, best_step = quiet, step
    if best <= 0.0:
        return NoiseMap(0.0, np.zeros(array.shape, np.float32))
    bounded = np.minimum(responses[best_step], np.float32(3.0 * best))
    local = np.float32(SIGMA_PER_MEAN) * gaussian_filter(bounded, (1.0, MAP_SIGMA, MAP_SIGMA), truncate=2.5)
    return NoiseMap(best, np.clip(local, MAP_LIMITS[0] * best, MAP_LIMITS[1] * best))


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

    chosen = np.unique(np.linspace(0, image.shape[0] - 1, min(image.shape[0], SPECTRUM_SLICES)).astype(int))
    planes = np.asarray(image[chosen], np.float32)
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

    smooth = gaussian_filter(array, (0.7, 2.0, 2.0), truncate=2.5)
    low, high = np.percentile(smooth, (0.5, 99.5))
    inside: np.ndarray = smooth > low + INSIDE * (high - low)
    return inside if np.count_nonzero(inside) >= 64 else np.ones(array.shape, bool)
