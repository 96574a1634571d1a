from __future__ import annotations

import math

import numpy as np
import pytest

from MRHarmonizationLib.metrics.labels import lesion_detection, volume_difference


@pytest.fixture
def truth() -> np.ndarray:
    """Three lesions of 64, 125 and 32 mm³ and a speck of 8 mm³."""
    labels = np.zeros((30, 32, 34), np.uint8)
    labels[2:6, 2:6, 2:6] = labels[12:17, 12:17, 12:17] = labels[22:24, 22:26, 22:26] = labels[27:29, 2:4, 2:4] = 1
    return labels


def test_volume_difference_is_a_share_of_the_reference(truth):
    smaller = truth.copy()
    smaller[2:6, 2:6, 2:6] = 0
    measured = volume_difference(smaller, truth, spacing_mm=(1.0, 1.0, 2.0))
    assert measured.value == pytest.approx(100 * 64 / 229)
    assert measured.detail["difference_mm3"] == -128.0
    assert volume_difference(np.ones_like(truth), truth).value == pytest.approx(100 * (truth.size - 229) / 229)


def test_volume_of_nothing_has_a_reason(truth):
    measured = volume_difference(truth, np.zeros_like(truth))
    assert math.isnan(measured.value)
    assert "no labelled voxel" in measured.detail["reason"]
    assert volume_difference(np.zeros_like(truth), truth).value == 100.0


def test_found_missed_and_false_lesions_are_counted(truth):
    found = np.zeros_like(truth)
    found[4:8, 4:8, 4:8] = 1  # overlaps the first
    found[12, 12, 12] = 1  # touches the second, too small to count as a lesion itself
    found[2:7, 22:27, 22:27] = 1  # where there is none
    measured = lesion_detection(found, truth)
    assert {key: measured.detail[key] for key in ("lesions", "found", "missed", "false")} == {
        "lesions": 3,
        "found": 2,
        "missed": 1,
        "false": 1,
    }
    sensitivity, precision = 2 / 3, 1 / 2
    assert measured.value == pytest.approx(2 * sensitivity * precision / (sensitivity + precision))


def test_one_large_blob_over_two_lesions_finds_both(truth):
    blob = np.zeros_like(truth)
    blob[2:17, 2:17, 2:17] = 1
    measured = lesion_detection(blob, truth)
    assert (measured.detail["sensitivity"], measured.detail["precision"]) == (pytest.approx(2 / 3), 1.0)


def test_the_mask_decides_which_lesions_there_are(truth):
    mask = np.zeros(truth.shape, bool)
    mask[10:20] = True
    measured = lesion_detection(truth, truth, mask)
    assert (measured.value, measured.detail["lesions"]) == (1.0, 1)


def test_smallest_volume_is_physical(truth):
    assert lesion_detection(truth, truth, spacing_mm=(2, 2, 1)).detail["lesions"] == 4
    assert lesion_detection(truth, truth, spacing_mm=(0.5, 0.5, 1)).detail["lesions"] == 1


def test_nothing_found_is_zero_and_nothing_there_has_a_reason(truth):
    nothing = np.zeros_like(truth)
    assert lesion_detection(nothing, truth).value == 0.0
    assert lesion_detection(truth, nothing).value == 0.0
    measured = lesion_detection(nothing, nothing)
    assert math.isnan(measured.value)
    assert "30 mm³" in measured.detail["reason"]
