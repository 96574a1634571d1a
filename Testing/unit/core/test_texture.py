from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import gaussian_filter

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.texture import (
    DIRECTIONS_4,
    DIRECTIONS_13,
    FEATURES,
    TextureSettings,
    cooccurrence_matrices,
    glcm_texture,
    texture_features,
)

BY_COUNT = TextureSettings(bin_count=6, normalisation="none")
images = hnp.arrays(np.float64, st.tuples(*(st.integers(2, 5),) * 3), elements=st.integers(0, 20).map(float))


@pytest.fixture
def smooth(rng):
    return gaussian_filter(rng.normal(100, 40, (18, 20, 22)), 1.2)


@given(images, st.sets(st.sampled_from((0, 1, 2))))
def test_averages_do_not_change_with_the_orientation_of_the_axes(image, axes):
    before, after = (glcm_texture(a, settings=BY_COUNT) for a in (image, np.flip(image, tuple(axes))))
    for name in FEATURES:
        assert after.features[name] == pytest.approx(before.features[name], rel=1e-9, abs=1e-7), name
        assert after.merged[name] == pytest.approx(before.merged[name], rel=1e-9, abs=1e-7), name


@given(images, st.permutations((0, 1, 2)))
def test_averages_do_not_change_with_the_order_of_the_axes(image, order):
    before, after = (glcm_texture(a, settings=BY_COUNT) for a in (image, image.transpose(order)))
    for name in FEATURES:
        assert after.features[name] == pytest.approx(before.features[name], rel=1e-9, abs=1e-7), name


@given(images, st.data())
def test_a_box_mask_is_the_same_as_cropping(image, data):
    starts = [data.draw(st.integers(0, n - 2)) for n in image.shape]
    box = tuple(slice(a, data.draw(st.integers(a + 2, n))) for a, n in zip(starts, image.shape, strict=True))
    mask = np.zeros(image.shape)
    mask[box] = 1
    masked, cropped = glcm_texture(image, mask, BY_COUNT), glcm_texture(image[box], None, BY_COUNT)
    np.testing.assert_array_equal(masked.matrices, cropped.matrices)
    assert masked.features == cropped.features
    assert masked.voxels == cropped.voxels


def test_result_says_what_was_measured(smooth):
    settings = TextureSettings(distances=(1, 2))
    result = glcm_texture(smooth, smooth > 90, settings, (1.0, 1.0, 4.0))
    assert set(result.features) == set(result.merged) == set(result.per_direction) == set(FEATURES)
    assert result.matrices.shape == (26, 32, 32)
    np.testing.assert_allclose(result.matrices.sum(axis=(1, 2)), 1)
    assert (result.n_levels, result.voxels, result.settings) == (32, np.count_nonzero(smooth > 90), settings)
    assert [o.voxels for o in result.offsets[:13]] == list(DIRECTIONS_13)
    assert result.offsets[12].length_mm == pytest.approx(np.sqrt(1 + 1 + 16))
    straight = next(n for n, o in enumerate(result.offsets) if o.voxels == (0, 0, 1))
    mask = smooth > 90
    assert result.pairs[straight] == np.count_nonzero(mask[:, :, 1:] & mask[:, :, :-1])
    for name, values in result.per_direction.items():
        assert result.features[name] == pytest.approx(values.mean())
    written = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert written["features"]["contrast"] == result.features["contrast"]
    assert len(written["offsets"]) == 26


def test_merged_is_made_of_all_counts(smooth):
    result = glcm_texture(smooth, None, BY_COUNT)
    together = np.tensordot(result.pairs, result.matrices, 1)
    for name, (value,) in texture_features(together[None]).items():
        assert result.merged[name] == pytest.approx(value)


def test_distances_can_be_told_apart(smooth):
    apart = glcm_texture(smooth, None, TextureSettings(distances=(1, 2, 4))).by_distance()
    assert list(apart) == [1, 2, 4]
    contrast, correlation = ([apart[d][name] for d in (1, 2, 4)] for name in ("contrast", "correlation"))
    assert contrast == sorted(contrast)
    assert correlation == sorted(correlation, reverse=True)
    alone = glcm_texture(smooth, None, TextureSettings(distances=(2,)))
    assert apart[2]["homogeneity"] == pytest.approx(alone.features["homogeneity"])


