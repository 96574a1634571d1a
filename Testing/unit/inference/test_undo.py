from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from MRHarmonizationLib.core.errors import GridMismatchError, InputError
from MRHarmonizationLib.inference.undo import (
    BASELINE_DIGEST_KEY,
    ENHANCED_DIGEST_KEY,
    float_of_ordered_bits,
    make_residual,
    ordered_bits,
    undo,
    voxel_digest,
)
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

GRID = Grid.from_parts((2, 3, 4), (1.0, 1.1, 1.2), (-80.123456, 12.3, 4.5))
any_bits = hnp.arrays(np.uint32, GRID.shape)
extremes = np.array(
    [0.0, -0.0, 1e-45, -1e-45, 1.17e-38, -1.17e-38, 3.4028235e38, -3.4028235e38, 1.0, -1.0, np.inf, -np.inf], np.float32
)


def volume_of(bits: np.ndarray) -> Volume:
    return Volume(bits.view(np.float32), GRID)


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    return bool(np.array_equal(a.view(np.uint32), b.view(np.uint32)))


@given(any_bits, any_bits)
def test_undo_is_bit_identical_for_every_bit_pattern(before, after):
    baseline, enhanced = volume_of(before), volume_of(after)
    restored = undo(enhanced, make_residual(baseline, enhanced))
    assert same_bits(restored.array, baseline.array)


def test_undo_is_bit_identical_between_all_extremes():
    first, second = (part.reshape(3, 4, 12).copy() for part in np.meshgrid(extremes, extremes))
    grid = Grid.from_parts((3, 4, 12))
    baseline, enhanced = Volume(first, grid), Volume(second, grid)
    assert same_bits(undo(enhanced, make_residual(baseline, enhanced)).array, first)


@given(hnp.arrays(np.float32, 20, elements=st.floats(width=32, allow_nan=False)))
def test_ordered_bits_keep_the_order_and_map_back(values):
    numbers = ordered_bits(values)
    assert numbers.dtype == np.int32
    assert same_bits(float_of_ordered_bits(numbers), values)
    by_number = values[np.argsort(numbers, kind="stable")]
    assert np.all(np.diff(by_number[np.isfinite(by_number)].astype(np.float64)) >= 0)


def test_the_two_zeros_have_numbers_of_their_own():
    assert ordered_bits(np.float32([-0.0, 0.0])).tolist() == [-1, 0]


def pair(seed: int = 0) -> tuple[Volume, Volume]:
    rng = np.random.default_rng(seed)
    baseline = rng.normal(300, 80, GRID.shape).astype(np.float32)
    return Volume(baseline, GRID, "scan"), Volume(baseline + rng.normal(0, 5, GRID.shape).astype(np.float32), GRID)


@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_undo_through_files_of_every_format(tmp_path, ending):
    baseline, enhanced = pair()
    image = write_volume(enhanced, tmp_path / f"enhanced{ending}")
    residual = write_volume(make_residual(baseline, enhanced), tmp_path / "residual.nrrd")
    restored = undo(read_volume(image), read_volume(residual))
    assert restored.array.dtype == np.float32
    assert same_bits(restored.array, baseline.array)


def test_the_residual_file_is_an_int32_image_for_other_programs(tmp_path):
    import SimpleITK as sitk

    baseline, enhanced = pair()
    path = write_volume(make_residual(baseline, enhanced), tmp_path / "residual.nrrd")
    image = sitk.ReadImage(str(path))
    assert image.GetPixelID() == sitk.sitkInt32
    assert image.GetMetaData(BASELINE_DIGEST_KEY) == voxel_digest(baseline.array)


def test_a_residual_of_another_volume_is_refused_naming_both_digests():
    baseline, enhanced = pair()
    _, other = pair(seed=1)
    residual = make_residual(baseline, enhanced)
    with pytest.raises(InputError) as caught:
        undo(other, residual)
    assert voxel_digest(enhanced.array) in str(caught.value)
    assert voxel_digest(other.array) in str(caught.value)


def test_an_enhanced_file_stored_as_integers_is_refused():
    baseline, enhanced = pair()
    rounded = Volume(np.rint(enhanced.array).astype(np.int16), GRID)
    with pytest.raises(InputError, match="belongs to another volume"):
        undo(rounded, make_residual(baseline, enhanced))


def test_a_damaged_residual_is_refused():
    baseline, enhanced = pair()
    residual = make_residual(baseline, enhanced)
    damaged = residual.array.copy()
    damaged[0, 0, 0] ^= 1
    with pytest.raises(InputError, match="damaged"):
        undo(enhanced, residual.with_array(damaged))


@pytest.mark.parametrize("keep", [{}, {ENHANCED_DIGEST_KEY: ""}])
def test_an_image_that_is_no_residual_is_refused(keep):
    baseline, enhanced = pair()
    numbers = make_residual(baseline, enhanced).array
    with pytest.raises(InputError, match="no residual"):
        undo(enhanced, Volume(numbers, GRID, metadata=keep))
    with pytest.raises(InputError, match="no residual"):
        undo(enhanced, enhanced)


def test_volumes_on_other_grids_are_refused():
    baseline, enhanced = pair()
    residual = make_residual(baseline, enhanced)
    moved = Grid.from_parts(GRID.shape, (1.0, 1.1, 1.2), (0, 0, 0))
    with pytest.raises(GridMismatchError):
        undo(Volume(enhanced.array, moved), residual)
    with pytest.raises(GridMismatchError):
        make_residual(Volume(baseline.array, moved), enhanced)


def test_a_residual_needs_float32():
    baseline, enhanced = pair()
    with pytest.raises(InputError, match="float64"):
        make_residual(Volume(baseline.array.astype(np.float64), GRID), enhanced)
