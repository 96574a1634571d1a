from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage.metrics import structural_similarity

from MRHarmonizationLib.metrics import structural
from MRHarmonizationLib.metrics.structural import SCALE_WEIGHTS, ms_ssim, ssim, ssim_2d, ssim_uniform

GAUSSIAN = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


@pytest.fixture
def pair():
    rng = np.random.default_rng(1)
    reference = rng.normal(100, 20, (16, 18, 20))
    return reference + rng.normal(0, 5, reference.shape), reference


@pytest.fixture
def large_pair():
    rng = np.random.default_rng(2)
    reference = 100 + 300 * gaussian_filter(rng.normal(size=(48, 50, 53)), 2)
    return gaussian_filter(reference, 0.7) + rng.normal(0, 3, reference.shape), reference


def skimage_map(image, reference, data_range, **window):
    return structural_similarity(image, reference, data_range=data_range, full=True, **window)[1]


def test_ssim_is_the_mean_of_scikit_images_map(pair):
    image, reference = pair
    expected = skimage_map(image, reference, 90.0, **GAUSSIAN).mean()
    assert ssim(image, reference, data_range=90.0).value == pytest.approx(expected)


@pytest.mark.parametrize("planes", [1, 3, 100])
@pytest.mark.parametrize("box", [np.s_[7:9, 8:11, 3:5], np.s_[0:2, 0:18, 0:3], np.s_[:, :, 19:]])
@pytest.mark.parametrize(("metric", "window"), [(ssim, GAUSSIAN), (ssim_uniform, {"win_size": 7})])
def test_masked_ssim_is_the_whole_map_masked_afterwards(pair, box, planes, metric, window, monkeypatch):
    image, reference = pair
    monkeypatch.setattr(structural, "SSIM_BLOCK_VOXELS", planes * 18 * 20)
    mask = np.zeros(reference.shape, bool)
    mask[box] = True
    expected = skimage_map(image, reference, 90.0, **window)[mask].mean()
    assert metric(image, reference, mask, data_range=90.0).value == pytest.approx(expected, abs=1e-12)


def test_ssim_of_a_thin_slab_uses_mirrored_ends(pair):
    image, reference = pair
    thin_image, thin_reference = image[:5], reference[:5]
    long_image, long_reference = (
        np.pad(a, ((15, 15), (0, 0), (0, 0)), mode="symmetric") for a in (thin_image, thin_reference)
    )
    expected = skimage_map(long_image, long_reference, 90.0, **GAUSSIAN)[15:20].mean()
    assert ssim(thin_image, thin_reference, data_range=90.0).value == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("masked", [False, True])
def test_two_dimensional_ssim_is_that_of_each_slice(pair, masked):
    image, reference = pair
    mask = np.ones(reference.shape, bool)
    if masked:
        mask[:] = False
        mask[3:9, 4:12, 7:15] = mask[11, 0, 0] = True
    maps = np.stack([skimage_map(a, b, 90.0, **GAUSSIAN) for a, b in zip(image, reference, strict=True)])
    assert ssim_2d(image, reference, mask, data_range=90.0).value == pytest.approx(maps[mask].mean(), abs=1e-12)


def test_jumps_between_slices_are_seen_in_three_dimensions_only(large_pair):
    _, reference = large_pair
    striped = reference + 10 * (-1.0) ** np.arange(48)[:, None, None]
    assert ssim_2d(striped, reference, data_range=200.0).value > ssim(striped, reference, data_range=200.0).value + 0.05


def torchmetrics_terms(image, reference, data_range, scales):
    """Return the mean similarity of the last scale and the mean contrasts of those before, borders left out."""
    torch = pytest.importorskip("torch", reason="the oracle of MS-SSIM runs on torch")
    pytest.importorskip("torchmetrics", reason="torchmetrics is the oracle of MS-SSIM")
    from torchmetrics.functional.image.ssim import _ssim_update

    # its convolution of doubles takes a hundred times as long
    first, second = (torch.from_numpy(a.astype(np.float32))[None, None] for a in (image, reference))
    terms = []
    for scale in range(scales):
        if scale == scales - 1:
            _, full = _ssim_update(first, second, data_range=data_range, return_full_image=True)
            terms.append(float(full[..., 5:-5, 5:-5, 5:-5].mean()))
        else:
            _, contrast = _ssim_update(first, second, data_range=data_range, return_contrast_sensitivity=True)
            terms.append(float(contrast))
        first, second = (torch.nn.functional.avg_pool3d(a, 2) for a in (first, second))
    return terms


