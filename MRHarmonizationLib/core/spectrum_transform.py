"""The Fourier transform behind the power spectra: weighted, zero-padded to fast lengths, folded to one octant.

A real image's power is the same at f and -f, and radial bins do not tell the signs of the components apart. So the
power is summed over all signs first; one eighth of the samples is left to be sorted into bins.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import InputError

#: Distances to the mask's edge are measured on a grid of at most this many blocks along each axis.
COARSE_BLOCKS = 64
#: Variance below this share of the squared mean is rounding, not image.
CONSTANT_SHARE = 1e-13


@dataclass(frozen=True, eq=False)
class Octant:
    """Power summed over the signs of all frequency components (and over planes), transformed axes in array order.

    Attributes
    ----------
    power, amplitude : ndarray, float32
        Sums of |F|² and of |F| over signs and planes, at frequencies of components 0 or above; scaled data.
    frequencies : list of ndarray
        Cycles/mm along each transformed axis.
    multiplicities : list of ndarray
        How many signs each component stands for: 1 or 2.
    axes : tuple of int
        Transformed axes of the (K, J, I) array.
    planes : int
        Planes summed.
    density : float
        Turns a sum of |F|² over planes into the mean density of the planes.
    sample_volume : float
        Of one Fourier sample, (cycles/mm)^d.
    extents_mm : tuple of float
        Of the bounding box along the transformed axes.
    taper_mm : float
        Width of the taper actually used.
    """

    power: np.ndarray
    amplitude: np.ndarray
    frequencies: list[np.ndarray]
    multiplicities: list[np.ndarray]
    axes: tuple[int, ...]
    planes: int
    density: float
    sample_volume: float
    extents_mm: tuple[float, ...]
    taper_mm: float


def octant_power(
    image: np.ndarray,
    array_spacing_mm: tuple[float, ...],
    mask: np.ndarray | None,
    axes: tuple[int, ...],
    hann: bool,
    taper_mm: float,
) -> Octant:
    """Transform an image and fold its power; parameters checked by the caller, spacing along (k, j, i).

    Raises
    ------
    InputError
        Empty mask, values not finite, image constant inside the mask, or a single voxel along the axes.
    """
    box, inside = _cut(image, mask)
    axes = tuple(axis for axis in axes if box.shape[axis] > 1)
    if not axes:
        raise InputError(
            f"the region to be measured has {' x '.join(map(str, box.shape[::-1]))} voxels: nothing to transform",
            "choose a larger mask or another plane",
        )
    if not all(np.isfinite(plane).all() for plane in box):
        raise InputError("image has values that are NaN or infinite", "replace them first")
    lengths = [_fast_length(box.shape[axis], last=axis == axes[-1]) for axis in axes]
    weighted, energy, scale, taper = _weighted(box, inside, array_spacing_mm, axes, lengths[-1], hann, taper_mm)
    spacings = [array_spacing_mm[axis] for axis in axes]
    power, amplitude = _folded_power(weighted, axes, lengths)
    planes = math.prod(n for axis, n in enumerate(box.shape) if axis not in axes)
    return Octant(
        power=power,
        amplitude=amplitude,
        frequencies=[np.arange(n // 2 + 1) / (n * s) for n, s in zip(lengths, spacings, strict=True)],
        multiplicities=[_multiplicity(n) for n in lengths],
        axes=axes,
        planes=planes,
        density=scale**2 * math.prod(spacings) / energy,
        sample_volume=1.0 / math.prod(n * s for n, s in zip(lengths, spacings, strict=True)),
        extents_mm=tuple(box.shape[axis] * array_spacing_mm[axis] for axis in axes),
        taper_mm=taper,
    )


def _cut(image: np.ndarray, mask: np.ndarray | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Return image and mask in the bounding box of the mask; None for a mask without holes."""
    if mask is None:
        if image.size == 0:
            raise InputError(f"image of shape {image.shape} is empty", "pass a volume")
        return image, None
    inside = mask if mask.dtype == bool else mask != 0
    in_plane = np.asarray(inside.any(axis=0))
    filled = [np.asarray(inside.any(axis=(1, 2))), in_plane.any(axis=1), in_plane.any(axis=0)]
    if not filled[0].any():
        raise InputError(f"the mask of {mask.size} voxels is empty", "choose a mask with at least one voxel")
    ends = [np.flatnonzero(line)[[0, -1]] for line in filled]
    box = tuple(slice(int(first), int(last) + 1) for first, last in ends)
    inside = inside[box]
    return image[box], None if inside.all() else inside


