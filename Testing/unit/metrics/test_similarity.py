from __future__ import annotations

import numpy as np
import pytest
from skimage.metrics import normalized_root_mse, peak_signal_noise_ratio, structural_similarity

from MRHarmonizationLib.metrics import similarity
from MRHarmonizationLib.metrics.similarity import correlation, histogram_distance, mae, nrmse, psnr, ssim


@pytest.fixture
def pair():
    rng = np.random.default_rng(1)
    reference = rng.normal(100, 20, (16, 18, 20))
    return reference + rng.normal(0, 5, reference.shape), reference


def skimage_map(image, reference, data_range):
    return structural_similarity(
        image,
        reference,
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )[1]


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


def test_ssim_is_the_mean_of_scikit_images_map(pair):
    image, reference = pair
    assert ssim(image, reference, data_range=90.0).value == pytest.approx(skimage_map(image, reference, 90.0).mean())


@pytest.mark.parametrize("planes", [1, 3, 100])
@pytest.mark.parametrize("box", [np.s_[7:9, 8:11, 3:5], np.s_[0:2, 0:18, 0:3], np.s_[:, :, 19:]])
def test_masked_ssim_is_the_whole_map_masked_afterwards(pair, box, planes, monkeypatch):
    image, reference = pair
    monkeypatch.setattr(similarity, "SSIM_BLOCK_VOXELS", planes * 18 * 20)
    mask = np.zeros(reference.shape, bool)
    mask[box] = True
    expected = skimage_map(image, reference, 90.0)[mask].mean()
    assert ssim(image, reference, mask, data_range=90.0).value == pytest.approx(expected, abs=1e-12)


def test_ssim_of_a_thin_slab_uses_mirrored_ends(pair):
    image, reference = pair
    thin_image, thin_reference = image[:5], reference[:5]
    long_image, long_reference = (
        np.pad(a, ((15, 15), (0, 0), (0, 0)), mode="symmetric") for a in (thin_image, thin_reference)
    )
    expected = skimage_map(long_image, long_reference, 90.0)[15:20].mean()
    assert ssim(thin_image, thin_reference, data_range=90.0).value == pytest.approx(expected, abs=1e-12)


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
