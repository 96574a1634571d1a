"""Real spherical harmonics of even order: a shell's signals as coefficients, and what of them no rotation changes."""

from __future__ import annotations

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError

#: Weight of the Laplace-Beltrami penalty that keeps high orders quiet.
SMOOTHNESS = 0.006
#: Condition number beyond which directions do not determine the coefficients.
_LARGEST_CONDITION = 20.0


def coefficient_orders(order: int) -> np.ndarray:
    """Return the order l of every coefficient: 0, then five times 2, nine times 4, and so on."""
    if order < 0 or order % 2:
        raise ParameterError(f"order {order} of spherical harmonics", "give an even number of at least 0")
    return np.concatenate([np.full(2 * degree + 1, degree) for degree in range(0, order + 1, 2)])


def harmonics(directions: np.ndarray, order: int) -> np.ndarray:
    """Return the real orthonormal spherical harmonics of even order at directions.

    Parameters
    ----------
    directions : ndarray, shape (n, 3)
        Unit vectors; opposite ones give the same values.
    order : int
        Even.

    Returns
    -------
    ndarray, shape (n, (order + 1)(order + 2) / 2), float64
        Columns by order, within it from −l to l.

    Source
    ------
    Descoteaux et al., Magn. Reson. Med. 58:497 (2007), doi 10.1002/mrm.21277, up to the signs of the columns.
    """
    from scipy.special import gammaln, lpmv

    orders = coefficient_orders(order)
    x, y, z = np.asarray(directions, float).T
    azimuth, cosine = np.arctan2(y, x), np.clip(z, -1.0, 1.0)
    columns = []
    for degree in range(0, order + 1, 2):
        for m in range(-degree, degree + 1):
            size = abs(m)
            factorials = np.exp(gammaln(degree - size + 1) - gammaln(degree + size + 1))
            scale = np.sqrt((2 * degree + 1) / (4 * np.pi) * factorials)
            wave = np.ones_like(azimuth) if m == 0 else np.sqrt(2.0) * (np.cos if m > 0 else np.sin)(size * azimuth)
            columns.append(scale * lpmv(size, degree, cosine) * wave)
    return np.stack(columns, axis=1).reshape(len(azimuth), orders.size)


def largest_order(directions: np.ndarray, at_most: int = 8) -> int:
    """Return the largest even order whose coefficients these directions (n, 3) determine, up to ``at_most``."""
    for order in range(at_most - at_most % 2, 0, -2):
        if len(directions) >= coefficient_orders(order).size:
            singular = np.linalg.svd(harmonics(directions, order), compute_uv=False)
            if singular[0] <= _LARGEST_CONDITION * singular[-1]:
                return order
    return 0


def fit_matrix(directions: np.ndarray, order: int, smoothness: float = SMOOTHNESS) -> np.ndarray:
    """Return the matrix (coefficients, n) that turns the signals of one shell into coefficients.

    Least squares with a penalty on l²(l + 1)².

    Source
    ------
    Descoteaux et al. (2007), eq. 15.
    """
    basis = harmonics(directions, order)
    degrees = coefficient_orders(order).astype(float)
    penalty = np.diag(smoothness * degrees**2 * (degrees + 1) ** 2)
    return np.asarray(np.linalg.solve(basis.T @ basis + penalty, basis.T))


def invariants(coefficients: np.ndarray, order: int) -> np.ndarray:
    """Return the energy of each order, which no rotation changes.

    Parameters
    ----------
    coefficients : ndarray, shape (..., (order + 1)(order + 2) / 2)
    order : int

    Returns
    -------
    ndarray, shape (..., order / 2 + 1)
        Σₘ c² for l = 0, 2, …

    Source
    ------
    Mirzaalian et al., NeuroImage 135:311 (2016), doi 10.1016/j.neuroimage.2016.04.041.
    """
    orders = coefficient_orders(order)
    energies = [np.sum(coefficients[..., orders == degree] ** 2, axis=-1) for degree in range(0, order + 1, 2)]
    return np.stack(energies, axis=-1)
