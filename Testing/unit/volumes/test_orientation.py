"""Canonical order: every voxel keeps its place in space, and the way back is exact."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from support.geometry import GRIDS, build, grids, random_array, rotation, value_at_ras

from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.orientation import AxisOrder, canonical_order, to_canonical
from MRHarmonizationLib.volumes.volume import Volume


@given(grid=grids(largest=4))
def test_every_voxel_keeps_its_place(grid):
    volume = Volume(random_array(grid), grid)
    moved, _ = to_canonical(volume)
    for index in itertools.product(*(range(n) for n in grid.shape)):
        point = grid.ijk_to_ras(np.array(index[::-1], float))
        assert value_at_ras(moved, point) == volume.array[index]


@given(grid=grids())
def test_the_way_back_is_exact(grid):
    volume = Volume(random_array(grid), grid)
    moved, order = to_canonical(volume)
    np.testing.assert_array_equal(order.undo(moved.array), volume.array)
    assert same_grid(moved.grid, order.apply_grid(grid))


@given(grid=grids(smallest=2))
def test_canonical_axes_run_right_anterior_superior(grid):
    moved, _ = to_canonical(Volume(random_array(grid), grid))
    directions = moved.grid.directions
    assert np.all(np.diag(directions) > 0)
    for permutation in itertools.permutations(range(3)):  # no other order lies closer to the scanner's axes
        assert np.trace(directions) >= np.abs(directions[:, permutation]).trace() - 1e-9


def test_all_right_angled_orders_reach_the_identity():
    values = np.arange(24.0).reshape(2, 3, 4)
    for permutation in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            directions = (np.eye(3) * signs)[:, permutation]
            shape = tuple((4, 3, 2)[axis] for axis in permutation)[::-1]
            grid = build(shape, (1, 1, 1), (0, 0, 0), directions)
            moved, order = to_canonical(Volume(values.reshape(shape), grid))
            np.testing.assert_allclose(moved.grid.directions, np.eye(3), atol=1e-12)
            assert moved.grid.size_ijk == (4, 3, 2)
            np.testing.assert_array_equal(order.undo(moved.array), values.reshape(shape))


def test_canonical_volume_is_left_alone():
    order = canonical_order(GRIDS["oblique"])
    assert order == AxisOrder((0, 1, 2), (False, False, False))


def test_45_degrees_still_gives_each_axis_one_direction():
    grid = build((3, 4, 5), (1, 1, 1), (0, 0, 0), rotation(45, 45, 45))
    moved, order = to_canonical(Volume(random_array(grid), grid))
    assert sorted(order.permutation) == [0, 1, 2]
    assert abs(np.linalg.det(moved.grid.directions)) == pytest.approx(1)


def test_order_applies_to_arrays_without_copying():
    array = random_array(GRIDS["sagittal"])
    order = canonical_order(GRIDS["sagittal"])
    assert np.shares_memory(order.apply(array), array)
    np.testing.assert_array_equal(order.undo(order.apply(array)), array)


def test_name_and_metadata_move_along():
    volume = Volume(random_array(GRIDS["sagittal"]), GRIDS["sagittal"], "scan", {"modality": "MR"})
    moved, _ = to_canonical(volume)
    assert (moved.name, dict(moved.metadata)) == ("scan", {"modality": "MR"})
    assert isinstance(moved.grid, Grid)
