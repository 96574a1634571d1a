"""Total-variation denoising, then cubic interpolation (or the other way round)."""

from __future__ import annotations

from typing import Any

import numpy as np

from MRHarmonizationLib.methods.base import check_stage, estimate_noise_deviation, positive_scale, upsample_method
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

#: ``weight_factor``: weight in noise deviations; ``noise_deviation``: image units, estimated when None.
DEFAULTS: dict[str, Any] = {"weight_factor": 0.8, "stage": "before", "noise_deviation": None, "max_iterations": 100}
GRID: dict[str, list[Any]] = {"weight_factor": [0.3, 0.7, 1.4, 2.8], "stage": ["before", "after"]}


@upsample_method(
    "tv_cubic", "3-D total-variation denoising of the acquired voxels, then cubic B-spline", DEFAULTS, GRID
)
def tv_cubic(
    volume: Volume,
    grid: Grid,
    *,
    weight_factor: float,
    stage: str,
    noise_deviation: float | None,
    max_iterations: int,
) -> Volume:
    """Minimise total variation in three dimensions at a fidelity set by the noise, then interpolate.

    Source: Chambolle, J. Math. Imaging Vis. 20:89 (2004), doi 10.1023/B:JMIV.0000011325.36760.1e;
    ``skimage.restoration.denoise_tv_chambolle``.
    """
    from skimage.restoration import denoise_tv_chambolle

    check_stage(stage)
    deviation = noise_deviation
    if deviation is None:
        deviation = estimate_noise_deviation(volume.array, volume.grid.thick_axis)
    if deviation <= 0 or weight_factor <= 0:
        return resample(volume, grid, "cubic")
    start = resample(volume, grid, "cubic") if stage == "after" else volume
    scale = positive_scale(start.array)
    denoised = denoise_tv_chambolle(
        scale.normalise(start.array), weight=weight_factor * deviation / scale.scale, max_num_iter=max_iterations
    )
    return resample(start.with_array(scale.restore(np.asarray(denoised, np.float32))), grid, "cubic")
