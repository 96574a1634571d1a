"""The lesion check: one rule before and after, and figures that move when lesions do."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.evaluation.lesion_overlap import dice, lesion_overlap, overlap_summary
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

SHAPE = (30, 40, 40)


def ball(centre, radius):
    return radius**2 >= ((np.indices(SHAPE).T - np.array(centre)) ** 2).sum(-1).T


@pytest.fixture
def lesions():
    marked = ball((15, 12, 12), 4) | ball((15, 28, 28), 5) | ball((5, 5, 35), 1)  # the last one has 7 mm³
    return Volume(marked.astype(np.uint8), Grid.from_parts(SHAPE), "marking")


@pytest.fixture
def image(lesions, rng):
    return lesions.with_array((100 + 60.0 * lesions.array + rng.normal(0, 3, SHAPE)).astype(np.float32))


def test_unchanged_images_keep_every_lesion(image, lesions):
    rows = lesion_overlap(image, image, lesions)
    assert len(rows) == 2
    for row in rows:
        assert row["dice_between"] == 1.0
        assert row["dice_before"] == row["dice_after"] > 0.99
        assert row["volume_before_mm3"] == pytest.approx(row["volume_mm3"], rel=0.02)


def test_contrast_and_offset_do_not_matter_dark_lesions_count_too(image, lesions):
    other = image.with_array(500 - 0.3 * image.array)
    for row in lesion_overlap(image, other, lesions):
        assert row["dice_between"] > 0.99


def test_other_grids_are_interpolated(image, lesions):
    fine = resample(image, image.grid.isotropic(0.8))
    for row in lesion_overlap(image, fine, lesions):
        assert row["dice_between"] > 0.9


def test_a_lesion_that_moves_or_shrinks_is_noticed(image, lesions):
    shrunk = np.where(ball((15, 28, 28), 3) | ball((15, 12, 12), 4), 160.0, 100.0)
    first, second = sorted(lesion_overlap(image, image.with_array(shrunk), lesions), key=lambda row: row["volume_mm3"])
    assert first["dice_between"] > 0.95
    assert second["dice_between"] < 0.5
    assert second["volume_after_mm3"] < 0.3 * second["volume_before_mm3"]


def test_a_lesion_that_is_erased_has_little_overlap(image, lesions, rng):
    erased = image.with_array((100 + rng.normal(0, 3, SHAPE)).astype(np.float32))
    summary = overlap_summary(lesion_overlap(image, erased, lesions))
    assert summary["lesions"] == 2
    assert summary["dice_before"] > 0.99
    assert summary["dice_after"] < 0.7
    assert summary["dice_between_least"] <= summary["dice_between"] < 0.7


def test_volumes_of_enough_lesions_are_compared(image, lesions):
    rows = lesion_overlap(image, image, lesions) * 3
    summary = overlap_summary(rows)
    assert summary["volume_bias_mm3"] == 0
    assert summary["volume_r"] == pytest.approx(1.0)


def test_no_lesions_no_summary_and_an_empty_mask_is_refused(image, lesions):
    assert overlap_summary([]) is None
    with pytest.raises(InputError, match="'marking' is empty"):
        lesion_overlap(image, image, lesions.with_array(np.zeros(SHAPE, np.uint8)))


def test_dice_of_nothing_is_perfect():
    assert dice(np.zeros(3, bool), np.zeros(3, bool)) == 1.0
    assert dice(np.array([1, 1, 0], bool), np.array([0, 1, 1], bool)) == pytest.approx(0.5)
