from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from MRHarmonizationLib.core.splines import interpolate_along_axes, spline_matrix


@given(st.integers(1, 40), st.integers(0, 2**31))
def test_rows_add_up_to_one_and_samples_are_kept(size, seed):
    positions = np.random.default_rng(seed).uniform(-0.5, size - 0.5, 20)
    np.testing.assert_allclose(spline_matrix(size, positions).sum(axis=1), 1, atol=1e-9)
    np.testing.assert_allclose(spline_matrix(size, np.arange(size)), np.eye(size), atol=1e-9)


@pytest.mark.parametrize("shape", [(9, 17, 23), (2, 5, 40), (40, 3, 2)], ids=str)
def test_the_result_equals_a_full_spline_evaluation(shape):
    array = np.random.default_rng(0).normal(300, 90, shape).astype(np.float32)
    array.setflags(write=False)
    positions = [np.linspace(-0.5, size - 0.5, 3 * size + 1) for size in shape]
    expected = ndimage.map_coordinates(
        array, np.stack(np.meshgrid(*positions, indexing="ij")), order=3, mode="mirror", output=np.float64
    )
    found = interpolate_along_axes(array, positions)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_reversed_positions_reverse_the_result():
    array = np.random.default_rng(1).normal(size=(6, 7, 8)).astype(np.float32)
    positions = [np.linspace(-0.4, size - 0.6, 11) for size in array.shape]
    plain = interpolate_along_axes(array, positions)
    turned = interpolate_along_axes(array, [wanted[::-1] for wanted in positions])
    np.testing.assert_allclose(turned[::-1, ::-1, ::-1], plain, atol=1e-6)


def test_a_single_sample_is_repeated():
    array = np.full((1, 1, 1), 5.0)
    np.testing.assert_array_equal(interpolate_along_axes(array, [np.zeros(2), np.zeros(3), np.zeros(4)]), 5.0)
