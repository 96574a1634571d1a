"""Power spectral density of an image: radial or along directions, over physical frequency, inside a mask.

The image is cut to the bounding box of the mask, its mean removed, multiplied by a window and by the mask (whose edge
is tapered, so that it does not pass for detail), and Fourier transformed. Normalisation: the sum of the density over
all Fourier samples times the volume of one sample is the windowed variance of the image (Parseval).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.spectrum_transform import Octant, octant_power

#: Array axes (k, j, i) transformed for each name. The anatomical names hold for arrays stored as (superior, anterior,
#: right), the canonical order; the other names hold for any array.
PLANES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "3d": (0, 1, 2),
        "ij": (1, 2),
        "ik": (0, 2),
        "jk": (0, 1),
        "axial": (1, 2),
        "coronal": (0, 2),
        "sagittal": (0, 1),
    }
)
WINDOWS = ("hann", "none")
AXIS_NAMES = ("k", "j", "i")
#: Width, mm, over which the weight rises from 0 at the mask's edge to 1 inside.
TAPER_MM = 8.0
#: Half opening angle, degrees, of the cone of directions around an axis.
CONE_HALF_ANGLE_DEG = 30.0


@dataclass(frozen=True, eq=False)
class RadialSpectrum:
    """Power spectral density over the length of the frequency vector. All arrays have shape (n,) and are read-only.

    Attributes
    ----------
    frequency_cycles_per_mm : ndarray, float64
        Mean frequency of the samples of each bin, ascending, above 0; bins without samples are left out.
    power : ndarray, float64
        Mean density of each bin: squared image units times mm^d, d the number of transformed axes.
    power_fraction : ndarray, float64
        Share of the total power that lies in each bin; over all frequencies the shares sum to 1.
    amplitude : ndarray, float64
        Mean of the square roots of the densities of each bin's samples.
    counts : ndarray, int64
        Fourier samples in each bin, both signs of the frequency.
    total_power : float
        Windowed variance of the image, squared image units.
    sample_volume : float
        What one Fourier sample stands for, (cycles/mm)^d: ``sum(power * counts) * sample_volume`` is the total power.
    bin_width_cycles_per_mm : float
    limit_cycles_per_mm : float
        Nyquist frequency: the largest of the axes', or that of the axis around which directions were taken. Bins beyond
        it are corners of the Fourier box.
    axes : tuple of str
        Transformed axes, out of 'k', 'j', 'i'.
    direction : str
        'all', or the axis around which directions were taken.
    planes : int
        Planes whose densities were averaged; 1 in three dimensions.
    spacing_mm : three floats
        Along (i, j, k).
    window : str
    taper_mm : float
        Width of the taper at the mask's edge; 0 where there was none to take.
    """

    frequency_cycles_per_mm: np.ndarray
    power: np.ndarray
    power_fraction: np.ndarray
    amplitude: np.ndarray
    counts: np.ndarray
    total_power: float
    sample_volume: float
    bin_width_cycles_per_mm: float
    limit_cycles_per_mm: float
    axes: tuple[str, ...]
    direction: str
    planes: int
    spacing_mm: tuple[float, float, float]
    window: str
    taper_mm: float

    def __post_init__(self) -> None:
        for name in ("frequency_cycles_per_mm", "power", "power_fraction", "amplitude", "counts"):
            getattr(self, name).setflags(write=False)

    @property
    def normalised_power(self) -> np.ndarray:
        """Density divided by the total power, mm^d: the curve to draw, free of the image's gain, shape (n,)."""
        return self.power / self.total_power


