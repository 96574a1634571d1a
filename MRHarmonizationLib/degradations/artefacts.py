"""Interference stripes and Nyquist ghosts on the measured grid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters


@dataclass(frozen=True)
class ArtefactParameters:
    """Artefacts of a measured image.

    Attributes
    ----------
    stripe_amplitude : float
        Amplitude of a sinusoidal interference, as a fraction of the mean foreground signal; 0 for none.
    stripe_frequency : tuple of three floats
        Cycles per voxel along the array axes.
    stripe_phase : float
        Radians.
    ghost_amplitude : float
        Amplitude of a copy shifted by half the field of view; 0 for none.
    ghost_axis : int
        Array axis of phase encoding.
    """

    stripe_amplitude: float = 0.0
    stripe_frequency: tuple[float, float, float] = (0.0, 0.25, 0.25)
    stripe_phase: float = 0.0
    ghost_amplitude: float = 0.0
    ghost_axis: int = 1

    def __post_init__(self) -> None:
        if self.ghost_axis not in (0, 1, 2):
            raise ParameterError(f"ghost axis {self.ghost_axis} is not 0, 1 or 2", "name an array axis")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ArtefactParameters:
        """Build from :meth:`to_dict`."""
        return build_parameters(cls, values)


def sample_artefacts(rng: np.random.Generator, probability: float = 0.1, slice_axis: int = 0) -> ArtefactParameters:
    """Draw artefacts; each kind is present with the given probability, in planes across ``slice_axis``."""
    in_plane = [axis for axis in range(3) if axis != slice_axis]
    frequency = rng.uniform(0.05, 0.45, 3)
    frequency[slice_axis] = 0.0
    return ArtefactParameters(
        stripe_amplitude=float(rng.uniform(0.01, 0.05)) if rng.random() < probability else 0.0,
        stripe_frequency=(float(frequency[0]), float(frequency[1]), float(frequency[2])),
        stripe_phase=float(rng.uniform(0, 2 * np.pi)),
        ghost_amplitude=float(rng.uniform(0.01, 0.05)) if rng.random() < probability else 0.0,
        ghost_axis=int(rng.choice(in_plane)),
    )


def apply_artefacts(signal: np.ndarray, parameters: ArtefactParameters, reference_level: float) -> np.ndarray:
    """Return the signal with stripes and ghost added, float32, same shape.

    Parameters
    ----------
    signal : ndarray, three-dimensional
        Real signal before noise.
    parameters : ArtefactParameters
    reference_level : float
        Mean foreground signal, to which amplitudes refer.
    """
    result: np.ndarray = signal.astype(np.float32)
    if parameters.ghost_amplitude:
        axis = parameters.ghost_axis
        result = result + np.float32(parameters.ghost_amplitude) * np.roll(signal, signal.shape[axis] // 2, axis)
    if parameters.stripe_amplitude:
        phase: np.ndarray = np.full((1, 1, 1), parameters.stripe_phase, np.float32)
        for axis, n in enumerate(signal.shape):
            along = np.arange(n, dtype=np.float32) * np.float32(2 * np.pi * parameters.stripe_frequency[axis])
            phase = phase + along.reshape([-1 if a == axis else 1 for a in range(3)])
        result = result + np.float32(parameters.stripe_amplitude * reference_level) * np.cos(phase)
    return np.asarray(result, np.float32)
