"""Two scans of one head brought to the position halfway between them, for evaluation only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import RAS_TO_LPS, resample, to_sitk
from MRHarmonizationLib.volumes.volume import Volume

#: Bins of the joint histogram, share of the voxels looked at, steps at most.
BINS, SAMPLED_SHARE, MOST_STEPS = 50, 0.25, 100
#: Rotations beyond this are a failed search, not two visits: degrees.
LARGEST_ROTATION_DEG = 45.0


@dataclass(frozen=True, eq=False)
class Halfway:
    """Where the anatomy of a position halfway between two scans lies in each of them.

    Attributes
    ----------
    to_first, to_second : ndarray, float64, shape (4, 4)
        RAS mm of the position halfway → RAS mm of the scan.
    """

    to_first: np.ndarray
    to_second: np.ndarray


def register_halfway(first: Volume, second: Volume, grid: Grid) -> Halfway:
    """Find the rigid motion between two scans and split it in two equal parts.

    Neither scan is favoured by interpolation: both are resampled once, by half the motion.

    Parameters
    ----------
    first, second : Volume
        Two scans of one head; any grids, contrasts may differ.
    grid : Grid
        On which they are compared.

    Returns
    -------
    Halfway

    Raises
    ------
    InputError
        No plausible motion was found.

    Source
    ------
    Mattes et al., IEEE Trans. Med. Imaging 22:120 (2003), doi 10.1109/TMI.2003.809072; SimpleITK.
    """
    import SimpleITK as sitk
    from scipy.linalg import sqrtm

    moving, fixed = (
        to_sitk(resample(v.with_array(v.array.astype(np.float32)), grid, "linear")) for v in (first, second)
    )
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(SAMPLED_SHARE, seed=1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, MOST_STEPS)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel([2, 1])
    method.SetSmoothingSigmasPerLevel([2.0, 0.0])
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    start = sitk.Euler3DTransform()
    start.SetCenter(tuple(float(v) for v in (RAS_TO_LPS[:3, :3] @ grid.corners_ras().mean(axis=0))))
    method.SetInitialTransform(start, inPlace=False)
    try:
        found = method.Execute(fixed, moving)
    except RuntimeError as error:
        raise InputError(
            f"'{first.name}' and '{second.name}' cannot be registered: {str(error).splitlines()[-1]}",
            "check that both show the same head",
        ) from error
    motion = _matrix(found)
    angle = float(np.degrees(np.arccos(np.clip((np.trace(motion[:3, :3]) - 1.0) / 2.0, -1.0, 1.0))))
    if angle > LARGEST_ROTATION_DEG:
        raise InputError(
            f"registering '{first.name}' and '{second.name}' gave a rotation of {angle:.0f}°",
            "check that both show the same head",
        )
    half = np.real(sqrtm(motion))
    return Halfway(half, np.linalg.inv(half))


def _matrix(transform: Any) -> np.ndarray:
    """Return a rigid transform of SimpleITK as RAS → RAS, shape (4, 4)."""
    points = np.vstack([np.zeros(3), 100.0 * np.eye(3)])
    mapped = np.array([transform.TransformPoint(point.tolist()) for point in points])
    matrix = np.eye(4)
    matrix[:3, :3] = (mapped[1:] - mapped[0]).T / 100.0
    matrix[:3, 3] = mapped[0]
    return np.asarray(RAS_TO_LPS @ matrix @ RAS_TO_LPS)
