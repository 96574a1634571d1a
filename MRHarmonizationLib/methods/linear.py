"""Linear interpolation."""

from __future__ import annotations

from MRHarmonizationLib.methods.base import upsample_method
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume


@upsample_method("linear", "trilinear interpolation")
def linear(volume: Volume, grid: Grid) -> Volume:
    """Interpolate trilinearly."""
    return resample(volume, grid, "linear")
