"""The panel of comparisons and the scene: saved, loaded, closed or emptied while something runs; reports; reload."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runner import FakeRunner
from slicer_support import add_node, add_segmentation, choose, compare, picture, settle_comparison, values

from MRHarmonizationLib.inference.enhance import EnhanceRequest
from MRHarmonizationLib.slicer_adapter import comparisons, layouts, results
from MRHarmonizationLib.slicer_adapter.compare_run import REPORT_FILES
from MRHarmonizationLib.slicer_adapter.comparisons import StoredComparison
from MRHarmonizationLib.slicer_adapter.nodes import volume_from_node
from MRHarmonizationLib.slicer_adapter.tasks import EnhanceTask

FOUR_UP = 3


@pytest.fixture
def panel(compare_panel: Any) -> Any:
    return compare_panel


def enhance(scan: Any, name: str = "tiny") -> Any:
    """What the other panel makes of a scan."""
    return EnhanceTask(scan, None, EnhanceRequest(model=name, keep_residual=True), FakeRunner()).wait()


def drawn(host: Any) -> Any:
    return host.slicer.app.layoutManager().viewWidget(layouts.curves_view_node()).plotView().chart()


# Results of MR Enhance bring their scans along


def test_the_newest_result_is_offered_with_its_scan(host: Any, panel: Any, scan_node: Any):
    enhance(scan_node)
    newest = enhance(scan_node, "wide")
    panel.enter()
    assert panel.ui.beforeSelector.currentNode() is scan_node
    assert panel.ui.afterSelector.currentNode() is newest


def test_a_result_as_after_brings_its_scan(host: Any, panel: Any, scan_node: Any, thick_scan: Any):
    ui, first = panel.ui, enhance(scan_node)
    other = add_node(host, thick_scan, "Other")
    second = enhance(other)
    ui.afterSelector.setCurrentNode(first)
    assert ui.beforeSelector.currentNode() is scan_node
    ui.afterSelector.setCurrentNode(second)
    assert ui.beforeSelector.currentNode() is other  # it was brought along, so it goes with its result
    ui.beforeSelector.setCurrentNode(scan_node)
    ui.afterSelector.setCurrentNode(first)
    assert ui.beforeSelector.currentNode() is scan_node
    ui.beforeSelector.setCurrentNode(other)
    ui.afterSelector.setCurrentNode(second)
    ui.beforeSelector.setCurrentNode(first)
    ui.afterSelector.setCurrentNode(other)
    assert ui.beforeSelector.currentNode() is first  # the user's choice stays; a warning says what is odd
    ui.afterSelector.setCurrentNode(scan_node)
    assert "seem exchanged" in ui.warningsLabel.text


def test_a_result_as_before_moves_to_after(host: Any, panel: Any, scan_node: Any):
    result = enhance(scan_node)
    panel.ui.beforeSelector.setCurrentNode(result)
    assert panel.ui.beforeSelector.currentNode() is scan_node
    assert panel.ui.afterSelector.currentNode() is result


def test_a_scan_as_before_brings_its_result(host: Any, panel: Any, scan_node: Any):
    result = enhance(scan_node)
    panel.ui.beforeSelector.setCurrentNode(scan_node)
    assert panel.ui.afterSelector.currentNode() is result


def test_its_record_reaches_the_report(host: Any, panel: Any, scan_node: Any):
    seen: list[str] = []

    def look(command: Any) -> None:
        sidecars = Path(command[5]).parent.glob("*.mrh.json")
        seen.extend(path.read_text(encoding="utf-8") for path in sidecars)

    result = enhance(scan_node)
    panel.logic.runner = FakeRunner(afterwards=look)
    compare(host, panel, scan_node, result)
    (record,) = seen
    assert '"model": "tiny"' in record
    assert '"operation": "enhance"' in record
    assert volume_digest_of(result) in record


def volume_digest_of(node: Any) -> str:
    return str(node.GetAttribute(results.DIGEST_ATTRIBUTE))


# Saving and loading


def test_saved_and_loaded_scene(host: Any, panel: Any, scene: Any, scan_node: Any, better_node: Any, tmp_path: Path):
    ui = panel.ui
    host.slicer.app.layoutManager().setLayout(FOUR_UP)
    segmentation = add_segmentation(host, better_node, {"Bright": values(better_node) > 400})
    ui.maskSelector.setCurrentNode(segmentation)
    ui.segmentComboBox.setCurrentIndex(1)
    choose(ui.mapComboBox, "contrast")
    table = compare(host, panel, scan_node, better_node)
    rows, notes = StoredComparison(table).rows, StoredComparison(table).notes
    ui.curveComboBox.setCurrentIndex(1)
    shown = [[ui.measuresTable.item(row, 0).text() for row in range(ui.measuresTable.rowCount)], ui.notesLabel.text]
    assert host.slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    host.process(50)
    assert ui.measuresTable.rowCount == 0
    assert ui.curveComboBox.count == 0
    assert ui.statusLabel.text == ""
    host.slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    settle_comparison(host, panel)
    assert ui.beforeSelector.currentNode().GetName() == "Scan"
    assert ui.afterSelector.currentNode().GetName() == "Better"
    assert ui.maskSelector.currentNode().GetName() == "Segmentation"
    assert ui.segmentComboBox.currentText == "Bright"
    assert ui.mapComboBox.currentData == "contrast"
    assert ui.resultSelector.currentNode().GetName() == "Scan → Better"
    assert [
        [ui.measuresTable.item(row, 0).text() for row in range(ui.measuresTable.rowCount)],
        ui.notesLabel.text,
    ] == shown
    loaded = panel.logic.comparison(ui.resultSelector.currentNode())
    assert [(row.name, row.unit, row.better) for row in loaded.rows] == [(r.name, r.unit, r.better) for r in rows]
    for now, then in zip(loaded.rows, rows, strict=True):  # tables are saved with six digits
        assert np.allclose((now.before, now.after), (then.before, then.after), rtol=1e-5, equal_nan=True)
    assert loaded.notes == notes
    assert set(loaded.maps) == {"before_contrast", "after_contrast"}
    assert set(loaded.charts) == {"histogram", "psd_radial", "psd_ratio"}
    assert ui.curveComboBox.currentText == "Power spectrum"
    assert drawn(host).GetTitle() == "Power spectrum"
    assert drawn(host).GetNumberOfPlots() == 3
    assert ui.showButton.checked  # the views are as they were saved, and linked again
    picture(host, "compare_reloaded")
    assert not ui.exportButton.enabled
    assert "not saved with the scene" in ui.exportButton.toolTip
    host.click(ui.applyButton)
    settle_comparison(host, panel)
    assert ui.exportButton.enabled
    assert "not saved" not in ui.exportButton.toolTip
    assert ui.resultSelector.nodeCount() == 1
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode") == 3
    choose(ui.mapComboBox, "")


def test_scene_closed_during_a_run(host: Any, panel: Any, scene: Any, scan_node: Any, better_node: Any):
    ui = panel.ui
    ui.beforeSelector.setCurrentNode(scan_node)
    ui.afterSelector.setCurrentNode(better_node)
    panel.logic.runner = FakeRunner(steps=10_000)
    host.click(ui.applyButton)
    host.process(200)
    scene.Clear(0)
    host.process(200)
    assert panel.run.task is None
    assert panel.logic.runner.processes[0].killed
    assert ui.beforeSelector.currentNode() is None
    assert not ui.progressBar.visible
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 0


def test_scene_closed_while_a_picture_is_made(host: Any, panel: Any, scene: Any, scan_node: Any, better_node: Any):
    panel.ui.beforeSelector.setCurrentNode(scan_node)
    panel.ui.afterSelector.setCurrentNode(better_node)
    host.click(panel.ui.showButton)
    host.click(panel.ui.rockButton)
    host.click(panel.ui.differenceButton)
    scene.Clear(0)
    host.process(900)
    assert not panel.views.is_working
    assert not panel.ui.rockButton.enabled
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


@pytest.mark.parametrize("which", ["before", "mask"])
def test_input_removed_during_a_run(host: Any, panel: Any, scene: Any, scan_node: Any, better_node: Any, which: str):
    mask = add_node(host, volume_from_node(scan_node), "Mask")
    panel.ui.maskSelector.setCurrentNode(mask)
    panel.ui.beforeSelector.setCurrentNode(scan_node)
    panel.ui.afterSelector.setCurrentNode(better_node)
    panel.logic.runner = FakeRunner(steps=10_000)
    host.click(panel.ui.applyButton)
    scene.RemoveNode(scan_node if which == "before" else mask)
    host.process(200)
    assert panel.run.task is None
    assert panel.logic.runner.processes[0].killed


def test_images_removed_afterwards(host: Any, panel: Any, scene: Any, scan_node: Any, better_node: Any):
    """The numbers stay; what needs the images is off."""
    table = compare(host, panel, scan_node, better_node)
    scene.RemoveNode(better_node)
    host.process(50)
    assert not panel.ui.showButton.enabled
    assert not panel.ui.applyButton.enabled
    assert StoredComparison(table).rows
    panel.ui.resultSelector.setCurrentNode(table)
    host.process(50)
    assert panel.ui.measuresTable.rowCount > 0
    panel.logic.comparison(table).exportReport(host.slicer.app.temporaryPath + "/late")


def test_leaving_and_coming_back_during_a_run(host: Any, panel: Any, scan_node: Any, better_node: Any):
    panel.ui.beforeSelector.setCurrentNode(scan_node)
    panel.ui.afterSelector.setCurrentNode(better_node)
    panel.logic.runner = FakeRunner(steps=8)
    host.click(panel.ui.applyButton)
    panel.exit()
    settle_comparison(host, panel)
    panel.enter()
    assert panel.ui.resultSelector.currentNode().GetName() == "Scan → Better"
    assert panel.ui.measuresTable.rowCount > 0


def test_charts_of_others_stay_in_the_plot_view(host: Any, panel: Any, scene: Any, scan_node: Any, better_node: Any):
    first = compare(host, panel, scan_node, better_node)
    node, own = layouts.curves_view_node(), StoredComparison(first).charts["histogram"]
    assert node.GetPlotChartNode() is own
    panel.ui.resultSelector.setCurrentNode(None)
    assert node.GetPlotChartNode() is None
    panel.ui.resultSelector.setCurrentNode(first)
    assert node.GetPlotChartNode() is own
    someone = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", "Someone else's")
    node.SetPlotChartNodeID(someone.GetID())
    panel.ui.squareSpinBox.setValue(11.0)
    assert node.GetPlotChartNode() is someone
    panel.ui.resultSelector.setCurrentNode(None)
    assert node.GetPlotChartNode() is someone
    panel.ui.resultSelector.setCurrentNode(first)
    assert node.GetPlotChartNode() is own


# The report


def test_report_is_saved_and_opened(host: Any, panel: Any, scan_node: Any, better_node: Any, tmp_path: Path):
    compare(host, panel, scan_node, better_node)
    host.answers.append(str(tmp_path / "reports"))
    host.click(panel.ui.exportButton)
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == sorted(REPORT_FILES)
    assert "Scan.nrrd and Better.nrrd" in (tmp_path / "reports" / "report.html").read_text(encoding="utf-8")
    assert "report.html" in panel.ui.statusLabel.text
    host.answers.append("")  # the user thinks better of it
    host.click(panel.ui.exportButton)
    host.click(panel.ui.openButton)
    (address,) = host.opened
    assert address.startswith("file:")
    assert address.endswith("report.html")


def test_report_cannot_be_written(host: Any, panel: Any, scan_node: Any, better_node: Any, tmp_path: Path):
    compare(host, panel, scan_node, better_node)
    (tmp_path / "file").write_text("not a folder")
    host.answers.append(str(tmp_path / "file"))
    host.click(panel.ui.exportButton)
    assert "cannot" in panel.ui.statusLabel.text
    assert (tmp_path / "file").read_text() == "not a folder"


@pytest.fixture
def reloading(host: Any) -> Iterator[None]:
    """Put the library back as it was after a test that loads it anew."""
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "MRHarmonizationLib"}
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "MRHarmonizationLib"]:
        del sys.modules[name]
    sys.modules.update(kept)
    host.slicer.util.reloadScriptedModule("MRHarmonizationCompare")


def test_reload_of_the_module(host: Any, panel: Any, reloading: None, scan_node: Any, better_node: Any):
    first = compare(host, panel, scan_node, better_node)
    panel.logic.runner = runner = FakeRunner(steps=10_000)
    host.click(panel.ui.applyButton)
    panel.onReload()
    host.process(100)
    assert runner.processes[0].killed
    fresh = host.widget("MRHarmonizationCompare")
    assert fresh is not panel
    assert sys.modules["MRHarmonizationLib.slicer_adapter.comparisons"] is not comparisons
    fresh.logic.runner = FakeRunner()
    assert fresh.ui.resultSelector.currentNode() is first
    assert fresh.ui.measuresTable.rowCount > 0
    assert compare(host, fresh, scan_node, better_node) is first
    assert np.isfinite(StoredComparison(first).rows[0].after)
