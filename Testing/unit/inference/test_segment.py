"""Labels land where they belong on every kind of grid, volumes are true, and an answer unlike a brain is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.geometry import GRIDS, build, rotation, sitk_image
from tiny_models import write_tiny_model, write_tiny_segmenter

from MRHarmonizationLib.core.brain_regions import CLASS_NUMBERS, REGIONS
from MRHarmonizationLib.core.errors import (
    InputError,
    ModelNotFoundError,
    OperationCancelled,
    ParameterError,
    ResourceError,
    WeightsError,
)
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference import region_head
from MRHarmonizationLib.inference.backends import BackendOutOfMemory
from MRHarmonizationLib.inference.region_head import (
    brain_box,
    find_head,
    guess_middle,
    likely_structures,
    normalise_head,
)
from MRHarmonizationLib.inference.segment import SegmentRequest, on_grid, segment, segmenter
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.orientation import AxisOrder
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.card import IntensityRule
from MRHarmonizationLib.weights.store import get_model

#: Classes the tests' network answers with, from dark to bright, and their FreeSurfer numbers.
CLASSES = (0, 3, 2, 1)
NUMBERS = {REGIONS[index - 1].number for index in CLASSES if index}


@pytest.fixture
def weights(tmp_path: Path, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pytest.importorskip("onnx")
    folder = tmp_path / "weights"
    write_tiny_segmenter(folder)
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(folder))
    return folder


#: Three balls (centre RAS mm, radius mm, intensity) that no flip or permutation maps on each other.
BALLS = (((0.0, 0.0, 0.0), 30.0, 40.0), ((12.0, 3.0, -4.0), 9.0, 70.0), ((-6.0, 13.0, 8.0), 11.0, 100.0))
EXPECTED = (REGIONS[2].number, REGIONS[1].number, REGIONS[0].number)


def painted(grid: Grid, name: str = "scan") -> Volume:
    """The balls on a grid whose middle is the origin of space, seen by SimpleITK's own idea of the place of voxels."""
    affine = grid.affine.copy()
    affine[:3, 3] -= grid.corners_ras().mean(axis=0)
    placed = Grid(grid.shape, affine)
    places = voxel_places(placed)
    array = np.zeros(grid.shape, np.float32)
    for centre, radius, value in BALLS:
        array[np.linalg.norm(places - centre, axis=-1) < radius] = value
    texture = np.sin(places[..., 0]) * np.cos(0.7 * places[..., 1]) + 1.0  # an image, no label map
    return Volume(array + texture.astype(np.float32), placed, name)


def voxel_places(grid: Grid) -> np.ndarray:
    """RAS mm of every voxel (K, J, I, 3), by SimpleITK."""
    image = sitk_image(np.zeros(grid.shape, np.uint8), grid)
    origin = np.array(image.TransformIndexToPhysicalPoint((0, 0, 0)))
    steps = [np.array(image.TransformIndexToPhysicalPoint(tuple(int(n == a) for n in range(3)))) for a in range(3)]
    k, j, i = np.indices(grid.shape)
    lps = origin + sum(index[..., None] * (step - origin) for index, step in zip((i, j, k), steps, strict=True))
    return lps * (-1.0, -1.0, 1.0)


def large(kind: str) -> Grid:
    """One of the grids of every kind, with voxels of at most 2.5 mm and room for the balls."""
    found = GRIDS[kind]
    spacing = np.minimum(found.spacing_mm, 2.5)
    size = np.ceil(72 / spacing).astype(int)
    return build(tuple(int(n) for n in size[::-1]), spacing, (0, 0, 0), found.directions)


