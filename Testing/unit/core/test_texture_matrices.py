from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.texture import DIRECTIONS_13, cooccurrence_matrices

LEVELS = 5
shapes = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5)
volumes = shapes.flatmap(lambda shape: hnp.arrays(np.uint8, shape, elements=st.integers(0, LEVELS)))
displacements = st.tuples(*(st.integers(-3, 3),) * 3).filter(any)


def by_hand(levels, n_levels, offset, symmetric=False):
    """Count pairs one by one."""
    counts = np.zeros((n_levels, n_levels))
    for place in np.ndindex(levels.shape):
        other = tuple(a + b for a, b in zip(place, offset, strict=True))
        if all(0 <= a < size for a, size in zip(other, levels.shape, strict=True)) and levels[place] and levels[other]:
            counts[levels[place] - 1, levels[other] - 1] += 1
    return counts + counts.T if symmetric else counts


@given(volumes.filter(np.any), st.lists(displacements, min_size=1, max_size=6), st.booleans())
def test_counts_are_those_of_a_loop_over_pairs(levels, offsets, symmetric):
    counts = cooccurrence_matrices(levels, None, LEVELS, offsets, symmetric, normalised=False)
    for matrix, offset in zip(counts, offsets, strict=True):
        np.testing.assert_array_equal(matrix, by_hand(levels, LEVELS, offset, symmetric))


@pytest.mark.parametrize("n_levels", [2, 32, 39, 40, 255, 256, 700])
def test_every_way_of_counting_agrees_with_the_loop(n_levels, rng):
    """Three displacements a count up to 39 levels, one above; 16-bit codes up to 255 levels, 32-bit above."""
    levels = rng.integers(0, n_levels + 1, (4, 6, 5)).astype(np.uint16)
    counts = cooccurrence_matrices(levels, None, n_levels, DIRECTIONS_13, symmetric=False, normalised=False)
    for matrix, offset in zip(counts, DIRECTIONS_13, strict=True):
        np.testing.assert_array_equal(matrix, by_hand(levels, n_levels, offset))


@given(st.integers(0, 2**32 - 1), st.floats(0.01, 0.3), st.lists(displacements, min_size=1, max_size=4))
def test_sparse_masks_agree_with_the_loop(seed, share, offsets):
    """Below a share of its box a mask's voxels are looked up one by one."""
    rng = np.random.default_rng(seed)
    levels = rng.integers(1, LEVELS + 1, (6, 7, 8)).astype(np.uint8)
    mask = rng.uniform(size=levels.shape) < share
    mask[0, 0, 0] = mask[-1, -1, -1] = True
    counts = cooccurrence_matrices(levels, mask, LEVELS, offsets, symmetric=False, normalised=False)
    for matrix, offset in zip(counts, offsets, strict=True):
        np.testing.assert_array_equal(matrix, by_hand(levels * mask, LEVELS, offset))


def test_volumes_longer_than_a_chunk(rng):
    levels = rng.integers(0, 4, (40, 70, 66)).astype(np.uint8)
    counts = cooccurrence_matrices(levels, None, 3, DIRECTIONS_13, symmetric=False, normalised=False)
    for matrix, (k, j, i) in zip(counts, DIRECTIONS_13, strict=True):
        ends = [
            (slice(max(0, -s), n - max(0, s)), slice(max(0, s), n - max(0, -s)))
            for s, n in zip((k, j, i), levels.shape, strict=True)
        ]
        first, second = levels[tuple(e[0] for e in ends)], levels[tuple(e[1] for e in ends)]
        for a, b in np.ndindex(3, 3):
            assert matrix[a, b] == np.count_nonzero((first == a + 1) & (second == b + 1))


@given(volumes.filter(np.any))
def test_normalised_matrices_are_symmetric_and_sum_to_one(levels):
    matrices = cooccurrence_matrices(levels, None, LEVELS, DIRECTIONS_13)
    sums = matrices.sum(axis=(1, 2))
    counts = cooccurrence_matrices(levels, None, LEVELS, DIRECTIONS_13, normalised=False)
    np.testing.assert_allclose(sums, np.where(counts.any(axis=(1, 2)), 1, 0), atol=1e-14)
    np.testing.assert_array_equal(matrices, matrices.transpose(0, 2, 1))


@given(volumes.filter(np.any), displacements)
def test_opposite_displacements_give_transposed_matrices(levels, offset):
    opposite = tuple(-step for step in offset)
    there, back = cooccurrence_matrices(levels, None, LEVELS, [offset, opposite], symmetric=False)
    np.testing.assert_array_equal(there, back.T)


@given(hnp.arrays(np.uint8, (4, 5, 6), elements=st.integers(1, LEVELS)), st.data())
def test_a_box_mask_is_the_same_as_cropping(levels, data):
    starts = [data.draw(st.integers(0, n - 1)) for n in levels.shape]
    box = tuple(slice(a, data.draw(st.integers(a + 1, n))) for a, n in zip(starts, levels.shape, strict=True))
    mask = np.zeros(levels.shape, bool)
    mask[box] = True
    masked = cooccurrence_matrices(levels, mask, LEVELS, DIRECTIONS_13, normalised=False)
    cropped = cooccurrence_matrices(levels[box], None, LEVELS, DIRECTIONS_13, normalised=False)
    np.testing.assert_array_equal(masked, cropped)


