from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from MRHarmonizationLib.core.errors import GridMismatchError, InputError, ParameterError
from MRHarmonizationLib.inference.preparation import (
    Conditioning,
    conditioning,
    conditioning_channels,
    plane_stacks,
    prepare,
    thick_axis_first,
    thick_axis_order,
)
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.orientation import AxisOrder
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.card import IntensityRule

STORAGES = [
    AxisOrder(permutation, flips)
    for permutation in itertools.permutations(range(3))
    for flips in itertools.product((False, True), repeat=3)
]


def labelled_by_position(grid: Grid) -> Volume:
    """A volume whose values say where each voxel lies."""
    k, j, i = np.indices(grid.shape)
    ras = grid.ijk_to_ras(np.stack([i, j, k], axis=-1))
    return Volume(ras @ np.array([1.0, 100.0, 10000.0]), grid)


@pytest.mark.parametrize("order", STORAGES, ids=str)
@pytest.mark.parametrize("spacing", [(1.6, 1.5, 5.0), (5.0, 1.0, 1.0), (1.0, 4.0, 1.2), (1.0, 1.0, 1.0)])
def test_what_the_network_sees_does_not_depend_on_how_the_scan_is_stored(order, spacing):
    stored_ras = Grid.from_parts((5, 6, 7), spacing, (-3.0, 2.0, 9.0))
    stored_other = order.apply_grid(stored_ras)
    arrays = []
    for grid in (stored_ras, stored_other):
        volume = labelled_by_position(grid.isotropic(1.0))
        array, undo = thick_axis_first(volume, grid)
        np.testing.assert_array_equal(undo.undo(array), volume.array)
        arrays.append((array, conditioning(grid, volume.grid, array.shape)))
    (first, first_condition), (second, second_condition) = arrays
    np.testing.assert_allclose(first, second, atol=1e-6)
    np.testing.assert_allclose(first_condition.slice_distance_mm, second_condition.slice_distance_mm, atol=1e-5)
    assert first_condition[1:] == pytest.approx(second_condition[1:])


def test_the_thick_axis_comes_first_the_others_in_the_order_r_a_s():
    grid = Grid.from_parts((4, 5, 6), (1.0, 5.0, 1.2))  # coronal slices: thick along A
    array, order = thick_axis_first(labelled_by_position(grid), grid)
    assert order.permutation == (1, 2, 0)
    assert array.shape == (5, 6, 4)
    steps = [float(np.diff(array, axis=axis).mean()) for axis in range(3)]
    assert steps == pytest.approx([500.0, 1.0, 12000.0])


def test_equal_spacings_take_superior_as_the_thick_axis():
    assert thick_axis_order(Grid.from_parts((4, 5, 6))).permutation == (0, 2, 1)
    rounded = Grid.from_parts((4, 5, 6), (1.0, 1.0002, 1.0))  # header rounding must not decide
    assert thick_axis_order(rounded).permutation == (0, 2, 1)


def test_an_oblique_scan_takes_the_nearest_axes():
    directions = Rotation.from_euler("xyz", [12, -9, 20], degrees=True).as_matrix()
    grid = Grid.from_parts((4, 20, 20), (1.5, 1.5, 5.0), directions=directions)
    assert thick_axis_order(grid) == AxisOrder((0, 2, 1), (False, False, False))


def test_slice_distances_are_measured_to_the_nearest_acquired_centre():
    grid = Grid.from_parts((3, 8, 8), (1.5, 1.6, 5.0))
    condition = conditioning(grid, grid.isotropic(1.0))
    expected = [2, 1, 0, 1, 2] * 3  # three slices of five rows, the centre in the middle of each
    np.testing.assert_allclose(condition.slice_distance_mm, expected, atol=1e-5)
    assert condition.slice_distance_mm.dtype == np.float32
    assert condition.slice_spacing_mm == pytest.approx(5.0)
    assert condition.inplane_spacing_mm == pytest.approx(np.sqrt(1.5 * 1.6))


