"""Cutting an array into overlapping tiles and joining their results without seams.

A tile reaches ``halo`` voxels beyond the part it is responsible for. Across each overlap the weight of one tile falls
and that of the next rises along a short ramp in the middle of the overlap, so the outermost voxels of a tile, which the
network judged with the least context, never count. The weights of all tiles add up to one at every voxel by
construction: joining needs no second array of weights.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError

RAMP_PART_OF_HALO = 0.25
"""Half-width of the blending ramp as a part of the halo; the rest of the halo is discarded."""


@dataclass(frozen=True, eq=False)
class Span:
    """One tile along one axis.

    Attributes
    ----------
    start, stop : int
        First voxel and the voxel after the last.
    weights : numpy.ndarray
        float32 ``[stop - start]``; the weights of all spans of an axis add up to 1 at every voxel.
    """

    start: int
    stop: int
    weights: np.ndarray

    @property
    def slice(self) -> slice:
        """The voxels of the tile."""
        return slice(self.start, self.stop)


@dataclass(frozen=True, eq=False)
class Tile:
    """One tile along all axes.

    Attributes
    ----------
    spans : tuple of Span
        One per axis.
    """

    spans: tuple[Span, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        """The voxels of the tile, for indexing an array of the planned shape."""
        return tuple(span.slice for span in self.spans)

    @property
    def shape(self) -> tuple[int, ...]:
        """Size of the tile along each axis."""
        return tuple(span.stop - span.start for span in self.spans)

    def add_to(self, accumulator: np.ndarray, values: np.ndarray) -> None:
        """Add the tile's weighted values to an array of the planned shape.

        Parameters
        ----------
        accumulator : numpy.ndarray
            ``[..., *shape]``, changed in place; leading axes (a batch) are carried along.
        values : numpy.ndarray
            ``[..., *tile shape]``, not changed.
        """
        weighted = values
        for axis, span in enumerate(self.spans):
            if np.all(span.weights == 1):
                continue
            weighted = weighted * span.weights.reshape(-1, *(1,) * (len(self.spans) - 1 - axis))
        inside: tuple[Any, ...] = (..., *self.slices)
        accumulator[inside] += weighted


def padded_size(size: int, stride: int) -> int:
    """Return the smallest multiple of ``stride`` that is at least ``size``.

    >>> padded_size(185, 8)
    192
    """
    return math.ceil(size / stride) * stride


def reflected_indices(size: int, padded: int) -> np.ndarray:
    """Return which of ``size`` voxels stand at each of ``padded`` places when the end is continued by reflection.

    Reflection repeats as often as needed; a single voxel is repeated.

    >>> reflected_indices(4, 8).tolist()
    [0, 1, 2, 3, 2, 1, 0, 1]
    """
    if size == 1:
        return np.zeros(padded, np.intp)
    period = 2 * (size - 1)
    place = np.arange(padded, dtype=np.intp) % period
    return np.minimum(place, period - place)


def plan_axis(size: int, tile: int, halo: int, stride: int = 1) -> tuple[Span, ...]:
    """Return the tiles along one axis.

    Parameters
    ----------
    size : int
        Voxels along the axis; a multiple of ``stride``.
    tile : int
        Largest size of a tile; rounded down to a multiple of ``stride``.
    halo : int
        Voxels a tile sees beyond its own part, on either side.
    stride : int
        Starts and sizes of all tiles are multiples of it, so that a network which halves its input several times
        samples every voxel the same way in whatever tile it comes.

    Returns
    -------
    tuple of Span
        Evenly spread tiles of one size; a single one with weight 1 if ``tile`` covers the axis.

    Raises
    ------
    ParameterError
        If ``size`` is no multiple of ``stride``, or a tile is not larger than its two halos.
    """
    if size < 1 or stride < 1 or halo < 0 or size % stride:
        raise ParameterError(
            f"size {size}, stride {stride}, halo {halo} cannot be tiled", "pad the axis to a multiple of the stride"
        )
    tile = tile // stride * stride
    if tile >= size:
        return (Span(0, size, np.ones(size, np.float32)),)
    # Distance of neighbouring starts at which they overlap by two halos.
    step = (tile - 2 * halo) // stride * stride
    if step < stride:
        raise ParameterError(
            f"a tile of {tile} voxels leaves nothing between two halos of {halo} (stride {stride})",
            f"use tiles of at least {smallest_tile(halo, stride)} voxels",
        )
    count = 1 + math.ceil((size - tile) / step)
    starts = [round(number * (size - tile) / (count - 1) / stride) * stride for number in range(count)]
    seams = [(starts[number] + tile + starts[number + 1]) / 2 for number in range(count - 1)]
    centres = np.arange(size) + 0.5
    rises = [_rise(centres, seam, halo * RAMP_PART_OF_HALO) for seam in seams]
    levels = [np.ones(size, np.float32), *rises, np.zeros(size, np.float32)]
    return tuple(
        Span(start, start + tile, (levels[number] - levels[number + 1])[start : start + tile])
        for number, start in enumerate(starts)
    )


def smallest_tile(halo: int, stride: int) -> int:
    """Return the smallest tile size :func:`plan_axis` accepts."""
    return padded_size(2 * halo + stride, stride)


def plan_tiles(shape: Sequence[int], tile_shape: Sequence[int], halo: int, stride: int = 1) -> list[Tile]:
    """Return the tiles of an array, in the order of its memory.

    Parameters
    ----------
    shape, tile_shape : sequence of int
        Size of the array and largest size of a tile along each axis.
    halo, stride : int
        As in :func:`plan_axis`.
    """
    if len(shape) != len(tile_shape):
        raise ParameterError(
            f"shape {tuple(shape)} and tile {tuple(tile_shape)} differ in length", "give one size per axis"
        )
    axes = [plan_axis(size, tile, halo, stride) for size, tile in zip(shape, tile_shape, strict=True)]
    return [Tile(spans) for spans in itertools.product(*axes)]


def _rise(centres: np.ndarray, seam: float, half_width: float) -> np.ndarray:
    """Return a ramp from 0 to 1 around a seam; a step where the half-width is below half a voxel."""
    if half_width < 0.5:
        return (centres > seam).astype(np.float32)
    return np.clip((centres - seam + half_width) / (2 * half_width), 0, 1).astype(np.float32)
