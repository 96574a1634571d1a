"""The foreground mask: finds a head in noise, whatever its contrast and grid."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.masks import foreground_mask


def head(rng, shape=(24, 40, 36), noise=8.0, tissue=100.0):
    """An ellipsoid with a dark cavity in noisy air; returns image and true mask."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    truth = (x / 0.7) ** 2 + (y / 0.8) ** 2 + (z / 0.75) ** 2 < 1
    cavity = x**2 + y**2 + z**2 < 0.05
    clean = np.where(truth & ~cavity, tissue, 0.0)
    return np.abs(clean + rng.normal(0, noise, shape)), truth


def dice(a, b):
    return 2 * np.sum(a & b) / (a.sum() + b.sum())


@pytest.mark.parametrize("noise", [1.0, 8.0, 12.0])
def test_head_is_found_in_noise_and_its_cavity_filled(rng, noise):
    image, truth = head(rng, noise=noise)
    mask = foreground_mask(image)
    assert mask.dtype == bool
    assert dice(mask, truth) > 0.95
    assert mask[12, 20, 18]


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e4])
def test_units_do_not_matter(rng, factor):
    image, truth = head(rng)
    assert dice(foreground_mask((image * factor).astype(np.float32)), truth) > 0.95


def test_bright_fat_does_not_hide_the_brain(rng):
    image, truth = head(rng)
    image[:, :, 7:9][truth[:, :, 7:9]] = 900
    assert dice(foreground_mask(image), truth) > 0.9


def test_only_the_largest_piece_is_kept(rng):
    image, truth = head(rng, noise=1.0)
    image[1:3, 1:3, 1:3] = 100
    mask = foreground_mask(image)
    assert not mask[1:3, 1:3, 1:3].any()
    assert dice(mask, truth) > 0.95


def test_integer_and_negative_values_are_fine(rng):
    image, truth = head(rng)
    assert dice(foreground_mask((image - 500).astype(np.int16)), truth) > 0.95


def test_image_without_background_is_all_foreground():
    assert foreground_mask(np.full((5, 6, 7), 3.0)).all()


def test_mask_is_never_empty_and_input_is_left_alone(rng):
    image = rng.normal(0, 1, (6, 7, 8))
    image.setflags(write=False)
    assert foreground_mask(image).any()
