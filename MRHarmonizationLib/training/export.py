"""From trained weights to a published model: ONNX file and card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from MRHarmonizationLib.core.errors import DependencyError, WeightsError
from MRHarmonizationLib.core.tiling import padded_size
from MRHarmonizationLib.inference.preparation import CONDITIONING_CHANNELS
from MRHarmonizationLib.inference.restore_input import RESTORE_CHANNELS
from MRHarmonizationLib.models import build_model
from MRHarmonizationLib.training.checkpoint import load_weights
from MRHarmonizationLib.training.recipe import RESTORE, Recipe
from MRHarmonizationLib.training.specialist_recipe import ACQUIRED, NOISE, SYNTHETIC
from MRHarmonizationLib.volumes.files import write_json_atomic
from MRHarmonizationLib.volumes.staging import Staging

#: ONNX operator set: old enough for every onnxruntime of the supported Python versions.
OPSET = 17
#: Largest difference between torch and onnxruntime on the same input (normalised intensity).
EXPORT_TOLERANCE = 1e-4


def load_network(recipe: Recipe, checkpoint: Path) -> nn.Module:
    """Build the recipe's network with the weights of ``best.pt``, in evaluation mode.

    Raises
    ------
    WeightsError
        If the file does not hold this network's weights.
    """
    return load_weights(build_model(recipe.architecture, recipe.architecture_parameters), checkpoint)


def export_onnx(recipe: Recipe, checkpoint: Path, destination: Path) -> Path:
    """Write the network as fp32 ONNX with free sizes, and check it against torch.

    Raises
    ------
    DependencyError
        If the package onnx is missing.
    WeightsError
        If onnxruntime disagrees with torch by more than :data:`EXPORT_TOLERANCE`.
    """
    network = load_network(recipe, checkpoint)
    flat = recipe.layout == "planes-2.5d"
    channels = int(recipe.architecture_parameters["in_channels"])
    example = torch.rand((2, channels, 32, 48) if flat else (1, channels, 32, 48, 24))
    names = ["rows", "columns"] if flat else ["rows", "first", "second"]
    axes = {0: "batch"} | {2 + n: name for n, name in enumerate(names)}
    return write_onnx(network, [example], destination, ("scan", "correction"), axes)


def write_onnx(
    network: nn.Module,
    examples: Sequence[torch.Tensor],
    destination: Path,
    names: tuple[str, str],
    axes: Mapping[int, str],
    keep_names: bool = False,
) -> Path:
    """Write a network of one input and one output as fp32 ONNX, whole or not at all, and hold it against torch.

    Parameters
    ----------
    network : nn.Module
        In evaluation mode.
    examples : sequence of Tensor
        Inputs, the first of which is traced; all are compared.
    destination : Path
    names : (str, str)
        Of input and output.
    axes : mapping
        Dimensions of free size and what they are called.
    keep_names : bool
        Parameters keep the names they have in torch, so that training can start from the file.

    Raises
    ------
    DependencyError
        If the package onnx is missing.
    WeightsError
        If onnxruntime disagrees with torch by more than :data:`EXPORT_TOLERANCE`.
    """
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise DependencyError("exporting needs the package onnx", "pip install 'mrharmonization[torch]'") from error
    import onnxruntime

    given, returned = names
    with Staging() as staging:
        staged = staging.place(destination)
        with torch.inference_mode():
            torch.onnx.export(
                network,
                (examples[0],),
                str(staged),
                input_names=[given],
                output_names=[returned],
                dynamic_axes={given: dict(axes), returned: dict(axes)},
                opset_version=OPSET,
                do_constant_folding=not keep_names,
                dynamo=False,
            )
            expected = [network(example).numpy() for example in examples]
        session = onnxruntime.InferenceSession(str(staged), providers=["CPUExecutionProvider"])
        for example, wanted in zip(examples, expected, strict=True):
            difference = float(np.max(np.abs(session.run(None, {given: example.numpy()})[0] - wanted)))
            if not difference < EXPORT_TOLERANCE:
                raise WeightsError(
                    f"exported ONNX differs from torch by {difference:.2g}",
                    "report this with the versions of torch and onnx",
                )
    return destination


def publish(
    recipe: Recipe, checkpoint: Path, folder: Path, scores: Mapping[str, Any] | None = None
) -> tuple[Path, Path]:
    """Write ``<id>.onnx`` and ``<id>.json`` of trained weights; the folder then serves as MRHARMONIZATION_WEIGHTS.

    Parameters
    ----------
    recipe : Recipe
    checkpoint : Path
        Averaged weights, ``best.pt``.
    folder : Path
    scores : mapping, optional
        Measured figures for the card.

    Returns
    -------
    (Path, Path)
        Weights and card.

    Raises
    ------
    DependencyError, WeightsError
        See :func:`export_onnx`.
    """
    weights = export_onnx(recipe, checkpoint, folder / f"{recipe.id}.onnx")
    return weights, write_card(recipe, weights, folder / f"{recipe.id}.json", scores or {})


def write_card(recipe: Recipe, weights: Path, destination: Path, scores: Mapping[str, Any]) -> Path:
    """Write the card of exported weights.

    Parameters
    ----------
    recipe : Recipe
    weights : Path
        ONNX file, in the folder of ``destination``.
    destination : Path
        JSON card.
    scores : mapping
        Measured figures with the command that reproduces them.
    """
    content = weights.read_bytes()
    flat, restores = recipe.layout == "planes-2.5d", recipe.task == RESTORE
    card = {
        "id": recipe.id,
        **recipe.card,
        "task": recipe.task,
        "file": weights.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "trained_on": trained_on(recipe),
        "recipe": recipe.id,
        "recipe_sha256": recipe.digest.removeprefix("sha256:"),
        "architecture": {"name": recipe.architecture, "parameters": dict(recipe.architecture_parameters)},
        "input": {
            "layout": recipe.layout,
            "planes": recipe.planes if flat else 1,
            "orientation": "RAS",
            "spacing_mm": 1.0,
            "interpolation": "cubic",
            "channels": ["image", *(RESTORE_CHANNELS if restores else CONDITIONING_CHANNELS)],
            "stride": build_model(recipe.architecture, recipe.architecture_parameters).stride,
            "ensemble": flat and (recipe.specialist is None or recipe.specialist.part == NOISE),
            "intensity": {"rule": "percentile", "lower": 0.5, "upper": 99.5},
            "halo": halo_of(recipe),
            **({"interpolated": recipe.card["interpolated"]} if "interpolated" in recipe.card else {}),
        },
        "output": {"residual": True, "channels": ["noise", "detail"] if restores else ["change"]},
        "scores": dict(scores),
    }
    write_json_atomic(json.loads(json.dumps(card)), destination)
    return destination


def trained_on(recipe: Recipe) -> list[dict[str, Any]]:
    """Return what a card says of the training data: files and licences, and what synthetic pairs were made of."""
    sources = [{"files": list(s.files), "licence": s.licence} for s in recipe.sources]
    if recipe.specialist is None or recipe.specialist.training_set == ACQUIRED:
        return sources
    made = [dict(entry) for entry in recipe.specialist.origin]
    return made if recipe.specialist.training_set == SYNTHETIC else sources + made


def halo_of(recipe: Recipe) -> int:
    """Return how far, in voxels, an input voxel can reach into the output of the recipe's network: whole strides."""
    network = build_model(recipe.architecture, recipe.architecture_parameters)
    return padded_size(int(network.halo), int(network.stride))  # type: ignore[arg-type]
