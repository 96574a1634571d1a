"""Our classical harmonisers against other people's: intensity-normalization, scikit-image and SimpleITK."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.regions import inner_region, thinning_steps
from MRHarmonizationLib.methods.case_profile import (
    PERCENTILES,
    density,
    measured_values,
    profile_case,
    tissue_mode,
    white_stripe,
)
from MRHarmonizationLib.methods.harmonizers import HARMONIZERS
from MRHarmonizationLib.methods.harmonizers.landmarks import LANDMARKS, HistogramMatching, Nyul
from MRHarmonizationLib.methods.reference_group import group_of_volumes
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume


def head(seed: int, gain: float = 1.0, gamma: float = 1.0) -> Volume:
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (14, 34, 32)), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2) + 0.05 * np.sin(7 * np.arctan2(y, x) + seed)
    image = np.select([radius < 0.3, radius < 0.65, radius < 0.9], [0.2, 0.9, 0.6], 0.0)
    image = np.maximum(image + np.where(image > 0, rng.normal(0, 0.03, image.shape), 0), 0) ** gamma
    return Volume((1000 * gain * image).astype(np.float32), Grid.from_parts(image.shape, (2, 2, 3)), f"head{seed}")


@pytest.fixture
def brain_mask() -> np.ndarray:
    return head(0).array > 0


def test_nyul_agrees_with_intensity_normalization(brain_mask: np.ndarray):
    package = pytest.importorskip("intensity_normalization", reason="oracle of the landmark methods")
    references = [head(seed, gain) for seed, gain in ((0, 1.0), (1, 2.0), (2, 0.3))]
    scan, mask = head(3, 5.0, 0.7), head(3, 5.0, 0.7).array > 0
    oracle = package.NyulNormalizer(output_min_value=0.0, output_max_value=1000.0)
    images = [package.create_image(v.array.astype(np.float64)) for v in references]
    masks = [package.create_image((v.array > 0).astype(np.float64)) for v in references]
    oracle.fit_population(images, masks)
    # the landmarks of the package: the same averages, with percentile 1 in place of air as the lower anchor
    levels = tuple(float(v) for v in oracle.standard_scale)
    ours = Nyul(LANDMARKS, levels).apply(scan, mask).array
    theirs = oracle.transform(
        package.create_image(scan.array.astype(np.float64)), package.create_image(mask.astype(np.float64))
    ).get_data()
    low, high = np.percentile(scan.array[mask], (1, 99))
    between = mask & (scan.array >= low) & (scan.array <= high)
    np.testing.assert_allclose(ours[between], theirs[between], atol=0.5)


def test_z_score_agrees_with_intensity_normalization(brain_mask: np.ndarray):
    package = pytest.importorskip("intensity_normalization", reason="oracle of the landmark methods")
    scan = head(0, 3.0)
    oracle = package.ZScoreNormalizer()
    image = package.create_image(scan.array.astype(np.float64))
    mask = package.create_image(brain_mask.astype(np.float64))
    theirs = oracle.fit(image, mask).transform(image, mask).get_data()
    group = group_of_volumes([head(1)], "t1")
    ours = HARMONIZERS.get("zscore").fit(group).apply(scan, brain_mask).array
    np.testing.assert_allclose((ours - group.mean) / group.deviation, theirs, atol=1e-3)


@pytest.mark.parametrize("contrast", ["t1", "t2", "flair"])
def test_white_stripe_agrees_with_intensity_normalization(brain_mask: np.ndarray, contrast: str):
    package = pytest.importorskip("intensity_normalization", reason="oracle of the landmark methods")
    scan = head(0, 3.0)
    oracle = package.WhiteStripeNormalizer(modality=package.Modality(contrast))
    oracle.fit(package.create_image(scan.array.astype(np.float64)), package.create_image(brain_mask.astype(np.float64)))
    mean, deviation = white_stripe(scan.array[brain_mask].astype(np.float64), contrast)
    # the package looks for the mode on 80 points, we on 256: a grid step of its is the uncertainty
    step = float(np.ptp(scan.array)) / 80
    assert mean == pytest.approx(oracle.mean, abs=step)
    assert deviation == pytest.approx(oracle.std, rel=0.5)


def test_density_agrees_with_scipy():
    from scipy.stats import gaussian_kde

    values = np.concatenate([np.random.default_rng(0).normal(m, 9, 4000) for m in (100, 160)])
    places, heights = density(values)
    np.testing.assert_allclose(heights[10:-10], gaussian_kde(values)(places)[10:-10], atol=0.02 * heights.max())


def test_histogram_matching_agrees_with_scikit_image():
    from skimage.exposure import match_histograms

    source, target = head(0, 4.0, 0.6), head(1)
    mask = source.array > 0
    quantiles = np.percentile(target.array[target.array > 0], PERCENTILES)
    ours = HistogramMatching(PERCENTILES, tuple(float(q) for q in quantiles)).apply(source, mask).array[mask]
    theirs = match_histograms(source.array[mask], target.array[target.array > 0])
    low, high = np.percentile(source.array[mask], (1, 99))
    between = (source.array[mask] > low) & (source.array[mask] < high)
    # we keep a hundred quantiles, scikit-image every value
    assert np.abs(ours - theirs)[between].mean() < 0.01 * float(np.ptp(theirs))


def test_histogram_matching_agrees_with_simpleitk():
    sitk = pytest.importorskip("SimpleITK")
    source, target = head(0, 4.0, 0.6), head(1)
    mask = source.array > 0
    quantiles = np.percentile(target.array[target.array > 0], PERCENTILES)
    ours = HistogramMatching(PERCENTILES, tuple(float(q) for q in quantiles)).apply(source, mask).array
    images = [sitk.GetImageFromArray(v.array) for v in (source, target)]
    theirs = sitk.GetArrayFromImage(sitk.HistogramMatching(*images, 1024, 64, True))
    bright = source.array > np.median(source.array[mask])
    assert np.abs(ours - theirs)[bright].mean() < 0.03 * float(np.ptp(target.array))


def test_maps_are_monotone_and_air_is_zero():
    group = group_of_volumes([head(s) for s in range(3)], "t1")
    scan = head(4, 2.0, 1.8)
    order = np.argsort(scan.array, axis=None)
    for name in ("nyul", "histogram_matching"):
        mapped = HARMONIZERS.get(name).fit(group).apply(scan).array.reshape(-1)[order]
        assert np.all(np.diff(mapped) >= -1e-3)
        assert mapped[0] == pytest.approx(0, abs=1e-3)


def test_nyul_takes_out_a_tone_curve_that_scaling_leaves():
    group = group_of_volumes([head(s) for s in range(3)], "t1")
    tissues = [(head(4).array > 150) & (head(4).array < 260), (head(4).array > 520) & (head(4).array < 680)]
    spread = {}
    for name in ("percentile", "nyul"):
        fitted = HARMONIZERS.get(name).fit(group)
        means = [[fitted.apply(head(4, 1.0, g)).array[t].mean() for t in tissues] for g in (0.6, 1.0, 1.6)]
        spread[name] = float(np.mean(np.std(means, axis=0) / np.mean(means, axis=0)))
    assert spread["nyul"] < 0.4 * spread["percentile"]


# --- what is measured -----------------------------------------------------------------------------------------------


def test_modes_are_found_at_the_ends_they_are_looked_for():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(m, 12, n) for m, n in ((100, 3000), (300, 6000), (500, 4000))])
    assert tissue_mode(values, "t1") == pytest.approx(500, abs=12)
    assert tissue_mode(values, "t2") == pytest.approx(300, abs=12)
    assert tissue_mode(values, "pd") == pytest.approx(100, abs=12)


def test_inside_leaves_the_surface_out():
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in (30, 40, 40)), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    image = np.where(radius < 0.9, 100.0, 0.0)
    inside = inner_region(image, (4.0, 3.0, 3.0))
    assert not np.any(inside & (radius > 0.78))
    assert np.all(inside[radius < 0.6])
    assert inner_region(np.full((3, 4, 5), 7.0), (1, 1, 1)).all()


def test_thinning_keeps_small_images_and_bounds_large_ones():
    assert thinning_steps((20, 30, 40)) == (slice(None, None, 1),) * 3
    for shape in ((1000, 1000, 10), (400, 400, 400), (1, 5000, 5000)):
        thin = thinning_steps(shape, 100_000)
        assert np.prod([-(-n // s.step) for n, s in zip(shape, thin, strict=True)]) <= 100_000
        assert all(s.step <= n for n, s in zip(shape, thin, strict=True))


def test_profiles_do_not_depend_on_units_or_thinning():
    one, other = profile_case(head(0), contrast="t1"), profile_case(head(0, 17.0), contrast="t1")
    np.testing.assert_allclose(one.quantiles, other.quantiles, atol=0.05)
    np.testing.assert_allclose(one.edges, other.edges, atol=1e-3)
    assert one.stripe_mean == pytest.approx(other.stripe_mean, rel=1e-3)
    power = [(a, b) for a, b in zip(one.log_power, other.log_power, strict=True) if a is not None and b is not None]
    assert len(power) > 5
    np.testing.assert_allclose(*np.array(power).T, atol=1e-3)


def test_borders_by_rank_do_not_see_a_monotone_tone_curve_but_an_inversion():
    one, bent = profile_case(head(0)), profile_case(head(0, 1.0, 0.5))
    np.testing.assert_allclose(one.edges, bent.edges, atol=0.02)
    inverted = head(0).with_array(np.where(head(0).array > 0, 1100 - head(0).array, 0).astype(np.float32))
    assert np.abs(np.subtract(one.edges, profile_case(inverted).edges)).max() > 0.2


def test_a_mask_of_one_spot_is_found_in_a_large_image():
    array = np.random.default_rng(0).random((40, 220, 220)).astype(np.float32)
    mask = np.zeros(array.shape, bool)
    mask[21, 101, 101:103] = True
    assert set(measured_values(Volume(array, Grid.from_parts(array.shape)), mask).values) == set(
        array[mask].astype(np.float64)
    )
