"""What the adjustable restorer is told beside the planes: how noisy and how blurred they are.

Training, evaluation and inference import this one module.
"""

from __future__ import annotations

import numpy as np

RESTORE_CHANNELS = ("noise_deviation", "resolution")
"""Names of the channels behind the planes, in the order the network gets them."""

NOISE_UNIT = 0.1
"""A noise channel of 1 means a standard deviation of a tenth of the normalised range."""

RESOLUTION_UNIT_VOXELS = 2.0
"""A resolution channel of 1 means 3 voxels: 0 is as sharp as the grid can be."""


def restore_channels(noise: np.ndarray, resolution_voxels: float) -> np.ndarray:
    """Return the conditioning channels of planes.

    Parameters
    ----------
    noise : ndarray, shape (..., A, B), float32
        Standard deviation of the noise, normalised units.
    resolution_voxels : float
        1 or more.

    Returns
    -------
    ndarray, float32, shape (2, ..., A, B)
    """
    channels = np.empty((2, *noise.shape), np.float32)
    channels[0] = noise / np.float32(NOISE_UNIT)
    channels[1] = (resolution_voxels - 1.0) / RESOLUTION_UNIT_VOXELS
    return channels
