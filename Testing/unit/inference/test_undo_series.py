"""Exact undo of series: every bit comes back, and nothing else is taken for a residual."""

from __future__ import annotations

import numpy as np
import pytest
from support.diffusion_scan import brain_scan

from MRHarmonizationLib.core.errors import GridMismatchError, InputError
from MRHarmonizationLib.inference.undo_series import make_series_residual, series_digest, undo_series
from MRHarmonizationLib.volumes.dwi import DwiVolume

SHAPE = (3, 8, 7)


@pytest.fixture
def pair() -> tuple[DwiVolume, DwiVolume]:
    """A scan with every kind of float in it, and a changed one."""
    before = brain_scan(6, shape=SHAPE)
    array = np.array(before.array)
    array.flat[:5] = [-0.0, 1e-42, np.float32(3.4e38), -7.25, 0.1]
    changed = np.random.default_rng(0).normal(0, 1e6, array.shape).astype(np.float32)
    return before.with_array(array), before.with_array(changed)


def test_every_bit_comes_back(pair: tuple[DwiVolume, DwiVolume]):
    before, changed = pair
    residual = make_series_residual(lambda n: before.array[..., n], changed)
    restored = undo_series(changed, residual)
    assert restored.array.tobytes() == np.ascontiguousarray(before.array).tobytes()
    np.testing.assert_array_equal(restored.gradients_ras, before.gradients_ras)


def test_digest_does_not_depend_on_memory_order(pair: tuple[DwiVolume, DwiVolume]):
    array = pair[0].array
    assert series_digest(array) == series_digest(np.asfortranarray(array))
    assert series_digest(array) != series_digest(array[..., ::-1])


def test_wrong_pairs_are_refused(pair: tuple[DwiVolume, DwiVolume]):
    before, changed = pair
    residual = make_series_residual(lambda n: before.array[..., n], changed)
    with pytest.raises(InputError, match="belongs to another scan"):
        undo_series(before, residual)
    with pytest.raises(InputError, match="is no residual"):
        undo_series(changed, before)
    damaged = np.array(residual.array)
    damaged[0, 0, 0, 3] += 1
    with pytest.raises(InputError, match="is damaged"):
        undo_series(
            changed,
            DwiVolume(
                damaged, residual.grid, residual.b_values_s_per_mm2, residual.gradients_ras, "", residual.metadata
            ),
        )
    other = brain_scan(6, shape=(4, 8, 7))
    with pytest.raises(GridMismatchError):
        undo_series(other, residual)
    with pytest.raises(InputError, match="int16"):
        make_series_residual(lambda n: before.array[..., n].astype(np.int16), changed)
