"""Non-local means, then cubic interpolation (or the other way round)."""

from __future__ import annotations

from typing import Any

import numpy as np

from MRHarmonizationLib.methods.base import check_stage, estimate_noise_deviation, positive_scale, upsample_method
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

#: ``h_factor``: filter strength in noise deviations; ``noise_deviation``: image units, estimated when None.
DEFAULTS: dict[str, Any] = {
    "h_factor": 0.8,
    "patch_size": 3,
    "patch_distance": 3,
    "stage": "before",
    "noise_deviation": None,
}
GRID: dict[str, list[Any]] = {
    "h_factor": [0.6, 1.0, 1.6, 2.6, 4.0],
    "patch_distance": [3],
    "stage": ["before", "after"],
}


@upsample_method("nlm_cubic", "3-D non-local means on the acquired voxels, then cubic B-spline", DEFAULTS, GRID)
def nlm_cubic(
    volume: Volume,
    grid: Grid,
    *,
    h_factor: float,
    patch_size: int,
    patch_distance: int,
    stage: str,
    noise_deviation: float | None,
) -> Volume:
    """Average voxels with similar surroundings in three dimensions, then interpolate.

    Source: Buades et al., CVPR 2005, doi 10.1109/CVPR.2005.38; ``skimage.restoration.denoise_nl_means`` (fast mode).
    """
    from skimage.restoration import denoise_nl_means

    check_stage(stage)
    deviation = noise_deviation
    if deviation is None:
        deviation = estimate_noise_deviation(volume.array, volume.grid.thick_axis)
    if deviation <= 0 or h_factor <= 0:
        return resample(volume, grid, "cubic")
    start = resample(volume, grid, "cubic") if stage == "after" else volume
    scale = positive_scale(start.array)
    denoised = denoise_nl_means(
        scale.normalise(start.array),
        patch_size=patch_size,
        patch_distance=patch_distance,
        h=h_factor * deviation / scale.scale,
        sigma=deviation / scale.scale,
        fast_mode=True,
    )
    return resample(start.with_array(scale.restore(np.asarray(denoised, np.float32))), grid, "cubic")
