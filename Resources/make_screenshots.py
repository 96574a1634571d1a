"""Make the pictures of the panels: run them on the sample as a user would, with the published model.

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
MODULES = ("MRHarmonizationEnhance", "MRHarmonizationCompare", "MRHarmonizationDWI")
#: Curve shown in the picture of MR Compare.
SHOWN_CURVE = "psd_radial"
#: Method in the picture of the task "Standardise contrast".
SHOWN_METHOD = "nyul"
#: Diffusion scan of the picture of MR Diffusion, below the folder of real scans (MRH_DATA), and the volume shown.
DIFFUSION_SCAN, SHOWN_VOLUME = "dwi/philips_achieva_b1000_32dir.nii.gz", 9
WINDOW = (1600, 1000)
LONGEST_RUN_S = 1800


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "Resources", help="folder of the pictures")
    options = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path[:0] = [str(ROOT / "Testing"), str(ROOT)]
    from slicerhost import Host

    host = Host(size=WINDOW)
    for name in MODULES:
        host.load_module(str(ROOT / "MRHarmonization" / name / f"{name}.py"), select=False)
    host.startup_completed()
    print(enhance(host, options.out / "panel_enhance.png"))
    print(compare(host, options.out / "panel_compare.png"))
    print(standardise(host, options.out / "panel_standardise.png"))
    print(restore(host, options.out / "panel_restore.png"))
    data = Path(os.environ.get("MRH_DATA", ROOT.parent / "shared" / "data"))
    print(diffusion(host, options.out / "panel_dwi.png", data / DIFFUSION_SCAN))
    host.close()
    if host.problems:
        raise SystemExit(f"the host had problems: {host.problems}")


def enhance(host: Any, path: Path) -> Path:
    """Enhance the sample, with the scan it was made from as reference."""
    host.select("MRHarmonizationEnhance")
    panel = host.widget("MRHarmonizationEnhance")
    host.click(panel.ui.sampleButton)
    run(host, panel)
    if panel.ui.outputSelector.currentNode() is None:
        raise SystemExit(panel.ui.statusLabel.text)
    host.wait(lambda: not panel.comparison.is_measuring, LONGEST_RUN_S)
    return Path(host.grab(path))


def compare(host: Any, path: Path) -> Path:
    """Compare the scan with its result, which the panel offers by itself, and look at the spectrum."""
    panel, enhanced = host.widget("MRHarmonizationCompare"), host.widget("MRHarmonizationEnhance")
    host.select("MRHarmonizationCompare")
    panel.ui.referenceSelector.setCurrentNode(enhanced.ui.referenceSelector.currentNode())
    run(host, panel)
    if panel.ui.resultSelector.currentNode() is None:
        raise SystemExit(panel.ui.statusLabel.text)
    panel.ui.curveComboBox.setCurrentIndex(panel.ui.curveComboBox.findData(SHOWN_CURVE))
    panel.ui.imagesSection.collapsed = True
    host.click(panel.ui.checkerButton)
    host.wait(lambda: not panel.views.is_working, LONGEST_RUN_S)
    return Path(host.grab(path))


def standardise(host: Any, path: Path) -> Path:
    """Give the sample the contrast of the reference group that is most like it."""
    host.select("MRHarmonizationEnhance")
    panel = host.widget("MRHarmonizationEnhance")
    host.click(panel.ui.sampleButton)
    panel.ui.modeComboBox.setCurrentIndex(1)
    panel.ui.methodComboBox.setCurrentIndex(panel.ui.methodComboBox.findData(SHOWN_METHOD))
    run(host, panel)
    if panel.ui.outputSelector.currentNode() is None:
        raise SystemExit(panel.ui.statusLabel.text)
    host.wait(lambda: not panel.comparison.is_measuring, LONGEST_RUN_S)
    return Path(host.grab(path))


def restore(host: Any, path: Path) -> Path:
    """Take the noise off the sample."""
    host.select("MRHarmonizationEnhance")
    panel = host.widget("MRHarmonizationEnhance")
    host.click(panel.ui.sampleButton)
    panel.ui.modeComboBox.setCurrentIndex(2)
    run(host, panel)
    if panel.ui.outputSelector.currentNode() is None:
        raise SystemExit(panel.ui.statusLabel.text)
    host.wait(lambda: not panel.comparison.is_measuring, LONGEST_RUN_S)
    return Path(host.grab(path))


def diffusion(host: Any, path: Path, scan: Path) -> Path | str:
    """Harmonise a diffusion scan to the shipped target; look at one of its volumes and at the table."""
    if not scan.is_file():
        return f"{path.name} was not made: there is no {scan} (set MRH_DATA)"
    host.select("MRHarmonizationDWI")
    panel = host.widget("MRHarmonizationDWI")
    host.answers.append(str(scan))
    host.click(panel.ui.loadButton)
    panel.ui.methodComboBox.setCurrentIndex(panel.ui.methodComboBox.findData("network"))
    panel.ui.gridComboBox.setCurrentIndex(1)  # the target's voxels, on which the network sharpens too
    run(host, panel)
    if panel.ui.outputSelector.currentNode() is None:
        raise SystemExit(panel.ui.statusLabel.text)
    panel.ui.volumeSlider.setValue(SHOWN_VOLUME + 1)  # counted from 1
    for section in (panel.ui.scanSection, panel.ui.resultSection):
        section.collapsed = True
    panel.ui.planesComboBox.setCurrentIndex(0)
    host.wait(lambda: not panel.views.is_working, LONGEST_RUN_S)
    return Path(host.grab(path))


def run(host: Any, panel: Any) -> None:
    """Press Apply and wait for the end."""
    host.click(panel.ui.applyButton)
    if not host.wait(lambda: panel.run.task is None, LONGEST_RUN_S):
        raise SystemExit("the run did not end")


if __name__ == "__main__":
    main()
