"""A small diffusion scan of a head with white matter, grey matter and fluid, for panels: quick to harmonise."""

from __future__ import annotations

import numpy as np

from MRHarmonizationLib.degradations.gradient_scheme import gradient_table
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.grid import Grid

SHAPE = (12, 40, 36)
SPACING_MM = (2.5, 2.5, 3.0)


def small_scan(directions: int = 12, gain: float = 1.0, seed: int = 5, name: str = "dwi") -> DwiVolume:
    """Return a scan with two unweighted volumes and one of b 1000 per direction, float32, tilted and off-centre.

    Parameters
    ----------
    directions : int
    gain : float
        Factor of all intensities: another scanner's scale.
    seed : int
        Of the noise, about 2 % of white matter.
    name : str
    """
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n) for n in SHAPE], indexing="ij")
    radius = np.sqrt((k / 1.3) ** 2 + (j / 0.9) ** 2 + (i / 0.85) ** 2)
    brain, white = radius < 0.85, radius < 0.55
    fluid = np.sqrt((k / 0.9) ** 2 + (j / 0.3) ** 2 + (np.abs(i) / 0.12 - 0.9) ** 2) < 1
    s0 = np.where(brain, 900.0, 0.0)
    s0[white], s0[fluid & brain] = 650.0, 2200.0
    s0[(radius > 0.95) & (radius < 1.0)] = 60.0  # scalp: fat is suppressed
    tensors = np.zeros((*SHAPE, 3, 3))
    tensors[...] = np.eye(3) * 0.9e-3
    angle = np.arctan2(j, i)  # fibres run around the middle
    axis = np.stack([-np.sin(angle), np.cos(angle), np.zeros(SHAPE)], axis=-1)
    along = 0.35e-3 * np.eye(3) + 1.35e-3 * axis[..., :, None] * axis[..., None, :]
    tensors[white] = along[white]
    tensors[fluid] = np.eye(3) * 3.0e-3
    b_values, vectors = gradient_table((1000.0,), (directions,), 2)
    attenuation = np.einsum("nx,kjixy,ny->kjin", vectors, tensors, vectors) * b_values
    signal = gain * s0[..., None] * np.exp(-attenuation)
    rng = np.random.default_rng(seed)
    sigma = 12.0 * gain
    noisy = np.hypot(signal + rng.normal(0, sigma, signal.shape), rng.normal(0, sigma, signal.shape))
    turn = np.deg2rad(8)
    tilt = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    affine = np.eye(4)
    affine[:3, :3] = tilt @ np.diag([-1, -1, 1]) @ np.diag(SPACING_MM)
    affine[:3, 3] = (44.0, 51.0, -20.0)
    return DwiVolume(noisy.astype(np.float32), Grid(SHAPE, affine), b_values, vectors, name)
