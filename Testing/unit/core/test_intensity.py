"""Intensity scales: undone exactly enough, robust to outliers, fitted to the foreground."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.intensity import IntensityScale, fit_intensity_scale


@given(
    offset=st.floats(-1e4, 1e4),
    scale=st.floats(1e-3, 1e6),
    values=st.lists(st.floats(-0.5, 2.0), min_size=1, max_size=20),
)
def test_restoring_gives_the_values_back(offset, scale, values):
    image = (np.array(values) * scale + offset).astype(np.float32)
    fitted = IntensityScale(offset, scale)
    back = fitted.restore(fitted.normalise(image))
    np.testing.assert_allclose(back, image, atol=1e-6 * (abs(offset) + 2 * scale))


def test_percentiles_map_to_zero_and_one():
    image = np.linspace(100, 300, 1001).reshape(7, 11, 13)
    normalised = fit_intensity_scale(image).normalise(image)
    assert np.percentile(normalised, 0.5) == pytest.approx(0, abs=1e-5)
    assert np.percentile(normalised, 99.5) == pytest.approx(1, abs=1e-5)
    assert normalised.dtype == np.float32


def test_upper_percentile_is_of_the_foreground(rng):
    image = rng.normal(10, 1, (20, 20, 20))
    mask = np.zeros(image.shape, bool)
    mask[5:8, 5:8, 5:8] = True
    image[mask] = 500
    assert fit_intensity_scale(image).scale < 20
    assert fit_intensity_scale(image, mask).scale == pytest.approx(490, abs=5)


def test_empty_mask_means_the_whole_image(rng):
    image = rng.normal(10, 1, (8, 8, 8))
    assert fit_intensity_scale(image, np.zeros(image.shape, bool)) == fit_intensity_scale(image)


def test_a_few_extreme_voxels_hardly_matter(rng):
    image = rng.uniform(0, 100, (20, 20, 20))
    spoiled = image.copy()
    spoiled.flat[:10] = 1e6
    assert fit_intensity_scale(spoiled).scale == pytest.approx(fit_intensity_scale(image).scale, rel=0.02)


def test_scale_follows_a_change_of_units(rng):
    image = rng.uniform(0, 100, (10, 10, 10)).astype(np.float32)
    np.testing.assert_allclose(
        fit_intensity_scale(image * 50 + 7).normalise(image * 50 + 7),
        fit_intensity_scale(image).normalise(image),
        atol=1e-4,
    )


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "float64"])
def test_integers_do_not_wrap(dtype):
    image = np.array([[[0, 50, 250]]], dtype)
    scale = IntensityScale(offset=100.0, scale=50.0)
    np.testing.assert_allclose(scale.normalise(image).ravel(), [-2, -1, 3])


def test_inputs_are_left_alone(rng):
    image = rng.uniform(0, 100, (4, 5, 6)).astype(np.float32)
    image.setflags(write=False)
    scale = fit_intensity_scale(image)
    normalised = scale.normalise(image)
    normalised.setflags(write=False)
    scale.restore(normalised)


@pytest.mark.parametrize("image", [np.full((3, 3, 3), 5.0), np.zeros((4, 4, 4))])
def test_constant_image_is_refused(image):
    with pytest.raises(InputError, match=f"both {image[0, 0, 0]:g}"):
        fit_intensity_scale(image)


def test_dictionary_holds_both_numbers():
    assert IntensityScale(1.5, 2.5).to_dict() == {"offset": 1.5, "scale": 2.5}
