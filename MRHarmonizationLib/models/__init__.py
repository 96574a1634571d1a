"""Network architectures (torch), found by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.registry import Registry

if TYPE_CHECKING:
    from torch import nn

#: Architectures by name; the classes take keyword parameters that a card or recipe stores.
MODELS: Registry[type[nn.Module]] = Registry("network architecture", "MRHarmonizationLib.models")


def build_model(architecture: str, parameters: Mapping[str, Any]) -> nn.Module:
    """Build an untrained network.

    Parameters
    ----------
    architecture : str
        Name in :data:`MODELS`.
    parameters : mapping
        Keyword arguments of the architecture.

    Raises
    ------
    ParameterError
        Unknown architecture or parameters that it does not take.
    """
    kind = MODELS.get(architecture)
    try:
        return kind(**parameters)
    except TypeError as error:
        raise ParameterError(
            f"architecture '{architecture}' cannot be built with {dict(parameters)}: {error}"
        ) from error
