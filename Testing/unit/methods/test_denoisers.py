from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.methods.base import METHODS, estimate_noise_deviation
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

DENOISERS = ["nlm_cubic", "tv_cubic"]


@pytest.fixture(scope="module")
def pair() -> tuple[Volume, Volume]:
    """A smooth object without and with noise of deviation 10, thick slices along k."""
    grid = Grid((8, 40, 40), np.diag([1.5, 1.5, 5.0, 1.0]))
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in grid.shape), indexing="ij")
    clean = np.where(i**2 + j**2 < 0.8, 150 + 60 * np.sign(i) * (np.abs(i) > 0.2), 30.0) + 10 * k
    noisy = np.maximum(clean + np.random.default_rng(0).normal(0, 10, clean.shape), 0)
    return Volume(clean.astype(np.float32), grid), Volume(noisy.astype(np.float32), grid)


def error(name: str, pair: tuple[Volume, Volume], **parameters: object) -> float:
    clean, noisy = pair
    target = METHODS.get("cubic").apply(clean, clean.grid.isotropic(1.5)).array
    return float(
        np.sqrt(np.mean((METHODS.get(name).apply(noisy, clean.grid.isotropic(1.5), **parameters).array - target) ** 2))
    )


def test_noise_is_estimated_across_the_slices(pair):
    assert estimate_noise_deviation(pair[1].array, thick_axis=2) == pytest.approx(10, rel=0.15)


@pytest.mark.parametrize("name", DENOISERS)
@pytest.mark.parametrize("stage", ["before", "after"])
def test_denoising_helps(name, stage, pair):
    assert error(name, pair, stage=stage) < 0.8 * error("cubic", pair)


@pytest.mark.parametrize("name", DENOISERS)
def test_true_noise_may_be_given_and_none_means_cubic(name, pair):
    assert error(name, pair, noise_deviation=10.0) < 0.8 * error("cubic", pair)
    assert error(name, pair, noise_deviation=0.0) == pytest.approx(error("cubic", pair))


@pytest.mark.parametrize("name", DENOISERS)
def test_unknown_stage_is_refused(name, pair):
    with pytest.raises(ParameterError, match="'during'"):
        METHODS.get(name).apply(pair[1], pair[1].grid, stage="during")
