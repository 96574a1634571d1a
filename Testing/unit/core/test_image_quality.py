"""Noise and resolution of one image, estimated from itself: both follow the truth."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.image_quality import (
    COARSEST_RESOLUTION,
    MAP_REACH,
    estimate_noise,
    estimate_resolution,
    local_noise,
)
from MRHarmonizationLib.degradations.noise_blur import NoiseBlurParameters, add_noise, blur, unit_noise


@pytest.fixture(scope="module")
def anatomy() -> np.ndarray:
    """An image whose planar power falls with the third power of frequency, as anatomy's does; range about 1."""
    rng = np.random.default_rng(1)
    spectrum = np.fft.rfftn(rng.standard_normal((12, 96, 96)), axes=(1, 2))
    radius = np.hypot(np.fft.fftfreq(96)[:, None], np.fft.rfftfreq(96)[None, :])
    image = np.fft.irfftn(spectrum * np.maximum(radius, 1 / 96) ** -1.5, s=(96, 96), axes=(1, 2))
    low, high = np.percentile(image, (0.5, 99.5))
    return ((image - low) / (high - low)).astype(np.float32)


@pytest.mark.parametrize("sigma", [0.03, 0.06, 0.1])
def test_white_noise_is_found(anatomy, sigma):
    smooth = blur(anatomy, (1.0, 4.0, 4.0), "gaussian")
    rng = np.random.default_rng(2)
    noisy = smooth + sigma * rng.standard_normal(smooth.shape).astype(np.float32)
    assert estimate_noise(noisy).sigma == pytest.approx(sigma, rel=0.1)


def test_noise_of_an_interpolated_scan_is_found(anatomy):
    """Zero filling to twice the matrix hides noise from neighbouring pixels."""
    smooth = blur(anatomy, (1.0, 4.0, 4.0), "gaussian")
    noise = unit_noise(np.random.default_rng(3), smooth.shape, (1.0, 2.0, 2.0))
    assert noise.std() == pytest.approx(1.0, rel=0.05)
    found = estimate_noise(smooth + np.float32(0.08) * noise)
    assert found.step == 2
    assert 0.05 < found.sigma < 0.12


def test_map_follows_uneven_noise(anatomy):
    smooth = blur(anatomy, (1.0, 4.0, 4.0), "gaussian")
    deviation = np.broadcast_to(np.linspace(0.03, 0.09, 96, dtype=np.float32), smooth.shape)
    noisy = add_noise(smooth, deviation, NoiseBlurParameters(rician=False, seed=4))
    local = local_noise(noisy, estimate_noise(noisy))
    assert local[:, :, 80].mean() > 1.6 * local[:, :, 16].mean()
    middle = 6
    slab = noisy[middle - MAP_REACH : middle + MAP_REACH + 1]
    np.testing.assert_array_equal(local_noise(slab, estimate_noise(noisy))[MAP_REACH], local[middle])


def test_image_without_noise_has_none():
    ramp = np.broadcast_to(np.arange(32, dtype=np.float32), (3, 32, 32))
    level = estimate_noise(ramp)
    assert level.sigma == 0.0
    assert not local_noise(ramp, level).any()


def test_resolution_rises_with_blur(anatomy):
    found = [estimate_resolution(blur(anatomy, (1.0, r, r), "gaussian"), 1e-4) for r in (1.0, 1.5, 2.0, 2.5, 3.0)]
    assert found[0] < 1.2
    assert np.all(np.diff(found) > 0.1)
    assert found[2] == pytest.approx(2.0, abs=0.4)
    assert found[-1] <= COARSEST_RESOLUTION


def test_small_planes_are_refused():
    with pytest.raises(InputError, match="12 x 40 voxels"):
        estimate_noise(np.zeros((3, 12, 40), np.float32))
