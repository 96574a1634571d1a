"""Publishing a trained standardiser: ONNX weights and a card; and starting from published weights again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from MRHarmonizationLib.core.errors import DependencyError, WeightsError
from MRHarmonizationLib.core.local_tone import BIN_CENTRES, FEATURE_MM, FEATURES
from MRHarmonizationLib.degradations.reference_look import look_landmarks
from MRHarmonizationLib.inference.standardiser import LAYOUT, TASK
from MRHarmonizationLib.training.checkpoint import load_weights
from MRHarmonizationLib.training.contrast_loop import build_tone_grid
from MRHarmonizationLib.training.contrast_recipe import ContrastRecipe
from MRHarmonizationLib.training.export import write_onnx
from MRHarmonizationLib.training.recipe import CONTRAST
from MRHarmonizationLib.volumes.files import write_json_atomic

#: Cells of the input must be multiples of this.
STRIDE = 8


def publish_contrast(
    recipe: ContrastRecipe,
    checkpoint: Path,
    folder: Path,
    trained_on: tuple[Mapping[str, Any], ...],
    scores: Mapping[str, Any] | None = None,
) -> tuple[Path, Path]:
    """Write ``<id>.onnx`` and ``<id>.json`` of a trained standardiser.

    Parameters
    ----------
    recipe : ContrastRecipe
    checkpoint : Path
        Averaged weights, ``best.pt``.
    folder : Path
        Serves as MRHARMONIZATION_WEIGHTS afterwards.
    trained_on : tuple of mapping
        Files (or what they are) and their licence.
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
    card = {
        "id": recipe.id,
        **recipe.card,
        "task": TASK,
        "file": weights.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "trained_on": [dict(entry) for entry in trained_on],
        "recipe": CONTRAST,
        "recipe_sha256": recipe.digest.removeprefix("sha256:"),
        "references": {contrast: recipe.references.get(contrast, "") for contrast in recipe.contrasts},
        "landmarks": {contrast: _landmarks(recipe, contrast) for contrast in recipe.contrasts},
        "architecture": {"name": "tone_grid", "parameters": _parameters(recipe)},
        "input": {
            "layout": LAYOUT,
            "planes": 1,
            "orientation": "RAS",
            "spacing_mm": FEATURE_MM,
            "interpolation": "linear",
            "channels": [
                *(f"histogram_{centre:.1f}" for centre in BIN_CENTRES),
                *("mean", "deviation"),
                *(f"wanted_{contrast}" for contrast in recipe.contrasts),
            ],
            "stride": STRIDE,
            "intensity": {"rule": "case", "lower": 0.5, "upper": 99.0, "foreground": True},
        },
        "output": {"residual": False},
        "domain": {"modalities": list(recipe.contrasts), "body_part": "head"},
        "held_out_alterations": list(recipe.held_out),
        "scores": dict(scores or {}),
    }
    path = folder / f"{recipe.id}.json"
    write_json_atomic(json.loads(json.dumps(card)), path)
    return weights, path


def weights_of_onnx(path: Path) -> dict[str, torch.Tensor]:
    """Return the parameters stored in a published standardiser, by the names of the torch network.

    Raises
    ------
    DependencyError
        If the package onnx is missing.
    """
    onnx = _onnx()
    graph = onnx.load(str(path)).graph
    return {entry.name: torch.from_numpy(onnx.numpy_helper.to_array(entry).copy()) for entry in graph.initializer}


def start_of(path: Path, recipe: ContrastRecipe, folder: Path) -> Path:
    """Write the weights of a published standardiser as a torch file that training can start from.

    Raises
    ------
    WeightsError
        It is another network than the recipe's.
    """
    network = build_tone_grid(recipe)
    wanted = network.state_dict()
    found = {name: value for name, value in weights_of_onnx(path).items() if name in wanted}
    unlike = [name for name, value in wanted.items() if name not in found or found[name].shape != value.shape]
    if unlike:
        raise WeightsError(
            f"{path.name} lacks {len(unlike)} of {len(wanted)} parameters of the recipe's network, such as {unlike[0]}",
            "train without a start",
        )
    folder.mkdir(parents=True, exist_ok=True)
    destination = folder / "start.pt"
    torch.save(found, destination)
    return destination


def _landmarks(recipe: ContrastRecipe, contrast: str) -> list[float]:
    """Return the landmarks of a contrast that was taught; none for one that was not."""
    if not recipe.references.get(contrast):
        return []
    return [float(v) for v in recipe.landmarks.get(contrast) or look_landmarks(contrast)]


def _parameters(recipe: ContrastRecipe) -> dict[str, Any]:
    return {"in_channels": FEATURES + len(recipe.contrasts), **recipe.architecture_parameters}


def _onnx() -> Any:
    try:
        import onnx
        import onnx.numpy_helper
    except ImportError as error:
        raise DependencyError("exporting needs the package onnx", "pip install 'mrharmonization[torch]'") from error
    return onnx


def _export(recipe: ContrastRecipe, checkpoint: Path, destination: Path) -> Path:
    network = load_weights(build_tone_grid(recipe), checkpoint)
    channels = _parameters(recipe)["in_channels"]
    examples = [torch.rand((1, channels, *size)) for size in ((16, 24, 16), (32, 24, 40))]
    axes = {2: "rows", 3: "columns", 4: "slices"}
    return write_onnx(network, examples, destination, ("features", "coefficients"), axes, keep_names=True)
