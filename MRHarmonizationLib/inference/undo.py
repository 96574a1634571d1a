"""Exact undo: a residual file that brings back the resampled input bit for bit.

Adding floats rounds, so ``enhanced − (enhanced − baseline)`` is not ``baseline``. The residual is therefore taken on
whole numbers. :func:`ordered_bits` maps each float32 bit pattern to an int32 so that larger floats have larger
integers and *every* pattern (−0, subnormals, infinities, NaN payloads) has its own::

    m(b) = b              if b ≥ 0        (b: the bit pattern read as int32)
    m(b) = b xor 7FFFFFFF if b < 0        (−0 → −1, the most negative float → −2³¹ + ...)

The residual is m(enhanced) − m(baseline) in wrapping 32-bit arithmetic, and undo is m⁻¹(m(enhanced) − residual): exact
for all inputs, since m is a bijection and addition modulo 2³² a group. As neighbouring floats have neighbouring
integers, small changes give small numbers, and the residual is a valid int32 image that compresses well as ``.nrrd``.

Its metadata hold the digests of both images, so that a residual is never applied to the wrong file.
"""

from __future__ import annotations

import hashlib

import numpy as np

from MRHarmonizationLib.core.errors import GridMismatchError, InputError
from MRHarmonizationLib.volumes.grid import same_grid
from MRHarmonizationLib.volumes.volume import Volume

ENHANCED_DIGEST_KEY = "MRHarmonization.enhanced_digest"
BASELINE_DIGEST_KEY = "MRHarmonization.baseline_digest"
"""Metadata keys of a residual volume; values as :func:`voxel_digest` gives them."""

#: Grids of the two files may differ by the rounding of their headers (NIfTI keeps float32).
GRID_TOLERANCE_MM = 1e-2

_MAGNITUDE_BITS = np.int32(0x7FFFFFFF)


def ordered_bits(values: np.ndarray) -> np.ndarray:
    """Return the int32 numbers that stand for float32 values, in their order.

    Parameters
    ----------
    values : numpy.ndarray
        float32, any shape; not changed.

    Returns
    -------
    numpy.ndarray
        int32, same shape.

    Examples
    --------
    >>> ordered_bits(np.float32([-1.0, -0.0, 0.0, 1.0])).tolist()
    [-1065353217, -1, 0, 1065353216]
    """
    return _swap_negative(np.ascontiguousarray(values, dtype=np.float32).view(np.int32))


def float_of_ordered_bits(numbers: np.ndarray) -> np.ndarray:
    """Return the float32 values that int32 numbers stand for; the inverse of :func:`ordered_bits`."""
    return _swap_negative(np.ascontiguousarray(numbers, dtype=np.int32)).view(np.float32)


def voxel_digest(array: np.ndarray) -> str:
    """Return ``sha256:<hex>`` of an image's values as float32, independent of file format and header rounding.

    Parameters
    ----------
    array : numpy.ndarray
        ``[K, J, I]``; converted to float32.
    """
    state = hashlib.sha256(repr(tuple(array.shape)).encode())
    state.update(np.ascontiguousarray(array, dtype="<f4").data)
    return f"sha256:{state.hexdigest()}"


def make_residual(baseline: Volume, enhanced: Volume) -> Volume:
    """Return the residual that leads back from an enhanced volume to its baseline.

    Parameters
    ----------
    baseline, enhanced : Volume
        float32, on one grid.

    Returns
    -------
    Volume
        int32 on the same grid, with both digests in its metadata; write it as ``.nrrd``.

    Raises
    ------
    InputError
        If one of them is not float32.
    GridMismatchError
        If the grids differ.
    """
    for name, volume in (("baseline", baseline), ("enhanced", enhanced)):
        if volume.array.dtype != np.float32:
            raise InputError(f"the {name} volume is {volume.array.dtype}, expected float32", "convert it to float32")
    _require_same_grid(enhanced, baseline, "baseline")
    numbers = ordered_bits(enhanced.array)
    np.subtract(numbers, ordered_bits(baseline.array), out=numbers)
    digests = {
        ENHANCED_DIGEST_KEY: voxel_digest(enhanced.array),
        BASELINE_DIGEST_KEY: voxel_digest(baseline.array),
    }
    return Volume(numbers, enhanced.grid, f"{enhanced.name}_residual", digests)


def undo(enhanced: Volume, residual: Volume) -> Volume:
    """Return the resampled input of an enhancement, bit for bit.

    Parameters
    ----------
    enhanced : Volume
        The enhanced scan as it was written (float32).
    residual : Volume
        From :func:`make_residual`, read back from its file.

    Returns
    -------
    Volume
        float32 on the grid of ``enhanced``.

    Raises
    ------
    InputError
        If the residual is none, belongs to another volume, or is damaged; the message names both digests.
    GridMismatchError
        If the grids differ.
    """
    expected = residual.metadata.get(ENHANCED_DIGEST_KEY, "")
    if residual.array.dtype.kind != "i" or not expected:
        raise InputError(
            f"the residual volume ({residual.array.dtype}) is no residual written by MRHarmonization",
            "choose the .nrrd file that --residual wrote",
        )
    _require_same_grid(enhanced, residual, "residual")
    found = voxel_digest(enhanced.array)
    if found != expected:
        raise InputError(
            f"the residual belongs to another volume: it was made for {expected}, the enhanced volume is {found}",
            "choose the enhanced file this residual was written with, unchanged",
        )
    numbers = ordered_bits(enhanced.array)
    np.subtract(numbers, residual.array.astype(np.int32, copy=False), out=numbers)
    baseline = float_of_ordered_bits(numbers)
    restored, promised = voxel_digest(baseline), residual.metadata.get(BASELINE_DIGEST_KEY, "")
    if restored != promised:
        raise InputError(
            f"the residual is damaged: it restores {restored}, it was made to restore {promised}",
            "use an undamaged copy of the residual file",
        )
    return enhanced.with_array(baseline)


def _swap_negative(numbers: np.ndarray) -> np.ndarray:
    return np.where(numbers < 0, numbers ^ _MAGNITUDE_BITS, numbers)


def _require_same_grid(enhanced: Volume, other: Volume, name: str) -> None:
    if not same_grid(enhanced.grid, other.grid, atol_mm=GRID_TOLERANCE_MM):
        raise GridMismatchError(
            f"the {name} grid {other.grid.shape} at {_rounded(other)} mm differs from the enhanced grid "
            f"{enhanced.grid.shape} at {_rounded(enhanced)} mm",
            "choose the two files that were written together",
        )


def _rounded(volume: Volume) -> tuple[float, ...]:
    return tuple(round(float(value), 3) for value in volume.grid.spacing_mm)
