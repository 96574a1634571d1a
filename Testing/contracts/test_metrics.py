"""What every metric promises, tested on each one the registry knows."""

from __future__ import annotations

import math

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.metrics.base import METRICS, Metric

METRIC_NAMES = METRICS.names()
IMAGE_REFERENCE_NAMES = [n for n, m in METRICS.items() if m.operates_on == "images" and m.needs_reference]


def frozen(array: np.ndarray) -> np.ndarray:
    array.setflags(write=False)
    return array


@pytest.fixture
def arrays() -> dict[str, np.ndarray]:
    """An image with structure, a noisy copy, a mask and a lesion mask of two components; all read-only."""
    rng = np.random.default_rng(3)
    k, j, i = np.meshgrid(np.arange(20), np.arange(24), np.arange(22), indexing="ij")
    truth = 100 + 40 * np.sin(k / 3) * np.cos(j / 4) + 30 * np.sin(i / 2.5)
    lesions = np.zeros(truth.shape, np.uint8)
    lesions[4:8, 5:9, 5:9] = lesions[12:16, 14:18, 12:17] = 1
    truth = (truth + 60 * lesions).astype(np.float32)
    mask = np.zeros(truth.shape, bool)
    mask[2:18, 2:22, 2:20] = True
    return {
        "truth": frozen(truth),
        "noise": frozen(rng.normal(0, 1, truth.shape).astype(np.float32)),
        "mask": frozen(mask),
        "lesions": frozen(lesions),
    }


def call(metric: Metric, image: np.ndarray, arrays: dict[str, np.ndarray], **more):
    """Call any metric as its kind wants to be called."""
    truth = arrays["truth"]
    if metric.operates_on == "labels":
        return metric((image > 120).astype(np.uint8), (truth > 120).astype(np.uint8), arrays["mask"], **more)
    mask = arrays["lesions"] if metric.operates_on == "lesions" else arrays["mask"]
    return metric(image, truth if metric.needs_reference else None, mask, **more)


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_measurement_says_what_it_is(name, arrays):
    metric = METRICS.get(name)
    measured = call(metric, arrays["truth"] + 2 * arrays["noise"], arrays, mask_name="somewhere")
    assert measured.name == name == metric.name
    assert measured.unit
    assert measured.better in ("higher", "lower", "none")
    assert measured.mask == "somewhere"
    used = arrays["lesions"] if metric.operates_on == "lesions" else arrays["mask"]
    assert measured.voxels == np.count_nonzero(used)
    assert (measured.data_range is not None) == metric.uses_data_range
    assert math.isfinite(measured.value)
    assert metric.__doc__
    assert set(measured.to_dict()) == {"name", "value", "unit", "better", "voxels", "data_range", "mask", "detail"}


@pytest.mark.parametrize("name", [n for n, m in METRICS.items() if m.perfect is not None])
def test_identity_is_perfect(name, arrays):
    metric = METRICS.get(name)
    assert call(metric, arrays["truth"], arrays).value == pytest.approx(metric.perfect, abs=1e-9)


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_full_reference_metrics_have_a_perfect_value(name):
    metric = METRICS.get(name)
    assert not metric.needs_reference or metric.perfect is not None


@pytest.mark.parametrize("name", [*IMAGE_REFERENCE_NAMES, "noise"])
def test_more_noise_is_worse(name, arrays):
    metric = METRICS.get(name)
    values = [call(metric, arrays["truth"] + s * arrays["noise"], arrays, **_range(metric)).value for s in (1, 4, 16)]
    better = values if metric.better == "higher" else [-value for value in values]
    assert better[0] > better[1] > better[2]


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_nan_is_refused_with_its_count(name, arrays):
    spoilt = arrays["truth"].copy()
    spoilt[3, 4, 5] = np.nan
    metric = METRICS.get(name)
    with pytest.raises(InputError, match="1 of"):
        metric(spoilt, arrays["truth"], arrays["mask"])


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_shapes_must_agree(name, arrays):
    metric = METRICS.get(name)
    with pytest.raises(InputError, match=r"shape \(20, 24, 21\)"):
        metric(arrays["truth"], arrays["truth"][:, :, 1:], arrays["mask"])
    with pytest.raises(InputError, match="mask shape"):
        metric(arrays["truth"], arrays["truth"], arrays["mask"][1:])


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_empty_mask_is_refused(name, arrays):
    with pytest.raises(InputError, match="empty"):
        METRICS.get(name)(arrays["truth"], arrays["truth"], np.zeros(arrays["truth"].shape, bool))


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_what_is_needed_is_asked_for(name, arrays):
    metric = METRICS.get(name)
    if metric.needs_reference:
        with pytest.raises(ParameterError, match="without a reference"):
            metric(arrays["truth"])
    if metric.operates_on == "lesions":
        with pytest.raises(ParameterError, match="lesion mask"):
            metric(arrays["truth"], arrays["truth"])


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_wrong_numbers_are_refused(name, arrays):
    metric = METRICS.get(name)
    with pytest.raises(ParameterError, match="spacing"):
        call(metric, arrays["truth"], arrays, spacing_mm=(1, 0, 1))
    if metric.uses_data_range:
        with pytest.raises(ParameterError, match="data range -1"):
            call(metric, arrays["truth"], arrays, data_range=-1)


@pytest.mark.parametrize("name", [n for n, m in METRICS.items() if m.operates_on == "images"])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_single_slice_is_measured(name, axis, arrays):
    metric = METRICS.get(name)
    thin = {key: np.take(value, [9], axis=axis) for key, value in arrays.items()}
    assert math.isfinite(call(metric, thin["truth"] + thin["noise"], thin).value)


@pytest.mark.parametrize("name", [n for n, m in METRICS.items() if m.operates_on == "images"])
def test_scale_of_the_units_does_not_matter(name, arrays):
    metric = METRICS.get(name)
    noisy = arrays["truth"] + 5 * arrays["noise"]
    scaled = {**arrays, "truth": arrays["truth"] * 1000}
    assert call(metric, noisy * 1000, scaled).value == pytest.approx(call(metric, noisy, arrays).value, rel=1e-3)


def _range(metric: Metric) -> dict[str, float]:
    return {"data_range": 150.0} if metric.uses_data_range else {}
