"""Bands of detail, features, and what coefficients do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MRHarmonizationLib.core import local_tone as lt
from MRHarmonizationLib.core.errors import ParameterError


@pytest.fixture
def image(rng):
    from scipy.ndimage import gaussian_filter

    return gaussian_filter(rng.random((20, 24, 16)), 1.0).astype(np.float32) * 1.2


def test_the_bands_add_up_to_the_image(image):
    bands = lt.detail_bands(image, (1.0, 1.5, 3.0))
    assert len(bands) == lt.BANDS
    np.testing.assert_allclose(sum(bands), image, atol=1e-5)


def test_a_band_holds_its_own_frequencies():
    """A wave of 6 mm lies in the bands around 1 to 2 mm, one of 60 mm in the last."""
    x = np.arange(240)
    for length, expected in ((6.0, 1), (60.0, lt.BANDS - 1)):
        wave = np.sin(2 * np.pi * x / length)[None, None, :].astype(np.float32)
        power = [float(np.mean(band[..., 60:180] ** 2)) for band in lt.detail_bands(wave, (1.0, 1.0, 1.0))]
        assert int(np.argmax(power)) == expected


def test_spacing_counts_in_millimetres(image):
    """The same object at half the spacing gives the same bands."""
    fine = np.repeat(np.repeat(np.repeat(image, 2, 0), 2, 1), 2, 2)
    coarse = lt.detail_bands(image, (2.0, 2.0, 2.0))[-1]
    at_fine = lt.detail_bands(fine, (1.0, 1.0, 1.0))[-1].reshape(20, 2, 24, 2, 16, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(at_fine, coarse, atol=0.01)


def test_identity_coefficients_change_nothing(image):
    bands = lt.detail_bands(image, (1.0, 1.0, 1.0))
    same = lt.apply_coefficients(bands, list(lt.identity_coefficients(image.shape)))
    np.testing.assert_allclose(same, image, atol=1e-5)


def test_identity_holds_beyond_the_knots():
    values = np.array([-0.5, 0.0, 0.7, 1.5, 2.5], np.float32).reshape(1, 1, 5)
    bands = [np.zeros_like(values)] * (lt.BANDS - 1) + [values]
    same = lt.apply_coefficients(bands, list(lt.identity_coefficients(values.shape)))
    np.testing.assert_allclose(same, values, atol=1e-6)


@given(st.floats(0.1, 3.0), st.integers(0, lt.BANDS - 1))
def test_a_weight_scales_its_band_alone(weight, number):
    values = np.random.default_rng(1).random((6, 6, 6)).astype(np.float32)
    bands = lt.detail_bands(values, (2.0, 2.0, 2.0))
    coefficients = lt.identity_coefficients(values.shape)
    coefficients[number] = weight
    changed = lt.apply_coefficients(bands, list(coefficients))
    np.testing.assert_allclose(changed, values + (weight - 1.0) * bands[number], atol=1e-5)


def test_a_folded_curve_is_followed():
    """Knot values are met exactly, straight lines lie between."""
    coefficients = lt.identity_coefficients((1, 1, 3))
    curve = np.random.default_rng(0).random(lt.KNOTS)
    coefficients[lt.BANDS :] = curve[:, None, None, None]
    step = lt.LAST_KNOT / (lt.KNOTS - 1)
    values = np.array([2 * step, 2.5 * step, 3 * step], np.float32).reshape(1, 1, 3)
    bands = [np.zeros_like(values)] * (lt.BANDS - 1) + [values]
    found = lt.apply_coefficients(bands, list(coefficients)).ravel()
    np.testing.assert_allclose(found, [curve[2], (curve[2] + curve[3]) / 2, curve[3]], atol=1e-6)


def test_the_features_are_a_histogram(image):
    features = lt.local_features(image)
    assert features.shape == (lt.FEATURES, 10, 12, 8)
    np.testing.assert_allclose(features[: len(lt.BIN_CENTRES)].sum(axis=0), 1.0, atol=1e-5)
    cells = image.reshape(10, 2, 12, 2, 8, 2).mean(axis=(1, 3, 5))
    np.testing.assert_allclose(features[-2], cells, atol=1e-5)
    with pytest.raises(ParameterError, match="even"):
        lt.local_features(image[:19])
