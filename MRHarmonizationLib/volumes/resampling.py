"""Interpolating a volume on another grid, in exact physical coordinates (SimpleITK)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from MRHarmonizationLib.core.errors import GridMismatchError, ParameterError
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.volume import Volume

if TYPE_CHECKING:
    import SimpleITK

#: Interpolators by name: SimpleITK's name of each.
INTERPOLATORS = {
    "nearest": "sitkNearestNeighbor",
    "linear": "sitkLinear",
    "cubic": "sitkBSpline",
    "lanczos": "sitkLanczosWindowedSinc",
}
#: RAS ↔ LPS.
RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def to_sitk(volume: Volume) -> SimpleITK.Image:
    """Return a SimpleITK image (LPS) of a volume; bool becomes uint8."""
    import SimpleITK as sitk

    array = volume.array.astype(np.uint8) if volume.array.dtype == bool else volume.array
    image = sitk.GetImageFromArray(array.astype(array.dtype.newbyteorder("="), copy=False))
    set_sitk_geometry(image, volume.grid)
    return image


def set_sitk_geometry(image: SimpleITK.Image, grid: Grid) -> None:
    """Write a grid's spacing, origin and directions (converted to LPS) into a SimpleITK image."""
    spacing, origin, directions = sitk_geometry(grid)
    image.SetSpacing(spacing)
    image.SetOrigin(origin)
    image.SetDirection(directions)


def sitk_geometry(grid: Grid) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """Return (spacing mm, origin LPS mm, direction cosines LPS row-major) of a grid as SimpleITK wants them."""
    lps = RAS_TO_LPS @ grid.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    directions = lps[:3, :3] / spacing
    return tuple(spacing.tolist()), tuple(lps[:3, 3].tolist()), tuple(directions.ravel().tolist())


def grid_of_sitk(image: SimpleITK.Image) -> Grid:
    """Return the RAS grid of a three-dimensional SimpleITK image.

    Raises
    ------
    GridError
        Sheared, zero-spaced or non-finite geometry.
    """
    lps = np.eye(4)
    lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    lps[:3, 3] = image.GetOrigin()
    i, j, k = image.GetSize()
    return Grid((k, j, i), RAS_TO_LPS @ lps)


def resample(volume: Volume, grid: Grid, interpolation: str = "cubic", fill: float | None = None) -> Volume:
    """Interpolate a volume on a grid.

    Parameters
    ----------
    volume : Volume
        Image to read from.
    grid : Grid
        Where values are wanted; any orientation.
    interpolation : {'cubic', 'linear', 'nearest', 'lanczos'}
        ``cubic`` is the third-order B-spline; its mirrored ends cover the half voxel outside the outermost centres.
    fill : float, optional
        Value outside the volume's field of view (outer voxel edges); the volume's minimum by default.

    Returns
    -------
    Volume
        float32 on ``grid``; ``nearest`` keeps the input's type.

    Raises
    ------
    ParameterError
        Unknown interpolation.
    """
    if interpolation not in INTERPOLATORS:
        raise ParameterError(
            f"interpolation '{interpolation}' is unknown", f"choose one of: {', '.join(INTERPOLATORS)}"
        )
    keep_type = interpolation == "nearest"
    if same_grid(volume.grid, grid, atol_mm=1e-4):
        array = volume.array if keep_type else volume.array.astype(np.float32)
        return Volume(array, grid, volume.name, volume.metadata)
    import SimpleITK as sitk

    source = volume if keep_type else volume.with_array(volume.array.astype(np.float32, copy=False))
    value = float(volume.array.min()) if fill is None else float(fill)
    spacing, origin, directions = sitk_geometry(grid)
    is_short = interpolation == "cubic" and 2 in volume.array.shape
    out = sitk.Resample(
        to_sitk(_lengthened(source) if is_short else source),
        grid.size_ijk,
        sitk.Transform(),
        getattr(sitk, INTERPOLATORS[interpolation]),
        origin,
        spacing,
        directions,
        value,
        sitk.sitkUnknown,
    )
    array = sitk.GetArrayFromImage(out)
    if is_short:  # the lengthened image answers outside the field of view too
        inside = resample(volume.with_array(np.ones(volume.array.shape, np.uint8)), grid, "nearest", fill=0)
        array = np.where(inside.array == 1, array, np.float32(value))
    if keep_type and volume.array.dtype == bool:
        array = array.astype(bool)
    return Volume(array, grid, volume.name, volume.metadata)


def resample_parallel(volume: Volume, grid: Grid) -> Volume:
    """Do what :func:`resample` does with cubic interpolation, faster, where both grids have the same directions.

    The spline is separable there: the weights along each axis are asked of :func:`resample` once, then applied as
    matrices. Agrees with it to rounding.

    Parameters
    ----------
    volume : Volume
    grid : Grid
        Same directions as the volume's grid; any spacing, size and origin.

    Returns
    -------
    Volume
        float32 on ``grid``; the volume's minimum outside its field of view.

    Raises
    ------
    GridMismatchError
        The directions differ.
    """
    if not np.allclose(volume.grid.directions, grid.directions, atol=1e-6):
        raise GridMismatchError("the two grids have different directions", "use resample")
    start = volume.grid.ras_to_ijk(grid.origin_ras)[::-1]
    array = volume.array.astype(np.float32, copy=False)
    lowest = array.min()
    array = array - lowest  # so that weights of zero mean the fill value
    for axis in range(3):
        step = float(grid.spacing_mm[2 - axis] / volume.grid.spacing_mm[2 - axis])
        weights = _axis_weights(volume.array.shape[axis], grid.shape[axis], float(start[axis]), step)
        array = np.moveaxis(np.tensordot(weights, array, (1, axis)), 0, axis)
    return Volume(np.ascontiguousarray(array + lowest), grid, volume.name, volume.metadata)


def _axis_weights(n_in: int, n_out: int, start: float, step: float) -> np.ndarray:
    """Return the (n_out, n_in) weights of cubic interpolation at the sample positions start + step · n."""
    units = Volume(np.eye(n_in, dtype=np.float32)[None], Grid((1, n_in, n_in), np.eye(4)))
    affine = np.eye(4)
    affine[1, 1], affine[1, 3] = step, start
    wanted = Grid((1, n_out, n_in), affine)
    return np.asarray(resample(units, wanted, fill=0.0).array[0])


def _lengthened(volume: Volume) -> Volume:
    """Mirror axes of two samples to four: ITK's B-spline reads outside its memory where an axis has only two.

    The mirrored continuation is the one the spline assumes anyway, so the values between the samples stay the same.
    """
    widths = [1 if n == 2 else 0 for n in volume.array.shape]
    array = np.pad(volume.array, [(width, width) for width in widths], mode="reflect")
    return Volume(array, volume.grid.crop([-width for width in widths], array.shape), volume.name)


def resample_like(volume: Volume, reference: Volume, interpolation: str = "cubic") -> Volume:
    """Interpolate a volume on the grid of another; see :func:`resample`."""
    return resample(volume, reference.grid, interpolation)
