from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.inference.strength import apply_strength


def images() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    baseline, change = (rng.normal(size=(3, 4, 5)).astype(np.float32) for _ in range(2))
    baseline[0, 0, :2] = (0.0, -0.0)
    baseline.setflags(write=False)
    change.setflags(write=False)
    return baseline, change


def test_strength_zero_keeps_every_bit_and_shares_no_memory():
    baseline, change = images()
    result = apply_strength(baseline, change, 0.0)
    assert result.tobytes() == baseline.tobytes()
    assert not np.shares_memory(result, baseline)


@pytest.mark.parametrize("alpha", [0.25, 1.0])
def test_strength_scales_the_change(alpha):
    baseline, change = images()
    result = apply_strength(baseline, change, alpha)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, baseline + alpha * change, atol=1e-6)


def test_the_result_is_always_finite():
    baseline = np.float32([1.0, 2.0, 3e38, 4.0])
    change = np.float32([np.nan, np.inf, 3e38, 1.0])
    np.testing.assert_array_equal(apply_strength(baseline, change, 1.0), np.float32([1.0, 2.0, 3e38, 5.0]))


@pytest.mark.parametrize("wrong", [-0.01, 1.01, float("nan"), float("inf")])
def test_other_strengths_are_refused(wrong):
    with pytest.raises(ParameterError, match="expected 0 to 1"):
        apply_strength(*images(), wrong)
