"""The panel for diffusion scans, driven as a user drives it; processes are replaced by a fake that answers at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_dwi import GAIN
from fake_runner import FakeRunner
from slicer_support import add_dwi_node, add_node, choose, picture, settle_dwi, values
from support.panel_scans import small_scan

from MRHarmonizationLib.core.errors import DependencyError, ResourceError
from MRHarmonizationLib.slicer_adapter import dwi_nodes, layouts, texts
from MRHarmonizationLib.slicer_adapter.dwi_choices import TARGET_FILE, TARGET_SCAN
from MRHarmonizationLib.slicer_adapter.dwi_table import notes_text
from MRHarmonizationLib.volumes.dwi_files import write_dwi
from MRHarmonizationLib.volumes.volume import Volume

FOUR_UP = 3


@pytest.fixture
def panel(dwi_panel: Any) -> Any:
    dwi_panel.enter()
    return dwi_panel


def apply(host: Any, panel: Any) -> Any:
    """Press Apply, wait, and return the result's node."""
    host.click(panel.ui.applyButton)
    settle_dwi(host, panel)
    return panel._parameterNode.outputVolume


def sides(host: Any, orientation: str = "Axial") -> tuple[Any, Any]:
    """The composite nodes of both sides."""
    manager = host.slicer.app.layoutManager()
    found = (manager.sliceWidget(layouts.view_name(side, orientation)) for side in (layouts.BEFORE, layouts.AFTER))
    left, right = (widget.mrmlSliceCompositeNode() for widget in found)
    return left, right


def table_texts(panel: Any) -> list[list[str]]:
    table = panel.ui.measuresTable
    return [[table.item(row, column).text() for column in range(table.columnCount)] for row in range(table.rowCount)]


def test_empty_scene(host: Any, dwi_panel: Any):
    panel = dwi_panel
    host.slicer.app.layoutManager().setLayout(FOUR_UP)  # whatever was shown before
    panel.enter()
    ui = panel.ui
    assert not ui.applyButton.enabled
    assert "select a diffusion scan" in ui.applyButton.toolTip
    assert ui.statusLabel.text == ""
    buttons = (ui.showButton, ui.swapButton, ui.rockButton, ui.differenceButton, ui.undoButton, ui.convertButton)
    for widget in (*buttons, ui.restoreButton, ui.exportButton, ui.openButton, ui.volumeSlider, ui.shownComboBox):
        assert not widget.enabled
    assert not ui.measuresTable.visible


def test_every_control_has_a_tooltip(host: Any, panel: Any):
    import qt

    kinds = (qt.QPushButton, qt.QComboBox, qt.QCheckBox, qt.QDoubleSpinBox, qt.QTableWidget)
    kinds += (host.slicer.qMRMLNodeComboBox, host.ctk.ctkSliderWidget, host.ctk.ctkPathLineEdit)
    named = {name: widget for name, widget in vars(panel.ui).items() if isinstance(widget, kinds)}
    assert len(named) > 30
    assert not [name for name, widget in named.items() if not widget.toolTip]


def test_scan_is_described(host: Any, panel: Any, dwi_node: Any):
    ui = panel.ui
    panel.enter()
    assert ui.inputSelector.currentNode() is dwi_node
    assert "36 × 40 × 12 voxels" in ui.infoLabel.text
    assert "14 volumes: 2 with b ≈ 0, 12 with b = 1000 s/mm²; 12 directions" in ui.infoLabel.text
    assert not ui.warningsLabel.visible
    few = add_dwi_node(host, few_directions(), "Few")
    ui.inputSelector.setCurrentNode(few)
    assert "only diffusivity is watched" in ui.warningsLabel.text
    broken = add_dwi_node(host, small_scan(), "Broken")
    broken.SetNumberOfGradients(0)
    ui.inputSelector.setCurrentNode(broken)
    assert "tells no b-values" in ui.statusLabel.text
    assert texts.WRONG in ui.statusLabel.styleSheet
    assert not ui.applyButton.enabled