@pytest.mark.parametrize("kind", sorted(set(GRIDS) - {"single_slice"}))
def test_what_was_painted_comes_back_at_its_place(weights: Path, kind: str):
    scan = painted(large(kind))
    result = segment(SegmentRequest(scan))
    assert same_grid(result.labels.grid, scan.grid)
    assert result.labels.array.dtype == np.int16
    places = voxel_places(result.labels.grid)
    # the network answers on 2 mm: edges of the brighter ball are of the middle class
    for (centre, radius, _), number, away_mm in zip(BALLS[1:], EXPECTED[1:], (1.2, 0.8), strict=True):
        own = result.labels.array == number
        distance = np.linalg.norm(places - centre, axis=-1)
        assert own[distance < radius - 2.5].all(), kind
        assert np.linalg.norm(places[own & (distance < 12)].mean(axis=0) - centre) < away_mm
    brightest = 4 / 3 * np.pi * BALLS[2][1] ** 3  # the edges of the others are of two classes
    assert result.volumes_mm3[EXPECTED[2]] == pytest.approx(brightest, rel=0.15)
    assert set(np.unique(result.labels.array)) - {0} == NUMBERS


@pytest.mark.parametrize("order", [((0, 1, 2), (True, True, False)), ((2, 0, 1), (False, True, True))])
def test_storage_does_not_matter(weights: Path, order: tuple):
    """Spacings of which voxels fall midway between those of the network included."""
    scan = painted(build((36, 36, 30), (2.0, 2.0, 2.4), (0, 0, 0), rotation(8, -5, 12)))
    moved = AxisOrder(*order)
    other = Volume(moved.apply(scan.array), moved.apply_grid(scan.grid), "other")
    first, second = segment(SegmentRequest(scan)), segment(SegmentRequest(other))
    np.testing.assert_array_equal(second.labels.array, moved.apply(first.labels.array))
    assert second.volumes_mm3 == first.volumes_mm3


def test_the_brightness_of_voxels_draws_the_borders(weights: Path):
    """The network answers on 2 mm; at 1 mm a ball is as round as it was painted."""
    scan = painted(build((70, 72, 74), (1, 1, 1), (0, 0, 0), np.eye(3)))
    truth = np.linalg.norm(voxel_places(scan.grid) - BALLS[2][0], axis=-1) < BALLS[2][1]
    shares = {}
    for refine in (True, False):
        found = segment(SegmentRequest(scan, refine=refine)).labels.array == EXPECTED[2]
        shares[refine] = np.count_nonzero(found != truth) / np.count_nonzero(truth)
    assert shares[True] < 0.01
    assert shares[True] < 0.3 * shares[False]


def test_a_region_outside_the_field_of_view_is_nothing():
    labels = Volume(np.full((4, 4, 4), 17, np.int16), Grid.from_parts((4, 4, 4)))
    wide = on_grid(labels, Grid.from_parts((8, 4, 4)))
    assert np.all(wide[:4] == 17)
    assert not wide[4:].any()


# -- looks


@pytest.fixture
def contract(weights: Path):
    return get_model("brain-regions").input


def answer_of(classes: np.ndarray) -> np.ndarray:
    """Certain probabilities (1, 33, K, J, I) of classes (1, K, J, I)."""
    return np.moveaxis(np.eye(CLASS_NUMBERS.size, dtype=np.float32)[classes], -1, 1)


class Brain:
    """A network that finds class 7 where the image is bright, and 9 where it sees all of it; notes what it is told."""

    name, device = "onnxruntime", "cpu"

    def __init__(self, image: np.ndarray):
        self.whole = np.count_nonzero(image)
        self.batches: list[np.ndarray] = []

    def run(self, batch: np.ndarray) -> np.ndarray:
        self.batches.append(batch[0])
        inside = batch[:, 0] > 0.5
        return answer_of(np.where(inside, 9 if np.count_nonzero(inside) == self.whole else 7, 0))

    def told_middle(self, number: int) -> list[float]:
        """Where a look was told that the brain's middle is, in voxels of 2 mm of its tile."""
        _, superior, anterior, right = self.batches[number]
        lines = (superior[:, 0, 0], anterior[0, :, 0], right[0, 0, :])
        assert all(np.allclose(np.diff(line), 0.02, atol=1e-5) for line in lines)
        return [float(-line[0] * 50) for line in lines]


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(region_head, "LARGEST_TILE_MM", (96, 96, 96))


