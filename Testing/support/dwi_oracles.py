"""Diffusion series by other means: dcm2niix for DICOM, nibabel and the written convention for FSL tables."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


def dcm2niix_command() -> str:
    """The converter's program; tests that need it skip where the package dcm2niix is not installed."""
    program = Path(sys.executable).with_name("dcm2niix")
    found = str(program) if program.is_file() else shutil.which("dcm2niix")
    if found is None:
        pytest.skip("needs the package dcm2niix")
    return found


def converted(folder: Path, out: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Convert a DICOM folder; return values [I, J, K, N], affine, b-values (N,) and RAS directions (N, 3)."""
    out.mkdir(parents=True, exist_ok=True)
    command = [dcm2niix_command(), "-z", "n", "-b", "n", "-f", "out", "-o", str(out), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (out / "out.bvec").is_file(), done.stdout + done.stderr
    return fsl_series(out / "out.nii", out / "out.bval", out / "out.bvec")


def fsl_series(image: Path, bval: Path, bvec: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Read a NIfTI series and its tables by the written convention; returns as :func:`converted`.

    Directions lie along the voxel axes; where the affine's determinant is positive the first is reversed.
    """
    loaded = nib.load(image)
    affine = np.asarray(loaded.affine)
    axes = affine[:3, :3] / np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    vectors = np.loadtxt(bvec)
    if np.linalg.det(affine[:3, :3]) > 0:
        vectors = np.stack([-vectors[0], vectors[1], vectors[2]])
    directions = np.array([axes @ vector for vector in vectors.T])
    return np.asarray(loaded.dataobj), affine, np.loadtxt(bval), directions


def values_at(values: np.ndarray, affine: np.ndarray, points_ras: np.ndarray) -> np.ndarray:
    """Values [I, J, K, N] of the voxels at RAS points (n, 3), which must be voxel centres; shape (n, N)."""
    index = (points_ras - affine[:3, 3]) @ np.linalg.inv(affine[:3, :3]).T
    nearest = np.rint(index).astype(int)
    assert np.abs(index - nearest).max() < 0.02, "a point is not a voxel centre"
    return values[tuple(nearest.T)]


def all_centres_ras(grid) -> np.ndarray:
    """RAS centres of all voxels in the order of the array [K, J, I], shape (K·J·I, 3)."""
    k, j, i = np.indices(grid.shape).reshape(3, -1)
    return np.stack([i, j, k], axis=1) @ np.asarray(grid.affine)[:3, :3].T + np.asarray(grid.affine)[:3, 3]


def same_lines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Distance of directions (n, 3) from each other, opposite ones being the same; (n,)."""
    return np.minimum(np.linalg.norm(a - b, axis=1), np.linalg.norm(a + b, axis=1))
