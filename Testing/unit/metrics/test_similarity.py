from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import pearsonr, wasserstein_distance
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio

from MRHarmonizationLib.metrics.similarity import correlation, histogram_distance, mae, nrmse, psnr


@pytest.fixture
def pair():
    rng = np.random.default_rng(1)
    reference = rng.normal(100, 20, (16, 18, 20))
    return reference + rng.normal(0, 5, reference.shape), reference


def test_psnr_and_nrmse_agree_with_scikit_image_on_the_whole_image(pair):
    image, reference = pair
    assert psnr(image, reference, data_range=90.0).value == pytest.approx(
        peak_signal_noise_ratio(reference, image, data_range=90.0)
    )
    spread = reference.max() - reference.min()
    assert nrmse(image, reference, data_range=spread).value == pytest.approx(
        normalized_root_mse(reference, image, normalization="min-max")
    )


def test_psnr_counts_only_the_mask(pair):
    image, reference = pair
    mask = np.zeros(reference.shape, bool)
    mask[4:8] = True
    expected = 10 * np.log10(90.0**2 / np.mean((image - reference)[mask] ** 2))
    spoilt = np.where(mask, image, 1e4)
    assert psnr(spoilt, reference, mask, data_range=90.0).value == pytest.approx(expected)


def test_histogram_distance_is_scipys_wasserstein_distance(pair):
    image, reference = pair
    expected = wasserstein_distance(image.reshape(-1), reference.reshape(-1))
    assert histogram_distance(image, reference, data_range=90.0).value == pytest.approx(expected / 90.0)


def test_correlation_is_scipys(pair):
    image, reference = pair
    expected = pearsonr(image.reshape(-1), reference.reshape(-1)).statistic
    assert correlation(image, reference).value == pytest.approx(expected)


def test_mean_absolute_error_and_histogram_distance_of_a_shift(pair):
    _, reference = pair
    assert mae(reference + 9.0, reference, data_range=90.0).value == pytest.approx(0.1)
    assert histogram_distance(reference + 9.0, reference, data_range=90.0).value == pytest.approx(0.1)
    shuffled = np.random.default_rng(0).permutation(reference.reshape(-1)).reshape(reference.shape)
    assert histogram_distance(shuffled, reference, data_range=90.0).value == pytest.approx(0.0, abs=1e-12)


def test_correlation_ignores_gain_and_offset_and_a_constant_has_none(pair):
    _, reference = pair
    assert correlation(3 * reference - 40, reference).value == pytest.approx(1.0)
    assert correlation(-reference, reference).value == pytest.approx(-1.0)
    assert correlation(np.full_like(reference, 2.0), reference).value == 0.0
