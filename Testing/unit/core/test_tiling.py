from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.tiling import (
    RAMP_PART_OF_HALO,
    padded_size,
    plan_axis,
    plan_tiles,
    reflected_indices,
    smallest_tile,
)

sizes = st.tuples(st.integers(1, 60), st.integers(1, 9), st.integers(0, 20), st.integers(0, 40)).map(
    lambda drawn: (drawn[0] * drawn[1], smallest_tile(drawn[2], drawn[1]) + drawn[3], drawn[2], drawn[1])
)


@given(sizes)
def test_weights_of_all_spans_add_up_to_one_and_lie_on_the_stride(case):
    size, tile, halo, stride = case
    spans = plan_axis(size, tile, halo, stride)
    total = np.zeros(size)
    for span in spans:
        assert 0 <= span.start < span.stop <= size
        assert span.start % stride == 0
        assert span.stop % stride == 0
        assert span.stop - span.start <= max(tile, stride)
        assert span.weights.dtype == np.float32
        assert span.weights.min() >= 0
        total[span.slice] += span.weights
    np.testing.assert_allclose(total, 1, atol=1e-6)


@given(sizes)
def test_voxels_near_the_inner_edge_of_a_tile_never_count(case):
    size, tile, halo, stride = case
    discarded = int(halo * (1 - RAMP_PART_OF_HALO))
    for span in plan_axis(size, tile, halo, stride):
        if span.start > 0:
            assert not span.weights[:discarded].any()
        if span.stop < size:
            assert not span.weights[span.weights.size - discarded :].any()


def test_an_axis_that_fits_is_one_span():
    (span,) = plan_axis(64, 64, 16, 8)
    assert (span.start, span.stop) == (0, 64)
    assert np.all(span.weights == 1)


@pytest.mark.parametrize(
    ("size", "tile", "halo", "stride"), [(64, 32, 16, 8), (63, 32, 4, 8), (64, 39, 16, 8), (0, 8, 0, 1)]
)
def test_impossible_plans_are_refused(size, tile, halo, stride):
    with pytest.raises(ParameterError):
        plan_axis(size, tile, halo, stride)


def test_smallest_tile_is_accepted_and_one_stride_less_is_not():
    tile = smallest_tile(halo=13, stride=8)
    assert len(plan_axis(160, tile, 13, 8)) > 2
    with pytest.raises(ParameterError, match=f"at least {tile} voxels"):
        plan_axis(160, tile - 8, 13, 8)


def test_joining_the_tiles_of_an_array_gives_the_array_back():
    array = np.random.default_rng(0).normal(size=(2, 40, 56, 24)).astype(np.float32)
    joined = np.zeros_like(array)
    tiles = plan_tiles(array.shape[1:], (24, 24, 24), halo=6, stride=4)
    assert len(tiles) > 8
    for tile in tiles:
        assert tile.shape == array[(0, *tile.slices)].shape
        tile.add_to(joined, array[(slice(None), *tile.slices)])
    np.testing.assert_allclose(joined, array, atol=1e-6)


def test_a_local_filter_gives_the_same_in_tiles_as_whole():
    from scipy import ndimage

    array = np.random.default_rng(1).normal(size=(48, 64)).astype(np.float32)
    kernel = np.ones((9, 9), np.float32) / 81
    whole = ndimage.convolve(array, kernel, mode="constant")
    joined = np.zeros_like(array)
    for tile in plan_tiles(array.shape, (32, 32), halo=8, stride=8):
        tile.add_to(joined, ndimage.convolve(array[tile.slices], kernel, mode="constant"))
    np.testing.assert_allclose(joined, whole, atol=1e-6)


def test_adding_a_tile_does_not_change_its_values():
    values = np.ones((16,), np.float32)
    values.setflags(write=False)
    for tile in plan_tiles((48,), (16,), halo=4):
        tile.add_to(np.zeros(48, np.float32), values)


def test_tile_and_shape_must_have_one_size_per_axis():
    with pytest.raises(ParameterError, match="one size per axis"):
        plan_tiles((8, 8, 8), (8, 8), 0)


@given(st.integers(1, 30), st.integers(0, 100))
def test_reflection_equals_numpy(size, extra):
    expected = np.pad(np.arange(size), (0, extra), mode="reflect")
    np.testing.assert_array_equal(reflected_indices(size, size + extra), expected)


@given(st.integers(1, 1000), st.integers(1, 64))
def test_padded_size_is_the_next_multiple(size, stride):
    padded = padded_size(size, stride)
    assert padded % stride == 0
    assert size <= padded < size + stride
