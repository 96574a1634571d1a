"""Structures are named by the brightness they have in the very image, where they are likely."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.brain_regions import CLASS_NUMBERS, classes_of
from MRHarmonizationLib.core.errors import OperationCancelled
from MRHarmonizationLib.core.region_mixture import CANDIDATES, candidates_from, name_by_brightness

WHITE, CORTEX, WHITE_RIGHT = (int(c) for c in classes_of(np.array([2, 3, 41])))


pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """A ball of white matter, left and right, in cortex, in background, shape (48, 48, 48)."""
    k, j, i = np.mgrid[:48, :48, :48] - 23.5
    depth = np.sqrt(k**2 + j**2 + i**2)
    classes = np.zeros(depth.shape, np.uint8)
    classes[depth < 20] = CORTEX
    classes[(depth < 13 + 3 * np.sin(k / 3)) & (i < 0)] = WHITE
    classes[(depth < 13 + 3 * np.sin(k / 3)) & (i >= 0)] = WHITE_RIGHT
    return classes


def likely_of(classes: np.ndarray, blur: float) -> np.ndarray:
    """What a network may say on cells of 2: where classes are, blurred."""
    from scipy.ndimage import gaussian_filter

    likely = np.stack([gaussian_filter((classes == c).astype(np.float32), blur) for c in range(CLASS_NUMBERS.size)])
    coarse = likely.reshape(CLASS_NUMBERS.size, 24, 2, 24, 2, 24, 2).mean(axis=(2, 4, 6)) + 1e-5
    return np.asarray(coarse / coarse.sum(axis=0), np.float32)


def image_of(classes: np.ndarray, levels: dict[int, float], noise: float = 4.0) -> np.ndarray:
    table = np.zeros(CLASS_NUMBERS.size, np.float32)
    table[list(levels)] = list(levels.values())
    rng = np.random.default_rng(0)
    return np.asarray(table[classes] + noise * rng.standard_normal(classes.shape), np.float32)


def errors(found: np.ndarray, truth: np.ndarray) -> float:
    return float(np.mean(found[truth > 0] != truth[truth > 0]))


@pytest.mark.parametrize("levels", [(40, 100, 180), (200, 60, 120), (10, 220, 150)])
def test_borders_are_drawn_in_any_contrast(truth, levels):
    air, cortex, white = levels
    image = image_of(truth, {0: air, CORTEX: cortex, WHITE: white, WHITE_RIGHT: white})
    candidates = candidates_from(likely_of(truth, 2.5), 2)
    best = np.zeros(truth.size, np.uint8)
    best[candidates.places] = candidates.classes[candidates.chances.argmax(0), np.arange(candidates.places.size)]
    before, after = errors(best.reshape(truth.shape), truth), errors(name_by_brightness(image, candidates), truth)
    assert before > 0.1
    assert after < 0.03


def test_a_bias_field_is_followed(truth):
    image = image_of(truth, {CORTEX: 100, WHITE: 150, WHITE_RIGHT: 150})
    field = np.linspace(0.7, 1.35, 48, dtype=np.float32)[None, :, None]
    candidates = candidates_from(likely_of(truth, 2.0), 2)
    assert errors(name_by_brightness(image * field, candidates), truth) < 0.06


def test_lone_voxels_follow_their_neighbours(truth):
    image = image_of(truth, {CORTEX: 100, WHITE: 150, WHITE_RIGHT: 150}, noise=22.0)
    named = name_by_brightness(image, candidates_from(likely_of(truth, 1.0), 2))
    alone = (np.abs(image - 125.0) < 200) & (truth > 0)
    by_brightness = np.where(image > 125, WHITE, CORTEX)[alone]
    expected = np.where(truth == CORTEX, CORTEX, WHITE)[alone]
    assert errors(named, truth) < 0.5 * np.mean(by_brightness != expected)


def test_candidates_are_the_likeliest_on_the_finer_grid():
    rng = np.random.default_rng(0)
    likely = rng.dirichlet(np.full(CLASS_NUMBERS.size, 0.2), (5, 4, 3)).astype(np.float32)
    likely = np.moveaxis(likely, -1, 0)
    found = candidates_from(likely, 1)
    assert found.classes.shape == (CANDIDATES, found.places.size)
    for number in range(0, found.places.size, 7):
        column = likely.reshape(CLASS_NUMBERS.size, -1)[:, found.places[number]]
        best = set(np.argsort(column)[-CANDIDATES:].tolist())
        assert set(found.classes[:, number].tolist()) == best
    assert candidates_from(likely, 2).places.max() < 10 * 8 * 6
    sure = np.zeros((CLASS_NUMBERS.size, 3, 3, 3), np.float32)
    sure[0] = 1.0
    assert candidates_from(sure, 2).places.size == 0
    assert not name_by_brightness(np.ones((6, 6, 6), np.float32), candidates_from(sure, 2)).any()


def test_an_even_image_leaves_the_likeliest(truth):
    candidates = candidates_from(likely_of(truth, 0.5), 2)
    named = name_by_brightness(np.full(truth.shape, 7.0, np.float32), candidates)
    assert errors(named, truth) < 0.1


def test_it_can_be_cancelled_between_rounds(truth):
    told = []

    def check(share: float) -> None:
        told.append(share)
        if share > 0.3:
            raise OperationCancelled

    with pytest.raises(OperationCancelled):
        name_by_brightness(image_of(truth, {CORTEX: 9.0}), candidates_from(likely_of(truth, 1.0), 2), check)
    assert told == sorted(told)
    assert len(told) < 6
