"""Low-frequency amplitudes of another case in place of a case's own, phases kept.

Source: Yang & Soatto, Fourier Domain Adaptation, CVPR 2020, doi 10.1109/CVPR42600.2020.00414; here in physical
frequencies and scanner axes, with a smooth edge, so that grids and orientations of the two cases may differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.degradations.kspace_filter import EDGE_SHARE, half_frequencies, smooth_disc
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

#: The other case's amplitudes are kept at 2 n + 1 frequencies along R and A, n + 1 along S (the rest is symmetric).
HALF_SAMPLES = 8
#: Amplitudes below this share of the zero frequency's are not told apart.
LEAST_AMPLITUDE = 1e-7
#: Significant digits kept of each amplitude.
DIGITS = 4


@dataclass(frozen=True)
class AmplitudeSwap:
    """Amplitudes of another case at low frequencies, and how much of them is taken.

    Attributes
    ----------
    radius_cycles_per_mm : float
        Frequencies below are affected.
    share : float
        0 keeps the case's own amplitudes, 1 takes the other's.
    amplitudes : tuple of float
        |spectrum| of the other case over that of its zero frequency, on a regular grid of frequencies in scanner axes,
        ±reach along R and A, 0 to reach along S (shape 2n+1, 2n+1, n+1, the last axis fastest).
    """

    radius_cycles_per_mm: float
    share: float
    amplitudes: tuple[float, ...]

    def __post_init__(self) -> None:
        wanted = (2 * HALF_SAMPLES + 1) ** 2 * (HALF_SAMPLES + 1)
        if not (self.radius_cycles_per_mm > 0 and 0.0 <= self.share <= 1.0):
            raise ParameterError(
                f"amplitude swap of share {self.share} within {self.radius_cycles_per_mm} cycles/mm",
                "give a positive radius and a share of 0 to 1",
            )
        if len(self.amplitudes) != wanted or min(self.amplitudes) < 0:
            raise ParameterError(
                f"amplitude swap has {len(self.amplitudes)} amplitudes", f"give {wanted} that are not negative"
            )

    @property
    def reach_cycles_per_mm(self) -> float:
        """Largest frequency along each axis for which amplitudes are kept."""
        return self.radius_cycles_per_mm * (1.0 + EDGE_SHARE)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "radius_cycles_per_mm": self.radius_cycles_per_mm,
            "share": self.share,
            "amplitudes": list(self.amplitudes),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AmplitudeSwap:
        """Build from :meth:`to_dict`."""
        return build_parameters(cls, values)


def measure_amplitudes(donor: Volume, radius_cycles_per_mm: float, share: float) -> AmplitudeSwap:
    """Measure the low-frequency amplitudes of a case that is to lend them.

    Parameters
    ----------
    donor : Volume
        Any grid and orientation; finite.
    radius_cycles_per_mm, share : float
        See :class:`AmplitudeSwap`.

    Raises
    ------
    ParameterError
        The donor's mean is not positive, so that there is nothing to relate amplitudes to.
    """
    from scipy import fft, ndimage

    amplitude = np.abs(fft.fftn(donor.array.astype(np.float32), workers=1))
    level = float(amplitude[0, 0, 0])
    if not level > 0:
        raise ParameterError(f"the mean of donor '{donor.name}' is 0", "choose a magnitude image")
    reach = radius_cycles_per_mm * (1.0 + EDGE_SHARE)
    along = np.linspace(-reach, reach, 2 * HALF_SAMPLES + 1)
    right, anterior, superior = np.meshgrid(along, along, along[HALF_SAMPLES:], indexing="ij")
    wanted = np.stack([right, anterior, superior], axis=-1) @ donor.grid.directions  # along i, j, k
    extent_kji = donor.grid.extent_mm[::-1]
    places = [wanted[..., 2 - axis] * extent_kji[axis] for axis in range(3)]  # in samples of the transform
    # spectra fall by powers: their logarithm is what a straight line between samples suits
    logarithm = np.log(np.maximum(amplitude / level, LEAST_AMPLITUDE))
    sampled = np.exp(ndimage.map_coordinates(logarithm, places, order=1, mode="grid-wrap"))
    # beyond the donor's own Nyquist frequency nothing was measured
    limits = [0.5 / float(s) for s in donor.grid.spacing_mm]
    sampled[np.any(np.abs(wanted) > limits, axis=-1)] = LEAST_AMPLITUDE
    rounded = (float(f"{value:.{DIGITS}g}") for value in sampled.reshape(-1))
    return AmplitudeSwap(float(radius_cycles_per_mm), float(share), tuple(rounded))


def swap_amplitudes(spectrum: np.ndarray, radius: np.ndarray, grid: Grid, swap: AmplitudeSwap) -> np.ndarray:
    """Return a spectrum whose low-frequency amplitudes are partly the other case's; zero frequency and phases kept.

    Parameters
    ----------
    spectrum : complex ndarray, shape (K, J, I // 2 + 1)
        ``rfftn`` of the image on ``grid``; not changed.
    radius : ndarray, same shape
        |f| in cycles/mm.
    grid : Grid
    swap : AmplitudeSwap
    """
    from scipy import ndimage

    inside = radius < swap.reach_cycles_per_mm
    inside[0, 0, 0] = False
    frequencies = half_frequencies(grid.shape, grid.spacing_mm[::-1].tolist())
    k, j, i = (np.broadcast_to(f, radius.shape)[inside] for f in frequencies)
    ras = np.stack([i, j, k], axis=-1) @ grid.directions.T
    ras = np.where(ras[:, 2:] < 0, -ras, ras)  # amplitudes are the same at f and -f
    step = swap.reach_cycles_per_mm / HALF_SAMPLES
    n = 2 * HALF_SAMPLES + 1
    table = np.log(np.maximum(swap.amplitudes, LEAST_AMPLITUDE)).reshape(n, n, HALF_SAMPLES + 1)
    places = [ras[:, 0] / step + HALF_SAMPLES, ras[:, 1] / step + HALF_SAMPLES, ras[:, 2] / step]
    level = abs(complex(spectrum[0, 0, 0]))
    other = np.exp(ndimage.map_coordinates(table, places, order=1, mode="nearest")) * level
    own = np.abs(spectrum[inside])
    weight = swap.share * smooth_disc(radius[inside], swap.radius_cycles_per_mm)
    result = spectrum.copy()
    # where the case has no amplitude there is no phase to keep
    gain = np.where(own > 1e-6 * max(level, 1e-30), (1.0 - weight) + weight * other / np.maximum(own, 1e-30), 1.0)
    result[inside] *= np.minimum(gain, 1e3).astype(np.float32)
    return np.asarray(result)
