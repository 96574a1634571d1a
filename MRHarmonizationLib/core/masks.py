"""Foreground and brain masks from intensities alone."""

from __future__ import annotations

import numpy as np


def foreground_mask(array: np.ndarray) -> np.ndarray:
    """Return the mask of the imaged object (head): Otsu threshold, largest component, holes filled.

    Parameters
    ----------
    array : ndarray, shape (K, J, I)
        Real finite intensities, air darkest.

    Returns
    -------
    bool ndarray, shape (K, J, I)
        Never empty: the whole image where no threshold separates an object.

    Source
    ------
    Otsu, IEEE Trans. Syst. Man Cybern. 9:62 (1979), on the square root of the intensities so that
    bright fat does not raise the threshold above grey tissue.
    """
    from scipy import ndimage
    from skimage.filters import threshold_otsu

    values = array.astype(np.float32)
    values -= values.min()
    np.sqrt(values, out=values)
    sample = values.reshape(-1)[:: max(1, values.size // 500_000)]
    if sample.min() == sample.max():
        return np.ones(array.shape, bool)
    mask = values > 0.7 * float(threshold_otsu(sample))
    labels, count = ndimage.label(mask)
    if count == 0:
        return np.ones(array.shape, bool)
    if count > 1:
        sizes = np.bincount(labels.reshape(-1))
        sizes[0] = 0
        mask = labels == int(sizes.argmax())
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in mask])
    return np.asarray(filled, bool)
