"""Robust intensity normalisation that can be undone."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from MRHarmonizationLib.core.errors import InputError

#: Percentiles mapped to 0 and 1; high enough to keep fat and vessels from being the scale.
LOWER_PERCENTILE, UPPER_PERCENTILE = 0.5, 99.5


@dataclass(frozen=True)
class IntensityScale:
    """A linear intensity scale: normalised = (value - offset) / scale.

    Attributes
    ----------
    offset, scale : float
        In the image's own units; ``scale`` is positive.
    """

    offset: float
    scale: float

    def normalise(self, array: np.ndarray) -> np.ndarray:
        """Return the float32 normalised array, same shape."""
        result = array.astype(np.float32)
        result -= np.float32(self.offset)
        result *= np.float32(1.0 / self.scale)
        return result

    def restore(self, array: np.ndarray) -> np.ndarray:
        """Return the float32 array in the image's own units, same shape."""
        result = array * np.float32(self.scale)
        result += np.float32(self.offset)
        return result.astype(np.float32, copy=False)

    def to_dict(self) -> dict[str, float]:
        """Return a JSON-ready dictionary."""
        return asdict(self)


def fit_intensity_scale(
    array: np.ndarray,
    mask: np.ndarray | None = None,
    lower_percentile: float = LOWER_PERCENTILE,
    upper_percentile: float = UPPER_PERCENTILE,
) -> IntensityScale:
    """Fit the scale that maps a low percentile of the image to 0 and a high one of the foreground to 1.

    Parameters
    ----------
    array : ndarray, any shape
        Finite real intensities.
    mask : bool ndarray, same shape, optional
        Foreground for the upper percentile; the whole image when omitted.
    lower_percentile, upper_percentile : float
        In percent.

    Returns
    -------
    IntensityScale

    Raises
    ------
    InputError
        If both percentiles are equal: there is nothing to scale by.
    """
    stride = max(1, array.size // 2_000_000)
    everything = array.reshape(-1)[::stride] if stride > 1 else array.reshape(-1)
    foreground = array[mask] if mask is not None and np.any(mask) else everything
    low = float(np.percentile(everything, lower_percentile))
    high = float(np.percentile(foreground, upper_percentile))
    if not high > low:
        raise InputError(
            f"intensity percentiles {lower_percentile} and {upper_percentile} % are both {low:g}",
            "choose an image with anatomy in the field of view",
        )
    return IntensityScale(offset=low, scale=high - low)
