"""One factor for the whole scan."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.methods.dwi_harmonizers.base import FittedDwiHarmonizer, GainOperator, dwi_harmonizer
from MRHarmonizationLib.methods.dwi_target import DwiTarget, b0_quantiles
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.grid import Grid


@dwi_harmonizer("global_scaling", "Global scaling", "one factor for all volumes: the median of the unweighted brain")
@dataclass(frozen=True, eq=False)
class GlobalScaling(FittedDwiHarmonizer):
    """The median of the unweighted brain to that of the target.

    Attributes
    ----------
    median : float
        Of the target.
    """

    median: float

    @classmethod
    def fit(cls, target: DwiTarget) -> GlobalScaling:
        """Take the target's median."""
        return cls(float(target.median_b0))

    def prepare(self, dwi: DwiVolume, mask: np.ndarray, acquired: Grid | None = None) -> GainOperator:
        """Return the factor as a map."""
        factor = self.median / float(b0_quantiles(dwi, mask)[50])
        return GainOperator(np.full(dwi.grid.shape, factor, np.float32))
