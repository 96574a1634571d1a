"""What a probe sees of an image: a few slices of one size, at one spacing, at the same places in every image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.checks import check_volume_array
from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.intensity import IntensityScale, fit_intensity_scale
from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.evaluation.probe_settings import PLANES, ProbeSettings
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.orientation import canonical_order
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

#: Part of the mask's extent across the slices over which these are spread; its ends hold little anatomy.
MIDDLE_SHARE = 0.7
#: Voxels kept around the sampled region before it is interpolated: enough for the cubic spline.
SPLINE_MARGIN = 6


@dataclass(frozen=True, eq=False)
class SliceSet:
    """Slices of all images of a cohort, in the order of the cohort.

    Attributes
    ----------
    pixels : ndarray, float32, shape (N, H, W), read-only
    image : int ndarray, shape (N,)
        Position in the cohort of the image a slice belongs to.
    scanner : int ndarray, shape (N,)
        Class of each slice.
    subject : str ndarray, shape (N,)
    """

    pixels: np.ndarray
    image: np.ndarray
    scanner: np.ndarray
    subject: np.ndarray

    def __post_init__(self) -> None:
        view = np.ascontiguousarray(self.pixels, np.float32).view()
        view.setflags(write=False)
        object.__setattr__(self, "pixels", view)

    def of_subjects(self, subjects: Iterable[str]) -> np.ndarray:
        """Return the positions of the slices of some subjects, shape (M,)."""
        return np.flatnonzero(np.isin(self.subject, list(subjects)))

    def with_scanner(self, scanner: np.ndarray) -> SliceSet:
        """Return the same slices with other classes, shape (N,)."""
        return SliceSet(self.pixels, self.image, scanner, self.subject)


def slices_of(volume: Volume, mask: Volume | None, settings: ProbeSettings) -> np.ndarray:
    """Sample the slices of one image.

    Parameters
    ----------
    volume : Volume
        Any size, spacing and orientation; not changed.
    mask : Volume, optional
        Nonzero in the head or brain, on any grid in the same space: slices are centred on it. The image's own
        foreground where omitted.
    settings : ProbeSettings

    Returns
    -------
    ndarray, float32, shape (slices, size, size)
        Rows run to anterior (or superior), columns to the patient's right (or anterior); beyond the field of view the
        image's minimum.

    Raises
    ------
    InputError
        NaN, constant image, an empty mask, or a mask elsewhere than the image.
    """
    check_volume_array(volume.array, f"image '{volume.name}'")
    if mask is None:
        mask = volume.with_array(foreground_mask(volume.array))
    grid = sampling_grid(volume, mask, settings)
    start, stop = _region(volume.grid, grid)
    if np.any(stop - start < 1):
        raise InputError(f"the mask of image '{volume.name}' lies outside the image", "give the mask of this image")
    box = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
    cut = Volume(volume.array[box], volume.grid.crop(start.tolist(), (stop - start).tolist()), volume.name)
    sampled = resample(cut, grid, "cubic", fill=float(volume.array.min())).array
    return np.ascontiguousarray(np.moveaxis(sampled, PLANES[settings.plane], 0), np.float32)


def sampling_grid(volume: Volume, mask: Volume, settings: ProbeSettings) -> Grid:
    """Return the grid of the sampled voxels, array axes along (S, A, R) of the image; one voxel thick per slice.

    Pixels as large as the image's voxels are laid on them, so that nothing is interpolated in plane.
    """
    inside = np.nonzero(mask.array)
    if not inside[0].size:
        raise InputError(f"the mask of image '{volume.name}' is empty", "give a mask with at least one voxel")
    own = canonical_order(volume.grid).apply_grid(volume.grid)
    ends = np.array([(int(p.min()), int(p.max())) for p in inside])[::-1]
    corners = np.array(np.meshgrid(*ends, indexing="ij")).reshape(3, -1).T
    along = own.ras_to_ijk(mask.grid.ijk_to_ras(corners)) * own.spacing_mm  # mm along the image's own axes
    low, high = along.min(axis=0), along.max(axis=0)
    across = 2 - PLANES[settings.plane]
    step = np.full(3, settings.spacing_mm)
    step[across] = max(MIDDLE_SHARE * (high[across] - low[across]) / max(settings.slices - 1, 1), 1e-3)
    size = np.full(3, settings.size)
    size[across] = settings.slices
    first = (low + high) / 2 - step * (size - 1) / 2
    fitting = np.abs(own.spacing_mm - step) < 1e-3
    fitting[across] = False
    first[fitting] = np.round(first[fitting] / step[fitting]) * step[fitting]
    affine = np.eye(4)
    affine[:3, :3] = own.directions * step
    affine[:3, 3] = own.ijk_to_ras(first / own.spacing_mm)
    return Grid((int(size[2]), int(size[1]), int(size[0])), affine)


def fit_set_scale(pixels: np.ndarray) -> IntensityScale:
    """Return the linear scale of a set of slices, shape (N, H, W): its .5 and 99.5 percentiles become 0 and 1."""
    return fit_intensity_scale(pixels)


def normalise_each(pixels: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return slices with every image brought to its own percentiles, float32, shape (N, H, W)."""
    result = np.empty_like(pixels, np.float32)
    for number in np.unique(image):
        mine = image == number
        result[mine] = fit_intensity_scale(pixels[mine]).normalise(pixels[mine])
    return result


def describe_sizes(grids: Iterable[Grid], settings: ProbeSettings) -> str:
    """Return one sentence on how images of different sizes are brought together; empty where all are alike."""
    found = {(grid.size_ijk, tuple(np.round(grid.spacing_mm, 2).tolist())) for grid in grids}
    if len(found) < 2:
        return ""
    (small, _), (large, _) = (pick(found, key=lambda entry: int(np.prod(entry[0]))) for pick in (min, max))
    return (
        f"the images have {len(found)} different sizes or spacings, from {_times(small)} to {_times(large)} voxels: "
        f"all are sampled at {settings.slices} {settings.plane} slices of {settings.size} × {settings.size} pixels of "
        f"{settings.spacing_mm:g} mm around the middle of the mask"
    )


def _times(size: tuple[int, ...]) -> str:
    return " × ".join(map(str, size))


def _region(source: Grid, wanted: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return first and last + 1 voxel (k, j, i) of a grid that the interpolation on another one needs."""
    points = source.ras_to_ijk(wanted.corners_ras())[:, ::-1]
    start = np.maximum(np.floor(points.min(axis=0)).astype(int) - SPLINE_MARGIN, 0)
    stop = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 1 + SPLINE_MARGIN, source.shape)
    return start, stop