def test_looks_are_told_ever_better_where_the_brain_is(contract, small_tiles):
    image = np.zeros((64, 80, 64), np.float32)
    image[15:45, 30:60, 20:50] = 1.0
    network = Brain(image)
    likely = likely_structures(image, (20.0, 35.0, 30.0), contract, network, Progress())
    np.testing.assert_array_equal(likely.argmax(axis=0), np.where(image > 0, 9, 0))
    np.testing.assert_allclose(likely.sum(axis=0), 1.0)
    assert 2 <= len(network.batches) <= region_head.MOST_LOOKS
    assert network.told_middle(0) == pytest.approx([20.0, 23.5, 23.5], abs=0.6)
    assert network.told_middle(-1) == pytest.approx([23.5, 23.5, 23.5], abs=1.0)
    assert network.batches[-1][0].shape == (48, 48, 48)


def test_a_brain_that_comes_near_the_edge_of_its_tile_is_looked_at_whole(contract, small_tiles):
    """The tile's 48 voxels hold a brain of 40 with the margin of 4 voxels on each side, or one cut by the head's end.

    Where the middle is known from the start, a second look proves it and there is no third.
    """
    for first, size, looks, looked in ((20, 40, 2, 48), (20, 41, 3, 80), (0, 40, 2, 48)):
        image = np.zeros((80, 80, 80), np.float32)
        image[first : first + size, 20:50, 20:50] = 1.0
        network = Brain(image)
        likely_structures(image, (first + (size - 1) / 2, 34.5, 34.5), contract, network, Progress())
        assert (len(network.batches), network.batches[-1][0].shape[0]) == (looks, looked)


def test_a_brain_too_large_for_a_tile_is_looked_at_whole(contract, small_tiles):
    image = np.zeros((64, 80, 61), np.float32)
    image[5:55, 25:60, 15:50] = 1.0
    network = Brain(image)
    likely = likely_structures(image, (30.0, 42.0, 32.0), contract, network, Progress())
    assert network.batches[-1][0].shape == (64, 80, 64)
    np.testing.assert_array_equal(likely.argmax(axis=0) > 0, image > 0)
    nothing = likely_structures(image, (30.0, 42.0, 32.0), contract, Blind(), Progress())
    assert not nothing.argmax(axis=0).any()


class Blind:
    """A network that finds nothing."""

    name, device = "onnxruntime", "cpu"

    def run(self, batch: np.ndarray) -> np.ndarray:
        return answer_of(np.zeros((1, *batch.shape[2:]), np.int64))


class Answers:
    """A network that answers with what it was given."""

    name, device = "onnxruntime", "cpu"

    def __init__(self, answer: object):
        self.answer = answer

    def run(self, batch: np.ndarray) -> np.ndarray:
        if isinstance(self.answer, Exception):
            raise self.answer
        return np.broadcast_to(np.float32(self.answer), (1, CLASS_NUMBERS.size, *batch.shape[2:]))


#: Sums to 1, but is no probability.
NEGATIVE = np.array([2.0, -1.0, *[0.0] * (CLASS_NUMBERS.size - 2)]).reshape(1, -1, 1, 1, 1)


@pytest.mark.parametrize(
    ("answer", "error", "word"),
    [
        (0.5, WeightsError, "sum to 16.5"),
        (np.nan, WeightsError, "sum to nan"),
        (NEGATIVE, WeightsError, "expected 1"),
        (BackendOutOfMemory("cannot allocate"), ResourceError, "40 x 32 x 24 voxels"),
    ],
)
def test_answers_that_are_no_probabilities(contract, answer, error, word):
    image = np.random.default_rng(0).random((24, 32, 40), np.float32)
    with pytest.raises(error, match=word):
        likely_structures(image, (12.0, 16.0, 20.0), contract, Answers(answer), Progress())


def test_answers_of_another_shape(contract):
    class Short(Blind):
        def run(self, batch: np.ndarray) -> np.ndarray:
            return super().run(batch)[:, :5]

    with pytest.raises(WeightsError, match=r"shape \(1, 5, 16, 16, 16\)"):
        likely_structures(np.ones((16, 16, 16), np.float32) * np.arange(16), (8, 8, 8), contract, Short(), Progress())


