from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.metrics.lesion import dice, lesion_contrast_retention, lesions_kept


@pytest.fixture
def scene():
    """White matter at 100 with a bright lesion of 64 mm³, a dark one of 125 mm³ and a speck of 8 mm³."""
    rng = np.random.default_rng(0)
    background = 100 + rng.normal(0, 1, (30, 34, 32))
    mask = np.zeros(background.shape, np.uint8)
    mask[5:9, 5:9, 5:9] = 1
    mask[15:20, 15:20, 15:20] = 1
    mask[25:27, 25:27, 25:27] = 1
    change = np.zeros(background.shape)
    change[5:9, 5:9, 5:9], change[15:20, 15:20, 15:20], change[25:27, 25:27, 25:27] = 40, -30, 80
    return background, change, mask


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0, 1.3])
def test_retention_is_the_share_of_the_contrast(scene, share):
    background, change, mask = scene
    bright_only = mask.copy()
    bright_only[12:] = 0
    measured = lesion_contrast_retention(background + share * change, background + change, bright_only)
    assert measured.value == pytest.approx(share, abs=0.02)
    assert measured.detail["lesions"] == 1


def test_other_tissue_in_the_ring_does_not_count(scene):
    background, change, mask = scene
    mask = mask.copy()
    mask[12:] = 0
    with_fluid = background + change
    with_fluid[10:12, 5:9, 5:9] = 400  # a ventricle beside the lesion, in a quarter of the ring at most
    measured = lesion_contrast_retention(with_fluid, with_fluid, mask)
    assert measured.detail["contrast"] == pytest.approx(40, abs=1.0)


def test_lost_and_inverted_lesions_are_counted(scene):
    background, change, mask = scene
    before = background + change
    assert lesions_kept(before, before, mask).detail["visible"] == 2, "the speck is below 30 mm³"
    erased = before.copy()
    erased[5:9, 5:9, 5:9] = background[5:9, 5:9, 5:9]
    measured = lesions_kept(erased, before, mask)
    assert (measured.value, measured.detail["lost"]) == (0.5, 1)
    inverted = lesions_kept(background - change, before, mask)
    assert inverted.value == 0.0
    half = lesions_kept(background + 0.55 * change, before, mask)
    assert half.value == 1.0


def test_volume_threshold_is_physical(scene):
    background, change, mask = scene
    before = background + change
    assert lesions_kept(before, before, mask, spacing_mm=(2, 2, 2)).detail["lesions"] == 3
    assert lesions_kept(before, before, mask, spacing_mm=(0.5, 0.5, 0.5)).detail["lesions"] == 0


def test_dice():
    a, b = np.zeros((4, 4, 4), bool), np.zeros((4, 4, 4), bool)
    a[0], b[0], b[1] = True, True, True
    assert dice(a, b).value == pytest.approx(2 * 16 / (16 + 32))
    assert np.isnan(dice(np.zeros_like(a), np.zeros_like(a)).value)
