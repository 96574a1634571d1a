"""Publishing a trained segmentation: ONNX weights and a card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from MRHarmonizationLib.core.brain_regions import CLASS_NUMBERS
from MRHarmonizationLib.inference.region_input import CHANNELS
from MRHarmonizationLib.inference.segment import LAYOUT, TASK
from MRHarmonizationLib.training.checkpoint import load_weights
from MRHarmonizationLib.training.export import write_onnx
from MRHarmonizationLib.training.region_loop import build_region_network
from MRHarmonizationLib.training.region_recipe import RegionRecipe
from MRHarmonizationLib.training.region_samples import VOXEL_MM
from MRHarmonizationLib.volumes.files import write_json_atomic


def publish_regions(
    recipe: RegionRecipe, checkpoint: Path, folder: Path, scores: Mapping[str, Any] | None = None
) -> tuple[Path, Path]:
    """Write ``<id>.onnx`` and ``<id>.json``; the folder then serves as MRHARMONIZATION_WEIGHTS.

    Parameters
    ----------
    recipe : RegionRecipe
    checkpoint : Path
        Averaged weights.
    folder : Path
    scores : mapping, optional
        Measured figures for the card.

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
    network = build_region_network(recipe)
    load_weights(network, checkpoint)
    size = network.stride
    examples = [torch.rand((1, len(CHANNELS), *(size * n for n in sizes))) for sizes in ((2, 3, 2), (4, 2, 3))]
    axes = {2: "slices", 3: "rows", 4: "columns"}
    weights = write_onnx(network, examples, folder / f"{recipe.id}.onnx", ("scan", "probabilities"), axes)
    content = weights.read_bytes()
    card = {
        "id": recipe.id,
        **recipe.card,
        "task": TASK,
        "file": weights.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "trained_on": [{"files": list(recipe.labels), "licence": recipe.licence}],
        "recipe": recipe.id,
        "recipe_sha256": recipe.digest.removeprefix("sha256:"),
        "architecture": {"name": "region_unet", "parameters": dict(recipe.architecture_parameters)},
        "input": {
            "layout": LAYOUT,
            "planes": 1,
            "orientation": "RAS",
            "spacing_mm": VOXEL_MM,
            "interpolation": "cubic",
            "channels": list(CHANNELS),
            "stride": network.stride,
            "intensity": {"rule": "percentile", "lower": 0.5, "upper": 99.5},
            "halo": network.halo,
        },
        "output": {"residual": False, "channels": [str(number) for number in CLASS_NUMBERS]},
        "scores": dict(scores or {}),
    }
    path = folder / f"{recipe.id}.json"
    write_json_atomic(json.loads(json.dumps(card)), path)
    return weights, path
