"""Opening the panels is quick: they load neither a network runtime nor an image library."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from slicer_support import COMPARE_MODULE, DWI_MODULE, MODULE, ROOT


def test_panels_load_nothing_heavy(host: Any, models: Path, tmp_path: Path):
    """In a process of its own, with the models and texts of all three panels."""
    script = tmp_path / "check.py"
    script.write_text(
        "import sys\n"
        f"for path in ({str(COMPARE_MODULE)!r}, {str(DWI_MODULE)!r}):\n"
        "    host.load_module(path)\n"
        "heavy = {'torch', 'onnxruntime', 'SimpleITK', 'skimage', 'matplotlib', 'plotly'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
        "assert widget.ui.modelComboBox.count >= 2\n"
        "assert host.widget('MRHarmonizationCompare').ui.mapComboBox.count > 10\n"
        "assert host.widget('MRHarmonizationDWI').ui.methodComboBox.count >= 4\n"
    )
    command = [sys.executable, "-m", "slicerhost", str(MODULE), "--script", str(script), "--strict"]
    done = subprocess.run(command, cwd=ROOT / "Testing", capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
