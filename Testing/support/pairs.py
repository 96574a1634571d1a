"""Folders of small prepared scans, as ``prepare-pairs`` writes them, and recipes small enough to train on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.training.pair_manifest import FORMAT, HIGH, LOW, MANIFEST, RECORD, SCAN, VALID, VERSION
from MRHarmonizationLib.training.recipe import Adversary, Optimisation, Recipe, Source
from MRHarmonizationLib.volumes.files import digest_file, write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

EDGE = 40
SLICE_MM = 4.0


def high_and_low(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a ball of layers, normalised, and what is left of it in thick slices; float32, EDGE³."""
    from scipy.ndimage import gaussian_filter

    rng = np.random.default_rng(seed)
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, EDGE)] * 3, indexing="ij")
    radius = np.sqrt((k / rng.uniform(0.85, 1)) ** 2 + j**2 + i**2) + 0.05 * np.sin(9 * np.arctan2(j, i))
    high = np.select([radius < 0.3, radius < 0.6, radius < 0.85], [0.2, 1.0, 0.6], 0.0).astype(np.float32)
    low = gaussian_filter(high, (2.0, 0.7, 0.7)) + rng.normal(0, 0.03, high.shape)
    return high, low.astype(np.float32)


def write_prepared(folder: Path, subjects: int = 3, unpaired: bool = False, contrast: str = "t1") -> Path:
    """Write a folder with a manifest and return it; the last subject validates."""
    grid = Grid.from_parts((EDGE,) * 3)
    acquired = grid.with_spacing((1.0, 1.0, SLICE_MM))
    entries = []
    for number in range(subjects):
        high, low = high_and_low(number)
        valid = np.ones(high.shape, np.uint8)
        valid[:, :, : 4 * number] = 0
        parts = (
            [("low", f"low/s{number}", {SCAN: low}), ("high", f"high/s{number}", {SCAN: high})]
            if unpaired
            else [("pair", f"pairs/s{number}", {LOW: low, HIGH: high, VALID: valid})]
        )
        for kind, place, arrays in parts:
            (folder / place).mkdir(parents=True)
            files = {}
            for name, array in arrays.items():
                path = write_volume(Volume(array, grid), folder / place / name)
                files[name] = {"sha256": digest_file(path), "bytes": path.stat().st_size}
            record: dict[str, Any] = {
                "kind": kind,
                "folder": place,
                "subject": f"s{number}",
                "contrast": contrast,
                "files": files,
                "acquired_grid": (grid if kind == "high" else acquired).to_dict(),
            }
            (folder / place / RECORD).write_text(json.dumps(record))
            entries.append({**record, "split": "validation" if number == subjects - 1 else "train"})
    manifest = {"format": FORMAT, "version": VERSION, "complete": True, "unpaired": unpaired, "pairs": entries}
    (folder / MANIFEST).write_text(json.dumps({**manifest, "rejected": []}))
    return folder


UNET = {"in_channels": 8, "planes": 5, "features": [6, 8]}
LOHIRES = {"in_channels": 8, "planes": 5, "features": [6, 8], "blocks": [1, 1]}
PAIR = {"in_channels": 4, "planes": 1, "parameters": {"width": 4, "blocks": 1}}
JUDGE = {"width": 4, "layers": 2}
NETWORKS: dict[str, tuple[str, dict[str, Any], Adversary | None]] = {
    "unet": ("unet", UNET, None),
    "gan": ("lohires_generator", LOHIRES, Adversary("gan", pixel_weight=10.0, discriminator=JUDGE)),
    "cgan": ("unet", UNET, Adversary("cgan", "vanilla", pixel_weight=10.0, discriminator=JUDGE)),
    "cycle": ("cyclegan_pair", PAIR, Adversary("cycle", pool=3, discriminator=JUDGE)),
}


def tiny_translation(name: str, steps: int = 24, **changes: Any) -> Recipe:
    """Return a recipe of one of :data:`NETWORKS` that trains in about a second on what :func:`write_prepared` wrote."""
    architecture, parameters, adversary = NETWORKS[name]
    values: dict[str, Any] = {
        "id": f"tiny-{name}",
        "layout": "planes-2.5d",
        "planes": parameters["planes"],
        "architecture": architecture,
        "architecture_parameters": parameters,
        "adversary": adversary,
        "sources": (Source("labels", ("unused.nii.gz",), 1.0),),
        "validation": (),
        "block": 36,
        "optimisation": Optimisation(
            steps=steps,
            batch=2,
            patch=32,
            optimiser="adam",
            learning_rate=2e-3,
            warmup_steps=2,
            buffer=3,
            refresh_steps=4,
            gradient_weight=0.0,
            charbonnier_epsilon=0.0,
        ),
        "card": {
            "title": "Tiny",
            "version": "1.0",
            "summary": "A test.",
            "licence": "Apache-2.0",
            "domain": {},
            "limitations": ["A test."],
        },
        "digest": f"sha256:{name}",
    }
    return Recipe(**{**values, **changes})
