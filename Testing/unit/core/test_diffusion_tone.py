"""The contrast of a diffusion scan in numbers, and the gain that changes it."""

from __future__ import annotations

import numpy as np
import pytest
from support.diffusion_scan import brain_scan, labels

from MRHarmonizationLib.core.diffusion_tone import FEATURES, TERMS, ScanContrast, measure_contrast
from MRHarmonizationLib.core.errors import InputError

TISSUE = labels()
WHITE, GREY, BRAIN = TISSUE == 1, TISSUE == 2, TISSUE > 0


def guides(gain: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    scan = brain_scan(12, gain=gain)
    return scan.mean_b0().array.astype(np.float32), scan.array[..., ~scan.is_b0].mean(axis=-1)


def measured(gain: float = 1.0, shading: np.ndarray | float = 1.0) -> ScanContrast:
    b0, weighted = guides(gain)
    return measure_contrast(b0 * shading, weighted * shading, WHITE, GREY, BRAIN, 3.0, 2.0)


def feature(contrast: ScanContrast, name: str) -> float:
    return float(contrast.features[FEATURES.index(name)])


def test_features_are_those_of_the_tissues():
    contrast = measured()
    assert feature(contrast, "grey_brightness") == pytest.approx(np.log(420 / 300), abs=0.03)
    assert feature(contrast, "fluid_brightness") == pytest.approx(np.log(3.0), abs=0.06)
    assert feature(contrast, "grey_attenuation") == pytest.approx(np.log(420 / 300) - 0.85, abs=0.03)
    assert (feature(contrast, "slice_spacing"), feature(contrast, "pixel_spacing")) == (3.0, 2.0)


def test_units_do_not_matter():
    one, other = measured(), measured(gain=250.0)
    np.testing.assert_allclose(one.features, other.features, atol=1e-4)
    coefficients = np.linspace(-0.2, 0.2, TERMS)
    np.testing.assert_allclose(one.gain(coefficients), 250.0 * other.gain(coefficients), rtol=1e-3)


def test_a_gain_without_tone_takes_white_matter_to_one():
    contrast = measured(gain=7.0)
    b0, _ = guides(7.0)
    assert float(np.median((b0 * contrast.gain(np.zeros(TERMS)))[WHITE])) == pytest.approx(1.0, abs=1e-5)


def test_the_tone_moves_tissues_by_brightness_and_diffusivity():
    contrast = measured()
    plain, bright, diffuse = (contrast.gain(np.eye(TERMS)[n] * 0.3) for n in (0, 1, 2))
    flat = contrast.gain(np.zeros(TERMS))
    assert np.median(plain[BRAIN] / flat[BRAIN]) == pytest.approx(np.exp(0.3), rel=1e-3)
    assert np.median((bright / flat)[GREY]) == pytest.approx((420 / 300) ** 0.3, rel=0.02)
    assert np.median((diffuse / flat)[TISSUE == 3]) > 1.3 > np.median((diffuse / flat)[WHITE])


def test_smooth_shading_is_taken_off_in_part():
    ramp = np.exp(np.linspace(-0.2, 0.2, TISSUE.shape[1]))[None, :, None]
    found = measured(shading=ramp).shading - measured().shading
    slope = np.polyfit(np.log(np.broadcast_to(ramp, found.shape)[WHITE]), found[WHITE], 1)[0]
    assert 0.5 < slope < 1.1


def test_axes_may_run_either_way():
    b0, weighted = guides()
    turned = [np.ascontiguousarray(x[::-1, :, ::-1]) for x in (b0, weighted, WHITE, GREY, BRAIN)]
    other = measure_contrast(*turned, 3.0, 2.0)
    np.testing.assert_allclose(other.features, measured().features, atol=1e-4)
    np.testing.assert_allclose(other.shading[::-1, :, ::-1], measured().shading, atol=1e-4)


@pytest.mark.parametrize(
    ("white", "grey", "name"), [(WHITE & False, GREY, "white matter"), (WHITE, GREY & False, "grey")]
)
def test_missing_tissue_is_named(white: np.ndarray, grey: np.ndarray, name: str):
    b0, weighted = guides()
    with pytest.raises(InputError, match=f"{name}.* has 0 voxels"):
        measure_contrast(b0, weighted, white, grey, BRAIN, 3.0, 2.0)


def test_weighted_images_that_are_not_darker_are_refused():
    b0, _ = guides()
    with pytest.raises(InputError, match="check the b-values"):
        measure_contrast(b0, b0, WHITE, GREY, BRAIN, 3.0, 2.0)
