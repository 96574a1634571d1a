"""Resampling: what lies at a point in space is found at that point on every other grid."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from support.geometry import GRIDS, build, grids, random_array, rotation, sitk_image, sitk_voxels_ras

from MRHarmonizationLib.core.errors import GridMismatchError, ParameterError
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.orientation import to_canonical
from MRHarmonizationLib.volumes.resampling import grid_of_sitk, resample, resample_like, resample_parallel, to_sitk
from MRHarmonizationLib.volumes.volume import Volume

SLOPE_PER_MM = np.array([2.0, -3.0, 0.5])


def plane_wave(grid: Grid, slope=SLOPE_PER_MM) -> Volume:
    """A volume whose value is a linear function of the position in space."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    points = grid.ijk_to_ras(np.stack([i, j, k], axis=-1).astype(float))
    return Volume((points @ slope).astype(np.float32), grid)


def inner(grid: Grid, outer: Grid, margin_voxels: float) -> np.ndarray:
    """Mask of the voxels of a grid that lie that far inside another."""
    k, j, i = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
    index = outer.ras_to_ijk(grid.ijk_to_ras(np.stack([i, j, k], axis=-1).astype(float)))
    limit = np.array(outer.size_ijk) - 1 - margin_voxels
    return np.all((index >= margin_voxels) & (index <= limit), axis=-1)


@pytest.mark.parametrize(
    "name", ["anisotropic", "lps", "sagittal", "oblique", "oblique_left_handed", "oblique_sagittal"]
)
def test_linear_ramps_survive_a_change_of_grid(name):
    placed = GRIDS[name]
    source = Grid((8, 10, 9), placed.affine)
    centre = source.corners_ras().mean(axis=0)
    target = build((9, 9, 9), (1, 1, 1), (0, 0, 0), rotation(3, 11, -6))
    target = build((9, 9, 9), (1, 1, 1), centre - target.ijk_to_ras([4, 4, 4]), rotation(3, 11, -6))
    result = resample(plane_wave(source), target, "linear", fill=np.nan)
    expected = plane_wave(target).array
    inside = inner(target, source, 0.001)
    assert inside.sum() > 100
    np.testing.assert_allclose(result.array[inside], expected[inside], atol=2e-3)


@pytest.mark.parametrize("interpolation", ["cubic", "lanczos"])
def test_smooth_values_are_found_where_they_lie(interpolation):
    source = build((30, 30, 30), (1.5, 1.5, 2.0), (-21, -22, -29), rotation(5, 10, 15) @ np.diag([-1, 1, 1]))
    target = build((20, 20, 20), (1, 1, 1), (-10, -9, -8), np.eye(3))

    def blob(grid: Grid) -> np.ndarray:
        k, j, i = np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij")
        points = grid.ijk_to_ras(np.stack([i, j, k], axis=-1).astype(float))
        return np.exp(-np.sum((points - (1, 2, 3)) ** 2, axis=-1) / (2 * 6.0**2)).astype(np.float32)

    centre = source.corners_ras().mean(axis=0)
    source = build(source.shape, source.spacing_mm, source.origin_ras - centre, source.directions)
    result = resample(Volume(blob(source), source), target, interpolation)
    inside = inner(target, source, 5)
    assert inside.all()
    assert np.abs(result.array - blob(target)).max() < 0.005


def test_upsampled_image_keeps_its_centre_of_gravity():
    grid = build((6, 12, 12), (2, 2, 5), (-11, -11, -12.5), np.eye(3))
    array = np.zeros(grid.shape, np.float32)
    array[2:4, 4:8, 4:8] = 1.0
    fine = resample(Volume(array, grid), grid.isotropic(1.0), "linear")
    assert fine.array.shape == (30, 24, 24)

    def centre_of_gravity(volume: Volume) -> np.ndarray:
        k, j, i = np.nonzero(np.ones(volume.array.shape, bool))
        points = volume.grid.ijk_to_ras(np.stack([i, j, k], axis=-1).astype(float))
        weights = volume.array.ravel().astype(float)
        return (points * weights[:, None]).sum(axis=0) / weights.sum()

    np.testing.assert_allclose(centre_of_gravity(fine), centre_of_gravity(Volume(array, grid)), atol=1e-4)
    np.testing.assert_allclose(centre_of_gravity(fine), (0, 0, 0), atol=1e-4)


@pytest.mark.parametrize(
    ("interpolation", "tolerance"),
    [("cubic", 1e-4), ("linear", 1e-4), ("lanczos", 0.05)],  # ITK does not normalise the windowed sinc
)
def test_constant_image_stays_constant_up_to_the_outer_voxel_edges(interpolation, tolerance):
    grid = build((6, 8, 8), (2, 2, 5), (3, 4, 5), rotation(8, -5, 12))
    result = resample(Volume(np.full(grid.shape, 7.0, np.float32), grid), grid.isotropic(1.0), interpolation, fill=0.0)
    np.testing.assert_allclose(result.array, 7.0, atol=tolerance)


