"""Grids: coordinates against SimpleITK, changes of spacing, refusals."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.geometry import (
    GRIDS,
    build,
    corner_voxels_ras,
    grids,
    rotation,
    sitk_image,
    sitk_points_ras,
    sitk_voxels_ras,
)

from MRHarmonizationLib.core.errors import GridError, InputError, ParameterError
from MRHarmonizationLib.volumes.grid import Grid, same_grid


def test_voxel_positions_are_those_of_simpleitk(grid):
    image = sitk_image(np.zeros(grid.shape, np.uint8), grid)
    np.testing.assert_allclose(corner_voxels_ras(grid), sitk_voxels_ras(image), atol=1e-9)
    ends = (np.array(grid.size_ijk) - 1).astype(float)
    np.testing.assert_allclose(
        grid.ijk_to_ras(np.array([[0, 0, 0], ends])), sitk_points_ras(image, [[0, 0, 0], ends]), atol=1e-9
    )


@given(grid=grids(), points=st.lists(st.tuples(*[st.floats(-20, 20)] * 3), min_size=1, max_size=4))
def test_continuous_positions_are_those_of_simpleitk_on_any_grid(grid, points):
    image = sitk_image(np.zeros(grid.shape, np.uint8), grid)
    points = np.array(points)
    np.testing.assert_allclose(grid.ijk_to_ras(points), sitk_points_ras(image, points), atol=1e-6)
    np.testing.assert_allclose(grid.ras_to_ijk(grid.ijk_to_ras(points)), points, atol=1e-6)


def test_points_keep_their_leading_shape(grid):
    points = np.arange(24, dtype=float).reshape(2, 4, 3)
    assert grid.ijk_to_ras(points).shape == (2, 4, 3)
    np.testing.assert_allclose(grid.ijk_to_ras(points)[1, 2], grid.ijk_to_ras(points[1, 2]))


def test_size_is_the_shape_reversed_and_spacing_follows_ijk():
    grid = GRIDS["anisotropic"]
    assert grid.shape == (4, 6, 7)
    assert grid.size_ijk == (7, 6, 4)
    np.testing.assert_allclose(grid.spacing_mm, (0.9, 1.1, 5.5))
    np.testing.assert_allclose(grid.extent_mm, (6.3, 6.6, 22.0))
    assert grid.voxel_volume_mm3 == pytest.approx(0.9 * 1.1 * 5.5)
    np.testing.assert_allclose(grid.origin_ras, (-91.3, 12.25, 0.5))


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("axial", "RAS"), ("lps", "LPS"), ("left_handed", "LAS"), ("all_flipped", "LPI"), ("sagittal", "AIL"),
        ("coronal", "LIP"), ("oblique", "RAS"), ("oblique_sagittal", "AIL"), ("half_turn", "RPI"),
    ],
)  # fmt: skip
def test_axis_codes_name_where_each_index_runs(name, codes):
    assert "".join(GRIDS[name].axis_codes) == codes


@pytest.mark.parametrize(
    ("spacing", "axis"),
    [((1, 1, 5), 2), ((1, 5, 1), 1), ((5, 1, 1), 0), ((1, 1, 1), 2), ((2, 2, 1), 1), ((1.00004, 1, 1), 2)],
)
def test_thick_axis_is_the_coarsest_and_of_equals_the_last(spacing, axis):
    assert build((3, 3, 3), spacing, (0, 0, 0), np.eye(3)).thick_axis == axis


def test_corners_are_half_a_voxel_outside_the_centres():
    grid = build((2, 3, 4), (1, 2, 3), (10, 20, 30), np.eye(3))
    corners = grid.corners_ras()
    assert corners.shape == (8, 3)
    np.testing.assert_allclose(corners.min(axis=0), (9.5, 19, 28.5))
    np.testing.assert_allclose(corners.max(axis=0), (13.5, 25, 34.5))


def test_finer_spacing_moves_the_origin_by_half_the_difference():
    grid = build((4, 6, 8), (2, 2, 5), (0, 0, 0), np.eye(3)).isotropic(1.0)
    assert grid.shape == (20, 12, 16)
    np.testing.assert_allclose(grid.origin_ras, (-0.5, -0.5, -2.0))
    np.testing.assert_allclose(grid.spacing_mm, 1)


@given(grid=grids(), spacing=st.tuples(*[st.floats(0.3, 9.0)] * 3))
def test_changed_spacing_keeps_directions_centre_and_field_of_view(grid, spacing):
    changed = grid.with_spacing(spacing)
    np.testing.assert_allclose(changed.spacing_mm, spacing)
    np.testing.assert_allclose(changed.directions, grid.directions, atol=1e-9)
    np.testing.assert_allclose(changed.corners_ras().mean(axis=0), grid.corners_ras().mean(axis=0), atol=1e-6)
    differences = np.abs(changed.extent_mm - grid.extent_mm)
    allowed = np.where(np.array(changed.size_ijk) == 1, np.maximum(spacing, grid.extent_mm), np.array(spacing) * 0.501)
    assert np.all(differences <= allowed + 1e-6)


@pytest.mark.parametrize("spacing", [(1, 0, 1), (1, -1, 1), (1, 1), (1, np.nan, 1), (1, 1, np.inf)])
def test_impossible_new_spacing_is_refused(spacing):
    with pytest.raises(ParameterError, match="spacing"):
        GRIDS["oblique"].with_spacing(spacing)


def test_crop_keeps_every_voxel_in_place(grid):
    start = tuple(min(1, n - 1) for n in grid.shape)
    cropped = grid.crop(start, (1, 2, 2))
    np.testing.assert_allclose(cropped.ijk_to_ras([0, 0, 0]), grid.ijk_to_ras(start[::-1]), atol=1e-9)
    np.testing.assert_allclose(cropped.directions, grid.directions, atol=1e-12)
    assert cropped.shape == (1, 2, 2)


def test_negative_crop_start_pads():
    grid = GRIDS["oblique"]
    padded = grid.crop((-1, -2, -3), tuple(n + 6 for n in grid.shape))
    np.testing.assert_allclose(padded.ijk_to_ras([3, 2, 1]), grid.origin_ras, atol=1e-9)


def test_dictionary_round_trip_is_exact(grid):
    import json

    again = Grid.from_dict(json.loads(json.dumps(grid.to_dict())))
    assert again.shape == grid.shape
    np.testing.assert_array_equal(again.affine, grid.affine)


def test_same_grid_sees_shape_shift_and_rotation():
    grid = GRIDS["oblique"]
    assert same_grid(grid, Grid(grid.shape, grid.affine))
    shifted = grid.affine.copy()
    shifted[0, 3] += 0.01
    assert not same_grid(grid, Grid(grid.shape, shifted))
    assert same_grid(grid, Grid(grid.shape, shifted), atol_mm=0.02)
    assert not same_grid(grid, Grid((5, 6, 8), grid.affine))
    turned = grid.affine.copy()
    turned[:3, :3] = rotation(0, 0, 1) @ turned[:3, :3]
    assert not same_grid(grid, Grid(grid.shape, turned))


def test_affine_is_a_read_only_copy():
    affine = np.eye(4)
    grid = Grid((2, 2, 2), affine)
    affine[0, 3] = 99
    assert grid.origin_ras[0] == 0
    with pytest.raises(ValueError, match="read-only"):
        grid.affine[0, 0] = 2


def _with(change) -> np.ndarray:
    affine = np.eye(4)
    change(affine)
    return affine


@pytest.mark.parametrize(
    ("shape", "affine", "words"),
    [
        ((2, 2), np.eye(4), "shape"),
        ((0, 2, 2), np.eye(4), "shape"),
        ((2, 2, 2), np.eye(3), "4 x 4"),
        ((2, 2, 2), _with(lambda a: a.__setitem__((0, 3), np.nan)), "nan"),
        ((2, 2, 2), _with(lambda a: a.__setitem__((1, 1), np.inf)), "inf"),
        ((2, 2, 2), _with(lambda a: a.__setitem__((1, 1), 0.0)), "0.0"),
        ((2, 2, 2), _with(lambda a: a.__setitem__((0, 1), 0.2)), "sheared"),
    ],
)
def test_impossible_geometry_is_refused_with_its_value(shape, affine, words):
    with pytest.raises(GridError, match=words) as caught:
        Grid(shape, affine)
    assert isinstance(caught.value, InputError)
    assert caught.value.remedy


def test_rounding_in_a_header_is_no_shear():
    affine = GRIDS["oblique"].affine.astype(np.float32).astype(np.float64)
    affine[0, 1] += 5e-4
    Grid((2, 2, 2), affine)
