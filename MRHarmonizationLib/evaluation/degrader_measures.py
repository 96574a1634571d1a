"""How alike two ways of degrading are: spectra, correlations of neighbours, anatomy below a low-pass filter."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from MRHarmonizationLib.core.spectrum import radial_power_spectrum
from MRHarmonizationLib.metrics.base import METRICS, default_data_range

#: Bins of the radial spectra; the lowest of them, which the mask's size dominates, are left out.
SPECTRUM_BINS, SKIPPED_BINS = 24, 1
#: Highest frequency that is compared, cycles per pixel: beyond lie the corners of k-space only.
HIGHEST_FREQUENCY = 0.5
#: Blurred images are compared where at least this share of the power of the image passes.
PASSED_SHARE = 0.1


def plane_power(planes: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Return the mean power of planes in rings of frequency, in cycles per pixel, shape (bins,).

    Parameters
    ----------
    planes : ndarray, shape (N, A, B)
    mask : bool ndarray, same shape
    """
    found = radial_power_spectrum(planes, (1.0, 1.0, 1.0), mask, plane="ij", n_bins=SPECTRUM_BINS)
    inside = found.frequency_cycles_per_mm <= HIGHEST_FREQUENCY
    return np.asarray(found.power[inside][SKIPPED_BINS:])


def log_spectral_distance(power: np.ndarray, reference: np.ndarray) -> float:
    """Return the root mean square difference of two power spectra in dB.

    Parameters
    ----------
    power, reference : ndarray, shape (bins,)
        Positive.

    Examples
    --------
    >>> round(log_spectral_distance(np.array([2.0, 2.0]), np.array([1.0, 1.0])), 2)
    3.01
    """
    return float(np.sqrt(np.mean((10.0 * np.log10(power / reference)) ** 2)))


def neighbour_correlations(planes: np.ndarray, mask: np.ndarray, lags: int) -> np.ndarray:
    """Return how correlated pixels are with those 1, 2, … further along rows, then along columns, shape (2 · lags,).

    Parameters
    ----------
    planes : ndarray, shape (N, A, B)
    mask : bool ndarray, same shape
        Both pixels of a pair lie in it.
    lags : int
    """
    found = []
    centred = planes - planes[mask].mean()
    for axis in (1, 2):
        for lag in range(1, lags + 1):
            near = [slice(None)] * 3
            far = [slice(None)] * 3
            near[axis], far[axis] = slice(None, -lag), slice(lag, None)
            both = mask[tuple(near)] & mask[tuple(far)]
            first, second = centred[tuple(near)][both], centred[tuple(far)][both]
            found.append(float(np.sum(first * second) / np.sqrt(np.sum(first**2) * np.sum(second**2))))
    return np.array(found)


def low_pass_ssim(image: np.ndarray, reference: np.ndarray, mask: np.ndarray, sigma: float) -> float:
    """Return the SSIM of planes (N, A, B) below a Gaussian low-pass filter whose deviation is given in pixels."""
    smooth = [gaussian_filter(part, (0.0, sigma, sigma)) for part in (image, reference)]
    options: dict[str, Any] = {
        "mask": mask,
        "data_range": default_data_range(reference, mask),
        "spacing_mm": (1.0, 1.0, 1.0),
    }
    return float(METRICS.get("ssim_2d")(smooth[0], smooth[1], **options).value)


def measured_effect(image: np.ndarray, kind: str, mask: np.ndarray, data_range: float) -> float:
    """Return what a degrader of a kind should raise, measured on the image alone: noise, or the lack of sharpness.

    Parameters
    ----------
    image : ndarray, shape (N, A, B)
    kind : {'noise', 'blur'}
    mask : bool ndarray, same shape
    data_range : float
    """
    name, sign = ("noise", 1.0) if kind == "noise" else ("sharpness", -1.0)
    options: dict[str, Any] = {"mask": mask, "data_range": data_range, "spacing_mm": (1.0, 1.0, 1.0)}
    return sign * float(METRICS.get(name)(image, **options).value)
