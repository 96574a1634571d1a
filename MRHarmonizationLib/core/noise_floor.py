"""The noise floor of magnitude images: what it adds to the signal, and taking it off again.

The magnitude of a signal A under complex noise of deviation σ per channel has the mean σ·m(A/σ) and the mean square
A² + 2Lσ² (L coils combined as a root of the sum of squares; 1 for Rician noise). Both can be inverted, but only of
**averages**: a single noisy magnitude corrected on its own is cut at 0 half of the time where there is no signal, and
stays biased. So denoise or average first, the magnitudes for :func:`correct_koay`, their squares for
:func:`correct_second_moment`.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError

#: Signal-to-noise ratio above which the first three terms of the asymptotic series of the mean magnitude are used.
_LARGE_SNR = 24.0
#: Steps of the table that is inverted.
_TABLE_STEPS = 12000


def mean_magnitude(snr: np.ndarray | float, coils: int = 1) -> np.ndarray:
    """Return the mean magnitude, in units of σ, of a signal of ``snr`` times σ.

    Parameters
    ----------
    snr : ndarray or float
        Signal over the deviation of the noise per channel, not negative.
    coils : int
        Receive channels combined as a root of the sum of squares; 1 for a single or phase-combined channel.

    Source
    ------
    Koay & Basser, J. Magn. Reson. 179:317 (2006), doi 10.1016/j.jmr.2006.01.016, eqs. 5 and 15.
    """
    from scipy.special import gammaln, hyp1f1, i0e, i1e

    theta = np.asarray(snr, float)
    _check_coils(coils)
    if np.any(theta < 0):
        raise ParameterError(f"signal-to-noise ratio {theta.min():g} is negative", "give values of 0 or more")
    half = np.minimum(theta, 2 * _LARGE_SNR) ** 2 / 2.0
    if coils == 1:
        exact = np.sqrt(np.pi / 2) * ((1 + half) * i0e(half / 2) + half * i1e(half / 2))
    else:
        at_zero = np.sqrt(2.0) * np.exp(gammaln(coils + 0.5) - gammaln(coils))
        exact = at_zero * hyp1f1(-0.5, coils, -half)
    far = np.maximum(theta, _LARGE_SNR)
    odd = 2 * coils - 1
    series = far + odd / (2 * far) - odd * (odd - 2) / (8 * far**3)
    return np.asarray(np.where(theta > _LARGE_SNR, series, exact))


def variance_factor(snr: np.ndarray | float, coils: int = 1) -> np.ndarray:
    """Return ξ, the variance of the magnitude over σ²: from 2 − π/2 without signal to 1 far above the noise.

    Source
    ------
    Koay & Basser (2006), eq. 6: the correction factor.
    """
    theta = np.asarray(snr, float)
    return np.asarray(2 * coils + theta**2 - mean_magnitude(theta, coils) ** 2)


def noise_floor(sigma: np.ndarray | float, coils: int = 1) -> np.ndarray:
    """Return the mean magnitude where there is no signal: 1.2533 σ for Rician noise."""
    return np.asarray(np.asarray(sigma, float) * float(mean_magnitude(0.0, coils)))


def correct_koay(magnitude: np.ndarray, sigma: np.ndarray | float, coils: int = 1) -> np.ndarray:
    """Return the signal whose mean magnitude is given (inversion of the first moment).

    Parameters
    ----------
    magnitude : ndarray
        Mean or denoised magnitude. Below the noise floor the signal is 0.
    sigma : float or ndarray that broadcasts to ``magnitude``
        Deviation of the noise per channel.
    coils : int

    Returns
    -------
    ndarray, float32, shape of ``magnitude``

    Raises
    ------
    ParameterError
        ``sigma`` not positive or not finite, ``coils`` below 1.

    Source
    ------
    Koay & Basser, J. Magn. Reson. 179:317 (2006), doi 10.1016/j.jmr.2006.01.016.
    """
    values, noise = _checked(magnitude, sigma)
    ratio = values / noise
    snr, means = _table(coils)
    theta = np.interp(ratio, means, snr)
    far = ratio > means[-1]
    theta = np.where(far, np.sqrt(np.maximum(ratio.astype(float) ** 2 - (2 * coils - 1), 0.0)), theta)
    return np.asarray(theta * noise, np.float32)


def correct_second_moment(magnitude: np.ndarray, sigma: np.ndarray | float, coils: int = 1) -> np.ndarray:
    """Return √(max(M² − 2Lσ², 0)), the signal whose root mean square magnitude is given.

    Parameters
    ----------
    magnitude : ndarray
        Root of the averaged or denoised squared magnitude.
    sigma, coils
        As for :func:`correct_koay`.

    Returns
    -------
    ndarray, float32, shape of ``magnitude``

    Raises
    ------
    ParameterError
        As :func:`correct_koay`.

    Source
    ------
    Gudbjartsson & Patz, Magn. Reson. Med. 34:910 (1995), doi 10.1002/mrm.1910340618.
    """
    _check_coils(coils)
    values, noise = _checked(magnitude, sigma)
    return np.asarray(np.sqrt(np.maximum(values.astype(float) ** 2 - 2 * coils * noise**2, 0.0)), np.float32)


def signal_and_sigma(mean: np.ndarray, deviation: np.ndarray, coils: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return signal and σ from the mean and standard deviation of repeated magnitudes: both at once, exactly.

    Parameters
    ----------
    mean, deviation : ndarrays of one shape
        Over repetitions, or over voxels of one signal.
    coils : int

    Returns
    -------
    signal, sigma : ndarrays, float32

    Raises
    ------
    ParameterError
        Shapes differ, or a deviation is not positive.

    Source
    ------
    Koay & Basser, J. Magn. Reson. 179:317 (2006), doi 10.1016/j.jmr.2006.01.016: the fixed point, from a table.
    """
    mean, deviation = np.asarray(mean, float), np.asarray(deviation, float)
    if mean.shape != deviation.shape or not np.all(deviation > 0):
        raise ParameterError(
            f"mean of shape {mean.shape}, deviation of shape {deviation.shape}, from {np.min(deviation, initial=0)}",
            "give a mean and a positive deviation for every value",
        )
    snr, means = _table(coils)
    spread = np.sqrt(variance_factor(snr, coils))
    theta = np.interp(mean / deviation, means / spread, snr)
    beyond = mean / deviation > (means / spread)[-1]
    sigma = np.where(beyond, deviation, deviation / np.interp(theta, snr, spread))
    signal = np.where(beyond, np.sqrt(np.maximum(mean**2 - (2 * coils - 1) * sigma**2, 0.0)), theta * sigma)
    return signal.astype(np.float32), sigma.astype(np.float32)


