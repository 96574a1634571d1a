"""Structures are named by the brightness they have in the very image, where they are likely."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from MRHarmonizationLib.core.brain_regions import CLASS_NUMBERS, classes_of
from MRHarmonizationLib.core.errors import OperationCancelled
from MRHarmonizationLib.core.region_mixture import (
    CANDIDATES,
    Candidates,
    _alike_neighbours,
    candidates_from,
    name_by_brightness,
)

WHITE, CORTEX, WHITE_RIGHT, CORTEX_RIGHT = (int(c) for c in classes_of(np.array([2, 3, 41, 42])))
#: Of the ball; three sizes, so that no axis stands for another.
SHAPE = (40, 48, 44)

pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """A ball of white matter, left and right, in cortex, in background."""
    k, j, i = np.indices(SHAPE) - (np.array(SHAPE)[:, None, None, None] - 1) / 2
    depth = np.sqrt(k**2 + j**2 + i**2)
    classes = np.zeros(depth.shape, np.uint8)
    classes[depth < 18] = CORTEX
    classes[(depth < 12 + 3 * np.sin(k / 3)) & (i < 0)] = WHITE
    classes[(depth < 12 + 3 * np.sin(k / 3)) & (i >= 0)] = WHITE_RIGHT
    return classes


def likely_of(classes: np.ndarray, blur: float) -> np.ndarray:
    """What a network may say on cells of 2: where classes are, blurred."""
    from scipy.ndimage import gaussian_filter

    likely = np.stack([gaussian_filter((classes == c).astype(np.float32), blur) for c in range(CLASS_NUMBERS.size)])
    k, j, i = (size // 2 for size in classes.shape)
    coarse = likely.reshape(CLASS_NUMBERS.size, k, 2, j, 2, i, 2).mean(axis=(2, 4, 6)) + 1e-5
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


def test_a_bias_field_is_followed():
    """White matter is darker at one end than cortex at the other."""
    k, j, i = np.indices((14, 24, 160))
    classes = np.full(k.shape, CORTEX, np.uint8)
    classes[j + 3 * np.sin(i / 4) + 2 * np.cos(k / 2) > 12] = WHITE
    edge = (k < 2) | (k >= 12) | (j < 2) | (j >= 22) | (i < 2) | (i >= 158)
    classes[edge] = 0
    field = np.exp(np.linspace(np.log(0.6), np.log(1.6), 160)).astype(np.float32)
    image = image_of(classes, {CORTEX: 100, WHITE: 140}) * field
    assert errors(name_by_brightness(image, candidates_from(likely_of(classes, 3.0), 2)), classes) < 0.005


def test_lone_voxels_follow_their_neighbours(truth):
    image = image_of(truth, {CORTEX: 100, WHITE: 150, WHITE_RIGHT: 150}, noise=22.0)
    named = name_by_brightness(image, candidates_from(likely_of(truth, 2.5), 2))
    inside = truth > 0
    by_brightness = np.mean((image[inside] > 125) != (truth[inside] != CORTEX))
    assert errors(named, truth) < 0.25 * by_brightness


def test_neighbours_are_those_across_the_six_faces():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (4, 5, 6)).astype(np.uint8)
    places = np.arange(labels.size)
    classes = np.broadcast_to(np.arange(3, dtype=np.uint8)[:, None], (3, labels.size))
    found = _alike_neighbours(labels, Candidates(places, classes, np.ones(classes.shape, np.float32)))
    padded = np.pad(labels, 1, mode="edge")
    for k, j, i in np.ndindex(*labels.shape):
        own = padded[k : k + 3, j : j + 3, i : i + 3]
        faces = [own[0, 1, 1], own[2, 1, 1], own[1, 0, 1], own[1, 2, 1], own[1, 1, 0], own[1, 1, 2]]
        assert found[:, (k * 5 + j) * 6 + i].tolist() == [faces.count(c) for c in range(3)]


def test_one_side_tells_the_brightness_of_the_other():
    """On the right the network does not know cortex from white matter."""
    _, j, i = np.indices((16, 24, 32))
    classes = np.where(i < 16, np.where(j < 12, CORTEX, WHITE), np.where(j < 12, CORTEX_RIGHT, WHITE_RIGHT))
    likely = np.full((CLASS_NUMBERS.size, *classes.shape), 1e-5, np.float32)
    for own, other in ((CORTEX, WHITE), (WHITE, CORTEX)):
        likely[own][classes == own], likely[other][classes == own] = 0.9, 0.1
    likely[CORTEX_RIGHT][i >= 16] = likely[WHITE_RIGHT][i >= 16] = 0.5
    image = image_of(classes, {CORTEX: 100, CORTEX_RIGHT: 100, WHITE: 150, WHITE_RIGHT: 150}, noise=8.0)
    named = name_by_brightness(image, candidates_from(likely / likely.sum(axis=0), 1))
    assert errors(named, classes) < 0.01


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
    lone = np.zeros((CLASS_NUMBERS.size, 5, 4, 6), np.float32)
    lone[WHITE, 2, 1, 3] = 1.0
    lone[0] = 1.0 - lone[WHITE]
    share = {-1: 0.25, 0: 0.75, 1: 0.75, 2: 0.25}  # of a cell's value on finer voxels, counted from its first
    expected = {
        ((4 + k) * 8 + 2 + j) * 12 + 6 + i: share[k] * share[j] * share[i]
        for k, j, i in itertools.product(share, repeat=3)
        if [share[k], share[j], share[i]].count(0.25) < 2  # looked at: the cell and its six neighbours
    }
    found = candidates_from(lone, 2)
    assert set(found.places.tolist()) == set(expected)
    white = np.where(found.classes == WHITE, found.chances, 0).max(axis=0)
    np.testing.assert_allclose(white, [expected[place] for place in found.places.tolist()], rtol=1e-3)
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
