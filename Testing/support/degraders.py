"""Tiny untrained degraders with cards, and a recipe small enough to train one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from MRHarmonizationLib.training.latent_recipe import LatentOptimisation, LatentRecipe, load_latent_recipe
from MRHarmonizationLib.training.recipe import Source

CODEC = {"channels": 16, "features": 4, "blocks": 0}
DENOISER = {"channels": 16, "given": 33, "features": [8, 8], "blocks": 1, "told": 8}


def tiny_recipe(kind: str, steps: int = 8, **changes: Any) -> LatentRecipe:
    """Return a recipe of a kind that trains in seconds on what ``support.heads.write_heads`` wrote."""
    optimisation = LatentOptimisation(
        steps=steps, warmup_steps=2, batch=2, patch=32, buffer=3, refresh_steps=3, validation_steps=4
    )
    shipped = load_latent_recipe(f"degrader-{kind}")
    own = {
        "sources": (Source("labels", ("labelmaps/training_seg_01.nii.gz",), 1.0),),
        "validation": (Source("labels", ("labelmaps/training_seg_17.nii.gz",), 1.0),),
        "architecture_parameters": CODEC if kind == "autoencoder" else DENOISER,
        "block": 40,
        "optimisation": optimisation,
    }
    return replace(shipped, **{**own, **changes})


def write_tiny_degraders(folder: Path, seed: int = 0) -> Path:
    """Write an autoencoder and untrained denoisers of both kinds, whose answers depend on all they are given."""
    import torch

    from MRHarmonizationLib.models import build_model
    from MRHarmonizationLib.training.checkpoint import save_weights
    from MRHarmonizationLib.training.latent_export import publish_latent
    from MRHarmonizationLib.weights.card import read_card

    folder.mkdir(parents=True, exist_ok=True)
    card = None
    for stage in ("autoencoder", "noise", "blur"):
        recipe = tiny_recipe(stage)
        torch.manual_seed(seed)
        network = build_model(recipe.architecture, recipe.architecture_parameters)
        if stage != "autoencoder":
            torch.nn.init.normal_(network.head.weight, std=0.03)  # type: ignore[arg-type, union-attr]
        save_weights(folder / "weights.pt", network)
        _, path = publish_latent(recipe, folder / "weights.pt", folder, card)
        card = card or read_card(path)
    return folder
