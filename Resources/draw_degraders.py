"""Draw the README's picture of the degraders: one good scan, and five levels of noise and of blur.

Needs the published degraders and a real scan::

    python Resources/draw_degraders.py --data ../shared/data [--out PICTURE]
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

from MRHarmonizationLib import read_volume  # noqa: E402
from MRHarmonizationLib.inference.latent_degrader import LatentDegradeRequest, degrade_scan  # noqa: E402
from MRHarmonizationLib.volumes.orientation import to_canonical  # noqa: E402
from MRHarmonizationLib.volumes.volume import Volume  # noqa: E402

DEFAULT_OUT = ROOT / "Resources" / "degrader_levels.png"
SCAN = "structural/colin27_T1w.nii.gz"
LEVELS = (0.1, 0.3, 0.5, 0.75, 1.0)
SEED, STEPS, HEIGHT = 12, 50, 0.56
BACKGROUND, TEXT = "#0e162c", "#ffffff"
CROP = 72
"""Edge of the enlarged part below, in pixels."""


def plane_of(path: Path) -> Volume:
    """Return one axial plane of a scan, as a volume of a single slice."""
    scan, _ = to_canonical(read_volume(path))
    k = int(HEIGHT * scan.array.shape[0])
    array = np.ascontiguousarray(scan.array[k : k + 1])
    return Volume(array, scan.grid.crop((k, 0, 0), array.shape), "plane")


def main() -> None:
    """Degrade the plane at every level and draw it, with an enlarged part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--out", type=Path, default=DEFAULT_OUT)
    arguments = parser.parse_args()
    plane = plane_of(arguments.data / SCAN)
    top = float(np.percentile(plane.array, 99.7))
    rows, columns = plane.array.shape[1:]
    first, second = rows // 2 - CROP // 2, columns // 2 - CROP // 2
    titles = ["the scan", *(f"level {level:g}" for level in LEVELS)]
    figure, axes = plt.subplots(4, len(titles), figsize=(2.2 * len(titles), 9.6), facecolor=BACKGROUND, layout="tight")
    for row, kind in enumerate(("noise", "blur")):
        requests = [LatentDegradeRequest(kind, level, SEED, STEPS) for level in LEVELS]
        shown = [plane.array[0], *(degrade_scan(plane, request).volume.array[0] for request in requests)]
        for column, image in enumerate(shown):
            part = image[first : first + CROP, second : second + CROP]
            for below, picture in enumerate((image, part)):
                panel = axes[2 * row + below, column]
                panel.imshow(picture, cmap="gray", vmin=0, vmax=top, origin="lower", interpolation="nearest")
                panel.axis("off")
            title = titles[column] if column == 0 else f"{kind}, {titles[column]}"
            axes[2 * row, column].set_title(title, color=TEXT, fontsize=11)
    figure.savefig(arguments.out, dpi=75, facecolor=BACKGROUND)


if __name__ == "__main__":
    main()
