"""The control: nothing is changed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.methods.dwi_harmonizers.base import FittedDwiHarmonizer, GainOperator, dwi_harmonizer
from MRHarmonizationLib.methods.dwi_target import DwiTarget
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.grid import Grid


@dwi_harmonizer("none", "No harmonisation", "the control: noise handling and grid only")
@dataclass(frozen=True, eq=False)
class Identity(FittedDwiHarmonizer):
    """Every volume as it is."""

    @classmethod
    def fit(cls, target: DwiTarget) -> Identity:
        """Take nothing from the target."""
        return cls()

    def prepare(self, dwi: DwiVolume, mask: np.ndarray, acquired: Grid | None = None) -> GainOperator:
        """Return a gain of one."""
        return GainOperator(np.ones(dwi.grid.shape, np.float32))