def _weighted(
    box: np.ndarray,
    inside: np.ndarray | None,
    spacing: tuple[float, ...],
    axes: tuple[int, ...],
    last_length: int,
    hann: bool,
    taper_mm: float,
) -> tuple[np.ndarray, float, float, float]:
    """Return weight x (image - mean) / scale as float32, the sum of squared weights, the scale and the taper used.

    The last transformed axis of the array is zero-padded to ``last_length``. The mean is the weighted one, of each
    plane where planes are transformed one by one, so that the sum over the transformed axes is zero.
    """
    shift, scale = _conditioning(box, inside)
    windows = [_hann(n) if hann and axis in axes else np.ones(n, np.float32) for axis, n in enumerate(box.shape)]
    weight, taper = np.multiply.outer(windows[0], windows[1])[:, :, None] * windows[2], 0.0
    if inside is not None:
        edge, taper = _mask_weights(inside, spacing, taper_mm)
        weight *= edge
    padded_shape = tuple(last_length if axis == axes[-1] else n for axis, n in enumerate(box.shape))
    padded = np.zeros(padded_shape, np.float32)
    values = padded[tuple(slice(n) for n in box.shape)]
    # In the image's own precision: a large offset must not cost the small differences their digits.
    np.subtract(box, shift, out=values, casting="unsafe", dtype=np.float64 if box.dtype != np.float32 else np.float32)
    other = tuple(axis for axis in range(3) if axis not in axes)
    sums = _sum_to(weight, other)
    means = _sum_to(weight * values, other) / np.where(sums > 0, sums, 1.0)
    values -= means.astype(np.float32)
    values *= weight
    values *= np.float32(1.0 / scale)
    energy = float(np.sum([np.dot(plane.reshape(-1), plane.reshape(-1)) for plane in weight], dtype=np.float64))
    variance = sum(float(np.vdot(plane, plane)) for plane in values) * scale**2 / energy
    if variance <= CONSTANT_SHARE * max(shift**2, 1e-300):
        raise InputError(
            f"the image is constant inside the mask (every voxel about {shift:.6g}): it has no spectrum",
            "choose an image that shows anatomy, or another mask",
        )
    return padded, energy, scale, taper


