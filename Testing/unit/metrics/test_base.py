from __future__ import annotations

import json
import math

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.metrics.base import METRICS, Measurement, default_data_range


def test_data_range_is_that_of_the_percentiles_inside_the_mask():
    reference = np.arange(1000, dtype=np.float32).reshape(10, 10, 10)
    mask = reference < 201
    assert default_data_range(reference, mask) == pytest.approx(198.0)
    assert default_data_range(reference) == pytest.approx(0.99 * 999)


def test_one_hot_voxel_does_not_move_the_data_range():
    rng = np.random.default_rng(0)
    reference = rng.uniform(0, 100, (20, 20, 20))
    before = default_data_range(reference)
    reference[4, 4, 4] = 1e6
    assert default_data_range(reference) == pytest.approx(before, rel=1e-3)


def test_constant_reference_has_no_range():
    with pytest.raises(InputError, match="both 7"):
        default_data_range(np.full((4, 4, 4), 7.0))


def test_measurement_becomes_strict_json():
    measured = Measurement("psnr", math.inf, "dB", "higher", 8, 1.0, "mask", {"parts": [math.nan, 1.0]})
    written = json.loads(json.dumps(measured.to_dict(), allow_nan=False))
    assert (written["value"], written["detail"]) == ("inf", {"parts": ["nan", 1.0]})
    assert str(Measurement("ssim", 0.91234, "1", "higher", 8)) == "ssim 0.9123"
    assert str(Measurement("psnr", 31.256, "dB", "higher", 8)) == "psnr 31.26 dB"
    with pytest.raises(TypeError):
        measured.detail["more"] = 1


def test_numbers_long_in_use_are_measured_without_asking():
    shown = {name for name, metric in METRICS.items() if not metric.on_request}
    assert shown >= {"psnr", "ssim", "nrmse", "mae", "correlation", "histogram_distance", "noise", "sharpness"}
    assert shown.isdisjoint({"ms_ssim", "ssim_2d", "ssim_uniform", "noise_wavelet"})