def test_grids_must_be_parallel_and_shapes_agree():
    grid = Grid.from_parts((3, 8, 8), (1.5, 1.5, 5.0))
    turned = Grid.from_parts((3, 8, 8), directions=Rotation.from_euler("z", 3, degrees=True).as_matrix())
    with pytest.raises(GridMismatchError, match="turned"):
        conditioning(grid, turned)
    with pytest.raises(GridMismatchError, match="turned"):
        thick_axis_first(labelled_by_position(turned), grid)
    with pytest.raises(GridMismatchError, match=r"\(1, 2, 3\)"):
        conditioning(grid, grid.isotropic(1.0), (1, 2, 3))


@pytest.mark.parametrize("trailing", [(6,), (6, 7)])
def test_conditioning_channels_have_the_documented_units(trailing):
    condition = Conditioning(np.float32([0, 2, 4]), 6.0, 1.5)
    channels = conditioning_channels(condition, trailing)
    assert channels.shape == (3, 3, *trailing)
    assert channels.dtype == np.float32
    np.testing.assert_allclose(channels[0].reshape(3, -1), np.float32([[0], [0.5], [1]]) * np.ones(np.prod(trailing)))
    np.testing.assert_allclose(channels[1], 0.75)
    np.testing.assert_allclose(channels[2], 0.75)


@pytest.mark.parametrize("axis", [1, 2])
def test_plane_stacks_hold_the_neighbours_and_repeat_the_ends(axis):
    array = np.random.default_rng(0).normal(size=(4, 6, 7)).astype(np.float32)
    array.setflags(write=False)
    count = array.shape[axis]
    stacks = plane_stacks(array, axis, range(count), planes=5)
    assert stacks.shape == (count, 5, 4, array.shape[3 - axis])
    for centre, channel in itertools.product(range(count), range(5)):
        wanted = min(max(centre + channel - 2, 0), count - 1)
        np.testing.assert_array_equal(stacks[centre, channel], array.take(wanted, axis=axis))


def test_plane_stacks_fill_an_array_in_any_order_of_centres():
    array = np.random.default_rng(0).normal(size=(4, 6, 7)).astype(np.float32)
    out = np.full((3, 8, 4, 6), np.nan, np.float32)
    plane_stacks(array, 2, [5, 0, 5], 3, out=out[:, :3])
    np.testing.assert_array_equal(out[:, :3], plane_stacks(array, 2, [5, 0, 5], 3))
    assert np.isnan(out[:, 3:]).all()


@pytest.mark.parametrize(("axis", "planes"), [(0, 5), (3, 5), (1, 4), (2, 0)])
def test_impossible_stacks_are_refused(axis, planes):
    with pytest.raises(ParameterError):
        plane_stacks(np.zeros((4, 4, 4), np.float32), axis, [0], planes)


def test_prepare_normalises_without_touching_the_scan(head_phantom):
    prepared = prepare(head_phantom, head_phantom.grid)
    assert prepared.array.dtype == np.float32
    assert prepared.array.flags.c_contiguous
    assert np.percentile(prepared.array, 99.5) == pytest.approx(1.0, abs=0.02)
    restored = prepared.scale.restore(prepared.order.undo(prepared.array))
    np.testing.assert_allclose(restored, head_phantom.array, atol=1e-3)


def test_prepare_follows_the_rule_of_the_card(head_phantom):
    whole = prepare(head_phantom, head_phantom.grid, IntensityRule(upper=90.0))
    foreground = prepare(head_phantom, head_phantom.grid, IntensityRule(upper=90.0, foreground=True))
    assert foreground.scale.scale > whole.scale.scale


def test_prepare_refuses_an_image_without_contrast():
    with pytest.raises(InputError):
        prepare(Volume(np.full((4, 4, 4), 7.0), Grid.from_parts((4, 4, 4))), Grid.from_parts((4, 4, 4)))
