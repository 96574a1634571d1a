"""The table of structures is that of FreeSurfer, classes and numbers go both ways, volumes and overlaps are counted."""

from __future__ import annotations

import math

import numpy as np
import pytest

from MRHarmonizationLib.core.brain_regions import (
    BACKGROUND,
    CLASS_NUMBERS,
    LEAST_REFERENCE_MM3,
    MIRRORED_CLASSES,
    REGION_BY_NUMBER,
    REGIONS,
    classes_of,
    dice_per_region,
    numbers_of,
    region_volumes_mm3,
    relative_error_percent,
)
from MRHarmonizationLib.core.errors import InputError

#: Written down from FreeSurferColorLUT.txt, names as there.
FREESURFER = {
    2: "Left-Cerebral-White-Matter", 3: "Left-Cerebral-Cortex", 4: "Left-Lateral-Ventricle", 5: "Left-Inf-Lat-Vent",
    7: "Left-Cerebellum-White-Matter", 8: "Left-Cerebellum-Cortex", 10: "Left-Thalamus", 11: "Left-Caudate",
    12: "Left-Putamen", 13: "Left-Pallidum", 14: "3rd-Ventricle", 15: "4th-Ventricle", 16: "Brain-Stem",
    17: "Left-Hippocampus", 18: "Left-Amygdala", 24: "CSF", 26: "Left-Accumbens-area", 28: "Left-VentralDC",
    41: "Right-Cerebral-White-Matter", 42: "Right-Cerebral-Cortex", 43: "Right-Lateral-Ventricle",
    44: "Right-Inf-Lat-Vent", 46: "Right-Cerebellum-White-Matter", 47: "Right-Cerebellum-Cortex",
    49: "Right-Thalamus", 50: "Right-Caudate", 51: "Right-Putamen", 52: "Right-Pallidum", 53: "Right-Hippocampus",
    54: "Right-Amygdala", 58: "Right-Accumbens-area", 60: "Right-VentralDC",
}  # fmt: skip


def test_the_numbers_are_freesurfers():
    assert [region.number for region in REGIONS] == sorted(FREESURFER)
    for number, name in FREESURFER.items():
        region = REGION_BY_NUMBER[number]
        side = name.partition("-")[0].lower()
        assert region.side == (side if side in ("left", "right") else "")
        first = name.partition("-")[2].replace("-", " ").lower()[:4] if region.side else name.lower()[:2]
        own = region.name.lower().removeprefix(f"{region.side} ") if region.side else region.name.lower()
        known = {"cere", "late", "thal", "caud", "puta", "pall", "hipp", "amyg", "accu"}
        if first in known:
            assert own.startswith(first), (number, region.name)
    names = [region.name for region in REGIONS]
    assert len(set(names)) == 32


def test_classes_are_numbered_in_the_order_of_the_numbers():
    assert [region.class_index for region in REGIONS] == list(range(1, 33))
    assert CLASS_NUMBERS.dtype == np.int16
    assert CLASS_NUMBERS.tolist() == [BACKGROUND, *sorted(FREESURFER)]
    assert not CLASS_NUMBERS.flags.writeable


def test_classes_and_numbers_undo_each_other():
    classes = np.arange(33, dtype=np.uint8).reshape(3, 11)
    numbers = numbers_of(classes)
    assert numbers.dtype == np.int16
    np.testing.assert_array_equal(classes_of(numbers), classes)
    assert classes_of(numbers).dtype == np.uint8


@pytest.mark.parametrize("kind", ["int8", "int16", "uint16", "int32", "int64"])
def test_numbers_that_are_no_structure_are_background(kind: str):
    values = np.array([0, 1, 6, 30, 61, 77, 127], kind)
    assert not classes_of(values).any()
    limits = np.iinfo(kind)
    assert not classes_of(np.array([limits.min, limits.max], kind)).any()


def test_what_is_no_label_or_class_is_refused():
    with pytest.raises(InputError, match="float32"):
        classes_of(np.zeros(3, np.float32))
    for wrong in (-1, 33):
        with pytest.raises(InputError, match="0 to 32"):
            numbers_of(np.array([0, wrong]))


def test_mirroring_exchanges_sides_and_is_its_own_inverse():
    np.testing.assert_array_equal(MIRRORED_CLASSES[MIRRORED_CLASSES], np.arange(33))
    for region in REGIONS:
        other = REGIONS[region.mirror - 1]
        assert (other.side, region.side) in {("left", "right"), ("right", "left"), ("", "")}
        assert other.name.split(" ", 1)[-1] == region.name.split(" ", 1)[-1]
    assert MIRRORED_CLASSES[0] == 0


def test_volumes_count_voxels():
    labels = np.zeros((4, 5, 6), np.int16)
    labels[0, 0, :3] = 17
    labels[1] = 53
    labels[2, 0, 0] = 9999
    volumes = region_volumes_mm3(labels, 0.5)
    assert set(volumes) == set(FREESURFER)
    assert (volumes[17], volumes[53], volumes[2]) == (1.5, 15.0, 0.0)
    assert sum(volumes.values()) == 16.5
    assert all(value == 0.0 for value in region_volumes_mm3(np.zeros((0, 2, 2), np.int16), 1.0).values())


def test_dice_is_that_of_the_sets():
    rng = np.random.default_rng(3)
    first = rng.choice([0, 2, 3, 17, 53], (8, 9, 10)).astype(np.int16)
    second = rng.choice([0, 2, 3, 17], (8, 9, 10)).astype(np.int32)
    found = dice_per_region(first, second)
    for number in (2, 3, 17):
        a, b = (set(np.flatnonzero(labels == number)) for labels in (first, second))
        assert found[number] == pytest.approx(2 * len(a & b) / (len(a) + len(b)))
    assert found[53] == 0.0
    assert math.isnan(found[60])
    assert dice_per_region(first, first)[53] == 1.0
    with pytest.raises(InputError, match="shapes"):
        dice_per_region(first, second[:4])


def test_a_change_is_told_against_the_reference_unless_that_is_tiny():
    assert relative_error_percent(1.1 * LEAST_REFERENCE_MM3, LEAST_REFERENCE_MM3) == pytest.approx(10.0)
    assert relative_error_percent(150.0, 600.0) == -75.0
    assert math.isnan(relative_error_percent(600.0, LEAST_REFERENCE_MM3 - 0.1))
