"""Make the pictures of the panel: run it on the sample as a user would, with the published model.

    python Resources/make_screenshots.py [--out Resources]

Needs the extra ``slicer-test``. The windows are those of Testing/slicerhost, which stands in for 3D Slicer: nodes,
slices and network are real, the frame around them is plainer.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "MRHarmonization" / "MRHarmonizationEnhance" / "MRHarmonizationEnhance.py"
WINDOW = (1600, 1000)
THUMBNAIL = (260, 280)
LONGEST_RUN_S = 1800


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "Resources", help="folder of panel_enhance.png")
    parser.add_argument(
        "--icons", type=Path, default=MODULE.parent / "Resources" / "Icons", help="folder of thumbnails"
    )
    options = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path[:0] = [str(ROOT / "Testing"), str(ROOT)]
    from slicerhost import Host

    host = Host(size=WINDOW)
    host.load_module(str(MODULE))
    host.startup_completed()
    panel = host.widget("MRHarmonizationEnhance")
    host.click(panel.ui.sampleButton)
    make_thumbnails(host, options.icons)
    run(host, panel)
    print(host.grab(options.out / "panel_enhance.png"))
    host.close()
    if host.problems:
        raise SystemExit(f"the host had problems: {host.problems}")


def run(host: Any, panel: Any) -> None:
    """Press Apply and wait for the result and its measurements."""
    host.click(panel.ui.applyButton)
    if not host.wait(lambda: panel.run.task is None, LONGEST_RUN_S):
        raise SystemExit("the run did not end")
    if panel.ui.outputSelector.currentNode() is None:
        raise SystemExit(panel.ui.statusLabel.text)
    host.wait(lambda: not panel.comparison.is_measuring, LONGEST_RUN_S)


def make_thumbnails(host: Any, folder: Path) -> None:
    """Draw the middle sagittal slice of each sample for the module Sample Data."""
    from MRHarmonizationLib.slicer_adapter.sample_data import SAMPLES
    from MRHarmonizationLib.volumes.files import read_volume

    for sample in SAMPLES:
        volume = read_volume(sample.path)
        plane = volume.array[::-1, ::-1, volume.array.shape[2] // 2].astype(float)
        plane = (255 * (plane / plane.max()).clip(0, 1)).astype("uint8").copy()
        image = host.qt.QImage(
            plane.data, plane.shape[1], plane.shape[0], plane.shape[1], host.qt.QImage.Format_Grayscale8
        )
        height = round(
            plane.shape[0] * volume.grid.spacing_mm[2] / volume.grid.spacing_mm[1] * THUMBNAIL[0] / plane.shape[1]
        )
        modes = (host.qt.Qt.IgnoreAspectRatio, host.qt.Qt.FastTransformation)
        path = folder / f"{sample.name}.png"
        image.scaled(THUMBNAIL[0], min(height, THUMBNAIL[1]), *modes).save(str(path))
        print(path)


if __name__ == "__main__":
    main()
