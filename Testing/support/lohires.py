"""A folder of small heads and small networks, for the low- to high-field protocol and that of the structures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from tiny_models import write_tiny_model, write_tiny_segmenter

from MRHarmonizationLib.evaluation.protocol import read_protocol
from MRHarmonizationLib.volumes.files import write_volume
from support.diffusion import head_labels

#: Voxels of the heads, 1 mm.
SHAPE = (56, 72, 64)
NETWORKS = ("lohiresgan", "lohires-unet", "lohires-gan", "lohires-cgan", "lohires-cyclegan")


def write_heads(folder: Path, numbers: tuple[int, ...] = (17, 18)) -> Path:
    """Write label maps under the names of the real ones, each a little different, and return the folder."""
    (folder / "labelmaps").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        labels = head_labels(SHAPE, 1.0)
        array = np.array(labels.array)
        array[:, : number % 17] = 0
        write_volume(labels.with_array(array), folder / "labelmaps" / f"training_seg_{number:02d}.nii.gz")
    return folder


def write_slab(folder: Path, number: int = 1) -> None:
    """Write a real-looking slab and its tissue map under the names of the real ones."""
    (folder / "eval_t1_slabs").mkdir(parents=True, exist_ok=True)
    labels = head_labels(SHAPE, 1.0)
    start = 24
    cut = labels.array[start : start + 10].astype(np.float32)
    rng = np.random.default_rng(number)
    values = np.where(
        np.isin(cut, (2, 41)), 900.0, np.where(np.isin(cut, (3, 42)), 600.0, np.where(cut > 0, 250.0, 0.0))
    )
    grid = labels.grid.crop((start, 0, 0), cut.shape)
    slab = labels.with_array(labels.array)
    image = type(slab)((values + rng.normal(0, 9, cut.shape) * (cut > 0)).astype(np.float32), grid)
    tissue = type(slab)(np.isin(cut, (2, 41, 3, 42, 24)).astype(np.uint8), grid)
    write_volume(image, folder / "eval_t1_slabs" / f"subject{number:02d}.nii.gz")
    write_volume(tissue, folder / "eval_t1_slabs" / f"subject{number:02d}_tissues.nii.gz")


def write_networks(
    folder: Path, networks: tuple[str, ...] = NETWORKS, segmenter: bool = True, contrast: str = "t1"
) -> Path:
    """Write random networks under the ids of the real ones, their cost in the cards, and return the folder."""
    write_tiny_model(folder, "lowfield")
    for number, network in enumerate(networks):
        training = {"steps": 200, "minutes": 1.5 + number, "seed": 21, "machine": "2 cores"}
        write_tiny_model(folder, f"{network}-{contrast}", scores={"training": training})
    if segmenter:
        # fluid, grey and white by brightness: a left ventricle, cortex and white matter of the whole brain
        write_tiny_segmenter(folder, thresholds=(0.12, 0.45, 0.77), classes=(0, 3, 2, 1))
    return folder


def small_lohires(**changes: Any) -> dict[str, Any]:
    """Return the shipped protocol cut down to two small heads and a slab, two classical methods and one SNR."""
    whole = read_protocol("lohires")
    heads, slabs = whole["groups"]["t1"]
    groups = [
        {**heads, "subjects": ["labelmaps/training_seg_17", "labelmaps/training_seg_18"]},
        {**slabs, "subjects": ["eval_t1_slabs/subject01"], "extend_to_mm": 16},
    ]
    groups_t2 = [{**whole["groups"]["t2"][0], "subjects": ["labelmaps/training_seg_17"]}]
    small = {"snr": [20], "methods": ["cubic", "linear"], "head": {"margin_mm": 4, "box_mm": [48, 56, 44]}}
    small |= {"groups": {"t1": groups, "t2": groups_t2}, "lesions": {**whole["lesions"], "count": 1}}
    small |= {"plotted_regions": [2], "segmentations": ""}
    return {**{key: value for key, value in whole.items() if key != "quick"}, **small, **changes}


def write_protocol(path: Path, values: dict[str, Any]) -> Path:
    """Write a protocol and return its path."""
    path.write_text(json.dumps(values), "utf-8")
    return path
