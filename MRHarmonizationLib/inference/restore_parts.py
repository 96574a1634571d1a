"""Noise and missing detail of a scan, plane by plane: what the sliders of a restorer mix.

The planes are those of acquisition (across the thick axis) unless others are asked for, as for the preview of the
slice that is on the screen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.image_quality import (
    MAP_REACH,
    NoiseLevel,
    estimate_noise,
    estimate_resolution,
    local_noise,
)
from MRHarmonizationLib.core.intensity import IntensityScale, fit_intensity_scale
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.tiling import reflected_indices
from MRHarmonizationLib.inference.backends import Backend
from MRHarmonizationLib.inference.predictor import choose_limits, predict_planes
from MRHarmonizationLib.inference.preparation import thick_axis_order
from MRHarmonizationLib.inference.restore_input import restore_channels
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.card import Card

NOISY_PERCENT = 15.0
"""Noise beyond which no restorer was trained, in percent of the intensity range."""

NEARLY_ISOTROPIC = 1.5
"""Largest ratio of spacings up to which planes of all three directions are run and averaged, where the card says so."""

_BASE_MEMORY_GB, _ARRAYS, _LEAST_ACTIVATION_GB = 0.4, 8, 0.2


@dataclass(frozen=True, eq=False)
class Parts:
    """What a restorer found in a scan, in its units and on its grid.

    Attributes
    ----------
    noise, detail : numpy.ndarray
        float32, shape of the scan, or of the one slice that was asked for.
    """

    noise: np.ndarray
    detail: np.ndarray


@dataclass(frozen=True)
class Quality:
    """Noise and resolution of a scan.

    Attributes
    ----------
    scale : IntensityScale
        Its intensity range.
    noise : NoiseLevel
        As estimated; normalised units.
    resolution_voxels : float
        As estimated.
    told_noise, told_resolution_voxels : float
        What the network is told: the estimates, or what the user said in their place.
    """

    scale: IntensityScale
    noise: NoiseLevel
    resolution_voxels: float
    told_noise: float
    told_resolution_voxels: float

    @property
    def noise_percent(self) -> float:
        """Estimated noise in percent of the intensity range."""
        return 100.0 * self.noise.sigma

    def doubts(self) -> list[str]:
        """Return one sentence for each way in which the scan is worse than any the restorer was trained on."""
        if 100.0 * self.told_noise <= NOISY_PERCENT:
            return []
        return [
            f"noise of {100 * self.told_noise:.0f} % of the intensity range is more than the {NOISY_PERCENT:g} % "
            "the model was trained on"
        ]

    def to_dict(self) -> dict[str, float]:
        """Return JSON-ready values for the provenance."""
        return {
            "estimated_noise_percent": round(self.noise_percent, 3),
            "estimated_blur_level": round(self.resolution_voxels, 3),
        }


@dataclass(frozen=True)
class Expert:
    """The restorer that finds the detail of a scan in place of another, and what it is told of the scan."""

    card: Card
    quality: Quality
    backend: Backend


def slice_axis(grid: Grid) -> int:
    """Return the axis (0 i, 1 j, 2 k) across the planes of acquisition: that of a single slice, or the thick one."""
    single = [axis for axis in range(3) if grid.size_ijk[axis] == 1]
    return single[0] if single else 2 - thick_axis_order(grid).permutation[0]


def assess(
    volume: Volume, card: Card, noise_percent: float | None = None, resolution_voxels: float | None = None
) -> Quality:
    """Estimate noise and resolution of a scan from its planes of acquisition.

    Parameters
    ----------
    volume : Volume
    card : Card
        Says how intensities are normalised.
    noise_percent, resolution_voxels : float, optional
        What the network is to be told in place of the estimates.

    Raises
    ------
    InputError
        The image is constant, or its planes too small.
    """
    rule = card.input.intensity
    scale = fit_intensity_scale(volume.array, None, rule.lower, rule.upper)
    planes = thick_axis_order(volume.grid, slice_axis(volume.grid)).apply(volume.array)
    # enough planes for the estimates, no more: a head has hundreds
    chosen = np.unique(np.linspace(0, len(planes) - 1, min(len(planes), 24)).astype(int))
    array = scale.normalise(np.ascontiguousarray(planes[chosen]))
    noise = estimate_noise(array)
    resolution = estimate_resolution(array, noise.sigma)
    return Quality(
        scale,
        noise,
        resolution,
        noise.sigma if noise_percent is None else 0.01 * noise_percent,
        resolution if resolution_voxels is None else resolution_voxels,
    )


def split(
    volume: Volume,
    quality: Quality,
    card: Card,
    backend: Backend,
    progress: Progress | None = None,
    max_memory_gb: float = 2.0,
    expert: Expert | None = None,
) -> Parts:
    """Return noise and missing detail of a scan.

    Parameters
    ----------
    volume : Volume
    quality : Quality
        Of the same scan.
    card : Card
    backend : Backend
    progress : Progress, optional
    max_memory_gb : float
        Memory the process should stay below.
    expert : Expert, optional
        Finds the detail in place of this network.

    Returns
    -------
    Parts
        float32 ``[K, J, I]``.

    Raises
    ------
    ResourceError, WeightsError, OperationCancelled
        As :func:`~MRHarmonizationLib.inference.predictor.predict_planes`.
    """
    progress = progress or Progress()
    if expert is not None:
        own = split(volume, quality, card, backend, progress.part(0.0, 0.5), max_memory_gb)
        told = (expert.quality, expert.card, expert.backend, progress.part(0.5, 1.0), max_memory_gb)
        return Parts(own.noise, split(volume, *told).detail)
    array = quality.scale.normalise(volume.array)
    directions = plane_directions(volume.grid, card)
    budget_gb = max(_LEAST_ACTIVATION_GB, max_memory_gb - _BASE_MEMORY_GB - _ARRAYS * array.nbytes / 1e9)
    total = np.zeros((2, *array.shape), np.float32)
    for number, direction in enumerate(directions):
        order = thick_axis_order(volume.grid, direction)
        part = progress.part(number / len(directions), (number + 1) / len(directions))
        found = _run(order.apply(array), quality, card, backend, part, budget_gb)
        for channel in range(2):
            total[channel] += order.undo(found[channel])
    total *= np.float32(quality.scale.scale / len(directions))
    return Parts(total[0], total[1])


def split_slice(
    volume: Volume,
    axis: int,
    index: int,
    quality: Quality,
    card: Card,
    backend: Backend,
    progress: Progress | None = None,
    expert: Expert | None = None,
) -> Parts:
    """Return noise and missing detail of one slice, as planes of its own direction show them.

    Parameters
    ----------
    volume : Volume
        The whole scan; only the slices next to the one asked for are read.
    axis : {0, 1, 2}
        Axis (i, j, k) across the slice.
    index : int
        Of the slice along it.
    quality, card, backend, progress, expert
        As for :func:`split`; other slices than those of acquisition are interpolated along one axis only, and the
        expert does not know such.

    Returns
    -------
    Parts
        float32, the slice ``[rows, columns]`` as it lies in the volume's array.
    """
    if expert is not None and axis == slice_axis(volume.grid):
        own = split_slice(volume, axis, index, quality, card, backend, progress)
        other = split_slice(volume, axis, index, expert.quality, expert.card, expert.backend, progress)
        return Parts(own.noise, other.detail)
    array_axis = 2 - axis
    reach = max(MAP_REACH, card.input.planes // 2)
    start, stop = max(0, index - reach), min(volume.array.shape[array_axis], index + reach + 1)
    slab = np.take(volume.array, range(start, stop), array_axis)
    order = thick_axis_order(volume.grid, axis)
    place = index - start
    if order.flips[0]:
        place = stop - start - 1 - place
    normalised = order.apply(quality.scale.normalise(slab))
    found = _run(normalised, quality, card, backend, progress or Progress(), 0.5, place)
    found *= np.float32(quality.scale.scale)
    return Parts(*(np.take(order.undo(part), 0, array_axis) for part in found))


def plane_directions(grid: Grid, card: Card) -> tuple[int, ...]:
    """Return the axes (i, j, k) across the planes that are run: all of a nearly isotropic grid, if the card says so."""
    spacing = [float(s) for s in grid.spacing_mm]
    if (
        card.input.ensemble
        and min(grid.size_ijk) > card.input.planes
        and max(spacing) < NEARLY_ISOTROPIC * min(spacing)
    ):
        return (0, 1, 2)
    return (slice_axis(grid),)


def _run(
    planes: np.ndarray,
    quality: Quality,
    card: Card,
    backend: Backend,
    progress: Progress,
    budget_gb: float,
    only: int | None = None,
) -> np.ndarray:
    """Return both parts of normalised planes ``[T, A, B]``, or of one of them, float32 ``[2, T or 1, A, B]``."""
    array = np.ascontiguousarray(np.moveaxis(planes, 0, 2))  # [A, B, T]: the predictor stacks along its last axis
    told_noise = np.moveaxis(_told_noise(np.ascontiguousarray(planes), quality, only), 0, 2)

    def told(indices: np.ndarray, padded: tuple[int, int]) -> np.ndarray:
        rows, columns = (reflected_indices(n, size) for n, size in zip(array.shape[:2], padded, strict=True))
        which = np.zeros(1, int) if only is not None else indices
        noise = np.moveaxis(told_noise[np.ix_(rows, columns, which)], 2, 0)
        return np.moveaxis(restore_channels(noise, quality.told_resolution_voxels), 0, 1)

    limits = choose_limits((*array.shape[:2], 1), card.input, backend.device, int(budget_gb * 1e9))
    wanted = None if only is None else [only]
    found = predict_planes(array, 2, told, card.input, backend, progress, limits, 2, wanted)
    return np.moveaxis(found, 3, 1)


def _told_noise(planes: np.ndarray, quality: Quality, only: int | None) -> np.ndarray:
    """Return the map of noise that the network is told, of all planes or of one of them."""
    if quality.noise.sigma <= 0.0:
        local = np.full(planes.shape, quality.told_noise, np.float32)
    else:
        local = local_noise(planes, quality.noise)
        local *= np.float32(quality.told_noise / quality.noise.sigma)
    return local if only is None else local[only : only + 1]
