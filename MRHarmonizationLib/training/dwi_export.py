"""Publishing a trained diffusion network: ONNX weights and a card that holds the tone."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from MRHarmonizationLib.core.guided_filters import PER_PASS
from MRHarmonizationLib.inference.dwi_network import CHANNELS, LAYOUT, TASK
from MRHarmonizationLib.inference.dwi_request import canonical_spacing_mm
from MRHarmonizationLib.training.checkpoint import load_weights
from MRHarmonizationLib.training.dwi_loop import build_filters
from MRHarmonizationLib.training.dwi_recipe import DwiRecipe
from MRHarmonizationLib.training.dwi_samples import UNIT
from MRHarmonizationLib.training.export import write_onnx
from MRHarmonizationLib.volumes.files import write_json_atomic

#: Voxels beside a tile that the network sees.
HALO = 24


def publish_dwi(
    recipe: DwiRecipe,
    checkpoint: Path,
    tone: Mapping[str, Any],
    folder: Path,
    scores: Mapping[str, Any] | None = None,
) -> tuple[Path, Path]:
    """Write ``<id>.onnx`` and ``<id>.json``; the folder then serves as MRHARMONIZATION_WEIGHTS.

    Parameters
    ----------
    recipe : DwiRecipe
    checkpoint : Path
        Averaged weights.
    tone : mapping
        What :func:`~MRHarmonizationLib.training.dwi_tone.fit_tone` returned.
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
    weights = _export(recipe, checkpoint, folder / f"{recipe.id}.onnx")
    content = weights.read_bytes()
    parameters = {
        "in_channels": len(CHANNELS),
        "out_channels": recipe.passes * PER_PASS,
        **recipe.architecture_parameters,
    }
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
        "architecture": {"name": "dwi_filters", "parameters": parameters},
        "input": {
            "layout": LAYOUT,
            "planes": 1,
            "orientation": "RAS",
            "spacing_mm": canonical_spacing_mm()[0],
            "interpolation": "cubic",
            "channels": list(CHANNELS),
            "stride": 2 ** (len(parameters.get("widths", (16, 32, 64))) - 1),
            "halo": HALO,
        },
        "output": {"residual": False},
        "domain": {
            "modalities": ["dwi"],
            "slice_spacing_mm": _taught(tone, "slice_spacing"),
            "inplane_mm": _taught(tone, "pixel_spacing"),
            "body_part": "head",
        },
        "target": recipe.target,
        "unit": UNIT,
        "tone": dict(tone),
        "scores": dict(scores or {}),
    }
    path = folder / f"{recipe.id}.json"
    write_json_atomic(json.loads(json.dumps(card)), path)
    return weights, path


def _taught(tone: Mapping[str, Any], name: str) -> list[float]:
    """Return the range of a feature in the scans that taught the tone."""
    place = list(tone["features"]).index(name)
    return [float(tone["lowest"][place]), float(tone["highest"][place])]


def _export(recipe: DwiRecipe, checkpoint: Path, destination: Path) -> Path:
    network = load_weights(build_filters(recipe), checkpoint)
    examples = [torch.rand((1, len(CHANNELS), *size)) for size in ((16, 24, 16), (32, 24, 40))]
    axes = {2: "slices", 3: "rows", 4: "columns"}
    return write_onnx(network, examples, destination, ("scan", "weights"), axes)
