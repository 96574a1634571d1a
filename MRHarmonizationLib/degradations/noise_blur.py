"""Noise and blur at a stated level on an image's own grid: what a short or coarse acquisition does to a good scan.

The grid stays, so a restorer trained on it needs no interpolation. Blur is a loss of resolution (zero-filled k-space,
or a Gaussian point spread as of motion and relaxation); noise is that of the receiver: complex, coloured by the
k-space window, stronger where parallel imaging unfolds, and Rician in the magnitude.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.intensity import fit_intensity_scale
from MRHarmonizationLib.degradations.base import DEGRADATIONS, build_parameters
from MRHarmonizationLib.degradations.bias_field import BiasFieldParameters, bias_field, sample_bias_field
from MRHarmonizationLib.degradations.encoding import taper_window
from MRHarmonizationLib.degradations.noise import rician_magnitude
from MRHarmonizationLib.volumes.volume import Volume

#: Gain of the squared frequency that makes a Gaussian point spread of resolution 2 pass half of the signal at half
#: the Nyquist frequency, to 6 %.
GAUSSIAN_GAIN = 1.2
#: Coarsest resolution that can be asked for, in voxels.
COARSEST = 8.0
#: Ranges of the random draw: resolution in voxels, noise in % of the intensity range.
RESOLUTION_RANGE, NOISE_RANGE = (1.15, 3.5), (0.4, 15.0)


@dataclass(frozen=True)
class NoiseBlurParameters:
    """How much worse a scan is made.

    Attributes
    ----------
    resolution_voxels : tuple of three floats
        Resolution along the array axes (K, J, I), as the wavelength over two voxels of the frequency of which half
        passes: 1 keeps the image, 2 halves what it resolves.
    profile : {'gaussian', 'kspace'}
        Gaussian point spread, or a tapered crop of k-space filled with zeros.
    taper : float in [0, 1]
        Of the crop: 0 sharp (with Gibbs ringing), 1 a Hann window.
    noise_percent : float
        Standard deviation of the noise per channel, in percent of the image's intensity range (0.5 to 99.5 percentile).
    noise_resolution_voxels : tuple of three floats
        Resolution of the noise along the array axes: 1 white, 2 as of a scan that was interpolated to twice its matrix.
    noise_taper : float
        Of the window of the noise.
    gain : BiasFieldParameters or None
        Map of relative noise (the g-factor of parallel imaging); None keeps the noise the same everywhere.
    rician : bool
        Magnitude of complex noise; otherwise noise is added.
    seed : int
        Of the noise.
    """

    resolution_voxels: tuple[float, float, float] = (1.0, 1.0, 1.0)
    profile: str = "kspace"
    taper: float = 0.5
    noise_percent: float = 5.0
    noise_resolution_voxels: tuple[float, float, float] = (1.0, 1.0, 1.0)
    noise_taper: float = 0.0
    gain: BiasFieldParameters | None = None
    rician: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("resolution_voxels", "noise_resolution_voxels"):
            value = getattr(self, name)
            if len(value) != 3 or not all(1.0 <= v <= COARSEST for v in value):
                raise ParameterError(f"{name} is {value}", f"give three numbers from 1 to {COARSEST:g}, in voxels")
        if self.profile not in ("gaussian", "kspace"):
            raise ParameterError(f"profile '{self.profile}' is unknown", "choose 'gaussian' or 'kspace'")
        for name in ("taper", "noise_taper"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ParameterError(f"{name} is {getattr(self, name)}", "give a number from 0 to 1")
        if not 0.0 <= self.noise_percent < 1000.0:
            raise ParameterError(f"noise is {self.noise_percent} %", "give a percentage of the intensity range")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {
            "resolution_voxels": list(self.resolution_voxels),
            "noise_resolution_voxels": list(self.noise_resolution_voxels),
            "gain": self.gain.to_dict() if self.gain else None,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> NoiseBlurParameters:
        """Build from :meth:`to_dict`."""
        ready = dict(values)
        if ready.get("gain") is not None:
            ready["gain"] = BiasFieldParameters.from_dict(ready["gain"])
        return build_parameters(cls, ready)


def pass_band(size: int, resolution: float, profile: str, taper: float) -> np.ndarray:
    """Return how much of each cosine of an axis passes: half of it at 1 / resolution of the Nyquist frequency.

    Parameters
    ----------
    size : int
        Voxels along the axis.
    resolution : float
        In voxels; 1 passes everything.
    profile : {'gaussian', 'kspace'}
    taper : float
        Of 'kspace'.

    Returns
    -------
    ndarray, float32, shape (size,)
    """
    frequency = np.arange(size) / max(size, 1)
    if resolution <= 1.0 and (profile == "gaussian" or taper == 0.0):
        return np.ones(size, np.float32)
    if profile == "gaussian":
        passed = np.exp(-np.log(2.0) * GAUSSIAN_GAIN * (resolution**2 - 1.0) * frequency**2)
    else:
        passed = taper_window(frequency * resolution * (1.0 - 0.5 * taper), taper)
    return np.asarray(passed, np.float32)


def blur(
    array: np.ndarray, resolution_voxels: tuple[float, float, float], profile: str = "kspace", taper: float = 0.5
) -> np.ndarray:
    """Return an image (K, J, I) of lower resolution on the same grid, float32; it goes on as its mirror image.

    Axes whose resolution is 1 stay as they are.
    """
    from scipy.fft import dct, idct

    result = array.astype(np.float32)
    for axis, resolution in enumerate(resolution_voxels):
        if resolution <= 1.0 or array.shape[axis] < 2:
            continue
        passed = pass_band(array.shape[axis], resolution, profile, taper)
        spectrum = dct(result, axis=axis, norm="ortho")
        spectrum *= passed.reshape([-1 if a == axis else 1 for a in range(3)])
        result = idct(spectrum, axis=axis, norm="ortho")
    return np.asarray(result, np.float32)


def unit_noise(
    rng: np.random.Generator, shape: tuple[int, ...], resolution_voxels: tuple[float, float, float], taper: float = 0.0
) -> np.ndarray:
    """Draw Gaussian noise of unit variance and a stated resolution, float32, shape (K, J, I)."""
    from scipy.fft import idct

    noise = rng.standard_normal(shape, dtype=np.float32)
    for axis, resolution in enumerate(resolution_voxels):
        if (resolution <= 1.0 and taper == 0.0) or shape[axis] < 2:
            continue
        passed = pass_band(shape[axis], resolution, "kspace", taper)
        # the cosine transform of white noise is white noise: colouring starts there
        noise = noise * passed.reshape([-1 if a == axis else 1 for a in range(3)])
        noise = idct(noise, axis=axis, norm="ortho") / np.float32(np.sqrt(np.mean(passed**2)))
    return np.asarray(noise, np.float32)


def noise_deviation(shape: tuple[int, ...], sigma: float, gain: BiasFieldParameters | None) -> np.ndarray:
    """Return the standard deviation of the noise per channel at every voxel, float32, shape (K, J, I)."""
    return np.full(shape, sigma, np.float32) if gain is None else np.float32(sigma) * bias_field(shape, gain)


def add_noise(array: np.ndarray, deviation: np.ndarray, parameters: NoiseBlurParameters) -> np.ndarray:
    """Return an image (K, J, I) with noise of the given deviation (same shape) added, float32."""
    rng = np.random.default_rng(parameters.seed)
    drawn = (parameters.noise_resolution_voxels, parameters.noise_taper)
    real = deviation * unit_noise(rng, array.shape, *drawn)
    if not parameters.rician:
        return np.asarray(array + real, np.float32)
    return rician_magnitude(array, real, deviation * unit_noise(rng, array.shape, *drawn))


def sample_noise_blur(
    rng: np.random.Generator, axes: tuple[int, ...] = (0, 1, 2), clear: float = 0.25
) -> NoiseBlurParameters:
    """Draw parameters.

    Parameters
    ----------
    rng : numpy Generator
    axes : tuple of int
        Array axes that may lose resolution: the others hold slices acquired one by one.
    clear : float
        Share of draws without blur, and half of it without noise.
    """
    profile = "gaussian" if rng.random() < 0.5 else "kspace"
    low, high = RESOLUTION_RANGE
    common = float(np.exp(rng.uniform(np.log(low), np.log(high))))
    resolution = [1.0, 1.0, 1.0]
    if rng.random() >= clear:
        for axis in axes:
            resolution[axis] = float(np.clip(common * np.exp(rng.normal(0.0, 0.1)), 1.0, COARSEST))
    sharpest, noisiest = NOISE_RANGE
    percent = float(np.exp(rng.uniform(np.log(sharpest), np.log(noisiest))))
    colour, noise_resolution, noise_taper = rng.random(), [1.0, 1.0, 1.0], 0.0
    if colour < 0.2:
        noise_taper = float(rng.uniform(0.3, 1.0))
    elif colour < 0.4:
        zero_filled = float(rng.uniform(1.1, 2.1))
        noise_resolution = [zero_filled if axis in axes else 1.0 for axis in range(3)]
        noise_taper = float(rng.uniform(0.0, 0.6))
    elif colour < 0.6 and profile == "kspace":
        noise_resolution = list(resolution)  # signal and noise come through the same window
    return NoiseBlurParameters(
        resolution_voxels=(resolution[0], resolution[1], resolution[2]),
        profile=profile,
        taper=float(rng.uniform(0.0, 1.0)),
        noise_percent=0.0 if rng.random() < 0.5 * clear else percent,
        noise_resolution_voxels=(noise_resolution[0], noise_resolution[1], noise_resolution[2]),
        noise_taper=noise_taper,
        gain=sample_bias_field(rng, float(rng.uniform(0.1, 0.6))) if rng.random() < 0.5 else None,
        rician=bool(rng.random() < 0.8),
        seed=int(rng.integers(2**31)),
    )


@DEGRADATIONS.register("noise-blur")
class NoiseBlur:
    """A noisier and blurrier scan on the same grid."""

    @staticmethod
    def sample(rng: np.random.Generator, volume: Volume) -> NoiseBlurParameters:
        """Draw noise and blur; slices much thicker than the pixels keep their profile."""
        spacing = volume.grid.spacing_mm[::-1]
        fine = tuple(axis for axis in range(3) if spacing[axis] < 1.5 * float(np.min(spacing)))
        return sample_noise_blur(rng, fine)

    @staticmethod
    def apply(volume: Volume, parameters: NoiseBlurParameters) -> Volume:
        """Return the degraded scan, float32, same grid.

        Raises
        ------
        InputError
            The image is constant: there is no range that the noise could be a part of.
        """
        array = volume.array.astype(np.float32)
        sigma = 0.01 * parameters.noise_percent * fit_intensity_scale(array).scale
        degraded = blur(array, parameters.resolution_voxels, parameters.profile, parameters.taper)
        if parameters.noise_percent > 0:
            deviation = noise_deviation(array.shape, sigma, parameters.gain)
            degraded = add_noise(degraded, deviation, parameters)
        return volume.with_array(degraded)

    @staticmethod
    def parameters_from_dict(values: Mapping[str, Any]) -> NoiseBlurParameters:
        """Build parameters from their dictionary."""
        return NoiseBlurParameters.from_dict(values)
