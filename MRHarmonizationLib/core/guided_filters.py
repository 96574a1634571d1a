"""Linear filters that change from place to place, the same for every volume of a scan: what a network says, numpy does.

A pass adds weighted second differences along each array axis at each distance of :data:`STEPS`; passes follow each
other. Each is linear in the image and keeps constants, so that ratios of volumes, and with them diffusivities, change
only where neighbours differ.
"""

from __future__ import annotations

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError

#: Distances of the second differences, voxels.
STEPS = (1, 2)
#: Differences of one pass: three axes, every step.
PER_PASS = 3 * len(STEPS)


def second_difference(image: np.ndarray, axis: int, step: int) -> np.ndarray:
    """Return x(+step) + x(−step) − 2 x along an axis, edges repeated; float32, same shape."""
    index = np.arange(image.shape[axis])
    ahead = np.take(image, np.minimum(index + step, image.shape[axis] - 1), axis=axis)
    behind = np.take(image, np.maximum(index - step, 0), axis=axis)
    return np.asarray(ahead + behind - 2.0 * image, np.float32)


def apply_passes(image: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Filter an image.

    Parameters
    ----------
    image : ndarray, shape (K, J, I)
    weights : float32 ndarray, shape (passes · PER_PASS, K, J, I)
        Pass by pass; within one, axis by axis (0, 1, 2), within it step by step. Above 1/4 neighbours would be
        exchanged, below 0 details are raised.

    Returns
    -------
    float32 ndarray, shape (K, J, I)

    Raises
    ------
    ParameterError
        The weights do not make whole passes, or have another shape.
    """
    if len(weights) % PER_PASS or weights.shape[1:] != image.shape:
        raise ParameterError(
            f"weights of shape {weights.shape} for an image of {image.shape}",
            f"give a multiple of {PER_PASS} maps of the image's shape",
        )
    result = np.asarray(image, np.float32)
    for start in range(0, len(weights), PER_PASS):
        change = np.zeros_like(result)
        for number in range(PER_PASS):
            axis, step = divmod(number, len(STEPS))
            change += weights[start + number] * second_difference(result, axis, STEPS[step])
        result = result + change
    return result
