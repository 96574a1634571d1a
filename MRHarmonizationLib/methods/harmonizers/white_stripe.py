"""White stripe: normal-appearing white matter of an image to that of the reference."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.methods.case_profile import measured_values, white_stripe
from MRHarmonizationLib.methods.harmonizers.base import FittedHarmonizer, harmonizer
from MRHarmonizationLib.methods.harmonizers.scaling import linear
from MRHarmonizationLib.methods.reference_group import ReferenceGroup
from MRHarmonizationLib.volumes.volume import Volume


@harmonizer("whitestripe", "WhiteStripe", "mean and spread of white matter's mode to those of the reference")
@dataclass(frozen=True)
class WhiteStripe(FittedHarmonizer):
    """Mean and standard deviation of the tenth of voxels around the white-matter mode to those of the reference.

    Attributes
    ----------
    contrast : str
        Decides which mode is white matter's: last (T1), largest (T2, FLAIR), first (proton density).
    mean, deviation : float

    Source: Shinohara et al., NeuroImage Clin. 6:9 (2014), doi 10.1016/j.nicl.2014.08.008. A mask of the brain makes it
    surer: without one, fat may be the last mode.
    """

    contrast: str
    mean: float
    deviation: float

    @classmethod
    def fit(cls, group: ReferenceGroup) -> WhiteStripe:
        """Take the mean stripe of the group's cases."""
        return cls(group.contrast, group.stripe_mean, group.stripe_deviation)

    def map_array(self, volume: Volume, mask: np.ndarray | None) -> np.ndarray:
        """Return the scaled values."""
        mean, deviation = white_stripe(measured_values(volume, mask).values, self.contrast)
        return linear(volume.array, mean, mean + deviation, self.mean, self.mean + self.deviation)
