"""A coarser matrix: field of view and mean kept, frequencies beyond it gone, noise of the stated deviation."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.degradations.coarse_matrix import CoarseMatrix, CoarseMatrixParameters, measure_coarse
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

QUIET = {"noise_percent": 0.0, "taper": 0.0}


def wave(size: int, cycles: float) -> np.ndarray:
    """A cosine along the last axis, of a whole or half number of cycles, on a pedestal."""
    line = 2 + np.cos(2 * np.pi * cycles * (np.arange(size) + 0.5) / size)
    return np.broadcast_to(line, (4, 12, size)).astype(np.float32)


def test_slow_waves_are_sampled_where_the_large_voxels_lie():
    coarse = measure_coarse(wave(32, 3), CoarseMatrixParameters((1.0, 1.0, 2.0), **QUIET))
    assert coarse.shape == (4, 12, 16)
    assert np.allclose(coarse, wave(16, 3), atol=1e-4)


def test_waves_beyond_the_matrix_are_lost():
    coarse = measure_coarse(wave(32, 10), CoarseMatrixParameters((1.0, 1.0, 2.0), **QUIET))
    assert np.allclose(coarse, 2.0, atol=1e-4)


@pytest.mark.parametrize("size", [32, 33])
def test_field_of_view_stays(size):
    volume = Volume(np.ones((5, size, size), np.float32), Grid.from_parts((5, size, size), (0.8, 0.8, 4.0), (3, 4, 5)))
    coarse = CoarseMatrix.apply(volume, CoarseMatrixParameters(**QUIET))
    assert coarse.array.shape == (5, 16, 16)
    assert np.allclose(coarse.grid.corners_ras(), volume.grid.corners_ras(), atol=1e-6)


def test_noise_has_the_stated_deviation():
    image = np.where(np.arange(64) < 32, 0.0, 1000.0) * np.ones((8, 64, 1))
    parameters = CoarseMatrixParameters((1.0, 2.0, 2.0), 0.0, 3.0, seed=4)
    coarse = measure_coarse(image, parameters)
    clean = measure_coarse(image, CoarseMatrixParameters((1.0, 2.0, 2.0), **QUIET))
    assert (coarse - clean)[clean > 500].std() == pytest.approx(30.0, rel=0.1)


def test_what_cannot_be_measured_is_refused():
    volume = Volume(np.random.default_rng(0).random((6, 6, 6)).astype(np.float32), Grid.from_parts((6, 6, 6)))
    with pytest.raises(InputError, match="6 voxels"):
        CoarseMatrix.apply(volume, CoarseMatrixParameters((1.0, 2.0, 2.0)))
    with pytest.raises(ParameterError, match=r"0\.5"):
        CoarseMatrixParameters((1.0, 0.5, 2.0))
