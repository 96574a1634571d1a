"""The panel for diffusion scans with real processes: the command line itself, and cancelling it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slicer_support import add_dwi_node, children, choose, picture, settle_dwi
from support.panel_scans import small_scan

from MRHarmonizationLib.slicer_adapter import dwi_nodes
from MRHarmonizationLib.slicer_adapter.dwi_choices import TARGET_SCAN
from MRHarmonizationLib.slicer_adapter.jobs import SubprocessRunner

LONGEST_RUN_S = 600


@pytest.fixture
def panel(host: Any, dwi_panel: Any, dwi_node: Any) -> Any:
    dwi_panel.logic.runner = SubprocessRunner()
    dwi_panel.enter()
    choose(dwi_panel.ui.methodComboBox, "global_scaling")
    return dwi_panel


@pytest.mark.slow
def test_apply_with_the_real_command_line(host: Any, panel: Any, dwi_node: Any, tmp_path: Path):
    """The console, in this process, gives the same voxels and numbers."""
    ui, target = panel.ui, add_dwi_node(host, small_scan(gain=0.4, seed=8), "Other")
    choose(ui.targetComboBox, TARGET_SCAN)
    ui.targetSelector.setCurrentNode(target)
    ui.keepResidualCheckBox.checked = True
    host.click(ui.applyButton)
    settle_dwi(host, panel, LONGEST_RUN_S)
    output = panel._parameterNode.outputVolume
    assert output is not None, ui.statusLabel.text
    picture(host, "dwi_real_process")
    result = panel.logic.result(output)
    assert set(result.map_names) == {"b0", "trace", "fa", "md"}
    page = result.exportReport(tmp_path).read_text(encoding="utf-8")
    assert page.lstrip().lower().startswith("<!doctype html")
    assert "white matter" in page.lower()
    here = panel.logic.process(dwi_node, target=target, method="global_scaling")
    np.testing.assert_allclose(
        dwi_nodes.dwi_from_node(output).array, dwi_nodes.dwi_from_node(here).array, rtol=1e-4, atol=1e-2
    )
    for there, row in zip(result.rows, panel.logic.result(here).rows, strict=True):
        assert (there.tissue, there.voxels) == (row.tissue, row.voxels)
        assert there.md_after == pytest.approx(row.md_after, rel=1e-4)
    host.click(ui.undoButton)
    np.testing.assert_array_equal(dwi_nodes.dwi_from_node(output).array, dwi_nodes.dwi_from_node(dwi_node).array)
    ui.keepResidualCheckBox.checked = False


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_cancel_leaves_no_process(host: Any, panel: Any, scene: Any):
    host.click(panel.ui.applyButton)
    assert host.wait(children, 30)
    host.click(panel.ui.applyButton)
    assert panel.run.task is None
    assert host.wait(lambda: not children(), 10)
    assert scene.GetNumberOfNodesByClass("vtkMRMLDiffusionWeightedVolumeNode") == 1
    assert not list(Path(host.slicer.app.temporaryPath).glob("MRHarmonization-??*"))
