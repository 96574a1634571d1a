"""Recipes of diffusion networks: everything their training needs, as one JSON file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.training.recipe import DIFFUSION, RESTORATION, read_recipe


@dataclass(frozen=True)
class DwiOptimisation:
    """How the filters are learned.

    Attributes
    ----------
    steps, warmup_steps : int
        Cosine decay to 1 % of the learning rate.
    learning_rate, weight_decay, gradient_clip, ema_decay : float
    batch : int
        Crops of a step.
    crop : three ints
        Voxels; multiples of 2^(levels − 1).
    gradient_weight, charbonnier_epsilon : float
    validation_steps : int
        Steps between validations and checkpoints.
    """

    steps: int = 3000
    warmup_steps: int = 100
    learning_rate: float = 5e-4
    weight_decay: float = 1e-3
    gradient_clip: float = 0.5
    ema_decay: float = 0.995
    batch: int = 2
    crop: tuple[int, int, int] = (32, 48, 48)
    gradient_weight: float = 0.5
    charbonnier_epsilon: float = 0.02
    validation_steps: int = 200

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "validation_steps"):
            if getattr(self, name) < 1:
                raise ParameterError(f"{name} of the recipe is {getattr(self, name)}", "give at least 1")
        if len(self.crop) != 3 or min(self.crop) < 8:
            raise ParameterError(f"crop of the recipe is {self.crop}", "give three sizes of at least 8 voxels")


@dataclass(frozen=True)
class DwiRecipe:
    """A training run of a diffusion network.

    Attributes
    ----------
    id : str
        Also the id of the published model.
    labels, validation_labels : tuple of str
        Label maps below the data folder; no subject may be in both.
    target : str
        Id of the target: what the canonical scanner sees.
    samples, validation_samples : int
        Scans that are simulated.
    architecture_parameters : mapping
        Of the network ``dwi_filters``, without channels.
    passes : int
        Of the filters.
    seed : int
    licence : str
        Of the label maps.
    optimisation : DwiOptimisation
    card : mapping
        What only people can say of the model: title, version, summary, licence, limitations.
    digest : str
        ``sha256:<hex>`` of everything that shapes the weights.
    """

    id: str
    labels: tuple[str, ...]
    validation_labels: tuple[str, ...]
    target: str = "canonical"
    samples: int = 160
    validation_samples: int = 8
    architecture_parameters: Mapping[str, Any] = field(default_factory=dict)
    passes: int = 3
    seed: int = 5
    licence: str = ""
    optimisation: DwiOptimisation = field(default_factory=DwiOptimisation)
    card: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    def __post_init__(self) -> None:
        shared = sorted(set(self.labels) & set(self.validation_labels))
        if shared:
            raise ParameterError(f"recipe '{self.id}' trains and validates on {shared}", "split by subject")
        if not self.labels or not self.validation_labels:
            raise ParameterError(f"recipe '{self.id}' names no label map", "give some to train and to validate on")
        for name in ("samples", "validation_samples", "passes"):
            if getattr(self, name) < 1:
                raise ParameterError(f"{name} of recipe '{self.id}' is {getattr(self, name)}", "give at least 1")

    def with_steps(self, steps: int) -> DwiRecipe:
        """Return the recipe with another number of steps (and so another schedule and digest)."""
        changed = replace(self, optimisation=replace(self.optimisation, steps=steps))
        text = json.dumps([self.digest, steps])
        return replace(changed, digest=f"sha256:{hashlib.sha256(text.encode()).hexdigest()}")


def load_dwi_recipe(name_or_path: str | Path) -> DwiRecipe:
    """Load a shipped recipe by name, or any by its path.

    Raises
    ------
    ParameterError
        Unknown name, unreadable file, unknown or missing keys, another kind of recipe.
    """
    values, digest = read_recipe(name_or_path)
    values["digest"] = digest
    if values.pop("kind", RESTORATION) != DIFFUSION:
        raise ParameterError(f"recipe '{name_or_path}' trains no diffusion network", "use one of kind 'diffusion'")
    for key in ("labels", "validation_labels"):
        if key in values:
            values[key] = tuple(values[key])
    optimisation = dict(values.get("optimisation", {}))
    if "crop" in optimisation:
        optimisation["crop"] = tuple(optimisation["crop"])
    values["optimisation"] = build_parameters(DwiOptimisation, optimisation)
    return build_parameters(DwiRecipe, values)