def radial_power_spectrum(
    image: np.ndarray,
    spacing_mm: tuple[float, float, float],
    mask: np.ndarray | None = None,
    plane: str = "3d",
    window: str = "hann",
    n_bins: int | None = None,
    taper_mm: float = TAPER_MM,
) -> RadialSpectrum:
    """Return the power spectral density of an image, averaged over all directions.

    Parameters
    ----------
    image : ndarray, shape (K, J, I)
        Real and finite; not changed. Transformed in float32.
    spacing_mm : three floats
        Voxel spacing along (i, j, k).
    mask : ndarray, shape (K, J, I), optional
        Nonzero where to measure; voxels outside have no influence. Everywhere when omitted.
    plane : str
        Key of :data:`PLANES`: '3d', or the plane in which every slice is transformed for itself (own mean, densities
        averaged over the slices by their windowed energy). Axes of a single voxel are left out.
    window : {'hann', 'none'}
        Over the mask's bounding box, along the transformed axes.
    n_bins : int, optional
        Bins from 0 to the corner of the Fourier box; when omitted a bin is as wide as the frequency step of the longest
        axis of the bounding box.
    taper_mm : float
        Width over which the weight falls to 0 at the mask's edge (less where the mask is thinner); 0 for a sharp edge,
        whose own spectrum then adds to the image's.

    Returns
    -------
    RadialSpectrum

    Raises
    ------
    InputError
        Wrong shape, empty mask, values not finite, image constant inside the mask, or one voxel only.
    ParameterError
        Unknown plane or window, spacing or bins or taper not positive.

    Source
    ------
    Periodogram with a data window: Harris, Proc. IEEE 66:51 (1978), doi 10.1109/PROC.1978.10837. Zero-padding to
    lengths that transform fast samples the same spectrum more finely.

    Examples
    --------
    >>> wave = np.broadcast_to(np.cos(2 * np.pi * 0.1 * np.arange(64) * 2.0), (64, 64, 64))
    >>> spectrum = radial_power_spectrum(wave, (2.0, 2.0, 2.0))
    >>> round(float(spectrum.frequency_cycles_per_mm[spectrum.power_fraction.argmax()]), 2)
    0.1
    """
    return _spectra(image, spacing_mm, mask, plane, window, n_bins, taper_mm, None)["all"]


def directional_power_spectra(
    image: np.ndarray,
    spacing_mm: tuple[float, float, float],
    mask: np.ndarray | None = None,
    plane: str = "3d",
    window: str = "hann",
    n_bins: int | None = None,
    taper_mm: float = TAPER_MM,
    half_angle_deg: float = CONE_HALF_ANGLE_DEG,
) -> dict[str, RadialSpectrum]:
    """Return the spectrum over all directions and those around each axis, from one transform.

    Parameters
    ----------
    image, spacing_mm, mask, plane, window, n_bins, taper_mm
        As for :func:`radial_power_spectrum`.
    half_angle_deg : float
        Frequencies within this physical angle of an axis belong to it; in (0, 90].

    Returns
    -------
    dict of str to RadialSpectrum
        'all', and 'k', 'j', 'i' for each transformed axis. ``total_power`` is that of all directions, so that the
        shares of different directions can be compared.

    Raises
    ------
    InputError, ParameterError
        As for :func:`radial_power_spectrum`; angle out of range.
    """
    if not 0 < half_angle_deg <= 90:
        raise ParameterError(f"half angle {half_angle_deg:g} degrees is not in (0, 90]", "pass 30, for example")
    return _spectra(image, spacing_mm, mask, plane, window, n_bins, taper_mm, half_angle_deg)


def _spectra(
    image: np.ndarray,
    spacing_mm: tuple[float, float, float],
    mask: np.ndarray | None,
    plane: str,
    window: str,
    n_bins: int | None,
    taper_mm: float,
    half_angle_deg: float | None,
) -> dict[str, RadialSpectrum]:
    spacing = _checked(image, spacing_mm, mask, plane, window, n_bins, taper_mm)
    array_spacing = spacing[::-1]
    octant = octant_power(image, array_spacing, mask, PLANES[plane], window == "hann", taper_mm)
    squares = [frequency.astype(np.float32) ** 2 for frequency in octant.frequencies]
    radius = np.sqrt(_outer(squares, np.add))
    largest = float(radius.flat[-1])
    # Bin b reaches half a bin to either side of b times the width; the corner just belongs to the last one.
    width = 1.000001 * largest / (n_bins - 0.5) if n_bins else 1.0 / max(octant.extents_mm)
    multiplicity = _outer(octant.multiplicities, np.multiply).astype(np.float32)
    multiplicity.flat[0] = 0.0  # the mean, which was removed
    made = _Binned(octant, radius, multiplicity, width)
    nyquist = {AXIS_NAMES[axis]: 0.5 / array_spacing[axis] for axis in octant.axes}
    spectra = {"all": made.spectrum("all", None, max(nyquist.values()), spacing, window)}
    if half_angle_deg is not None:
        cosine = math.cos(math.radians(half_angle_deg))
        for place, axis in enumerate(octant.axes):
            shape = [-1 if n == place else 1 for n in range(len(octant.axes))]
            along = octant.frequencies[place].astype(np.float32).reshape(shape)
            chosen = np.flatnonzero(along >= np.float32(cosine - 1e-6) * radius)
            name = AXIS_NAMES[axis]
            spectra[name] = made.spectrum(name, chosen, nyquist[name], spacing, window)
    return spectra


