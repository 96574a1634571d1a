"""The panel with real processes: the command line, a real (tiny) network, and cancelling while it runs."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slicer_support import picture, settle

from MRHarmonizationLib.slicer_adapter import results
from MRHarmonizationLib.slicer_adapter.jobs import SubprocessRunner
from MRHarmonizationLib.slicer_adapter.nodes import volume_from_node
from MRHarmonizationLib.volumes.resampling import resample

pytest.importorskip("onnxruntime", reason="needs onnxruntime")


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


def test_apply_with_the_real_command_line(host: Any, panel: Any, scan_node: Any):
    panel.logic.runner = SubprocessRunner()
    panel.enter()
    host.click(panel.ui.applyButton)
    settle(host, panel, 300)
    output = panel._parameterNode.outputVolume
    assert output is not None, panel.ui.statusLabel.text
    assert panel.ui.statusLabel.text.startswith("Done in")
    record = output.GetAttribute("MRHarmonization.weights_sha256")
    assert record == panel.chosenModel().weights.sha256
    scan = volume_from_node(scan_node)
    expected = resample(scan, scan.grid.isotropic(1.0)).array
    assert not np.array_equal(volume_from_node(output).array, expected)
    results.toggle_undo(output)
    assert np.array_equal(volume_from_node(output).array.view(np.int32), expected.view(np.int32))
    picture(host, "panel_real_process")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_cancel_leaves_no_process(host: Any, panel: Any, scene: Any, scan_node: Any):
    panel.logic.runner = SubprocessRunner()
    panel.enter()
    host.click(panel.ui.applyButton)
    assert host.wait(children, 30)
    assert host.wait(lambda: "Starting" not in panel.ui.statusLabel.text or panel.run.task is None, 60)
    host.click(panel.ui.applyButton)
    assert panel.run.task is None
    assert host.wait(lambda: not children(), 10)
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1
    assert not list(Path(host.slicer.app.temporaryPath).glob("MRHarmonization-*"))


def test_tampered_weights_are_refused(host: Any, panel: Any, scan_node: Any, models: Path):
    weights = models / "tiny.onnx"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    panel.logic.runner = SubprocessRunner()
    panel.enter()
    host.click(panel.ui.applyButton)
    settle(host, panel, 300)
    assert panel._parameterNode.outputVolume is None
    assert "SHA-256" in panel.ui.statusLabel.text
    assert "Traceback" not in panel.ui.statusLabel.text


@pytest.mark.slow
def test_the_modules_own_tests(host: Any, panel: Any):
    result = host.run_test_case("MRHarmonizationEnhance")
    assert result.testsRun == 3
    assert result.wasSuccessful()
