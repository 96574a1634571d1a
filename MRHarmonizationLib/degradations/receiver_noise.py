"""Noise of an accelerated acquisition, slice by slice: correlated, unevenly strong, Rician.

It is complex, coloured by what of k-space was measured, and magnified by the g-factor where parallel imaging unfolds.
It differs from ``noise-blur`` in that the image keeps its resolution, that partial Fourier sampling is simulated, and
that the g-factor follows from coils. It is what the latent-diffusion degrader of noise is taught with.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.intensity import fit_intensity_scale
from MRHarmonizationLib.degradations.base import DEGRADATIONS, build_parameters
from MRHarmonizationLib.degradations.coil_array import CoilArray, g_factor, sample_coil_array
from MRHarmonizationLib.degradations.encoding import taper_window
from MRHarmonizationLib.volumes.volume import Volume

#: Range of the random draw of noise, in % of the intensity range.
NOISE_RANGE = (0.5, 10.0)
#: Measured part of the highest frequencies along an axis that was zero-filled, and shares of the draw.
ZERO_FILLED, ZERO_FILLED_SHARE, PARTIAL_SHARE, TAPERED_SHARE, ACCELERATED_SHARE = (0.4, 0.95), 0.6, 0.35, 0.5, 0.6
#: Fractions of k-space that partial Fourier acquisitions measure.
PARTIAL_FOURIER = (0.625, 0.75, 0.875)


@dataclass(frozen=True)
class SamplingWindow:
    """What of the k-space of a plane was measured.

    Attributes
    ----------
    measured : tuple of two floats in (0, 1]
        Share of the frequencies up to Nyquist that were measured along rows and columns; the rest is zero-filled.
    taper : float in [0, 1]
        Tukey fraction of the filter over the measured part.
    partial_fourier : float in [0.5, 1]
        Measured part of the lines along ``partial_axis``; below 1 one side of k-space is missing.
    partial_axis : {0, 1}
    """

    measured: tuple[float, float] = (1.0, 1.0)
    taper: float = 0.0
    partial_fourier: float = 1.0
    partial_axis: int = 0

    def __post_init__(self) -> None:
        if len(self.measured) != 2 or not all(0.05 <= part <= 1.0 for part in self.measured):
            raise ParameterError(f"measured parts of k-space are {self.measured}", "give two numbers from 0.05 to 1")
        if not 0.0 <= self.taper <= 1.0 or not 0.5 <= self.partial_fourier <= 1.0 or self.partial_axis not in (0, 1):
            raise ParameterError(
                f"taper {self.taper}, partial Fourier {self.partial_fourier} along axis {self.partial_axis}",
                "give a taper from 0 to 1, a fraction from 0.5 to 1 and axis 0 or 1",
            )

    def weights(self, size: int, axis: int) -> np.ndarray:
        """Return the weights of the frequencies ``fftfreq(size)`` along an axis, float32, shape (size,)."""
        frequency = np.fft.fftfreq(size) * 2.0 / self.measured[axis]
        window = taper_window(frequency, self.taper)
        if self.partial_fourier < 1.0 and axis == self.partial_axis:
            window = np.where(frequency < 1.0 - 2.0 * self.partial_fourier, 0.0, window)
        return np.asarray(window, np.float32)

    def correlation(self, axis: int, size: int = 128) -> float:
        """Return the correlation of the noise of neighbours along an axis, 0 for white noise."""
        power = self.weights(size, axis) ** 2
        return float(np.sum(power * np.cos(2.0 * np.pi * np.fft.fftfreq(size))) / np.sum(power))


@dataclass(frozen=True)
class ReceiverNoiseParameters:
    """Noise of one scan.

    Attributes
    ----------
    noise_percent : float
        Standard deviation per channel in percent of the intensity range, root mean square over the plane.
    window : SamplingWindow
    coils : CoilArray or None
        None keeps the noise the same everywhere.
    slice_axis : {0, 1, 2}
        Array axis across the planes.
    seed : int
    """

    noise_percent: float = 5.0
    window: SamplingWindow = SamplingWindow()
    coils: CoilArray | None = None
    slice_axis: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 <= self.noise_percent < 1000.0:
            raise ParameterError(f"noise is {self.noise_percent} %", "give a percentage of the intensity range")
        if self.slice_axis not in (0, 1, 2):
            raise ParameterError(f"slice axis is {self.slice_axis}", "give 0, 1 or 2")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        window = {name: getattr(self.window, name) for name in SamplingWindow.__dataclass_fields__}
        return {
            "noise_percent": self.noise_percent,
            "window": window | {"measured": list(self.window.measured)},
            "coils": self.coils.to_dict() if self.coils else None,
            "slice_axis": self.slice_axis,
            "seed": self.seed,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ReceiverNoiseParameters:
        """Build from :meth:`to_dict`."""
        ready = dict(values)
        if "window" in ready:
            window = dict(ready["window"])
            if "measured" in window:
                window["measured"] = tuple(window["measured"])
            ready["window"] = build_parameters(SamplingWindow, window)
        if ready.get("coils") is not None:
            ready["coils"] = CoilArray.from_dict(ready["coils"])
        return build_parameters(cls, ready)


def sample_window(rng: np.random.Generator) -> SamplingWindow:
    """Draw how k-space was measured: zero-filled, filtered, partial, each for some scans."""
    measured = [1.0, 1.0]
    if rng.random() < ZERO_FILLED_SHARE:
        common = float(rng.uniform(*ZERO_FILLED))
        measured = [float(np.clip(common * np.exp(rng.normal(0.0, 0.12)), 0.35, 1.0)) for _ in range(2)]
    return SamplingWindow(
        (measured[0], measured[1]),
        float(rng.uniform(0.1, 1.0)) if rng.random() < TAPERED_SHARE else 0.0,
        float(rng.choice(PARTIAL_FOURIER)) if rng.random() < PARTIAL_SHARE else 1.0,
        int(rng.integers(2)),
    )


def relative_gain(shape: tuple[int, int, int], coils: CoilArray | None) -> np.ndarray:
    """Return the deviation of the noise relative to its root mean square over the volume, float32, slices first."""
    if coils is None:
        return np.ones(shape, np.float32)
    gain = g_factor(shape, coils)
    return np.asarray(gain / np.sqrt(np.mean(gain**2)), np.float32)


def complex_noise(rng: np.random.Generator, shape: tuple[int, int], window: SamplingWindow) -> np.ndarray:
    """Draw stationary complex noise of a plane, unit variance per channel, complex64."""
    white = rng.standard_normal((2, *shape), dtype=np.float32)
    power = np.outer(window.weights(shape[0], 0), window.weights(shape[1], 1))
    coloured = np.fft.ifft2(np.fft.fft2(white[0] + 1j * white[1]) * power)
    return np.asarray(coloured / np.sqrt(np.mean(power**2)), np.complex64)


def noisy_plane(
    rng: np.random.Generator, plane: np.ndarray, deviation: np.ndarray | float, window: SamplingWindow
) -> np.ndarray:
    """Return the magnitude of a plane with noise, float32.

    Parameters
    ----------
    rng : numpy Generator
    plane : ndarray, shape (A, B)
        Not negative.
    deviation : ndarray of the same shape, or float
        Standard deviation per channel, units of the plane.
    window : SamplingWindow
    """
    return np.asarray(
        np.abs(plane + deviation * complex_noise(rng, (plane.shape[0], plane.shape[1]), window)), np.float32
    )


def sample_receiver_noise(rng: np.random.Generator) -> ReceiverNoiseParameters:
    """Draw parameters."""
    low, high = NOISE_RANGE
    return ReceiverNoiseParameters(
        noise_percent=float(np.exp(rng.uniform(np.log(low), np.log(high)))),
        window=sample_window(rng),
        coils=sample_coil_array(rng) if rng.random() < ACCELERATED_SHARE else None,
        seed=int(rng.integers(2**31)),
    )


@DEGRADATIONS.register("receiver-noise")
class ReceiverNoise:
    """Correlated, unevenly strong, Rician noise of an accelerated acquisition."""

    @staticmethod
    def sample(rng: np.random.Generator, volume: Volume) -> ReceiverNoiseParameters:
        """Draw noise; planes lie across the axis with the largest spacing."""
        drawn = sample_receiver_noise(rng)
        axis = int(np.argmax(volume.grid.spacing_mm[::-1]))
        return ReceiverNoiseParameters(drawn.noise_percent, drawn.window, drawn.coils, axis, drawn.seed)

    @staticmethod
    def apply(volume: Volume, parameters: ReceiverNoiseParameters) -> Volume:
        """Return the noisy scan, float32, same grid.

        Raises
        ------
        InputError
            The image is constant: there is no range that the noise could be a part of.
        """
        array = np.moveaxis(volume.array.astype(np.float32), parameters.slice_axis, 0)
        if parameters.noise_percent == 0.0:
            return volume.with_array(volume.array.astype(np.float32))
        sigma = np.float32(0.01 * parameters.noise_percent * fit_intensity_scale(volume.array).scale)
        gain = relative_gain((array.shape[0], array.shape[1], array.shape[2]), parameters.coils)
        planes = [
            noisy_plane(np.random.default_rng((parameters.seed, n)), plane, sigma * gain[n], parameters.window)
            for n, plane in enumerate(array)
        ]
        return volume.with_array(np.ascontiguousarray(np.moveaxis(np.stack(planes), 0, parameters.slice_axis)))

    @staticmethod
    def parameters_from_dict(values: Mapping[str, Any]) -> ReceiverNoiseParameters:
        """Build parameters from their dictionary."""
        return ReceiverNoiseParameters.from_dict(values)
