"""Publishing a trained segmentation: ONNX weights and a card."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from MRHarmonizationLib.core.brain_regions import CLASS_NUMBERS
from MRHarmonizationLib.core.errors import DependencyError, WeightsError
from MRHarmonizationLib.inference.region_input import CHANNELS
from MRHarmonizationLib.models.region_unet import RegionUNet
from MRHarmonizationLib.training.checkpoint import load_weights
from MRHarmonizationLib.training.export import OPSET
from MRHarmonizationLib.training.region_loop import build_region_network
from MRHarmonizationLib.training.region_recipe import RegionRecipe
from MRHarmonizationLib.volumes.files import write_json_atomic
from MRHarmonizationLib.volumes.staging import Staging

#: Task and input layout of the card.
TASK, LAYOUT = "segment", "head-labels"
#: Working memory of the published network in onnxruntime per voxel of its input (236 measured), bytes.
ACTIVATION_BYTES = 256
#: Share of voxels in which onnxruntime may name another structure than torch: where two are equally likely.
EXPORT_TOLERANCE = 1e-3


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
    weights = _export(network, folder / f"{recipe.id}.onnx")
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
            "spacing_mm": 1.0,
            "interpolation": "cubic",
            "channels": list(CHANNELS),
            "stride": network.stride,
            "intensity": {"rule": "percentile", "lower": 0.5, "upper": 99.5},
            "halo": network.halo,
            "activation_bytes": ACTIVATION_BYTES,
        },
        "output": {"residual": False, "channels": [str(number) for number in CLASS_NUMBERS]},
        "scores": dict(scores or {}),
    }
    path = folder / f"{recipe.id}.json"
    write_json_atomic(json.loads(json.dumps(card)), path)
    return weights, path


def _export(network: RegionUNet, destination: Path) -> Path:
    """Write the network as fp32 ONNX with free sizes, whole or not at all, and hold its answers against torch's."""
    try:
        import onnx  # noqa: F401
    except ImportError as error:
        raise DependencyError("exporting needs the package onnx", "pip install 'mrharmonization[torch]'") from error
    import onnxruntime

    size = network.stride
    examples = [torch.rand((1, len(CHANNELS), *(size * n for n in sizes))) for sizes in ((2, 3, 2), (4, 2, 3))]
    axes = {2: "slices", 3: "rows", 4: "columns"}
    answers = {1: "slices", 2: "rows", 3: "columns"}
    with Staging() as staging:
        staged = staging.place(destination)
        with torch.inference_mode():
            torch.onnx.export(
                network,
                (examples[0],),
                str(staged),
                input_names=["scan"],
                output_names=["classes"],
                dynamic_axes={"scan": axes, "classes": answers},
                opset_version=OPSET,
                dynamo=False,
            )
            expected = [network(example).numpy() for example in examples]
        session = onnxruntime.InferenceSession(str(staged), providers=["CPUExecutionProvider"])
        for example, wanted in zip(examples, expected, strict=True):
            found = session.run(None, {"scan": example.numpy()})[0]
            share = float(np.mean(found != wanted)) if found.shape == wanted.shape else 1.0
            if not share < EXPORT_TOLERANCE:
                raise WeightsError(
                    f"exported ONNX names another structure than torch in {100.0 * share:.2g} % of voxels",
                    "report this with the versions of torch and onnx",
                )
    return destination
