"""The methods of the low- to high-field protocol: classical ones, the foundation's model, the networks, the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from MRHarmonizationLib.core.errors import ModelNotFoundError, ParameterError
from MRHarmonizationLib.evaluation.lohires_protocol import LohiresProtocol
from MRHarmonizationLib.methods.base import METHODS
from MRHarmonizationLib.weights.card import Card
from MRHarmonizationLib.weights.store import get_model

CLASSICAL, FOUNDATION, NETWORK, REFERENCE = "classical", "foundation", "network", "reference"
#: The undegraded image as a method of its own, and the map the head was made of among segmentations.
TRUTH, LABEL_MAP = "truth", "label map"
#: Key of a card's scores that holds what training cost.
TRAINING = "training"


@dataclass(frozen=True)
class LohiresMethod:
    """A method, and what decides its results.

    Attributes
    ----------
    name : str
        In tables and file names: a classical method, a model, or 'truth'.
    kind : {'classical', 'foundation', 'network', 'reference'}
    weights : str
        SHA-256 of a model's weights; '' for other kinds.
    training : mapping
        ``steps``, ``minutes``, ``seed``, ``machine`` as the card tells them; empty where it does not.
    """

    name: str
    kind: str
    weights: str = ""
    training: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Contest:
    """Who takes part, and who could not.

    Attributes
    ----------
    methods : tuple of LohiresMethod
        Classical methods, models, truth.
    missing : mapping of str to str
        Network that is not installed → the command that trains it.
    """

    methods: tuple[LohiresMethod, ...]
    missing: Mapping[str, str]

    def named(self, name: str) -> LohiresMethod:
        """Return the method of that name."""
        return next(method for method in self.methods if method.name == name)

    def of_kind(self, *kinds: str) -> list[str]:
        """Return the names of the methods of some kinds."""
        return [method.name for method in self.methods if method.kind in kinds]


def contest(protocol: LohiresProtocol, models: Sequence[str] | None) -> Contest:
    """Return the methods of a protocol that can run here.

    Parameters
    ----------
    protocol : LohiresProtocol
    models : sequence of str, optional
        Models in place of the protocol's, which must all be there; empty for classical methods alone.

    Raises
    ------
    ModelNotFoundError
        A model that was named, or the foundation's, is not installed.
    ParameterError
        A model of another task or contrast, or an unknown method.
    """
    found = [LohiresMethod(name, CLASSICAL) for name in protocol.methods if METHODS.get(name)]
    missing = {}
    networks = {protocol.model_of(network): network for network in protocol.networks}
    if models is not None:
        found += [_model(name, FOUNDATION if name == protocol.foundation else NETWORK) for name in models]
    else:
        if protocol.foundation:
            found.append(_model(protocol.foundation, FOUNDATION))
        for name, network in networks.items():
            try:
                found.append(_model(name, NETWORK))
            except ModelNotFoundError:
                missing[name] = training_command(network, protocol.contrast)
    return Contest((*found, LohiresMethod(TRUTH, REFERENCE)), missing)


def training_command(network: str, contrast: str) -> str:
    """Return the command that trains a network for a contrast."""
    return f"mrharmonize train {network} --contrast {contrast} --out runs/{network}-{contrast}"


def training_rows(entered: Contest) -> list[dict[str, Any]]:
    """Return one row per model: what its training cost, or how to get it."""
    rows = []
    for method in entered.methods:
        if method.kind in (FOUNDATION, NETWORK):
            told = {key: method.training.get(key, "") for key in ("steps", "minutes", "seed", "machine")}
            rows.append({"model": method.name, "kind": method.kind, **told, "weights": method.weights[:12], "note": ""})
    for name, command in entered.missing.items():
        rows.append(
            dict.fromkeys(("steps", "minutes", "seed", "machine", "weights"), "") | {"note": f"train: {command}"}
        )
        rows[-1] = {"model": name, "kind": NETWORK, **rows[-1]}
    return rows


def budget_words(entered: Contest) -> str:
    """Return in words whether the networks were trained for equally many steps, and how long that took."""
    networks = [method for method in entered.methods if method.kind == NETWORK]
    told = [method.training for method in networks if method.training.get("steps")]
    if not networks:
        return "No network took part."
    if len(told) < len(networks):
        return f"The cards of {len(networks) - len(told)} of {len(networks)} networks do not tell what training cost."
    steps = sorted({int(training["steps"]) for training in told})
    minutes = [float(training["minutes"]) for training in told if training.get("minutes") not in (None, "")]
    spent = f", {min(minutes):.0f} to {max(minutes):.0f} minutes each" if minutes else ""
    if len(steps) == 1:
        return f"Same budget: all {len(networks)} networks were trained for {steps[0]} steps{spent}."
    return f"The budgets differ: the networks were trained for {steps[0]} to {steps[-1]} steps{spent}."


def _model(name: str, kind: str) -> LohiresMethod:
    card = get_model(name)
    if card.task != "enhance":
        raise ParameterError(f"model '{card.id}' is made for '{card.task}', not for 'enhance'", "choose another model")
    return LohiresMethod(card.id, kind, card.weights.sha256, _training(card))


def _training(card: Card) -> dict[str, Any]:
    told = card.scores.get(TRAINING)
    return dict(told) if isinstance(told, Mapping) else {}
