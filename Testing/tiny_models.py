"""Tiny networks with cards, written into a folder: what tests of the store and of inference run on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.inference.region_input import CHANNELS

IMAGE_CHANNELS = {"planes-2.5d": 5, "volume-3d": 1}
CONDITIONING_CHANNELS = 3
FEATURES = 4
STRIDE = 4


def onnx_bytes(
    layout: str, seed: int = 0, gain: float = 0.05, told: int = CONDITIONING_CHANNELS, outputs: int = 1
) -> bytes:
    """Return an ONNX network with a strided and a transposed convolution: it needs sizes of a multiple of 4.

    Its output reaches 12 voxels around each of its inputs at most and depends on every channel.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    dimensions = 3 if layout == "volume-3d" else 2
    rng = np.random.default_rng(seed)
    channels = IMAGE_CHANNELS[layout] + told
    ones = [1] * dimensions

    def weights(name: str, *shape: int) -> Any:
        values = rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape)
        return numpy_helper.from_array(values.astype(np.float32), name)

    kernel = [3] * dimensions
    initializers = [
        weights("w1", FEATURES, channels, *kernel),
        weights("w2", FEATURES, FEATURES, *[STRIDE] * dimensions),
        weights("w3", FEATURES, FEATURES, *kernel),
        weights("w4", FEATURES, FEATURES, *[STRIDE] * dimensions),
        weights("w5", outputs, FEATURES, *kernel),
        numpy_helper.from_array(np.float32(gain), "gain"),
    ]
    same = {"kernel_shape": kernel, "pads": ones * 2}
    strided = {"kernel_shape": [STRIDE] * dimensions, "strides": [STRIDE] * dimensions}
    nodes = [
        helper.make_node("Conv", ["input", "w1"], ["a"], **same),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w2"], ["c"], **strided),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("Conv", ["d", "w3"], ["e"], **same),
        helper.make_node("ConvTranspose", ["e", "w4"], ["f"], **strided),
        helper.make_node("Add", ["f", "b"], ["g"]),
        helper.make_node("Conv", ["g", "w5"], ["h"], **same),
        helper.make_node("Tanh", ["h"], ["i"]),
        helper.make_node("Mul", ["i", "gain"], ["output"]),
    ]
    sizes = ["t", "a", "b"][:dimensions]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", channels, *sizes])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n", outputs, *sizes])],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def card_dict(content: bytes, model_id: str = "tiny", layout: str = "planes-2.5d", **changes: Any) -> dict[str, Any]:
    """Return the card of a tiny network; ``changes`` of ``input`` keys are merged, others replace."""
    contract = {
        "layout": layout,
        "planes": IMAGE_CHANNELS[layout],
        "orientation": "RAS",
        "spacing_mm": 1.0,
        "interpolation": "cubic",
        "channels": ["image", "slice_distance", "slice_spacing", "inplane_spacing"],
        "stride": STRIDE,
        "ensemble": layout == "planes-2.5d",
        "intensity": {"rule": "percentile", "lower": 0.5, "upper": 99.5},
        "halo": 16,
        **changes.pop("input", {}),
    }
    card = {
        "id": model_id,
        "title": "Tiny test network",
        "version": "1",
        "summary": "Random weights, for tests only.",
        "file": f"{model_id}.onnx",
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "licence": "Apache-2.0",
        "trained_on": [],
        "recipe": "",
        "recipe_sha256": "",
        "task": "enhance",
        "architecture": {"name": "tiny", "parameters": {}},
        "input": contract,
        "output": {"residual": True},
        "domain": {"modalities": ["T1w"], "slice_spacing_mm": [1, 9], "inplane_mm": [0.5, 2.5], "body_part": "head"},
        "scores": {},
        "limitations": ["not a real model"],
    }
    card.update(changes)
    return card


def write_tiny_model(folder: Path, model_id: str = "tiny", layout: str = "planes-2.5d", **changes: Any) -> Path:
    """Write network and card into ``folder`` and return the path of the card."""
    content = onnx_bytes(layout)
    card = card_dict(content, model_id, layout, **changes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / card["file"]).write_bytes(content)
    path = folder / f"{model_id}.json"
    path.write_text(json.dumps(card, indent=2), encoding="utf-8")
    return path