def test_where_a_brain_begins_and_ends():
    classes = np.zeros((60, 70, 80), np.uint8)
    assert brain_box(classes) is None
    classes[10:40, 15:55, 20:70] = 3
    assert brain_box(classes) == [(10, 39), (15, 54), (20, 69)]
    classes[55, 3, 3:9] = 3  # stray voxels
    assert brain_box(classes) == [(10, 39), (15, 54), (20, 69)]


def test_the_brains_middle_is_guessed_from_the_head():
    mask = np.zeros((230, 220, 200), bool)
    z, y, x = np.indices(mask.shape)
    mask |= ((z - 140) / 80) ** 2 + ((y - 100) / 95) ** 2 + ((x - 98) / 75) ** 2 < 1  # skull
    mask |= (z < 100) & (z > 5) & (abs(x - 70) < 60) & (abs(y - 110) < 60)  # neck and jaw, turned aside
    mask |= (abs(z - 98) < 16) & (abs(x - 98) < 20) & (y >= 190) & (y < 218)  # nose
    assert guess_middle(mask) == pytest.approx((220 - 78, 100, 98), abs=3)
    coarse = guess_middle(mask[::2, ::2, ::2], 2.0)
    assert [2 * place for place in coarse] == pytest.approx((220 - 78, 100, 98), abs=4)
    brain = ((z - 140) / 65) ** 2 + ((y - 100) / 85) ** 2 + ((x - 98) / 65) ** 2 < 1
    assert guess_middle(brain) == pytest.approx((140, 100, 98), abs=2)


@pytest.mark.parametrize("shape", [(20, 40, 60), (5, 200, 33), (64, 64, 64)])
def test_the_box_holds_the_head_in_whole_strides(shape: tuple[int, int, int]):
    array = np.zeros(shape, np.float32)
    array[1:-1, 9:30, 10:25] = 100.0
    box = find_head(array, 32)
    assert all(n % 32 == 0 or n == whole for n, whole in zip(box.shape, shape, strict=True))
    assert all(first in range(whole - n + 1) for first, n, whole in zip(box.start, box.shape, shape, strict=True))
    assert array[box.slices].sum() == array.sum()
    assert all(-1 < guess < n for guess, n in zip(box.middle, box.shape, strict=True))


def test_the_box_grows_on_both_sides_of_the_head():
    array = np.zeros((100, 100, 100), np.float32)
    array[40:60, 40:60, 40:60] = 50.0
    box = find_head(array, 64)
    assert box.shape == (64, 64, 64)
    assert all(abs((first + 32) - 50) <= 1 for first in box.start)
    assert [first + middle for first, middle in zip(box.start, box.middle, strict=True)] == pytest.approx([49.5] * 3)
    loose = find_head(array, 1)
    assert (loose.start, loose.shape) == ((32, 32, 32), (36, 36, 36)), "8 mm of air on each side"


def test_intensities_are_those_the_network_was_taught_with():
    rng = np.random.default_rng(0)
    array = rng.normal(300, 40, (40, 40, 40)).astype(np.float32)
    array[5, 5, 5], array[6, 6, 6] = 1e5, -1e5
    values = normalise_head(array)
    assert values.dtype == np.float32
    assert (values.min(), values.max()) == (0.0, 2.0)
    low, high = np.percentile(array, (0.5, 99.5))
    np.testing.assert_allclose(values[20], np.clip((array[20] - low) / (high - low), 0, 2), atol=1e-5)
    array[:, :, :20] = 0.0
    brighter = normalise_head(array, IntensityRule(lower=1.0, upper=60.0, foreground=True))
    high = np.percentile(array[:, :, 20:], 60)
    np.testing.assert_allclose(brighter[20, :, 20:], np.clip(array[20, :, 20:] / high, 0, 2), rtol=0.01)


def test_air_around_a_head_does_not_matter(weights: Path):
    small = painted(build((70, 70, 70), (1, 1, 1), (0, 0, 0), np.eye(3)))
    wide = Volume(np.pad(small.array, 40), small.grid.crop((-40, -40, -40), (150, 150, 150)))
    first, second = (segment(SegmentRequest(scan)) for scan in (small, wide))
    np.testing.assert_array_equal(second.labels.array[40:-40, 40:-40, 40:-40], first.labels.array)


# -- refusals and doubts


