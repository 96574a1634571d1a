"""Measure how much tissue means vary under random alterations of contrast, raw and after each classical harmoniser.

    python Testing/benchmarks/harmonizers.py --data ../shared/data --alterations 20 --out harmonizers.json

Two cases that no reference group knows: Colin27 (real T1, tissues by Otsu's thresholds of the unaltered image;
reference t1-head) and a test label map rendered as T1 (tissues from the map; reference: four training maps rendered the
same way).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPOSITORY))

from MRHarmonizationLib.degradations.label_images import render_label_image, sample_label_image  # noqa: E402
from MRHarmonizationLib.evaluation.contrast_variation import Variation, tissue_classes, tissue_variation  # noqa: E402
from MRHarmonizationLib.methods.reference_group import ReferenceGroup, group_of_volumes, load_group  # noqa: E402
from MRHarmonizationLib.volumes.files import read_volume  # noqa: E402
from MRHarmonizationLib.volumes.resampling import resample  # noqa: E402
from MRHarmonizationLib.volumes.volume import Volume  # noqa: E402

TRAINING_MAPS, TEST_MAP = ("01", "02", "03", "04"), "17"


def rendered(data: Path, number: str, spacing_mm: float) -> tuple[Volume, np.ndarray]:
    """Return a T1-like image of a label map, and the labels, on a coarser grid."""
    labels = read_volume(data / "labelmaps" / f"training_seg_{number}.nii.gz")
    labels = resample(labels, labels.grid.isotropic(spacing_mm), "nearest")
    whole = labels.array.astype(np.int32)
    parameters = sample_label_image(np.random.default_rng(int(number)), whole, "t1")
    return labels.with_array(render_label_image(whole, parameters), f"map {number}"), whole


def cases(data: Path, spacing_mm: float) -> list[tuple[str, Volume, np.ndarray, ReferenceGroup]]:
    """Return (name, image, labels, reference)."""
    colin = read_volume(data / "structural" / "colin27_T1w.nii.gz")
    colin = resample(colin, colin.grid.isotropic(spacing_mm))
    image, labels = rendered(data, TEST_MAP, spacing_mm)
    group = group_of_volumes([rendered(data, number, spacing_mm)[0] for number in TRAINING_MAPS], "t1", "maps")
    return [
        ("Colin27", colin, tissue_classes(colin), load_group("t1-head")),
        (f"label map {TEST_MAP}", image, labels, group),
    ]


def table(name: str, rows: list[Variation]) -> list[str]:
    """Return the lines of one case."""
    tissues = list(rows[0].coefficients)
    lines = [f"{name}: coefficient of variation of tissue means over {rows[0].alterations} alterations, %"]
    lines.append(f"  {'method':<22}" + "".join(f"{tissue:>9}" for tissue in tissues) + f"{'mean':>9}{'vs raw':>9}")
    for row in rows:
        cells = "".join(f"{row.coefficients[tissue]:9.1f}" for tissue in tissues)
        lines.append(f"  {row.method:<22}{cells}{row.mean:9.1f}{100 * (row.mean / rows[0].mean - 1):+8.0f}%")
    return lines


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--alterations", type=int, default=20)
    parser.add_argument("--spacing", type=float, default=3.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--methods", nargs="*")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    found = {}
    for name, image, labels, group in cases(options.data, options.spacing):
        rows = tissue_variation(image, labels, group, options.alterations, options.seed, methods=options.methods)
        print("\n".join(table(name, rows)), flush=True)
        found[name] = {row.method: dict(row.coefficients) for row in rows}
    if options.out:
        options.out.write_text(json.dumps(found, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
