"""The curves, texture rows and maps of a comparison, held against what is known of the images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.texture import FEATURES, TextureSettings, glcm_texture, texture_maps
from MRHarmonizationLib.inference.compare import compare
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

CURVES = {
    "histogram",
    "psd_radial",
    "psd_ratio",
    "psd_inplane",
    "psd_directional",
    "glcm_contrast",
    "glcm_homogeneity",
    "glcm_correlation",
    "glcm_entropy",
}
SIGMA_MM = 0.9


@pytest.fixture(scope="module")
def noise() -> Volume:
    values = np.random.default_rng(5).normal(100, 20, (40, 44, 48)).astype(np.float32)
    return Volume(values, Grid.from_parts(values.shape), "noise")


@pytest.fixture(scope="module")
def everywhere(noise) -> Volume:
    return noise.with_array(np.ones(noise.array.shape, np.uint8), "everywhere")


@pytest.fixture(scope="module")
def blurred(noise, everywhere):
    blurred = noise.with_array(gaussian_filter(noise.array, SIGMA_MM, truncate=6), "blurred")
    return compare(noise, blurred, mask=everywhere)


def line(result, curve: str, role: str):
    return next(series for series in result.curve(curve).series if series.role == role)


def test_every_curve_is_there_and_labelled(blurred):
    assert {curve.id for curve in blurred.curves} == CURVES
    for curve in blurred.curves:
        assert curve.title
        assert curve.sentence.endswith(".")
        assert curve.x_label
        assert curve.y_label
        assert curve.x_unit
    units = {curve.id: curve.x_unit for curve in blurred.curves}
    assert units["psd_radial"] == "cycles/mm"
    assert units["glcm_contrast"] == "mm"
    with pytest.raises(ParameterError, match="psd_radial"):
        blurred.curve("psd")


def test_ratio_of_spectra_is_the_transfer_function_of_the_blur(blurred):
    """A Gaussian's power falls as exp(−4π²σ²f²); normalising by the total power only shifts the logarithm."""
    ratio = line(blurred, "psd_ratio", "ratio")
    shown = (ratio.x > 0.05) & (ratio.x < 0.35)
    slope = np.polyfit(ratio.x[shown] ** 2, np.log(ratio.y[shown]), 1)[0]
    assert slope == pytest.approx(-4 * np.pi**2 * SIGMA_MM**2, rel=0.05)


def test_spectra_do_not_depend_on_the_gain(noise, everywhere):
    result = compare(noise, noise.with_array(3 * noise.array + 50), mask=everywhere)
    np.testing.assert_allclose(line(result, "psd_ratio", "ratio").y, 1.0, rtol=1e-3)
    assert any("different units" in note for note in result.notes)


def test_histogram_counts_nearly_all_voxels_once(blurred):
    for role in ("before", "after"):
        assert 99.4 < line(blurred, "histogram", role).y.sum() <= 100.0
    before, after = (line(blurred, "histogram", role) for role in ("before", "after"))
    np.testing.assert_array_equal(before.x, after.x)
    assert before.x[before.y.argmax()] == pytest.approx(100, abs=10)


def test_whole_numbers_make_no_comb(noise, everywhere):
    whole = noise.with_array(np.round(noise.array / 10).astype(np.int16))
    shares = line(compare(whole, whole.with_array(whole.array + 1), mask=everywhere), "histogram", "before").y
    assert np.count_nonzero(shares == 0) <= 2, "every bin holds the same number of whole values"


def test_texture_is_that_of_the_core(noise, everywhere, blurred):
    settings = TextureSettings(distances=(3.0,), distance_unit="mm")
    expected = glcm_texture(noise.array, everywhere.array, settings, (1.0, 1.0, 1.0))
    rows = [row for row in blurred.texture if row["image"] == "before" and row["distance_mm"] == 3.0]
    assert {row["feature"] for row in rows} == set(FEATURES)
    for row in rows:
        assert row["value"] == pytest.approx(expected.features[row["feature"]], rel=1e-9)
        assert row["directions"] == 13
    curve = line(blurred, "glcm_contrast", "before")
    assert curve.x.tolist() == sorted(curve.x.tolist())
    assert next(row["value"] for row in rows if row["feature"] == "contrast") in curve.y


