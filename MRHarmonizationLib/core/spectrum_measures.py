"""Numbers read from a power spectrum: slope, half-power and noise-floor frequency, resolution, before against after."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.spectrum import RadialSpectrum

#: Band, cycles/mm, of the slope: coarser than the finest detail of a routine scan, finer than the head's outline.
SLOPE_BAND_CYCLES_PER_MM = (0.05, 0.25)
#: Fewest bins to which a line is fitted.
FEWEST_BINS = 5
#: The noise floor is the median density from this share of the Nyquist frequency up to it.
FLOOR_FROM = 0.8
#: Signal stands above the floor where the density exceeds it by this factor (3 dB).
FLOOR_FACTOR = 2.0
#: Bins of the running median that keeps single bins from counting.
SMOOTHED_BINS = 5
#: Decorrelation analysis: high-pass filters, refinement passes, weakest peak that counts, least drop after a peak.
HIGH_PASSES, REFINEMENTS, WEAKEST_PEAK, LEAST_DROP = 10, 2, 0.05, 0.0005
#: A drop must also exceed this many times the chance deviation of a sum over so many Fourier samples.
DROP_DEVIATIONS = 2.0
#: Slopes between these, in the last quarter of the frequencies, are structure; noise is flatter, a blurred edge of the
#: spectrum steeper.
LAST_QUARTER, STEEPEST_STRUCTURE, FLATTEST_STRUCTURE = 0.75, -5.0, -1.0
#: Widths of the narrowest and (without a peak) the widest high-pass, in voxels.
NARROWEST_SIGMA, WIDEST_SIGMA = 0.15, 50.0


@dataclass(frozen=True, eq=False)
class SpectrumRatio:
    """Density after over density before, on the frequencies both know.

    Attributes
    ----------
    frequency_cycles_per_mm : ndarray, shape (n,)
    ratio : ndarray, shape (n,)
        1 = unchanged; below 1 = power removed. Infinite where there was none before.
    normalised : bool
        Whether both were divided by their total power first.
    """

    frequency_cycles_per_mm: np.ndarray
    ratio: np.ndarray
    normalised: bool


def spectrum_ratio(after: RadialSpectrum, before: RadialSpectrum, normalised: bool = False) -> SpectrumRatio:
    """Return how the density changed at each frequency.

    Parameters
    ----------
    after, before : RadialSpectrum
        Of the same direction and axes. On other bins ``before`` is interpolated (log density over frequency).
    normalised : bool
        Divide each by its total power first, so that a changed gain or contrast does not show.

    Returns
    -------
    SpectrumRatio
        At the frequencies of ``after`` up to the lower of both Nyquist frequencies.

    Raises
    ------
    ParameterError
        The spectra are of different kinds or share no frequency.
    """
    if (after.direction, after.axes) != (before.direction, before.axes):
        raise ParameterError(
            f"spectra along {after.direction} of {after.axes} and along {before.direction} of {before.axes} differ",
            "compare spectra of one kind",
        )
    low = max(after.frequency_cycles_per_mm[0], before.frequency_cycles_per_mm[0])
    high = min(
        after.limit_cycles_per_mm,
        before.limit_cycles_per_mm,
        after.frequency_cycles_per_mm[-1],
        before.frequency_cycles_per_mm[-1],
    )
    tolerance = 1e-9 * high
    shared = (after.frequency_cycles_per_mm >= low - tolerance) & (after.frequency_cycles_per_mm <= high + tolerance)
    if not shared.any():
        raise ParameterError(
            f"the spectra share no frequency between {low:.3g} and {high:.3g} cycles/mm", "resample one image first"
        )
    frequency = after.frequency_cycles_per_mm[shared]
    numerator, known = after.power[shared], before.power
    smallest = float(np.finfo(float).tiny)
    denominator = np.exp(np.interp(frequency, before.frequency_cycles_per_mm, np.log(np.maximum(known, smallest))))
    if normalised:
        numerator, denominator = numerator / after.total_power, denominator / before.total_power
    with np.errstate(divide="ignore", over="ignore"):
        ratio = np.where(numerator > 0, numerator / denominator, 0.0)
    return SpectrumRatio(frequency, ratio, normalised)


def slope_band(spectrum: RadialSpectrum) -> tuple[float, float]:
    """Return the band of :func:`log_slope`: .05 to .25 cycles/mm, or what the image allows.

    Where fewer than five bins lie in it (small or coarse images) it is the middle half, in octaves, of the frequencies
    up to Nyquist.
    """
    usable = spectrum.frequency_cycles_per_mm[spectrum.frequency_cycles_per_mm <= spectrum.limit_cycles_per_mm]
    low, high = SLOPE_BAND_CYCLES_PER_MM
    if np.count_nonzero((usable >= low) & (usable <= high)) >= FEWEST_BINS or usable.size < 2:
        return low, min(high, spectrum.limit_cycles_per_mm)
    span = usable[-1] / usable[0]
    return float(usable[0] * span**0.25), float(usable[0] * span**0.75)


def log_slope(spectrum: RadialSpectrum, band: tuple[float, float] | None = None) -> float:
    """Return the slope of log density over log frequency; -2 means that the density falls as 1/f².

    Parameters
    ----------
    spectrum : RadialSpectrum
    band : (low, high), optional
        Cycles/mm; :func:`slope_band` when omitted.

    Returns
    -------
    float
        Least squares line, every octave of frequency weighing the same. Anatomy lies between -4 (smooth regions with
        edges, three dimensions) and -2; noise flattens, blur steepens.

    Raises
    ------
    ParameterError
        Fewer than two bins with power in the band.

    Source
    ------
    Field, J. Opt. Soc. Am. A 4:2379 (1987), doi 10.1364/JOSAA.4.002379.
    """
    low, high = slope_band(spectrum) if band is None else band
    frequency = spectrum.frequency_cycles_per_mm
    chosen = (frequency >= low) & (frequency <= high) & (spectrum.power > 0)
    if np.count_nonzero(chosen) < 2:
        raise ParameterError(
            f"{np.count_nonzero(chosen)} bins of the spectrum have power between {low:.3g} and {high:.3g} cycles/mm",
            f"pass a band within {frequency[0]:.3g} to {spectrum.limit_cycles_per_mm:.3g} cycles/mm",
        )
    # Bins are evenly spaced in frequency: a weight of 1/f makes them even in log f (polyfit squares its weights).
    x, y = np.log10(frequency[chosen]), np.log10(spectrum.power[chosen])
    return float(np.polyfit(x, y, 1, w=np.sqrt(1.0 / frequency[chosen]))[0])


def half_power_frequency(spectrum: RadialSpectrum) -> float:
    """Return the frequency, cycles/mm, below which half of the spectrum's power lies (its spectral median).

    Interpolated linearly within a bin. Detail and noise raise it, blur lowers it.
    """
    cumulative = np.cumsum(spectrum.power_fraction)
    if cumulative[-1] <= 0:
        return 0.0
    edges = spectrum.frequency_cycles_per_mm + 0.5 * spectrum.bin_width_cycles_per_mm
    return float(np.interp(0.5 * cumulative[-1], np.concatenate([[0.0], cumulative]), np.concatenate([[0.0], edges])))


def noise_floor(spectrum: RadialSpectrum) -> float:
    """Return the density of the noise floor: the median from 80 % of the Nyquist frequency up to it.

    An image whose signal reaches that far has no visible floor; its faintest signal is taken for one.
    """
    frequency, limit = spectrum.frequency_cycles_per_mm, spectrum.limit_cycles_per_mm
    top = (frequency >= FLOOR_FROM * limit) & (frequency <= limit)
    return float(np.median(spectrum.power[top] if top.any() else spectrum.power[-1:]))


def noise_floor_frequency(spectrum: RadialSpectrum, floor: float | None = None) -> float:
    """Return the highest frequency, cycles/mm, at which the image stands 3 dB above its noise floor.

    Parameters
    ----------
    spectrum : RadialSpectrum
    floor : float, optional
        Density of the noise where it is known (white noise: variance times voxel volume); :func:`noise_floor` when
        omitted.

    Returns
    -------
    float
        The Nyquist frequency where the image stands above the floor up to there, 0 where it nowhere does.
    """
    level = FLOOR_FACTOR * (noise_floor(spectrum) if floor is None else floor)
    usable = spectrum.frequency_cycles_per_mm <= spectrum.limit_cycles_per_mm
    frequency, power = spectrum.frequency_cycles_per_mm[usable], spectrum.power[usable]
    if not frequency.size:
        return 0.0
    half = SMOOTHED_BINS // 2
    runs = np.lib.stride_tricks.sliding_window_view(np.pad(power, half, mode="edge"), SMOOTHED_BINS)
    above = np.flatnonzero(np.median(runs, axis=1) > level)
    if not above.size:
        return 0.0
    return spectrum.limit_cycles_per_mm if above[-1] == frequency.size - 1 else float(frequency[above[-1]])


def effective_resolution_mm(spectrum: RadialSpectrum) -> float:
    """Return the resolution of the image in mm: half a period of the highest frequency that carries structure.

    Given as the voxel size that would just hold the image's detail: an image resolved up to its Nyquist frequency has
    its own voxel size, one interpolated from 5 mm slices about 5 mm along them.

    Parameters
    ----------
    spectrum : RadialSpectrum
        Over all directions, or around one axis.

    Returns
    -------
    float
        Never below the voxel size along the finest axis of the spectrum. That size where no cut-off is found:
        structure, or noise as strong as structure, up to the Nyquist frequency.

    Source
    ------
    Decorrelation analysis: Descloux et al., Nat. Methods 16:918 (2019), doi 10.1038/s41592-019-0515-7. The image is
    correlated with its own phase (every |F| set to 1) inside a growing sphere of frequencies, after each of a series
    of high-pass filters 1 - exp(-2 π² σ² f²); the highest frequency at which such a correlation peaks is the cut-off
    f_c, and the result is 1 / (2 f_c) (the paper's resolution is the full period). All filters being radial, sums
    over shells suffice and no further transform is needed. Two rules are added: a drop after a peak must exceed what
    chance allows, and where the strongest filter leaves no peak while the density near the Nyquist frequency still
    falls as structure does (slope -1 to -5; noise would be level, blur steeper), structure reaches that far.
    """
    usable = spectrum.frequency_cycles_per_mm <= spectrum.limit_cycles_per_mm
    frequency = spectrum.frequency_cycles_per_mm[usable] / spectrum.limit_cycles_per_mm
    finest = 0.5 / spectrum.limit_cycles_per_mm
    if frequency.size < FEWEST_BINS:
        return finest
    counts = spectrum.counts[usable].astype(np.float64)
    amplitude, power = spectrum.amplitude[usable] * counts, spectrum.power[usable] * counts
    # Samples at f and -f are one; in few samples chance alone makes peaks.
    chance = DROP_DEVIATIONS / np.sqrt(0.5 * np.cumsum(counts) * spectrum.planes)

    def peak(sigma: float) -> float:
        """Return the peak's place, as a share of Nyquist, for a high-pass of sigma voxels; 0 without one."""
        gain = 1.0 - np.exp(-2.0 * (np.pi * sigma * 0.5 * frequency) ** 2) if math.isfinite(sigma) else 1.0
        total = float(np.sum(power * np.square(gain)))
        if total <= 0:
            return 0.0
        correlation = np.cumsum(amplitude * gain) / np.sqrt(total * np.cumsum(counts))
        place = _last_peak(correlation, chance)
        return float(frequency[place]) if place is not None and correlation[place] >= WEAKEST_PEAK else 0.0

    if peak(NARROWEST_SIGMA) == 0 and _still_falls(frequency, spectrum.power[usable]):
        return finest
    first = peak(math.inf)
    widest = max(2.0 / first if first > 0 else WIDEST_SIGMA, 2 * NARROWEST_SIGMA)
    narrowest, best = NARROWEST_SIGMA, first
    for _ in range(REFINEMENTS):
        sigmas = np.geomspace(widest, narrowest, HIGH_PASSES)
        places = [peak(float(sigma)) for sigma in sigmas]
        chosen = int(np.argmax(places))
        best = max(best, places[chosen])
        widest = float(sigmas[max(chosen - 1, 0)])
        narrowest = float(sigmas[min(chosen + 1, HIGH_PASSES - 1)])
    return finest / best if best > 0 else finest


def _still_falls(frequency: np.ndarray, power: np.ndarray) -> bool:
    """Tell whether the density falls as structure does in the last quarter below Nyquist: neither level nor steeply.

    Medians of its two halves, since single frequencies stand out: odd and even slices often differ in brightness.
    """
    middle = 0.5 * (LAST_QUARTER + 1.0)
    halves = [(frequency >= LAST_QUARTER) & (frequency < middle), frequency >= middle]
    if any(np.count_nonzero(half) < FEWEST_BINS // 2 for half in halves):
        return False
    before, after = (float(np.median(power[half])) for half in halves)
    step = math.log(float(np.median(frequency[halves[1]]) / np.median(frequency[halves[0]])))
    return after > 0 and STEEPEST_STRUCTURE < math.log(after / before) / step < FLATTEST_STRUCTURE


def _last_peak(correlation: np.ndarray, chance: np.ndarray) -> int | None:
    """Return where a curve has its largest value that is followed by a clear drop; None without one.

    Rises at the end of the curve are cut away until the largest value is not the last. A drop is clear when it exceeds
    the least drop and, as a share of the peak, what chance allows there.
    """
    end = correlation.size
    while end > 1:
        place = int(np.argmax(correlation[:end]))
        if place == 0:
            return None
        drop = correlation[place] - correlation[place:end].min()
        if drop >= max(LEAST_DROP, chance[place] * correlation[place]):
            return place
        end = place if place < end - 1 else end - 1
    return None
