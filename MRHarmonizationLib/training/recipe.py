"""Recipes: everything a training run needs, as one JSON file."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters

RECIPES = Path(__file__).parent / "recipes"
#: Kinds of recipes: networks that restore scans, and those that standardise their contrast.
RESTORATION, CONTRAST = "restoration", "contrast"


@dataclass(frozen=True)
class Source:
    """One kind of training images.

    Attributes
    ----------
    kind : {'labels', 'image'}
        Label maps turned into images, or real scans.
    files : tuple of str
        Paths relative to the data folder.
    weight : float
        Share of samples drawn from this source.
    in_plane_only : bool
        The scan has thick slices: only its planes hold 1 mm detail, so slices are simulated within them.
    licence : str
        Where the data come from and what allows their use.
    """

    kind: str
    files: tuple[str, ...]
    weight: float
    in_plane_only: bool = False
    licence: str = ""

    def __post_init__(self) -> None:
        if self.kind not in ("labels", "image"):
            raise ParameterError(f"source kind '{self.kind}' is unknown", "choose 'labels' or 'image'")
        if not self.files or not self.weight > 0:
            raise ParameterError(
                f"source has {len(self.files)} files and weight {self.weight}", "give files and a positive weight"
            )


@dataclass(frozen=True)
class Optimisation:
    """How the network is fitted.

    Attributes
    ----------
    steps, batch, patch : int
        Optimiser steps, patches per step, patch size in voxels along each trained axis.
    optimiser : {'adamw', 'muon'}
        Muon moves the convolutions, Adam the rest; see ``training/optimiser.py``.
    schedule : {'cosine', 'linear'}
        Cosine decay to 1 % of the learning rate; or a constant rate, then a linear decay to 1 % over the last
        ``decay_share`` of the steps.
    decay_share : float
        See ``schedule``.
    learning_rate, weight_decay, warmup_steps, gradient_clip : float
    ema_decay : float
        Of the averaged weights, which are what is validated and exported.
    buffer, refresh_steps : int
        Samples kept in memory, and steps between replacements of the oldest.
    ssim_weight, gradient_weight : float
        Weights of the loss terms beside the Charbonnier term.
    charbonnier_epsilon : float
        Errors below it count squared, above it linearly (normalised intensity).
    lesion_weight : float
        What a voxel of a drawn lesion counts, where others count 1: lesions are rare, and must not be smoothed away.
    """

    steps: int = 5000
    batch: int = 24
    patch: int = 96
    optimiser: str = "adamw"
    schedule: str = "cosine"
    decay_share: float = 0.8
    learning_rate: float = 8e-4
    weight_decay: float = 1e-3
    warmup_steps: int = 100
    gradient_clip: float = 1.0
    ema_decay: float = 0.998
    buffer: int = 96
    refresh_steps: int = 2
    ssim_weight: float = 0.05
    gradient_weight: float = 0.1
    charbonnier_epsilon: float = 0.02
    lesion_weight: float = 1.0

    def __post_init__(self) -> None:
        for name, value, known in (
            ("optimiser", self.optimiser, ("adamw", "muon")),
            ("schedule", self.schedule, ("cosine", "linear")),
        ):
            if value not in known:
                raise ParameterError(f"{name} '{value}' is unknown", f"choose one of: {', '.join(known)}")


@dataclass(frozen=True)
class Recipe:
    """A training run.

    Attributes
    ----------
    id : str
        Also the id of the published model.
    layout : {'planes-2.5d', 'volume-3d'}
    planes : int
        Planes per stack of the first layout.
    architecture, architecture_parameters
        Network and its keyword arguments.
    seed : int
        Seed of all draws.
    block : int
        Edge of the simulated blocks in voxels of 1 mm.
    sources, validation : tuple of Source
        Training and validation images; no subject may be in both.
    optimisation : Optimisation
    degradation : mapping
        Options of the sampler: ``general`` (share of the wide domain).
    card : mapping
        What only people can say of the model, for its card: title, version, summary, licence, domain, limitations.
    digest : str
        ``sha256:<hex>`` of everything in the recipe that shapes the weights.
    """

    id: str
    layout: str
    architecture: str
    architecture_parameters: Mapping[str, Any]
    sources: tuple[Source, ...]
    validation: tuple[Source, ...]
    planes: int = 5
    seed: int = 0
    block: int = 104
    optimisation: Optimisation = field(default_factory=Optimisation)
    degradation: Mapping[str, Any] = field(default_factory=dict)
    card: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    def __post_init__(self) -> None:
        if self.layout not in ("planes-2.5d", "volume-3d"):
            raise ParameterError(f"layout '{self.layout}' is unknown", "choose 'planes-2.5d' or 'volume-3d'")
        train = {f for s in self.sources for f in s.files}
        shared = sorted(train & {f for s in self.validation for f in s.files})
        if shared:
            raise ParameterError(f"recipe '{self.id}' trains and validates on {shared}", "split by subject")


def list_recipes(kind: str | None = RESTORATION) -> list[str]:
    """Return the names of the shipped recipes of a kind; of all kinds for None."""
    names = sorted(path.stem for path in RECIPES.glob("*.json"))
    return [name for name in names if kind is None or recipe_kind(name) == kind]


def recipe_kind(name_or_path: str | Path) -> str:
    """Return what a recipe trains, :data:`RESTORATION` or :data:`CONTRAST`; raises as :func:`read_recipe` does."""
    return str(read_recipe(name_or_path)[0].get("kind", RESTORATION))


def read_recipe(name_or_path: str | Path) -> tuple[dict[str, Any], str]:
    """Read a shipped recipe by name or any recipe by its path.

    Returns
    -------
    values : dict
        As the file holds them.
    digest : str
        ``sha256:<hex>`` of all of them but ``card``.

    Raises
    ------
    ParameterError
        Unknown name, unreadable file.
    """
    path = Path(name_or_path)
    if path.suffix != ".json":
        path = RECIPES / f"{name_or_path}.json"
    if not path.is_file():
        shipped = ", ".join(list_recipes(None))
        raise ParameterError(f"recipe '{name_or_path}' does not exist", f"shipped recipes: {shipped}; or a .json path")
    text = path.read_bytes()
    try:
        values = dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise ParameterError(f"recipe '{path}' is not a JSON object: {error}", "correct the file") from error
    shaping = json.dumps({k: v for k, v in values.items() if k != "card"}, sort_keys=True)
    return values, f"sha256:{hashlib.sha256(shaping.encode()).hexdigest()}"


def load_recipe(name_or_path: str | Path) -> Recipe:
    """Load a shipped recipe by name or any recipe by its path.

    Raises
    ------
    ParameterError
        Unknown name, unreadable file, unknown or missing keys, another kind of recipe.
    """
    values, digest = read_recipe(name_or_path)
    values["digest"] = digest
    if values.pop("kind", RESTORATION) != RESTORATION:
        raise ParameterError(f"recipe '{name_or_path}' trains no restoration network", "use `mrharmonize train`")
    for key in ("sources", "validation"):
        values[key] = tuple(build_parameters(Source, s) for s in values.get(key, ()))
    values["optimisation"] = build_parameters(Optimisation, values.get("optimisation", {}))
    return build_parameters(Recipe, values)
