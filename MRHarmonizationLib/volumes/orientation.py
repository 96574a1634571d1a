"""Moving voxels between an image's own axis order and another one, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.volumes.grid import Grid, closest_axes
from MRHarmonizationLib.volumes.volume import Volume


@dataclass(frozen=True)
class AxisOrder:
    """A permutation and flips of array axes.

    Attributes
    ----------
    permutation : tuple of int
        New array axis n is old array axis ``permutation[n]``.
    flips : tuple of bool
        Whether the new axis n runs against the old one.
    """

    permutation: tuple[int, int, int]
    flips: tuple[bool, bool, bool]

    def apply(self, array: np.ndarray) -> np.ndarray:
        """Return a view of a (K, J, I) array in the new order."""
        moved = np.transpose(array, self.permutation)
        return moved[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]

    def undo(self, array: np.ndarray) -> np.ndarray:
        """Return a view of an array in the new order moved back to the old one."""
        unflipped = array[tuple(slice(None, None, -1 if flip else 1) for flip in self.flips)]
        return np.transpose(unflipped, np.argsort(self.permutation))

    def apply_grid(self, grid: Grid) -> Grid:
        """Return the grid on which :meth:`apply` of an array lies; every voxel keeps its place in space."""
        columns, origin = [], grid.origin_ras
        for n in range(3):
            old_array_axis = self.permutation[n]
            column = grid.affine[:3, 2 - old_array_axis]
            if self.flips[n]:
                origin = origin + column * (grid.shape[old_array_axis] - 1)
                column = -column
            columns.append(column)
        affine = np.eye(4)
        affine[:3, :3] = np.stack(columns[::-1], axis=1)
        affine[:3, 3] = origin
        shape = [grid.shape[axis] for axis in self.permutation]
        return Grid((shape[0], shape[1], shape[2]), affine)


def canonical_order(grid: Grid) -> AxisOrder:
    """Return the order that brings the axes closest to RAS: array (S, A, R), indices increasing to R, A, S."""
    axes = closest_axes(grid.directions)  # scanner axis of i, j, k
    permutation, flips = [], []
    for scanner_axis in (2, 1, 0):
        index = axes.index(scanner_axis)
        permutation.append(2 - index)
        flips.append(bool(grid.directions[scanner_axis, index] < 0))
    return AxisOrder((permutation[0], permutation[1], permutation[2]), (flips[0], flips[1], flips[2]))


def to_canonical(volume: Volume) -> tuple[Volume, AxisOrder]:
    """Return the volume with axes closest to RAS, and the order that undoes it; no interpolation."""
    order = canonical_order(volume.grid)
    moved = Volume(order.apply(volume.array), order.apply_grid(volume.grid), volume.name, volume.metadata)
    return moved, order
