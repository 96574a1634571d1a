"""The panel, driven as a user drives it; processes are replaced by a fake that answers at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_runner import FakeRunner
from slicer_support import add_node, apply, baseline, choose, picture, settle, values

from MRHarmonizationLib.core.errors import DependencyError, ResourceError
from MRHarmonizationLib.slicer_adapter import records, results, texts
from MRHarmonizationLib.slicer_adapter.layouts import AFTER, BEFORE, view_name
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

FOUR_UP = 3


def test_empty_scene(host: Any, panel: Any):
    ui = panel.ui
    assert ui.inputSelector.currentNode() is None
    assert not ui.applyButton.enabled
    assert "select a scan" in ui.applyButton.toolTip
    assert ui.statusLabel.text == ""
    for button in (ui.showButton, ui.swapButton, ui.rockButton, ui.differenceButton, ui.restoreButton, ui.undoButton):
        assert not button.enabled


def test_every_control_has_a_tooltip(host: Any, panel: Any):
    import qt

    kinds = (qt.QPushButton, qt.QComboBox, qt.QCheckBox, host.ctk.ctkSliderWidget, host.slicer.qMRMLNodeComboBox)
    named = {name: widget for name, widget in vars(panel.ui).items() if isinstance(widget, kinds)}
    assert len(named) > 15
    assert not [name for name, widget in named.items() if not widget.toolTip]


def test_scan_model_and_domain_are_described(host: Any, panel: Any, scan_node: Any):
    ui = panel.ui
    panel.enter()
    assert ui.inputSelector.currentNode() is scan_node
    assert "thick slices head–foot" in ui.inputInfoLabel.text
    assert [ui.modelComboBox.itemData(i) for i in range(ui.modelComboBox.count)] == ["tiny", "wide"]
    assert "Random weights" in ui.modelInfoLabel.text
    assert "Tiny network" in ui.modelInfoLabel.toolTip
    assert not ui.warningsLabel.visible
    choose(ui.modelComboBox, "wide")
    assert panel._parameterNode.model == "wide"
    assert "slice spacing 4.00 mm lies outside" in ui.warningsLabel.text.lower()
    assert ui.warningsLabel.visible
    assert ui.applyButton.enabled  # a warning, no refusal


def test_apply_compare_measure(host: Any, panel: Any, scan_node: Any):
    ui = panel.ui
    host.slicer.app.layoutManager().setLayout(FOUR_UP)
    panel.enter()
    panel.logic.runner = FakeRunner(steps=4)
    host.click(ui.applyButton)
    assert ui.applyButton.text == "Cancel"
    assert ui.progressBar.visible
    assert not ui.inputSelector.enabled
    assert host.wait(lambda: ui.progressBar.value >= 25)
    assert ui.statusLabel.text.startswith("Working (")
    settle(host, panel)
    assert ui.applyButton.text == "Apply"
    assert not ui.progressBar.visible
    assert ui.statusLabel.text.startswith("Done in")
    output = ui.outputSelector.currentNode()
    assert output.GetName() == "Scan_tiny"
    assert panel._parameterNode.outputVolume is output
    assert "Noise" in ui.measuresLabel.text
    assert "Sharpness" in ui.measuresLabel.text
    assert ui.showButton.checked
    manager = host.slicer.app.layoutManager()
    left, right = (manager.sliceWidget(view_name(side, "Axial")) for side in (BEFORE, AFTER))
    assert left.mrmlSliceCompositeNode().GetBackgroundVolumeID() == scan_node.GetID()
    assert right.mrmlSliceCompositeNode().GetBackgroundVolumeID() == output.GetID()
    assert picture(host, "panel_applied").stat().st_size > 10_000


def test_swap_rock_difference_planes_restore(host: Any, panel: Any, scan_node: Any):
    ui = panel.ui
    manager = host.slicer.app.layoutManager()
    manager.setLayout(FOUR_UP)
    panel.enter()
    output = apply(host, panel)
    right = manager.sliceWidget(view_name(AFTER, "Sagittal")).mrmlSliceCompositeNode()
    host.click(ui.swapButton)
    assert ui.swapButton.checked
    assert right.GetBackgroundVolumeID() == scan_node.GetID()
    host.click(ui.swapButton)
    host.click(ui.differenceButton)
    difference = output.GetNodeReference(records.DIFFERENCE_ROLE)
    assert right.GetBackgroundVolumeID() == difference.GetID()
    picture(host, "panel_difference")
    host.click(ui.differenceButton)
    assert right.GetBackgroundVolumeID() == output.GetID()
    host.click(ui.rockButton)
    assert host.wait(lambda: right.GetBackgroundVolumeID() == scan_node.GetID(), 5)
    host.click(ui.rockButton)
    assert right.GetBackgroundVolumeID() == output.GetID()
    ui.planesComboBox.setCurrentIndex(ui.planesComboBox.count - 1)
    assert manager.sliceWidget(view_name(AFTER, "Coronal")).isVisible()
    picture(host, "panel_three_planes")
    ui.outputSelector.setCurrentNode(None)
    assert not ui.showButton.enabled
    host.click(ui.restoreButton)  # the way back is always open
    assert manager.layout == FOUR_UP
    ui.outputSelector.setCurrentNode(output)
    assert not ui.showButton.checked
    assert not ui.swapButton.enabled
    host.click(ui.showButton)
    assert ui.swapButton.enabled
    host.click(ui.showButton)
    assert manager.layout == FOUR_UP


def test_layout_changed_by_the_user_is_noticed(host: Any, panel: Any, scan_node: Any):
    panel.enter()
    apply(host, panel)
    host.slicer.app.layoutManager().setLayout(FOUR_UP)
    assert not panel.ui.showButton.checked
    assert not panel.ui.rockButton.enabled


def test_undo_and_redo(host: Any, panel: Any, scan_node: Any):
    ui = panel.ui
    panel.enter()
    output = apply(host, panel)
    enhanced = values(output).copy()
    host.click(ui.undoButton)
    settle(host, panel)
    assert np.array_equal(values(output), baseline(scan_node))
    assert ui.undoButton.text == "Redo"
    host.click(ui.undoButton)
    settle(host, panel)
    assert np.array_equal(values(output), enhanced)
    assert ui.undoButton.text == "Undo"


def test_strength_follows_the_slider_without_a_run(host: Any, panel: Any, scan_node: Any):
    ui = panel.ui
    panel.enter()
    output = apply(host, panel)
    runs, enhanced = len(panel.logic.runner.processes), values(output).copy()
    ui.strengthSlider.value = 0.5
    settle(host, panel)
    half = baseline(scan_node) + 0.5 * (enhanced - baseline(scan_node))
    assert np.allclose(values(output), half, rtol=1e-5, atol=1e-3)
    assert results.strength_of(output) == 0.5
    ui.strengthSlider.value = 1.0
    settle(host, panel)
    assert np.allclose(values(output), enhanced, rtol=1e-5, atol=1e-3)
    assert len(panel.logic.runner.processes) == runs


def test_without_residual_there_is_no_undo(host: Any, panel: Any, scan_node: Any):
    ui = panel.ui
    panel.enter()
    ui.advancedSection.collapsed = False
    host.click(ui.keepResidualCheckBox)
    output = apply(host, panel)
    assert "--residual" not in panel.logic.runner.processes[-1].command
    assert not ui.undoButton.enabled
    before = values(output).copy()
    ui.strengthSlider.value = 0.5
    settle(host, panel)
    assert np.array_equal(values(output), before)
    ui.advancedSection.collapsed = True


def test_choices_reach_the_command_line(host: Any, panel: Any, scan_node: Any):
    ui = panel.ui
    panel.enter()
    ui.advancedSection.collapsed = False
    choose(ui.modelComboBox, "wide")
    ui.strengthSlider.value = 0.35
    ui.deviceComboBox.setCurrentIndex(1)
    ui.backendComboBox.setCurrentIndex(1)
    ui.spacingSpinBox.setValue(2.0)
    output = apply(host, panel)
    command = " ".join(panel.logic.runner.processes[-1].command)
    assert "--model wide --strength 0.35 --device cpu --backend onnxruntime --spacing 2.0" in command
    assert np.allclose(output.GetSpacing(), 2.0)
    assert output.GetName() == "Scan_wide"
    ui.advancedSection.collapsed = True


def test_cancel(host: Any, panel: Any, scene: Any, scan_node: Any):
    ui = panel.ui
    panel.enter()
    panel.logic.runner = FakeRunner(steps=10_000)
    count = scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode")
    host.click(ui.applyButton)
    host.process(300)
    picture(host, "panel_running")
    host.click(ui.applyButton)
    assert panel.run.task is None
    assert panel.logic.runner.processes[0].killed
    assert ui.statusLabel.text == "Cancelled; nothing was changed."
    assert scene.GetNumberOfNodesByClass("vtkMRMLVolumeNode") == count
    assert ui.inputSelector.enabled


def test_failure_is_said_in_the_panel(host: Any, panel: Any, scan_node: Any):
    panel.enter()
    panel.logic.runner = FakeRunner(error=ResourceError("memory is exhausted", "crop the scan"))
    assert apply(host, panel) is None
    assert panel.ui.statusLabel.text == "Memory is exhausted; crop the scan."
    assert texts.WRONG in panel.ui.statusLabel.styleSheet
    assert panel.ui.applyButton.enabled


def test_user_declines_packages(host: Any, panel: Any, scan_node: Any):
    class Declined:
        def missing(self, requirements: Any) -> list[Any]:
            return list(requirements)

        def install(self, requirements: Any) -> None:
            raise DependencyError("needed packages were not installed", "press Apply again")

    panel.enter()
    former, panel.logic.installer = panel.logic.installer, Declined()
    try:
        host.click(panel.ui.applyButton)
    finally:
        panel.logic.installer = former
    assert panel.run.task is None
    assert "were not installed" in panel.ui.statusLabel.text


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("single slice", "at least 2 along each axis"),
        ("constant", "is constant"),
        ("NaN", "NaN or infinite"),
        ("labels", "looks like a label map"),
    ],
)
def test_scans_that_are_none(host: Any, panel: Any, thick_scan: Any, what: str, said: str):
    array = thick_scan.array.astype(np.float32)
    grid = thick_scan.grid
    if what == "single slice":
        array, grid = array[3:4], grid.crop((3, 0, 0), (1, *grid.shape[1:]))
    elif what == "constant":
        array = np.full_like(array, 7)
    elif what == "NaN":
        array[2, 2, 2] = np.nan
    else:
        array = (array > 200).astype(np.float32)
    add_node(host, Volume(array, grid), "Wrong")
    panel.enter()
    assert apply(host, panel) is None
    assert said in panel.ui.statusLabel.text
    assert panel.logic.runner.processes == []


def test_label_maps_and_vectors_are_not_offered(host: Any, panel: Any, scan_node: Any, thick_scan: Any):
    panel.enter()
    labels = Volume((thick_scan.array > 200).astype(np.uint8), thick_scan.grid)
    add_node(host, labels, "Labels", "vtkMRMLLabelMapVolumeNode")
    assert panel.ui.inputSelector.nodeCount() == 1
    panel._parameterNode.parameterNode.SetNodeReferenceID("inputVolume", host.slicer.util.getNode("Labels").GetID())
    assert not panel.ui.applyButton.enabled
    panel._parameterNode.inputVolume = scan_node


def test_output_may_not_be_the_input(host: Any, panel: Any, scan_node: Any):
    panel.enter()
    panel.ui.outputSelector.setCurrentNode(scan_node)
    assert not panel.ui.applyButton.enabled
    assert "cannot replace its scan" in panel.ui.statusLabel.text
    panel.ui.outputSelector.setCurrentNode(None)
    assert panel.ui.applyButton.enabled
    assert panel.ui.statusLabel.text == ""


def test_item_of_a_sequence(host: Any, panel: Any, scene: Any, thick_scan: Any):
    slicer = host.slicer
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "Sequence")
    for index in range(3):
        item = add_node(host, thick_scan.with_array(thick_scan.array + index), f"Item{index}")
        sequence.SetDataNodeAtValue(item, str(index))
        scene.RemoveNode(item)
    browser = scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "Browser")
    browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
    browser.SetSelectedItemNumber(1)
    slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
    proxy = browser.GetProxyNode(sequence)
    panel.enter()
    panel.ui.inputSelector.setCurrentNode(proxy)
    assert "one item of a sequence" in panel.ui.warningsLabel.text
    output = apply(host, panel)
    assert records.input_of(output) is proxy
    assert browser.GetSelectedItemNumber() == 1


def test_reference(host: Any, panel: Any, scan_node: Any, thick_scan: Any):
    truth = resample(thick_scan, thick_scan.grid.isotropic(1.0))
    reference = add_node(host, truth, "Truth")
    panel.enter()
    panel.ui.inputSelector.setCurrentNode(scan_node)
    apply(host, panel)
    panel.ui.referenceSelector.setCurrentNode(reference)
    settle(host, panel)
    assert "Held against <b>Truth</b>" in panel.ui.measuresLabel.text
    assert "PSNR" in panel.ui.measuresLabel.text
    panel.ui.referenceSelector.setCurrentNode(None)
    settle(host, panel)
    assert "Noise" in panel.ui.measuresLabel.text


def test_reference_elsewhere_is_refused(host: Any, panel: Any, scan_node: Any, thick_scan: Any):
    reference = add_node(host, thick_scan, "Elsewhere")
    reference.SetOrigin(900, 900, 900)
    panel.enter()
    panel.ui.inputSelector.setCurrentNode(scan_node)
    apply(host, panel)
    panel.ui.referenceSelector.setCurrentNode(reference)
    settle(host, panel)
    assert "does not overlap" in panel.ui.statusLabel.text
    assert panel.ui.measuresLabel.text == ""


def test_another_scan_gets_a_result_of_its_own(host: Any, panel: Any, scan_node: Any, thick_scan: Any):
    panel.enter()
    first = apply(host, panel)
    second = add_node(host, thick_scan, "Second")
    panel.ui.inputSelector.setCurrentNode(second)
    assert panel.ui.outputSelector.currentNode() is None
    assert not panel.ui.undoButton.enabled
    assert apply(host, panel).GetName() == "Second_tiny"
    assert records.input_of(first) is scan_node


def test_choosing_a_result_shows_its_strength(host: Any, panel: Any, scan_node: Any):
    ui = panel.ui
    panel.enter()
    ui.strengthSlider.value = 0.4
    first = apply(host, panel)
    before = values(first).copy()
    ui.outputSelector.setCurrentNode(None)
    ui.strengthSlider.value = 0.9
    second = apply(host, panel)
    assert second is not first
    ui.outputSelector.setCurrentNode(first)
    settle(host, panel)
    assert ui.strengthSlider.value == 0.4
    assert np.array_equal(values(first), before)


def test_result_is_overwritten_when_it_is_chosen(host: Any, panel: Any, scan_node: Any):
    panel.enter()
    first = apply(host, panel)
    first.SetName("Renamed")
    panel.ui.strengthSlider.value = 0.5
    settle(host, panel)
    assert apply(host, panel) is first
    assert first.GetName() == "Renamed"
    assert results.strength_of(first) == 0.5
