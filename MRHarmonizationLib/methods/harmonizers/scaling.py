"""Linear scaling to the reference: by extremes, percentiles, or mean and standard deviation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.methods.case_profile import UPPER_PERCENTILE, measured_values
from MRHarmonizationLib.methods.harmonizers.base import FittedHarmonizer, harmonizer
from MRHarmonizationLib.methods.reference_group import ReferenceGroup
from MRHarmonizationLib.volumes.volume import Volume


@harmonizer("minmax", "Min-max scaling", "darkest voxel to 0, brightest to the reference's mean maximum")
@dataclass(frozen=True)
class MinMax(FittedHarmonizer):
    """Smallest value of the image to 0, largest to that of the reference; one hot voxel decides.

    Attributes
    ----------
    maximum : float
    """

    maximum: float

    @classmethod
    def fit(cls, group: ReferenceGroup) -> MinMax:
        """Take the mean maximum of the group's cases."""
        return cls(group.maximum)

    def map_array(self, volume: Volume, mask: np.ndarray | None) -> np.ndarray:
        """Return the scaled values; a mask does not matter."""
        found = measured_values(volume, mask)
        return linear(volume.array, found.lowest, found.highest, 0.0, self.maximum)


@harmonizer(
    "percentile",
    "Percentile scaling",
    "air to 0, a high percentile of the object's inside to that of the reference",
    {"upper": UPPER_PERCENTILE},
)
@dataclass(frozen=True)
class Percentile(FittedHarmonizer):
    """Air to 0, an upper percentile of the measured region to the reference's.

    Attributes
    ----------
    upper : float
        Percentile.
    level : float
        The reference's value there.
    """

    upper: float
    level: float

    @classmethod
    def fit(cls, group: ReferenceGroup, upper: float) -> Percentile:
        """Take the group's percentile."""
        if not 50.0 <= upper <= 99.5:
            raise ParameterError(f"upper percentile is {upper}", "give 50 to 99.5")
        return cls(float(upper), float(group.at_percentiles([upper])[0]))

    def map_array(self, volume: Volume, mask: np.ndarray | None) -> np.ndarray:
        """Return the scaled values."""
        found = measured_values(volume, mask)
        high = float(np.percentile(found.values, self.upper))
        return linear(volume.array, found.scale.offset, high, 0.0, self.level)


@harmonizer(
    "zscore", "Z-score", "mean and standard deviation of the object's inside (or mask) to those of the reference"
)
@dataclass(frozen=True)
class ZScore(FittedHarmonizer):
    """Mean and standard deviation of the measured region to those of the reference.

    Attributes
    ----------
    mean, deviation : float
    """

    mean: float
    deviation: float

    @classmethod
    def fit(cls, group: ReferenceGroup) -> ZScore:
        """Take the mean of the cases' means and deviations."""
        return cls(group.mean, group.deviation)

    def map_array(self, volume: Volume, mask: np.ndarray | None) -> np.ndarray:
        """Return the scaled values."""
        values = measured_values(volume, mask).values
        mean, deviation = float(values.mean()), float(values.std())
        return linear(volume.array, mean, mean + deviation, self.mean, self.mean + self.deviation)


def linear(array: np.ndarray, low: float, high: float, new_low: float, new_high: float) -> np.ndarray:
    """Return the linear map that takes ``low`` and ``high`` to new values; float32, same shape."""
    if not high > low:  # an image whose air is as bright as the percentile: only the offset can be matched
        return (array - np.float64(high) + new_high).astype(np.float32)
    slope = (new_high - new_low) / (high - low)
    return ((array.astype(np.float64) - low) * slope + new_low).astype(np.float32)
