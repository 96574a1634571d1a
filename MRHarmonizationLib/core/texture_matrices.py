"""Grey-level co-occurrence matrices of masked volumes, counted three displacements at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.texture_settings import MOST_LEVELS, Offset, checked_mask

#: Voxels counted at a time: the indices stay in the processor's cache.
CHUNK_VOXELS = 1 << 17
#: Joint codes are 16-bit numbers, which numpy adds and multiplies fastest.
CODES_16_BIT = 1 << 16
#: Below this share of its bounding box a mask's voxels are looked up one by one instead of passing over the whole box.
SPARSE_SHARE = 0.15
#: Cells of all matrices together (1 GB).
MOST_CELLS = 1 << 27


@dataclass(frozen=True)
class _Pass:
    """One count over all voxels x: the levels at x, x + second and x + third, which are places in the offset list.

    ``between`` is the place of the displacement from x + second to x + third, ``turned`` whether it runs the other way.
    """

    second: int
    third: int | None = None
    between: int | None = None
    turned: bool = False


def cooccurrence_matrices(
    levels: np.ndarray,
    mask: np.ndarray | None,
    n_levels: int,
    offsets: Sequence[Offset],
    symmetric: bool = True,
    normalised: bool = True,
) -> np.ndarray:
    """Count how often two grey levels lie a displacement apart, both voxels inside a mask.

    A boolean selection per direction would cost more than the counting. So voxels outside the mask get a level of their
    own on a padded grid, and the levels at x, x + a and x + b are counted together in one ``bincount``: the sums of
    that three-dimensional histogram are the matrices of a, of b and, where it is asked for too, of b − a. The 13
    directions take five counts.

    Parameters
    ----------
    levels : ndarray of integers, shape (K, J, I)
        1 … ``n_levels``; voxels of level 0 are left out.
    mask : ndarray, shape (K, J, I), optional
        Nonzero where pairs may lie; wherever the level is not 0 when omitted.
    n_levels : int
        At most 1024.
    offsets : sequence of (k, j, i)
        Displacements in voxels, of any length; none longer than the volume has pairs.
    symmetric : bool
        Count each pair both ways: matrix plus its transpose.
    normalised : bool
        Divide each matrix by its sum; matrices without pairs stay zero.

    Returns
    -------
    ndarray of float64, shape (len(offsets), n_levels, n_levels)
        Row: level at x; column: level at x + offset; level 1 comes first.

    Raises
    ------
    InputError
        Levels that are no integers from 0 to ``n_levels``, wrong shapes, empty mask.
    ParameterError
        Too many levels, a zero offset, too large a result.

    Source
    ------
    Haralick et al., IEEE Trans. Syst. Man Cybern. 3:610 (1973), doi 10.1109/TSMC.1973.4309314.
    """
    inside = _checked_levels(levels, mask, n_levels)
    wanted = [_checked_offset(offset) for offset in offsets]
    if len(wanted) * n_levels**2 > MOST_CELLS:
        raise ParameterError(
            f"{len(wanted)} matrices of {n_levels} x {n_levels} levels need {8e-9 * len(wanted) * n_levels**2:.1f} GB",
            "use fewer grey levels, directions or distances",
        )
    counts = np.zeros((len(wanted), n_levels, n_levels))
    box = bounding_box(inside)
    cropped = np.where(inside[box], levels[box], 0)
    forward = [offset if offset > (0, 0, 0) else (-offset[0], -offset[1], -offset[2]) for offset in wanted]
    reachable = {f for f in forward if all(abs(step) < size for step, size in zip(f, cropped.shape, strict=True))}
    found = _count(cropped, n_levels, tuple(sorted(reachable)))
    for place, (offset, step) in enumerate(zip(wanted, forward, strict=True)):
        if step in found:
            counts[place] = found[step] if offset == step else found[step].T
            if symmetric:
                counts[place] += counts[place].T.copy()
    if normalised:
        totals = counts.sum(axis=(1, 2), keepdims=True)
        np.divide(counts, totals, out=counts, where=totals > 0)
    return counts


def _count(levels: np.ndarray, n_levels: int, offsets: tuple[Offset, ...]) -> dict[Offset, np.ndarray]:
    """Return the count matrix of each offset (all lexicographically positive, shorter than the volume)."""
    base = n_levels + 1
    sparse = np.count_nonzero(levels) < SPARSE_SHARE * levels.size
    triple = base**3 <= CODES_16_BIT and not sparse
    codes, steps, margin = _padded(levels, offsets, np.uint16 if base**2 <= CODES_16_BIT else np.uint32)
    # From the voxels of the mask alone all pairs (x, x + a) are seen, but not all (x + a, x + b).
    places = np.flatnonzero(codes) if sparse else None
    found: dict[Offset, np.ndarray] = {}
    for step in _plan(offsets, triple):
        displacements = [steps[step.second], *([] if step.third is None else [steps[step.third]])]
        histogram = _joint_histogram(codes, margin, displacements, base, places)
        if step.third is None:
            found[offsets[step.second]] = histogram[1:, 1:]
            continue
        found[offsets[step.second]] = histogram.sum(axis=2)[1:, 1:]
        found[offsets[step.third]] = histogram.sum(axis=1)[1:, 1:]
        if step.between is not None:
            matrix = histogram.sum(axis=0)[1:, 1:]
            found[offsets[step.between]] = matrix.T if step.turned else matrix
    return found


def _padded(levels: np.ndarray, offsets: tuple[Offset, ...], dtype: type) -> tuple[np.ndarray, list[int], int]:
    """Return the levels on a flat padded grid, the flat step of each offset, and the margin before and after.

    Rows and slices end in as many zeros as the offsets reach, so a step that leaves the volume lands on a zero.
    """
    reach = [max((abs(offset[axis]) for offset in offsets), default=0) for axis in (1, 2)]
    slices, rows, columns = levels.shape
    grid = (slices, rows + reach[0], columns + reach[1])
    strides = (grid[1] * grid[2], grid[2], 1)
    steps = [sum(s * stride for s, stride in zip(offset, strides, strict=True)) for offset in offsets]
    margin = max(steps, default=0)
    codes = np.zeros(2 * margin + math.prod(grid), dtype)
    codes[margin : codes.size - margin].reshape(grid)[:, :rows, :columns] = levels
    return codes, steps, margin


def _joint_histogram(
    codes: np.ndarray, margin: int, displacements: list[int], base: int, places: np.ndarray | None
) -> np.ndarray:
    """Return how often each combination of levels occurs at x and x + each displacement.

    x runs over ``places``, or over the grid and the margin before it when that is None.
    """
    cells = base ** (len(displacements) + 1)
    histogram = np.zeros(cells, np.int64)
    factor = codes.dtype.type(base)
    end = codes.size - margin if places is None else places.size
    for start in range(0, end, CHUNK_VOXELS):
        stop = min(start + CHUNK_VOXELS, end)
        chunk = None if places is None else places[start:stop]
        joint = (codes[start:stop] if chunk is None else codes[chunk]) * factor
        for number, step in enumerate(displacements, start=1):
            joint += codes[start + step : stop + step] if chunk is None else codes[chunk + step]
            if number < len(displacements):
                joint *= factor
        histogram += np.bincount(joint, minlength=cells)
    return histogram.reshape((base,) * (len(displacements) + 1))


@lru_cache(maxsize=32)
def _plan(offsets: tuple[Offset, ...], triple: bool) -> tuple[_Pass, ...]:
    """Return the counts that cover all offsets: three a count where two differ by a third, else two, else one."""
    left = list(range(len(offsets)))
    if not triple:
        return tuple(_Pass(place) for place in left)
    place_of = {offset: place for place, offset in enumerate(offsets)}
    triangles: dict[frozenset[int], _Pass] = {}
    for second in left:
        for third in left[second + 1 :]:
            k, j, i = (b - a for a, b in zip(offsets[second], offsets[third], strict=True))
            turned = (k, j, i) < (0, 0, 0)
            between = place_of.get((-k, -j, -i) if turned else (k, j, i))
            if between is not None and between not in (second, third):
                triangles.setdefault(frozenset((second, third, between)), _Pass(second, third, between, turned))
    plan = []
    while triangles:
        # Scarce offsets first: how many triangles its members still have decides how much choice a triangle destroys.
        degree = {place: sum(place in triangle for triangle in triangles) for place in left}
        chosen = min(triangles, key=lambda triangle: (sum(degree[place] for place in triangle), sorted(triangle)))
        plan.append(triangles[chosen])
        left = [place for place in left if place not in chosen]
        triangles = {triangle: step for triangle, step in triangles.items() if not triangle & chosen}
    pairs = [_Pass(a, b) for a, b in zip(left[::2], left[1::2], strict=False)]
    return (*plan, *pairs, *(_Pass(place) for place in left[2 * len(pairs) :]))


def _checked_levels(levels: np.ndarray, mask: np.ndarray | None, n_levels: int) -> np.ndarray:
    """Return where pairs may lie, after checking the levels there."""
    if not 1 <= n_levels <= MOST_LEVELS:
        raise ParameterError(
            f"{n_levels} grey levels; expected 1 to {MOST_LEVELS}", "use wider bins, or a bin_count such as 32"
        )
    if levels.dtype.kind not in "iub":
        raise InputError(f"levels have type {levels.dtype}; expected integers", "use discretise() first")
    inside = checked_mask(levels, levels != 0 if mask is None else mask)
    smallest, largest = int(levels.min()), int(levels.max())
    if smallest < 0 or largest > n_levels:
        used = levels[inside]
        smallest, largest = int(used.min()), int(used.max())
        if smallest < 0 or largest > n_levels:
            raise InputError(
                f"levels run from {smallest} to {largest}; expected 1 to {n_levels}, and 0 for what is left out",
                "use discretise() first",
            )
    return inside


def _checked_offset(offset: Offset) -> Offset:
    k, j, i = (int(step) for step in offset)
    if (k, j, i) == (0, 0, 0):
        raise ParameterError(f"offset {tuple(offset)} pairs each voxel with itself", "give a displacement")
    return k, j, i


def bounding_box(inside: np.ndarray) -> tuple[slice, slice, slice]:
    """Return the slices of the smallest box that holds a boolean mask, which is not empty."""
    ends = []
    flat = np.asarray(inside.any(axis=0))
    for present in (inside.any(axis=(1, 2)), flat.any(axis=1), flat.any(axis=0)):
        places = np.flatnonzero(present)
        ends.append(slice(int(places[0]), int(places[-1]) + 1))
    return ends[0], ends[1], ends[2]
