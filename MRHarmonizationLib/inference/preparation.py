"""What a network sees: axis order, conditioning channels and stacks of planes, as pure numpy.

Training, evaluation and inference import this one module, so a network is fed at inference exactly what it was
trained on. A scan is first resampled on ``input_grid.isotropic(spacing of the card)``; :func:`prepare` does the rest:

1. :func:`thick_axis_first` turns the array ``[K, J, I]`` into ``[T, A, B]``: the axis with the largest *input* spacing
   first, the other two in the anatomical order R, A, S, each running towards R, A or S.
2. Intensities are normalised by the percentile rule of the card.
3. :func:`conditioning` says how the scan was acquired: the distance of each row along T from the nearest acquired
   slice centre, the slice spacing and the in-plane spacing.
4. :func:`plane_stacks` and :func:`conditioning_channels` give the channels of the input tensors: ``[N, P + 3, T, W]``
   for the layout ``planes-2.5d`` and ``[1, 1 + 3, T, A, B]`` for ``volume-3d``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from MRHarmonizationLib.core.errors import GridMismatchError, ParameterError
from MRHarmonizationLib.core.intensity import IntensityScale, fit_intensity_scale
from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.volumes.grid import Grid, closest_axes
from MRHarmonizationLib.volumes.orientation import AxisOrder
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.card import IntensityRule

CONDITIONING_CHANNELS = ("slice_distance", "slice_spacing", "inplane_spacing")
"""Names of the channels behind the image channels, in the order the network gets them."""

SLICE_DISTANCE_UNIT_MM = 4.0
"""A slice-distance channel of 1 means 4 mm: half the thickest slices of common head protocols."""

SLICE_SPACING_UNIT_MM = 8.0
"""A slice-spacing channel of 1 means 8 mm."""

INPLANE_SPACING_UNIT_MM = 2.0
"""An in-plane-spacing channel of 1 means 2 mm."""

SPACING_TIE_MM = 1e-3
"""Spacings closer than this count as equal, so that rounding in a header cannot decide the thick axis."""

PARALLEL_TOLERANCE = 1e-3
"""Largest difference of direction cosines between input and output grid."""


class Conditioning(NamedTuple):
    """How a scan was acquired, seen from the rows of the output grid.

    Attributes
    ----------
    slice_distance_mm : numpy.ndarray
        float32 ``[T]``: distance of each row from the nearest acquired slice centre along the thick axis, in mm.
    slice_spacing_mm : float
        Distance between slice centres of the input, in mm.
    inplane_spacing_mm : float
        Geometric mean of the two other spacings of the input, in mm.
    """

    slice_distance_mm: np.ndarray
    slice_spacing_mm: float
    inplane_spacing_mm: float


@dataclass(frozen=True, eq=False)
class Prepared:
    """A scan as a network sees it, and the way back.

    Attributes
    ----------
    array : numpy.ndarray
        float32 ``[T, A, B]``, contiguous, normalised.
    condition : Conditioning
    order : AxisOrder
        ``order.undo`` brings ``[T, A, B]`` back to ``[K, J, I]``.
    scale : IntensityScale
        Of the normalisation; differences of normalised values are restored by ``scale.scale`` alone.
    """

    array: np.ndarray
    condition: Conditioning
    order: AxisOrder
    scale: IntensityScale


def prepare(resampled: Volume, input_grid: Grid, rule: IntensityRule | None = None) -> Prepared:
    """Return a resampled scan as a network sees it.

    Parameters
    ----------
    resampled : Volume
        The scan on ``input_grid.isotropic(spacing)``.
    input_grid : Grid
        Grid of the scan as acquired.
    rule : IntensityRule, optional
        From the model's card; the card's default rule if omitted.

    Raises
    ------
    InputError
        If the image has no contrast to normalise by.
    GridMismatchError
        If the axes of the two grids are not parallel.
    """
    rule = IntensityRule() if rule is None else rule
    moved, order = thick_axis_first(resampled, input_grid)
    # One contiguous copy in anatomical order: all that follows is the same however the scan is stored.
    array = np.ascontiguousarray(moved)
    mask = foreground_mask(array) if rule.foreground else None
    scale = fit_intensity_scale(array, mask, rule.lower, rule.upper)
    return Prepared(scale.normalise(array), conditioning(input_grid, resampled.grid), order, scale)


def thick_axis_order(input_grid: Grid, thick: int | None = None) -> AxisOrder:
    """Return the axis order a network wants for a scan acquired on ``input_grid``.

    The order depends on anatomy only, never on how the scan is stored: equal spacings are told apart by taking the
    axis nearest to superior first, then anterior, then right.

    Parameters
    ----------
    input_grid : Grid
        Grid of the scan as acquired (not the grid it was resampled on).
    thick : {0, 1, 2}, optional
        Another axis (i, j, k) to be taken for the thick one.

    Returns
    -------
    AxisOrder
        From ``[K, J, I]`` to ``[T, A, B]``, for any grid whose axes are parallel to ``input_grid``.
    """
    scanner_axis = closest_axes(input_grid.directions)
    spacing = [round(float(value) / SPACING_TIE_MM) for value in input_grid.spacing_mm]
    if thick is None:
        thick = max(range(3), key=lambda axis: (spacing[axis], scanner_axis[axis]))
    first, second = sorted((axis for axis in range(3) if axis != thick), key=lambda axis: scanner_axis[axis])
    against = [bool(input_grid.directions[scanner_axis[axis], axis] < 0) for axis in (thick, first, second)]
    # Array axes run the other way round than i, j, k.
    return AxisOrder((2 - thick, 2 - first, 2 - second), (against[0], against[1], against[2]))


def thick_axis_first(volume: Volume, input_grid: Grid) -> tuple[np.ndarray, AxisOrder]:
    """Return the voxels of a resampled scan with the thick axis first.

    Parameters
    ----------
    volume : Volume
        Scan on the output grid, ``[K, J, I]``; its axes are parallel to those of ``input_grid``.
    input_grid : Grid
        Grid of the scan as acquired.

    Returns
    -------
    array : numpy.ndarray
        ``[T, A, B]``, a view of the volume's voxels.
    order : AxisOrder
        ``order.undo`` brings an array ``[T, A, B]`` back to ``[K, J, I]``.

    Raises
    ------
    GridMismatchError
        If the axes of the two grids are not parallel.
    """
    _require_parallel(input_grid, volume.grid)
    order = thick_axis_order(input_grid)
    return order.apply(volume.array), order


def conditioning(input_grid: Grid, output_grid: Grid, shape: Sequence[int] | None = None) -> Conditioning:
    """Return how a scan was acquired, seen from the rows of the output grid.

    Parameters
    ----------
    input_grid : Grid
        Grid of the scan as acquired.
    output_grid : Grid
        Grid the scan is resampled on; its axes are parallel to those of ``input_grid``.
    shape : sequence of int, optional
        Shape ``(T, A, B)`` of the array the values are for; only checked.

    Returns
    -------
    Conditioning
        ``(slice_distance_mm float32 [T], slice_spacing_mm, inplane_spacing_mm)``.

    Raises
    ------
    GridMismatchError
        If the axes of the two grids are not parallel or ``shape`` is not that of the output grid.
    """
    _require_parallel(input_grid, output_grid)
    order = thick_axis_order(input_grid)
    expected = tuple(output_grid.shape[axis] for axis in order.permutation)
    if shape is not None and tuple(shape) != expected:
        raise GridMismatchError(
            f"array shape {tuple(shape)} differs from {expected}, the output grid with its thick axis first",
            "pass the shape of the array that thick_axis_first returned",
        )
    thick = 2 - order.permutation[0]
    spacing = [float(value) for value in input_grid.spacing_mm]
    index = np.zeros((expected[0], 3))
    index[:, thick] = np.arange(expected[0])
    position = np.asarray(input_grid.ras_to_ijk(output_grid.ijk_to_ras(index)))[:, thick]
    nearest = np.clip(np.rint(position), 0, input_grid.size_ijk[thick] - 1)
    distance = (np.abs(position - nearest) * spacing[thick]).astype(np.float32)
    inplane = [value for axis, value in enumerate(spacing) if axis != thick]
    return Conditioning(
        slice_distance_mm=distance[::-1] if order.flips[0] else distance,
        slice_spacing_mm=spacing[thick],
        inplane_spacing_mm=float(np.sqrt(inplane[0] * inplane[1])),
    )


def conditioning_channels(condition: Conditioning, trailing_shape: Sequence[int]) -> np.ndarray:
    """Return the three conditioning channels, scaled as networks want them.

    Parameters
    ----------
    condition : Conditioning
        From :func:`conditioning`; its distances may be cut to the rows of a tile.
    trailing_shape : sequence of int
        Shape behind T: ``(W,)`` for planes, ``(A, B)`` for volumes.

    Returns
    -------
    numpy.ndarray
        float32 ``[3, T, *trailing_shape]`` in the order of :data:`CONDITIONING_CHANNELS`; a read-only view that
        takes no memory of its own.
    """
    distance = np.asarray(condition.slice_distance_mm, np.float32)
    rows = np.empty((3, distance.size), np.float32)
    rows[0] = distance / np.float32(SLICE_DISTANCE_UNIT_MM)
    rows[1] = condition.slice_spacing_mm / SLICE_SPACING_UNIT_MM
    rows[2] = condition.inplane_spacing_mm / INPLANE_SPACING_UNIT_MM
    expanded = rows.reshape(3, distance.size, *(1 for _ in trailing_shape))
    return np.broadcast_to(expanded, (3, distance.size, *trailing_shape))


def plane_stacks(
    array: np.ndarray, axis: int, indices: Sequence[int] | np.ndarray, planes: int, out: np.ndarray | None = None
) -> np.ndarray:
    """Return stacks of adjacent planes that all contain the thick axis.

    Parameters
    ----------
    array : numpy.ndarray
        ``[T, A, B]``, normalised.
    axis : int
        Axis the planes are stacked along: 2 gives planes ``[T, A]``, 1 gives planes ``[T, B]``.
    indices : sequence of int
        N centre planes, along ``axis``.
    planes : int
        P, the odd number of planes in a stack; beyond the ends the outermost plane is repeated.
    out : numpy.ndarray, optional
        float32 ``[N, P, T, W]`` to fill, for example the first P channels of a batch.

    Returns
    -------
    numpy.ndarray
        float32 ``[N, P, T, W]``; the centre plane is channel ``P // 2``.

    Raises
    ------
    ParameterError
        If ``axis`` is not 1 or 2, or ``planes`` is not odd and positive.
    """
    if axis not in (1, 2):
        raise ParameterError(f"axis is {axis}, expected 1 or 2", "stack planes along an in-plane axis of [T, A, B]")
    if planes < 1 or planes % 2 == 0:
        raise ParameterError(f"planes is {planes}, expected an odd number of at least 1", "use 1, 3, 5, …")
    wanted = np.clip(np.asarray(indices, np.intp)[:, None] + np.arange(planes) - planes // 2, 0, array.shape[axis] - 1)
    needed, places = np.unique(wanted, return_inverse=True)
    # Each plane is gathered once (strided reads are slow), then copied to every place it is needed in.
    gathered = np.ascontiguousarray(np.moveaxis(array, axis, 0)[needed])
    if out is None:
        out = np.empty((*wanted.shape, *gathered.shape[1:]), np.float32)
    out[...] = gathered[places.reshape(wanted.shape)]
    return out


def _require_parallel(input_grid: Grid, output_grid: Grid) -> None:
    difference = float(np.max(np.abs(np.asarray(input_grid.directions) - np.asarray(output_grid.directions))))
    if difference > PARALLEL_TOLERANCE:
        raise GridMismatchError(
            f"the axes of the output grid are turned against those of the input (direction cosines differ by "
            f"{difference:.3g}, allowed {PARALLEL_TOLERANCE:g})",
            "resample on input_grid.isotropic(spacing) or input_grid.with_spacing(spacing)",
        )