class _Binned:
    """The samples of an octant and the bin of each."""

    def __init__(self, octant: Octant, radius: np.ndarray, multiplicity: np.ndarray, width: float) -> None:
        self._octant, self._width = octant, width
        self._radius, self._multiplicity = radius.reshape(-1), multiplicity.reshape(-1)
        self._index = (self._radius * np.float32(1.0 / width) + np.float32(0.5)).astype(np.intp)
        self._total = float(octant.power.sum(dtype=np.float64))

    def spectrum(
        self, direction: str, chosen: np.ndarray | None, limit: float, spacing: tuple[float, float, float], window: str
    ) -> RadialSpectrum:
        """Return the spectrum of the chosen samples (flat indices), of all when None."""

        def binned(weights: np.ndarray) -> np.ndarray:
            flat = weights.reshape(-1)
            return np.bincount(index, weights=flat if chosen is None else flat[chosen])

        octant = self._octant
        index = self._index if chosen is None else self._index[chosen]
        counts = binned(self._multiplicity)
        filled = counts > 0
        counts = counts[filled]
        frequency = binned(self._radius * self._multiplicity)[filled] / counts
        power = binned(octant.power)[filled]
        return RadialSpectrum(
            frequency_cycles_per_mm=frequency,
            power=power * octant.density / counts,
            power_fraction=power / self._total,
            amplitude=binned(octant.amplitude)[filled] * math.sqrt(octant.density / octant.planes) / counts,
            counts=np.rint(counts).astype(np.int64),
            total_power=self._total * octant.density * octant.sample_volume,
            sample_volume=octant.sample_volume,
            bin_width_cycles_per_mm=self._width,
            limit_cycles_per_mm=limit,
            axes=tuple(AXIS_NAMES[axis] for axis in octant.axes),
            direction=direction,
            planes=octant.planes,
            spacing_mm=spacing,
            window=window,
            taper_mm=octant.taper_mm,
        )


def _outer(vectors: list[np.ndarray], operation: np.ufunc) -> np.ndarray:
    result = vectors[0]
    for vector in vectors[1:]:
        result = operation.outer(result, vector)
    return result


def _checked(
    image: np.ndarray,
    spacing_mm: tuple[float, float, float],
    mask: np.ndarray | None,
    plane: str,
    window: str,
    n_bins: int | None,
    taper_mm: float,
) -> tuple[float, float, float]:
    """Refuse what cannot be measured; return the spacing as three floats."""
    if image.ndim != 3:
        raise InputError(f"image has {image.ndim} dimensions, shape {image.shape}; expected (K, J, I)", "pass a volume")
    if image.dtype.kind not in "fiub":
        raise InputError(f"image has values of type {image.dtype}; expected real numbers", "use the magnitude image")
    if mask is not None and mask.shape != image.shape:
        raise InputError(f"mask shape {mask.shape} differs from the image's {image.shape}", "resample the mask")
    if plane not in PLANES:
        raise ParameterError(f"unknown plane '{plane}'", f"choose one of: {', '.join(PLANES)}")
    if window not in WINDOWS:
        raise ParameterError(f"unknown window '{window}'", f"choose one of: {', '.join(WINDOWS)}")
    if n_bins is not None and n_bins < 1:
        raise ParameterError(f"{n_bins} bins are not a positive number", "omit n_bins, or pass 64, for example")
    if not (math.isfinite(taper_mm) and taper_mm >= 0):
        raise ParameterError(f"taper of {taper_mm:g} mm is not a positive width or 0", "pass 8, for example")
    spacing = (float(spacing_mm[0]), float(spacing_mm[1]), float(spacing_mm[2]))
    if not all(math.isfinite(s) and s > 0 for s in spacing):
        raise ParameterError(f"spacing {spacing} mm is not three positive numbers", "give spacing along i, j, k")
    return spacing
