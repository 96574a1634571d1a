"""The class of every voxel of a head, from tiles a network can hold; each voxel takes one tile's answer."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence

import numpy as np

from MRHarmonizationLib.core.brain_regions import CLASS_NUMBERS
from MRHarmonizationLib.core.errors import ResourceError, WeightsError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.tiling import Tile, padded_size, plan_tiles, smallest_tile
from MRHarmonizationLib.inference.backends import Backend, BackendOutOfMemory
from MRHarmonizationLib.inference.region_input import CHANNELS, region_input
from MRHarmonizationLib.weights.card import InputContract

LARGEST_TILE = (160, 192, 160)
"""Voxels of a tile along S, A, R, at most: a brain of 1 mm voxels fits in."""
LEAST_OVERLAP = 32
"""Voxels that neighbouring tiles share, at least."""
MESSAGE = "Naming the structures"

_LOGGER = logging.getLogger(__name__)


def tile_edges(shape: Sequence[int], largest: Sequence[int], halo: int, stride: int) -> tuple[int, ...]:
    """Return the smallest tile that covers an array with as few tiles as the largest one needs.

    Parameters
    ----------
    shape : sequence of int
        Of the array, multiples of ``stride``.
    largest : sequence of int
    halo, stride : int
        Tiles share at least two halos.

    Examples
    --------
    >>> tile_edges((224, 192, 416), (160, 192, 160), 16, 32)
    (128, 192, 160)
    """
    edges = []
    for size, limit in zip(shape, largest, strict=True):
        limit = limit // stride * stride
        if size <= limit:
            edges.append(size)
            continue
        step = max(stride, (limit - 2 * halo) // stride * stride)
        count = 1 + math.ceil((size - limit) / step)
        edge = padded_size(math.ceil((size + (count - 1) * 2 * halo) / count), stride)
        edges.append(min(limit, max(edge, smallest_tile(halo, stride))))
    return tuple(edges)


def name_voxels(
    values: np.ndarray,
    centre: Sequence[float],
    contract: InputContract,
    backend: Backend,
    progress: Progress,
    activation_budget_bytes: int,
    largest: Sequence[int] | None = None,
) -> np.ndarray:
    """Return the class of every voxel of a box.

    Where tiles overlap, a voxel takes the answer of the tile in whose inside it lies deepest.

    Parameters
    ----------
    values : ndarray, shape (K, J, I), float32
        Normalised; sizes are multiples of the contract's stride.
    centre : three floats
        Voxel (K, J, I) taken for the middle of the brain; of use to networks that are told positions.
    contract : InputContract
        From the model's card.
    backend : Backend
    progress : Progress
        Reported to, and checked for cancellation, after every tile.
    activation_budget_bytes : int
        Working memory the network may take; tiles are made smaller to keep it, as far as they can be.
    largest : three ints, optional
        Size of a tile along (K, J, I), at most; :data:`LARGEST_TILE` if omitted.

    Returns
    -------
    ndarray, shape (K, J, I), uint8

    Raises
    ------
    ResourceError
        Memory runs out even with the smallest tiles.
    WeightsError
        The network's answer is no class per voxel.
    OperationCancelled
    """
    halo = max(contract.halo, LEAST_OVERLAP // 2)
    edges = tile_edges(values.shape, largest or LARGEST_TILE, halo, contract.stride)
    while math.prod(edges) * contract.activation_bytes > activation_budget_bytes:
        smaller = _smaller(edges, halo, contract.stride)
        if smaller is None:
            break
        edges = smaller

    def block(tile: tuple[slice, ...]) -> np.ndarray:
        image = values[tile]
        if contract.channels != CHANNELS:
            return np.ascontiguousarray(image)[None, None]
        return region_input(image, [middle - part.start for middle, part in zip(centre, tile, strict=True)])[None]

    while True:
        try:
            return _in_tiles(
                block, values.shape, plan_tiles(values.shape, edges, halo, contract.stride), backend, progress
            )
        except (BackendOutOfMemory, MemoryError) as error:
            smaller = _smaller(edges, halo, contract.stride)
            if smaller is None:
                size = " x ".join(map(str, edges[::-1]))
                raise ResourceError(
                    f"memory ran out even with tiles of {size} voxels",
                    "close other programs, choose device 'cpu', or crop the scan to the head",
                ) from error
            _LOGGER.warning("memory ran out (%s); going on with tiles of %s voxels", error, smaller)
            edges = smaller


def _smaller(edges: tuple[int, ...], halo: int, stride: int) -> tuple[int, ...] | None:
    """Return tiles of about half the size, None where these are the smallest."""
    longest = max(edges)
    floor = smallest_tile(halo, stride)
    half = max(floor, padded_size(longest // 2 + halo, stride))
    if half >= longest:
        return None
    axis = edges.index(longest)
    return (*edges[:axis], half, *edges[axis + 1 :])


def _in_tiles(
    block: Callable[[tuple[slice, ...]], np.ndarray],
    shape: tuple[int, ...],
    tiles: Sequence[Tile],
    backend: Backend,
    progress: Progress,
) -> np.ndarray:
    classes = np.zeros(shape, np.uint8)
    progress.report(0.0, MESSAGE)
    for number, tile in enumerate(tiles):
        progress.check()
        answer = _classes(backend, block(tile.slices))
        # The weights of tiles cross in the middle of their overlap: there both lie equally deep.
        own = [np.flatnonzero(span.weights > 0.5) for span in tile.spans]
        inside = tuple(slice(int(part[0]), int(part[-1]) + 1) for part in own)
        target = tuple(
            slice(span.start + part.start, span.start + part.stop)
            for span, part in zip(tile.spans, inside, strict=True)
        )
        classes[target] = answer[inside]
        progress.report((number + 1) / len(tiles), MESSAGE)
    return classes


def _classes(backend: Backend, block: np.ndarray) -> np.ndarray:
    """Return the answer for one block (1, C, K, J, I) as uint8 (K, J, I)."""
    output = backend.run(block)
    remedy = "import the card and the weight file of the same model"
    if output.shape != (1, *block.shape[2:]):
        raise WeightsError(
            f"the network returned shape {output.shape} for a block of {block.shape}, expected {(1, *block.shape[2:])}",
            remedy,
        )
    known = (output >= 0) & (output < CLASS_NUMBERS.size) & (np.mod(output, 1) == 0)
    if not known.all():
        found = float(output[~known].flat[0])
        raise WeightsError(f"the network answered {found:g}, expected classes 0 to {CLASS_NUMBERS.size - 1}", remedy)
    return np.asarray(output[0].astype(np.uint8))
