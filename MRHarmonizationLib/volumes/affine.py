"""Bringing two heads together by an affine map, and reading one through it (SimpleITK)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import INTERPOLATORS, RAS_TO_LPS, sitk_geometry, to_sitk
from MRHarmonizationLib.volumes.volume import Volume

if TYPE_CHECKING:
    import SimpleITK

#: Shrink factors and smoothing (mm) from coarse to fine.
_SHRINK, _SMOOTHING_MM = (4, 2, 1), (6.0, 3.0, 1.5)
_ITERATIONS, _BINS, _SHARE, _SEED = 120, 32, 0.3, 1
#: Where a search may begin: centres of mass, centres of the fields of view, or the files' own positions.
STARTS = ("moments", "geometry", "header")


def register_affine(moving: Volume, fixed: Volume, start: str = "moments") -> np.ndarray:
    """Return the affine map that lays one head on another.

    Mutual information, a rigid stage first; on one thread with a fixed seed, so that the same images give the same map.

    Parameters
    ----------
    moving, fixed : Volume
        Brains or heads with 0 around them; contrasts may differ.
    start : {'moments', 'geometry', 'header'}
        See :data:`STARTS`.

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
        with _one_thread():
            rigid = _first_guess(images, start)
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


def resample_through(
    volume: Volume, grid: Grid, matrix: np.ndarray, fill: float = 0.0, interpolation: str = "linear"
) -> Volume:
    """Read a volume through an affine map.

    Parameters
    ----------
    volume : Volume
    grid : Grid
        Where values are wanted.
    matrix : ndarray, shape (4, 4)
        RAS mm of ``grid`` → RAS mm of ``volume``, as :func:`register_affine` gives it.
    fill : float
        Outside the volume.
    interpolation : str
        One of :data:`~MRHarmonizationLib.volumes.resampling.INTERPOLATORS`.

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
        getattr(sitk, INTERPOLATORS[interpolation]),
        origin,
        spacing,
        directions,
        float(fill),
        sitk.sitkFloat32,
    )
    return Volume(sitk.GetArrayFromImage(out), grid, volume.name)


def _first_guess(images: list[SimpleITK.Image], start: str) -> SimpleITK.Euler3DTransform:
    import SimpleITK as sitk

    kinds = sitk.CenteredTransformInitializerFilter
    guess = sitk.Euler3DTransform(
        sitk.CenteredTransformInitializer(
            *images, sitk.Euler3DTransform(), kinds.MOMENTS if start == "moments" else kinds.GEOMETRY
        )
    )
    if start == "header":
        guess.SetTranslation((0.0, 0.0, 0.0))
    return guess


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Let every filter of SimpleITK work on one thread: sums then do not depend on how work is shared out."""
    import SimpleITK as sitk

    former = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(former)


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
