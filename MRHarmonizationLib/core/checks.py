"""Checks of image arrays before any work is done on them."""

from __future__ import annotations

import numpy as np

from MRHarmonizationLib.core.errors import InputError

#: Fewest voxels along each axis from which a three-dimensional image can be enhanced.
MINIMUM_SIZE = 2


def check_volume_array(array: np.ndarray, name: str = "image", single_slice: bool = False) -> None:
    """Refuse arrays that no image operation can use.

    Parameters
    ----------
    array : ndarray, shape (K, J, I)
        Candidate image.
    name : str
        How the image is called in the message.
    single_slice : bool
        Whether one axis may have a single voxel.

    Raises
    ------
    InputError
        Not three-dimensional, empty, not real numbers, single voxel or slice, NaN or Inf, or constant.
    """
    if array.ndim != 3:
        raise InputError(
            f"{name} has {array.ndim} dimensions, shape {array.shape}; expected three (slices, rows, columns)",
            "choose one three-dimensional volume of the series",
        )
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} has values of type {array.dtype}; expected real numbers", "use the magnitude image")
    if array.size == 0 or sorted(array.shape)[1 if single_slice else 0] < MINIMUM_SIZE:
        columns, rows, slices = array.shape[::-1]
        raise InputError(
            f"{name} has {columns} x {rows} x {slices} voxels; at least {MINIMUM_SIZE} along each axis are needed",
            "choose a volume with several slices",
        )
    if array.dtype.kind == "f":
        bad = int(array.size - np.count_nonzero(np.isfinite(array)))
        if bad:
            raise InputError(
                f"{name} has {bad} of {array.size} values that are NaN or infinite",
                "replace them, for example with 0 outside the head, before processing",
            )
    low, high = array.min(), array.max()
    if low == high:
        raise InputError(f"{name} is constant (every voxel is {low})", "choose an image that shows anatomy")


def looks_like_labels(array: np.ndarray, most_labels: int = 64) -> bool:
    """Tell whether an array looks like a label map: few distinct whole numbers, in flat regions.

    Parameters
    ----------
    array : ndarray, shape (K, J, I)
        Candidate.
    most_labels : int
        More distinct values than this mean an image.

    Returns
    -------
    bool
    """
    if array.size == 0 or array.dtype.kind not in "fiub":
        return False
    sample = array[:: max(1, array.shape[0] // 32)]
    if sample.dtype.kind == "f" and not np.all(np.mod(sample, 1) == 0):
        return False
    if np.unique(sample).size > most_labels:
        return False
    flat = np.mean(np.diff(sample.astype(np.float32), axis=-1) == 0)
    return bool(flat > 0.9)
