from __future__ import annotations

import numpy as np
import pytest
from support.heads import MOVED_MM, head_labels

from MRHarmonizationLib.degradations.reference_look import render_reference_look
from MRHarmonizationLib.evaluation.rigid_registration import register_halfway
from MRHarmonizationLib.volumes.affine import resample_through
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture(scope="module")
def scan():
    return render_reference_look(head_labels(3), "t1", 3)


def moved(scan, right_mm, angle_deg=0.0):
    angle = np.radians(angle_deg)
    motion = np.eye(4)
    motion[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    motion[0, 3] = right_mm
    return Volume(np.ascontiguousarray(scan.array), Grid(scan.grid.shape, motion @ scan.grid.affine), "moved"), motion


def test_each_scan_is_moved_by_half_of_the_motion(scan):
    other, motion = moved(scan, MOVED_MM, 6.0)
    found = register_halfway(scan, other, scan.grid)
    both = found.to_second @ np.linalg.inv(found.to_first)
    assert both[:3, :3] == pytest.approx(motion[:3, :3], abs=0.01)
    assert both[:3, 3] == pytest.approx(motion[:3, 3], abs=0.6)
    assert found.to_first @ found.to_second == pytest.approx(np.eye(4), abs=1e-6)
    first, second = (
        resample_through(v, scan.grid, m).array for v, m in ((scan, found.to_first), (other, found.to_second))
    )
    inside = np.zeros(scan.array.shape, bool)
    inside[8:-8, 8:-8, 8:-8] = True
    apart = np.abs(resample_through(other, scan.grid, np.eye(4)).array - scan.array)[inside].mean()
    assert np.abs(first - second)[inside].mean() < 0.35 * apart


def test_points_of_the_grid_are_looked_up_where_the_matrix_sends_them(scan):
    shift = np.eye(4)
    shift[:3, 3] = (4.0, 8.0, -4.0)  # 1, 2 and -1 voxels
    found = resample_through(scan, scan.grid, shift).array
    assert found[5:-5, 5:-5, 5:-5] == pytest.approx(scan.array[4:-6, 7:-3, 6:-4], abs=1e-2)


def test_beyond_the_field_of_view_there_is_nothing(scan):
    far = np.eye(4)
    far[0, 3] = 1000.0
    assert not resample_through(scan, scan.grid, far).array.any()
