"""Small objects for the diffusion scanner: a head of labels, and brains made of blocks."""

from __future__ import annotations

import numpy as np

from MRHarmonizationLib.degradations.brain_tensors import DiffusionBrain
from MRHarmonizationLib.degradations.dwi_parameters import DwiScannerParameters
from MRHarmonizationLib.degradations.gradient_scheme import gradient_table
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume


def head_labels(shape=(44, 56, 48), spacing_mm: float = 2.0, directions: np.ndarray | None = None) -> Volume:
    """A head with FreeSurfer numbers: two hemispheres with cortex and ventricles, stem, cerebellum, fluid, scalp."""
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, n) for n in shape], indexing="ij")
    right = i > 0
    labels = np.zeros(shape, np.uint16)

    def ellipsoid(centre, radii):
        return sum(((x - c) / r) ** 2 for x, c, r in zip((k, j, i), centre, radii, strict=True)) < 1

    labels[ellipsoid((0.0, 0, 0), (0.96, 0.96, 0.96))] = 511
    labels[ellipsoid((0.0, 0, 0), (0.9, 0.9, 0.9))] = 515
    labels[ellipsoid((0.0, 0, 0), (0.84, 0.84, 0.84))] = 24
    cerebrum = ellipsoid((0.15, 0, 0), (0.65, 0.78, 0.76))
    labels[cerebrum] = np.where(right, 42, 3)[cerebrum]
    white = ellipsoid((0.15, 0, 0), (0.48, 0.6, 0.58)) & (np.abs(i) > 0.06) | ellipsoid((0.3, 0, 0), (0.12, 0.4, 0.3))
    labels[white] = np.where(right, 41, 2)[white]
    for side, number in ((1, 43), (-1, 4)):
        labels[ellipsoid((0.12, 0, side * 0.14), (0.1, 0.3, 0.08))] = number
    for side, number in ((1, 49), (-1, 10)):
        labels[ellipsoid((-0.08, -0.05, side * 0.14), (0.1, 0.16, 0.12))] = number
    cerebellum = ellipsoid((-0.55, -0.45, 0), (0.22, 0.3, 0.45))
    labels[cerebellum] = np.where(right, 47, 8)[cerebellum]
    core = ellipsoid((-0.55, -0.4, 0), (0.1, 0.2, 0.3))
    labels[core] = np.where(right, 46, 7)[core]
    labels[(np.abs(i) < 0.13) & (np.abs(j + 0.1) < 0.14) & (k > -0.8) & (k < -0.12)] = 16
    axes = np.eye(3) if directions is None else directions
    return Volume(labels, Grid.from_parts(shape, (spacing_mm,) * 3, (-40, -50, -45), axes), "phantom")


def uniform_tensor(shape, md: float = 0.8e-3, towards=(1.0, 0.0, 0.0), ratio: float = 2.0) -> np.ndarray:
    """One prolate tensor everywhere: diffusivity along ``towards`` is ``ratio`` times that across."""
    v = np.asarray(towards, float) / np.linalg.norm(towards)
    across = 3 * md / (ratio + 2)
    full = across * np.eye(3) + (ratio - 1) * across * np.outer(v, v)
    elements = np.array([full[0, 0], full[0, 1], full[0, 2], full[1, 1], full[1, 2], full[2, 2]], np.float32)
    return np.broadcast_to(elements, (*shape, 6)).copy()


def block_brain(density: np.ndarray, spacing_mm: float = 2.0, directions=None, **maps) -> DiffusionBrain:
    """A brain of one tissue with a proton density of its own; T2 very long and no reversible decay unless given."""
    shape = density.shape
    grid = Grid.from_parts(shape, (spacing_mm,) * 3, (-30, -20, -10), np.eye(3) if directions is None else directions)
    return DiffusionBrain(
        maps.get("tensors", uniform_tensor(shape)),
        density.astype(np.float32),
        np.full(shape, maps.get("t1_ms", 1e-3), np.float32),
        np.full(shape, maps.get("t2_ms", 1e9), np.float32),
        np.full(shape, maps.get("r2_prime_per_s", 0.0), np.float32),
        grid,
        field_strength_t=maps.get("field_strength_t", 3.0),
    )


def quiet_scan(directions: int = 0, **changes) -> DwiScannerParameters:
    """A scan without noise, decay, ghost, shift or filter: 4 mm pixels and slices over 128 mm."""
    b, g = gradient_table((1000.0,), (max(directions, 1),), 1)
    if not directions:
        b, g = b[:1], g[:1]
    values = {
        "matrix": (32, 32),
        "field_of_view_mm": (128.0, 128.0),
        "slice_spacing_mm": 4.0,
        "slice_thickness_mm": 4.0,
        "slice_flatness": 1.0,
        "partial_fourier": 1.0,
        "readout_ms": 0.0,
        "snr_b0": float("inf"),
        "gain": 1.0,
    }
    return DwiScannerParameters(**(values | changes)).with_scheme(b, g)
