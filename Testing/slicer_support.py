"""What tests of nodes and panels share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "MRHarmonization" / "MRHarmonizationEnhance" / "MRHarmonizationEnhance.py"
ARTEFACTS = ROOT / "Testing" / "artefacts"


def add_node(host: Any, volume: Any, name: str = "Scan", class_name: str = "vtkMRMLScalarVolumeNode") -> Any:
    """Add a volume node with a window and level of its own."""
    from MRHarmonizationLib.slicer_adapter.nodes import set_node_volume

    node = host.slicer.mrmlScene.AddNewNodeByClass(class_name, name)
    set_node_volume(node, volume)
    node.CreateDefaultDisplayNodes()
    if node.GetScalarVolumeDisplayNode() is not None:
        node.GetScalarVolumeDisplayNode().SetAutoWindowLevel(False)
        node.GetScalarVolumeDisplayNode().SetWindowLevel(480.0, 231.0)
    return node


def settle(host: Any, panel: Any, seconds: float = 120.0) -> None:
    """Wait until nothing runs, nothing is measured and no change of strength is due."""

    def idle() -> bool:
        return panel.run.task is None and not panel.comparison.is_measuring and not panel._blendTimer.active

    assert host.wait(idle, seconds), panel.ui.statusLabel.text


def picture(host: Any, name: str) -> Path:
    """Save a picture of the window as a test artefact."""
    ARTEFACTS.mkdir(exist_ok=True)
    return Path(host.grab(ARTEFACTS / f"{name}.png"))
