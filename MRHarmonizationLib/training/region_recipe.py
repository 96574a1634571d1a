"""Recipes of the segmentation of the brain: everything its training needs, as one JSON file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.training.recipe import REGIONS, RESTORATION, digest_of, read_recipe


@dataclass(frozen=True)
class RegionOptimisation:
    """How the network is fitted.

    Attributes
    ----------
    steps, warmup_steps : int
        Cosine decay to 1 % of the learning rate; one head a step.
    optimiser : {'adamw', 'muon'}
    learning_rate, weight_decay, gradient_clip, ema_decay : float
    shapes : tuple of (three ints, share)
        Sizes (K, J, I) in mm of the parts of heads, and how often they are drawn.
    buffer, refresh_steps : int
        Samples kept in memory, and steps between replacements of the oldest.
    dice_weight : float
        Of the overlap, beside a weight of 1 of the cross-entropy.
    validation_steps : int
        Steps between validations and checkpoints.
    """

    steps: int = 3000
    warmup_steps: int = 100
    optimiser: str = "muon"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    gradient_clip: float = 5.0
    ema_decay: float = 0.995
    shapes: tuple[tuple[tuple[int, int, int], float], ...] = (((128, 160, 128), 1.0),)
    buffer: int = 64
    refresh_steps: int = 2
    dice_weight: float = 1.0
    validation_steps: int = 100

    def __post_init__(self) -> None:
        for name in ("steps", "buffer", "refresh_steps", "validation_steps"):
            if getattr(self, name) < 1:
                raise ParameterError(f"{name} of the recipe is {getattr(self, name)}", "give at least 1")
        for shape, share in self.shapes:
            if len(shape) != 3 or min(shape) < 32 or not share > 0:
                raise ParameterError(
                    f"the recipe draws parts of {shape} mm with the share {share}", "give three sizes of at least 32"
                )


@dataclass(frozen=True)
class RegionRecipe:
    """A training run of the segmentation.

    Attributes
    ----------
    id : str
        Also the id of the published model.
    labels, validation_labels : tuple of str
        Label maps below the data folder; no subject may be in both.
    architecture_parameters : mapping
        Of the network ``region_unet``.
    general : float
        Share of the wide domain among scans with thick slices.
    seed : int
    licence : str
        Of the label maps.
    optimisation : RegionOptimisation
    card : mapping
        What only people can say of the model: title, version, summary, licence, limitations.
    digest : str
        ``sha256:<hex>`` of everything that shapes the weights.
    """

    id: str
    labels: tuple[str, ...]
    validation_labels: tuple[str, ...]
    architecture_parameters: Mapping[str, Any] = field(default_factory=dict)
    general: float = 0.3
    seed: int = 33
    licence: str = ""
    optimisation: RegionOptimisation = field(default_factory=RegionOptimisation)
    card: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    def __post_init__(self) -> None:
        shared = sorted(set(self.labels) & set(self.validation_labels))
        if shared:
            raise ParameterError(f"recipe '{self.id}' trains and validates on {shared}", "split by subject")
        if not self.labels or not self.validation_labels:
            raise ParameterError(f"recipe '{self.id}' names no label map", "give some to train and to validate on")

    def with_steps(self, steps: int) -> RegionRecipe:
        """Return the recipe with another number of steps (and so another schedule and digest)."""
        changed = replace(self, optimisation=replace(self.optimisation, steps=steps))
        return replace(changed, digest=digest_of(self.digest, str(steps)))


def load_region_recipe(name_or_path: str | Path) -> RegionRecipe:
    """Load a shipped recipe by name, or any by its path.

    Raises
    ------
    ParameterError
        Unknown name, unreadable file, unknown or missing keys, another kind of recipe.
    """
    values, digest = read_recipe(name_or_path)
    values["digest"] = digest
    if values.pop("kind", RESTORATION) != REGIONS:
        raise ParameterError(f"recipe '{name_or_path}' trains no segmentation", f"use one of kind '{REGIONS}'")
    for key in ("labels", "validation_labels"):
        if key in values:
            values[key] = tuple(values[key])
    optimisation = dict(values.get("optimisation", {}))
    if "shapes" in optimisation:
        optimisation["shapes"] = tuple(_shape(entry) for entry in optimisation["shapes"])
    values["optimisation"] = build_parameters(RegionOptimisation, optimisation)
    return build_parameters(RegionRecipe, values)


def _shape(entry: Any) -> tuple[tuple[int, int, int], float]:
    try:
        (slices, rows, columns), share = entry
        return (int(slices), int(rows), int(columns)), float(share)
    except (TypeError, ValueError) as error:
        raise ParameterError(f"'{entry}' is no part of a head", "give [[K, J, I], share]") from error