def test_physical_distances_see_the_same_texture_on_finer_grids(rng):
    coarse = gaussian_filter(rng.normal(size=(24, 24, 24)), 1.5)
    fine = coarse.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    settings = TextureSettings(distances=(2.0,), distance_unit="mm", directions=((0, 0, 1), (0, 1, 0), (1, 0, 0)))
    on_coarse, on_fine = (
        glcm_texture(coarse, None, settings, (2.0,) * 3),
        glcm_texture(fine, None, settings, (1.0,) * 3),
    )
    assert on_fine.features["contrast"] == pytest.approx(on_coarse.features["contrast"], rel=1e-3)


def test_scale_and_offset_of_the_intensities_do_not_matter_by_default(smooth):
    before, after = glcm_texture(smooth), glcm_texture(40 * smooth.astype(np.float32) - 1000)
    for name in ("contrast", "joint_entropy", "correlation", "homogeneity"):
        assert after.features[name] == pytest.approx(before.features[name], rel=1e-3)


def test_blur_and_noise_move_features_the_known_way(smooth, rng):
    plain = glcm_texture(smooth).features
    noisy = glcm_texture(smooth + rng.normal(0, 8, smooth.shape)).features
    blurred = glcm_texture(gaussian_filter(smooth, 1.5)).features
    assert noisy["contrast"] > plain["contrast"] > blurred["contrast"]
    assert noisy["homogeneity"] < plain["homogeneity"] < blurred["homogeneity"]
    assert noisy["correlation"] < plain["correlation"] < blurred["correlation"]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_slice_uses_the_directions_it_has(smooth, axis):
    result = glcm_texture(np.take(smooth, [4], axis))
    assert len(result.offsets) == 4
    assert all(offset.voxels[axis] == 0 for offset in result.offsets)
    assert "no pair of voxels at displacement" in result.notes[0]
    if axis == 0:
        assert result.features == glcm_texture(smooth[4:5], None, TextureSettings(directions=DIRECTIONS_4)).features


def test_constant_image_is_explained(smooth):
    result = glcm_texture(np.full((4, 5, 6), 3), None)
    assert "constant inside the mask (3)" in result.notes[0]
    assert (result.features["correlation"], result.features["contrast"], result.features["joint_entropy"]) == (1, 0, 0)
    assert np.isfinite(list(result.features.values())).all()


def test_disjoint_parts_of_a_mask_make_no_pairs_between_them():
    image = np.zeros((1, 3, 6))
    image[..., 3:] = 5
    mask = np.ones(image.shape)
    mask[..., 3] = 0
    result = glcm_texture(image, mask, TextureSettings(bin_count=2, normalisation="none"))
    assert result.features["contrast"] == 0
    assert result.features["joint_entropy"] > 0.9


def test_masks_without_a_pair_are_refused():
    mask = np.zeros((5, 5, 5), bool)
    mask[::4, ::4, ::4] = True
    with pytest.raises(InputError, match="no two of the 8 voxels"):
        glcm_texture(np.random.default_rng(0).normal(size=mask.shape), mask)


def test_inputs_are_left_alone(smooth):
    mask = (smooth > 80).astype(np.uint8)
    kept = smooth.copy()
    smooth.setflags(write=False)
    mask.setflags(write=False)
    glcm_texture(smooth, mask, TextureSettings(), (1, 1, 1))
    np.testing.assert_array_equal(smooth, kept)


def test_nan_counts_only_inside_the_mask(smooth):
    spoilt = smooth.copy()
    spoilt[2, 3, 4] = np.nan
    with pytest.raises(InputError, match="1 of 7920 values"):
        glcm_texture(spoilt)
    mask = np.isfinite(spoilt)
    assert glcm_texture(spoilt, mask).features == glcm_texture(smooth, mask).features


def test_unknown_spacing_is_asked_for(smooth):
    with pytest.raises(ParameterError, match="pass spacing_mm"):
        glcm_texture(smooth, None, TextureSettings(distances=(2.0,), distance_unit="mm"))


def test_whole_chain_is_the_sum_of_its_parts(smooth):
    """The one call gives what a reader gets who takes the steps by hand."""
    low, high = np.percentile(smooth, (0.5, 99.5))
    levels = np.clip(np.floor((smooth - low) / (high - low) * 32), 0, 31).astype(int) + 1
    by_hand = texture_features(cooccurrence_matrices(levels, None, 32, DIRECTIONS_13))
    result = glcm_texture(smooth)
    for name in FEATURES:
        np.testing.assert_allclose(result.per_direction[name], by_hand[name], atol=1e-12)