def few_directions() -> Any:
    """The unweighted volumes and two directions of the small scan."""
    scan = small_scan()
    kept = [0, 1, 2, 7]
    return type(scan)(scan.array[..., kept], scan.grid, scan.b_values_s_per_mm2[kept], scan.gradients_ras[kept])


def test_only_what_matters_is_shown(host: Any, panel: Any, dwi_node: Any):
    ui = panel.ui
    panel.enter()
    choose(ui.methodComboBox, "nyul")
    assert ui.targetComboBox.isVisible()
    choose(ui.targetComboBox, TARGET_SCAN)
    assert ui.targetSelector.isVisible()
    assert not ui.targetPathEdit.isVisible()
    assert "choose the target scan" in ui.applyButton.toolTip
    assert not ui.applyButton.enabled
    ui.targetSelector.setCurrentNode(add_dwi_node(host, small_scan(gain=0.4), "Other"))
    assert ui.applyButton.enabled
    choose(ui.targetComboBox, TARGET_FILE)
    assert "choose the target file" in ui.applyButton.toolTip
    ui.targetPathEdit.currentPath = "/somewhere/target.json"
    assert panel._parameterNode.targetPath == "/somewhere/target.json"
    assert ui.applyButton.enabled
    for method in panel.logic.methods():
        choose(ui.methodComboBox, method.id)
        assert ui.fittedPathEdit.isVisible() == method.needs_fitted
        assert ui.targetComboBox.isVisible() == method.uses_target
        assert ui.methodInfoLabel.text
    assert not ui.spacingSpinBox.isVisible()
    ui.gridComboBox.setCurrentIndex(ui.gridComboBox.count - 1)
    assert ui.spacingSpinBox.isVisible()


def test_choices_reach_the_command_line(host: Any, panel: Any, dwi_node: Any, small_dwi: Any):
    ui = panel.ui
    panel.enter()
    choose(ui.methodComboBox, "global_scaling")
    choose(ui.targetComboBox, TARGET_SCAN)
    ui.targetSelector.setCurrentNode(add_dwi_node(host, small_scan(gain=0.4), "Other"))
    ui.strengthSlider.setValue(0.5)
    ui.noiseComboBox.setCurrentIndex(2)
    ui.gridComboBox.setCurrentIndex(2)
    ui.spacingSpinBox.setValue(4.0)
    ui.keepResidualCheckBox.checked = True
    region = (small_dwi.mean_b0().array > 300).astype(np.int16)
    ui.maskSelector.setCurrentNode(add_node(host, Volume(region, small_dwi.grid), "Brain"))
    apply(host, panel)
    process = panel.logic.runner.processes[-1]
    assert process.option("--method") == "global_scaling"
    assert process.option("--strength") == "0.5"
    assert process.option("--noise") == "floor"
    assert process.option("--spacing") == "4.0,4.0,4.0"
    assert process.option("--target").endswith("target.json")
    for name in ("--mask", "--residual", "--maps", "--report"):
        assert name in process.command
    ui.maskSelector.setCurrentNode(None)


