from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, zoom

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.spectrum import directional_power_spectra, radial_power_spectrum
from MRHarmonizationLib.core.spectrum_measures import (
    effective_resolution_mm,
    half_power_frequency,
    log_slope,
    noise_floor,
    noise_floor_frequency,
    slope_band,
    spectrum_ratio,
)

ONE_MM = (1.0, 1.0, 1.0)


def texture(exponent: float, cut_off: float | None = None, size: int = 80) -> np.ndarray:
    """Return a random image, 1 mm voxels, whose density falls as f^-exponent and ends at a cut-off."""
    transformed = np.fft.rfftn(np.random.default_rng(3).normal(size=(size,) * 3))
    full, half = np.fft.fftfreq(size), np.fft.rfftfreq(size)
    radius = np.sqrt(full[:, None, None] ** 2 + full[:, None] ** 2 + half**2)
    radius[0, 0, 0] = 1.0
    transformed *= radius ** (-exponent / 2)
    if cut_off:
        transformed *= radius < cut_off
    image = np.fft.irfftn(transformed, s=(size,) * 3, axes=(0, 1, 2))
    return 100 + 20 * image / image.std()


def noise(deviation: float, shape: tuple[int, ...] = (80, 80, 80)) -> np.ndarray:
    return np.random.default_rng(4).normal(0, deviation, shape)


@pytest.mark.parametrize("exponent", [0.0, 2.0, 3.0])
def test_slope_of_a_power_law(exponent):
    assert log_slope(radial_power_spectrum(texture(exponent), ONE_MM)) == pytest.approx(-exponent, abs=0.15)


def test_slope_is_physical_and_its_band_can_be_chosen():
    image = texture(3.0)
    fine = log_slope(radial_power_spectrum(image, (0.5, 0.5, 0.5)), (0.1, 0.5))
    assert fine == pytest.approx(log_slope(radial_power_spectrum(image, ONE_MM), (0.05, 0.25)), abs=1e-6)
    with pytest.raises(ParameterError, match="0 bins .* between 2 and 3"):
        log_slope(radial_power_spectrum(image, ONE_MM), (2.0, 3.0))


def test_small_and_coarse_images_have_a_band_of_their_own():
    assert slope_band(radial_power_spectrum(texture(2.0), ONE_MM)) == (0.05, 0.25)
    coarse = radial_power_spectrum(texture(2.0), (8.0, 8.0, 8.0))
    assert slope_band(coarse) == (0.05, 0.0625), "fewer frequencies, but enough"
    coarse = radial_power_spectrum(texture(2.0), (12.0, 12.0, 12.0))
    low, high = slope_band(coarse)
    assert coarse.frequency_cycles_per_mm[0] < low < high < coarse.limit_cycles_per_mm < 0.05
    assert log_slope(coarse) == pytest.approx(-2, abs=0.2)


