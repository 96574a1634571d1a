from __future__ import annotations

import math

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.metrics.contrast import contrast_to_noise, lesion_contrast_to_noise


@pytest.fixture
def tissues() -> np.ndarray:
    """Fluid at 20, grey matter at 100, white matter at 140; fluid is the smallest."""
    image = np.full((32, 36, 40), 100.0)
    image[16:] = 140.0
    image[12:20, 14:22, 14:26] = 20.0
    return image


@pytest.mark.parametrize("deviation", [2.0, 5.0])
def test_contrast_of_the_two_largest_tissues_over_the_noise(tissues, deviation):
    noisy = tissues + np.random.default_rng(0).normal(0, deviation, tissues.shape)
    measured = contrast_to_noise(noisy)
    assert measured.value == pytest.approx(40 / deviation, rel=0.05)
    assert (measured.detail["darker_mean"], measured.detail["brighter_mean"]) == (
        pytest.approx(100, abs=1.5),
        pytest.approx(140, abs=1.5),
    )


def test_without_noise_it_is_infinite(tissues):
    assert contrast_to_noise(tissues).value == math.inf


def test_too_few_intensities_are_explained():
    two = np.zeros((8, 8, 8))
    two[4:] = 1.0
    with pytest.raises(InputError, match="3 intensity classes .values 0 to 1"):
        contrast_to_noise(two)


def test_lesions_against_the_tissue_around_them():
    rng = np.random.default_rng(1)
    image = 100 + rng.normal(0, 2, (30, 34, 32))
    mask = np.zeros(image.shape, np.uint8)
    mask[5:9, 5:9, 5:9] = mask[15:20, 15:20, 15:20] = 1
    image[5:9, 5:9, 5:9] += 40
    image[15:20, 15:20, 15:20] -= 30
    measured = lesion_contrast_to_noise(image, mask=mask)
    assert measured.detail["contrast"] == pytest.approx((64 * 40 + 125 * 30) / 189, abs=0.6)
    assert measured.value == pytest.approx(measured.detail["contrast"] / 2, rel=0.25)


def test_specks_have_no_value_but_a_reason():
    mask = np.zeros((12, 12, 12), np.uint8)
    mask[5, 5, 5] = 1
    measured = lesion_contrast_to_noise(np.random.default_rng(0).normal(size=mask.shape), mask=mask)
    assert math.isnan(measured.value)
    assert "30 mm³" in measured.detail["reason"]