def test_apply_shows_both_and_the_table(host: Any, panel: Any, dwi_node: Any):
    ui, manager = panel.ui, host.slicer.app.layoutManager()
    manager.setLayout(FOUR_UP)
    panel.enter()
    choose(ui.methodComboBox, "nyul")
    panel.logic.runner = FakeRunner(steps=4)
    before, time = dwi_nodes.dwi_from_node(dwi_node), dwi_node.GetMTime()
    host.click(ui.applyButton)
    assert ui.applyButton.text == "Cancel"
    assert ui.progressBar.visible
    assert not ui.inputSelector.enabled
    assert host.wait(lambda: ui.progressBar.value >= 25)
    settle_dwi(host, panel)
    assert ui.statusLabel.text.startswith("Done in")
    output = ui.outputSelector.currentNode()
    assert output.GetName() == "DTI_nyul"
    np.testing.assert_allclose(dwi_nodes.dwi_from_node(output).array, before.array * (1 + 0.8 * (GAIN - 1)), rtol=1e-6)
    assert dwi_node.GetMTime() == time
    assert table_texts(panel)[:2] == [
        ["White matter MD", "0.800", "0.806", "+0.8 %"], ["White matter FA", "0.450", "0.446", "−0.004"],
    ]  # fmt: skip
    assert [row[0] for row in table_texts(panel)[2:]] == ["Grey matter MD", "Grey matter FA", "Brain MD", "Brain FA"]
    import qt

    colour = ui.measuresTable.item(0, 3).foreground().color().name()
    assert colour == qt.QColor(texts.GOOD).name()
    assert ui.measuresTable.item(1, 3).toolTip() == "Mean of 1,234 voxels; may change by 0.01."
    assert ui.measuresTable.item(2, 3).foreground().color().name() != colour  # grey matter is not limited
    assert "Strength used: 0.80." in ui.notesLabel.text
    assert "reduced to 0.8" in ui.notesLabel.text
    left, right = sides(host)
    assert left.GetBackgroundVolumeID() == dwi_node.GetID()
    assert right.GetBackgroundVolumeID() == output.GetID()
    assert ui.showButton.checked
    picture(host, "dwi_applied")


def test_sharpening_that_was_held_back_is_told(host: Any, panel: Any, dwi_node: Any):
    panel.enter()
    apply(host, panel)
    result = panel.logic.result(panel.ui.outputSelector.currentNode())
    result.node.SetAttribute("MRHarmonization.parameter.spatial_strength", "0.25")
    assert "for sharpening: 0.25" in notes_text(result, str)


def test_volume_browser(host: Any, panel: Any, dwi_node: Any):
    """The slider turns both sides to one volume; the brightness a user sets for a shell comes back with it."""
    ui = panel.ui
    panel.enter()
    displays = [dwi_node.GetDisplayNode(), apply(host, panel).GetDisplayNode()]
    assert (ui.volumeSlider.minimum, ui.volumeSlider.maximum) == (1, 14)
    ui.volumeSlider.setValue(6)
    assert [display.GetDiffusionComponent() for display in displays] == [5, 5]
    assert "Volume 6 of 14: b = 1000 s/mm² along (R " in ui.volumeLabel.text
    windows = [display.GetWindow() for display in displays]
    assert windows[1] / windows[0] == pytest.approx(1 + 0.8 * (GAIN - 1), rel=0.01)  # each its own
    displays[0].SetWindowLevel(123.0, 45.0)
    ui.volumeSlider.setValue(1)
    assert displays[0].GetWindow() > 500  # unweighted volumes are brighter
    ui.volumeSlider.setValue(10)
    assert (displays[0].GetWindow(), displays[0].GetLevel()) == (123.0, 45.0)
    picture(host, "dwi_volume")
    host.click(ui.sameWindowCheckBox)
    assert displays[0].GetWindow() == displays[1].GetWindow()
    displays[1].SetWindowLevel(300.0, 150.0)  # as with the mouse: the other side follows
    assert displays[0].GetWindow() == 300.0
    host.click(ui.sameWindowCheckBox)


