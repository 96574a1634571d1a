"""Noise, bias field, tone curves, artefacts, lesions, deformation and label images."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.artefacts import ArtefactParameters, apply_artefacts
from MRHarmonizationLib.degradations.bias_field import BiasFieldParameters, bias_field, sample_bias_field
from MRHarmonizationLib.degradations.contrast import ToneCurveParameters, apply_tone_curve, sample_tone_curve
from MRHarmonizationLib.degradations.deformation import DeformationParameters, block_coordinates, rotation_matrix
from MRHarmonizationLib.degradations.label_images import render_label_image, sample_label_image
from MRHarmonizationLib.degradations.lesions import LesionParameters, apply_lesions, sample_lesions
from MRHarmonizationLib.degradations.noise import coloured_noise, remove_rician_bias, rician_magnitude


def lag_one(noise: np.ndarray, axis: int) -> float:
    a, b = (np.take(noise, range(*r), axis) for r in ((0, noise.shape[axis] - 1), (1, noise.shape[axis])))
    return float((a * b).mean() / noise.var())


def test_hann_taper_correlates_neighbours_by_two_thirds():
    noise = coloured_noise(np.random.default_rng(0), (16, 128, 128), (None, 1.0, 1.0))
    assert noise.std() == pytest.approx(1, abs=0.03)
    assert lag_one(noise, 1) == pytest.approx(2 / 3, abs=0.03)
    assert lag_one(noise, 0) == pytest.approx(0, abs=0.03)


def test_background_of_a_magnitude_image_is_rayleigh():
    rng = np.random.default_rng(1)
    zero = np.zeros((40, 40, 40), np.float32)
    image = rician_magnitude(zero, *(rng.standard_normal(zero.shape).astype(np.float32) for _ in range(2)))
    assert image.mean() == pytest.approx(np.sqrt(np.pi / 2), abs=0.02)


def test_second_moment_correction_recovers_the_signal():
    rng = np.random.default_rng(2)
    signal = np.full((60, 60, 60), 4.0, np.float32)
    noisy = rician_magnitude(signal, *(rng.standard_normal(signal.shape).astype(np.float32) for _ in range(2)))
    assert np.sqrt((remove_rician_bias(noisy, 1.0) ** 2).mean()) == pytest.approx(4.0, abs=0.03)
    assert noisy.mean() > 4.08


def test_bias_field_is_positive_smooth_and_neutral_without_coefficients():
    assert np.all(bias_field((5, 6, 7), BiasFieldParameters((0.0,) * 27)) == 1)
    field = bias_field((40, 40, 40), sample_bias_field(np.random.default_rng(3), 0.3))
    assert field.min() > 0
    assert np.abs(np.diff(np.log(field), axis=0)).max() < 0.1
    assert field.std() > 0.05


def test_bias_field_refuses_another_number_of_coefficients():
    with pytest.raises(ParameterError, match="26"):
        BiasFieldParameters((0.0,) * 26)


def test_straight_curve_changes_nothing():
    image = np.random.default_rng(4).random((20, 20, 20)).astype(np.float32) * 300
    assert np.allclose(apply_tone_curve(image, ToneCurveParameters()), image, atol=0.5)


def test_monotone_curves_keep_the_order_of_intensities():
    image = np.linspace(0, 900, 8000, dtype=np.float32).reshape(20, 20, 20)
    for seed in range(10):
        mapped = apply_tone_curve(image, sample_tone_curve(np.random.default_rng(seed), strength=1.0))
        assert np.all(np.diff(mapped.reshape(-1)) >= -1e-3)


def test_ghost_is_a_shifted_copy():
    signal = np.zeros((8, 8, 8), np.float32)
    signal[2, 2, 2] = 100
    result = apply_artefacts(signal, ArtefactParameters(ghost_amplitude=0.1, ghost_axis=1), 100.0)
    assert result[2, 6, 2] == pytest.approx(10)
    assert result[2, 2, 2] == 100


def test_stripes_have_the_stated_amplitude():
    parameters = ArtefactParameters(stripe_amplitude=0.05, stripe_frequency=(0.0, 0.1, 0.23))
    result = apply_artefacts(np.zeros((4, 64, 64), np.float32), parameters, 200.0)
    assert np.abs(result).max() == pytest.approx(10, rel=0.02)
    assert np.allclose(result[0], result[3])


def test_lesion_has_the_stated_contrast_and_size():
    image = np.full((40, 40, 40), 100, np.float32)
    parameters = LesionParameters(((20.0, 20.0, 20.0),), (6.0,), (0.5,), (0.2,), 1)
    result = apply_lesions(image, parameters, (1.0, 1.0, 1.0))
    assert result[20, 20, 20] == pytest.approx(150)
    assert result[0, 0, 0] == 100
    volume = np.count_nonzero(result > 125)
    assert volume == pytest.approx(4 / 3 * np.pi * 6**3, rel=0.35)


def test_lesions_lie_inside_the_mask_and_an_empty_mask_has_none():
    mask = np.zeros((20, 20, 20), bool)
    assert sample_lesions(np.random.default_rng(0), mask).centres == ()
    mask[4:6, 7:9, 3] = True
    for centre in sample_lesions(np.random.default_rng(0), mask).centres:
        assert mask[tuple(int(c) for c in centre)]


def test_no_deformation_reads_the_block_itself():
    coordinates = block_coordinates((5, 6, 7), (10.0, 11.0, 12.0), (1, 1, 1), DeformationParameters())
    assert coordinates[:, 2, 2, 3].tolist() == pytest.approx([10.0, 10.5, 12.0])
    assert np.allclose(np.diff(coordinates[2], axis=2), 1)


def test_source_spacing_scales_the_steps():
    coordinates = block_coordinates((4, 4, 4), (0, 0, 0), (0.5, 1.0, 2.0), DeformationParameters())
    assert np.allclose(np.diff(coordinates[0], axis=0), 2)
    assert np.allclose(np.diff(coordinates[2], axis=2), 0.5)


def test_rotation_is_orthogonal():
    turn = rotation_matrix((10, -20, 30))
    assert np.allclose(turn @ turn.T, np.eye(3))
    assert np.linalg.det(turn) == pytest.approx(1)


def test_elastic_displacement_has_the_stated_size():
    still = block_coordinates((32, 32, 32), (50, 50, 50), (1, 1, 1), DeformationParameters())
    moved = block_coordinates((32, 32, 32), (50, 50, 50), (1, 1, 1), DeformationParameters(elastic_mm=4.0, seed=3))
    assert 1.0 < np.abs(moved - still).max() <= 4.0 * 5 / 3


def test_label_image_shows_its_tissue_means_and_shares_left_and_right():
    labels = np.zeros((30, 30, 30), np.int16)
    labels[:, :15], labels[:, 15:] = 2, 41
    parameters = sample_label_image(np.random.default_rng(0), labels, "t1")
    assert parameters.means[0] == parameters.means[1]
    image = render_label_image(labels, parameters)
    assert image.mean() == pytest.approx(parameters.means[0], rel=0.05)
    assert image.std() > 1
    assert np.array_equal(image, render_label_image(labels, parameters))


@pytest.mark.parametrize(("sequence", "order"), [("t1", (2, 3, 4)), ("t2", (4, 3, 2))])
def test_named_contrasts_order_tissues_as_the_sequence_does(sequence, order):
    labels = np.array([2, 3, 4], np.int16)
    for seed in range(5):
        parameters = sample_label_image(np.random.default_rng(seed), labels, sequence)
        means = dict(zip(parameters.labels, parameters.means, strict=True))
        assert means[order[0]] > means[order[1]] > means[order[2]]
