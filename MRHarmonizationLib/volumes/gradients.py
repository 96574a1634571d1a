"""Diffusion weightings: what b-values and gradient directions must be, shells, and the frames directions are told in.

The library keeps directions as unit vectors in the scanner frame (RAS). FSL's bvec files tell them along the axes of
the image instead, the first one reversed where the axes are right-handed.
Source: FSL, FDT user guide, "What conventions do the bvecs use?", https://fsl.fmrib.ox.ac.uk/fsl/docs/#/diffusion/fdt.
"""

from __future__ import annotations

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.volumes.grid import Grid

#: Volumes of at most this b-value, s/mm², count as not diffusion-weighted (some sequences report 5 to 50 for them).
B0_LIMIT_S_PER_MM2 = 50.0

#: Directions this far from unit length are made unit vectors (rounded tables); others are refused.
UNIT_LENGTH_TOLERANCE = 0.02

#: b-values above this do not exist in s/mm² (the strongest gradients in people reach 40,000); s/m² are larger.
LARGEST_B_S_PER_MM2 = 100_000.0

#: A series whose largest b-value is at most this, but not 0, is told in ms/µm² (1 ms/µm² = 1000 s/mm²).
LARGEST_B_MS_PER_UM2 = 20.0

#: b-values apart by at most this, s/mm², or this fraction, belong to one shell.
SHELL_GAP_S_PER_MM2 = 40.0
SHELL_GAP_FRACTION = 0.05

#: Shells are named by their median b-value, rounded to this, s/mm².
SHELL_ROUNDING_S_PER_MM2 = 10

#: Directions closer than this angle, or to each other's opposite, are one, degrees.
SAME_DIRECTION_DEG = 1.0

#: A tensor has six unknowns beside the unweighted signal.
TENSOR_DIRECTIONS = 6

#: Six directions whose equations have a larger condition number than this (all in one plane, say) leave a tensor open.
LARGEST_TENSOR_CONDITION = 100.0


def checked_b_values(b_values: np.ndarray, count: int) -> np.ndarray:
    """Return b-values as float64 after checking them.

    Parameters
    ----------
    b_values : array_like, shape (N,)
        s/mm².
    count : int
        Number of volumes they must belong to.

    Returns
    -------
    ndarray, shape (N,), float64

    Raises
    ------
    InputError
        Wrong count, not finite, negative, all (near) zero, in another unit, or without an unweighted volume.
    """
    values = np.array(b_values, dtype=np.float64).reshape(-1)
    if values.size != count:
        raise InputError(
            f"{values.size} b-values for {count} volumes",
            "use the bval file that was written with this scan, complete and unchanged",
        )
    if not np.all(np.isfinite(values)):
        bad = int(np.flatnonzero(~np.isfinite(values))[0])
        raise InputError(f"b-value of volume {bad} is {values[bad]}", "correct the b-values")
    if values.min() < 0:
        bad = int(np.argmin(values))
        raise InputError(f"b-value of volume {bad} is negative ({values[bad]:g})", "correct the b-values")
    _check_unit(values)
    if values.min() > B0_LIMIT_S_PER_MM2:
        raise InputError(
            f"no volume is without diffusion weighting: the smallest b-value is {values.min():g} s/mm², at most "
            f"{B0_LIMIT_S_PER_MM2:g} counts as none",
            "add the b = 0 volume of the same session, often a series of its own",
        )
    return values


def _check_unit(values: np.ndarray) -> None:
    largest = float(values.max())
    if largest == 0:
        raise InputError(
            f"all {values.size} b-values are 0: no volume is diffusion-weighted",
            "choose the diffusion series, or the bval file that belongs to it",
        )
    if largest <= LARGEST_B_MS_PER_UM2:
        raise InputError(
            f"the largest b-value is {largest:g}; expected s/mm² (about 1000), this looks like ms/µm²",
            "multiply the b-values by 1000",
        )
    if largest <= B0_LIMIT_S_PER_MM2:
        raise InputError(
            f"the largest b-value is {largest:g} s/mm²: no volume is diffusion-weighted",
            "choose the diffusion series, or the bval file that belongs to it",
        )
    if largest > LARGEST_B_S_PER_MM2:
        raise InputError(
            f"the largest b-value is {largest:g}; expected s/mm² (about 1000), this looks like s/m²",
            "divide the b-values by 1,000,000",
        )


def checked_gradients(gradients: np.ndarray, b_values: np.ndarray) -> np.ndarray:
    """Return directions as unit vectors after checking them.

    Parameters
    ----------
    gradients : array_like, shape (N, 3)
        Any frame.
    b_values : ndarray, shape (N,)
        s/mm², checked.

    Returns
    -------
    ndarray, shape (N, 3), float64
        Unit vectors. Those of unweighted volumes are kept if they are directions, and zero otherwise (NaN, zeros).

    Raises
    ------
    InputError
        Wrong count, or a weighted volume whose direction is missing, not finite or not of unit length.
    """
    vectors = np.array(gradients, dtype=np.float64)
    if vectors.shape != (b_values.size, 3):
        raise InputError(
            f"gradients are of shape {vectors.shape}, expected ({b_values.size}, 3): one direction per volume",
            "use the bvec file that was written with this scan, complete and unchanged",
        )
    weighted = b_values > B0_LIMIT_S_PER_MM2
    finite = np.all(np.isfinite(vectors), axis=1)
    if np.any(weighted & ~finite):
        bad = int(np.flatnonzero(weighted & ~finite)[0])
        raise InputError(
            f"direction of volume {bad} (b = {b_values[bad]:g} s/mm²) is {vectors[bad].tolist()}",
            "correct the directions, or remove the volume",
        )
    vectors[~finite] = 0.0
    lengths = np.linalg.norm(vectors, axis=1)
    astray = np.abs(lengths - 1.0) > UNIT_LENGTH_TOLERANCE
    if np.any(weighted & astray):
        raise _not_unit(int(np.flatnonzero(weighted & astray)[0]), lengths, b_values)
    vectors[astray] = 0.0
    lengths[astray] = 1.0
    return vectors / lengths[:, None] + 0.0


