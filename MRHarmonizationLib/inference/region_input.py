"""What a segmentation network sees: the image, and where each voxel lies from the middle of the brain."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

#: Unit of positions, in mm.
POSITION_MM = 100.0
#: Channels of the network's input.
CHANNELS = ("image", "superior", "anterior", "right")


def region_input(image: np.ndarray, centre: Sequence[float], spacing_mm: float) -> np.ndarray:
    """Return the network's input.

    Parameters
    ----------
    image : ndarray, shape (K, J, I)
        Normalised; axes towards superior, anterior and right.
    centre : three floats
        Voxel (K, J, I) in the middle of the brain's box; need not lie inside the image.
    spacing_mm : float
        Of the voxels.

    Returns
    -------
    float32 ndarray, shape (4, K, J, I)
        The image, and the distance from the centre along each axis in units of :data:`POSITION_MM`.
    """
    result = np.empty((1 + image.ndim, *image.shape), np.float32)
    result[0] = image
    for axis, (size, middle) in enumerate(zip(image.shape, centre, strict=True)):
        line = (np.arange(size, dtype=np.float32) - np.float32(middle)) * np.float32(spacing_mm / POSITION_MM)
        result[1 + axis] = line.reshape([-1 if a == axis else 1 for a in range(image.ndim)])
    return result
