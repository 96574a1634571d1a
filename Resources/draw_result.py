"""Draw the README's picture of a result: the sample's low-field scan, the enhanced volume and the true scan.

Needs the published model and the embedded sample, no other data::

    python Resources/draw_result.py [--out PICTURE]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
mpl.use("Agg")

from matplotlib import pyplot as plt  # noqa: E402

from MRHarmonizationLib import EnhanceRequest, compare, enhance, read_volume  # noqa: E402
from MRHarmonizationLib.samples import LOW_FIELD_SCAN, REFERENCE  # noqa: E402
from MRHarmonizationLib.volumes.resampling import resample  # noqa: E402
from MRHarmonizationLib.volumes.volume import Volume  # noqa: E402

DEFAULT_OUT = ROOT / "Resources" / "enhance_result.png"
BACKGROUND, TEXT, FAINT = "#0e162c", "#ffffff", "#9fb3c8"
POINT_RAS_MM = (18.0, -18.0, 8.0)
"""Where the three planes cross: the right hippocampus and ventricle, beside the midline."""
CROP_MM = 6
"""Cut away at the borders, mostly air."""


def planes(volume: Volume) -> list[np.ndarray]:
    """Return the coronal, sagittal and axial plane through the point, head up or forehead up."""
    i, j, k = (int(round(v)) for v in volume.grid.ras_to_ijk(np.array(POINT_RAS_MM)))
    array = volume.array[CROP_MM:, CROP_MM:-CROP_MM, CROP_MM:-CROP_MM]
    i, j, k = i - CROP_MM, j - CROP_MM, k - CROP_MM
    return [array[::-1, j, ::-1], array[::-1, :, i], array[k, ::-1, ::-1]]


def main() -> None:
    """Enhance the sample and draw it between the scan and the truth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    out = parser.parse_args().out

    scan, truth = read_volume(LOW_FIELD_SCAN), read_volume(REFERENCE)
    result = enhance(scan, EnhanceRequest(measure=False))
    comparison = compare(result.baseline, result.volume, truth)
    scores = [
        {entry.name: entry.value for entry in comparison.measurements[key]}
        for key in ("before_vs_reference", "after_vs_reference")
    ]
    below = [f"PSNR {values['psnr']:.1f} dB, SSIM {values['ssim']:.3f}" for values in scores]
    columns = [
        ("Low-field scan (simulated)", "1.6 × 1.6 × 5 mm", resample(scan, truth.grid, "nearest")),
        ("Cubic interpolation", below[0], result.baseline),
        ("Enhanced", below[1], result.volume),
        ("True scan", "1 mm", truth),
    ]
    top = float(np.percentile(truth.array, 98.5))
    rows = [planes(volume) for _, _, volume in columns]
    heights = [plane.shape[0] / plane.shape[1] for plane in rows[0]]
    width = 3.0
    figure, axes = plt.subplots(
        len(heights),
        len(columns),
        figsize=(width * len(columns), width * sum(heights) + 0.9),
        height_ratios=heights,
        facecolor=BACKGROUND,
        gridspec_kw={"wspace": 0.02, "hspace": 0.02, "left": 0.005, "right": 0.995, "bottom": 0.005, "top": 0.925},
    )
    for column, (title, note, _) in enumerate(columns):
        for row, plane in enumerate(rows[column]):
            axes[row, column].imshow(plane, cmap="gray", vmin=0, vmax=top, interpolation="nearest", aspect="auto")
            axes[row, column].axis("off")
        axes[0, column].set_title(f"{title}\n", color=TEXT, fontsize=14, pad=8, weight="bold")
        axes[0, column].text(
            0.5, 1.02, note, color=FAINT, fontsize=11, ha="center", transform=axes[0, column].transAxes
        )
    figure.savefig(out, dpi=80, facecolor=BACKGROUND)


if __name__ == "__main__":
    main()
