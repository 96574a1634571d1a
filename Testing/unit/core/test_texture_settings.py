from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.texture import DIRECTIONS_4, DIRECTIONS_13, TextureSettings, discretise, pair_offsets

IMAGE_UNITS = {"normalisation": "none"}
images = hnp.arrays(
    np.float64, hnp.array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.floats(-1e6, 1e6, width=32)
)


def used(settings, spacing_mm=None):
    return [offset.voxels for offset in pair_offsets(settings, spacing_mm)[0]]


def test_thirteen_directions_are_half_of_the_26_neighbours():
    assert len(set(DIRECTIONS_13)) == 13
    assert len(set(DIRECTIONS_13) | {(-k, -j, -i) for k, j, i in DIRECTIONS_13}) == 26
    assert len(DIRECTIONS_4) == 4
    assert all(k == 0 for k, _, _ in DIRECTIONS_4)


def test_default_is_a_fixed_width_of_the_normalised_range(rng):
    image = rng.normal(300, 50, (9, 10, 11))
    grey = discretise(image, None, TextureSettings())
    assert grey.n_levels == 32
    low, high = np.percentile(image, (0.5, 99.5))
    np.testing.assert_allclose(grey.edges, np.linspace(low, high, 33))
    inner = (image > low) & (image < high)
    np.testing.assert_array_equal(grey.levels[inner], np.digitize(image, grey.edges)[inner])
    assert set(grey.levels[image < low]) == {1}
    assert set(grey.levels[image > high]) == {32}


@given(images.filter(lambda a: np.ptp(np.percentile(a, (0.5, 99.5))) > 1e-3), st.floats(0.01, 100), st.floats(-50, 50))
def test_default_levels_do_not_depend_on_the_scale(image, gain, shift):
    before, after = (discretise(a, None, TextureSettings()).levels for a in (image, gain * image + shift))
    # A value on an edge may fall either way by rounding.
    assert np.abs(before.astype(int) - after).max() <= 1


@given(images, st.integers(1, 40))
def test_bin_count_is_the_definition_of_the_manual(image, count):
    grey = discretise(image, None, TextureSettings(bin_count=count, **IMAGE_UNITS))
    low, high = image.min(), image.max()
    if low < high:
        expected = np.minimum(np.floor((image - low) / ((high - low) / count)), count - 1) + 1
        np.testing.assert_array_equal(grey.levels, expected)
    assert grey.n_levels == count


@given(hnp.arrays(np.int16, (3, 4, 5), elements=st.integers(-200, 200)), st.integers(1, 9))
def test_bin_width_in_image_units_shares_its_edges_between_images(image, width):
    grey = discretise(image, None, TextureSettings(bin_width=width, **IMAGE_UNITS))
    np.testing.assert_array_equal(grey.levels, image // width - image.min() // width + 1)
    assert np.all(np.mod(grey.edges, width) == 0)
    assert grey.n_levels == grey.levels.max()


def test_intensity_range_fixes_the_bins_and_takes_in_what_lies_beyond():
    image = np.array([[[-5.0, 0, 9.9, 10, 29.9, 30, 1e9]]])
    grey = discretise(image, None, TextureSettings(bin_width=10, intensity_range=(0, 30), **IMAGE_UNITS))
    assert grey.levels.ravel().tolist() == [1, 1, 1, 2, 3, 3, 3]
    assert grey.edges.tolist() == [0, 10, 20, 30]


def test_one_hot_voxel_does_not_move_the_default_bins(rng):
    image = rng.uniform(0, 100, (20, 20, 20))
    before = discretise(image, None, TextureSettings())
    image[3, 3, 3] = 1e9
    np.testing.assert_allclose(discretise(image, None, TextureSettings()).edges, before.edges, rtol=1e-2)


def test_only_the_mask_counts(rng):
    image = rng.uniform(0, 100, (6, 7, 8)).astype(np.float32)
    mask = np.zeros(image.shape, np.int8)
    mask[1:4, 2:6, 1:7] = -3
    wild = np.where(mask != 0, image, np.nan)
    grey, other = discretise(image, mask, TextureSettings()), discretise(wild, mask, TextureSettings())
    np.testing.assert_array_equal(grey.levels, other.levels)
    assert np.array_equal(grey.levels > 0, mask != 0)


@pytest.mark.parametrize(
    "settings",
    [TextureSettings(), TextureSettings(bin_count=8, **IMAGE_UNITS), TextureSettings(bin_width=3, **IMAGE_UNITS)],
)
def test_constant_image_has_one_level_and_says_so(settings):
    grey = discretise(np.full((3, 4, 5), 7.25), None, settings)
    assert set(grey.levels.ravel()) == {1}
    assert "constant inside the mask (7.25)" in grey.notes[0]
    assert np.isfinite(grey.edges).all()


@pytest.mark.parametrize("kind", [np.bool_, np.uint8, np.int16, np.float32, np.float64, ">i4"])
def test_any_real_type_is_read_and_left_alone(kind, rng):
    image = rng.integers(0, 2, (3, 4, 5)).astype(kind)
    kept = image.copy()
    image.setflags(write=False)
    discretise(image, None, TextureSettings(bin_count=2, **IMAGE_UNITS))
    np.testing.assert_array_equal(image, kept)


@pytest.mark.parametrize(
    ("image", "mask", "said"),
    [
        (np.full((2, 2, 2), np.nan), None, "8 of 8 values"),
        (np.array([[[1.0, np.inf]]]), None, "1 of 2 values"),
        (np.ones((2, 2)), None, "2 dimensions"),
        (np.ones((2, 2, 2), complex), None, "complex128"),
        (np.ones((2, 2, 2)), np.zeros((2, 2, 2)), "mask of 8 voxels is empty"),
        (np.ones((2, 2, 2)), np.ones((2, 2, 1)), r"mask shape \(2, 2, 1\)"),
        (np.ones((0, 2, 2)), None, "0 voxels is empty"),
        (np.arange(1000).reshape(10, 10, 10) > 997, None, "values run from 0 to 1"),
    ],
)
def test_images_without_levels_are_refused(image, mask, said):
    with pytest.raises(InputError, match=said):
        discretise(image, mask, TextureSettings())


def test_too_many_levels_name_the_width_that_works(rng):
    image = rng.uniform(0, 5000, (4, 4, 4))
    with pytest.raises(ParameterError, match="bin_width of at least") as caught:
        discretise(image, None, TextureSettings(bin_width=1, **IMAGE_UNITS))
    width = float(caught.value.remedy.split("at least ")[1].split(",")[0])
    assert discretise(image, None, TextureSettings(bin_width=1.01 * width, **IMAGE_UNITS)).n_levels <= 1024


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"bin_width": 1.0, "bin_count": 8}, "both bin_width 1 and bin_count 8"),
        (IMAGE_UNITS, "no default"),
        ({"bin_width": 0.0}, "bin_width 0.0"),
        ({"bin_width": float("nan")}, "bin_width nan"),
        ({"bin_count": 0}, "bin_count is 0"),
        ({"bin_count": 2.5}, "bin_count is 2.5"),
        ({"bin_count": 5000}, "bin_count is 5000"),
        ({"intensity_range": (3, 3)}, r"\(3, 3\) is empty"),
        ({"normalisation": "zscore"}, "'zscore'"),
        ({"distances": ()}, r"distances is \(\)"),
        ({"distances": (0,)}, "distance 0"),
        ({"distances": (1.5,)}, "distance 1.5 is no whole number"),
        ({"distance_unit": "inch"}, "'inch'"),
        ({"directions": ()}, r"directions is \(\)"),
        ({"directions": ((0, 0, 0),)}, r"direction \(0, 0, 0\)"),
        ({"directions": ((0, 0, 2),)}, r"direction \(0, 0, 2\)"),
        ({"directions": ((0, 1),)}, r"direction \(0, 1\)"),
    ],
)
def test_impossible_settings_are_refused(arguments, said):
    with pytest.raises(ParameterError, match=said):
        TextureSettings(**arguments)