def test_maps(host: Any, panel: Any, dwi_node: Any):
    ui = panel.ui
    panel.enter()
    output = apply(host, panel)
    titles = [ui.shownComboBox.itemText(index) for index in range(ui.shownComboBox.count)]
    assert [title.partition(" (")[0] for title in titles] == [
        "Volumes", "Map: mean b0", "Map: trace", "Map: FA", "Map: MD",
    ]  # fmt: skip
    result = panel.logic.result(output)
    choose(ui.shownComboBox, "fa")
    left, right = sides(host)
    assert left.GetBackgroundVolumeID() == result.map("fa", "before").GetID()
    assert right.GetBackgroundVolumeID() == result.map("fa", "after").GetID()
    for side in ("before", "after"):
        display = result.map("fa", side).GetScalarVolumeDisplayNode()
        assert (display.GetWindow(), display.GetLevel()) == (1.0, 0.5)
    assert not ui.volumeSlider.enabled
    picture(host, "dwi_map")
    host.click(ui.differenceButton)
    settle_dwi(host, panel)
    difference = host.slicer.mrmlScene.GetNodeByID(right.GetBackgroundVolumeID())
    assert np.ptp(values(difference)) == 0
    assert difference.GetScalarVolumeDisplayNode().GetWindow() == pytest.approx(0.1)  # noise is not blown up
    host.click(ui.differenceButton)
    host.slicer.mrmlScene.RemoveNode(difference)
    hierarchy = host.slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(host.slicer.mrmlScene)
    parents = {
        hierarchy.GetItemDataNode(hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)))
        for node in (*result.maps.values(), result.table)
    }
    assert parents == {output}
    ui.keepMapsCheckBox.checked = False
    assert apply(host, panel) is output  # run again without them: they go
    assert result.maps == {}
    assert host.slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2  # the diffusion volumes
    assert not ui.shownComboBox.enabled
    assert sides(host)[0].GetBackgroundVolumeID() == dwi_node.GetID()
    ui.keepMapsCheckBox.checked = True


def test_difference_swap_rock_restore(host: Any, panel: Any, dwi_node: Any):
    ui, manager = panel.ui, host.slicer.app.layoutManager()
    manager.setLayout(FOUR_UP)
    panel.enter()
    output = apply(host, panel)
    ui.volumeSlider.setValue(4)
    host.click(ui.differenceButton)
    settle_dwi(host, panel)
    (node,) = [n for n in host.slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if "difference" in n.GetName()]
    scan = dwi_nodes.dwi_from_node(dwi_node).array
    np.testing.assert_allclose(values(node), 0.8 * (GAIN - 1) * scan[..., 3], rtol=1e-3, atol=1e-2)
    left, right = sides(host)
    assert right.GetBackgroundVolumeID() == node.GetID()
    picture(host, "dwi_difference")
    ui.volumeSlider.setValue(1)  # it follows
    settle_dwi(host, panel)
    np.testing.assert_allclose(values(node), 0.8 * (GAIN - 1) * scan[..., 0], rtol=1e-3, atol=1e-2)
    host.click(ui.differenceButton)
    assert right.GetBackgroundVolumeID() == output.GetID()
    host.click(ui.swapButton)
    assert right.GetBackgroundVolumeID() == dwi_node.GetID()
    host.click(ui.swapButton)
    host.click(ui.rockButton)
    assert host.wait(lambda: right.GetBackgroundVolumeID() == dwi_node.GetID(), 5)
    host.click(ui.rockButton)
    host.click(ui.restoreButton)
    assert manager.layout == FOUR_UP
    assert not ui.showButton.checked


def test_undo_and_redo(host: Any, panel: Any, dwi_node: Any):
    ui = panel.ui
    panel.enter()
    apply(host, panel)
    assert not ui.undoButton.enabled
    ui.keepResidualCheckBox.checked = True
    output = apply(host, panel)
    harmonised, scan = dwi_nodes.dwi_from_node(output).array, dwi_nodes.dwi_from_node(dwi_node).array
    host.click(ui.undoButton)
    np.testing.assert_array_equal(dwi_nodes.dwi_from_node(output).array, scan)
    assert ui.undoButton.text == "Redo"
    host.click(ui.undoButton)
    np.testing.assert_array_equal(dwi_nodes.dwi_from_node(output).array, harmonised)
    assert ui.undoButton.text == "Undo"
    hidden = [
        n for n in host.slicer.util.getNodesByClass("vtkMRMLDiffusionWeightedVolumeNode") if n.GetHideFromEditors()
    ]
    assert len(hidden) == 1
    ui.keepResidualCheckBox.checked = False


