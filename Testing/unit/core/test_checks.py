"""Checks of arrays: each bad image is refused with the value that is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.checks import check_volume_array, looks_like_labels
from MRHarmonizationLib.core.errors import InputError


def good(shape=(4, 5, 6), dtype=np.float32):
    return np.arange(np.prod(shape)).reshape(shape).astype(dtype)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float32", "float64", ">i2"])
def test_real_images_pass(dtype):
    check_volume_array(good(dtype=dtype))


def test_smallest_usable_image_passes():
    check_volume_array(good((2, 2, 2)))


def spoiled(value, count):
    array = good()
    array.flat[:count] = value
    return array


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (good((3, 4, 5, 6)), r"4 dimensions.*\(3, 4, 5, 6\).*choose one"),
        (good((4, 5)), "2 dimensions"),
        (good().astype(np.complex64), "complex64.*magnitude"),
        (good().astype("U5"), "expected real numbers"),
        (good((1, 1, 1)), "1 x 1 x 1"),
        (good((1, 5, 6)), "6 x 5 x 1"),
        (good((4, 5, 1)), "1 x 5 x 4"),
        (np.zeros((0, 5, 6)), "6 x 5 x 0"),
        (spoiled(np.nan, 3), "3 of 120 .*NaN"),
        (spoiled(np.inf, 2), "2 of 120 .*infinite"),
        (spoiled(-np.inf, 1), "1 of 120 "),
        (np.full((4, 5, 6), np.nan), "120 of 120"),
        (np.full((4, 5, 6), 7, np.int16), r"constant \(every voxel is 7\)"),
    ],
)
def test_bad_images_are_refused_with_the_value(array, words):
    with pytest.raises(InputError, match=words) as caught:
        check_volume_array(array, "T2")
    assert str(caught.value).startswith("T2 ")
    assert caught.value.remedy
    assert "\n" not in str(caught.value)


def blocks(labels=(0, 3, 7), dtype=np.int16):
    array = np.zeros((12, 40, 40), dtype)
    array[:, 5:30, 5:30] = labels[1]
    array[:, 10:20, 10:20] = labels[2]
    return array


@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "bool"])
def test_label_maps_are_recognised(dtype):
    assert looks_like_labels(blocks(dtype=np.dtype(dtype)))


def test_images_are_no_label_maps(rng):
    assert not looks_like_labels(rng.normal(100, 20, (12, 40, 40)))
    assert not looks_like_labels(rng.integers(0, 4000, (12, 40, 40)))
    assert not looks_like_labels(rng.integers(0, 20, (12, 40, 40)))  # few values, but not in regions
    assert not looks_like_labels(blocks().astype(np.float32) + np.float32(0.5))
    assert not looks_like_labels(blocks().astype(np.complex64))
    assert not looks_like_labels(np.zeros((0, 4, 4)))