def test_blur_makes_texture_smoother(blurred):
    shortest = {role: line(blurred, "glcm_correlation", role).y[0] for role in ("before", "after")}
    assert abs(shortest["before"]) < 0.02, "white noise is not correlated"
    assert shortest["after"] > 0.4


def test_thick_slices_are_named_and_their_limit_drawn(head_phantom):
    thick = resample(head_phantom, head_phantom.grid.with_spacing((1.0, 1.0, 4.0)))
    result = compare(thick, head_phantom, head_phantom)
    curve = result.curve("psd_directional")
    assert curve.series[0].name == "before, head-foot (across slices)"
    assert {series.name.split(", ")[1] for series in curve.series if series.role == "after"} == {
        "head-foot (across slices)",
        "front-back",
        "left-right",
    }
    (limit,) = (series for series in curve.series if series.role == "limit")
    assert limit.name.startswith("finest of before")
    np.testing.assert_allclose(limit.x, 0.5 / 4.0)
    along = {series.name: series for series in curve.series}
    before, after = (along[f"{role}, head-foot (across slices)"] for role in ("before", "after"))
    assert np.interp(0.3, before.x, before.y) < 0.1 * np.interp(0.3, after.x, after.y)
    assert [series.name for series in result.curve("psd_ratio").series if series.role == "ratio"] == [
        "after / before",
        "after / reference",
    ]


def test_an_image_that_is_constant_in_the_mask_is_explained(head_phantom):
    inside = head_phantom.array > 450
    flat = np.where(inside, np.float32(300), head_phantom.array)
    mask = head_phantom.with_array(inside.astype(np.uint8), "brain")
    result = compare(head_phantom, head_phantom.with_array(flat), mask=mask, maps=["contrast"])
    assert any("after is constant (300) inside the mask" in note for note in result.notes)
    assert {series.role for series in result.curve("psd_radial").series} == {"before"}
    assert "psd_ratio" not in {curve.id for curve in result.curves}
    assert {row["image"] for row in result.texture} == {"before"}
    assert set(result.maps) == {"before_contrast"}
    values = [m.value for group in result.measurements.values() for m in group]
    assert not np.isnan(values).any()
    for curve in result.curves:
        assert all(np.isfinite(series.y).all() for series in curve.series)


def test_a_mask_of_a_few_voxels_leaves_out_what_it_cannot_give(head_phantom):
    few = np.zeros(head_phantom.array.shape, np.uint8)
    few[20, 20, 20] = few[24, 24, 24] = 1
    result = compare(
        head_phantom, head_phantom.with_array(head_phantom.array * 1.01), mask=head_phantom.with_array(few)
    )
    assert any("only 2 voxels" in note for note in result.notes)
    values = [m.value for group in result.measurements.values() for m in group]
    assert values
    assert not np.isnan(values).any()


def test_maps_are_those_of_the_core(head_phantom):
    after = head_phantom.with_array(gaussian_filter(head_phantom.array, 0.8))
    result = compare(head_phantom, after, head_phantom, maps=["contrast", "homogeneity", "contrast"], window=3)
    assert set(result.maps) == {
        f"{i}_{f}" for i in ("before", "after", "reference") for f in ("contrast", "homogeneity")
    }
    expected = texture_maps(after.array, result.mask, ["contrast"], 3)["contrast"]
    mapped = result.maps["after_contrast"]
    np.testing.assert_array_equal(mapped.array, expected)
    assert mapped.name == "after_contrast"
    assert mapped.array.dtype == np.float32
    assert not mapped.array[~result.mask].any()


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ({"maps": ["roughness"]}, "roughness.*contrast"),
        ({"maps": ["contrast"], "window": 4}, "window 4"),
        ({"maps": ["contrast"], "window": 1}, "window 1"),
        ({"label": 3}, "label 3.*mask"),
        ({"extra_metrics": ["beauty"]}, "beauty.*all"),
    ],
)
def test_wrong_options_are_refused_before_the_work(noise, options, word):
    spoilt = noise.with_array(np.full(noise.array.shape, np.nan, np.float32))
    with pytest.raises(ParameterError, match=word):
        compare(spoilt, spoilt, **options)
