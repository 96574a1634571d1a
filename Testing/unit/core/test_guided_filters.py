"""Filters that change from place to place: linear, constant-keeping, the same in numpy and torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.guided_filters import PER_PASS, apply_passes, second_difference
from MRHarmonizationLib.models.dwi_filters import filter_passes

SHAPE = (5, 6, 7)


def drawn(seed: int, passes: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 10, SHAPE).astype(np.float32)
    return image, rng.uniform(-0.2, 0.2, (passes * PER_PASS, *SHAPE)).astype(np.float32)


def test_second_difference_of_a_parabola_is_constant_inside():
    image = np.broadcast_to(np.arange(9.0)[:, None, None] ** 2, (9, 2, 2)).astype(np.float32)
    np.testing.assert_allclose(second_difference(image, 0, 1)[1:-1], 2.0)
    np.testing.assert_allclose(second_difference(image, 0, 2)[2:-2], 8.0)
    np.testing.assert_allclose(second_difference(image, 1, 1), 0.0)


@given(st.integers(0, 50), st.floats(-3, 3), st.floats(-3, 3))
def test_filters_are_linear_and_keep_constants(seed: int, a: float, b: float):
    first, weights = drawn(seed)
    second, _ = drawn(seed + 100)
    mixed = apply_passes((a * first + b * second).astype(np.float32), weights)
    apart = a * apply_passes(first, weights) + b * apply_passes(second, weights)
    np.testing.assert_allclose(mixed, apart, atol=1e-3)
    np.testing.assert_allclose(apply_passes(np.full(SHAPE, a, np.float32), weights), a, atol=1e-5)


def test_torch_does_the_same():
    image, weights = drawn(3, passes=3)
    done = filter_passes(torch.from_numpy(image)[None, None], torch.from_numpy(weights)[None])[0, 0].numpy()
    np.testing.assert_allclose(apply_passes(image, weights), done, atol=1e-4)
    assert np.abs(done - image).max() > 0.1


def test_negative_weights_sharpen_and_positive_ones_blur():
    edge = np.zeros((12, 3, 3), np.float32)
    edge[6:] = 1.0
    weights = np.zeros((PER_PASS, 12, 3, 3), np.float32)
    weights[0] = -0.15
    assert apply_passes(edge, weights).max() > 1.05
    weights[0] = 0.25
    assert apply_passes(edge, weights).max() <= 1.0
    assert apply_passes(edge, weights)[5, 1, 1] == pytest.approx(0.25)


@pytest.mark.parametrize("shape", [(PER_PASS + 1, *SHAPE), (PER_PASS, 5, 6, 8)])
def test_weights_that_do_not_fit_are_refused(shape: tuple[int, ...]):
    with pytest.raises(ParameterError, match="weights of shape"):
        apply_passes(np.zeros(SHAPE, np.float32), np.zeros(shape, np.float32))
