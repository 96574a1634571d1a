"""The table of tissue variation and the picture of alterations."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.degradations.signal_equations import tissue_of
from MRHarmonizationLib.evaluation.contrast_preview import alteration_figure, further_alterations
from MRHarmonizationLib.evaluation.contrast_variation import RAW, tissue_classes, tissue_mask, tissue_variation
from MRHarmonizationLib.methods.reference_group import group_of_volumes
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume


def head(seed: int = 0) -> tuple[Volume, np.ndarray]:
    rng = np.random.default_rng(seed)
    shape = (14, 32, 30)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2) + 0.05 * np.sin(7 * np.arctan2(y, x) + seed)
    labels = np.select([radius < 0.35, radius < 0.6, radius < 0.85], [4, 2, 3], 0)
    image = np.choose(labels, [0, 0, 170, 110, 40]) + np.where(labels > 0, rng.normal(0, 3, shape), 0)
    return Volume(np.maximum(image, 0).astype(np.float32), Grid.from_parts(shape, (2, 2, 3)), f"head{seed}"), labels


def test_variation_is_that_of_the_tissue_means():
    image, labels = head()
    group = group_of_volumes([head(n)[0] for n in (1, 2)], "t1")
    rows = tissue_variation(image, labels, group, 5, 0, ["tone"], ["percentile", "nyul"])
    assert [row.method for row in rows] == [RAW, "percentile", "nyul"]
    assert set(rows[0].coefficients) == {"white", "grey", "fluid"}
    assert rows[0].mean == pytest.approx(np.mean(list(rows[0].coefficients.values())))
    assert rows[2].mean < 0.5 * rows[0].mean
    assert rows == tissue_variation(image, labels, group, 5, 0, ["tone"], ["percentile", "nyul"])
    with pytest.raises(InputError, match="tissue"):
        tissue_variation(image, np.zeros_like(labels), group, 1)


def test_tissues_are_told_by_label_and_by_intensity():
    image, labels = head()
    assert np.array_equal(tissue_mask(labels, "white"), labels == 2)
    assert [tissue_of(label) for label in (2, 42, 24, 507)] == ["white", "grey", "fluid", "other"]
    classes = tissue_classes(image)
    inside = classes > 0
    assert np.mean(classes[inside] == labels[inside]) > 0.9


def test_picture_shows_every_alteration():
    image, _ = head()
    drawn = further_alterations(image, "kspace-contrast", 3, {}, 2)
    assert [title for title, _ in drawn] == ["seed 4", "seed 5"]
    assert not np.array_equal(drawn[0][1].array, drawn[1][1].array)
    one, three = alteration_figure(drawn[:1]), alteration_figure([("original", image), *drawn])
    width = [int.from_bytes(picture[16:20], "big") for picture in (one, three)]
    assert width[1] == pytest.approx(3 * width[0], rel=0.02)
    with pytest.raises(ParameterError, match="no image"):
        alteration_figure([])


@pytest.mark.parametrize("shape", [(1, 20, 24), (12, 1, 20), (20, 24, 1)])
def test_picture_of_single_slices_and_constants(shape: tuple[int, int, int]):
    array = np.random.default_rng(0).random(shape).astype(np.float32)
    volume = Volume(array, Grid.from_parts(shape, (1, 1, 1)))
    assert alteration_figure([("a", volume), ("b", volume.with_array(np.zeros(shape, np.float32)))])
