"""Smooth receive and transmit inhomogeneity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters


@dataclass(frozen=True)
class BiasFieldParameters:
    """A smooth multiplicative field exp(Σ c · cos · cos · cos).

    Attributes
    ----------
    coefficients : tuple of float, 27 numbers
        Of products of the cosines of order 0–2 along the array axes (0, 1, 2), the last axis fastest.
        The constant is ignored: the field has mean log 0.
    """

    coefficients: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.coefficients) != 27:
            raise ParameterError(f"a bias field has 27 coefficients, got {len(self.coefficients)}", "give 27 numbers")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> BiasFieldParameters:
        """Build from :meth:`to_dict`."""
        return build_parameters(cls, values)


def sample_bias_field(rng: np.random.Generator, strength: float = 0.3) -> BiasFieldParameters:
    """Draw a field whose logarithm has a standard deviation of about ``strength`` over the field of view."""
    orders = np.add.outer(np.add.outer(np.arange(3), np.arange(3)), np.arange(3)).ravel()
    coefficients = rng.normal(0.0, strength, 27) / (1.0 + orders) ** 1.5
    coefficients[0] = 0.0
    return BiasFieldParameters(tuple(float(c) for c in coefficients))


def bias_field(shape: Sequence[int], parameters: BiasFieldParameters) -> np.ndarray:
    """Return the multiplicative field on an array shape, float32, positive."""
    field = np.asarray(parameters.coefficients, np.float32).reshape(3, 3, 3)
    field[0, 0, 0] = 0.0
    for axis, n in enumerate(shape):
        x = (np.arange(n) + 0.5) / n
        basis = np.stack([np.ones(n), np.cos(np.pi * x), np.cos(2 * np.pi * x)], axis=1).astype(np.float32)
        field = np.moveaxis(np.tensordot(basis, field, axes=(1, axis)), 0, axis)
    return np.asarray(np.exp(field), np.float32)


def apply_bias_field(array: np.ndarray, parameters: BiasFieldParameters) -> np.ndarray:
    """Return ``array`` times its bias field, float32, same shape; zero stays zero."""
    return np.asarray(array * bias_field(array.shape, parameters), np.float32)