def write_tiny_restorer(folder: Path, model_id: str = "restore-any", **changes: Any) -> Path:
    """Write a network that splits planes into noise and detail, and its card; return the path of the card."""
    content = onnx_bytes("planes-2.5d", told=2, outputs=2)
    contract = {"channels": ["image", "noise_deviation", "resolution"], **changes.pop("input", {})}
    output = {"residual": True, "channels": ["noise", "detail"]}
    card = card_dict(content, model_id, input=contract, task="restore", output=output, **changes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / card["file"]).write_bytes(content)
    path = folder / f"{model_id}.json"
    path.write_text(json.dumps(card, indent=2), encoding="utf-8")
    return path


def threshold_segmenter_bytes(thresholds: Sequence[float], classes: Sequence[int]) -> bytes:
    """Return an ONNX network that is nearly sure of classes by intensity: ``classes[thresholds a voxel exceeds]``.

    Inputs are the channels of a segmentation network, of which it looks at the image alone.
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    from MRHarmonizationLib.core.brain_regions import CLASS_NUMBERS

    assert len(classes) == len(thresholds) + 1
    rows = np.full((len(classes), CLASS_NUMBERS.size), 1e-4, np.float32)
    rows[np.arange(len(classes)), list(classes)] = 1.0 - 1e-4 * (CLASS_NUMBERS.size - 1)
    nodes, places = [], []
    initializers = [
        numpy_helper.from_array(rows, "table"),
        numpy_helper.from_array(np.array([0], np.int64), "first"),
        numpy_helper.from_array(np.array([1], np.int64), "channel"),
    ]
    nodes.append(helper.make_node("Slice", ["scan", "first", "channel", "channel"], ["image"]))
    for number, threshold in enumerate(thresholds):
        initializers.append(numpy_helper.from_array(np.float32(threshold), f"t{number}"))
        nodes.append(helper.make_node("Greater", ["image", f"t{number}"], [f"above{number}"]))
        nodes.append(helper.make_node("Cast", [f"above{number}"], [f"one{number}"], to=TensorProto.FLOAT))
        places.append(f"one{number}")
    nodes += [
        helper.make_node("Sum", places, ["counted"]),
        helper.make_node("Cast", ["counted"], ["place"], to=TensorProto.INT64),
        helper.make_node("Squeeze", ["place", "channel"], ["flat"]),
        helper.make_node("Gather", ["table", "flat"], ["last"]),
        helper.make_node("Transpose", ["last"], ["probabilities"], perm=[0, 4, 1, 2, 3]),
    ]
    graph = helper.make_graph(
        nodes,
        "thresholds",
        [helper.make_tensor_value_info("scan", TensorProto.FLOAT, ["n", 4, "s", "a", "r"])],
        [
            helper.make_tensor_value_info(
                "probabilities", TensorProto.FLOAT, ["n", int(CLASS_NUMBERS.size), "s", "a", "r"]
            )
        ],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return bytes(model.SerializeToString())


def write_tiny_segmenter(
    folder: Path,
    model_id: str = "brain-regions",
    thresholds: Sequence[float] = (0.25, 0.55, 0.8),
    classes: Sequence[int] = (0, 3, 2, 1),
    **changes: Any,
) -> Path:
    """Write a network that names voxels by intensity, and its card; return the path of the card."""
    content = threshold_segmenter_bytes(thresholds, classes)
    contract = {"layout": "head-labels", "planes": 1, "channels": list(CHANNELS), "stride": 8, "ensemble": False}
    contract |= {"halo": 16, "spacing_mm": 2.0, **changes.pop("input", {})}
    output = {"residual": False, "channels": ["probabilities"]}
    card = card_dict(content, model_id, "volume-3d", input=contract, task="segment", output=output, **changes)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / card["file"]).write_bytes(content)
    path = folder / f"{model_id}.json"
    path.write_text(json.dumps(card, indent=2), encoding="utf-8")
    return path
