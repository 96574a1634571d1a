from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from MRHarmonizationLib.metrics.no_reference import noise, noise_wavelet, sharpness


@pytest.fixture
def smooth_head():
    k, j, i = np.meshgrid(np.arange(40), np.arange(44), np.arange(36), indexing="ij")
    return 100 + 50 * np.sin(k / 9) * np.cos(j / 8) * np.sin(i / 10)


@pytest.mark.parametrize("deviation", [1.0, 4.0, 10.0])
def test_noise_of_known_deviation_is_found(smooth_head, deviation):
    noisy = smooth_head + np.random.default_rng(0).normal(0, deviation, smooth_head.shape)
    measured = noise(noisy, data_range=100.0)
    assert measured.value == pytest.approx(deviation, rel=0.06)
    assert measured.unit == "% of range"


def test_noise_survives_interpolation_along_one_axis(smooth_head):
    noisy = smooth_head + np.random.default_rng(0).normal(0, 5, smooth_head.shape)
    smoothed_along_k = gaussian_filter(noisy, (3, 0, 0))
    along_one, along_all = (
        noise(image, data_range=100.0).value for image in (smoothed_along_k, gaussian_filter(noisy, 3))
    )
    assert along_one > 10 * along_all


def test_blur_lowers_sharpness_and_names_its_axis(smooth_head):
    edge = np.where(np.arange(40)[:, None, None] < 20, 0.0, 100.0) + np.zeros_like(smooth_head)
    sharp, blurred = (sharpness(image, data_range=100.0) for image in (edge, gaussian_filter(edge, (2, 0, 0))))
    assert sharp.detail["along_k"] > 1.8 * blurred.detail["along_k"]
    assert sharp.value > 1.3 * blurred.value
    assert sharp.detail["along_k"] > 100 * sharp.detail["along_i"]


def test_sharpness_is_per_millimetre(smooth_head):
    edge = np.where(np.arange(36)[None, None, :] < 18, 0.0, 100.0) + np.zeros_like(smooth_head)
    fine, coarse = (
        sharpness(gaussian_filter(edge, 3 / s), data_range=100.0, spacing_mm=(s, s, s)).value for s in (0.5, 1.0)
    )
    assert fine == pytest.approx(coarse, rel=0.15)


def test_noise_hardly_counts_as_sharpness(smooth_head):
    noisy = smooth_head + np.random.default_rng(0).normal(0, 1.0, smooth_head.shape)
    clean, spoilt = (sharpness(image, data_range=100.0).value for image in (smooth_head, noisy))
    assert spoilt == pytest.approx(clean, rel=0.25)


@pytest.mark.parametrize("deviation", [1.0, 5.0])
def test_wavelet_noise_is_the_standard_deviation_that_was_added(deviation, smooth_head):
    noisy = smooth_head + np.random.default_rng(0).normal(0, deviation, smooth_head.shape)
    assert noise_wavelet(noisy, data_range=100.0).value == pytest.approx(deviation, rel=0.06)


def test_wavelet_noise_agrees_with_scikit_image(smooth_head):
    pytest.importorskip("pywt", reason="scikit-image's wavelet estimate needs PyWavelets")
    from skimage.restoration import estimate_sigma

    noisy = smooth_head + np.random.default_rng(0).normal(0, 5, smooth_head.shape)
    expected = np.mean([estimate_sigma(plane) for plane in noisy])  # of the decimated transform, slice by slice
    assert noise_wavelet(noisy, data_range=100.0).detail["plane_ij"] == pytest.approx(expected, rel=0.03)


def test_wavelet_noise_is_taken_inside_the_mask(smooth_head):
    rng = np.random.default_rng(0)
    mask = np.zeros(smooth_head.shape, bool)
    mask[8:-8, 8:-8, 8:-8] = True
    noisy = smooth_head + rng.normal(0, 1, mask.shape) * np.where(mask, 2.0, 20.0)
    assert noise_wavelet(noisy, mask=mask, data_range=100.0).value == pytest.approx(2.0, rel=0.25)