def test_settings_become_json():
    settings = TextureSettings(bin_width=0.05, distances=[1, 2], directions=[[0, 0, 1]])
    assert json.loads(json.dumps(settings.to_dict()))["directions"] == [[0, 0, 1]]
    assert settings == TextureSettings(bin_width=0.05, distances=(1, 2), directions=((0, 0, 1),))
    assert hash(settings) == hash(TextureSettings(bin_width=0.05, distances=(1, 2), directions=((0, 0, 1),)))


def test_distances_in_voxels_are_steps():
    assert used(TextureSettings(distances=(1, 3), directions=((0, 1, -1),))) == [(0, 1, -1), (0, 3, -3)]


def test_distances_in_mm_are_lengths_on_isotropic_grids():
    settings = TextureSettings(distances=(3.0,), distance_unit="mm")
    offsets, notes = pair_offsets(settings, (1.0, 1.0, 1.0))
    assert [o.voxels for o in offsets if sum(map(abs, o.direction)) == 1] == [(0, 0, 3), (0, 3, 0), (3, 0, 0)]
    assert {tuple(map(abs, o.voxels)) for o in offsets if 0 not in o.direction} == {(2, 2, 2)}
    assert notes == ()
    assert max(abs(o.length_mm - 3) for o in offsets) < 0.5


def test_distances_in_mm_on_thick_slices_leave_out_what_they_cannot_reach():
    offsets, notes = pair_offsets(TextureSettings(distances=(1.5,), distance_unit="mm"), (1.5, 1.5, 5.0))
    assert {o.voxels for o in offsets} == set(DIRECTIONS_4)
    assert notes == ("4 of 13 displacements were used: 1 round to no voxel, 8 to one already taken",)
    far, _ = pair_offsets(TextureSettings(distances=(5.0,), distance_unit="mm"), (1.5, 1.5, 5.0))
    assert {o.voxels for o in far if o.direction in ((1, 0, 0), (0, 0, 1))} == {(1, 0, 0), (0, 0, 3)}
    assert next(o.length_mm for o in far if o.voxels == (0, 0, 3)) == pytest.approx(4.5)


def test_spacing_is_in_the_order_i_j_k():
    offsets, _ = pair_offsets(
        TextureSettings(distances=(6.0,), distance_unit="mm", directions=((0, 0, 1), (1, 0, 0))), (1.0, 2.0, 3.0)
    )
    assert [o.voxels for o in offsets] == [(0, 0, 6), (2, 0, 0)]


def test_opposite_directions_count_once_only_where_pairs_count_both_ways():
    both_ways = ((0, 0, 1), (0, 0, -1))
    assert used(TextureSettings(directions=both_ways)) == [(0, 0, 1)]
    assert used(TextureSettings(directions=both_ways, symmetric=False)) == list(both_ways)


@pytest.mark.parametrize(
    ("spacing", "said"),
    [
        (None, "spacing is not known"),
        ((1, 1, 0), "not three positive"),
        ((1, 1), "not three"),
        ((9, 9, 9), "half a voxel of 9 x 9 x 9"),
    ],
)
def test_distances_in_mm_need_a_spacing_that_fits(spacing, said):
    with pytest.raises(ParameterError, match=said):
        pair_offsets(TextureSettings(distances=(2.0,), distance_unit="mm"), spacing)
