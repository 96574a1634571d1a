"""Exact undo of series of volumes; the arithmetic is that of :mod:`~MRHarmonizationLib.inference.undo`."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import numpy as np

from MRHarmonizationLib.core.errors import GridMismatchError, InputError
from MRHarmonizationLib.inference.provenance import ATTRIBUTE_PREFIX
from MRHarmonizationLib.inference.undo import (
    BASELINE_DIGEST_KEY,
    ENHANCED_DIGEST_KEY,
    GRID_TOLERANCE_MM,
    float_of_ordered_bits,
    ordered_bits,
)
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.grid import same_grid


class SeriesDigest:
    """``sha256:<hex>`` of volumes as float32, fed one after the other; equal to :func:`series_digest` of them all."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._state = hashlib.sha256(repr(tuple(int(n) for n in shape)).encode())

    def add(self, image: np.ndarray) -> None:
        """Add the next volume, shape (K, J, I)."""
        self._state.update(np.ascontiguousarray(image, dtype="<f4").data)

    def text(self) -> str:
        """Return the digest of what was added."""
        return f"sha256:{self._state.hexdigest()}"


def series_digest(array: np.ndarray) -> str:
    """Return ``sha256:<hex>`` of a series (K, J, I, N) as float32, volume by volume."""
    digest = SeriesDigest(array.shape)
    for n in range(array.shape[3]):
        digest.add(array[..., n])
    return digest.text()


def make_series_residual(baseline: Callable[[int], np.ndarray], changed: DwiVolume) -> DwiVolume:
    """Return the residual that leads back from a changed scan to what it was made of.

    Parameters
    ----------
    baseline : callable
        ``baseline(n)`` gives volume n before, shape (K, J, I), float32.
    changed : DwiVolume
        float32.

    Returns
    -------
    DwiVolume
        int32 with the same weightings and both digests in its metadata; write it as ``.nrrd``.

    Raises
    ------
    InputError
        Values that are not float32.
    """
    if changed.array.dtype != np.float32:
        raise InputError(f"the changed series is {changed.array.dtype}, expected float32", "convert it to float32")
    count = changed.n_volumes
    numbers = np.moveaxis(np.empty((count, *changed.grid.shape), np.int32), 0, -1)
    digest = SeriesDigest(changed.array.shape)
    for n in range(count):
        before = baseline(n)
        if before.dtype != np.float32:
            raise InputError(f"the baseline series is {before.dtype}, expected float32", "convert it to float32")
        digest.add(before)
        np.subtract(ordered_bits(changed.array[..., n]), ordered_bits(before), out=numbers[..., n])
    digests = {ENHANCED_DIGEST_KEY: series_digest(changed.array), BASELINE_DIGEST_KEY: digest.text()}
    return DwiVolume(
        numbers, changed.grid, changed.b_values_s_per_mm2, changed.gradients_ras, f"{changed.name}_residual", digests
    )


def undo_series(changed: DwiVolume, residual: DwiVolume) -> DwiVolume:
    """Return the scan that a harmonisation started from, on the output grid, bit for bit.

    Parameters
    ----------
    changed : DwiVolume
        As it was written (float32).
    residual : DwiVolume
        From :func:`make_series_residual`, read back from its file.

    Raises
    ------
    InputError
        The residual is none, belongs to another scan, or is damaged; the message names both digests.
    GridMismatchError
        The grids or numbers of volumes differ.
    """
    expected = str(residual.metadata.get(ENHANCED_DIGEST_KEY, ""))
    if residual.array.dtype.kind != "i" or not expected:
        raise InputError(
            f"the residual series ({residual.array.dtype}) is no residual written by MRHarmonization",
            "choose the .nrrd file that --keep-residual wrote",
        )
    if residual.array.shape != changed.array.shape or not same_grid(residual.grid, changed.grid, GRID_TOLERANCE_MM):
        raise GridMismatchError(
            f"the residual {residual.array.shape} lies on another grid than the scan {changed.array.shape}",
            "choose the two files that were written together",
        )
    found = series_digest(changed.array)
    if found != expected:
        raise InputError(
            f"the residual belongs to another scan: it was made for {expected}, this one is {found}",
            "choose the harmonised file this residual was written with, unchanged",
        )
    restored = np.moveaxis(np.empty((changed.n_volumes, *changed.grid.shape), np.float32), 0, -1)
    for n in range(changed.n_volumes):
        numbers = ordered_bits(changed.array[..., n])
        np.subtract(numbers, residual.array[..., n].astype(np.int32, copy=False), out=numbers)
        restored[..., n] = float_of_ordered_bits(numbers)
    promised, got = residual.metadata.get(BASELINE_DIGEST_KEY, ""), series_digest(restored)
    if got != promised:
        raise InputError(
            f"the residual is damaged: it restores {got}, it was made to restore {promised}",
            "use an undamaged copy of the residual file",
        )
    own = {key: value for key, value in changed.metadata.items() if not key.startswith(ATTRIBUTE_PREFIX)}
    return DwiVolume(restored, changed.grid, changed.b_values_s_per_mm2, changed.gradients_ras, changed.name, own)
