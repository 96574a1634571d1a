"""The panel of comparisons with real processes: the command line itself, its curves and maps, and cancelling it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slicer_support import add_segmentation, choose, picture, settle_comparison, values

from MRHarmonizationLib.inference.compare import compare as compare_volumes
from MRHarmonizationLib.slicer_adapter import layouts, plots
from MRHarmonizationLib.slicer_adapter.jobs import SubprocessRunner
from MRHarmonizationLib.slicer_adapter.nodes import volume_from_node

LONGEST_RUN_S = 600


@pytest.fixture
def panel(compare_panel: Any) -> Any:
    compare_panel.logic.runner = SubprocessRunner()
    return compare_panel


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


@pytest.mark.slow
def test_apply_with_the_real_command_line(host: Any, panel: Any, scan_node: Any, better_node: Any, tmp_path: Path):
    """In a segment, with maps: everything arrives in the scene, with the numbers that the library gives."""
    ui = panel.ui
    mask = values(better_node) > 100
    ui.maskSelector.setCurrentNode(add_segmentation(host, better_node, {"Head": mask}))
    choose(ui.mapComboBox, "contrast")
    ui.beforeSelector.setCurrentNode(scan_node)
    ui.afterSelector.setCurrentNode(better_node)
    host.click(ui.applyButton)
    settle_comparison(host, panel, LONGEST_RUN_S)
    table = panel._parameterNode.result
    assert table is not None, ui.statusLabel.text
    stored = panel.logic.comparison(table)
    before, after = volume_from_node(scan_node), volume_from_node(better_node)
    expected = compare_volumes(before, after, mask=after.with_array(mask.astype(np.uint8)))
    for metric in ("psnr", "ssim", "nrmse"):
        assert stored.value(metric, heldAgainst="before") == pytest.approx(expected.value("after_vs_before", metric))
    for side in ("before", "after"):
        assert stored.value("noise", side) == pytest.approx(expected.value(side, "noise"))
    assert f"{np.count_nonzero(expected.mask):,} voxels" in stored.measured_in
    assert {"histogram", "psd_radial", "psd_ratio", "glcm_contrast"} <= set(stored.charts)
    assert "cycles/mm" in stored.charts["psd_radial"].GetXAxisTitle()
    assert "mm" in stored.charts["glcm_contrast"].GetXAxisTitle()
    for chart in stored.charts.values():
        assert chart.GetAttribute(plots.SENTENCE_ATTRIBUTE)
        assert plots.series_of(chart)
    assert any("resampled on the grid of after" in note for note in stored.notes)
    maps = stored.maps
    assert set(maps) == {"before_contrast", "after_contrast"}
    grid = volume_from_node(maps["after_contrast"]).grid
    assert np.allclose(grid.affine, volume_from_node(better_node).grid.affine, atol=1e-4)
    assert values(maps["after_contrast"]).std() > 0
    drawn = host.slicer.app.layoutManager().viewWidget(layouts.curves_view_node()).plotView().chart()
    for index in range(ui.curveComboBox.count):
        ui.curveComboBox.setCurrentIndex(index)
        assert drawn.GetNumberOfPlots() == len(plots.series_of(stored.charts[ui.curveComboBox.itemData(index)]))
        picture(host, f"compare_real_{ui.curveComboBox.itemData(index)}")
    report = stored.exportReport(tmp_path / "report").read_text(encoding="utf-8")
    assert "Scan.nrrd" in report
    assert "http://" not in report.replace("http://www.w3.org", "")
    choose(ui.mapComboBox, "")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_cancel_leaves_no_process(host: Any, panel: Any, scene: Any, scan_node: Any, better_node: Any):
    panel.ui.beforeSelector.setCurrentNode(scan_node)
    panel.ui.afterSelector.setCurrentNode(better_node)
    host.click(panel.ui.applyButton)
    assert host.wait(children, 60)
    assert host.wait(lambda: "Starting" not in panel.ui.statusLabel.text or panel.run.task is None, 120)
    host.click(panel.ui.applyButton)
    assert panel.run.task is None
    assert host.wait(lambda: not children(), 10)
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0
    assert not list(Path(host.slicer.app.temporaryPath).glob("MRHarmonization-??*"))


@pytest.mark.slow
def test_the_modules_own_tests(host: Any, panel: Any):
    result = host.run_test_case("MRHarmonizationCompare")
    assert result.testsRun == 2
    assert result.wasSuccessful()
