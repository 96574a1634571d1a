"""What the contrast protocol holds against each other: images as they are, classical harmonisers, learned ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import MRHarmonizationLib.inference.harmonize  # noqa: F401  (makes learned harmonisers known)
from MRHarmonizationLib.evaluation.contrast_protocol import ContrastProtocol
from MRHarmonizationLib.evaluation.contrast_variation import RAW
from MRHarmonizationLib.inference.standardiser import TASK
from MRHarmonizationLib.methods.harmonizers import HARMONIZERS, FittedHarmonizer
from MRHarmonizationLib.methods.reference_group import ReferenceGroup
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.store import list_models

#: Altered images in the units the alteration left them in.
UNSCALED = "unscaled"
CONTROL, CLASSICAL, LEARNED = "control", "classical", "learned"
#: Parameter by which a learned harmoniser is told its model card.
MODEL_PARAMETER = "model"
#: How raw images come to the reference's units: air to 0, their own 99th percentile to the reference's.
RAW_SCALING = "percentile"


@dataclass(frozen=True)
class Contestant:
    """One row of the tables; fit for pickling.

    Attributes
    ----------
    name : str
        In tables; unique.
    kind : {'control', 'classical', 'learned'}
    harmonizer : str or None
        Name in the registry; None leaves images as they are.
    parameters : mapping
        Of the harmoniser.
    """

    name: str
    kind: str
    harmonizer: str | None
    parameters: Mapping[str, Any] = field(default_factory=dict)

    def fit(self, group: ReferenceGroup) -> FittedHarmonizer | None:
        """Return the fitted harmoniser; None where images are left as they are.

        Raises
        ------
        ModelNotFoundError, WeightsError
            A learned harmoniser lacks its model.
        """
        if self.harmonizer is None:
            return None
        return HARMONIZERS.get(self.harmonizer).fit(group, **self.parameters)


def apply_fitted(fitted: FittedHarmonizer | None, volume: Volume) -> Volume:
    """Return the harmonised volume; the volume itself, as float32, where nothing was fitted."""
    return volume.with_array(volume.array.astype("float32")) if fitted is None else fitted.apply(volume)


def contestants(protocol: ContrastProtocol, models: Sequence[str] | None) -> tuple[Contestant, ...]:
    """Return everything that the protocol holds against each other, controls first, learned ones last.

    Parameters
    ----------
    protocol : ContrastProtocol
        Its ``methods`` (all harmonisers when empty) and ``models``.
    models : sequence of str, optional
        Model cards in place of the protocol's; empty leaves learned harmonisers out.

    Raises
    ------
    ParameterError
        Unknown method, naming the choices.
    """
    names = protocol.methods or tuple(HARMONIZERS.names())
    classical = [name for name in names if not is_learned(name)]
    found = [Contestant(UNSCALED, CONTROL, None), Contestant(RAW, CONTROL, RAW_SCALING)]
    found += [Contestant(name, CLASSICAL, name) for name in classical]
    cards = protocol.models if models is None else tuple(models)
    for name in names:
        if not is_learned(name):
            continue
        if HARMONIZERS.get(name).defaults[MODEL_PARAMETER]:  # has its own network
            if models is None or models:
                found.append(Contestant(name, LEARNED, name))
        elif cards:
            found += [Contestant(f"{name}:{card}", LEARNED, name, {MODEL_PARAMETER: card}) for card in cards]
        elif models is None and list_models(TASK):
            found.append(Contestant(name, LEARNED, name))
    return tuple(found)


def is_learned(name: str) -> bool:
    """Tell whether a harmoniser runs a trained model: it has a parameter that names one."""
    return MODEL_PARAMETER in HARMONIZERS.get(name).defaults
