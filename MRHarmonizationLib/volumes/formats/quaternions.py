"""Rotations as NIfTI headers keep them: the vector part of a unit quaternion."""

from __future__ import annotations

import math

import numpy as np


def rotation_of(bcd: np.ndarray) -> np.ndarray:
    """Return the rotation matrix of the unit quaternion (a, b, c, d) with a >= 0 left out (nifti1.h, quatern_to_mat44).

    NaN where the three numbers are no part of a unit quaternion.
    """
    squared = float(bcd @ bcd)
    if not squared < 1.0 + 1e-4:
        return np.full((3, 3), np.nan)
    if squared > 1.0 - 1e-7:
        b, c, d = bcd / math.sqrt(squared)
        a = 0.0
    else:
        b, c, d = bcd
        a = math.sqrt(1.0 - squared)
    return np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
        ]
    )


def nearest_rotation(directions: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the rotation nearest to three directions, the third reversed if they are left-handed, and the sign."""
    left, _, right = np.linalg.svd(directions)
    nearest = left @ right
    sign = 1.0 if np.linalg.det(nearest) > 0 else -1.0
    return nearest * np.array([1.0, 1.0, sign]), sign


def quaternion_of(rotation: np.ndarray) -> np.ndarray:
    """Return (b, c, d) of the unit quaternion with a >= 0 of a rotation matrix.

    The largest eigenvector of Bar-Itzhack's matrix is stable for every angle (J. Guid. Control Dyn. 23:1085, 2000).
    """
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    symmetric = np.array(
        [
            [xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, yy - xx - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, zz - xx - yy],
        ]
    )
    quaternion = np.linalg.eigh(symmetric)[1][:, -1]
    return np.asarray(quaternion[1:] * (1.0 if quaternion[0] >= 0 else -1.0))
