"""Checkpoints: written whole or not at all, and refused where they belong to another recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from MRHarmonizationLib.core.errors import InputError


def save_checkpoint(path: Path, recipe_digest: str, values: Mapping[str, Any]) -> None:
    """Write values (tensors, numbers, state dictionaries) with the digest of their recipe, atomically."""
    temporary = path.with_suffix(".part")
    torch.save({**values, "recipe": recipe_digest}, temporary)
    temporary.replace(path)


def load_checkpoint(path: Path, recipe_id: str, recipe_digest: str, device: torch.device) -> dict[str, Any]:
    """Return what :func:`save_checkpoint` wrote.

    Raises
    ------
    InputError
        It belongs to another version of the recipe.
    """
    values: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
    if values["recipe"] != recipe_digest:
        raise InputError(
            f"checkpoint {path.name} belongs to another version of recipe '{recipe_id}'",
            "train into another folder with --out",
        )
    return values
