"""The noise floor: moments against simulation, corrections that bring the signal back, estimates of the noise."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.noise_estimation import (
    estimate_sigma,
    estimate_sigma_from_air,
    estimate_sigma_from_redundancy,
    estimate_sigma_from_residuals,
)
from MRHarmonizationLib.core.noise_floor import (
    correct_koay,
    correct_second_moment,
    mean_magnitude,
    noise_floor,
    signal_and_sigma,
    variance_factor,
)
from MRHarmonizationLib.core.tensor_measures import attenuation


def magnitudes(signal: float, sigma: float, count: int = 200_000, coils: int = 1, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    squares = (signal + sigma * rng.standard_normal(count)) ** 2
    for _ in range(2 * coils - 1):
        squares += (sigma * rng.standard_normal(count)) ** 2
    return np.sqrt(squares)


@pytest.mark.parametrize("coils", [1, 4, 16])
@pytest.mark.parametrize("snr", [0.0, 0.5, 1.0, 3.0, 10.0, 40.0])
def test_moments_are_those_of_simulated_noise(coils, snr):
    seen = magnitudes(snr, 1.0, coils=coils)
    assert seen.mean() == pytest.approx(float(mean_magnitude(snr, coils)), rel=2e-3)
    assert seen.var() == pytest.approx(float(variance_factor(snr, coils)), rel=1e-2)


def test_known_limits():
    assert float(mean_magnitude(0.0)) == pytest.approx(np.sqrt(np.pi / 2))
    assert float(variance_factor(0.0)) == pytest.approx(2 - np.pi / 2)
    assert float(variance_factor(60.0)) == pytest.approx(1.0, abs=1e-3)
    assert float(noise_floor(2.0)) == pytest.approx(2 * np.sqrt(np.pi / 2))
    joint = np.array([23.999, 24.001])
    assert np.diff(mean_magnitude(joint, 4))[0] == pytest.approx(0.002, rel=0.05)


@given(snr=st.floats(0.0, 200.0), sigma=st.floats(1e-3, 1e6), coils=st.sampled_from([1, 2, 8]))
def test_corrections_invert_the_moments(snr, sigma, coils):
    mean = float(mean_magnitude(snr, coils)) * sigma
    root_mean_square = sigma * np.sqrt(snr**2 + 2 * coils)
    tolerance = sigma * (0.05 if snr < 0.2 else 2e-3 + 1e-6 * snr)
    assert float(correct_koay(np.array(mean), sigma, coils)) == pytest.approx(snr * sigma, abs=tolerance)
    assert float(correct_second_moment(np.array(root_mean_square), sigma, coils)) == pytest.approx(
        snr * sigma, abs=sigma * (0.05 if snr < 0.2 else 5e-3)
    )


@given(low=st.floats(0.0, 30.0), step=st.floats(1e-3, 5.0))
def test_koay_grows_with_the_magnitude_and_is_never_negative(low, step):
    one, two = correct_koay(np.array([low, low + step]), 1.0)
    assert 0 <= one <= two <= low + step


def test_csf_at_snr_10_and_b_900():
    """The published bias: −27 % of the CSF's diffusivity, −2 % of white matter's; after the correction below 1 %."""

    def adc_error(diffusivity: float, correct) -> float:
        b = 900.0
        first = correct(magnitudes(1.0, 0.1, seed=1))
        second = correct(magnitudes(np.exp(-b * diffusivity), 0.1, seed=2))
        return float(np.log(first / second) / b / diffusivity - 1)

    assert adc_error(3.0e-3, np.mean) == pytest.approx(-0.27, abs=0.01)
    assert adc_error(0.7e-3, np.mean) == pytest.approx(-0.02, abs=0.01)
    assert abs(adc_error(3.0e-3, lambda m: correct_koay(m.mean(), 0.1))) < 0.01
    assert abs(adc_error(3.0e-3, lambda m: correct_second_moment(np.sqrt(np.mean(m**2)), 0.1))) < 0.01
    assert abs(adc_error(0.7e-3, lambda m: correct_koay(m.mean(), 0.1))) < 0.005


def test_single_magnitudes_stay_biased_so_average_first():
    """What the module says of correcting voxel by voxel: below an SNR of 1 a bias is left."""
    noisy = magnitudes(0.3, 1.0)
    assert correct_second_moment(noisy, 1.0).mean() > 1.5 * 0.3
    assert float(correct_second_moment(np.sqrt(np.mean(noisy**2)), 1.0)) == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(("snr", "coils"), [(1.0, 1), (2.5, 1), (8.0, 1), (50.0, 1), (2.5, 4), (50.0, 4)])
def test_signal_and_noise_from_mean_and_deviation(snr, coils):
    seen = magnitudes(snr * 7.0, 7.0, coils=coils)
    signal, sigma = signal_and_sigma(seen.mean(), seen.std(), coils)
    assert float(signal) == pytest.approx(snr * 7.0, rel=0.03)
    assert float(sigma) == pytest.approx(7.0, rel=0.01)


def test_maps_of_noise_and_shapes():
    image = np.full((3, 4, 5), 10, np.int16)
    sigma = np.linspace(1, 5, 4)[:, None]
    assert correct_koay(image, sigma).shape == (3, 4, 5)
    assert np.all(np.diff(correct_koay(image, sigma)[0, :, 0]) < 0)
    with pytest.raises(ParameterError, match="noise map"):
        correct_koay(image, np.ones((9, 9)))


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf])
def test_impossible_noise_is_refused(sigma):
    with pytest.raises(ParameterError, match="noise deviation"):
        correct_koay(np.ones(3), sigma)
    with pytest.raises(ParameterError, match="noise deviation"):
        correct_second_moment(np.ones(3), sigma)


def test_other_nonsense_is_refused():
    with pytest.raises(ParameterError, match="coils"):
        correct_koay(np.ones(3), 1.0, coils=0)
    with pytest.raises(ParameterError, match="negative"):
        mean_magnitude(-1.0)
    with pytest.raises(InputError, match="complex"):
        correct_koay(np.ones(3, complex), 1.0)
    with pytest.raises(ParameterError, match="deviation"):
        signal_and_sigma(np.ones(3), np.zeros(3))


# --- estimating the noise -------------------------------------------------------------------------------------------


def noisy_series(sigma: float = 8.0, seed: int = 0):
    """A ball of anisotropic tissue in air, 16 directions and 2 unweighted volumes."""
    rng = np.random.default_rng(seed)
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n) for n in (14, 32, 32)], indexing="ij")
    ball = (j**2 + i**2 < 0.35) & (np.abs(k) < 0.9)
    g = rng.normal(size=(18, 3))
    g /= np.linalg.norm(g, axis=1, keepdims=True)
    b = np.full(18, 1000.0)
    b[:2], g[:2] = 0.0, 0.0
    tensors = np.zeros((*ball.shape, 6))
    tensors[..., 0], tensors[..., 3], tensors[..., 5] = 1.2e-3, 0.6e-3, 0.5e-3 + 0.2e-3 * i
    clean = np.stack([200 * ball * (1 + 0.3 * j) * attenuation(tensors, *pair) for pair in zip(b, g, strict=True)], -1)
    noise = sigma * rng.standard_normal((2, *clean.shape))
    return np.hypot(clean + noise[0], noise[1]).astype(np.float32), b, g, ball


def test_each_way_finds_the_noise_that_was_put_in():
    series, b, g, ball = noisy_series()
    assert estimate_sigma_from_air(series[..., 2:5]).sigma == pytest.approx(8.0, rel=0.03)
    assert estimate_sigma_from_residuals(series, b, g, ball).sigma == pytest.approx(8.0, rel=0.06)
    assert estimate_sigma_from_redundancy(series, ball).sigma == pytest.approx(8.0, rel=0.06)
    assert estimate_sigma_from_redundancy(series, ball, window=3, step=2).sigma == pytest.approx(8.0, rel=0.12)
    chosen = estimate_sigma(series, b, g)
    assert chosen.method == "air"
    assert chosen.sigma == pytest.approx(8.0, rel=0.03)


def test_the_head_cut_out_of_the_air_falls_back_to_redundancy():
    series, b, g, ball = noisy_series()
    cut = series * ball[..., None]
    with pytest.raises(InputError, match=r"0 voxels of air.*residuals"):
        estimate_sigma_from_air(cut[..., 3])
    assert estimate_sigma(cut, b, g, ball).method == "redundancy"


def test_filtered_air_is_not_taken_for_noise():
    series, *_, ball = noisy_series()
    squashed = np.sqrt(series[..., 3])
    with pytest.raises(InputError, match="not distributed like the noise"):
        estimate_sigma_from_air(squashed, ~ball)


def test_several_coils_are_told_apart_by_the_shape_of_the_air():
    air = magnitudes(0.0, 3.0, 40_000, coils=4).reshape(10, 40, 100)
    everywhere = np.ones(air.shape, bool)
    assert estimate_sigma_from_air(air, everywhere, coils=4).sigma == pytest.approx(3.0, rel=0.02)
    with pytest.raises(InputError, match="1 coil"):
        estimate_sigma_from_air(air, everywhere)


def test_too_few_volumes_are_refused():
    series, b, g, ball = noisy_series()
    with pytest.raises(InputError, match="9 volumes"):
        estimate_sigma_from_residuals(series[..., :9], b[:9], g[:9], ball)
    with pytest.raises(InputError, match="at least 10 volumes"):
        estimate_sigma_from_redundancy(series[..., :9])
    with pytest.raises(InputError, match="four dimensions"):
        estimate_sigma(series[..., 0], b[:1], g[:1])
    with pytest.raises(InputError, match="constant or empty"):
        estimate_sigma_from_redundancy(np.zeros((8, 8, 8, 12)))


@pytest.mark.parametrize("options", [{"window": 4}, {"window": 1}, {"step": 0}, {"windows": 0}])
def test_odd_windows_only(options):
    with pytest.raises(ParameterError, match="window"):
        estimate_sigma_from_redundancy(np.ones((8, 8, 8, 12)), **options)
