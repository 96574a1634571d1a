"""Brightness of structures, place by place: found under shading, tone curves and changes of single tissues."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from MRHarmonizationLib.core.brain_regions import CLASS_NUMBERS, classes_of
from MRHarmonizationLib.core.region_mixture import TISSUES
from MRHarmonizationLib.core.structure_tone import (
    CELL,
    LEAST_STEEP,
    STEEPEST,
    SURELY_BACKGROUND,
    TISSUE_CLASSES,
    StructureBrightness,
    interpolated,
    measure_structures,
    merge_sides,
    outer_curve,
    reversed_pairs,
    slopes,
    toned,
)

SHAPE = (36, 44, 40)
#: FreeSurfer numbers of the phantom and their brightness in the reference.
WHITE, CORTEX, VENTRICLE, FLUID = 2, 3, 4, 24
REFERENCE = {WHITE: 800.0, CORTEX: 560.0, VENTRICLE: 240.0, FLUID: 250.0}
TARGETS = np.full(len(TISSUE_CLASSES), 500.0)
for _number, _value in REFERENCE.items():
    TARGETS[TISSUE_CLASSES.index(int(classes_of(np.array(_number))))] = _value


def anatomy() -> np.ndarray:
    """Nested shells: ventricle, white matter, cortex, fluid, and air around them."""
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2) + 0.05 * np.sin(7 * np.arctan2(y, x))
    labels = np.zeros(SHAPE, np.int16)
    for limit, number in ((0.92, FLUID), (0.82, CORTEX), (0.62, WHITE), (0.25, VENTRICLE)):
        labels[radius < limit] = number
    return labels


def doubtful(labels: np.ndarray) -> np.ndarray:
    """What a network says of places: blurred, so that it is sure of no border."""
    found = np.stack([(classes_of(labels) == c).astype(np.float32) for c in range(CLASS_NUMBERS.size)])
    blurred = np.stack([ndimage.gaussian_filter(part, 1.2) if part.any() else part for part in found])
    return np.asarray(blurred / blurred.sum(axis=0), np.float32)


def painted(labels: np.ndarray, levels: dict[int, float], seed: int = 0) -> np.ndarray:
    image = np.zeros(labels.shape)
    for number, level in levels.items():
        image[labels == number] = level
    return image + np.random.default_rng(seed).normal(0, 12, labels.shape) * (labels > 0)


def shading() -> np.ndarray:
    j, i = np.meshgrid(np.linspace(-1, 1, SHAPE[1]), np.linspace(-1, 1, SHAPE[2]), indexing="ij")
    return np.broadcast_to(np.exp(0.3 * i - 0.2 * j), SHAPE)


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return anatomy()


@pytest.fixture(scope="module")
def chances(labels: np.ndarray) -> np.ndarray:
    merged = merge_sides(doubtful(labels))
    merged.setflags(write=False)
    return merged


def harmonised(image: np.ndarray, chances: np.ndarray, targets: np.ndarray = TARGETS) -> np.ndarray:
    """Every voxel's new brightness, as the harmoniser makes it."""
    found = measure_structures(image, chances)
    cells = [(np.arange(n) + 0.5) / CELL - 0.5 for n in SHAPE]
    places = np.flatnonzero(chances[0] < SURELY_BACKGROUND)

    def read(fields: np.ndarray) -> np.ndarray:
        return np.stack([interpolated(field, cells).ravel()[places] for field in fields])

    tops = (float(image.max()), 900.0)
    result = np.zeros(image.size)
    result[places] = toned(
        image.ravel()[places],
        chances.reshape(len(chances), -1)[:, places],
        read(found.fields),
        read(slopes(found, targets, tops)[None])[0],
        read(found.shading[None])[0],
        found,
        targets,
        outer_curve(found, targets, 0.0, tops),
    )
    return result.reshape(image.shape)


def means(image: np.ndarray, labels: np.ndarray) -> dict[int, float]:
    return {number: float(image[labels == number].mean()) for number in REFERENCE}


CHANGES = {
    "units": {number: 0.02 * value for number, value in REFERENCE.items()},
    "rising curve": {number: 1000 * (value / 1000) ** 2.2 for number, value in REFERENCE.items()},
    "negative": {number: 1000 - value for number, value in REFERENCE.items()},
    "one tissue": {**REFERENCE, CORTEX: 330.0},
    "folded": {WHITE: 420.0, CORTEX: 780.0, VENTRICLE: 130.0, FLUID: 140.0},
}