def test_outside_the_field_of_view_is_the_minimum_or_the_given_fill():
    volume = plane_wave(GRIDS["oblique"])
    far = build((2, 2, 2), (1, 1, 1), (500, 500, 500), np.eye(3))
    assert np.all(resample(volume, far).array == volume.array.min())
    assert np.all(resample(volume, far, fill=-5).array == -5)


def test_cubic_reproduces_the_samples_and_lies_between_grids_as_itk(oblique_volume):
    finer = oblique_volume.grid.with_spacing(oblique_volume.grid.spacing_mm / 3)
    result = resample(oblique_volume, finer, "cubic")
    np.testing.assert_allclose(result.array[1::3, 1::3, 1::3], oblique_volume.array, atol=1e-3)


def test_same_grid_is_returned_unchanged_as_float32(volume):
    again = resample(volume, Grid(volume.grid.shape, volume.grid.affine), "cubic")
    assert again.array.dtype == np.float32
    np.testing.assert_array_equal(again.array, volume.array)


@given(grid=grids(smallest=2))
@settings(max_examples=15)
def test_going_to_canonical_by_resampling_or_by_moving_is_the_same(grid):
    volume = Volume(random_array(grid), grid)
    moved, _ = to_canonical(volume)
    resampled = resample(volume, moved.grid, "nearest")
    np.testing.assert_array_equal(resampled.array, moved.array)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32", "float64", "bool"])
def test_nearest_keeps_the_type_and_the_values(dtype):
    grid = GRIDS["oblique"]
    volume = Volume(random_array(grid, dtype), grid)
    result = resample(volume, grid.with_spacing(grid.spacing_mm / 2), "nearest")
    assert result.array.dtype == np.dtype(dtype)
    assert set(np.unique(result.array)) <= set(np.unique(volume.array))
    np.testing.assert_array_equal(result.array[::2, ::2, ::2], volume.array)


@pytest.mark.parametrize("interpolation", ["cubic", "linear", "nearest", "lanczos"])
@pytest.mark.parametrize("slices", [1, 2, 3])
def test_few_slices_are_enough(interpolation, slices):
    grid = build((slices, 8, 8), (1, 1, 5), (0, 0, 0), rotation(5, 5, 5))
    volume = plane_wave(grid)
    result = resample(volume, grid.isotropic(1.0), interpolation)
    assert result.array.shape == (5 * slices, 8, 8)
    np.testing.assert_allclose(result.array[2::5], volume.array, atol=0.2 if interpolation == "lanczos" else 1e-3)
    assert np.ptp(result.array) < 3 * np.ptp(volume.array)


def test_inputs_are_left_alone(oblique_volume):
    before = oblique_volume.array.copy()
    resample(oblique_volume, oblique_volume.grid.isotropic(1.0))
    np.testing.assert_array_equal(oblique_volume.array, before)


def test_name_and_metadata_are_kept():
    volume = Volume(random_array(GRIDS["axial"]), GRIDS["axial"], "scan", {"modality": "MR"})
    result = resample_like(volume, plane_wave(GRIDS["anisotropic"]))
    assert (result.name, dict(result.metadata)) == ("scan", {"modality": "MR"})
    assert same_grid(result.grid, GRIDS["anisotropic"])


def test_unknown_interpolation_names_the_choices(oblique_volume):
    with pytest.raises(ParameterError, match=r"'sinc'.*cubic"):
        resample(oblique_volume, oblique_volume.grid, "sinc")


def test_simpleitk_images_keep_place_and_values(volume):
    image = to_sitk(volume)
    oracle = sitk_image(volume.array, volume.grid)
    np.testing.assert_allclose(sitk_voxels_ras(image), sitk_voxels_ras(oracle), atol=1e-9)
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(image), volume.array)
    assert same_grid(grid_of_sitk(oracle), volume.grid, atol_mm=1e-9)


@pytest.mark.parametrize("name", ["anisotropic", "lps", "oblique", "oblique_sagittal"])
@pytest.mark.parametrize("shape", [(8, 10, 9), (2, 7, 6), (5, 4, 1)])
def test_separable_interpolation_agrees_with_simpleitk(name, shape):
    source = Grid(shape, GRIDS[name].affine)
    volume = Volume(random_array(source, seed=3), source)
    finer = source.with_spacing(source.spacing_mm * (0.7, 0.55, 0.4))
    # half the wanted grid lies outside the field of view
    for wanted in (finer, finer.crop((3, -2, 1), finer.shape)):
        expected = resample(volume, wanted)
        result = resample_parallel(volume, wanted)
        assert same_grid(result.grid, wanted)
        np.testing.assert_allclose(result.array, expected.array, atol=1e-4 * np.ptp(volume.array))


def test_separable_interpolation_refuses_turned_grids():
    source = Grid((8, 10, 9), GRIDS["anisotropic"].affine)
    turned = build((9, 9, 9), (1, 1, 1), (0, 0, 0), rotation(3, 11, -6))
    with pytest.raises(GridMismatchError, match="directions"):
        resample_parallel(plane_wave(source), turned)
