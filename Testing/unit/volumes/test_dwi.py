"""DwiVolume: what it holds, what it refuses; shells, directions, frames."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.geometry import GRIDS, build, grids

from MRHarmonizationLib.core.errors import GridMismatchError, InputError, ParameterError
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.gradients import find_shells, fsl_to_ras, ras_to_fsl

GRID = GRIDS["oblique"]
TENSOR_DIRECTIONS = np.array(
    [[0, 0, 0], [1, 1, 0], [1, -1, 0], [1, 0, 1], [1, 0, -1], [0, 1, 1], [0, 1, -1]], float
) / np.array([[1], *[[np.sqrt(2)]] * 6])


def make(b_values=(0, *[1000] * 6), vectors=TENSOR_DIRECTIONS, array=None, grid=GRID, **others) -> DwiVolume:
    if array is None:
        array = np.random.default_rng(0).integers(0, 2000, (*grid.shape, len(b_values)), dtype=np.int16)
    return DwiVolume(array, grid, np.array(b_values, float), np.array(vectors, float), **others)


def with_vector(index: int, vector) -> np.ndarray:
    vectors = TENSOR_DIRECTIONS.copy()
    vectors[index] = vector
    return vectors


def test_holds_a_read_only_view_of_its_input():
    array = np.zeros((*GRID.shape, 7), np.uint16)
    array.setflags(write=False)
    b_values, vectors = np.array([0.0, *[1000] * 6]), TENSOR_DIRECTIONS.copy()
    dwi = DwiVolume(array, GRID, b_values, vectors, "dti", {"echo_time_ms": 80.0})
    b_values[:] = vectors[:] = 7
    assert np.shares_memory(dwi.array, array)
    assert dwi.b_values_s_per_mm2.tolist() == [0, *[1000] * 6]
    np.testing.assert_allclose(dwi.gradients_ras, TENSOR_DIRECTIONS)
    for values in (dwi.array, dwi.b_values_s_per_mm2, dwi.gradients_ras):
        assert not values.flags.writeable
    assert dwi.n_volumes == 7
    assert dwi.metadata["echo_time_ms"] == 80.0


def test_memory_order_of_the_input_is_kept():
    stored = np.zeros((7, *GRID.shape), np.float32)
    assert np.shares_memory(make(array=np.moveaxis(stored, 0, -1)).array, stored)


def test_volumes_and_their_mean():
    array = np.random.default_rng(1).normal(100, 10, (*GRID.shape, 8)).astype(np.float32)
    dwi = make((0, *[1000] * 6, 5), np.vstack([TENSOR_DIRECTIONS, [0, 0, 0]]), array, metadata={"echo_time_ms": 80.0})
    np.testing.assert_array_equal(dwi.volume(3).array, array[..., 3])
    assert dwi.volume(3).metadata["echo_time_ms"] == "80.0"
    np.testing.assert_allclose(dwi.mean_b0().array, (array[..., 0] + array[..., 7]) / 2, rtol=1e-6)
    assert dwi.is_b0.tolist() == [True, *[False] * 6, True]
    with pytest.raises(ParameterError, match="volume 8 of 8"):
        dwi.volume(8)


def test_with_array_keeps_the_weighting_on_any_grid():
    dwi = make(name="dti")
    finer = GRID.with_spacing(GRID.spacing_mm / 2)
    other = dwi.with_array(np.ones((*finer.shape, 7), np.float32), finer)
    np.testing.assert_array_equal(other.gradients_ras, dwi.gradients_ras)
    np.testing.assert_array_equal(other.b_values_s_per_mm2, dwi.b_values_s_per_mm2)
    assert other.name == "dti"
    with pytest.raises(GridMismatchError):
        dwi.with_array(np.ones((*finer.shape, 7), np.float32))
    with pytest.raises(InputError, match="7 b-values for 6 volumes"):
        dwi.with_array(np.ones((*GRID.shape, 6), np.float32))


def test_digest_tells_series_apart():
    dwi = make()
    changed = dwi.array.copy()
    changed[0, 0, 0, 3] += 1
    turned = TENSOR_DIRECTIONS[:, [1, 0, 2]]
    digests = [
        series.digest()
        for series in (dwi, dwi.with_array(changed), make((0, *[1010] * 6)), make(vectors=turned), make(grid=GRID))
    ]
    assert len(set(digests)) == 4
    assert digests[0] == digests[4]
    stored = np.moveaxis(np.ascontiguousarray(np.moveaxis(dwi.array, -1, 0)), 0, -1)
    assert dwi.with_array(stored).digest() == digests[0], "memory order is no part of the content"


@pytest.mark.parametrize(
    ("b_values", "shells"),
    [
        ([0, 1000, 1000, 2000], {1000: [1, 2], 2000: [3]}),
        ([5, 990, 995, 1000, 1005, 1010, 1995, 2000, 3010], {1000: [1, 2, 3, 4, 5], 2000: [6, 7], 3010: [8]}),
        ([1.25, 928.289, 929.75], {930: [1, 2]}),
        ([2000, 0, 700, 2000], {700: [2], 2000: [0, 3]}),
        ([0.001, 1000, 0.002, 60], {60: [3], 1000: [1]}),
    ],
)
def test_mixed_shells(b_values, shells):
    found = find_shells(np.array(b_values, float))
    assert {b: members.tolist() for b, members in found.items()} == shells


@pytest.mark.parametrize(
    ("b_values", "message"),
    [
        ([0, *[1000] * 5], "6 b-values for 7 volumes"),
        ([0, *[1000] * 7], "8 b-values for 7 volumes"),
        ([0] * 7, "all 7 b-values are 0"),
        ([0.001] * 7, "looks like ms/µm²"),
        ([0, *[1.0] * 6], "looks like ms/µm²; multiply the b-values by 1000"),
        ([0, *[2.5] * 6], "multiply the b-values by 1000"),
        ([0, *[1e9] * 6], "looks like s/m²; divide the b-values by 1,000,000"),
        ([0, *[30] * 6], "no volume is diffusion-weighted"),
        ([0, *[1000] * 5, -1000], "volume 6 is negative"),
        ([0, *[1000] * 5, np.nan], "volume 6 is nan"),
        ([np.inf, *[1000] * 6], "volume 0 is inf"),
        ([1000] * 7, "smallest b-value is 1000 s/mm².*add the b = 0 volume"),
    ],
)
def test_b_values_refused(b_values, message):
    with pytest.raises(InputError, match=message):
        make(b_values, array=np.zeros((*GRID.shape, 7), np.int16))


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (TENSOR_DIRECTIONS[:6], r"shape \(6, 3\), expected \(7, 3\)"),
        (TENSOR_DIRECTIONS.T, r"shape \(3, 7\)"),
        (with_vector(2, [np.nan, 0, 1]), r"volume 2 \(b = 1000 s/mm²\) is \[nan"),
        (with_vector(3, [0, 0, np.inf]), "volume 3"),
        (with_vector(4, [0, 0, 0]), "volume 4.*is zero: a trace or ADC image"),
        (with_vector(5, [0.5, 0, 0]), "volume 5.*has length 0.5.*multiply the b-value by the squared length"),
        (with_vector(6, [0, 1.03, 0]), "volume 6.*has length 1.03"),
    ],
)
def test_gradients_refused(vectors, message):
    with pytest.raises(InputError, match=message):
        make(vectors=vectors)


def test_rounded_gradients_become_unit_vectors():
    vectors = np.round(TENSOR_DIRECTIONS * 1.01, 2)
    dwi = make(vectors=vectors)
    np.testing.assert_allclose(np.linalg.norm(dwi.gradients_ras[1:], axis=1), 1, atol=1e-12)
    np.testing.assert_allclose(dwi.gradients_ras, TENSOR_DIRECTIONS, atol=1e-12)


@pytest.mark.parametrize("row", [[np.nan] * 3, [0, 0, 0], [9, 9, 9], [0.001, 0, 0]])
def test_unweighted_volume_without_direction(row):
    """NaN rows of b = 0 volumes are common: they tell no direction."""
    assert make(vectors=with_vector(0, row)).gradients_ras[0].tolist() == [0, 0, 0]


def test_unweighted_volume_with_direction_keeps_it():
    """Philips marks repeated unweighted volumes by b-values such as 0.001 with a direction."""
    dwi = make((0.001, *[1000] * 6), with_vector(0, [0, 0.6, 0.8]))
    assert dwi.is_b0[0]
    np.testing.assert_allclose(dwi.gradients_ras[0], [0, 0.6, 0.8])
    assert dwi.b_values_s_per_mm2[0] == 0.001


def test_arrays_refused():
    with pytest.raises(InputError, match="3 dimensions.*choose the whole diffusion series"):
        make(array=np.zeros(GRID.shape))
    with pytest.raises(InputError, match="complex64.*magnitude"):
        make(array=np.zeros((*GRID.shape, 7), np.complex64))
    with pytest.raises(GridMismatchError, match="differs from the grid's"):
        make(array=np.zeros((7, *GRID.shape)))


def test_directions_are_counted_up_to_their_sign():
    assert make().n_directions == 6
    make().check_tensor()
    assert make((0, 1000, 1000, 2000), [[0, 0, 0], [1, 0, 0], [-1, 0, 0], [1, 0, 0]]).n_directions == 1


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        ([[0, 0, 0], [1, 0, 0]], "1 gradient direction; a tensor needs 6"),
        ([[0, 0, 0], *np.eye(3)], "3 gradient directions; a tensor needs 6"),
        (
            [[0, 0, 0], *[[np.cos(a), np.sin(a), 0] for a in np.linspace(0, 3, 12)]],
            "12 gradient directions do not cover",
        ),
    ],
)
def test_too_few_directions_for_a_tensor(vectors, message):
    dwi = make((0, *[1000] * (len(vectors) - 1)), vectors)
    with pytest.raises(InputError, match=message):
        dwi.check_tensor()


def test_fsl_convention_by_hand():
    """Along the axes, the first reversed where they are right-handed (FSL's documentation)."""
    vectors = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [0.6, 0, 0.8]])
    radiological = build((2, 2, 2), (2, 3, 4), (0, 0, 0), np.diag([-1.0, 1, 1]))  # determinant < 0
    np.testing.assert_allclose(fsl_to_ras(vectors, radiological), vectors * [-1, 1, 1])
    neurological = build((2, 2, 2), (2, 3, 4), (0, 0, 0), np.eye(3))
    np.testing.assert_allclose(fsl_to_ras(vectors, neurological), vectors * [-1, 1, 1])
    permuted = build((2, 2, 2), (2, 3, 4), (0, 0, 0), np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]], float))
    np.testing.assert_allclose(fsl_to_ras(vectors[:3], permuted), [[0, -1, 0], [0, 0, 1], [1, 0, 0]])


@given(grids(), st.integers(0, 1000))
def test_frames_there_and_back(grid, seed):
    vectors = np.random.default_rng(seed).normal(size=(5, 3))
    np.testing.assert_allclose(ras_to_fsl(fsl_to_ras(vectors, grid), grid), vectors, atol=1e-12)
    np.testing.assert_allclose(
        np.linalg.norm(fsl_to_ras(vectors, grid), axis=1), np.linalg.norm(vectors, axis=1), rtol=1e-9
    )