@pytest.mark.parametrize("shaded", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_structures_get_the_brightness_of_the_reference(
    change: str, shaded: bool, labels: np.ndarray, chances: np.ndarray
):
    levels = CHANGES[change]
    factor = max(levels.values()) / 800.0
    image = painted(labels, {n: v / factor for n, v in levels.items()}) * factor
    image = image * shading() if shaded else image
    found = means(harmonised(image, chances), labels)
    for number, wanted in REFERENCE.items():
        assert found[number] == pytest.approx(wanted, abs=45.0), number


def test_what_has_the_look_of_the_reference_hardly_changes(labels: np.ndarray, chances: np.ndarray):
    image = painted(labels, REFERENCE)
    inside = labels > 0
    change = np.abs(harmonised(image, chances) - image)[inside]
    assert np.median(change) < 8.0
    again = harmonised(harmonised(image, chances), chances)
    assert np.abs(again - harmonised(image, chances))[inside].mean() < 10.0


def test_texture_follows_the_sign_of_the_contrast(labels: np.ndarray, chances: np.ndarray):
    noise = np.random.default_rng(5).normal(0, 12, SHAPE)
    image = painted(labels, CHANGES["negative"])
    difference = harmonised(image + noise * (labels > 0), chances) - harmonised(image, chances)
    white = labels == WHITE
    slope = float(np.polyfit(noise[white], difference[white], 1)[0])
    assert slope == pytest.approx(-1.0, abs=0.25)


def test_a_lesion_keeps_its_contrast(labels: np.ndarray, chances: np.ndarray):
    z, y, x = np.indices(SHAPE)
    lesion = (z - 18) ** 2 + (y - 31) ** 2 + (x - 20) ** 2 < 5
    ring = ndimage.binary_dilation(lesion, iterations=3) & ~ndimage.binary_dilation(lesion) & (labels == WHITE)
    assert np.all(labels[lesion] == WHITE)
    image = painted(labels, REFERENCE)
    image[lesion] += 180.0
    raw = image[lesion].mean() - image[ring].mean()
    result = harmonised(image * 3.0, chances)
    assert result[lesion].mean() - result[ring].mean() > 0.8 * raw


def test_a_lesion_keeps_its_contrast_where_tissues_change_their_order(labels: np.ndarray, chances: np.ndarray):
    """White matter is brightest in the scan, cortex in the reference: the line is nearly flat."""
    z, y, x = np.indices(SHAPE)
    lesion = (z - 18) ** 2 + (y - 31) ** 2 + (x - 20) ** 2 < 5
    ring = ndimage.binary_dilation(lesion, iterations=3) & ~ndimage.binary_dilation(lesion) & (labels == WHITE)
    image = painted(labels, {WHITE: 700.0, CORTEX: 520.0, VENTRICLE: 300.0, FLUID: 300.0})
    image[lesion] += 150.0
    targets = TARGETS.copy()
    for number, value in ((WHITE, 600.0), (CORTEX, 800.0), (VENTRICLE, 350.0), (FLUID, 350.0)):
        targets[TISSUE_CLASSES.index(int(classes_of(np.array(number))))] = value
    result = harmonised(image, chances, targets)
    raw = (image[lesion].mean() - image[ring].mean()) / image.max()
    assert (result[lesion].mean() - result[ring].mean()) / 900.0 > 0.75 * raw


@pytest.mark.parametrize("factor", [1.0, 40.0])
@pytest.mark.parametrize("change", ["negative", "one tissue", "folded"])
def test_slopes_have_one_sign_and_are_nowhere_flat(change: str, factor: float, labels: np.ndarray, chances: np.ndarray):
    found = measure_structures(painted(labels, CHANGES[change]) * factor, chances)
    slope = slopes(found, TARGETS, (1000.0 * factor, 900.0)) * (-1.0 if change == "negative" else 1.0)
    assert slope.min() >= LEAST_STEEP * 0.9 / factor - 1e-6
    assert slope.max() <= STEEPEST * np.max(TARGETS) / found.brightest + 1e-6


def test_reversed_order_is_found_and_a_negative_is_none(labels: np.ndarray, chances: np.ndarray):
    pair = tuple(TISSUE_CLASSES.index(int(classes_of(np.array(number)))) for number in (WHITE, CORTEX))
    for change, expected in {"units": [], "rising curve": [], "negative": [], "folded": [pair]}.items():
        assert reversed_pairs(measure_structures(painted(labels, CHANGES[change]), chances), TARGETS) == expected, (
            change
        )


def test_a_lesion_beside_the_ventricle_is_not_taken_for_fluid(labels: np.ndarray, chances: np.ndarray):
    """Its brightness must not tell how bright the ventricle is: it would be taken away from the lesion itself."""
    z, y, x = np.indices(SHAPE)
    lesion = ((z - 18) ** 2 + (y - 28) ** 2 + (x - 20) ** 2 < 30) & (labels != CORTEX)
    image = painted(labels, {WHITE: 670.0, CORTEX: 800.0, VENTRICLE: 180.0, FLUID: 200.0})
    image[lesion] = 990.0
    targets = TARGETS.copy()
    for number, value in ((WHITE, 670.0), (CORTEX, 800.0), (VENTRICLE, 180.0), (FLUID, 200.0)):
        targets[TISSUE_CLASSES.index(int(classes_of(np.array(number))))] = value
    found = measure_structures(image, chances)
    assert found.levels[TISSUE_CLASSES.index(int(classes_of(np.array(VENTRICLE))))] < 260.0
    result = harmonised(image, chances, targets)
    assert (labels[lesion] == VENTRICLE).any()
    assert np.percentile(result[lesion], 10) > 850.0


def test_fluid_between_folds_of_the_cortex_is_told_from_it(labels: np.ndarray):
    """The network sees cortex alone where fluid lies in its folds; brightness tells them apart."""
    blurred = doubtful(np.where(labels == FLUID, CORTEX, labels))
    one = int(classes_of(np.array(CORTEX))), int(classes_of(np.array(FLUID)))
    share = ndimage.gaussian_filter((labels == FLUID).astype(np.float32), 4.0)
    blurred[one[1]] = blurred[one[0]] * np.clip(share, 0.05, 0.45)
    blurred[one[0]] -= blurred[one[1]]
    bright = {WHITE: 320.0, CORTEX: 440.0, VENTRICLE: 950.0, FLUID: 940.0}
    found = measure_structures(painted(labels, bright), merge_sides(blurred))
    levels = dict(zip(CLASS_NUMBERS[list(TISSUE_CLASSES)], found.levels, strict=True))
    assert levels[CORTEX] == pytest.approx(440.0, abs=40.0)
    assert levels[FLUID] == pytest.approx(940.0, abs=60.0)


def test_shading_is_one_on_average_over_the_brain(labels: np.ndarray, chances: np.ndarray):
    found = measure_structures(painted(labels, REFERENCE) * shading() * 3.0, chances)
    cells = [(np.arange(n) + 0.5) / CELL - 0.5 for n in SHAPE]
    factor = interpolated(found.shading, cells)[labels > 0]
    assert np.exp(np.log(factor).mean()) == pytest.approx(1.0, abs=0.05)
    assert np.corrcoef(factor, shading()[labels > 0])[0, 1] > 0.9


def test_air_beside_the_brain_becomes_air(labels: np.ndarray, chances: np.ndarray):
    image = painted(labels, CHANGES["negative"]) + 5.0
    beside = (labels == 0) & (chances[0] < SURELY_BACKGROUND) & (chances[0] > 0.5)
    assert np.count_nonzero(beside) > 500
    assert np.abs(np.median(harmonised(image, chances)[beside])) < 30.0


def test_absent_structures_are_not_guessed(labels: np.ndarray, chances: np.ndarray):
    found = measure_structures(painted(labels, REFERENCE), chances)
    there = {int(TISSUES[classes_of(np.array(number))]) for number in REFERENCE}
    for place, tissue in enumerate(TISSUE_CLASSES):
        assert np.isnan(found.levels[place]) == (tissue not in there)
    np.testing.assert_allclose(found.presence.sum(axis=0), 1.0, rtol=1e-5)
    assert np.all(np.isfinite(found.fields))


def test_sides_become_one_tissue():
    rng = np.random.default_rng(0)
    likely = rng.random((33, 3, 4, 5)).astype(np.float32)
    merged = merge_sides(likely)
    np.testing.assert_allclose(merged.sum(axis=0), likely.sum(axis=0), rtol=1e-5)
    left, right = (int(classes_of(np.array(number))) for number in (17, 53))
    np.testing.assert_allclose(merged[TISSUE_CLASSES.index(left)], likely[left] + likely[right], rtol=1e-6)
    np.testing.assert_array_equal(merged[0], likely[0])


def test_interpolation_is_linear_and_continues_the_ends():
    rng = np.random.default_rng(1)
    array = rng.random((4, 1, 6)).astype(np.float32)
    places = [np.linspace(-2, 5, 9), np.array([-1.0, 0.0, 2.0]), np.linspace(0.3, 4.9, 7)]
    mesh = np.meshgrid(*places, indexing="ij")
    expected = ndimage.map_coordinates(array, mesh, order=1, mode="nearest")
    np.testing.assert_allclose(interpolated(array, places), expected, atol=1e-5)


def test_the_outer_curve_rises_from_air_to_the_top():
    levels = np.full(len(TISSUE_CLASSES), np.nan)
    levels[1:4] = (300.0, 200.0, 900.0)  # the second falls behind the first: the curve stays flat between them
    ones = np.ones((len(TISSUE_CLASSES), 2, 2, 2), np.float32)
    found = StructureBrightness(levels, levels, ones, ones, ones[0], (np.zeros(2), np.zeros(2)))
    targets = np.array([0.0, 400.0, 600.0, 700.0, *[0.0] * (len(levels) - 4)])
    knots, heights = outer_curve(found, targets, 0.0, (1000.0, 950.0))
    np.testing.assert_allclose(knots, [0, 200, 300, 900, 1000])
    np.testing.assert_allclose(heights, [0, 500, 500, 700, 950])
