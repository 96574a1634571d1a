"""Where intensities of an object are measured: its inside, without what lies at its surface."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MRHarmonizationLib.core.masks import foreground_mask

#: Voxels nearer to the object's surface than this share of its greatest depth are left out: in a head, scalp fat and
#: skull, whose share of the voxels differs between scans more than any tissue of the brain does.
SURFACE_SHARE = 0.2
#: Statistics are measured on every n-th voxel of larger images, so that at most about this many are looked at.
MOST_VOXELS = 1_000_000


def thinning_steps(shape: Sequence[int], most_voxels: int = MOST_VOXELS) -> tuple[slice, slice, slice]:
    """Return the slices that thin an array (K, J, I) to at most about ``most_voxels``, the longest axes first."""
    steps, sizes = [1, 1, 1], [int(n) for n in shape]
    while np.prod([-(-n // step) for n, step in zip(sizes, steps, strict=True)], dtype=np.int64) > most_voxels:
        longest = int(np.argmax([n / step for n, step in zip(sizes, steps, strict=True)]))
        steps[longest] += 1
    return slice(None, None, steps[0]), slice(None, None, steps[1]), slice(None, None, steps[2])


def inner_region(array: np.ndarray, spacing_kji_mm: Sequence[float]) -> np.ndarray:
    """Return the mask of the inside of the imaged object.

    Parameters
    ----------
    array : ndarray, shape (K, J, I)
        Real finite intensities, air darkest; one slice will do.
    spacing_kji_mm : three floats
        Along the array axes.

    Returns
    -------
    bool ndarray, shape (K, J, I)
        Foreground deeper than a fifth of its greatest depth; the edge of the field of view is no surface. Never empty.
    """
    from scipy import ndimage

    mask = foreground_mask(array)
    if mask.all():
        return mask
    depth = ndimage.distance_transform_edt(mask, sampling=[float(s) for s in spacing_kji_mm])
    return np.asarray(mask & (depth >= SURFACE_SHARE * float(depth.max())), bool)
