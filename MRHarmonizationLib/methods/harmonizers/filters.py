"""Filters of one image followed by percentile scaling: N4 bias correction and curvature anisotropic diffusion.

Neither filter looks at a reference; what makes their results comparable between scans is the scaling behind them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.methods.base import METHODS
from MRHarmonizationLib.methods.case_profile import UPPER_PERCENTILE, measured_values
from MRHarmonizationLib.methods.harmonizers.base import FittedHarmonizer, harmonizer
from MRHarmonizationLib.methods.harmonizers.scaling import Percentile
from MRHarmonizationLib.methods.n4_cubic import FEWEST_VOXELS
from MRHarmonizationLib.methods.reference_group import ReferenceGroup
from MRHarmonizationLib.volumes.resampling import to_sitk
from MRHarmonizationLib.volumes.volume import Volume

#: Time step of the explicit scheme over the smallest spacing; just below the largest stable one, 1/16 in three
#: dimensions, because rounded spacings would make ITK warn there.
STABLE_TIME_STEP = 0.0624


@harmonizer(
    "n4", "N4 bias correction", "N4 field removed, then percentile scaling", {"control_points": 4, "iterations": 30}
)
@dataclass(frozen=True)
class N4(FittedHarmonizer):
    """Smooth multiplicative field removed, then percentile scaling.

    Attributes
    ----------
    level : float
        The reference's 99th percentile.
    control_points, iterations : int

    Source: Tustison et al., IEEE Trans. Med. Imaging 29:1310 (2010), doi 10.1109/TMI.2010.2046908;
    ``SimpleITK.N4BiasFieldCorrectionImageFilter``.
    """

    level: float
    control_points: int
    iterations: int

    @classmethod
    def fit(cls, group: ReferenceGroup, control_points: int, iterations: int) -> N4:
        """Take the group's 99th percentile."""
        if not (control_points >= 4 and iterations >= 1):
            raise ParameterError(
                f"{control_points} control points and {iterations} iterations", "give at least 4 and 1"
            )
        return cls(_level(group), int(control_points), int(iterations))

    def map_array(self, volume: Volume, mask: np.ndarray | None) -> np.ndarray:
        """Return the corrected and scaled values."""
        measured_values(volume, mask)  # refuses what cannot be measured before the filter runs
        padded, original = _at_least(volume, FEWEST_VOXELS)
        corrected = METHODS.get("n4_cubic").apply(
            padded, padded.grid, control_points=self.control_points, iterations=self.iterations
        )
        return Percentile(UPPER_PERCENTILE, self.level).map_array(volume.with_array(corrected.array[original]), mask)


@harmonizer(
    "curvature_diffusion",
    "Curvature anisotropic diffusion",
    "noise smoothed along edges, then percentile scaling",
    {"iterations": 5, "conductance": 3.0},
)
@dataclass(frozen=True)
class CurvatureDiffusion(FittedHarmonizer):
    """Modified curvature diffusion, then percentile scaling.

    Attributes
    ----------
    level : float
        The reference's 99th percentile.
    iterations : int
    conductance : float

    Source: Whitaker & Xue, Proc. ICIP 2001 vol. 3 p. 142;
    ``SimpleITK.CurvatureAnisotropicDiffusionImageFilter``.
    """

    level: float
    iterations: int
    conductance: float

    @classmethod
    def fit(cls, group: ReferenceGroup, iterations: int, conductance: float) -> CurvatureDiffusion:
        """Take the group's 99th percentile."""
        if not (iterations >= 1 and conductance > 0):
            raise ParameterError(f"{iterations} iterations of conductance {conductance}", "give positive numbers")
        return cls(_level(group), int(iterations), float(conductance))

    def map_array(self, volume: Volume, mask: np.ndarray | None) -> np.ndarray:
        """Return the smoothed and scaled values."""
        import SimpleITK as sitk

        found = measured_values(volume, mask)
        scaled = ((volume.array - np.float64(found.scale.offset)) / found.scale.scale).astype(np.float32)
        step = STABLE_TIME_STEP * float(volume.grid.spacing_mm.min())
        smooth = sitk.CurvatureAnisotropicDiffusion(
            to_sitk(volume.with_array(scaled)),
            timeStep=step,
            conductanceParameter=self.conductance,
            numberOfIterations=self.iterations,
        )
        return Percentile(UPPER_PERCENTILE, self.level).map_array(
            volume.with_array(np.asarray(sitk.GetArrayFromImage(smooth), np.float32)), mask
        )


def _level(group: ReferenceGroup) -> float:
    return float(group.at_percentiles([UPPER_PERCENTILE])[0])


def _at_least(volume: Volume, fewest: int) -> tuple[Volume, tuple[slice, ...]]:
    """Repeat the outer voxels of short axes so that a spline can be fitted; return where the original lies."""
    extra = [max(0, fewest - n) for n in volume.array.shape]
    before = [n // 2 for n in extra]
    array = np.pad(volume.array, [(b, n - b) for b, n in zip(before, extra, strict=True)], mode="edge")
    grid = volume.grid.crop([-b for b in before], array.shape)
    part = tuple(slice(b, b + n) for b, n in zip(before, volume.array.shape, strict=True))
    return Volume(array, grid, volume.name), part
