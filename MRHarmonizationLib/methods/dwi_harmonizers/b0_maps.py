"""Maps of the unweighted image's intensities, made one gain for all volumes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.methods.dwi_harmonizers.base import FittedDwiHarmonizer, GainOperator, dwi_harmonizer
from MRHarmonizationLib.methods.dwi_target import PERCENTILES, DwiTarget, b0_quantiles
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.grid import Grid

#: Landmarks of Nyúl's method: the deciles between robust ends.
LANDMARKS = (1.0, 10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0, 99.0)
#: Percentiles of the histogram that are matched; the ends beyond are noise of few voxels.
HISTOGRAM = tuple(float(p) for p in range(1, 100, 2))
#: A gain may differ from that of the median by at most this factor.
LARGEST_RATIO = 4.0


@dataclass(frozen=True, eq=False)
class _B0Map(FittedDwiHarmonizer):
    """Quantiles of the unweighted brain to those of the target; their ratio is the gain of every volume.

    Below the first quantile and above the last the gain stays what it is there, so that air and the brightest voxels
    are scaled, not invented.

    Attributes
    ----------
    percentiles, levels : tuple of float
        Of the target's unweighted brain.
    """

    percentiles: tuple[float, ...]
    levels: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.percentiles) != len(self.levels) or len(self.levels) < 2:
            raise ParameterError(
                f"{len(self.percentiles)} percentiles have {len(self.levels)} levels", "give two or more of each"
            )

    def prepare(self, dwi: DwiVolume, mask: np.ndarray, acquired: Grid | None = None) -> GainOperator:
        """Return the map of gains."""
        own = np.interp(self.percentiles, PERCENTILES, b0_quantiles(dwi, mask))
        middle = float(np.interp(50.0, self.percentiles, self.levels)) / float(np.interp(50.0, self.percentiles, own))
        # equal quantiles (images of few grey levels) become one point
        kept = np.append(True, np.diff(np.maximum.accumulate(own)) > 1e-6 * own[-1]) & (own > 0)
        places, levels = own[kept], np.asarray(self.levels)[kept]
        b0 = dwi.mean_b0().array.astype(np.float64)
        inside = np.clip(b0, places[0], places[-1])
        gain = np.interp(inside, places, levels) / inside
        limited = np.clip(gain, middle / LARGEST_RATIO, middle * LARGEST_RATIO)
        return GainOperator(limited.astype(np.float32))


@dwi_harmonizer(
    "b0_histogram", "b0 histogram matching", "the unweighted brain's histogram to the target's, as one gain"
)
@dataclass(frozen=True, eq=False)
class B0Histogram(_B0Map):
    """Quantiles at every second percent, 1 to 99.

    Source: Gonzalez & Woods, Digital Image Processing (histogram specification), on the mean unweighted image.
    """

    @classmethod
    def fit(cls, target: DwiTarget) -> B0Histogram:
        """Take the target's quantiles."""
        return cls(HISTOGRAM, _levels(target, HISTOGRAM))


@dwi_harmonizer("nyul", "Nyúl landmarks on b0", "deciles of the unweighted brain to the target's, as one gain")
@dataclass(frozen=True, eq=False)
class NyulB0(_B0Map):
    """Landmarks at percentiles 1, 10, 20 … 90, 99.

    Source: Nyúl, Udupa & Zhang, IEEE Trans. Med. Imaging 19:143 (2000), doi 10.1109/42.836373.
    """

    @classmethod
    def fit(cls, target: DwiTarget) -> NyulB0:
        """Take the target's landmarks."""
        return cls(LANDMARKS, _levels(target, LANDMARKS))


def _levels(target: DwiTarget, percentiles: tuple[float, ...]) -> tuple[float, ...]:
    return tuple(float(v) for v in np.interp(percentiles, PERCENTILES, target.b0_quantiles))
