from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.methods.base import METHODS
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture(scope="module")
def biased() -> Volume:
    """Two tissues in a ball, 25 % brighter at one end."""
    grid = Grid((12, 48, 48), np.diag([3.0, 3.0, 5.0, 1.0]))
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in grid.shape), indexing="ij")
    ball = i**2 + j**2 + k**2 < 0.85
    tissue = np.where(np.sin(12 * i) * np.sin(12 * j) > 0, 200.0, 140.0)
    noise = np.random.default_rng(0).normal(0, 2, grid.shape)
    return Volume((np.where(ball, tissue * (1 + 0.25 * i), 0) + np.abs(noise)).astype(np.float32), grid)


def unevenness(array: np.ndarray) -> float:
    """Ratio of the medians of the bright tissue at both ends, minus one."""
    i = np.linspace(-1, 1, array.shape[2])
    ends = [array[4:8, :, side][array[4:8, :, side] > 60] for side in ((i > -0.7) & (i < -0.3), (i > 0.3) & (i < 0.7))]
    return abs(float(np.median(ends[1]) / np.median(ends[0])) - 1)


def test_field_is_removed_in_proportion_to_the_strength(biased):
    whole, part, none = (
        unevenness(METHODS.get("n4_cubic").apply(biased, biased.grid, strength=s).array) for s in (1.0, 0.5, 0.0)
    )
    assert whole < part < none
    assert whole < 0.4 * none


def test_brightness_is_kept(biased):
    corrected = METHODS.get("n4_cubic").apply(biased, biased.grid).array
    inside = biased.array > 60
    assert np.mean(corrected[inside]) == pytest.approx(np.mean(biased.array[inside]), rel=0.05)


def test_few_slices_and_negative_values_are_no_trouble(biased):
    thin = Volume(biased.array[4:8] - 50, biased.grid.crop((4, 0, 0), (4, 48, 48)))
    assert np.all(np.isfinite(METHODS.get("n4_cubic").apply(thin, thin.grid).array))
