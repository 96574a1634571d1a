"""Spatial encoding: windows, kernels, matrices, and the same result on torch tensors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.encoding import (
    apply_along,
    encoding_matrix,
    kspace_matrix,
    slice_kernel,
    slice_matrix,
    taper_window,
)


def test_window_is_a_box_without_taper_and_hann_with_full_taper():
    r = np.linspace(-1, 1, 101)
    assert np.all(taper_window(r, 0.0) == 1)
    assert np.allclose(taper_window(r, 1.0), 0.5 * (1 + np.cos(np.pi * r)))
    assert taper_window(np.array([1.2]), 0.5)[0] == 0


@pytest.mark.parametrize("taper", [-0.1, 1.1])
def test_window_refuses_other_tapers(taper):
    with pytest.raises(ParameterError, match=str(taper)):
        taper_window(np.zeros(3), taper)


@pytest.mark.parametrize("flatness", [0.0, 0.5, 1.0])
def test_slice_profile_has_the_stated_width(flatness):
    assert slice_kernel(np.array([2.5]), 5.0, flatness)[0] == pytest.approx(0.5)
    assert slice_kernel(np.array([0.0]), 5.0, flatness)[0] == 1


@given(n_in=st.integers(8, 60), factor=st.floats(1.0, 6.0), taper=st.floats(0.0, 1.0))
def test_constant_objects_stay_constant(n_in, factor, taper):
    n_out = max(1, round(n_in / factor))
    for matrix in (kspace_matrix(n_in, 1.0, n_out, factor, taper), slice_matrix(n_in, 1.0, n_out, factor, factor)):
        assert matrix.shape == (n_out, n_in)
        assert np.allclose(matrix.sum(1), 1, atol=1e-5)


def test_measured_positions_are_exact():
    """A linear ramp is measured at the true centres, whatever the two grids."""
    n_in, n_out, fine, coarse = 96, 19, 1.0, 5.0
    positions = (np.arange(n_in) - (n_in - 1) / 2) * fine
    measured = slice_matrix(n_in, fine, n_out, coarse, 5.0) @ positions
    expected = (np.arange(n_out) - (n_out - 1) / 2) * coarse
    assert np.allclose(measured[3:-3], expected[3:-3], atol=1e-3)


def test_sharp_crop_keeps_what_lies_below_nyquist():
    n, coarse_n = 120, 60
    x = (np.arange(n) + 0.5) / n
    wave = np.cos(2 * np.pi * 12 * x)
    measured = kspace_matrix(n, 1.0, coarse_n, 2.0, 0.0) @ wave
    expected = np.cos(2 * np.pi * 12 * (np.arange(coarse_n) + 0.5) / coarse_n)
    assert np.allclose(measured[10:-10], expected[10:-10], atol=0.05)


def test_outside_is_mirrored():
    matrix = encoding_matrix(10, 1.0, 10, 1.0, lambda d: (np.abs(np.abs(d) - 3) < 0.1).astype(float), 4.0)
    assert np.flatnonzero(matrix[0]).tolist() == [2, 3]


def test_torch_and_numpy_agree():
    torch = pytest.importorskip("torch", reason="torch is not installed")
    array = np.random.default_rng(0).random((7, 8, 9), np.float32)
    matrix = kspace_matrix(8, 1.0, 4, 2.0, 0.5)
    for axis, n in enumerate(array.shape):
        used = kspace_matrix(n, 1.0, 4, n / 4, 0.5)
        expected = apply_along(array, used, axis)
        assert np.allclose(apply_along(torch.from_numpy(array), used, axis).numpy(), expected, atol=1e-5)
        assert expected.shape[axis] == 4
    assert apply_along(array, matrix, 1).dtype == np.float32
