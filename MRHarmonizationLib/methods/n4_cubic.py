"""N4 bias-field correction, then cubic interpolation."""

from __future__ import annotations

from typing import Any

import numpy as np

from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.methods.base import upsample_method
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample, to_sitk
from MRHarmonizationLib.volumes.volume import Volume

#: Voxels at least this fine are kept when the field is fitted; coarser sampling is enough for a smooth field.
FIT_SPACING_MM = 4.0
#: Fewest voxels along an axis that the B-spline fit still accepts.
FEWEST_VOXELS = 4
DEFAULTS: dict[str, Any] = {"control_points": 4, "iterations": 30, "levels": 2, "strength": 1.0}
GRID: dict[str, list[Any]] = {"control_points": [4, 5], "strength": [0.25, 0.5, 1.0]}


@upsample_method("n4_cubic", "N4 bias-field correction, then cubic B-spline", DEFAULTS, GRID)
def n4_cubic(
    volume: Volume, grid: Grid, *, control_points: int, iterations: int, levels: int, strength: float
) -> Volume:
    """Divide by ``field ** strength`` inside the foreground's smooth bias field, keep its mean, then interpolate.

    Source: Tustison et al., IEEE Trans. Med. Imaging 29:1310 (2010), doi 10.1109/TMI.2010.2046908;
    ``SimpleITK.N4BiasFieldCorrectionImageFilter``.
    """
    import SimpleITK as sitk

    mask = foreground_mask(volume.array)
    offset = min(0.0, float(volume.array.min()))
    image = to_sitk(volume.with_array((volume.array - offset).astype(np.float32)))
    shrink = [
        max(1, min(int(FIT_SPACING_MM / spacing), size // FEWEST_VOXELS))
        for spacing, size in zip(volume.grid.spacing_mm, volume.grid.size_ijk, strict=True)
    ]
    corrector = sitk.N4BiasFieldCorrectionImageFilter()
    corrector.SetMaximumNumberOfIterations([iterations] * levels)
    corrector.SetNumberOfControlPoints([control_points] * 3)
    corrector.Execute(sitk.Shrink(image, shrink), sitk.Shrink(to_sitk(volume.with_array(mask)), shrink))
    log_field = sitk.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(image))
    corrected = (volume.array - offset) / np.exp(strength * log_field)
    kept = np.mean(volume.array[mask] - offset) / max(float(np.mean(corrected[mask])), np.finfo(np.float32).tiny)
    return resample(volume.with_array((corrected * kept + offset).astype(np.float32)), grid, "cubic")
