"""Denoising by principal components: against dipy, against the truth, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError, OperationCancelled, ParameterError
from MRHarmonizationLib.core.low_rank import denoise_low_rank
from MRHarmonizationLib.core.progress import Progress

SIGMA = 5.0


def series(volumes: int = 20, shape=(9, 11, 10), sigma: float = SIGMA) -> tuple[np.ndarray, np.ndarray]:
    """Smooth decays, and the same with Gaussian noise; [K, J, I, N]."""
    z, y, x = np.meshgrid(*(np.linspace(0, 1, n) for n in shape), indexing="ij")
    truth = 100 * np.exp(-np.multiply.outer(1 + x + 0.5 * np.sin(4 * y) + z, np.linspace(0, 1.5, volumes)))
    noisy = (truth + np.random.default_rng(0).normal(0, sigma, truth.shape)).astype(np.float32)
    noisy.setflags(write=False)
    return truth.astype(np.float32), noisy


def rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(values.astype(float) ** 2)))


@pytest.mark.parametrize("volumes", [12, 20])
def test_agrees_with_dipy_where_patches_start_at_every_voxel(volumes: int):
    mppca = pytest.importorskip("dipy.denoise.localpca").mppca
    _, noisy = series(volumes)
    wanted, sigma = mppca(noisy, patch_radius=2, return_sigma=True)
    found = denoise_low_rank(noisy, stride=1)
    np.testing.assert_allclose(found.array, wanted, atol=1e-3)
    np.testing.assert_allclose(found.sigma, sigma, atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2, 3])
def test_noise_goes_and_signal_stays(stride: int):
    truth, noisy = series()
    found = denoise_low_rank(noisy, stride=stride)
    assert rms(found.array - truth) < 0.3 * SIGMA
    assert np.median(found.sigma) == pytest.approx(SIGMA, rel=0.1)
    assert found.components.mean() < 4
    assert found.array.dtype == np.float32
    assert found.array.flags.writeable
    assert found.array[..., 3].flags.c_contiguous


def test_what_has_no_noise_is_kept():
    truth, _ = series()
    np.testing.assert_allclose(denoise_low_rank(truth).array, truth, atol=0.02)


def test_voxels_far_from_the_mask_are_as_they_were():
    _, noisy = series(shape=(9, 30, 10))
    mask = np.zeros(noisy.shape[:3], bool)
    mask[:, :5] = True
    found = denoise_low_rank(noisy, mask)
    np.testing.assert_array_equal(found.array[:, 12:], noisy[:, 12:])
    assert np.all(found.sigma[:, 12:] == 0)
    assert np.all(found.sigma[mask] > 0)


def test_single_slices_and_many_volumes_get_patches_that_fit():
    truth, noisy = series(volumes=60, shape=(1, 16, 15))
    found = denoise_low_rank(noisy)
    assert rms(found.array - truth) < 0.5 * SIGMA


def test_order_of_volumes_does_not_matter():
    _, noisy = series()
    order = np.random.default_rng(1).permutation(noisy.shape[3])
    permuted = denoise_low_rank(np.ascontiguousarray(noisy[..., order])).array
    np.testing.assert_allclose(permuted, denoise_low_rank(noisy).array[..., order], atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [({"patch": 4}, "patch of 4"), ({"stride": 9}, "stride 9"), ({"mask": np.ones((2, 2, 2), bool)}, r"\(2, 2, 2\)")],
)
def test_wrong_parameters_are_refused(change: dict, message: str):
    with pytest.raises(ParameterError, match=message):
        denoise_low_rank(series()[1], **change)


def test_unusable_series_are_refused():
    with pytest.raises(InputError, match="3 volumes up"):
        denoise_low_rank(np.zeros((4, 4, 4, 2), np.float32))
    _, noisy = series()
    broken = noisy.copy()
    broken[4, 5, 5, 3] = np.nan
    with pytest.raises(InputError, match="NaN"):
        denoise_low_rank(broken)


def test_can_be_cancelled():
    progress = Progress()
    progress.cancel()
    with pytest.raises(OperationCancelled):
        denoise_low_rank(series()[1], progress=progress)
