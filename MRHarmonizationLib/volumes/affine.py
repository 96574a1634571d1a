"""Bringing two heads together by an affine map, and reading one through it (SimpleITK)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import RAS_TO_LPS, sitk_geometry, to_sitk
from MRHarmonizationLib.volumes.volume import Volume

if TYPE_CHECKING:
    import SimpleITK

#: Shrink factors and smoothing (mm) from coarse to fine.
_SHRINK, _SMOOTHING_MM = (4, 2, 1), (6.0, 3.0, 1.5)
_ITERATIONS, _BINS, _SHARE, _SEED = 120, 32, 0.3, 1


def register_affine(moving: Volume, fixed: Volume) -> np.ndarray:
    """Return the affine map that lays one head on another.

    Mutual information, from the centres of mass, a rigid stage first; on one thread with a fixed seed, so that the
    same images give the same map.

    Parameters
    ----------
    moving, fixed : Volume
        Brains with 0 around them; contrasts may differ.

    Returns
    -------
    ndarray, shape (4, 4)
        RAS mm of ``fixed`` → RAS mm of ``moving``.

    Raises
    ------
    InputError
        The registration failed: no overlap, or an empty image.
    """
    import SimpleITK as sitk

    images = [to_sitk(volume.with_array(volume.array.astype(np.float32))) for volume in (fixed, moving)]
    try:
        rigid = sitk.Euler3DTransform(
            sitk.CenteredTransformInitializer(
                *images, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
            )
        )
        _refine(images, rigid)
        affine = sitk.AffineTransform(3)
        affine.SetCenter(rigid.GetCenter())
        affine.SetMatrix(rigid.GetMatrix())
        affine.SetTranslation(rigid.GetTranslation())
        _refine(images, affine)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise InputError(
            f"'{moving.name}' could not be registered to '{fixed.name}' ({reason})",
            "check that both show a whole brain",
        ) from error
    return _as_ras_matrix(affine)


def resample_through(volume: Volume, grid: Grid, matrix: np.ndarray, fill: float = 0.0) -> Volume:
    """Read a volume through an affine map, linearly.

    Parameters
    ----------
    volume : Volume
    grid : Grid
        Where values are wanted.
    matrix : ndarray, shape (4, 4)
        RAS mm of ``grid`` → RAS mm of ``volume``, as :func:`register_affine` gives it.
    fill : float
        Outside the volume.

    Returns
    -------
    Volume
        float32.
    """
    import SimpleITK as sitk

    lps = RAS_TO_LPS @ matrix @ RAS_TO_LPS
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(lps[:3, :3].ravel().tolist())
    transform.SetTranslation(lps[:3, 3].tolist())
    spacing, origin, directions = sitk_geometry(grid)
    out = sitk.Resample(
        to_sitk(volume.with_array(volume.array.astype(np.float32))),
        grid.size_ijk,
        transform,
        sitk.sitkLinear,
        origin,
        spacing,
        directions,
        float(fill),
        sitk.sitkFloat32,
    )
    return Volume(sitk.GetArrayFromImage(out), grid, volume.name)


def _refine(images: list[SimpleITK.Image], transform: SimpleITK.Transform) -> None:
    """Run one stage; the transform itself is changed."""
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(_BINS)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(_SHARE, _SEED)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, _ITERATIONS, relaxationFactor=0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetShrinkFactorsPerLevel(_SHRINK)
    method.SetSmoothingSigmasPerLevel(_SMOOTHING_MM)
    method.SmoothingSigmasAreSpecifiedInPhysicalUnitsOn()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(*images)


def _as_ras_matrix(transform: SimpleITK.AffineTransform) -> np.ndarray:
    matrix = np.array(transform.GetMatrix()).reshape(3, 3)
    centre = np.array(transform.GetCenter())
    lps = np.eye(4)
    lps[:3, :3] = matrix
    lps[:3, 3] = np.array(transform.GetTranslation()) + centre - matrix @ centre
    return np.asarray(RAS_TO_LPS @ lps @ RAS_TO_LPS)
