"""Noise of an accelerated acquisition: as strong, as correlated and as uneven as its parameters say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.coil_array import COARSE, CoilArray, coarse_gain, g_factor, sensitivities
from MRHarmonizationLib.degradations.receiver_noise import (
    ReceiverNoise,
    ReceiverNoiseParameters,
    SamplingWindow,
    complex_noise,
    relative_gain,
    sample_receiver_noise,
)
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

WINDOWS = [
    SamplingWindow(),
    SamplingWindow(measured=(0.5, 0.8)),
    SamplingWindow(taper=0.8),
    SamplingWindow(partial_fourier=0.625, partial_axis=1),
]


@pytest.mark.parametrize("window", WINDOWS)
def test_noise_has_unit_variance_and_the_stated_correlation(window):
    noise = np.stack([complex_noise(np.random.default_rng(n), (128, 128), window) for n in range(8)])
    for part in (noise.real, noise.imag):
        assert part.std() == pytest.approx(1.0, rel=0.03)
        for axis in (0, 1):
            near = np.take(part, np.arange(127), axis + 1)
            far = np.take(part, np.arange(1, 128), axis + 1)
            assert np.corrcoef(near.ravel(), far.ravel())[0, 1] == pytest.approx(window.correlation(axis), abs=0.02)


def test_white_noise_is_uncorrelated_and_half_of_k_space_correlates_neighbours():
    assert SamplingWindow().correlation(0) == pytest.approx(0.0, abs=1e-6)
    assert SamplingWindow(measured=(0.5, 1.0)).correlation(0) == pytest.approx(2 / np.pi, abs=0.02)


def test_air_becomes_rayleigh_and_tissue_keeps_its_mean():
    array = np.zeros((4, 96, 96), np.float32)
    array[:, 48:] = 100.0
    noisy = ReceiverNoise.apply(Volume(array, Grid.from_parts(array.shape)), ReceiverNoiseParameters(10.0, seed=3))
    sigma = 10.0
    assert noisy.array[:, :40].mean() == pytest.approx(np.sqrt(np.pi / 2) * sigma, rel=0.02)
    assert noisy.array[:, 56:].std() == pytest.approx(sigma, rel=0.03)
    assert noisy.array[:, 56:].mean() == pytest.approx(np.sqrt(100.0**2 + sigma**2), rel=0.01)


def test_every_slice_has_noise_of_its_own_along_any_axis():
    array = np.random.default_rng(0).uniform(50, 100, (5, 24, 20)).astype(np.float32)
    parameters = ReceiverNoiseParameters(5.0, seed=1)
    stored = np.moveaxis(array, 0, 2)
    first = ReceiverNoise.apply(Volume(array, Grid.from_parts(array.shape)), parameters).array
    turned = replace(parameters, slice_axis=2)
    second = ReceiverNoise.apply(Volume(np.ascontiguousarray(stored), Grid.from_parts(stored.shape)), turned).array
    np.testing.assert_array_equal(np.moveaxis(second, 2, 0), first)
    added = (first - array).reshape(5, -1)
    assert np.abs(np.corrcoef(added) - np.eye(5)).max() < 0.25


def test_g_factor_is_that_of_the_inverted_encoding():
    parameters = CoilArray(acceleration=3, axis=1)
    maps, gain = sensitivities(parameters), coarse_gain(parameters)
    row, column = 7, 20
    aliases = [row + n * COARSE // 3 for n in range(3)]
    encoding = maps[:, 2, aliases, column]
    inverse = np.linalg.inv(encoding.conj().T @ encoding)
    expected = np.sqrt(inverse[0, 0] * (encoding.conj().T @ encoding)[0, 0]).real
    assert gain[2, row, column] == pytest.approx(expected, rel=0.02)
    assert gain.min() >= 1.0
    assert gain.max() > 1.2


def test_nothing_unfolded_has_no_g_factor():
    assert np.all(g_factor((3, 20, 30), CoilArray(acceleration=1)) == 1.0)
    assert np.all(relative_gain((3, 20, 30), None) == 1.0)
    assert np.mean(relative_gain((4, 48, 48), CoilArray(acceleration=3)) ** 2) == pytest.approx(1.0, rel=1e-4)


def test_no_noise_returns_the_image():
    array = np.random.default_rng(0).uniform(0, 1, (3, 16, 16)).astype(np.float32)
    volume = Volume(array, Grid.from_parts(array.shape))
    assert np.array_equal(ReceiverNoise.apply(volume, ReceiverNoiseParameters(0.0)).array, array)


def test_draws_cover_what_they_should():
    drawn = [sample_receiver_noise(np.random.default_rng(n)) for n in range(200)]
    assert 0.4 < np.mean([d.coils is not None for d in drawn]) < 0.8
    correlations = [d.window.correlation(0) for d in drawn]
    assert min(correlations) < 0.01
    assert max(correlations) > 0.6


@pytest.mark.parametrize(
    "make",
    [
        lambda: SamplingWindow(measured=(0.0, 1.0)),
        lambda: SamplingWindow(partial_fourier=0.4),
        lambda: CoilArray(acceleration=5),
        lambda: CoilArray(coils=1),
        lambda: ReceiverNoiseParameters(-1.0),
        lambda: ReceiverNoiseParameters(slice_axis=3),
    ],
)
def test_wrong_values_are_refused(make):
    with pytest.raises(ParameterError):
        make()
