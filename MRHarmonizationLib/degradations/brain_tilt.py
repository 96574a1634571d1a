"""The same brain on a grid that is turned: slices of real scans are rarely exactly axial."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from MRHarmonizationLib.degradations.brain_tensors import DiffusionBrain
from MRHarmonizationLib.volumes.grid import Grid


def tilted(brain: DiffusionBrain, tilt_deg: float) -> DiffusionBrain:
    """Return the brain sampled on a grid turned about the left-right axis through its middle.

    The object stays where it is, so its tensors, which are in RAS, keep their directions.

    Parameters
    ----------
    brain : DiffusionBrain
    tilt_deg : float
        Positive lifts the front of the slices.

    Returns
    -------
    DiffusionBrain
        Linear interpolation; tissues and lesion by the nearest voxel. The brain itself for an angle of 0.
    """
    if tilt_deg == 0:
        return brain
    grid = tilted_grid(brain.grid, tilt_deg)

    def moved(array: np.ndarray, order: int, outside: float) -> np.ndarray:
        return sampled(array, brain.grid, grid, order, outside)

    tensors = np.empty((*grid.shape, 6), np.float32)
    for n in range(6):
        tensors[..., n] = moved(brain.tensors[..., n], 1, 1e-3 if n in (0, 3, 5) else 0.0)
    return replace(
        brain,
        tensors=tensors,
        proton_density=moved(brain.proton_density, 1, 0.0),
        t1_ms=moved(brain.t1_ms, 1, 1000.0),
        t2_ms=moved(brain.t2_ms, 1, 80.0),
        r2_prime_per_s=moved(brain.r2_prime_per_s, 1, 5.0),
        grid=grid,
        tissues=None if brain.tissues is None else moved(brain.tissues, 0, 0),
        lesion=None if brain.lesion is None else moved(brain.lesion, 0, 0),
    )


def sampled(array: np.ndarray, source: Grid, target: Grid, order: int, outside: float) -> np.ndarray:
    """Return an array of one grid at the voxels of another: ``order`` 1 linear, 0 the nearest voxel; type kept."""
    from scipy.ndimage import affine_transform

    to_source = np.linalg.inv(source.affine) @ target.affine
    matrix, offset = to_source[:3, :3][::-1, ::-1], to_source[:3, 3][::-1]
    values = array.astype(np.uint8) if array.dtype == bool else array
    moved = affine_transform(values, matrix, offset, target.shape, order=order, cval=outside)
    return np.asarray(moved.astype(array.dtype, copy=False))


def tilted_grid(grid: Grid, tilt_deg: float) -> Grid:
    """Return a grid turned about the left-right axis through its middle, long enough to hold what the other held."""
    angle = np.deg2rad(tilt_deg)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    _, depth_mm, height_mm = grid.extent_mm
    sine, cosine = abs(np.sin(angle)), np.cos(angle)
    wanted = np.array([grid.extent_mm[0], depth_mm * cosine + height_mm * sine, height_mm * cosine + depth_mm * sine])
    size = np.maximum(np.ceil(wanted / grid.spacing_mm - 1e-6).astype(int), 1)
    affine = np.eye(4)
    affine[:3, :3] = turn @ grid.affine[:3, :3]
    middle = grid.ijk_to_ras((np.array(grid.size_ijk) - 1) / 2)
    affine[:3, 3] = middle - affine[:3, :3] @ ((size - 1) / 2)
    return Grid((int(size[2]), int(size[1]), int(size[0])), affine)
