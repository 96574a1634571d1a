"""A folder of small heads and two small scanners, for the travelling-subject protocol."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.degradations.dwi_scanner import load_scanner
from MRHarmonizationLib.evaluation.protocol import read_protocol
from MRHarmonizationLib.volumes.files import write_volume
from support.diffusion import head_labels

#: Voxels of the heads: no larger than the canonical scan's.
SPACING_MM = 1.75
SHAPE = (36, 46, 40)
#: What the small scanners change of the scanners they are made from: matrix, slices, and how much else differs.
SMALL = {
    "small-a": ("vendor-d-3t", {"matrix": [34, 34], "slice_spacing_mm": 4.0, "slice_thickness_mm": 4.0}),
    "small-b": ("vendor-b-1.5t", {"matrix": [38, 38], "slice_spacing_mm": 3.2, "slice_thickness_mm": 3.0}),
    "small-c": ("vendor-a-3t", {"matrix": [38, 38], "slice_spacing_mm": 3.0, "slice_thickness_mm": 3.0}),
}


def write_travelling(folder: Path, numbers: tuple[int, ...] = (11, 17)) -> Path:
    """Write label maps under the names of the real ones and return the folder."""
    (folder / "labelmaps").mkdir(parents=True, exist_ok=True)
    for number in numbers:
        labels = head_labels(SHAPE, SPACING_MM)
        # another head for another number: the ventricles' length
        array = np.array(labels.array)
        array[: number % 3] = 0
        write_volume(labels.with_array(array), folder / "labelmaps" / f"training_seg_{number:02d}.nii.gz")
    return folder


def write_scanners(folder: Path) -> list[str]:
    """Write the small scanners and return their files."""
    paths = []
    for name, (source, changes) in SMALL.items():
        values = load_scanner(source).to_dict()
        values.update(id=name, field_of_view_mm=[96, 96], interpolation=1, position_mm=1.0, **changes)
        path = folder / f"{name}.json"
        path.write_text(json.dumps(values), "utf-8")
        paths.append(str(path))
    return paths


def small_protocol(folder: Path, **changes: Any) -> dict[str, Any]:
    """Return the shipped protocol cut down to one small head on two small scanners."""
    whole = read_protocol("dwi")
    small = {
        "brain_mm": SPACING_MM,
        "directions": 6,
        "judged": 1,
        "subjects": ["labelmaps/training_seg_17"],
        "fitting": {"maps": ["labelmaps/training_seg_11"]},
        "scanners": write_scanners(folder)[:2],
        "quick": {},
    }
    return {**whole, **small, **changes}
