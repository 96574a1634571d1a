"""Cubic B-spline interpolation along the axes of an array, as one small matrix per axis.

Where the new samples lie on lines parallel to the array's axes, the three-dimensional spline is a product of three
one-dimensional ones, prefilter and all: one matrix product per axis, some ten times faster than evaluating 64
coefficients at every voxel, with the same result.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def spline_matrix(size: int, positions: np.ndarray) -> np.ndarray:
    """Return the matrix that interpolates a line of samples.

    Parameters
    ----------
    size : int
        Samples on the line, at 0, 1, …, ``size - 1``.
    positions : ndarray, shape (N,)
        Where values are wanted, in samples; beyond the ends the line is continued by mirroring about its outermost
        samples.

    Returns
    -------
    ndarray, shape (N, size), float64
        Its rows add up to 1.

    Source
    ------
    Unser, IEEE Signal Process. Mag. 16(6):22 (1999), doi 10.1109/79.799930: direct cubic B-spline transform with
    mirror boundaries.
    """
    if size == 1:
        return np.ones((len(positions), 1))
    from scipy.ndimage import spline_filter1d

    positions = np.asarray(positions, float)
    first = np.floor(positions)
    t = positions - first
    basis = ((1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6)
    weights = np.zeros((positions.size, size))
    period = 2 * (size - 1)
    for offset, values in enumerate(basis):
        place = np.abs(first.astype(np.intp) - 1 + offset) % period
        np.add.at(weights, (np.arange(positions.size), np.minimum(place, period - place)), values)
    coefficients_of_samples = spline_filter1d(np.eye(size), order=3, axis=0, mode="mirror")
    return np.asarray(weights @ coefficients_of_samples)


def interpolate_along_axes(array: np.ndarray, positions: Sequence[np.ndarray]) -> np.ndarray:
    """Interpolate a volume at all combinations of positions along its axes.

    Parameters
    ----------
    array : ndarray, shape (K, J, I)
        Real values; not changed.
    positions : three ndarrays
        For each axis, where values are wanted, in samples; see :func:`spline_matrix`.

    Returns
    -------
    ndarray, shape (len(positions[0]), len(positions[1]), len(positions[2])), float32
    """
    matrices = [
        spline_matrix(size, wanted).astype(np.float32) for size, wanted in zip(array.shape, positions, strict=True)
    ]
    values = np.ascontiguousarray(array, np.float32)
    # The axis that grows most comes last: the arrays in between stay small.
    for axis in sorted(range(3), key=lambda axis: matrices[axis].shape[0] / matrices[axis].shape[1]):
        matrix = matrices[axis]
        if axis == 0:
            rest = values.shape[1:]
            values = (matrix @ values.reshape(values.shape[0], -1)).reshape(-1, *rest)
        elif axis == 1:
            values = np.matmul(matrix, values)
        else:
            values = values @ matrix.T
    return values
