from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from MRHarmonizationLib.core.texture import glcm_texture
from MRHarmonizationLib.metrics.base import METRICS

NAMES = {
    "glcm_contrast": "contrast",
    "glcm_homogeneity": "homogeneity",
    "glcm_correlation": "correlation",
    "glcm_entropy": "joint_entropy",
}


@pytest.fixture
def scene(rng):
    image = gaussian_filter(rng.normal(100, 30, (16, 18, 20)), 1.0)
    return image, gaussian_filter(rng.normal(size=image.shape), 2.0) > 0


@pytest.mark.parametrize(("metric", "feature"), NAMES.items())
def test_metrics_are_the_features(scene, metric, feature):
    image, mask = scene
    measured = METRICS.get(metric)(image, mask=mask, spacing_mm=(1.0, 1.0, 3.0))
    expected = glcm_texture(image, mask)
    assert measured.value == expected.features[feature]
    assert measured.better == "none"
    assert measured.detail["merged"] == expected.merged[feature]
    assert (measured.detail["directions"], measured.detail["grey_levels"]) == (13, 32)
    assert (measured.detail["shortest_mm"], measured.detail["longest_mm"]) == (1, round(math.sqrt(11), 3))


def test_blur_shows(scene):
    image, mask = scene
    blurred = gaussian_filter(image, 1.0)
    values = {name: [METRICS.get(name)(a, mask=mask).value for a in (image, blurred)] for name in NAMES}
    assert values["glcm_contrast"][0] > values["glcm_contrast"][1]
    assert values["glcm_homogeneity"][0] < values["glcm_homogeneity"][1]
    assert values["glcm_correlation"][0] < values["glcm_correlation"][1]
    assert values["glcm_entropy"][0] > values["glcm_entropy"][1]


@pytest.mark.parametrize("name", NAMES)
def test_constant_image_is_measured_and_explained(name):
    measured = METRICS.get(name)(np.full((4, 5, 6), 2.0))
    assert measured.value == (1 if name in ("glcm_homogeneity", "glcm_correlation") else 0)
    assert "constant" in measured.detail["notes"][0]


@pytest.mark.parametrize("name", NAMES)
def test_masks_without_neighbours_have_no_value_and_say_why(name, rng):
    mask = np.zeros((5, 5, 5), bool)
    mask[0, 0, 0] = mask[4, 4, 4] = True
    measured = METRICS.get(name)(rng.normal(size=mask.shape), mask=mask)
    assert math.isnan(measured.value)
    assert "no two of the 2 voxels" in measured.detail["why"]
