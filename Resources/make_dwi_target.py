"""Measure the canonical target of diffusion harmonisation on simulated scans of ten label maps.

    python Resources/make_dwi_target.py --data ../shared/data

Writes ``MRHarmonizationLib/methods/dwi_targets/canonical.json``. Label maps 16 to 20 are left to evaluation.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from MRHarmonizationLib.degradations.brain_tensors import brain_from_labels  # noqa: E402
from MRHarmonizationLib.degradations.dwi_simulation import draw_scan, simulate_images  # noqa: E402
from MRHarmonizationLib.methods.dwi_target import TARGET_FOLDER, save_target, target_of_scans  # noqa: E402
from MRHarmonizationLib.volumes.dwi import DwiVolume  # noqa: E402
from MRHarmonizationLib.volumes.files import read_volume  # noqa: E402

SOURCE = (
    "Canonical virtual scanner, label maps 01 to 10 of the SynthSeg project (Billot et al. 2023), Apache-2.0; "
    "statistics only"
)


def canonical_scan(data: Path, number: int) -> DwiVolume:
    """Return the unweighted volumes, and one weighted, of the canonical scan of a label map."""
    brain = brain_from_labels(read_volume(data / "labelmaps" / f"training_seg_{number:02d}.nii.gz"), number)
    plan = draw_scan("canonical", number)
    b_values = np.array(plan.b_values_s_per_mm2)
    chosen = [*np.flatnonzero(b_values == 0), int(np.argmax(b_values > 0))]
    array, grid = simulate_images(brain, plan, chosen)
    return DwiVolume(array, grid, b_values[chosen], np.array(plan.gradients_ras, float)[chosen])


def main() -> None:
    """Run and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=REPOSITORY.parent / "shared" / "data")
    parser.add_argument("--cases", type=int, default=10)
    options = parser.parse_args()
    scans = [canonical_scan(options.data, number) for number in range(1, options.cases + 1)]
    target = target_of_scans(scans, None, "canonical", "What harmonisation aims at: 3 T, 1.75 mm, quiet, even", SOURCE)
    print(save_target(target, TARGET_FOLDER / "canonical.json"), f"median {target.median_b0:.4g}, {target.cases} cases")


if __name__ == "__main__":
    main()
