"""Grids of every kind, and SimpleITK as an oracle that shares no code with the library."""

from __future__ import annotations

import itertools
import math

import numpy as np
import SimpleITK as sitk
from hypothesis import strategies as st

from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

#: Signs that turn RAS coordinates into LPS ones and back.
FLIP_XY = np.array([-1.0, -1.0, 1.0])


def rotation(x_deg: float, y_deg: float, z_deg: float) -> np.ndarray:
    """Rotation about x, then y, then z, in degrees."""
    cx, cy, cz = (math.cos(math.radians(angle)) for angle in (x_deg, y_deg, z_deg))
    sx, sy, sz = (math.sin(math.radians(angle)) for angle in (x_deg, y_deg, z_deg))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def build(shape, spacing, origin, directions) -> Grid:
    """A grid from (K, J, I) shape, spacing along i, j, k, RAS origin and unit columns."""
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(directions) @ np.diag(spacing)
    affine[:3, 3] = origin
    return Grid(shape, affine)


_SAGITTAL = np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]], float)  # i: A, j: I, k: L
_CORONAL = np.array([[-1, 0, 0], [0, 0, -1], [0, -1, 0]], float)  # i: L, j: I, k: P

#: Small grids of every kind of placement met in practice.
GRIDS = {
    "axial": build((5, 6, 7), (1, 1, 1), (-3, -4, -5), np.eye(3)),
    "anisotropic": build((4, 6, 7), (0.9, 1.1, 5.5), (-91.3, 12.25, 0.5), np.eye(3)),
    "lps": build((4, 6, 5), (1.5, 1.5, 4), (90, 126, -72), np.diag([-1, -1, 1])),
    "left_handed": build((4, 5, 6), (1, 2, 3), (10, 20, 30), np.diag([-1, 1, 1])),
    "all_flipped": build((4, 5, 6), (1, 2, 3), (10, 20, 30), -np.eye(3)),
    "sagittal": build((6, 5, 4), (0.94, 0.94, 5), (50, -100, 120), _SAGITTAL),
    "coronal": build((3, 5, 4), (1.2, 1.2, 4), (80, 90, 100), _CORONAL),
    "oblique": build((5, 6, 7), (1.6, 1.6, 5), (-80.5, -99.25, 33.125), rotation(12, -7, 20)),
    "oblique_sagittal": build((5, 4, 6), (1, 1.3, 4.5), (3, -100, 60), rotation(4, 9, -15) @ _SAGITTAL),
    "oblique_left_handed": build((4, 5, 6), (0.7, 0.8, 3), (5, 6, 7), rotation(30, 40, 50) @ np.diag([1, -1, 1])),
    "half_turn": build((3, 4, 5), (1, 1, 2), (0, 0, 0), rotation(180, 0, 0)),
    "single_slice": build((1, 6, 7), (1, 1, 5), (1, 2, 3), rotation(5, 5, 5)),
}


def random_array(grid: Grid, dtype="float32", seed: int = 0) -> np.ndarray:
    """Values that differ in every voxel and use the range of the type."""
    rng = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind == "f":
        return rng.normal(100, 40, grid.shape).astype(kind)
    if kind.kind == "b":
        return rng.random(grid.shape) < 0.5
    limits = np.iinfo(kind)
    return rng.integers(limits.min, limits.max, grid.shape, dtype=kind, endpoint=True)


def sitk_image(array: np.ndarray, grid: Grid) -> sitk.Image:
    """A SimpleITK image of an array on a grid, written down from the definition of both."""
    image = sitk.GetImageFromArray(array)
    lps = FLIP_XY[:, None] * np.asarray(grid.affine)[:3]
    spacing = [math.sqrt(sum(value**2 for value in lps[:, axis])) for axis in range(3)]
    image.SetSpacing(spacing)
    image.SetDirection((lps[:, :3] / spacing).ravel().tolist())
    image.SetOrigin(lps[:, 3].tolist())
    return image


def sitk_points_ras(image: sitk.Image, points_ijk: np.ndarray) -> np.ndarray:
    """RAS positions of continuous indices (n, 3), by SimpleITK."""
    lps = [image.TransformContinuousIndexToPhysicalPoint([float(v) for v in point]) for point in points_ijk]
    return np.array(lps) * FLIP_XY


def sitk_voxels_ras(image: sitk.Image) -> np.ndarray:
    """RAS positions of the eight corner voxels' centres, by SimpleITK."""
    ends = [(0, n - 1) for n in image.GetSize()]
    return np.array([image.TransformIndexToPhysicalPoint(corner) for corner in itertools.product(*ends)]) * FLIP_XY


def corner_voxels_ras(grid: Grid) -> np.ndarray:
    """RAS positions of the same voxels by the grid's affine."""
    ends = [(0, n - 1) for n in grid.size_ijk]
    corners = np.array(list(itertools.product(*ends)), float)
    return corners @ np.asarray(grid.affine)[:3, :3].T + np.asarray(grid.affine)[:3, 3]


def value_at_ras(volume: Volume, point: np.ndarray) -> float:
    """The value of the voxel nearest to a point, by solving the affine; the point must lie at a voxel."""
    index = np.linalg.solve(np.asarray(volume.grid.affine), [*point, 1.0])[:3]
    nearest = np.rint(index).astype(int)
    assert np.allclose(index, nearest, atol=1e-3), f"{point} is not a voxel of the grid ({index})"
    return volume.array[tuple(nearest[::-1])]


def _unit_quaternion(values: tuple[float, float, float, float]) -> np.ndarray:
    quaternion = np.array(values)
    return quaternion / np.linalg.norm(quaternion)


def _rotation_of(quaternion: np.ndarray) -> np.ndarray:
    a, b, c, d = quaternion
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


@st.composite
def grids(draw: st.DrawFn, smallest: int = 1, largest: int = 7) -> Grid:
    """Any rotation, permutation and flip, 0.3-9 mm voxels, an origin within 250 mm."""
    part = st.floats(-1, 1, allow_subnormal=False)
    quaternion = draw(st.tuples(part, part, part, part).filter(lambda q: sum(v * v for v in q) > 0.01))
    permutation = draw(st.permutations(range(3)))
    signs = draw(st.tuples(*[st.sampled_from((-1.0, 1.0))] * 3))
    directions = (_rotation_of(_unit_quaternion(quaternion)) * signs)[:, permutation]
    spacing = draw(st.tuples(*[st.floats(0.3, 9.0)] * 3))
    origin = draw(st.tuples(*[st.floats(-250.0, 250.0)] * 3))
    size = draw(st.tuples(*[st.integers(smallest, largest)] * 3))
    return build(size, spacing, origin, directions)
