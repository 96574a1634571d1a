"""Draw Resources/segment_result.png: structures of the brain found in three real scans of different contrast.

PYTHONPATH=. python Resources/draw_segmentation.py --data ../shared/data
"""

from __future__ import annotations

import argparse
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap

from MRHarmonizationLib import SegmentRequest, read_volume, segment
from MRHarmonizationLib.core.brain_regions import classes_of
from MRHarmonizationLib.volumes.orientation import to_canonical

#: Scans and what they are.
SCANS = (
    ("structural/colin27_T1w.nii.gz", "T1, 1 mm"),
    ("ms_lesions/patient07_FLAIR.nii.gz", "FLAIR, brain only"),
    ("ms_lesions/patient01_visit1_T2W.nii.gz", "T2, thick slices"),
)
#: Opacity of the labels; percentiles of the grey scale; dots per inch.
OPACITY, WINDOW, DPI = 0.5, (1.0, 99.7), 90
#: Share of the brain's height at which the axial plane is taken.
HEIGHT = 0.55


def colours() -> ListedColormap:
    """Return one colour per class, the two sides of a structure in different ones."""
    table = plt.get_cmap("tab20")(np.arange(33) * 7 % 20)
    return ListedColormap(table)


def main() -> None:
    """Segment the scans and draw them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("segment_result.png"))
    arguments = parser.parse_args()
    figure, axes = plt.subplots(2, len(SCANS) * 2, figsize=(13.5, 5.2), facecolor="black", layout="tight")
    for number, (name, title) in enumerate(SCANS):
        scan = read_volume(arguments.data / name)
        found, _ = to_canonical(segment(SegmentRequest(scan)).labels)
        image, _ = to_canonical(scan)
        classes = classes_of(found.array)
        inside = np.argwhere(classes > 0)
        k = int(inside[:, 0].min() + HEIGHT * np.ptp(inside[:, 0]))
        j = int(np.median(inside[:, 1]))
        low, high = np.percentile(image.array, WINDOW)
        slice_mm, row_mm, column_mm = image.grid.spacing_mm[::-1]
        for place, (axis, index, aspect) in enumerate(((0, k, row_mm / column_mm), (1, j, slice_mm / column_mm))):
            for row in (0, 1):
                panel = axes[row, 2 * number + place]
                panel.axis("off")
                panel.imshow(
                    np.take(image.array, index, axis), cmap="gray", vmin=low, vmax=high, origin="lower", aspect=aspect
                )
            shown = np.ma.masked_equal(np.take(classes, index, axis), 0)
            panel.imshow(
                shown,
                cmap=colours(),
                vmin=0,
                vmax=32,
                alpha=OPACITY,
                origin="lower",
                aspect=aspect,
                interpolation="nearest",
            )
        axes[0, 2 * number].set_title(title, color="white", fontsize=11, loc="left")
    figure.savefig(arguments.out, dpi=DPI, facecolor="black")


if __name__ == "__main__":
    main()
