"""What every metric promises, tested on each one the registry knows."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.metrics.base import METRICS, Metric

METRIC_NAMES = METRICS.names()
IMAGE_NAMES = [n for n, m in METRICS.items() if m.operates_on == "images"]
REFERENCE_NAMES = [n for n, m in METRICS.items() if m.needs_reference]
IMAGE_REFERENCE_NAMES = [n for n in IMAGE_NAMES if n in REFERENCE_NAMES]
#: Metrics of one image whose better direction follows its noise.
NOISE_NAMES = ["noise", "noise_wavelet", "cnr"]


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


@pytest.mark.parametrize("name", REFERENCE_NAMES)
def test_nothing_is_better_than_identity(name, arrays):
    metric = METRICS.get(name)
    assert metric.better in ("higher", "lower")
    same, noisy = (call(metric, arrays["truth"] + s * arrays["noise"], arrays, **_range(metric)).value for s in (0, 12))
    if name == "lesion_contrast_retention":  # noise may raise the contrast as well as lower it
        assert abs(same - 1) < abs(noisy - 1)
    else:
        assert same >= noisy if metric.better == "higher" else same <= noisy


@pytest.mark.parametrize("name", [*IMAGE_REFERENCE_NAMES, *NOISE_NAMES])
def test_more_noise_is_worse(name, arrays):
    metric = METRICS.get(name)
    values = [call(metric, arrays["truth"] + s * arrays["noise"], arrays, **_range(metric)).value for s in (1, 4, 16)]
    better = values if metric.better == "higher" else [-value for value in values]
    assert better[0] > better[1] > better[2]


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_only_what_is_near_the_mask_counts(name, arrays):
    metric = METRICS.get(name)
    wide = {key: np.pad(value, 12, mode="constant" if value.dtype == bool else "edge") for key, value in arrays.items()}
    image, spoilt = wide["truth"] + wide["noise"], wide["truth"] + wide["noise"]
    border = np.pad(np.zeros([n - 8 for n in image.shape], bool), 4, constant_values=True)
    spoilt[border] = np.random.default_rng(5).uniform(0, 1e4, np.count_nonzero(border))
    first, second = call(metric, image, wide), call(metric, spoilt, wide)
    assert second.value == pytest.approx(first.value, rel=1e-5)


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_the_function_changes_none_of_its_arrays(name, arrays):
    metric = METRICS.get(name)
    image, truth = (frozen(a.astype(np.float64)) for a in (arrays["truth"] + arrays["noise"], arrays["truth"]))
    mask = frozen(arrays["lesions"] > 0) if metric.operates_on == "lesions" else arrays["mask"]
    if metric.operates_on == "labels":
        image, truth = (frozen((a > 120).astype(np.float64)) for a in (image, truth))
    value, _ = metric.function(image, truth if metric.needs_reference else image, mask, 150.0, (1.0, 1.0, 1.0))
    assert math.isfinite(value)


@pytest.mark.parametrize("constant", ["image", "reference", "both"])
@pytest.mark.parametrize("name", METRIC_NAMES)
def test_constant_images_give_a_number_or_a_reason(name, constant, arrays):
    metric = METRICS.get(name)
    flat = np.zeros_like(arrays["truth"]) if metric.operates_on == "labels" else np.full_like(arrays["truth"], 7.0)
    image = flat if constant in ("image", "both") else arrays["truth"]
    arrays = {**arrays, "truth": flat} if constant in ("reference", "both") else arrays
    problem, reason = "", ""
    try:
        measured = call(metric, image, arrays)
    except InputError as error:
        problem, reason = error.problem, error.remedy
    else:
        json.dumps(measured.to_dict(), allow_nan=False)
        reason = measured.detail.get("reason", "") if math.isnan(measured.value) else "it has a value"
    assert reason
    assert not problem or any(word in problem for word in ("constant", "percentiles", "classes"))


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_result_is_strict_json(name, arrays):
    measured = call(METRICS.get(name), arrays["truth"] + arrays["noise"], arrays)
    assert json.loads(json.dumps(measured.to_dict(), allow_nan=False))["name"] == name


@pytest.mark.parametrize("name", METRIC_NAMES)
def test_integers_and_coarse_spacings_are_measured(name, arrays):
    metric = METRICS.get(name)
    whole = {**arrays, "truth": frozen(np.round(arrays["truth"]).astype(np.int16))}
    image = whole["truth"] + np.round(2 * arrays["noise"]).astype(np.int16)
    as_float = {**whole, "truth": whole["truth"].astype(np.float64)}
    spacing = (0.8, 0.8, 4.0)
    measured = call(metric, image, whole, spacing_mm=spacing)
    assert math.isfinite(measured.value)
    assert measured.value == call(metric, image.astype(np.float64), as_float, spacing_mm=spacing).value


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


@pytest.mark.parametrize("name", IMAGE_NAMES)
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_single_slice_is_measured(name, axis, arrays):
    metric = METRICS.get(name)
    thin = {key: np.take(value, [9], axis=axis) for key, value in arrays.items()}
    assert math.isfinite(call(metric, thin["truth"] + thin["noise"], thin).value)


@pytest.mark.parametrize("name", IMAGE_NAMES)
def test_scale_of_the_units_does_not_matter(name, arrays):
    metric = METRICS.get(name)
    noisy = arrays["truth"] + 5 * arrays["noise"]
    scaled = {**arrays, "truth": arrays["truth"] * 1000}
    assert call(metric, noisy * 1000, scaled).value == pytest.approx(call(metric, noisy, arrays).value, rel=1e-3)


def _range(metric: Metric) -> dict[str, float]:
    return {"data_range": 150.0} if metric.uses_data_range else {}
