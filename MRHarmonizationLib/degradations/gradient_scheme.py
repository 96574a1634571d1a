"""Gradient tables: directions spread over the sphere, and the b-values that go with them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError

#: Steps of the repulsion, enough for 256 directions.
_STEPS = 400
#: Most directions a scheme may have.
MOST_DIRECTIONS = 512


@lru_cache(maxsize=64)
def spread_directions(count: int, seed: int = 0) -> np.ndarray:
    """Return ``count`` unit vectors that lie as far from each other, and each other's opposites, as they can.

    Parameters
    ----------
    count : int
    seed : int
        Of the start; another seed gives another turn of a similar set.

    Returns
    -------
    ndarray, shape (count, 3), float64, read-only
        The upper half (z of 0 or more) of each axis.

    Raises
    ------
    ParameterError
        A count outside 1 to :data:`MOST_DIRECTIONS`.

    Source
    ------
    Electrostatic repulsion: Jones, Horsfield & Simmons, Magn. Reson. Med. 42:515 (1999).
    """
    if not 1 <= count <= MOST_DIRECTIONS:
        raise ParameterError(f"{count} gradient directions", f"ask for 1 to {MOST_DIRECTIONS}")
    points = np.random.default_rng((seed, count)).normal(size=(count, 3))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    for step in range(_STEPS if count > 1 else 0):
        both = np.concatenate([points, -points])
        away = points[:, None] - both[None]
        distance = np.linalg.norm(away, axis=2)
        np.fill_diagonal(distance, np.inf)
        force = np.sum(away / distance[..., None] ** 3, axis=1)
        force -= np.sum(force * points, axis=1, keepdims=True) * points
        largest = float(np.linalg.norm(force, axis=1).max())
        reach = 0.3 / np.sqrt(count) * (1.0 - step / _STEPS)
        points = points + force * (reach / max(largest, 1e-12))
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    points = np.where(points[:, 2:] < 0, -points, points)
    points.setflags(write=False)
    return points


def gradient_table(
    shells_s_per_mm2: tuple[float, ...], directions: tuple[int, ...], unweighted: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Return b-values (N,) and gradients (N, 3): the unweighted volumes evenly among the weighted ones, one first.

    Parameters
    ----------
    shells_s_per_mm2 : tuple of float
        b-value of every shell.
    directions : tuple of int
        Directions of every shell.
    unweighted : int
        Volumes with b = 0, at least 1.
    seed : int
        Of the directions.

    Raises
    ------
    ParameterError
        No shell, no unweighted volume, lengths that differ, or a b-value that is not positive.
    """
    if not shells_s_per_mm2 or len(shells_s_per_mm2) != len(directions) or unweighted < 1 or min(shells_s_per_mm2) <= 0:
        raise ParameterError(
            f"shells {tuple(shells_s_per_mm2)} s/mm² with {tuple(directions)} directions, {unweighted} unweighted",
            "give a positive b-value and a number of directions per shell, and at least one unweighted volume",
        )
    b = np.concatenate([np.full(n, float(shell)) for shell, n in zip(shells_s_per_mm2, directions, strict=True)])
    g = np.concatenate([spread_directions(n, seed + index) for index, n in enumerate(directions)])
    at = np.round(np.linspace(0, b.size, unweighted, endpoint=False)).astype(int)
    return np.insert(b, at, 0.0), np.insert(g, at, 0.0, axis=0)
