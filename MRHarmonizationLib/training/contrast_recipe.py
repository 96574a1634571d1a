"""Recipes of standardisers: everything their training needs, as one JSON file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.degradations.reference_look import LOOKS
from MRHarmonizationLib.training.contrast_samples import BOX
from MRHarmonizationLib.training.recipe import CONTRAST, RESTORATION, read_recipe


@dataclass(frozen=True)
class ContrastOptimisation:
    """How a standardiser is fitted.

    Attributes
    ----------
    steps, warmup_steps : int
        One head per step; cosine decay to 1 % of the learning rate.
    learning_rate, weight_decay, gradient_clip, ema_decay : float
    buffer, refresh_steps : int
        Heads kept in memory, and steps between replacements of the oldest.
    gradient_weight, tissue_weight : float
        Weights of the differences of gradients and of tissue means beside the Charbonnier term.
    charbonnier_epsilon : float
    replay : float
        Share of steps whose result is put back as a new input: what is standardised must stay as it is.
    validation_steps, validation_heads, patience : int
        Steps between validations, heads in each, and validations without a better one before training stops.
    """

    steps: int = 3000
    warmup_steps: int = 60
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    gradient_clip: float = 1.0
    ema_decay: float = 0.997
    buffer: int = 64
    refresh_steps: int = 3
    gradient_weight: float = 0.5
    tissue_weight: float = 1.0
    charbonnier_epsilon: float = 0.02
    replay: float = 0.06
    validation_steps: int = 200
    validation_heads: int = 16
    patience: int = 15

    def __post_init__(self) -> None:
        for name in ("steps", "buffer", "refresh_steps", "validation_steps", "validation_heads", "patience"):
            if getattr(self, name) < 1:
                raise ParameterError(f"{name} of the recipe is {getattr(self, name)}", "give at least 1")
        if not 0.0 <= self.replay < 1.0:
            raise ParameterError(f"replay of the recipe is {self.replay}", "give 0 to below 1")


@dataclass(frozen=True)
class ContrastRecipe:
    """A training run of a standardiser.

    Attributes
    ----------
    id : str
        Also the id of the published model.
    architecture_parameters : mapping
        Of the network ``tone_grid``, without ``in_channels``.
    labels, validation_labels : tuple of str
        Label maps below the data folder; no subject may be in both.
    contrasts : tuple of str
        That the network is taught, in the order of its input channels.
    references : mapping
        Contrast → id of the reference group whose look it has.
    landmarks : mapping
        Contrast → intensities of the look at Nyúl's percentiles; those of the shipped look where absent.
    held_out : tuple of str
        Families of alterations that training never shows.
    licence : str
        Of the label maps.
    box : three ints
        Voxels of 2 mm in which a head is placed; multiples of 16.
    seed : int
    optimisation : ContrastOptimisation
    card : mapping
        What only people can say of the model: title, version, summary, licence, limitations.
    digest : str
        ``sha256:<hex>`` of everything that shapes the weights.
    """

    id: str
    labels: tuple[str, ...]
    validation_labels: tuple[str, ...]
    contrasts: tuple[str, ...] = LOOKS
    references: Mapping[str, str] = field(default_factory=dict)
    landmarks: Mapping[str, Any] = field(default_factory=dict)
    architecture_parameters: Mapping[str, Any] = field(default_factory=dict)
    held_out: tuple[str, ...] = ("sequence", "fold")
    licence: str = ""
    box: tuple[int, int, int] = BOX
    seed: int = 0
    optimisation: ContrastOptimisation = field(default_factory=ContrastOptimisation)
    card: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    def __post_init__(self) -> None:
        shared = sorted(set(self.labels) & set(self.validation_labels))
        if shared:
            raise ParameterError(f"recipe '{self.id}' trains and validates on {shared}", "split by subject")
        if len(self.box) != 3 or any(n < 16 or n % 16 for n in self.box):
            raise ParameterError(f"box of recipe '{self.id}' is {self.box}", "give three multiples of 16")
        if not self.contrasts:
            raise ParameterError(f"recipe '{self.id}' names no contrast", "give one or more")

    def with_steps(self, steps: int) -> ContrastRecipe:
        """Return the recipe with another number of steps (and so another schedule and digest)."""
        changed = replace(self, optimisation=replace(self.optimisation, steps=steps))
        text = json.dumps([self.digest, steps])
        return replace(changed, digest=f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")


def load_contrast_recipe(name_or_path: str | Path = CONTRAST) -> ContrastRecipe:
    """Load the shipped recipe by name, or any by its path.

    Raises
    ------
    ParameterError
        Unknown name, unreadable file, unknown or missing keys, another kind of recipe.
    """
    values, digest = read_recipe(name_or_path)
    values["digest"] = digest
    if values.pop("kind", RESTORATION) != CONTRAST:
        raise ParameterError(f"recipe '{name_or_path}' trains no standardiser", f"use '{CONTRAST}', or a file like it")
    for key in ("labels", "validation_labels", "contrasts", "held_out", "box"):
        if key in values:
            values[key] = tuple(values[key])
    values["optimisation"] = build_parameters(ContrastOptimisation, values.get("optimisation", {}))
    return build_parameters(ContrastRecipe, values)