@lru_cache(maxsize=8)
def _table(coils: int) -> tuple[np.ndarray, np.ndarray]:
    """Return signal-to-noise ratios and the mean magnitude at each; denser near 0, where the mean is flat."""
    _check_coils(coils)
    snr = _LARGE_SNR * np.linspace(0.0, 1.0, _TABLE_STEPS) ** 1.5
    means = mean_magnitude(snr, coils)
    for values in (snr, means):
        values.setflags(write=False)
    return snr, means


def _check_coils(coils: int) -> None:
    if int(coils) != coils or coils < 1:
        raise ParameterError(f"{coils} coils", "give a whole number of at least 1")


def _checked(magnitude: np.ndarray, sigma: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Return both as floats; raises ParameterError for a σ that cannot be, InputError for a magnitude."""
    values, noise = np.asarray(magnitude), np.asarray(sigma, float)
    if values.dtype.kind not in "fiub":
        raise InputError(f"values of type {values.dtype}", "give the magnitude image")
    if not np.all(np.isfinite(noise)) or not np.all(noise > 0):
        raise ParameterError(
            f"noise deviation {float(np.min(noise)):g} to {float(np.max(noise)):g}", "give a positive, finite number"
        )
    try:
        np.broadcast_shapes(values.shape, noise.shape)
    except ValueError:
        raise ParameterError(
            f"noise map of shape {noise.shape} for values of shape {values.shape}", "give one number or a fitting map"
        ) from None
    return values.astype(np.float32, copy=False), noise
