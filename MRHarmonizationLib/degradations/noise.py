"""Complex noise of an MR receiver, coloured by the k-space taper, and the magnitude image it leaves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MRHarmonizationLib.degradations.encoding import taper_window


def coloured_noise(
    rng: np.random.Generator, shape: Sequence[int], tapers: Sequence[float | None], order: float = 1.0
) -> np.ndarray:
    """Draw real stationary noise of unit variance: white before the taper, as the receiver sees it.

    Parameters
    ----------
    rng : numpy Generator
    shape : ints
        Shape of the measured grid.
    tapers : float or None per axis
        Tukey fraction along each axis; None leaves the axis white (independent slices).
    order : float
        Exponent of the window.

    Returns
    -------
    ndarray, float32, given shape
    """
    noise: np.ndarray = rng.standard_normal(tuple(shape), dtype=np.float32)
    gain = 1.0
    for axis, taper in enumerate(tapers):
        if taper is None or shape[axis] < 2:
            continue
        frequency = np.fft.rfftfreq(shape[axis]) * 2.0
        window = taper_window(frequency, taper, order)
        full = taper_window(np.fft.fftfreq(shape[axis]) * 2.0, taper, order)
        gain *= float(np.mean(full**2))
        spectrum = np.fft.rfft(noise, axis=axis)
        spectrum *= window.reshape([-1 if a == axis else 1 for a in range(len(shape))]).astype(np.float32)
        noise = np.fft.irfft(spectrum, n=shape[axis], axis=axis)
    return np.asarray(noise / np.sqrt(gain), np.float32)


def rician_magnitude(signal: np.ndarray, real_noise: np.ndarray, imaginary_noise: np.ndarray) -> np.ndarray:
    """Return the magnitude of a real signal plus complex noise, float32, same shape.

    Source
    ------
    Gudbjartsson & Patz, Magn. Reson. Med. 34:910 (1995), doi 10.1002/mrm.1910340618.
    """
    return np.asarray(np.hypot(signal + real_noise, imaginary_noise), np.float32)


def remove_rician_bias(magnitude: np.ndarray, sigma: float) -> np.ndarray:
    """Return the second-moment estimate sqrt(max(m² − 2σ², 0)) of the signal under Rician noise, same shape."""
    return np.asarray(np.sqrt(np.maximum(magnitude.astype(np.float32) ** 2 - 2.0 * sigma**2, 0.0)), np.float32)