def test_disjoint_parts_add_up(rng):
    levels = rng.integers(1, LEVELS + 1, (6, 6, 9)).astype(np.uint8)
    left, right = np.zeros(levels.shape, bool), np.zeros(levels.shape, bool)
    left[:, :, :4] = right[:, :, 5:] = True
    both, one, other = (
        cooccurrence_matrices(levels, mask, LEVELS, DIRECTIONS_13, normalised=False)
        for mask in (left | right, left, right)
    )
    np.testing.assert_array_equal(both, one + other)


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("normalised", [False, True])
def test_pictures_give_exactly_scikit_image(rng, symmetric, normalised):
    from skimage.feature import graycomatrix

    picture = rng.integers(0, 16, (37, 29)).astype(np.uint8)
    angles, distances = [0, np.pi / 4, np.pi / 2, 3 * np.pi / 4], [1, 2, 5]
    expected = graycomatrix(picture, distances, angles, 16, symmetric=symmetric, normed=normalised)
    for d, distance in enumerate(distances):
        offsets = [(0, round(np.sin(a) * distance), round(np.cos(a) * distance)) for a in angles]
        ours = cooccurrence_matrices(picture[None] + 1, None, 16, offsets, symmetric, normalised)
        np.testing.assert_array_equal(ours, np.moveaxis(expected[:, :, d], 2, 0))


@pytest.fixture
def masked_volume(rng):
    levels = rng.integers(1, 33, (14, 17, 15)).astype(np.uint8)
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in levels.shape), indexing="ij")
    mask = (k**2 + j**2 + i**2 < 0.9) & (rng.uniform(size=levels.shape) < 0.95)
    return levels, mask


def test_masked_volumes_give_exactly_mahotas(masked_volume):
    texture = pytest.importorskip("mahotas.features.texture", reason="mahotas is not installed: no comparison with it")
    levels, mask = masked_volume
    counted = np.where(mask, levels, 0).astype(np.uint8)
    theirs = [texture.cooccurence(counted, n, symmetric=True)[1:, 1:] for n in range(13)]
    ours = cooccurrence_matrices(levels, mask, 32, DIRECTIONS_13, normalised=False)
    unmatched = [matrix.astype(float) for matrix in theirs]
    for matrix in ours:
        match = next(n for n, other in enumerate(unmatched) if np.array_equal(matrix, other))
        unmatched.pop(match)
    assert unmatched == []


def test_masked_volumes_give_exactly_pyradiomics(masked_volume):
    radiomics = pytest.importorskip("radiomics", reason="pyradiomics is not installed: no comparison with it")
    levels, mask = masked_volume
    theirs, angles = radiomics.cMatrices.calculate_glcm(levels.astype(np.int32), mask, np.array([1]), 32, False, 0)
    offsets = [tuple(int(step) for step in angle) for angle in angles]
    ours = cooccurrence_matrices(levels, mask, 32, offsets, symmetric=False, normalised=False)
    np.testing.assert_array_equal(ours, np.moveaxis(theirs[0], 2, 0))


def test_masks_of_any_number_type_mean_nonzero(rng):
    levels = rng.integers(1, 4, (4, 5, 6))
    mask = rng.uniform(size=levels.shape) < 0.6
    expected = cooccurrence_matrices(levels, mask, 3, DIRECTIONS_13)
    for other in (mask.astype(np.uint8) * 255, mask * -2.5, np.asfortranarray(mask)):
        np.testing.assert_array_equal(cooccurrence_matrices(levels, other, 3, DIRECTIONS_13), expected)


def test_inputs_are_left_alone(rng):
    levels, mask = rng.integers(1, 4, (4, 5, 6)), rng.uniform(size=(4, 5, 6)) < 0.6
    kept = levels.copy()
    levels.setflags(write=False)
    mask.setflags(write=False)
    cooccurrence_matrices(levels, mask, 3, DIRECTIONS_13)
    np.testing.assert_array_equal(levels, kept)


def test_displacements_longer_than_the_volume_have_no_pairs():
    counts = cooccurrence_matrices(np.ones((3, 4, 5), int), None, 1, [(0, 0, 4), (0, 0, 5), (3, 0, 0), (10**6, 1, 1)])
    assert counts.ravel().tolist() == [1, 0, 0, 0]


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        ({"n_levels": 1025}, ParameterError, "1025 grey levels"),
        ({"n_levels": 0}, ParameterError, "0 grey levels"),
        ({"n_levels": 2}, InputError, "levels run from 1 to 3"),
        ({"levels": np.full((2, 2, 2), -1)}, InputError, "levels run from -1"),
        ({"levels": np.full((2, 2, 2), 1.5)}, InputError, "float64"),
        ({"levels": np.full((2, 2), 1)}, InputError, "2 dimensions"),
        ({"offsets": [(0, 0, 0)]}, ParameterError, "pairs each voxel with itself"),
        ({"offsets": [(0, 0, 1)] * 200, "n_levels": 1024}, ParameterError, "GB"),
        ({"mask": np.zeros((2, 2, 2))}, InputError, "empty"),
        ({"mask": np.full((2, 2, 2), np.nan)}, InputError, "no numbers"),
        ({"mask": np.ones((2, 2, 3))}, InputError, r"mask shape \(2, 2, 3\)"),
    ],
)
def test_bad_input_is_refused_with_its_value(change, error, said):
    given_arguments = {"levels": np.full((2, 2, 2), 3), "mask": None, "n_levels": 3, "offsets": [(0, 0, 1)], **change}
    if "n_levels" in change and change["n_levels"] == 2:
        given_arguments["levels"] = np.array([[[1, 3]]])
    with pytest.raises(error, match=said):
        cooccurrence_matrices(**given_arguments)
