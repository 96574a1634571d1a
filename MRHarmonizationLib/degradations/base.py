"""What a degradation is, and the registry of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol, TypeVar

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.registry import Registry
from MRHarmonizationLib.volumes.volume import Volume


class Parameters(Protocol):
    """Frozen record of every random draw of one degradation; JSON-ready."""

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary from which the same parameters can be built."""
        ...


class Degradation(Protocol):
    """A degradation: how to draw its parameters, and how to apply them.

    A kind that can use further volumes names them in an attribute ``companions`` and takes them by these names.
    """

    def sample(self, rng: np.random.Generator, volume: Volume, *further: Any, **companions: Any) -> Any:
        """Draw parameters for a volume."""
        ...

    def apply(self, volume: Volume, parameters: Any, *further: Any, **companions: Any) -> Volume:
        """Apply parameters; the same parameters give the same voxels."""
        ...

    def parameters_from_dict(self, values: Mapping[str, Any]) -> Any:
        """Build parameters from their dictionary; raise ParameterError naming unknown or missing keys."""
        ...


DEGRADATIONS: Registry[Degradation] = Registry("degradation", "MRHarmonizationLib.degradations")

P = TypeVar("P")


def build_parameters(kind: type[P], values: Mapping[str, Any]) -> P:
    """Build a parameter dataclass from a dictionary, refusing unknown and missing keys by name.

    Raises
    ------
    ParameterError
    """
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(values) - set(fields))
    missing = sorted(
        name
        for name, f in fields.items()
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    )
    if unknown or missing:
        raise ParameterError(
            f"parameters of {kind.__name__}: unknown {unknown or 'none'}, missing {missing or 'none'}",
            f"the keys are: {', '.join(fields)}",
        )
    ready = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    try:
        return kind(**ready)
    except (TypeError, ValueError) as error:
        if isinstance(error, ParameterError):
            raise
        raise ParameterError(
            f"parameters of {kind.__name__} {dict(values)} are not usable: {error}", "correct them"
        ) from error
