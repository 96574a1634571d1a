"""Bringing the images of a comparison to one grid, choosing where to measure, and saying what was done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.checks import check_volume_array, looks_like_labels
from MRHarmonizationLib.core.errors import GridMismatchError, InputError
from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.metrics.base import RANGE_PERCENTILES
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

#: From this ratio of their intensity ranges on, two images are said to be in different units.
UNLIKE_RANGES = 1.5
#: A mask that loses at least this share to the fields of view is worth a note.
NOTED_LOSS = 0.005
#: Below this many voxels texture and spectrum are estimates from little.
FEW_VOXELS = 1000
#: Labels named in a message, at most.
NAMED_LABELS = 12


@dataclass(frozen=True, eq=False)
class Subjects:
    """The images to compare on one grid, and where.

    Attributes
    ----------
    images : dict of str to Volume
        'before', 'after' and, where there is one, 'reference', all on the grid of ``after``.
    native : dict of str to Grid
        Where each lay before it was brought here.
    mask : ndarray, bool, shape (K, J, I)
        Not empty; every image has values there.
    mask_name : str
    scale : tuple of float
        (low, high): .5 and 99.5 % of the yardstick inside the mask, image units. One scale for every number.
    constant : frozenset of str
        Images that have one single value inside the mask.
    notes : tuple of str
    """

    images: dict[str, Volume]
    native: dict[str, Grid]
    mask: np.ndarray
    mask_name: str
    scale: tuple[float, float]
    constant: frozenset[str]
    notes: tuple[str, ...]

    @property
    def data_range(self) -> float:
        """Width of :attr:`scale`, image units."""
        return self.scale[1] - self.scale[0]


def place(before: Volume, after: Volume, reference: Volume | None, mask: Volume | None, label: int | None) -> Subjects:
    """Check the images, bring them to the grid of ``after`` and choose where to measure.

    Parameters
    ----------
    before, after, reference, mask, label
        As in :func:`MRHarmonizationLib.inference.compare.compare`.

    Returns
    -------
    Subjects

    Raises
    ------
    InputError
        An image holds NaN, is constant or is a label map; the mask is empty where the images overlap.
    GridMismatchError
        The images do not overlap in space.
    """
    given = {"before": before, "after": after} | ({} if reference is None else {"reference": reference})
    for name, volume in given.items():
        check_volume_array(volume.array, name)
        if looks_like_labels(volume.array):
            raise InputError(
                f"{name} looks like a label map ({np.unique(volume.array).size} whole numbers in flat regions)",
                "give the image itself; a label map belongs to the mask",
            )
    grid, notes = after.grid, list[str]()
    images = {name: _on_grid(volume, grid, name, "cubic", notes) for name, volume in given.items()}
    inside = np.ones(grid.shape, bool)
    for name, volume in given.items():
        seen = _field_of_view(volume.grid, grid)
        if not (inside & seen).any():
            raise GridMismatchError(
                f"the images do not overlap: centre of {name} {_centre(volume.grid)}, after {_centre(grid)} mm (RAS)",
                "register them, or choose images of one scan",
            )
        inside &= seen
    region, mask_name = _region(before, grid, mask, label, inside, notes)
    scale = _scale(images, region, mask_name)
    constant = frozenset(name for name, volume in images.items() if np.ptp(volume.array[region]) == 0)
    notes += _remarks(images, region, mask_name, scale, constant)
    native = {name: volume.grid for name, volume in given.items()}
    return Subjects(images, native, region, mask_name, scale, constant, tuple(notes))


def _on_grid(volume: Volume, grid: Grid, name: str, interpolation: str, notes: list[str]) -> Volume:
    if same_grid(volume.grid, grid):
        return volume
    before, after = (" × ".join(f"{s:.3g}" for s in g.spacing_mm) for g in (volume.grid, grid))
    loss = "; interpolation takes some of its finest detail" if interpolation == "cubic" else ""
    notes.append(f"{name} ({before} mm) was resampled on the grid of after ({after} mm, {interpolation}){loss}")
    outside = 0.0 if interpolation == "nearest" else None  # a mask's smallest value may be 1
    return resample(volume, grid, interpolation, fill=outside)


def _field_of_view(source: Grid, target: Grid) -> np.ndarray:
    """Return where the target's voxel centres lie inside the source's outer voxel edges, bool (K, J, I)."""
    if same_grid(source, target):
        return np.ones(target.shape, bool)
    whole = Volume(np.ones(source.shape, np.uint8), source)
    return np.asarray(resample(whole, target, "nearest", fill=0.0).array != 0)


def _region(
    before: Volume, grid: Grid, mask: Volume | None, label: int | None, inside: np.ndarray, notes: list[str]
) -> tuple[np.ndarray, str]:
    """Return where to measure, and what that is called."""
    if mask is None:
        # on the image's own grid: interpolation rings below the darkest air, which would count as object then
        head = before.with_array(foreground_mask(before.array).astype(np.uint8))
        wanted, name = _on_grid(head, grid, "foreground", "nearest", []).array != 0, "foreground of before"
    else:
        name = mask.name or "mask"
        _check_mask(mask, name, label, notes)
        array = _on_grid(mask, grid, "mask", "nearest", notes).array
        wanted = np.asarray(array != 0 if label is None else array == label)
        name = name if label is None else f"{name}, label {label}"
    region = wanted & inside
    if not region.any():
        where = "where the images overlap" if wanted.any() else "on the grid of the images"
        raise InputError(f"mask '{name}' has no voxel {where}", "choose a mask of this scan")
    lost = 1.0 - np.count_nonzero(region) / np.count_nonzero(wanted)
    if lost >= NOTED_LOSS:
        notes.append(f"{100 * lost:.1f} % of '{name}' lie outside the common field of view and were left out")
    return region, name


def _check_mask(mask: Volume, name: str, label: int | None, notes: list[str]) -> None:
    array = mask.array
    if array.dtype.kind == "f" and not np.all(np.isfinite(array)):
        raise InputError(f"mask '{name}' holds values that are NaN or infinite", "give 0 outside, 1 inside")
    found = np.unique(array)
    labels = found[found != 0]
    if labels.size == 0:
        raise InputError(f"mask '{name}' has no voxel that is not 0: it is empty", "choose another mask")
    if label is not None and label not in labels:
        listed = ", ".join(f"{value:g}" for value in labels[:NAMED_LABELS].astype(float))
        raise InputError(f"mask '{name}' has no label {label}", f"choose one of: {listed}")
    if label is None and labels.size > 1:
        what = f"{labels.size} labels" if looks_like_labels(array) else "many values, as an image does"
        notes.append(f"mask '{name}' holds {what}; every voxel that is not 0 was measured")


def _scale(images: dict[str, Volume], region: np.ndarray, mask_name: str) -> tuple[float, float]:
    """Return the intensities between which everything is measured: of the reference, of before without one."""
    name = "reference" if "reference" in images else "before"
    low, high = np.percentile(images[name].array[region], RANGE_PERCENTILES)
    if not high > low:
        raise InputError(
            f"{name} is constant ({low:g}) inside mask '{mask_name}': there is no intensity range to measure by",
            "choose a mask with anatomy",
        )
    return float(low), float(high)


def _remarks(
    images: dict[str, Volume], region: np.ndarray, mask_name: str, scale: tuple[float, float], constant: frozenset[str]
) -> list[str]:
    """Return what a reader must know to read the numbers rightly."""
    remarks = [
        f"{name} is constant ({images[name].array[region][0]:g}) inside the mask: it has neither texture nor spectrum, "
        "and its curves are left out"
        for name in sorted(constant)
    ]
    for name, volume in images.items():
        if name in constant:
            continue
        low, high = (float(value) for value in np.percentile(volume.array[region], RANGE_PERCENTILES))
        ratio = (high - low) / (scale[1] - scale[0])
        if not 1 / UNLIKE_RANGES <= ratio <= UNLIKE_RANGES:
            remarks.append(
                f"the intensities of {name} span {low:.4g} to {high:.4g}, those measured by {scale[0]:.4g} to "
                f"{scale[1]:.4g}: the images are in different units, and numbers that compare intensities show that"
            )
    if np.array_equal(images["before"].array[region], images["after"].array[region]):
        remarks.append("before and after are equal in every voxel of the mask")
    if np.count_nonzero(region) < FEW_VOXELS:
        remarks.append(
            f"'{mask_name}' has only {np.count_nonzero(region)} voxels: texture and spectrum are rough estimates"
        )
    return remarks


def _centre(grid: Grid) -> tuple[float, ...]:
    centre: Any = np.round(grid.corners_ras().mean(axis=0), 1).tolist()
    return tuple(centre)