def test_cancel_and_failures(host: Any, panel: Any, scene: Any, dwi_node: Any):
    ui = panel.ui
    panel.enter()
    panel.logic.runner = FakeRunner(steps=10_000)
    count = scene.GetNumberOfNodes()
    host.click(ui.applyButton)
    host.process(300)
    host.click(ui.applyButton)
    assert panel.run.task is None
    assert panel.logic.runner.processes[0].killed
    assert ui.statusLabel.text == "Cancelled; nothing was changed."
    assert scene.GetNumberOfNodes() == count
    panel.logic.runner = FakeRunner(error=ResourceError("memory is exhausted", "crop the scan"))
    assert apply(host, panel) is None
    assert ui.statusLabel.text == "Memory is exhausted; crop the scan."
    assert texts.WRONG in ui.statusLabel.styleSheet


def test_user_declines_packages(host: Any, panel: Any, dwi_node: Any):
    class Declined:
        def missing(self, requirements: Any) -> list[Any]:
            return list(requirements)

        def install(self, requirements: Any) -> None:
            assert {"onnxruntime", "matplotlib"} <= {requirement.module for requirement in requirements}
            raise DependencyError("needed packages were not installed", "press Apply again")

    panel.enter()
    former, panel.logic.installer = panel.logic.installer, Declined()
    try:
        assert apply(host, panel) is None
    finally:
        panel.logic.installer = former
    assert "were not installed" in panel.ui.statusLabel.text


def test_another_scan_gets_a_result_of_its_own(host: Any, panel: Any, dwi_node: Any):
    ui = panel.ui
    panel.enter()
    first = apply(host, panel)
    other = add_dwi_node(host, small_scan(gain=2.0), "Other")
    ui.inputSelector.setCurrentNode(other)
    assert ui.outputSelector.currentNode() is None
    assert table_texts(panel) == []
    second = apply(host, panel)
    assert second is not first
    ui.outputSelector.setCurrentNode(first)  # a result brings its scan along
    assert ui.inputSelector.currentNode() is dwi_node
    assert table_texts(panel)


def test_load_from_disk_and_from_tables(host: Any, panel: Any, scene: Any, small_dwi: Any, tmp_path: Path):
    ui = panel.ui
    image, bval, bvec = write_dwi(small_dwi, tmp_path / "scan.nii.gz")
    host.answers.append(str(image))
    host.click(ui.loadButton)
    loaded = ui.inputSelector.currentNode()
    assert loaded.GetName() == "scan"
    assert ui.statusLabel.text == "Loaded scan."
    np.testing.assert_allclose(dwi_nodes.dwi_from_node(loaded).gradients_ras, small_dwi.gradients_ras, atol=1e-6)
    (tmp_path / "alone.nii.gz").write_bytes(image.read_bytes())
    host.answers.append(str(tmp_path / "alone.nii.gz"))
    host.click(ui.loadButton)
    assert "has no b-values" in ui.statusLabel.text
    assert ui.inputSelector.currentNode() is loaded
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "series")
    item = add_node(host, small_dwi.volume(0), "item")
    for index in range(small_dwi.n_volumes):
        host.slicer.util.updateVolumeFromArray(item, np.ascontiguousarray(small_dwi.array[..., index]))
        sequence.SetDataNodeAtValue(item, str(index))
    ui.importSection.collapsed = False
    ui.sourceSelector.setCurrentNode(sequence)
    ui.bvalPathEdit.currentPath = str(bval)
    assert not ui.convertButton.enabled
    ui.bvecPathEdit.currentPath = str(bvec)
    host.click(ui.convertButton)
    made = ui.inputSelector.currentNode()
    assert made.GetName() == "series_dwi"
    np.testing.assert_array_equal(dwi_nodes.dwi_from_node(made).array, small_dwi.array)
    ui.bvalPathEdit.currentPath = str(tmp_path / "gone.bval")
    host.click(ui.convertButton)
    assert "gone.bval is not there" in ui.statusLabel.text
    assert ui.inputSelector.currentNode() is made
    ui.importSection.collapsed = True