def _conditioning(box: np.ndarray, inside: np.ndarray | None) -> tuple[float, float]:
    """Return roughly the mean and the standard deviation inside the mask, from some of its voxels."""
    few = tuple(slice(n // 2 % max(1, n // 32), None, max(1, n // 32)) for n in box.shape)
    values = box[few].reshape(-1) if inside is None else box[few][inside[few]]
    if values.size < 2 or values.min() == values.max():
        values = box.reshape(-1) if inside is None else box[inside]
    values = values.astype(np.float64)
    return float(values.mean()), float(values.std()) or 1.0


def _sum_to(array: np.ndarray, kept: tuple[int, ...]) -> np.ndarray:
    """Return float64 sums of a float32 array over all but the kept axes, which stay for broadcasting."""
    gone = tuple(axis for axis in range(3) if axis not in kept)
    if gone == (0, 1, 2):  # plane by plane, accumulated in float64: as exact and faster
        return np.sum([np.sum(plane) for plane in array], dtype=np.float64).reshape(1, 1, 1)
    return np.asarray(np.sum(array, axis=gone, dtype=np.float64, keepdims=True))


def _hann(n: int) -> np.ndarray:
    """Return a Hann window of n samples without its two zero ends, float32."""
    return (np.sin(np.pi * np.arange(1, n + 1) / (n + 1)) ** 2).astype(np.float32)


def _mask_weights(inside: np.ndarray, spacing: tuple[float, ...], taper_mm: float) -> tuple[np.ndarray, float]:
    """Return float32 weights that rise smoothly from 0 at the mask's edge to 1, and the width of the rise, mm.

    Distances to the edge come from blocks that lie wholly inside, interpolated linearly; voxels outside weigh nothing.
    The rise takes at most half of the mask's largest depth. A mask without depth keeps its sharp edge (width 0).
    """
    from scipy import ndimage

    factors = [math.ceil(n / COARSE_BLOCKS) for n in inside.shape]
    whole = inside
    for axis, factor in enumerate(factors):
        blocks = whole[_along(axis, slice(0, None, factor))].copy()
        for offset in range(1, factor):
            part = whole[_along(axis, slice(offset, None, factor))]
            blocks[_along(axis, slice(part.shape[axis]))] &= part
        whole = blocks
    block_mm = [factor * s for factor, s in zip(factors, spacing, strict=True)]
    depth = ndimage.distance_transform_edt(whole, sampling=block_mm).astype(np.float32)
    # From the centre of an outer block to its face; in three dimensions single-voxel axes do not count.
    to_face = 0.5 * max((b for b, n in zip(block_mm, inside.shape, strict=True) if n > 1), default=0.0)
    width = min(taper_mm, 0.5 * (float(depth.max()) - to_face))
    if width <= min(spacing):
        return inside.astype(np.float32), 0.0
    fine = depth
    for axis, factor in enumerate(factors):
        matrix = _linear_interpolation(inside.shape[axis], depth.shape[axis], factor)
        fine = np.moveaxis(np.tensordot(matrix, fine, axes=(1, axis)), 0, axis)
    rise = np.ascontiguousarray(fine)
    rise -= np.float32(to_face)
    rise *= np.float32(1.0 / width)
    np.clip(rise, 0.0, 1.0, out=rise)
    square = rise * rise
    rise *= np.float32(-2.0)
    rise += np.float32(3.0)
    rise *= square
    rise *= inside
    return rise, width


def _linear_interpolation(n: int, blocks: int, factor: int) -> np.ndarray:
    """Return the float32 matrix (n, blocks) that interpolates block centres to voxels, constant beyond the ends."""
    place = np.clip((np.arange(n) + 0.5) / factor - 0.5, 0, blocks - 1)
    low = np.minimum(place.astype(int), max(blocks - 2, 0))
    share = (place - low).astype(np.float32)
    matrix = np.zeros((n, blocks), np.float32)
    matrix[np.arange(n), low] = 1 - share
    matrix[np.arange(n), np.minimum(low + 1, blocks - 1)] += share
    return matrix


def _fast_length(n: int, last: bool) -> int:
    """Return a length of at least n that transforms fast; even, so that folding treats all alike."""
    from scipy import fft

    length = int(fft.next_fast_len(n, real=last))
    while length % 2:
        length = int(fft.next_fast_len(length + 1, real=last))
    return length


def _multiplicity(n: int) -> np.ndarray:
    signs = np.full(n // 2 + 1, 2.0)
    signs[0] = signs[-1] = 1.0
    return signs


def _folded_power(weighted: np.ndarray, axes: tuple[int, ...], lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Return |F|² and |F| summed over signs and over the axes that are not transformed."""
    from scipy import fft

    transformed = fft.rfft(weighted, axis=axes[-1])
    for axis, length in zip(axes[:-1][::-1], lengths[:-1][::-1], strict=True):
        transformed = fft.fft(transformed, n=length, axis=axis, overwrite_x=True)
    power = transformed.real * transformed.real
    power += transformed.imag * transformed.imag
    del transformed
    amplitude = np.sqrt(power)
    return _fold(power, axes), _fold(amplitude, axes)


def _fold(array: np.ndarray, axes: tuple[int, ...]) -> np.ndarray:
    """Sum planes, then the two signs of each component; the last axis holds one sign only and is doubled."""
    for axis in axes[:-1]:
        half = array.shape[axis] // 2
        array[_along(axis, slice(1, half))] += array[_along(axis, slice(None, half, -1))]
        array = array[_along(axis, slice(half + 1))]
    array[_along(axes[-1], slice(1, array.shape[axes[-1]] - 1))] *= np.float32(2.0)
    other = tuple(axis for axis in range(array.ndim) if axis not in axes)
    return array.sum(axis=other, dtype=np.float32) if other else np.ascontiguousarray(array)


def _along(axis: int, part: slice) -> tuple[slice, ...]:
    return tuple(part if n == axis else slice(None) for n in range(3))
