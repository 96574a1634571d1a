"""Recipes of the latent-diffusion degraders: everything their training needs, as JSON files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.diffusion_schedule import DiffusionSchedule
from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.inference.latent_input import KINDS
from MRHarmonizationLib.training.pair_manifest import TRAIN, VALIDATION, read_manifest
from MRHarmonizationLib.training.recipe import DEGRADER, RESTORATION, Source, digest_of, read_recipe

#: Stage that trains the autoencoder; the others train the denoiser of a kind.
AUTOENCODER = "autoencoder"
STAGES = (AUTOENCODER, *KINDS)
#: Patches must be multiples of it: the autoencoder's factor times the denoiser's stride.
PATCH_STEP = 16


@dataclass(frozen=True)
class LatentOptimisation:
    """How a network is fitted.

    Attributes
    ----------
    steps, warmup_steps : int
        Cosine decay to 1 % of the learning rate.
    batch, patch : int
        Patches per step, and their edge in pixels, a multiple of 16.
    optimiser : {'adamw', 'muon'}
    learning_rate, weight_decay, gradient_clip, ema_decay : float
    buffer, refresh_steps : int
        Blocks of clean anatomy kept in memory, and steps between replacements of the oldest.
    kl_weight : float
        Of the divergence of the codes, per element (autoencoder).
    dropout, acquisition_dropout : float
        Shares of the patches of which the denoiser is told nothing, and of the others whose acquisition it is not told.
    validation_steps : int
        Steps between validations and checkpoints.
    """

    steps: int = 4000
    warmup_steps: int = 100
    batch: int = 16
    patch: int = 80
    optimiser: str = "muon"
    learning_rate: float = 1e-3
    weight_decay: float = 1e-3
    gradient_clip: float = 1.0
    ema_decay: float = 0.998
    buffer: int = 96
    refresh_steps: int = 6
    kl_weight: float = 1e-4
    dropout: float = 0.1
    acquisition_dropout: float = 0.1
    validation_steps: int = 200

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "buffer", "refresh_steps", "validation_steps"):
            if getattr(self, name) < 1:
                raise ParameterError(f"{name} of the recipe is {getattr(self, name)}", "give at least 1")
        if self.patch < PATCH_STEP or self.patch % PATCH_STEP:
            raise ParameterError(f"patch of the recipe is {self.patch}", f"give a multiple of {PATCH_STEP}")
        for name in ("dropout", "acquisition_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ParameterError(f"{name} of the recipe is {getattr(self, name)}", "give 0 to less than 1")


@dataclass(frozen=True)
class LatentRecipe:
    """A training run of one network of a degrader.

    Attributes
    ----------
    id : str
        Also the id of the published model.
    stage : {'autoencoder', 'noise', 'blur'}
    sources, validation : tuple of Source
        Clean anatomy, or prepared pairs; no subject may be in both.
    architecture_parameters : mapping
        Of ``kl_autoencoder`` or ``latent_denoiser``.
    autoencoder : str
        Recipe of the autoencoder that a denoiser works with, name or path.
    schedule : DiffusionSchedule
    block : int
        Edge of the blocks of anatomy in voxels.
    seed : int
    optimisation : LatentOptimisation
    card : mapping
        What only people can say of the model: title, version, summary, licence, domain, limitations.
    digest : str
        ``sha256:<hex>`` of everything that shapes the weights.
    """

    id: str
    stage: str
    sources: tuple[Source, ...]
    validation: tuple[Source, ...]
    architecture_parameters: Mapping[str, Any] = field(default_factory=dict)
    autoencoder: str = ""
    schedule: DiffusionSchedule = field(default_factory=DiffusionSchedule)
    block: int = 96
    seed: int = 57
    optimisation: LatentOptimisation = field(default_factory=LatentOptimisation)
    card: Mapping[str, Any] = field(default_factory=dict)
    digest: str = ""

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise ParameterError(f"stage '{self.stage}' is unknown", f"choose one of: {', '.join(STAGES)}")
        if (self.stage == AUTOENCODER) == bool(self.autoencoder):
            raise ParameterError(
                f"recipe '{self.id}' of stage '{self.stage}' names the autoencoder '{self.autoencoder}'",
                "name one for denoisers, and only there",
            )
        train = {f for s in self.sources for f in s.files}
        shared = sorted(train & {f for s in self.validation for f in s.files})
        if shared:
            raise ParameterError(f"recipe '{self.id}' trains and validates on {shared}", "split by subject")
        if not self.sources:
            raise ParameterError(f"recipe '{self.id}' names no images", "give some to train on")

    @property
    def is_prepared(self) -> bool:
        """Whether the sources are pairs that ``prepare-pairs`` wrote."""
        return any(s.kind == "pair" for s in self.sources)

    @property
    def architecture(self) -> str:
        """Name of the network."""
        return "kl_autoencoder" if self.stage == AUTOENCODER else "latent_denoiser"


def load_latent_recipe(name_or_path: str | Path) -> LatentRecipe:
    """Load a shipped recipe by name, or any by its path.

    Raises
    ------
    ParameterError
        Unknown name, unreadable file, unknown or missing keys, another kind of recipe.
    """
    values, digest = read_recipe(name_or_path)
    if values.pop("kind", RESTORATION) != DEGRADER:
        raise ParameterError(f"recipe '{name_or_path}' trains no degrader", f"use one of kind '{DEGRADER}'")
    for key in ("sources", "validation"):
        values[key] = tuple(build_parameters(Source, s) for s in values.get(key, ()))
    values["optimisation"] = build_parameters(LatentOptimisation, values.get("optimisation", {}))
    values["schedule"] = build_parameters(DiffusionSchedule, values.get("schedule", {}))
    return build_parameters(LatentRecipe, {**values, "digest": digest})


def with_real_pairs(recipe: LatentRecipe, folder: Path) -> LatentRecipe:
    """Return a denoiser's recipe that learns from prepared pairs of low- and high-quality scans.

    Parameters
    ----------
    recipe : LatentRecipe
    folder : Path
        Written by ``prepare-pairs``; takes the place of the data folder.

    Raises
    ------
    InputError
        No complete manifest, or no pair to train and to validate on.
    ParameterError
        The recipe trains the autoencoder, which needs no pairs.
    """
    if recipe.stage == AUTOENCODER:
        raise ParameterError(f"recipe '{recipe.id}' needs no pairs", "use --pairs with degrader-noise or degrader-blur")
    manifest = read_manifest(folder)

    def source(split: str) -> tuple[Source, ...]:
        files = tuple(e["folder"] for e in manifest["pairs"] if e["kind"] == "pair" and e["split"] == split)
        return (Source("pair", files, 1.0, licence="scans given by the user"),) if files else ()

    sources, validation = source(TRAIN), source(VALIDATION)
    if not sources or not validation:
        raise InputError(
            f"{folder} holds pairs of too few subjects to train and to validate on", "prepare pairs of at least two"
        )
    text = json.dumps([entry["files"] for entry in manifest["pairs"]], sort_keys=True)
    return replace(
        recipe,
        id=f"{recipe.id}-own",
        sources=sources,
        validation=validation,
        digest=digest_of(recipe.digest, text),
        card={**recipe.card, "title": f"{recipe.card.get('title', recipe.id)}, own scans"},
    )
