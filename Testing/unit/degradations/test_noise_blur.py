"""Noise and blur at a stated level: as strong as it says, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.intensity import fit_intensity_scale
from MRHarmonizationLib.degradations.noise_blur import (
    NoiseBlur,
    NoiseBlurParameters,
    blur,
    pass_band,
    sample_noise_blur,
    unit_noise,
)


@pytest.mark.parametrize("taper", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("resolution", [1.5, 2.0, 3.0])
def test_half_of_the_signal_passes_at_the_stated_resolution(resolution, taper):
    frequency = np.arange(300) / 300
    passed = pass_band(300, resolution, "kspace", taper)
    below, above = frequency < 0.98 / resolution, frequency > 1.02 / resolution
    assert np.all(passed[below] >= 0.5)
    assert np.all(passed[above] <= 0.5)
    assert np.interp(1 / resolution, frequency, pass_band(300, resolution, "gaussian", 0)) == pytest.approx(
        0.5, abs=0.15
    )


def test_resolution_of_one_keeps_the_image(head_phantom):
    assert np.array_equal(blur(head_phantom.array, (1.0, 1.0, 1.0), "gaussian"), head_phantom.array)


def test_blur_keeps_the_mean_and_untouched_axes(head_phantom):
    result = blur(head_phantom.array, (1.0, 2.5, 2.5), "kspace", 0.3)
    np.testing.assert_allclose(result.mean(axis=(1, 2)), head_phantom.array.mean(axis=(1, 2)), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("resolution", [1.0, 2.0])
def test_noise_has_unit_variance(resolution):
    noise = unit_noise(np.random.default_rng(0), (24, 48, 48), (1.0, resolution, resolution), 0.4)
    assert noise.std() == pytest.approx(1.0, rel=0.05)


def test_level_is_a_share_of_the_range(head_phantom):
    result = NoiseBlur.apply(head_phantom, NoiseBlurParameters(noise_percent=5.0, rician=False, seed=3))
    deviation = float((result.array - head_phantom.array).std())
    assert deviation == pytest.approx(0.05 * fit_intensity_scale(head_phantom.array).scale, rel=0.03)


def test_rician_noise_raises_the_air(head_phantom):
    clean = head_phantom.with_array(np.where(head_phantom.array > 30, head_phantom.array, np.float32(0)))
    air = clean.array == 0
    result = NoiseBlur.apply(clean, NoiseBlurParameters(noise_percent=5.0, seed=3))
    sigma = 0.05 * fit_intensity_scale(clean.array).scale
    assert result.array[air].mean() == pytest.approx(sigma * np.sqrt(np.pi / 2), rel=0.05)


def test_thick_slices_keep_their_profile():
    rng = np.random.default_rng(5)
    drawn = [sample_noise_blur(rng, (1, 2)) for _ in range(20)]
    assert all(parameters.resolution_voxels[0] == 1.0 for parameters in drawn)
    assert any(parameters.resolution_voxels[1] > 1.5 for parameters in drawn)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"resolution_voxels": (0.5, 1.0, 1.0)}, "0.5"),
        ({"profile": "box"}, "box"),
        ({"taper": 2.0}, "taper is 2.0"),
        ({"noise_percent": -1.0}, "-1.0 %"),
    ],
)
def test_wrong_parameters_are_refused(change, said):
    with pytest.raises(ParameterError, match=said):
        NoiseBlurParameters(**change)
