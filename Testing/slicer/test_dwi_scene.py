"""The panel for diffusion scans and the scene: saved, loaded, closed or emptied during a run; reports; reload."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runner import FakeRunner
from slicer_support import choose, picture, settle_dwi

from MRHarmonizationLib.slicer_adapter import dwi_nodes, dwi_results
from MRHarmonizationLib.slicer_adapter.dwi_results import DwiResult

FOUR_UP = 3


@pytest.fixture
def panel(dwi_panel: Any, dwi_node: Any) -> Any:
    dwi_panel.enter()
    choose(dwi_panel.ui.methodComboBox, "nyul")
    return dwi_panel


def apply(host: Any, panel: Any) -> Any:
    host.click(panel.ui.applyButton)
    settle_dwi(host, panel)
    return panel._parameterNode.outputVolume


def shown_table(panel: Any) -> list[str]:
    table = panel.ui.measuresTable
    return [table.item(row, column).text() for row in range(table.rowCount) for column in range(table.columnCount)]


def test_saved_and_loaded_scene(host: Any, panel: Any, scene: Any, dwi_node: Any, tmp_path: Path):
    """Everything comes back but the report, undo too, bit for bit."""
    ui = panel.ui
    host.slicer.app.layoutManager().setLayout(FOUR_UP)
    ui.strengthSlider.setValue(0.7)
    ui.noiseComboBox.setCurrentIndex(3)
    ui.keepResidualCheckBox.checked = True
    output = apply(host, panel)
    ui.volumeSlider.setValue(5)
    choose(ui.shownComboBox, "md")
    table, notes = shown_table(panel), ui.notesLabel.text
    scan, harmonised = (dwi_nodes.dwi_from_node(node) for node in (dwi_node, output))
    assert host.slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    host.process(50)
    assert ui.measuresTable.rowCount == 0
    assert ui.statusLabel.text == ""
    assert ui.inputSelector.currentNode() is None
    host.slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    settle_dwi(host, panel)
    assert ui.inputSelector.currentNode().GetName() == "DTI"
    loaded = ui.outputSelector.currentNode()
    assert loaded.GetName() == "DTI_nyul"
    assert ui.strengthSlider.value == 0.7
    assert ui.noiseComboBox.currentIndex == 3
    assert ui.methodComboBox.currentData == "nyul"
    assert ui.shownComboBox.currentData == "md"
    assert panel._parameterNode.volume == 4
    assert (shown_table(panel), ui.notesLabel.text) == (table, notes)
    assert panel.logic.result(loaded).strength == 0.7
    assert set(DwiResult(loaded).map_names) == {"b0", "trace", "fa", "md"}
    assert ui.showButton.checked  # the views are as they were saved
    picture(host, "dwi_reloaded")
    assert not ui.exportButton.enabled
    assert "not saved with the scene" in ui.exportButton.toolTip
    back = dwi_nodes.dwi_from_node(loaded)
    np.testing.assert_array_equal(back.array, harmonised.array)
    np.testing.assert_allclose(back.gradients_ras, scan.gradients_ras, atol=1e-5)
    host.click(ui.undoButton)
    np.testing.assert_array_equal(dwi_nodes.dwi_from_node(loaded).array, scan.array)
    ui.keepResidualCheckBox.checked = False
    assert apply(host, panel) is loaded
    assert ui.exportButton.enabled
    assert ui.undoButton.text == "Undo"
    assert not ui.undoButton.enabled
    assert scene.GetNumberOfNodesByClass("vtkMRMLDiffusionWeightedVolumeNode") == 2
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == 1


def test_scene_closed_during_a_run(host: Any, panel: Any, scene: Any):
    panel.logic.runner = FakeRunner(steps=10_000)
    host.click(panel.ui.applyButton)
    host.process(200)
    scene.Clear(0)
    host.process(200)
    assert panel.run.task is None
    assert panel.logic.runner.processes[0].killed
    assert panel.ui.inputSelector.currentNode() is None
    assert not panel.ui.progressBar.visible
    assert scene.GetNumberOfNodesByClass("vtkMRMLDiffusionWeightedVolumeNode") == 0
    assert not list(Path(host.slicer.app.temporaryPath).glob("MRHarmonization-??*"))


def test_scene_closed_while_it_is_looked_at(host: Any, panel: Any, scene: Any):
    apply(host, panel)
    host.click(panel.ui.rockButton)
    host.click(panel.ui.differenceButton)
    scene.Clear(0)
    host.process(900)
    assert not panel.views.is_working
    assert not panel.ui.rockButton.enabled
    assert not panel.ui.volumeSlider.enabled
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_scan_removed_during_a_run(host: Any, panel: Any, scene: Any, dwi_node: Any):
    panel.logic.runner = FakeRunner(steps=10_000)
    host.click(panel.ui.applyButton)
    scene.RemoveNode(dwi_node)
    host.process(200)
    assert panel.run.task is None
    assert panel.logic.runner.processes[0].killed


def test_nodes_removed_afterwards(host: Any, panel: Any, scene: Any, dwi_node: Any):
    """Without a map the list is shorter, without a table there are no numbers, without the result nothing is left."""
    output = apply(host, panel)
    result = panel.logic.result(output)
    scene.RemoveNode(result.map("fa", "before"))
    scene.RemoveNode(result.table)
    panel.ui.volumeSlider.setValue(2)
    assert panel.ui.shownComboBox.findData("fa") == -1
    assert panel.ui.shownComboBox.findData("md") > 0
    assert panel.ui.measuresTable.rowCount == 0
    scene.RemoveNode(output)
    host.process(50)
    assert not panel.ui.showButton.enabled
    assert panel.ui.applyButton.enabled
    apply(host, panel)
    scene.RemoveNode(dwi_node)
    host.process(50)
    assert not panel.ui.showButton.enabled
    assert not panel.ui.applyButton.enabled


def test_leaving_and_coming_back_during_a_run(host: Any, panel: Any):
    panel.logic.runner = FakeRunner(steps=8)
    host.click(panel.ui.applyButton)
    panel.exit()
    settle_dwi(host, panel)
    panel.enter()
    assert panel.ui.outputSelector.currentNode().GetName() == "DTI_nyul"
    assert panel.ui.measuresTable.rowCount > 0


def test_report_is_saved_and_opened(host: Any, panel: Any, tmp_path: Path):
    apply(host, panel)
    host.answers.append(str(tmp_path / "reports"))
    host.click(panel.ui.exportButton)
    assert sorted(path.name for path in (tmp_path / "reports").iterdir()) == ["report.csv", "report.html"]
    assert "DTI" in (tmp_path / "reports" / "report.html").read_text(encoding="utf-8")
    host.answers.append("")  # the user thinks better of it
    host.click(panel.ui.exportButton)
    host.click(panel.ui.openButton)
    (address,) = host.opened
    assert address.startswith("file:")
    assert address.endswith("report.html")
    (tmp_path / "file").write_text("not a folder")
    host.answers.append(str(tmp_path / "file"))
    host.click(panel.ui.exportButton)
    assert "cannot" in panel.ui.statusLabel.text


@pytest.fixture
def reloading(host: Any) -> Iterator[None]:
    """Put the library back as it was after a test that loads it anew."""
    kept = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "MRHarmonizationLib"}
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "MRHarmonizationLib"]:
        del sys.modules[name]
    sys.modules.update(kept)
    host.slicer.util.reloadScriptedModule("MRHarmonizationDWI")


def test_reload_of_the_module(host: Any, panel: Any, reloading: None):
    first = apply(host, panel)
    panel.logic.runner = runner = FakeRunner(steps=10_000)
    host.click(panel.ui.applyButton)
    panel.onReload()
    host.process(100)
    assert runner.processes[0].killed
    fresh = host.widget("MRHarmonizationDWI")
    assert fresh is not panel
    assert sys.modules["MRHarmonizationLib.slicer_adapter.dwi_results"] is not dwi_results
    fresh.logic.runner = FakeRunner()
    assert fresh.ui.outputSelector.currentNode() is first
    assert fresh.ui.measuresTable.rowCount > 0
    assert apply(host, fresh) is first
