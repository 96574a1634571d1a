"""A ring of receiver coils around the head, and how much parallel imaging raises the noise: the g-factor.

Voxels that an accelerated acquisition folds onto one another are told apart by how differently the coils see them;
where they see them alike, the noise grows.

Source: Pruessmann et al. (SENSE), Magn. Reson. Med. 42:952 (1999), equation 23.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters

#: Edge of the grid on which g-factors are computed (divisible by every acceleration), and of it along the slices.
COARSE, COARSE_SLICES = 48, 5
#: Accelerations that can be simulated.
ACCELERATIONS = (1, 2, 3, 4)
#: Largest g-factor that is drawn: scanners do not let worse protocols run.
LARGEST_GAIN = 4.0
#: Relative strength of what keeps the unfolding from failing where no coil sees anything.
REGULARISATION = 1e-4


@dataclass(frozen=True)
class CoilArray:
    """Coils on a ring, lengths relative to half the field of view.

    Attributes
    ----------
    coils : int
    radius : float
        Of the ring.
    width : float
        Distance over which a coil's sensitivity falls.
    turn : float
        Angle of the first coil, radians.
    centre : tuple of two floats
        Of the ring in the plane: heads do not lie in the middle.
    acceleration : {1, 2, 3, 4}
        Along the rows (axis 1 of slices-first arrays) or columns (axis 2); 1 measures everything.
    axis : {1, 2}
        Phase encoding.
    """

    coils: int = 8
    radius: float = 1.25
    width: float = 0.7
    turn: float = 0.0
    centre: tuple[float, float] = (0.0, 0.0)
    acceleration: int = 2
    axis: int = 1

    def __post_init__(self) -> None:
        if self.acceleration not in ACCELERATIONS or self.axis not in (1, 2):
            raise ParameterError(
                f"acceleration {self.acceleration} along axis {self.axis}", f"use one of {ACCELERATIONS}, axis 1 or 2"
            )
        if self.coils < self.acceleration or not (self.radius > 0 and self.width > 0):
            raise ParameterError(
                f"{self.coils} coils, radius {self.radius}, width {self.width}",
                "give at least as many coils as the acceleration, and positive lengths",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self) | {"centre": list(self.centre)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CoilArray:
        """Build from :meth:`to_dict`."""
        ready = dict(values)
        if "centre" in ready:
            ready["centre"] = tuple(ready["centre"])
        return build_parameters(cls, ready)


def sample_coil_array(rng: np.random.Generator) -> CoilArray:
    """Draw an array and an acceleration of 2 or 3."""
    return CoilArray(
        coils=int(rng.integers(8, 17)),
        radius=float(rng.uniform(1.1, 1.5)),
        width=float(rng.uniform(0.55, 0.85)),
        turn=float(rng.uniform(0.0, 2.0 * np.pi)),
        centre=(float(rng.normal(0.0, 0.1)), float(rng.normal(0.0, 0.1))),
        acceleration=int(rng.integers(2, 4)),
        axis=int(rng.integers(1, 3)),
    )


def sensitivities(parameters: CoilArray) -> np.ndarray:
    """Return complex coil sensitivities on the coarse grid, shape (coils, COARSE_SLICES, COARSE, COARSE)."""
    height, row, column = np.meshgrid(
        *[(np.arange(n) + 0.5) / n * 2.0 - 1.0 for n in (COARSE_SLICES, COARSE, COARSE)], indexing="ij"
    )
    angle = parameters.turn + 2.0 * np.pi * np.arange(parameters.coils) / parameters.coils
    # every second coil sits higher, so that the slices differ
    lift = np.where(np.arange(parameters.coils) % 2 == 0, -0.5, 0.5)
    found = []
    for turn, z in zip(angle, lift, strict=True):
        y = row - parameters.centre[0] - parameters.radius * np.sin(turn)
        x = column - parameters.centre[1] - parameters.radius * np.cos(turn)
        magnitude = (1.0 + (y**2 + x**2 + (height - z) ** 2) / parameters.width**2) ** -1.5
        found.append(magnitude * np.exp(1j * (np.arctan2(y, x) + 0.5 * turn)))
    return np.stack(found)


def coarse_gain(parameters: CoilArray) -> np.ndarray:
    """Return the g-factor on the coarse grid, float32, shape (COARSE_SLICES, COARSE, COARSE), at least 1."""
    maps = sensitivities(parameters)
    if parameters.acceleration == 1:
        return np.ones(maps.shape[1:], np.float32)
    seen = np.moveaxis(maps, 0, -1)  # slices, rows, columns, coils
    if parameters.axis == 1:
        seen = np.swapaxes(seen, 1, 2)
    slices, across, _, coils = seen.shape
    # voxels n, n + N/R, … fold onto one another
    folded = seen.reshape(slices, across, parameters.acceleration, COARSE // parameters.acceleration, coils)
    folded = np.moveaxis(folded, 2, -1)  # …, coils, aliases
    gram = np.conj(np.swapaxes(folded, -1, -2)) @ folded
    diagonal = np.real(np.einsum("...ii->...i", gram))
    damped = gram + np.eye(parameters.acceleration) * (REGULARISATION * diagonal.mean(axis=-1))[..., None, None]
    inverse = np.real(np.einsum("...ii->...i", np.linalg.inv(damped)))
    gain = np.moveaxis(np.sqrt(np.maximum(inverse * diagonal, 1.0)), -1, 2).reshape(slices, across, COARSE)
    gain = np.minimum(gain, LARGEST_GAIN)
    return np.asarray(np.swapaxes(gain, 1, 2) if parameters.axis == 1 else gain, np.float32)


def interpolated(coarse: np.ndarray, places: Sequence[np.ndarray]) -> np.ndarray:
    """Return a coarse map at places of the field of view, float32.

    Parameters
    ----------
    coarse : ndarray, shape (S, A, B)
    places : three ndarrays
        Along every axis, 0 and 1 being the ends of the field of view.
    """
    result = coarse
    for axis, place in enumerate(places):
        known = result.shape[axis]
        position = np.clip(np.asarray(place) * known - 0.5, 0, known - 1)
        low = np.minimum(position.astype(int), max(known - 2, 0))
        part = (position - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        high = np.minimum(low + 1, known - 1)
        result = np.take(result, low, axis) * (1.0 - part) + np.take(result, high, axis) * part
    return np.asarray(result, np.float32)


def g_factor(shape: tuple[int, int, int], parameters: CoilArray) -> np.ndarray:
    """Return the g-factor of every voxel, float32, slices first.

    Parameters
    ----------
    shape : (S, A, B)
    parameters : CoilArray

    Returns
    -------
    ndarray, shape (S, A, B), at least 1
    """
    return interpolated(coarse_gain(parameters), [(np.arange(size) + 0.5) / size for size in shape])
