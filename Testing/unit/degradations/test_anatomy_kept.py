"""Alterations of contrast move no edge and lose no structure, shown on a phantom whose borders are known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from MRHarmonizationLib.degradations.kspace_contrast import (
    FAMILIES,
    apply_kspace_contrast,
    sample_kspace_contrast,
)
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

SPACING_MM = (1.5, 1.5, 2.0)
#: FreeSurfer numbers: white matter, cortex, ventricle.
WHITE, GREY, FLUID = 2, 3, 4
LEVELS = {0: 0.0, FLUID: 45.0, GREY: 120.0, WHITE: 170.0}


@pytest.fixture(scope="module")
def case() -> tuple[Volume, Volume]:
    """A folded brain in air and its label map, thick-sliced and of odd sizes."""
    shape = (31, 71, 65)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    radius = np.sqrt((x / 0.85) ** 2 + (y / 0.9) ** 2 + (z / 0.88) ** 2)
    angle = np.arctan2(y, np.abs(x))
    labels = np.zeros(shape, np.int16)
    labels[radius < 0.95] = GREY
    labels[radius + 0.07 * np.sin(9 * angle) * np.cos(4 * z) < 0.72] = WHITE
    labels[np.sqrt((x / 0.24) ** 2 + (y / 0.4) ** 2 + (z / 0.35) ** 2) < 1] = FLUID
    image = np.zeros(shape, np.float32)
    for label, level in LEVELS.items():
        image[labels == label] = level
    texture = ndimage.gaussian_filter(np.random.default_rng(0).standard_normal(shape), 0.7)
    image = ndimage.gaussian_filter(image, 0.5) + np.where(labels > 0, 5.0 * texture, 0.0)
    grid = Grid.from_parts(shape, SPACING_MM)
    return Volume(np.maximum(image, 0).astype(np.float32), grid, "phantom"), Volume(labels, grid, "labels")


@pytest.fixture(scope="module")
def donor() -> Volume:
    """Another head: other shape, spacing and orientation."""
    shape = (40, 36, 44)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    image = np.where(x**2 + (y / 0.8) ** 2 + z**2 < 0.7, 300 + 90 * np.sin(6 * x) * np.cos(5 * y), 0)
    return Volume(
        image.astype(np.float32), Grid.from_parts(shape, (2, 2, 2), directions=np.diag([-1.0, 1, 1])), "donor"
    )


def border_shifts(before: np.ndarray, after: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return by how many voxels the steepest place moved, along rows, at each border of the brain's tissues."""
    steep_before, steep_after = (np.abs(np.diff(image, axis=2)) for image in (before, after))
    is_border = labels[..., 1:] != labels[..., :-1]
    shifts = []
    for k, j, i in np.argwhere(is_border & (labels[..., 1:] > 0) & (labels[..., :-1] > 0)):
        near = slice(max(i - 2, 0), i + 3)
        if np.count_nonzero(is_border[k, j, near]) == 1:  # a single border: nothing else to be steep nearby
            shifts.append(int(np.argmax(steep_after[k, j, near])) - int(np.argmax(steep_before[k, j, near])))
    assert len(shifts) > 500
    return np.array(shifts)


def regrown(image: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Segment an image by edges alone: the hearts of the structures grow until they meet at the steepest places."""
    from skimage.segmentation import watershed

    seeds = np.zeros(labels.shape, np.int32)
    for label in np.unique(labels):
        seeds[ndimage.binary_erosion(labels == label, iterations=2, border_value=1)] = int(label) + 1
    return watershed(ndimage.gaussian_gradient_magnitude(image, 0.6), seeds) - 1


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("family", [*FAMILIES, "drawn"])
def test_borders_stay_and_structures_are_found_again(case, donor, family):
    image, labels = case
    shifts, overlaps = [], []
    for seed in range(4):
        rng = np.random.default_rng([seed, len(family)])
        families = None if family == "drawn" else (family,)
        parameters = sample_kspace_contrast(rng, image, labels.array, donor, families)
        altered = apply_kspace_contrast(image, parameters, labels.array).array
        assert np.all(np.isfinite(altered))
        shifts.append(border_shifts(image.array, altered, labels.array))
        before, after = regrown(image.array, labels.array), regrown(altered, labels.array)
        overlaps += [dice(before == label, after == label) for label in (WHITE, GREY, FLUID)]
    every = np.concatenate(shifts)
    assert np.mean(np.abs(every) <= 1) > 0.97, f"borders moved: {np.bincount(np.abs(every))}"
    assert abs(every.mean()) < 0.1, "borders moved to one side"
    assert min(overlaps) > 0.85
    assert np.mean(overlaps) > 0.96


def test_the_measure_of_shifts_sees_a_shift(case):
    """The test above could not fail if its measures did not see anatomy that moves."""
    image, labels = case
    moved = np.roll(image.array, 2, axis=2)
    assert np.mean(np.abs(border_shifts(image.array, moved, labels.array)) <= 1) < 0.4
    assert dice(regrown(image.array, labels.array) == FLUID, regrown(moved, labels.array) == FLUID) < 0.85
