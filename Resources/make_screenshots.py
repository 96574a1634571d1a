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
LONGEST_RUN_S = 1800


def main() -> None:
    """Make all pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=ROOT / "Resources", help="folder of panel_enhance.png")
    options = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    sys.path[:0] = [str(ROOT / "Testing"), str(ROOT)]
    from slicerhost import Host

    host = Host(size=WINDOW)
    host.load_module(str(MODULE))
    host.startup_completed()
    panel = host.widget("MRHarmonizationEnhance")
    host.click(panel.ui.sampleButton)
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


if __name__ == "__main__":
    main()
