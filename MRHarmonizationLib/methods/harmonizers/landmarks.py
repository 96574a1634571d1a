"""Piecewise linear maps between quantiles: Nyúl's landmarks, and the whole histogram."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.methods.case_profile import PERCENTILES, measured_values
from MRHarmonizationLib.methods.harmonizers.base import FittedHarmonizer, harmonizer
from MRHarmonizationLib.methods.reference_group import ReferenceGroup
from MRHarmonizationLib.volumes.volume import Volume

#: Percentiles of Nyúl's landmarks: the deciles between the robust ends.
LANDMARKS = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0)


@dataclass(frozen=True)
class _QuantileMap(FittedHarmonizer):
    """Quantiles of the measured region to those of the reference, air to 0, straight lines in between and beyond.

    Attributes
    ----------
    percentiles, levels : tuple of float
        Of the reference.
    """

    percentiles: tuple[float, ...]
    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.percentiles) != len(self.levels) or len(self.levels) < 2:
            raise ParameterError(
                f"{len(self.percentiles)} percentiles have {len(self.levels)} levels", "give two or more of each"
            )

    def map_array(self, volume: Volume, mask: np.ndarray | None) -> np.ndarray:
        """Return the mapped values; monotone, so that the order of intensities stays."""
        found = measured_values(volume, mask)
        own = np.percentile(found.values, self.percentiles)
        places, levels = np.append(found.scale.offset, own), np.append(0.0, self.levels)
        # equal quantiles (images of few grey levels) become one point; air inside the region is not looked at
        kept = np.append(True, np.diff(np.maximum.accumulate(places)) > 1e-9 * max(abs(float(own[-1])), 1e-30))
        places, levels = places[kept], np.maximum.accumulate(levels[kept])
        if places.size < 2:
            return (volume.array - own[-1] + self.levels[-1]).astype(np.float32)
        array = volume.array.astype(np.float64)
        mapped = np.interp(array, places, levels)
        first = (levels[1] - levels[0]) / (places[1] - places[0])
        # the last pieces are short and noisy: beyond, the line through the upper half goes on
        half = min(places.size // 2, places.size - 2)
        last = (levels[-1] - levels[half]) / (places[-1] - places[half])
        mapped += np.minimum(array - places[0], 0.0) * first
        mapped += np.maximum(array - places[-1], 0.0) * last
        return mapped.astype(np.float32)


@harmonizer("nyul", "Nyúl landmarks", "deciles of the object's inside to those of the reference, piecewise linear")
@dataclass(frozen=True)
class Nyul(_QuantileMap):
    """Landmarks at percentiles 1, 10, 20 … 90, 99.

    Source: Nyúl, Udupa & Zhang, IEEE Trans. Med. Imaging 19:143 (2000), doi 10.1109/42.836373. Air, which the original
    leaves to extrapolation, is one more landmark.
    """

    @classmethod
    def fit(cls, group: ReferenceGroup) -> Nyul:
        """Take the group's landmarks: the mean over cases, each scaled by air and 99th percentile."""
        return cls(LANDMARKS, tuple(float(v) for v in group.at_percentiles(LANDMARKS)))


@harmonizer("histogram_matching", "Histogram matching", "the whole histogram of the object's inside to the reference's")
@dataclass(frozen=True)
class HistogramMatching(_QuantileMap):
    """Quantiles at every percent.

    Source: Gonzalez & Woods, Digital Image Processing (histogram specification), on the group's mean quantile
    function.
    """

    @classmethod
    def fit(cls, group: ReferenceGroup) -> HistogramMatching:
        """Take the group's mean quantiles."""
        return cls(PERCENTILES, group.quantiles)
