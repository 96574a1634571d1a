"""From trained weights to published degraders, and from a recipe to the autoencoder it builds on."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from MRHarmonizationLib.core.errors import ModelNotFoundError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.latent_codec import LatentCodec
from MRHarmonizationLib.inference.latent_input import CELL, FACTOR, SCALES, TASK, TOLD
from MRHarmonizationLib.models import build_model
from MRHarmonizationLib.training.checkpoint import load_weights
from MRHarmonizationLib.training.export import write_onnx
from MRHarmonizationLib.training.latent_loop import train_latent
from MRHarmonizationLib.training.latent_recipe import AUTOENCODER, LatentRecipe, load_latent_recipe
from MRHarmonizationLib.volumes.files import write_json_atomic
from MRHarmonizationLib.weights.card import Card, read_card
from MRHarmonizationLib.weights.store import get_model

#: Part of a denoiser's run that the autoencoder takes, where it has to be trained first.
CODEC_PART = 0.2


def train_degrader(
    recipe: LatentRecipe,
    data: Path,
    out: Path,
    device: str = "auto",
    steps: int | None = None,
    workers: int = 1,
    progress: Progress | None = None,
    autoencoder_data: Path | None = None,
) -> tuple[Path, Path]:
    """Train and publish the network of a recipe; for a denoiser, its autoencoder first where there is none yet.

    Parameters
    ----------
    recipe, data, out, device, steps, workers, progress
        See :func:`~MRHarmonizationLib.training.latent_loop.train_latent`.
    autoencoder_data : Path, optional
        Folder of the images of the autoencoder, where ``data`` holds pairs.

    Returns
    -------
    (Path, Path)
        Weights and card, in ``out``; the autoencoder's lie beside them.
    """
    progress = progress or Progress()
    codec = None
    if recipe.stage != AUTOENCODER:
        shared = progress.part(0.0, CODEC_PART)
        card = find_autoencoder(recipe, out)
        if card is None:
            base = load_latent_recipe(recipe.autoencoder)
            images = data if autoencoder_data is None else autoencoder_data
            # all its steps, whatever is asked of the denoiser: a later run takes it as it is
            _, path = _trained(base, images, out / base.id, None, out, device, None, workers, shared)
            card = read_card(path)
        codec = LatentCodec(card, device="cpu")
        progress = progress.part(CODEC_PART, 1.0)
    return _trained(recipe, data, out, codec, out, device, steps, workers, progress)


def _trained(
    recipe: LatentRecipe,
    data: Path,
    work: Path,
    codec: LatentCodec | None,
    out: Path,
    device: str,
    steps: int | None,
    workers: int,
    progress: Progress,
) -> tuple[Path, Path]:
    best = train_latent(recipe, data, work, codec, device, steps, workers, progress)
    return publish_latent(recipe, best, out, codec.card if codec else None)


def find_autoencoder(recipe: LatentRecipe, out: Path) -> Card | None:
    """Return the card of a denoiser's trained autoencoder, in ``out`` or installed; None if there is none.

    One that was trained with another version of its recipe does not count.
    """
    base = load_latent_recipe(recipe.autoencoder)
    found = []
    if (out / f"{base.id}.json").is_file():
        found.append(read_card(out / f"{base.id}.json"))
    with contextlib.suppress(ModelNotFoundError):
        found.append(get_model(base.id))
    return next((card for card in found if card.recipe_sha256 == base.digest.removeprefix("sha256:")), None)


def publish_latent(
    recipe: LatentRecipe,
    checkpoint: Path,
    folder: Path,
    autoencoder: Card | None = None,
    scores: Mapping[str, Any] | None = None,
) -> tuple[Path, Path]:
    """Write ``<id>.onnx`` and ``<id>.json`` of trained weights; the folder then serves as MRHARMONIZATION_WEIGHTS.

    Parameters
    ----------
    recipe : LatentRecipe
    checkpoint : Path
        Averaged weights, ``best.pt``.
    folder : Path
    autoencoder : Card, optional
        That a denoiser was trained with; its id and digest go into the card.
    scores : mapping, optional

    Returns
    -------
    (Path, Path)
        Weights and card.

    Raises
    ------
    DependencyError
        If the package onnx is missing.
    WeightsError
        The checkpoint is not this network's, or onnxruntime disagrees with torch.
    """
    network: Any = load_weights(build_model(recipe.architecture, recipe.architecture_parameters), checkpoint)
    count, step = int(network.channels), int(network.stride)
    if recipe.stage == AUTOENCODER:
        channels = [*(f"pixel_{n}" for n in range(CELL)), *(f"code_{n}" for n in range(count))]
        outputs = [*(f"code_{n}" for n in range(count)), *(f"pixel_{n}" for n in range(CELL))]
        extra: dict[str, Any] = {"factor": FACTOR}
    else:
        groups = ("noisy", "image", "guide")
        channels = [*(f"{group}_{n}" for group in groups for n in range(count)), "gain", *TOLD]
        outputs = [f"velocity_{n}" for n in range(count)]
        assert autoencoder is not None, "a denoiser's card names its autoencoder"
        extra = {
            "degrader": recipe.stage,
            "level_scale": SCALES[recipe.stage],
            "autoencoder": {"id": autoencoder.id, "sha256": autoencoder.weights.sha256},
            "schedule": {"kind": recipe.schedule.kind, "times": recipe.schedule.times},
            "code_scale": [float(value) for value in network.scale],
        }
    examples = [torch.rand((n, len(channels), a * step, b * step)) for n, a, b in ((2, 4, 6), (1, 7, 5))]
    axes = {0: "batch", 2: "rows", 3: "columns"}
    weights = write_onnx(network, examples, folder / f"{recipe.id}.onnx", ("given", "answer"), axes)
    content = weights.read_bytes()
    card = {
        "id": recipe.id,
        **recipe.card,
        "task": TASK,
        "file": weights.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "trained_on": [{"files": list(s.files), "licence": s.licence} for s in recipe.sources],
        "recipe": recipe.id,
        "recipe_sha256": recipe.digest.removeprefix("sha256:"),
        "architecture": {"name": recipe.architecture, "parameters": dict(recipe.architecture_parameters)},
        "input": {
            "layout": "planes-2.5d",
            "planes": 1,
            "orientation": "RAS",
            "spacing_mm": 1.0,
            "interpolation": "cubic",
            "channels": channels,
            "stride": step,
            "intensity": {"rule": "percentile", "lower": 0.0, "upper": 99.5},
            "halo": int(network.halo),
        },
        "output": {"residual": recipe.stage != AUTOENCODER, "channels": outputs},
        "scores": dict(scores or {}),
        **extra,
    }
    path = folder / f"{recipe.id}.json"
    write_json_atomic(json.loads(json.dumps(card)), path)
    return weights, path
