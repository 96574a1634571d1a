"""Volumes from anyone's label map, and sentences about answers that look unlike a whole brain."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.brain_regions import REGIONS, region_volumes_mm3
from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.inference.region_doubts import region_doubts
from MRHarmonizationLib.inference.region_volumes import in_pairs, label_volumes_mm3, volume_rows, whole_labels
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume


def labels_of(numbers: list[int], kind: str = "int16", spacing=(1.0, 1.0, 2.5)) -> Volume:
    """One row of ten voxels per number."""
    array = np.repeat(np.array(numbers, kind)[:, None, None], 10, axis=2)
    return Volume(array, Grid.from_parts(array.shape, spacing), "labels")


@pytest.mark.parametrize("kind", ["int16", "uint16", "int32", "float32", "float64"])
def test_volumes_are_voxels_times_their_size(kind: str):
    volumes = label_volumes_mm3(labels_of([0, 17, 17, 53, 77], kind))
    assert volumes[17] == pytest.approx(50.0)
    assert volumes[53] == pytest.approx(25.0)
    assert sum(volumes.values()) == pytest.approx(75.0)


def test_parcels_are_parts_of_their_structures():
    numbers, joined = whole_labels(labels_of([1001, 1035, 2024, 3010, 4030, 5001, 5002, 11175, 12101, 17]))
    assert joined
    assert numbers[:, 0, 0].tolist() == [3, 3, 42, 2, 41, 2, 41, 3, 42, 17]
    plain = labels_of([2, 3, 17])
    assert not whole_labels(plain)[1]
    assert plain.array.max() == 17, "the label map itself is not changed"


@pytest.mark.parametrize(
    ("array", "word"),
    [
        (np.linspace(0, 60, 24).reshape(2, 3, 4), "no FreeSurfer numbers"),
        (np.full((2, 3, 4), np.nan), "no FreeSurfer numbers"),
        (np.full((2, 3, 4), np.inf), "no FreeSurfer numbers"),
        (np.full((2, 3, 4), 100_000), "no FreeSurfer numbers"),
        (np.array([0, 1, 6] * 8).reshape(2, 3, 4), "but 1, 6"),
        (np.zeros((2, 3, 4), np.int16), "nothing but 0"),
    ],
)
def test_what_is_no_label_map_is_refused(array: np.ndarray, word: str):
    with pytest.raises(InputError, match=word) as caught:
        label_volumes_mm3(Volume(array, Grid.from_parts(array.shape)), "segmentation of before")
    assert "segmentation of before" in str(caught.value)
    assert caught.value.remedy


def test_the_table_has_pairs_below_each_other():
    rows = volume_rows({region.number: 1500.0 for region in REGIONS})
    assert len(rows) == len({row["number"] for row in rows}) == 32
    assert list(rows[0]) == ["region", "number", "side", "volume_ml"]
    assert rows[0]["volume_ml"] == 1.5
    for first, second in zip(rows, rows[1:], strict=False):
        if first["side"] == "left":
            assert second["side"] == "right"
            assert second["region"].removeprefix("Right") == first["region"].removeprefix("Left")
    assert [region.number for region in in_pairs()] == [row["number"] for row in rows]


# -- doubts


def brain(shape=(120, 150, 130)) -> np.ndarray:
    """A brain-sized ball with every structure in it, left and right alike."""
    z, y, x = np.indices(shape) - (np.array(shape)[:, None, None, None] - 1) / 2
    radius = np.sqrt((x / 55) ** 2 + (y / 65) ** 2 + (z / 50) ** 2)
    labels = np.zeros(shape, np.int16)
    labels[(radius < 1) & (x < 0)] = 3
    labels[(radius < 1) & (x > 0)] = 42
    labels[(radius < 0.8) & (x < 0)] = 2
    labels[(radius < 0.8) & (x > 0)] = 41
    for place, region in enumerate(REGIONS):
        if region.number not in (2, 3, 41, 42):
            labels[50 + place // 6 : 51 + place // 6, 60 + 3 * (place % 6) : 62 + 3 * (place % 6), 60:66] = (
                region.number
            )
    return labels


def doubts(labels: np.ndarray, voxel_mm3: float = 1.0) -> tuple[str, ...]:
    return region_doubts(labels, region_volumes_mm3(labels, voxel_mm3), voxel_mm3)


def test_a_whole_brain_raises_no_doubt():
    assert doubts(brain()) == ()


def test_a_brain_of_the_wrong_size():
    (said,) = doubts(brain(), 8.0)
    assert "2400 ml are plausible" in said
    assert "voxel size is wrong" in said


def test_missing_structures_are_named():
    labels = brain()
    labels[labels == 17] = 2
    labels[labels == 26] = 2
    (said,) = doubts(labels)
    assert said == "not found: left hippocampus, left accumbens area"


def test_unequal_halves():
    labels = brain()
    labels[np.isin(labels, (2, 3))] = 0
    assert any("the left cerebrum has 0 ml" in said for said in doubts(labels))


@pytest.mark.parametrize(
    ("part", "end"),
    [
        (np.s_[40:], "lower"),
        (np.s_[:80], "upper"),
        (np.s_[:, 40:], "back"),
        (np.s_[:, :110], "front"),
        (np.s_[:, :, 40:], "left"),
        (np.s_[:, :, :90], "right"),
    ],
)
def test_a_field_of_view_that_cuts_is_told_with_its_end(part: tuple, end: str):
    said = [sentence for sentence in doubts(brain()[part]) if "ends inside the brain" in sentence]
    assert len(said) == 1
    assert f"({end} end)" in said[0]
    assert "cerebral cortex" in said[0]
    (both,) = [sentence for sentence in doubts(brain()[40:, 40:]) if "ends inside the brain" in sentence]
    assert "(lower, back end)" in both
    touched = brain()
    touched[0, 70:73, 60:63] = 16
    assert doubts(touched) == (), "a few voxels are no cut"
    speckled = brain()
    speckled[60:80, 60:80, 0] = 3
    assert doubts(speckled) == (), "nor is what lies apart from the brain"
