"""A made-up diffusion scan: a brain of white matter, grey matter and fluid, in any unit, with any noise."""

from __future__ import annotations

import numpy as np

from MRHarmonizationLib.core.tensor_measures import attenuation
from MRHarmonizationLib.degradations.gradient_scheme import gradient_table
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.grid import Grid

SHAPE = (14, 36, 34)
#: Unweighted signal of white matter, grey matter, fluid.
TISSUES = (300.0, 420.0, 900.0)
#: Eigenvalues of white matter along and across the fibres; diffusivities of grey matter and fluid, mm²/s.
WHITE, GREY, FLUID = (1.5e-3, 0.4e-3), 0.85e-3, 3.0e-3


def oblique_grid(shape=SHAPE, spacing_mm=(2.0, 2.0, 3.0)) -> Grid:
    """A grid turned by 20° with slices from top to bottom."""
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, -1.0]])
    return Grid.from_parts(shape, spacing_mm, (5, -7, 9), turn)


def labels(shape=SHAPE, seed: int = 0) -> np.ndarray:
    """0 air, 1 white matter, 2 grey matter, 3 fluid."""
    axes = [np.linspace(-1, 1, n) if n > 1 else np.zeros(1) for n in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt(x**2 + 1.2 * y**2 + z**2) + 0.03 * np.sin(7 * np.arctan2(y, x + 1e-9) + seed)
    return np.select([radius < 0.25, radius < 0.62, radius < 0.9], [3, 1, 2], 0)


def brain_scan(
    directions: int = 15,
    b_values: tuple[float, ...] = (1000.0,),
    noise: float = 0.0,
    gain: float = 1.0,
    tissues: tuple[float, float, float] = TISSUES,
    shape=SHAPE,
    seed: int = 0,
    unweighted: int = 2,
    dtype=np.float32,
) -> DwiVolume:
    """Scan the brain: Rician noise of deviation ``noise`` (times the gain), read-only values, fibres along x and y."""
    tissue = labels(shape, seed)
    b, g = gradient_table(b_values, (directions,) * len(b_values), unweighted)
    tensors = np.zeros((*shape, 6), np.float32)
    along_x = np.broadcast_to(np.arange(shape[2]) < shape[2] // 2, shape)
    for place, element in ((along_x, 0), (~along_x, 3)):
        where = (tissue == 1) & place
        tensors[where] = [WHITE[1], 0, 0, WHITE[1], 0, WHITE[1]]
        tensors[where, element] = WHITE[0]
    for number, diffusivity in ((2, GREY), (3, FLUID)):
        tensors[tissue == number] = [diffusivity, 0, 0, diffusivity, 0, diffusivity]
    s0 = np.choose(tissue, [0.0, *tissues]) * (1.0 + 0.05 * np.sin(np.arange(shape[1]) / 3.0))[None, :, None]
    rng = np.random.default_rng((seed, 1))
    series = np.empty((len(b), *shape), np.float32)
    for n, (value, gradient) in enumerate(zip(b, g, strict=True)):
        signal = s0 * attenuation(tensors, float(value), np.array(gradient))
        real = signal + rng.normal(0, noise, shape) if noise else signal
        image = np.hypot(real, rng.normal(0, noise, shape)) if noise else real
        series[n] = gain * image
    array = np.moveaxis(series.astype(dtype), 0, -1)
    array.setflags(write=False)
    return DwiVolume(array, oblique_grid(shape), np.array(b), np.array(g, float), f"scan{seed}", {"echo_time_ms": 80.0})
