"""Gains on the amplitudes of k-space, phases kept: where edges lie is encoded in the phase.

All frequencies are physical (cycles per mm), so that one set of parameters means the same on every grid.

Source: Oppenheim & Lim, Proc. IEEE 69:529 (1981), doi 10.1109/PROC.1981.12022, on the importance of the phase.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters

#: Radius within which the centre of k-space lies, cycles/mm (a tenth of the Nyquist frequency of 1 mm voxels).
CENTRE_CYCLES_PER_MM = 0.05
#: Limits of every gain: above 0, so that no phase is lost or turned.
LEAST_GAIN, LARGEST_GAIN = 0.1, 4.0
#: Relative half width of the smooth edge of a disc in k-space; a sharp one would ring.
EDGE_SHARE = 0.4


@dataclass(frozen=True)
class GainBand:
    """One Gaussian band of the radial gain 1 + Σ amplitude · exp(−(f − centre)² / 2 width²).

    Attributes
    ----------
    centre_cycles_per_mm, width_cycles_per_mm : float
    amplitude : float
        What the band adds to the gain; negative to weaken.
    """

    centre_cycles_per_mm: float
    width_cycles_per_mm: float
    amplitude: float

    def __post_init__(self) -> None:
        if not self.width_cycles_per_mm > 0:
            raise ParameterError(f"width of a gain band is {self.width_cycles_per_mm}", "give a positive width")


@dataclass(frozen=True)
class CentreGain:
    """Gain of the centre of k-space (without the zero frequency), with a smooth edge.

    Attributes
    ----------
    radius_cycles_per_mm : float
    gain : float
    """

    radius_cycles_per_mm: float
    gain: float

    def __post_init__(self) -> None:
        if not (self.radius_cycles_per_mm > 0 and LEAST_GAIN <= self.gain <= LARGEST_GAIN):
            raise ParameterError(
                f"centre gain {self.gain} within {self.radius_cycles_per_mm} cycles/mm",
                f"give a positive radius and a gain in [{LEAST_GAIN}, {LARGEST_GAIN}]",
            )


@dataclass(frozen=True)
class AmplitudeJitter:
    """Random gain of every sample, normal with mean 1 and deviation (2 α r)^γ + β, r the frequency in cycles/mm.

    Attributes
    ----------
    alpha, gamma, beta : float
        Not negative; γ positive.
    seed : int
    """

    alpha: float
    gamma: float
    beta: float
    seed: int

    def __post_init__(self) -> None:
        if min(self.alpha, self.beta) < 0 or not self.gamma > 0:
            raise ParameterError(
                f"amplitude jitter has alpha {self.alpha}, beta {self.beta}, gamma {self.gamma}",
                "give alpha and beta of at least 0 and a positive gamma",
            )


@dataclass(frozen=True)
class KSpaceFilter:
    """Gains of one alteration.

    Attributes
    ----------
    bands : tuple of GainBand
    centre : CentreGain or None
    dc_gain : float
        Of the zero frequency alone, which no other gain touches.
    jitter : AmplitudeJitter or None
    """

    bands: tuple[GainBand, ...] = ()
    centre: CentreGain | None = None
    dc_gain: float = 1.0
    jitter: AmplitudeJitter | None = None

    def __post_init__(self) -> None:
        if not LEAST_GAIN <= self.dc_gain <= LARGEST_GAIN:
            raise ParameterError(f"gain of the zero frequency is {self.dc_gain}", "give 0.1 to 4")

    @property
    def is_identity(self) -> bool:
        """Whether nothing is changed."""
        return not self.bands and self.centre is None and self.dc_gain == 1.0 and self.jitter is None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self) | {"bands": [asdict(band) for band in self.bands]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> KSpaceFilter:
        """Build from :meth:`to_dict`."""
        ready = dict(values)
        if "bands" in ready:
            ready["bands"] = [build_parameters(GainBand, band) for band in ready["bands"]]
        for name, kind in (("centre", CentreGain), ("jitter", AmplitudeJitter)):
            if ready.get(name) is not None:
                ready[name] = build_parameters(kind, ready[name])
        return build_parameters(cls, ready)


def half_frequencies(shape: Sequence[int], spacing_kji_mm: Sequence[float]) -> list[np.ndarray]:
    """Return the frequencies (cycles/mm, float32) along the axes of a real transform, shaped for broadcasting."""
    found = []
    for axis, (n, spacing) in enumerate(zip(shape, spacing_kji_mm, strict=True)):
        one = np.fft.rfftfreq(n, spacing) if axis == len(shape) - 1 else np.fft.fftfreq(n, spacing)
        found.append(one.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(len(shape))]))
    return found


def frequency_radius(shape: Sequence[int], spacing_kji_mm: Sequence[float]) -> np.ndarray:
    """Return |f| in cycles/mm of the samples of a real transform, float32, shape (K, J, I // 2 + 1)."""
    k, j, i = half_frequencies(shape, spacing_kji_mm)
    return np.asarray(np.sqrt(k * k + j * j + i * i), np.float32)


def smooth_disc(radius: np.ndarray, limit: float) -> np.ndarray:
    """Return 1 inside a disc, 0 outside, with a raised cosine in between; same shape, float32.

    Parameters
    ----------
    radius : ndarray
        Of each sample.
    limit : float
        Radius at which the weight is one half.
    """
    edge = np.clip((radius / np.float32(limit) - (1.0 - EDGE_SHARE)) / (2.0 * EDGE_SHARE), 0.0, 1.0)
    return np.asarray(0.5 * (1.0 + np.cos(np.pi * edge)), np.float32)


def radial_gain(radius: np.ndarray, parameters: KSpaceFilter) -> np.ndarray:
    """Return the gain at frequencies, without jitter and without the zero frequency's own; float32, same shape.

    Parameters
    ----------
    radius : ndarray
        |f| in cycles/mm, any shape.
    parameters : KSpaceFilter
    """
    gain: np.ndarray = np.ones(radius.shape, np.float32)
    for band in parameters.bands:
        distance = (radius - np.float32(band.centre_cycles_per_mm)) / np.float32(band.width_cycles_per_mm)
        gain += np.float32(band.amplitude) * np.exp(-0.5 * distance * distance)
    if parameters.centre is not None:
        disc = smooth_disc(radius, parameters.centre.radius_cycles_per_mm)
        gain *= 1.0 + np.float32(parameters.centre.gain - 1.0) * disc
    return np.asarray(np.clip(gain, LEAST_GAIN, LARGEST_GAIN), np.float32)


def jitter_gain(radius: np.ndarray, columns: int, jitter: AmplitudeJitter) -> np.ndarray:
    """Return the random gain of each sample, the same at f and −f; float32, shape of ``radius``.

    Parameters
    ----------
    radius : ndarray, shape (K, J, I // 2 + 1)
        |f| in cycles/mm.
    columns : int
        I, the image's last axis.
    jitter : AmplitudeJitter
    """
    deviation = (2.0 * jitter.alpha * radius) ** jitter.gamma + jitter.beta
    draws = np.random.default_rng(jitter.seed).standard_normal(radius.shape, dtype=np.float32)
    # The planes that a real transform stores with both signs of the frequency must be even, or the phase would turn;
    # the few samples that are their own opposite get 1.4 times the deviation.
    for plane in (0, columns // 2) if columns % 2 == 0 else (0,):
        both = draws[..., plane]
        opposite = np.roll(both[::-1, ::-1], 1, axis=(0, 1))
        draws[..., plane] = (both + opposite) * np.float32(0.5**0.5)
    return np.asarray(np.clip(1.0 + deviation * draws, LEAST_GAIN, LARGEST_GAIN), np.float32)


def filter_spectrum(spectrum: np.ndarray, radius: np.ndarray, columns: int, parameters: KSpaceFilter) -> np.ndarray:
    """Return a spectrum with its amplitudes changed and its phases kept.

    Parameters
    ----------
    spectrum : complex ndarray, shape (K, J, I // 2 + 1)
        ``rfftn`` of the image; not changed.
    radius : ndarray, same shape
        From :func:`frequency_radius`.
    columns : int
        I, the image's last axis.
    parameters : KSpaceFilter
    """
    gain = radial_gain(radius, parameters)
    if parameters.jitter is not None:
        gain = gain * jitter_gain(radius, columns, parameters.jitter)
    gain[0, 0, 0] = parameters.dc_gain
    return np.asarray(spectrum * gain)


def sample_filter(rng: np.random.Generator, families: Sequence[str], strength: float = 1.0) -> KSpaceFilter:
    """Draw gains.

    Parameters
    ----------
    rng : numpy Generator
    families : sequence of str
        Any of 'bands', 'centre', 'dc', 'jitter'.
    strength : float in [0, 1]
        Scales every gain's distance from 1.
    """
    bands: list[GainBand] = []
    if "bands" in families:
        for _ in range(int(rng.integers(1, 5))):
            width = float(np.exp(rng.uniform(np.log(0.01), np.log(0.12))))
            amplitude = float(rng.uniform(-0.6, 0.9)) * strength
            bands.append(GainBand(float(rng.uniform(0.01, 0.5)), width, amplitude))
    centre = None
    if "centre" in families:
        gain = 1.0 + strength * (float(rng.uniform(0.5, 2.0)) - 1.0)
        centre = CentreGain(float(rng.uniform(0.3, 1.0)) * CENTRE_CYCLES_PER_MM, gain)
    dc_gain = 1.0 + strength * (float(rng.uniform(0.85, 1.2)) - 1.0) if "dc" in families else 1.0
    jitter = None
    if "jitter" in families:
        jitter = AmplitudeJitter(
            alpha=float(rng.uniform(0.0, 0.3)) * strength,
            gamma=float(rng.uniform(1.0, 2.5)),
            beta=float(rng.uniform(0.0, 0.03)) * strength,
            seed=int(rng.integers(2**31)),
        )
    return KSpaceFilter(tuple(bands), centre, dc_gain, jitter)
