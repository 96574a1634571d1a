"""Running a network over a whole scan: padding, batches, tiles, blending, and less of everything when memory ends."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from MRHarmonizationLib.core.errors import ResourceError, WeightsError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.tiling import padded_size, plan_tiles, reflected_indices, smallest_tile
from MRHarmonizationLib.inference.backends import Backend, BackendOutOfMemory
from MRHarmonizationLib.inference.preparation import Conditioning, conditioning_channels, plane_stacks
from MRHarmonizationLib.weights.card import InputContract

DEFAULT_ACTIVATION_BUDGET_BYTES = 800_000_000
"""Working memory a batch may take: leaves room for the arrays of a head within 2 GB."""

LARGEST_BATCH = {"cpu": 4, "cuda": 16}
"""Planes in a batch beyond which nothing gets faster, by device."""

MESSAGE = "Running the network"

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True)
class Limits:
    """How much the network is given at once.

    Attributes
    ----------
    batch : int
        Planes in a batch (``planes-2.5d``).
    tile : tuple of int
        Largest size of a tile along each axis of a plane or block, in voxels.
    """

    batch: int
    tile: tuple[int, ...]

    @property
    def voxels(self) -> int:
        """Voxels the network sees at once."""
        return self.batch * math.prod(self.tile)

    def smaller(self, contract: InputContract) -> Limits | None:
        """Return the next smaller limits, or None if these are the smallest.

        Batches are halved first: that costs nothing. Then the longest edge of the tile is, which repeats the least
        work in the halos.
        """
        if self.batch > 1:
            return replace(self, batch=self.batch // 2)
        longest = max(self.tile)
        edge = longest // contract.stride * contract.stride
        floor = smallest_tile(contract.halo, contract.stride)
        if edge <= floor:
            return None
        half = max(floor, padded_size(edge // 2 + contract.halo, contract.stride))
        axis = self.tile.index(longest)
        return replace(self, tile=(*self.tile[:axis], half, *self.tile[axis + 1 :]))


def predict(
    array: np.ndarray,
    condition: Conditioning,
    contract: InputContract,
    backend: Backend,
    progress: Progress | None = None,
    limits: Limits | None = None,
    activation_budget_bytes: int = DEFAULT_ACTIVATION_BUDGET_BYTES,
) -> np.ndarray:
    """Return the change a network proposes for a prepared scan.

    Parameters
    ----------
    array : numpy.ndarray
        float32 ``[T, A, B]``, normalised, thick axis first; not changed.
    condition : Conditioning
        Of the same scan.
    contract : InputContract
        From the model's card.
    backend : Backend
    progress : Progress, optional
        Reported to, and checked for cancellation, after every batch or tile.
    limits : Limits, optional
        Batch and tile size to start with; chosen from ``activation_budget_bytes`` if omitted.
    activation_budget_bytes : int
        Working memory the network may take.

    Returns
    -------
    numpy.ndarray
        float32 ``[T, A, B]``, in normalised units, to be added to ``array``.

    Raises
    ------
    ResourceError
        If memory runs out even with the smallest batch and tile.
    WeightsError
        If the network's output has not the shape of its input.
    OperationCancelled
        If ``progress`` was cancelled.
    """
    progress = progress or Progress()
    if limits is None:
        limits = choose_limits(array.shape, contract, backend.device, activation_budget_bytes)
    progress.report(0.0, MESSAGE)
    if contract.layout == "volume-3d":
        return _predict_volume(array, condition, contract, backend, progress, limits)

    def planes(axis: int, progress: Progress) -> np.ndarray:
        def told(_: np.ndarray, padded: tuple[int, int]) -> np.ndarray:
            return conditioning_channels(_padded(condition, padded[0]), padded[1:])

        return predict_planes(array, axis, told, contract, backend, progress, limits)[0]

    if not contract.ensemble:
        return planes(2, progress)
    change = planes(2, progress.part(0.0, 0.5))
    change += planes(1, progress.part(0.5, 1.0))
    change *= np.float32(0.5)
    return change


def choose_limits(shape: tuple[int, ...], contract: InputContract, device: str, activation_budget_bytes: int) -> Limits:
    """Return the largest batch and tile whose activations fit a budget, as far as tiling allows.

    Parameters
    ----------
    shape : tuple of int
        ``(T, A, B)``.
    contract : InputContract
    device : str
        ``cpu`` or ``cuda``.
    activation_budget_bytes : int
    """
    whole = tuple(padded_size(size, contract.stride) for size in shape)
    if contract.layout == "volume-3d":
        limits = Limits(1, whole)
    else:
        limits = Limits(LARGEST_BATCH[device], (whole[0], max(whole[1:])))
    while limits.voxels * contract.activation_bytes > activation_budget_bytes:
        smaller = limits.smaller(contract)
        if smaller is None:
            break
        limits = smaller
    return limits


def predict_planes(
    array: np.ndarray,
    axis: int,
    told: Callable[[np.ndarray, tuple[int, int]], np.ndarray],
    contract: InputContract,
    backend: Backend,
    progress: Progress,
    limits: Limits,
    outputs: int = 1,
    wanted: Sequence[int] | None = None,
) -> np.ndarray:
    """Predict planes along an axis, each from the stack of planes around it.

    Parameters
    ----------
    array : numpy.ndarray
        float32 ``[T, A, B]``, normalised.
    axis : {1, 2}
        Axis the planes are stacked along.
    told : callable(indices, padded) -> numpy.ndarray
        Conditioning channels of planes, float32 ``[C, *padded]`` or ``[N, C, *padded]``.
    contract : InputContract
    backend : Backend
    progress : Progress
    limits : Limits
    outputs : int
        Channels of the network's output.
    wanted : sequence of int, optional
        Planes to predict; all of them by default.

    Returns
    -------
    numpy.ndarray
        float32 ``[outputs, T, A, B]``, with as many planes along ``axis`` as were wanted.

    Raises
    ------
    ResourceError, WeightsError, OperationCancelled
        As :func:`predict`.
    """
    rows, columns = array.shape[0], array.shape[3 - axis]
    places = np.arange(array.shape[axis]) if wanted is None else np.asarray(wanted, np.intp)
    padded = (padded_size(rows, contract.stride), padded_size(columns, contract.stride))
    change = np.empty((places.size, outputs, rows, columns), np.float32)

    def check(_: float) -> None:
        progress.check()

    done = 0
    while done < places.size:
        indices = places[done : done + limits.batch]
        try:
            batch = np.empty((indices.size, contract.input_channels, *padded), np.float32)
            images = batch[:, : contract.planes]
            plane_stacks(array, axis, indices, contract.planes, out=images[:, :, :rows, :columns])
            images[:, :, rows:, :columns] = images[:, :, reflected_indices(rows, padded[0])[rows:], :columns]
            images[:, :, :, columns:] = images[:, :, :, reflected_indices(columns, padded[1])[columns:]]
            batch[:, contract.planes :] = told(indices, padded)
            planes = _run_tiled(_part_of(batch), indices.size, padded, contract, backend, limits, check, outputs)
        except (BackendOutOfMemory, MemoryError) as error:
            limits = _after_memory_ran_out(limits, contract, padded, error)
            continue
        parts = planes.reshape(indices.size, outputs, *padded)
        change[done : done + indices.size] = parts[:, :, :rows, :columns]
        done += indices.size
        progress.report(done / places.size, MESSAGE)
    return np.moveaxis(change, (0, 1), (1 + axis, 0))


def _predict_volume(
    array: np.ndarray,
    condition: Conditioning,
    contract: InputContract,
    backend: Backend,
    progress: Progress,
    limits: Limits,
) -> np.ndarray:
    """Predict the whole scan, or blocks of it."""
    padded = tuple(padded_size(size, contract.stride) for size in array.shape)
    places = [reflected_indices(size, whole) for size, whole in zip(array.shape, padded, strict=True)]
    image = array if padded == array.shape else array[np.ix_(*places)]
    channels = conditioning_channels(_padded(condition, padded[0]), padded[1:])

    def block(tile: tuple[slice, ...]) -> np.ndarray:
        return np.concatenate([image[tile][None], channels[(slice(None), *tile)]])[None]

    def report(fraction: float) -> None:
        progress.report(fraction, MESSAGE)

    while True:
        try:
            change = _run_tiled(block, 1, padded, contract, backend, limits, report)[0]
        except (BackendOutOfMemory, MemoryError) as error:
            limits = _after_memory_ran_out(limits, contract, padded, error)
            continue
        return change[tuple(slice(size) for size in array.shape)]


def _run_tiled(
    take: Callable[[tuple[slice, ...]], np.ndarray],
    count: int,
    shape: tuple[int, ...],
    contract: InputContract,
    backend: Backend,
    limits: Limits,
    tick: Callable[[float], None],
    outputs: int = 1,
) -> np.ndarray:
    """Run one batch, in one piece or in tiles, and return ``[count · outputs, *shape]``.

    ``take(slices)`` returns the part of the batch inside a tile; every size in ``shape`` is a multiple of the stride.
    """
    tiles = plan_tiles(shape, limits.tile, contract.halo, contract.stride)
    if len(tiles) == 1:
        return _run(backend, take(tiles[0].slices), outputs)
    joined = np.zeros((count * outputs, *shape), np.float32)
    for number, tile in enumerate(tiles):
        tile.add_to(joined, _run(backend, take(tile.slices), outputs))
        tick((number + 1) / len(tiles))
    return joined


def _part_of(batch: np.ndarray) -> Callable[[tuple[slice, ...]], np.ndarray]:
    def take(tile: tuple[slice, ...]) -> np.ndarray:
        return batch[(slice(None), slice(None), *tile)]

    return take


def _padded(condition: Conditioning, rows: int) -> Conditioning:
    """Return the conditioning of an array continued by reflection to more rows."""
    distance = condition.slice_distance_mm
    return condition._replace(slice_distance_mm=distance[reflected_indices(distance.size, rows)])


def _run(backend: Backend, batch: np.ndarray, outputs: int = 1) -> np.ndarray:
    """Return ``[N · outputs, ...]``: the channels of the network's output, those of one plane together."""
    output = backend.run(np.ascontiguousarray(batch))
    expected = (batch.shape[0], outputs, *batch.shape[2:])
    if output.shape != expected:
        raise WeightsError(
            f"the network returned shape {output.shape} for a batch of {batch.shape}, expected {expected}",
            "import the card and the weight file of the same model",
        )
    return output.reshape(-1, *batch.shape[2:])


def _after_memory_ran_out(limits: Limits, contract: InputContract, shape: tuple[int, ...], error: Exception) -> Limits:
    """Return smaller limits and log why, or raise ResourceError."""
    used = tuple(min(edge, size) for edge, size in zip(limits.tile, shape, strict=True))
    smaller = replace(limits, tile=used).smaller(contract)
    if smaller is None:
        size = " x ".join(map(str, used))
        raise ResourceError(
            f"memory ran out even with tiles of {size} voxels",
            "close other programs, choose device 'cpu', or crop the scan to the head",
        ) from error
    _LOGGER.warning("memory ran out (%s); going on with batch %d, tile %s", error, smaller.batch, smaller.tile)
    return smaller