def test_no_scan_is_refused(weights: Path):
    scan = painted(build((40, 40, 40), (1.5, 1.5, 1.5), (0, 0, 0), np.eye(3)))
    for array, word in (
        (np.full_like(scan.array, 3), "constant"),
        (np.where(scan.array > 60, np.nan, scan.array), "NaN"),
        (scan.array[:1], "40 x 40 x 1 voxels"),
        ((scan.array / 10).astype(np.int16), "label map"),
    ):
        with pytest.raises(InputError, match=word):
            segment(SegmentRequest(Volume(array, Grid.from_parts(array.shape))))


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"device": "tpu"}, "device is 'tpu'"),
        ({"backend": "jax"}, "backend is 'jax'"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_wrong_options(oblique_volume: Volume, options: dict, word: str):
    with pytest.raises(ParameterError, match=word):
        SegmentRequest(oblique_volume, **options)


def test_models_for_something_else_are_refused(weights: Path, oblique_volume: Volume):
    write_tiny_model(weights, "lowfield-like")
    with pytest.raises(ParameterError, match="made for 'enhance', not for 'segment'"):
        segmenter("lowfield-like")
    with pytest.raises(ModelNotFoundError):
        segment(SegmentRequest(noise_block(), model="none"))


def test_segmenters_are_no_enhancers(weights: Path):
    from MRHarmonizationLib.inference.enhance import EnhanceRequest, enhance

    with pytest.raises(ParameterError, match="made for 'segment', not for 'enhance'"):
        enhance(noise_block(), EnhanceRequest(model="brain-regions"))


def noise_block() -> Volume:
    array = np.random.default_rng(1).normal(100, 20, (34, 36, 38)).astype(np.float32)
    return Volume(array, Grid.from_parts(array.shape), "noise")


def test_networks_that_want_to_be_told_something_else(weights: Path):
    write_tiny_segmenter(weights, "curious", input={"channels": ["image", "age"]})
    with pytest.raises(WeightsError, match="wants the channels image, age"):
        segmenter("curious")


@pytest.mark.parametrize("spacing", [0.7, 1.5])
def test_networks_on_voxels_that_are_no_multiple_of_a_millimetre(weights: Path, spacing: float):
    write_tiny_segmenter(weights, "odd", input={"spacing_mm": spacing})
    with pytest.raises(WeightsError, match=f"voxels of {spacing} mm"):
        segmenter("odd")


@pytest.mark.parametrize("share", [0.25, 0.6])
def test_cancelling_between_looks_and_rounds(weights: Path, share: float):
    progress = Progress(lambda fraction, message: progress.cancel() if fraction > share else None)
    with pytest.raises(OperationCancelled):
        segment(SegmentRequest(painted(build((40, 40, 40), (1.5, 1.5, 1.5), (0, 0, 0), np.eye(3)))), progress)


def test_an_answer_unlike_a_brain_is_said(weights: Path):
    result = segment(SegmentRequest(painted(build((40, 40, 40), (1.5, 1.5, 1.5), (0, 0, 0), np.eye(3)))))
    said = " | ".join(result.warnings)
    assert "ml of brain were found" in said
    assert "not found:" in said
    assert result.provenance.warnings == result.warnings
    write_tiny_segmenter(weights, "blind", classes=(0, 0, 0, 0))
    nothing = segment(SegmentRequest(noise_block(), model="blind"))
    assert any("no structure of the brain was found" in warning for warning in nothing.warnings)
    assert not nothing.labels.array.any()


def test_provenance_names_model_and_weights(weights: Path):
    scan = painted(build((40, 40, 40), (1.5, 1.5, 1.5), (0, 0, 0), np.eye(3)))
    result = segment(SegmentRequest(scan, threads=1))
    record = result.provenance.to_dict()
    assert record["operation"] == "segment"
    assert record["weights_sha256"] == get_model("brain-regions").weights.sha256
    assert record["parameters"]["threads"] == 1
    assert "volume" not in record["parameters"]
    assert json.dumps(record)
    assert result.labels.name == "scan_brain-regions"
    assert result.labels.metadata["MRHarmonization.model"] == "brain-regions"