def test_half_power_frequency_of_a_wave_and_of_white_noise():
    wave = np.broadcast_to(np.sin(2 * np.pi * 0.2 * np.arange(80)), (80, 80, 80))
    assert half_power_frequency(radial_power_spectrum(wave, ONE_MM)) == pytest.approx(0.2, abs=0.007)
    # half of the cube of frequencies of side 1/mm lies within .4924 of its centre (found by counting lattice points)
    grid = np.sort(np.sqrt(sum(axis**2 for axis in np.ogrid[-50:51, -50:51, -50:51])).reshape(-1)) / 101
    expected = grid[grid.size // 2]
    assert half_power_frequency(radial_power_spectrum(noise(1.0), ONE_MM)) == pytest.approx(expected, rel=0.01)


def test_blur_lowers_the_half_power_frequency():
    image = texture(3.0)
    values = [half_power_frequency(radial_power_spectrum(gaussian_filter(image, s), ONE_MM)) for s in (0.01, 1, 2)]
    assert values[0] > values[1] > values[2]


def test_noise_floor_and_where_the_signal_meets_it():
    signal, deviation = texture(3.0, cut_off=0.3), 1.0
    spectrum = radial_power_spectrum(signal + noise(deviation), ONE_MM)
    assert noise_floor(spectrum) == pytest.approx(deviation**2, rel=0.1)
    assert noise_floor_frequency(spectrum) == pytest.approx(0.3, abs=0.03)
    assert noise_floor_frequency(spectrum, floor=deviation**2) == pytest.approx(0.3, abs=0.03)
    weak = radial_power_spectrum(texture(3.0) + noise(20.0), ONE_MM)
    clean = radial_power_spectrum(texture(3.0), ONE_MM)
    crossing = np.interp(-400.0, -clean.power, clean.frequency_cycles_per_mm)  # where the signal falls to the noise
    assert noise_floor_frequency(weak) == pytest.approx(crossing, abs=0.05)


def test_floor_frequency_at_its_limits():
    white = radial_power_spectrum(noise(1.0), ONE_MM)
    assert noise_floor_frequency(white, floor=10.0) == 0.0
    assert noise_floor_frequency(white, floor=0.01) == 0.5


@pytest.mark.parametrize("deviation", [0.0, 0.5, 2.0])
@pytest.mark.parametrize("exponent", [2.0, 3.0, 4.0])
@pytest.mark.parametrize("cut_off", [0.15, 0.25, 0.35])
def test_resolution_is_half_a_period_of_the_cut_off(exponent, cut_off, deviation):
    spectrum = radial_power_spectrum(texture(exponent, cut_off) + noise(deviation), ONE_MM)
    assert effective_resolution_mm(spectrum) == pytest.approx(0.5 / cut_off, rel=0.08)


@pytest.mark.parametrize("deviation", [0.0, 1.0])
@pytest.mark.parametrize("exponent", [2.0, 3.0, 4.0])
def test_an_image_resolved_to_its_voxels_has_their_size(exponent, deviation):
    spectrum = radial_power_spectrum(texture(exponent) + noise(deviation), (0.7, 0.7, 0.7))
    assert effective_resolution_mm(spectrum) == pytest.approx(0.7)


def test_resolution_scales_with_the_voxels():
    image = texture(3.0, 0.25)
    fine, coarse = (effective_resolution_mm(radial_power_spectrum(image, (s,) * 3)) for s in (0.5, 2.0))
    assert coarse == pytest.approx(4 * fine)


def test_interpolated_slices_show_along_their_axis():
    image = texture(3.0)
    thick = gaussian_filter(image, (1.7, 0, 0))[::4]
    interpolated = zoom(thick, (4, 1, 1), order=3, mode="nearest", grid_mode=True)
    spectra = directional_power_spectra(interpolated + noise(0.3), ONE_MM)
    along = {name: effective_resolution_mm(spectra[name]) for name in "kji"}
    assert along["k"] == pytest.approx(4.0, rel=0.25)
    assert along["j"] < 1.6
    assert along["i"] < 1.6


def test_more_blur_is_a_coarser_resolution():
    image = texture(3.0)
    blurred = [gaussian_filter(image, sigma) + noise(0.3) for sigma in (0.8, 1.5, 2.5)]
    values = [effective_resolution_mm(radial_power_spectrum(one, ONE_MM)) for one in blurred]
    assert 1.0 < values[0] < values[1] < values[2]


def test_tiny_images_have_at_least_their_voxel_size():
    tiny = radial_power_spectrum(np.random.default_rng(0).normal(size=(2, 3, 2)), (1.0, 1.0, 2.0))
    assert effective_resolution_mm(tiny) == 1.0


def test_ratio_is_the_filters_power_gain():
    image, sigma = texture(2.0), 0.8
    before, after = (radial_power_spectrum(a, ONE_MM) for a in (image, gaussian_filter(image, sigma, mode="wrap")))
    found = spectrum_ratio(after, before)
    assert found.frequency_cycles_per_mm[-1] <= 0.5
    gain = np.exp(-4 * np.pi**2 * sigma**2 * found.frequency_cycles_per_mm**2)
    low = found.frequency_cycles_per_mm < 0.3
    assert found.ratio[low] == pytest.approx(gain[low], rel=0.1)


def test_normalised_ratio_ignores_the_gain():
    image = texture(2.0)
    before, after = (radial_power_spectrum(a, ONE_MM) for a in (image, 30 + 5 * image))
    assert spectrum_ratio(after, before).ratio == pytest.approx(25, rel=1e-4)
    assert spectrum_ratio(after, before, normalised=True).ratio == pytest.approx(1, rel=1e-4)


def test_ratio_of_different_grids_is_taken_where_both_know():
    image = texture(2.0, size=64)
    fine = radial_power_spectrum(image, ONE_MM)
    coarse = radial_power_spectrum(image[:48, :48, :48], (2.0, 2.0, 2.0))
    found = spectrum_ratio(fine, coarse)
    assert 0.2 < found.frequency_cycles_per_mm[-1] <= 0.25
    assert np.isfinite(found.ratio).all()


def test_ratios_of_different_kinds_are_refused():
    spectra = directional_power_spectra(texture(2.0), ONE_MM)
    with pytest.raises(ParameterError, match="along k .* along j"):
        spectrum_ratio(spectra["k"], spectra["j"])
    with pytest.raises(ParameterError, match="share no frequency"):
        spectrum_ratio(spectra["all"], radial_power_spectrum(texture(2.0), (900.0, 900.0, 900.0)))