def test_multi_scale_terms_are_those_of_torchmetrics(large_pair):
    image, reference = (array[:24, :26, :25] for array in large_pair)
    measured = ms_ssim(image, reference, data_range=200.0)
    assert measured.detail["scales"] == 2
    terms = torchmetrics_terms(image, reference, 200.0, 2)
    assert measured.detail["terms"] == pytest.approx(terms, abs=2e-5)
    weights = np.array(SCALE_WEIGHTS[:2]) / sum(SCALE_WEIGHTS[:2])
    assert measured.value == pytest.approx(np.prod(np.array(terms) ** weights), abs=2e-5)


def test_multi_scale_in_two_dimensions_is_torchmetrics_own_result():
    torch = pytest.importorskip("torch", reason="the oracle of MS-SSIM runs on torch")
    functional = pytest.importorskip("torchmetrics.functional.image", reason="torchmetrics is the oracle of MS-SSIM")
    rng = np.random.default_rng(4)
    reference = 100 + 300 * gaussian_filter(rng.normal(size=(1, 200, 184)), (0, 3, 3))
    image = reference + rng.normal(0, 3, reference.shape)
    expected = functional.multiscale_structural_similarity_index_measure(
        torch.from_numpy(image)[None], torch.from_numpy(reference)[None], data_range=200.0
    )
    measured = ms_ssim(image, reference, data_range=200.0)
    assert measured.detail["scales"] == len(SCALE_WEIGHTS)
    # torchmetrics keeps the borders in the coarsest luminance term
    assert measured.value == pytest.approx(float(expected), abs=2e-3)


def test_multi_scale_is_confined_to_the_masks_box(large_pair):
    image, reference = large_pair
    mask = np.zeros(image.shape, bool)
    mask[4:40, 5:45, 6:50] = True
    spoilt = np.where(mask, image, 1e4)
    inside = ms_ssim(image[4:40, 5:45, 6:50], reference[4:40, 5:45, 6:50], data_range=200.0)
    assert ms_ssim(spoilt, reference, mask, data_range=200.0).value == pytest.approx(inside.value, abs=1e-12)


def test_coarse_scales_forgive_fine_noise(large_pair):
    _, reference = large_pair
    noisy = reference + np.random.default_rng(0).normal(0, 10, reference.shape)
    blurred = gaussian_filter(reference, 3)
    terms = {
        name: ms_ssim(a, reference, data_range=200.0).detail["terms"] for name, a in (("n", noisy), ("b", blurred))
    }
    assert terms["n"][0] < terms["n"][1] < terms["n"][2]
    assert ms_ssim(noisy, reference, data_range=200.0).value > ssim(noisy, reference, data_range=200.0).value
    assert terms["b"][0] < terms["b"][1]


def test_opposite_structure_has_no_multi_scale_similarity(large_pair):
    _, reference = large_pair
    assert ms_ssim(200 - reference, reference, data_range=200.0).value == 0.0


@pytest.mark.parametrize("shape", [(1, 30, 30), (3, 3, 3), (12, 60, 60), (1, 1, 9)])
def test_any_shape_has_as_many_scales_as_it_can(shape):
    reference = np.random.default_rng(0).normal(100, 20, shape)
    measured = ms_ssim(reference, reference, data_range=90.0)
    assert measured.value == pytest.approx(1.0)
    assert measured.detail["scales"] == (3 if max(shape) == 60 else 2 if max(shape) == 30 else 1)


def test_scattered_masks_stop_where_no_coarse_voxel_is_inside(large_pair):
    image, reference = large_pair
    mask = np.zeros(image.shape, bool)
    mask[::6, ::6, ::6] = True
    measured = ms_ssim(image, reference, mask, data_range=200.0)
    assert measured.detail["scales"] == 1
    assert 0 < measured.value < 1
