"""Spatial encoding of an MR acquisition as one matrix per axis: slice profile, k-space extent and taper.

The same code serves numpy arrays and torch tensors: only ``reshape``, ``movedim``/``moveaxis`` and matrix products
touch the image.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError

#: Full width at half maximum of a Gaussian, in standard deviations.
FWHM_PER_SIGMA = 2.0 * np.sqrt(2.0 * np.log(2.0))
#: Number of k-space samples of the numerical Fourier integral that gives the point-spread function.
_KERNEL_SAMPLES = 256
#: Half width of the kernels, in low-resolution voxels.
_KERNEL_REACH = 6.0


def taper_window(relative_frequency: np.ndarray, taper: float, order: float = 1.0) -> np.ndarray:
    """Return the k-space weighting of an acquisition.

    Parameters
    ----------
    relative_frequency : ndarray, any shape
        Spatial frequency over the Nyquist frequency; outside [-1, 1] the weight is 0.
    taper : float
        Tukey's cosine fraction: 0 a sharp crop (Gibbs ringing), 1 a Hann window.
    order : float
        Exponent of the window; above 1 the signal and the noise are smoother than with Hann.

    Returns
    -------
    ndarray, same shape, in [0, 1]

    Source
    ------
    Harris, Proc. IEEE 66:51 (1978), Tukey window.
    """
    r = np.abs(np.asarray(relative_frequency, float))
    if not 0.0 <= taper <= 1.0:
        raise ParameterError(f"k-space taper {taper} lies outside [0, 1]", "0 is a sharp crop, 1 a Hann window")
    window = np.where(r <= 1.0, 1.0, 0.0)
    if taper > 0:
        edge = np.clip((r - (1.0 - taper)) / taper, 0.0, 1.0)
        window = window * 0.5 * (1.0 + np.cos(np.pi * edge))
    return np.asarray(window**order)


def kspace_kernel(distance_mm: np.ndarray, spacing_mm: float, taper: float, order: float = 1.0) -> np.ndarray:
    """Return the point-spread function of a tapered k-space crop at distances in mm (not normalised)."""
    frequency = (np.arange(_KERNEL_SAMPLES) + 0.5) / _KERNEL_SAMPLES
    weights = taper_window(frequency, taper, order)
    phase = np.pi * np.asarray(distance_mm, float)[..., None] / spacing_mm * frequency
    return np.asarray(np.cos(phase) @ weights)


def slice_kernel(distance_mm: np.ndarray, fwhm_mm: float, flatness: float = 0.0) -> np.ndarray:
    """Return a slice-selection profile at distances in mm (not normalised).

    Parameters
    ----------
    distance_mm : ndarray
        Distance from the slice centre.
    fwhm_mm : float
        Full width at half maximum.
    flatness : float in [0, 1]
        0 a Gaussian, 1 nearly a box (a super-Gaussian of order 8): real pulses lie between.
    """
    power = 2.0 * (4.0**flatness)
    half = 0.5 * fwhm_mm
    return np.asarray(np.exp(-np.log(2.0) * np.abs(np.asarray(distance_mm, float) / half) ** power))


def encoding_matrix(
    n_in: int, fine_mm: float, n_out: int, coarse_mm: float, kernel: Callable[[np.ndarray], np.ndarray], reach_mm: float
) -> np.ndarray:
    """Return the matrix that measures ``n_out`` voxels from ``n_in`` fine ones about one common centre.

    Parameters
    ----------
    n_in, n_out : int
        Number of fine and of measured voxels along the axis.
    fine_mm, coarse_mm : float
        Their spacing.
    kernel : callable(distance_mm) -> weights
        Point-spread function.
    reach_mm : float
        Distance beyond which the kernel counts as zero.

    Returns
    -------
    ndarray, shape (n_out, n_in), float32
        Rows sum to one; what lies outside the field of view is taken as its mirror image.
    """
    overhang = max(0.0, 0.5 * (n_out * coarse_mm - n_in * fine_mm))
    pad = int(np.ceil((reach_mm + overhang) / fine_mm))
    index = np.arange(-pad, n_in + pad)
    measured = (np.arange(n_out) - 0.5 * (n_out - 1)) * coarse_mm
    distance = measured[:, None] - ((index - 0.5 * (n_in - 1)) * fine_mm)[None, :]
    near = np.abs(distance) <= reach_mm
    weights = np.zeros(distance.shape)
    weights[near] = kernel(distance[near])
    period = 2 * n_in
    folded = np.mod(index, period)
    folded = np.where(folded >= n_in, period - 1 - folded, folded)
    matrix = np.zeros((n_out, n_in))
    np.add.at(matrix.T, folded, weights.T)
    matrix /= matrix.sum(axis=1, keepdims=True)
    return np.asarray(matrix, np.float32)


def kspace_matrix(
    n_in: int, fine_mm: float, n_out: int, coarse_mm: float, taper: float, order: float = 1.0
) -> np.ndarray:
    """Return the encoding matrix of a tapered k-space crop; see :func:`encoding_matrix`."""
    return encoding_matrix(
        n_in, fine_mm, n_out, coarse_mm, lambda d: kspace_kernel(d, coarse_mm, taper, order), _KERNEL_REACH * coarse_mm
    )


def slice_matrix(
    n_in: int, fine_mm: float, n_out: int, coarse_mm: float, fwhm_mm: float, flatness: float = 0.0
) -> np.ndarray:
    """Return the encoding matrix of slice-selective excitation; see :func:`encoding_matrix`."""
    width = max(fwhm_mm, fine_mm)
    return encoding_matrix(
        n_in, fine_mm, n_out, coarse_mm, lambda d: slice_kernel(d, width, flatness), 2.0 * width + fine_mm
    )


def apply_along(array: Any, matrix: np.ndarray, axis: int) -> Any:
    """Multiply a matrix along one axis of a numpy array or torch tensor.

    Parameters
    ----------
    array : array, shape (..., n_in, ...)
    matrix : ndarray, shape (n_out, n_in)
    axis : int

    Returns
    -------
    array of the same kind, shape (..., n_out, ...), float32
    """
    if isinstance(array, np.ndarray):
        return np.moveaxis(np.tensordot(matrix, array, axes=(1, axis)), 0, axis).astype(np.float32, copy=False)
    tensor = array.new_tensor(matrix)
    return (
        (tensor @ array.movedim(axis, 0).reshape(array.shape[axis], -1))
        .reshape((matrix.shape[0], *[n for a, n in enumerate(array.shape) if a != axis % array.ndim]))
        .movedim(0, axis)
    )
