"""A scan measured with a coarser matrix: the outer part of k-space is never acquired, so voxels are larger.

The noise is that of the coarse measurement, before anyone interpolates it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.intensity import fit_intensity_scale
from MRHarmonizationLib.degradations.base import DEGRADATIONS, build_parameters
from MRHarmonizationLib.degradations.encoding import taper_window
from MRHarmonizationLib.degradations.noise import rician_magnitude
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

#: Largest factor by which voxels may grow, and the fewest voxels left along an axis that grows.
LARGEST_FACTOR, FEWEST_VOXELS = 8.0, 4
#: Ranges of the random draw: taper of the window, and noise in % of the intensity range (its logarithm is uniform).
TAPER_RANGE, NOISE_RANGE = (0.0, 0.7), (0.2, 2.0)
#: Factor of a random draw along the axes of the planes.
FACTOR = 2.0


@dataclass(frozen=True)
class CoarseMatrixParameters:
    """How coarse a scan is measured.

    Attributes
    ----------
    factors : tuple of three floats
        How many times larger voxels become along the array axes (K, J, I), 1 or more; made such that the matrix is a
        whole number.
    taper : float in [0, 1]
        Of the k-space window: 0 sharp (with Gibbs ringing), 1 a Hann window.
    noise_percent : float
        Standard deviation of the Rician noise per channel, in percent of the image's intensity range.
    seed : int
        Of the noise.
    """

    factors: tuple[float, float, float] = (1.0, FACTOR, FACTOR)
    taper: float = 0.3
    noise_percent: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.factors) != 3 or not all(1.0 <= f <= LARGEST_FACTOR for f in self.factors):
            raise ParameterError(f"factors are {self.factors}", f"give three numbers from 1 to {LARGEST_FACTOR:g}")
        if not 0.0 <= self.taper <= 1.0:
            raise ParameterError(f"taper is {self.taper}", "give a number from 0 to 1")
        if not 0.0 <= self.noise_percent < 100.0:
            raise ParameterError(f"noise is {self.noise_percent} %", "give a percentage of the intensity range")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self) | {"factors": list(self.factors)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CoarseMatrixParameters:
        """Build from :meth:`to_dict`."""
        return build_parameters(cls, values)


def coarse_size(size: int, factor: float) -> int:
    """Return the voxels along an axis that are measured, at least :data:`FEWEST_VOXELS` of those there are."""
    return size if factor == 1.0 else max(round(size / factor), min(size, FEWEST_VOXELS))


def measure_coarse(array: np.ndarray, parameters: CoarseMatrixParameters) -> np.ndarray:
    """Return the coarse scan of an image without noise of its own, float32; the field of view stays.

    The cosine transform stands for that of the image and its mirror image, so nothing wraps around.

    Parameters
    ----------
    array : ndarray, shape (K, J, I)

    Raises
    ------
    InputError
        Noise is asked for, and the image is constant.
    """
    from scipy.fft import dct, idct

    result = np.asarray(array, np.float32)
    for axis, factor in enumerate(parameters.factors):
        size = array.shape[axis]
        kept = coarse_size(size, factor)
        if kept == size:
            continue
        spectrum = np.take(dct(result, axis=axis, norm="ortho"), np.arange(kept), axis)
        window = taper_window(np.arange(kept) / kept, parameters.taper) * np.sqrt(kept / size)
        spectrum = spectrum * window.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        result = np.asarray(idct(spectrum, axis=axis, norm="ortho"), np.float32)
    result = np.maximum(result, 0.0)
    if parameters.noise_percent > 0:
        sigma = np.float32(0.01 * parameters.noise_percent * fit_intensity_scale(array).scale)
        rng = np.random.default_rng(parameters.seed)
        real, imaginary = (sigma * rng.standard_normal(result.shape, dtype=np.float32) for _ in range(2))
        result = rician_magnitude(result, real, imaginary)
    return result


def sample_coarse_matrix(rng: np.random.Generator, slice_axis: int = 0) -> CoarseMatrixParameters:
    """Draw the measurement of planes with half their matrix; slices stay as thick as they are.

    Parameters
    ----------
    rng : numpy Generator
    slice_axis : int
        Array axis across the planes.
    """
    factors = [FACTOR, FACTOR, FACTOR]
    factors[slice_axis] = 1.0
    least, most = np.log(NOISE_RANGE)
    return CoarseMatrixParameters(
        (factors[0], factors[1], factors[2]),
        float(rng.uniform(*TAPER_RANGE)),
        float(np.exp(rng.uniform(least, most))),
        int(rng.integers(2**31)),
    )


def coarse_grid(grid: Grid, factors: tuple[float, float, float]) -> Grid:
    """Return the grid of a scan whose voxels are larger by ``factors`` (K, J, I): same field of view, same centre."""
    sizes = [coarse_size(n, f) for n, f in zip(grid.shape, factors, strict=True)]
    spacing = [float(s) * n / m for s, n, m in zip(grid.spacing_mm[::-1], grid.shape, sizes, strict=True)]
    return grid.with_spacing((spacing[2], spacing[1], spacing[0]))


@DEGRADATIONS.register("coarse-matrix")
class CoarseMatrix:
    """A scan with larger voxels within its planes."""

    @staticmethod
    def sample(rng: np.random.Generator, volume: Volume) -> CoarseMatrixParameters:
        """Draw a measurement with half the matrix; planes lie across the axis of the largest spacing."""
        return sample_coarse_matrix(rng, 2 - volume.grid.thick_axis)

    @staticmethod
    def apply(volume: Volume, parameters: CoarseMatrixParameters) -> Volume:
        """Return the coarse scan, float32, on its own grid.

        Raises
        ------
        InputError
            An axis to be coarsened is too short, or the image is constant and noise is asked for.
        """
        for size, factor in zip(volume.array.shape, parameters.factors, strict=True):
            if factor > 1.0 and round(size / factor) < FEWEST_VOXELS:
                raise InputError(
                    f"an axis of {size} voxels would keep {round(size / factor)}", f"keep {FEWEST_VOXELS} or more"
                )
        array = measure_coarse(volume.array.astype(np.float32), parameters)
        return Volume(array, coarse_grid(volume.grid, parameters.factors), volume.name, volume.metadata)

    @staticmethod
    def parameters_from_dict(values: Mapping[str, Any]) -> CoarseMatrixParameters:
        """Build parameters from their dictionary."""
        return CoarseMatrixParameters.from_dict(values)
