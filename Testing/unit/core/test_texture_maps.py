from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.ndimage import binary_dilation, gaussian_filter
from support.pyradiomics_names import OF_PYRADIOMICS

from MRHarmonizationLib.core import texture_maps as maps_module
from MRHarmonizationLib.core import texture_windows as windows_module
from MRHarmonizationLib.core.errors import InputError, OperationCancelled, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.texture import (
    DIRECTIONS_4,
    DIRECTIONS_13,
    MAP_FEATURES,
    TextureSettings,
    cooccurrence_matrices,
    texture_features,
    texture_maps,
)

LEVELS = 6
AS_THEY_ARE = TextureSettings(bin_width=1.0, intensity_range=(0.5, LEVELS + 0.5), normalisation="none")
levelled = hnp.arrays(np.uint8, st.tuples(*(st.integers(1, 4),) * 3), elements=st.integers(0, LEVELS)).filter(np.any)


def by_hand(levels, place, window, n_levels, offsets):
    """Average the features of the one window around a voxel over the displacements that have pairs in it."""
    box = tuple(slice(max(0, p - w // 2), p + w // 2 + 1) for p, w in zip(place, window, strict=True))
    counts = cooccurrence_matrices(levels[box], None, n_levels, offsets, normalised=False)
    counts = counts[counts.any(axis=(1, 2))]
    return {name: values.mean() for name, values in texture_features(counts).items()} if len(counts) else None


def check_voxels(levels, window, n_levels, settings, offsets, places=None, tolerance=2e-6):
    maps = texture_maps(levels.astype(float), levels > 0, MAP_FEATURES, window, settings, outside=-99.0)
    for place in places or np.ndindex(levels.shape):
        expected = by_hand(levels, place, window, n_levels, offsets) if levels[place] else None
        for name, values in maps.items():
            wanted = -99.0 if expected is None else expected[name]
            assert values[place] == pytest.approx(wanted, rel=tolerance, abs=tolerance), (name, place)


@settings(max_examples=20)
@given(levelled, st.sampled_from([(3, 3, 3), (5, 5, 5), (1, 3, 5), (3, 1, 3)]))
def test_every_voxel_has_the_features_of_its_window(levels, window):
    check_voxels(levels, window, LEVELS, AS_THEY_ARE, DIRECTIONS_13)


@pytest.mark.parametrize("n_levels", [181, 300])
def test_many_levels_and_larger_steps(n_levels, rng):
    levels = rng.integers(0, n_levels + 1, (4, 5, 4))
    levels[0, 0, :2] = (1, n_levels)
    chosen = TextureSettings(
        bin_width=1.0,
        intensity_range=(0.5, n_levels + 0.5),
        normalisation="none",
        distances=(1, 2),
        directions=DIRECTIONS_4,
    )
    offsets = [tuple(d * step for step in direction) for d in (1, 2) for direction in DIRECTIONS_4]
    check_voxels(levels, (3, 5, 5), n_levels, chosen, offsets, [(0, 0, 0), (0, 0, 1), (2, 3, 2), (3, 4, 3), (1, 2, 3)])


def test_maps_are_those_of_pyradiomics(rng):
    glcm = pytest.importorskip("radiomics.glcm", reason="pyradiomics is not installed: no comparison with it")
    import SimpleITK as sitk

    smooth = gaussian_filter(rng.normal(size=(12, 13, 14)), 1.0)
    levels = (np.clip(np.floor((smooth - smooth.min()) / np.ptp(smooth) * 16), 0, 15) + 1).astype(np.uint8)
    mask = np.zeros(levels.shape, bool)
    mask[3:9, 3:9, 4:11] = True
    mask &= rng.uniform(size=mask.shape) < 0.9
    levels[tuple(np.argwhere(mask)[0])] = 16
    levels[tuple(np.argwhere(mask)[1])] = 1
    extractor = glcm.RadiomicsGLCM(
        sitk.GetImageFromArray(levels.astype(float)),
        sitk.GetImageFromArray(mask.astype(np.uint8)),
        voxelBased=True,
        kernelRadius=2,
        binWidth=1,
        maskedKernel=True,
        initValue=0,
    )
    names = {theirs: ours for theirs, ours in OF_PYRADIOMICS.items() if ours in MAP_FEATURES}
    for name in names:
        extractor.enableFeatureByName(name)
    theirs = extractor.execute()
    as_they_are = TextureSettings(bin_width=1.0, intensity_range=(0.5, 16.5), normalisation="none")
    ours = texture_maps(levels, mask, MAP_FEATURES, 5, as_they_are)
    assert len(names) == 23
    for theirs_name, name in names.items():
        expected = sitk.GetArrayFromImage(theirs[theirs_name])
        np.testing.assert_allclose(ours[name], expected, rtol=1e-6, atol=1e-6, err_msg=name)


@pytest.fixture
def head(rng):
    image = gaussian_filter(rng.normal(100, 40, (20, 22, 24)), 1.0).astype(np.float32)
    mask = gaussian_filter(rng.normal(size=image.shape), 2.0) > 0
    return image, mask


def test_blocks_leave_no_trace(head, monkeypatch):
    head = tuple(array[:10] for array in head)
    whole = texture_maps(*head, MAP_FEATURES)
    monkeypatch.setattr(maps_module, "BLOCK_VOXELS", 3 * 22 * 24)
    monkeypatch.setattr(windows_module, "SORTED_AT_A_TIME", 5000)
    for name, values in texture_maps(*head, MAP_FEATURES).items():
        np.testing.assert_allclose(values, whole[name], rtol=1e-6, atol=1e-6, err_msg=name)


def test_maps_are_float32_on_the_image_grid_and_flat_outside(head):
    image, mask = head[0], binary_dilation(head[1])  # no voxel of it is alone
    image.setflags(write=False)
    mask.setflags(write=False)
    maps = texture_maps(image, mask, ("contrast", "joint_entropy"), outside=-1)
    assert list(maps) == ["contrast", "joint_entropy"]
    for values in maps.values():
        assert (values.dtype, values.shape) == (np.float32, image.shape)
        assert np.all(values[~mask] == -1)
        assert np.isfinite(values).all()
        assert np.all(values[mask] >= 0)


def test_noisy_half_stands_out(rng):
    image = np.tile(np.linspace(0, 100, 24), (16, 16, 1))
    image[:, 8:] += rng.normal(0, 10, (16, 8, 24))
    maps = texture_maps(image, None, ["contrast", "joint_entropy", "homogeneity"])
    quiet, noisy = (slice(None), slice(0, 5)), (slice(None), slice(11, None))
    assert maps["contrast"][noisy].min() > 3 * maps["contrast"][quiet].max()
    assert maps["joint_entropy"][noisy].mean() > maps["joint_entropy"][quiet].mean() + 1
    assert maps["homogeneity"][noisy].max() < maps["homogeneity"][quiet].min()


def test_constant_image_gives_constant_maps():
    maps = texture_maps(np.full((4, 5, 6), 9.0), None, MAP_FEATURES)
    assert np.all(maps["correlation"] == 1)
    for name in ("contrast", "joint_entropy", "imc1", "imc2", "cluster_prominence", "sum_entropy"):
        assert np.all(maps[name] == 0), name


def test_one_slice_and_lone_voxels():
    image = np.arange(36.0).reshape(1, 6, 6)
    mask = np.zeros(image.shape, bool)
    mask[0, 0, 0] = mask[0, 3:5, 3:5] = True
    maps = texture_maps(image, mask, ["contrast"], 3, outside=-1)
    assert maps["contrast"][0, 0, 0] == -1
    assert np.all(maps["contrast"][0, 3:5, 3:5] > 0)


def test_progress_is_told_and_never_goes_back(head, monkeypatch):
    monkeypatch.setattr(maps_module, "BLOCK_VOXELS", 4000)
    seen = []
    texture_maps(*head, ["joint_entropy"], progress=Progress(lambda fraction, message: seen.append(fraction)))
    assert len(seen) > 13
    assert seen == sorted(seen)
    assert seen[-1] == 1


@pytest.mark.parametrize("feature", ["contrast", "joint_entropy"])
def test_cancelling_stops(head, feature):
    progress = Progress(lambda fraction, message: progress.cancel())
    with pytest.raises(OperationCancelled):
        texture_maps(*head, [feature], progress=progress)


def test_memory_does_not_grow_with_the_number_of_slices(rng):
    peaks = []
    for slices in (16, 64):
        image = rng.normal(size=(slices, 96, 96)).astype(np.float32)
        one_direction = TextureSettings(directions=((1, 1, 1),))
        tracemalloc.start()
        texture_maps(image, None, ["contrast", "correlation"], 5, one_direction)
        peaks.append(tracemalloc.get_traced_memory()[1] - 40 * image.size)  # what grows with the image itself
        tracemalloc.stop()
    assert peaks[1] < 1.5 * max(peaks[0], 60e6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"features": ["mcc"]}, "'mcc'"),
        ({"features": ["roughness"]}, "'roughness'"),
        ({"features": []}, "no feature"),
        ({"window": 4}, "window 4"),
        ({"window": 1}, "window 1"),
        ({"window": 33}, "window 33"),
        ({"window": (3, 3)}, r"window \(3, 3\)"),
        ({"settings": TextureSettings(symmetric=False)}, "symmetric=True"),
        ({"settings": TextureSettings(distances=(5,))}, "fits into a window of 5 x 5 x 5"),
    ],
)
def test_impossible_maps_are_refused(arguments, said):
    with pytest.raises(ParameterError, match=said):
        texture_maps(**{"image": np.ones((6, 6, 6)), "mask": None, "features": ["contrast"], **arguments})


def test_bad_images_are_refused(head):
    image, mask = head
    with pytest.raises(InputError, match="empty"):
        texture_maps(image, np.zeros_like(mask), ["contrast"])
    with pytest.raises(InputError, match="NaN"):
        texture_maps(np.where(mask, np.nan, image), mask, ["contrast"])