def _not_unit(bad: int, lengths: np.ndarray, b_values: np.ndarray) -> InputError:
    where = f"direction of volume {bad} (b = {b_values[bad]:g} s/mm²)"
    if lengths[bad] == 0:
        return InputError(
            f"{where} is zero: a trace or ADC image, or its direction was lost",
            "remove derived volumes, or use the bvec file that belongs to the scan",
        )
    return InputError(
        f"{where} has length {lengths[bad]:.4g}, expected 1 within {UNIT_LENGTH_TOLERANCE:g}",
        "make it a unit vector; where lengths tell weaker weighting, multiply the b-value by the squared length",
    )


def find_shells(b_values: np.ndarray) -> dict[int, np.ndarray]:
    """Group weighted volumes by b-value.

    Parameters
    ----------
    b_values : ndarray, shape (N,)
        s/mm².

    Returns
    -------
    dict of int to ndarray of int
        Median b-value of each shell rounded to 10 s/mm², ascending, and its volumes. Unweighted volumes are in none.

    Examples
    --------
    >>> find_shells(np.array([0, 995, 1000, 2010, 5, 1990]))
    {1000: array([1, 2]), 2000: array([3, 5])}
    """
    weighted = np.flatnonzero(b_values > B0_LIMIT_S_PER_MM2)
    order = weighted[np.argsort(b_values[weighted], kind="stable")]
    ordered = b_values[order]
    gaps = np.diff(ordered) > np.maximum(SHELL_GAP_S_PER_MM2, SHELL_GAP_FRACTION * ordered[:-1])
    shells = {}
    for members in np.split(order, np.flatnonzero(gaps) + 1) if order.size else []:
        median = float(np.median(b_values[members])) / SHELL_ROUNDING_S_PER_MM2
        shells[round(median) * SHELL_ROUNDING_S_PER_MM2] = np.sort(members)
    return shells


def count_directions(gradients: np.ndarray) -> int:
    """Return how many different directions there are, opposite ones being the same.

    Parameters
    ----------
    gradients : ndarray, shape (n, 3)
        Unit vectors.
    """
    kept = np.empty((0, 3))
    limit = np.cos(np.deg2rad(SAME_DIRECTION_DEG))
    for vector in gradients:
        if not np.any(np.abs(kept @ vector) > limit):
            kept = np.vstack([kept, vector])
    return len(kept)


def check_tensor_directions(gradients: np.ndarray) -> None:
    """Make sure that a tensor can be fitted to volumes of these directions.

    Parameters
    ----------
    gradients : ndarray, shape (n, 3)
        Unit vectors of the weighted volumes.

    Raises
    ------
    InputError
        Fewer than six directions, or all on one cone or plane.
    """
    count = count_directions(gradients)
    if count < TENSOR_DIRECTIONS:
        raise InputError(
            f"{count} gradient direction{'s' if count != 1 else ''}; a tensor needs {TENSOR_DIRECTIONS} or more",
            "choose a diffusion tensor series",
        )
    x, y, z = gradients.T
    equations = np.stack([x * x, y * y, z * z, 2 * x * y, 2 * x * z, 2 * y * z], axis=1)
    singular = np.linalg.svd(equations, compute_uv=False)
    if singular[-1] * LARGEST_TENSOR_CONDITION < singular[0]:
        raise InputError(
            f"the {count} gradient directions do not cover space (condition number of the tensor's equations "
            f"{singular[0] / max(singular[-1], 1e-12):.3g}, at most {LARGEST_TENSOR_CONDITION:g})",
            "choose a diffusion tensor series, or check its bvec file",
        )


def fsl_to_ras(vectors: np.ndarray, grid: Grid) -> np.ndarray:
    """Turn directions of FSL's convention into RAS.

    Parameters
    ----------
    vectors : ndarray, shape (N, 3)
        Along the image axes i, j, k; the first reversed where the axes are right-handed in RAS.
    grid : Grid

    Returns
    -------
    ndarray, shape (N, 3)
        Of the same lengths up to the header's rounding.
    """
    return np.asarray((vectors * _fsl_signs(grid)) @ grid.directions.T)


def ras_to_fsl(gradients_ras: np.ndarray, grid: Grid) -> np.ndarray:
    """Turn RAS directions (N, 3) into FSL's convention; see :func:`fsl_to_ras`."""
    along_axes = np.linalg.solve(grid.directions, gradients_ras.T).T
    return np.asarray(along_axes * _fsl_signs(grid) + 0.0)


def _fsl_signs(grid: Grid) -> np.ndarray:
    right_handed = np.linalg.det(grid.directions) > 0
    return np.array([-1.0 if right_handed else 1.0, 1.0, 1.0])
