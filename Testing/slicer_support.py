"""What tests of nodes and panels share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
MODULE = ROOT / "MRHarmonization" / "MRHarmonizationEnhance" / "MRHarmonizationEnhance.py"
COMPARE_MODULE = ROOT / "MRHarmonization" / "MRHarmonizationCompare" / "MRHarmonizationCompare.py"
DWI_MODULE = ROOT / "MRHarmonization" / "MRHarmonizationDWI" / "MRHarmonizationDWI.py"
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


def values(node: Any) -> np.ndarray:
    """Voxels of a node, [K, J, I]."""
    from MRHarmonizationLib.slicer_adapter.nodes import volume_from_node

    return volume_from_node(node).array


def choose(combo: Any, data: str) -> None:
    """Choose an entry of a list by its data."""
    combo.setCurrentIndex(combo.findData(data))


def apply(host: Any, panel: Any) -> Any:
    """Press Apply, wait, and return the result."""
    host.click(panel.ui.applyButton)
    settle(host, panel)
    return panel._parameterNode.outputVolume


def baseline(scan: Any) -> np.ndarray:
    """What strength 0 gives: the scan, resampled to 1 mm."""
    from MRHarmonizationLib.slicer_adapter.nodes import volume_from_node
    from MRHarmonizationLib.volumes.resampling import resample

    volume = volume_from_node(scan)
    return resample(volume, volume.grid.isotropic(1.0)).array


def add_segmentation(host: Any, reference: Any, regions: dict[str, np.ndarray], name: str = "Segmentation") -> Any:
    """Add a segmentation node with one segment per region of a volume node, bool [K, J, I]."""
    node = host.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.SetReferenceImageGeometryParameterFromVolumeNode(reference)
    for title, region in regions.items():
        segment = node.GetSegmentation().AddEmptySegment(title, title)
        host.slicer.util.updateSegmentBinaryLabelmapFromArray(region.astype(np.uint8), node, segment, reference)
    return node


def settle_comparison(host: Any, panel: Any, seconds: float = 120.0) -> None:
    """Wait until nothing is compared and no picture is being made."""
    done = host.wait(lambda: panel.run.task is None and not panel.views.is_working, seconds)
    assert done, panel.ui.statusLabel.text
    host.process()


def compare(host: Any, panel: Any, before: Any, after: Any) -> Any:
    """Choose two images, press Apply, wait, and return the comparison's table node."""
    panel.ui.beforeSelector.setCurrentNode(before)
    panel.ui.afterSelector.setCurrentNode(after)
    host.click(panel.ui.applyButton)
    settle_comparison(host, panel)
    return panel._parameterNode.result


def settle_dwi(host: Any, panel: Any, seconds: float = 120.0) -> None:
    """Wait until nothing is harmonised and no picture is being made."""
    done = host.wait(lambda: panel.run.task is None and not panel.views.is_working, seconds)
    assert done, panel.ui.statusLabel.text
    host.process()


def add_dwi_node(host: Any, dwi: Any, name: str = "DTI") -> Any:
    """Add a diffusion node whose gradients are told in a measurement frame that is not RAS, as scanners do."""
    from MRHarmonizationLib.slicer_adapter.dwi_nodes import set_node_dwi
    from MRHarmonizationLib.slicer_adapter.nodes import array_to_matrix

    node = host.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLDiffusionWeightedVolumeNode", name)
    frame = np.eye(4)
    frame[:3, :3] = dwi.grid.directions * (-1 if np.linalg.det(dwi.grid.directions) < 0 else 1)
    node.SetMeasurementFrameMatrix(array_to_matrix(frame))
    set_node_dwi(node, dwi)
    node.CreateDefaultDisplayNodes()
    return node


def children() -> list[int]:
    """Process numbers of the library's processes that this process started and that still run."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
            command = (status.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if int(fields[1]) == os.getpid() and fields[0] != "Z" and b"MRHarmonizationLib" in command:
            found.append(int(status.parent.name))
    return found
