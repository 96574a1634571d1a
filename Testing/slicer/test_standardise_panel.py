"""The task "Standardise contrast" of the panel, driven as a user drives it; the classical methods really run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runner import FakeRunner
from slicer_support import add_node, add_segmentation, apply, choose, picture, settle, values
from tiny_models import write_tiny_model

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.inference.harmonize import HarmonizeRequest, harmonize
from MRHarmonizationLib.methods.harmonizers import HARMONIZERS
from MRHarmonizationLib.methods.reference_group import load_group, save_group, shipped_groups
from MRHarmonizationLib.slicer_adapter import records, results, units
from MRHarmonizationLib.slicer_adapter.choices import Mode
from MRHarmonizationLib.slicer_adapter.nodes import volume_from_node


@pytest.fixture
def standardising(host: Any, panel: Any, scan_node: Any) -> Iterator[Any]:
    """The panel with the scan, set to standardise by percentiles to the T1 group."""
    panel.enter()
    choose_mode(panel, Mode.STANDARDISE)
    choose(panel.ui.methodComboBox, "percentile")
    choose(panel.ui.groupComboBox, "t1-head")
    yield panel
    panel.ui.advancedSection.collapsed = True


def choose_mode(panel: Any, mode: Mode) -> None:
    panel.ui.modeComboBox.setCurrentIndex(list(Mode).index(mode))
    assert panel._parameterNode.mode is mode


def command(panel: Any) -> str:
    return " ".join(panel.logic.runner.processes[-1].command)


def window_of(node: Any) -> tuple[float, float]:
    """Darkest and brightest shown value."""
    display = node.GetScalarVolumeDisplayNode()
    return display.GetLevel() - display.GetWindow() / 2, display.GetLevel() + display.GetWindow() / 2


def test_each_task_shows_its_own_choices(host: Any, panel: Any, scan_node: Any):
    ui = panel.ui
    panel.enter()
    assert ui.modelComboBox.visible
    assert not ui.methodComboBox.visible
    assert ui.modelSection.text == "Enhancement"
    choose_mode(panel, Mode.STANDARDISE)
    ui.advancedSection.collapsed = False
    for name in ("methodComboBox", "groupComboBox", "groupFileButton", "maskSelector", "segmentComboBox"):
        assert getattr(ui, name).visible, name
    for name in ("modelComboBox", "deviceComboBox", "spacingSpinBox", "backendComboBox", "referenceSelector"):
        assert not getattr(ui, name).visible, name
    assert ui.modelSection.text == "Contrast"
    assert ui.keepResidualCheckBox.visible
    offered = [ui.methodComboBox.itemData(n) for n in range(ui.methodComboBox.count)]
    # there is no network here
    assert offered == [name for name, method in HARMONIZERS.items() if "model" not in method.defaults]
    groups = [ui.groupComboBox.itemData(n) for n in range(ui.groupComboBox.count)]
    assert groups == ["nearest", *shipped_groups()]
    assert ui.applyButton.enabled
    ui.advancedSection.collapsed = True
    choose_mode(panel, Mode.ENHANCE)
    assert ui.modelComboBox.visible
    assert not ui.groupComboBox.visible


def test_apply_gives_what_the_library_gives(host: Any, standardising: Any, scan_node: Any):
    ui = standardising.ui
    assert "a high percentile of the object's inside" in ui.methodInfoLabel.text
    assert "people" in ui.groupInfoLabel.text
    output = apply(host, standardising)
    assert output.GetName() == "Scan_percentile"
    assert ui.statusLabel.text.startswith("Done in")
    expected = harmonize(volume_from_node(scan_node), HarmonizeRequest("percentile", "t1-head"))
    np.testing.assert_array_equal(values(output), expected.volume.array)
    assert expected.warnings  # a phantom is no head
    for warning in expected.warnings:
        assert warning[1:] in ui.warningsLabel.text
    assert output.GetAttribute("MRHarmonization.parameter.reference") == "t1-head"
    assert "Distance to <b>t1-head</b>, inside the object" in ui.measuresLabel.text
    assert "Histogram" in ui.measuresLabel.text
    assert window_of(output) == (0, 1200)
    assert ui.showButton.checked
    assert not standardising.comparison.view.same_window
    picture(host, "panel_standardised")


def test_window_follows_the_units(host: Any, standardising: Any, scan_node: Any):
    ui = standardising.ui
    output = apply(host, standardising)
    low, high = window_of(scan_node)
    ui.strengthSlider.value = 0.5
    settle(host, standardising)
    assert window_of(output) == pytest.approx((low / 2, high / 2 + 600))
    assert results.strength_of(output) == 0.5
    assert len(standardising.logic.runner.processes) == 1
    host.click(ui.undoButton)
    settle(host, standardising)
    assert np.array_equal(values(output), values(scan_node))
    assert window_of(output) == pytest.approx((low, high))
    host.click(ui.undoButton)
    settle(host, standardising)
    assert window_of(output) == pytest.approx((low / 2, high / 2 + 600))
    assert window_of(scan_node) == (low, high)


def test_difference_is_more_than_another_scale(host: Any, standardising: Any, scan_node: Any):
    output = apply(host, standardising)
    host.click(standardising.ui.differenceButton)
    difference = output.GetNodeReference(records.DIFFERENCE_ROLE)
    assert np.abs(values(difference)).max() < 1e-2  # percentile scaling is another scale and nothing else
    choose(standardising.ui.methodComboBox, "histogram_matching")
    assert apply(host, standardising) is output
    host.click(standardising.ui.differenceButton)
    assert np.abs(values(results.update_difference(output))).max() > 20


def test_nearest_group_is_named_when_it_was_found(host: Any, standardising: Any, scan_node: Any):
    ui = standardising.ui
    choose(ui.groupComboBox, "nearest")
    assert "Used" not in ui.groupInfoLabel.text
    output = apply(host, standardising)
    used = output.GetAttribute("MRHarmonization.parameter.reference")
    assert used in shipped_groups()
    assert f"Used: <b>{used}</b>" in ui.groupInfoLabel.text
    assert units.group_of(output).id == used
    assert "--reference nearest" in command(standardising)


def test_group_from_a_file(host: Any, standardising: Any, scan_node: Any, tmp_path: Path):
    ui = standardising.ui
    path = tmp_path / "our site.json"
    group = load_group("t2-head")
    save_group(type(group)(**{**vars(group), "id": "our-site", "title": "Our site"}), path)
    host.answers.append(str(path))
    host.click(ui.groupFileButton)
    assert ui.groupComboBox.currentText == "our site.json"
    assert standardising._parameterNode.referenceGroup == str(path)
    output = apply(host, standardising)
    assert output.GetAttribute("MRHarmonization.parameter.reference") == "our-site"
    assert str(path) not in json.dumps(records.record_of(output))
    path.write_text("{}")  # measuring goes on without the file
    ui.strengthSlider.value = 0.7
    settle(host, standardising)
    assert "Distance to <b>our-site</b>" in ui.measuresLabel.text
    standardising.updatePanel()
    assert not ui.applyButton.enabled
    assert "no reference group" in ui.statusLabel.text
    choose(ui.groupComboBox, "t1-head")
    assert ui.applyButton.enabled


def test_measured_in_a_segment(host: Any, standardising: Any, scan_node: Any):
    ui = standardising.ui
    scan = values(scan_node)
    bright = scan > np.percentile(scan, 80)
    segmentation = add_segmentation(host, scan_node, {"Bright": bright, "All": scan > 50})
    ui.maskSelector.setCurrentNode(segmentation)
    choose(ui.segmentComboBox, "Bright")
    output = apply(host, standardising)
    assert "--mask" in command(standardising)
    level = float(load_group("t1-head").at_percentiles([99.0])[0])
    assert np.percentile(values(output)[bright], 99) == pytest.approx(level, rel=0.01)
    assert "inside the mask" in ui.measuresLabel.text
    host.slicer.mrmlScene.RemoveNode(segmentation)
    standardising.comparison.measure()
    settle(host, standardising)
    assert "inside the object" in ui.measuresLabel.text


def test_mask_beside_the_scan_is_refused(host: Any, standardising: Any, scan_node: Any, thick_scan: Any):
    mask = add_node(host, thick_scan.with_array((thick_scan.array > 50).astype(np.uint8)), "Elsewhere")
    mask.SetOrigin(900, 900, 900)
    standardising.ui.maskSelector.setCurrentNode(mask)
    assert apply(host, standardising) is None
    assert "lies beside 'Scan'" in standardising.ui.statusLabel.text
    assert standardising.logic.runner.processes == []


def test_each_task_makes_a_result_of_its_own(host: Any, standardising: Any, scan_node: Any):
    ui = standardising.ui
    first = apply(host, standardising)
    choose_mode(standardising, Mode.ENHANCE)
    assert ui.outputSelector.currentNode() is None
    assert not ui.warningsLabel.visible
    second = apply(host, standardising)
    assert second.GetName() == "Scan_tiny"
    assert standardising.comparison.view.same_window
    ui.outputSelector.setCurrentNode(first)  # choosing a result leads back to its task
    settle(host, standardising)
    assert standardising._parameterNode.mode is Mode.STANDARDISE
    assert ui.outputSelector.currentNode() is first
    assert ui.methodComboBox.visible


def test_networks_are_listed_with_their_cards(host: Any, standardising: Any, scan_node: Any, models: Path):
    ui = standardising.ui
    looks = {"t1": "t1-head", "t2": ""}
    write_tiny_model(models, "our-look", title="Our look", task="standardise", references=looks)
    standardising.fillModels()
    choose(ui.methodComboBox, "network:our-look")
    assert ui.methodComboBox.currentText == "Our look"
    assert "Random weights" in ui.methodInfoLabel.text
    standardising.logic.runner = FakeRunner(error=InputError("wrong scan", "take another"))
    apply(host, standardising)
    assert "--method network --reference t1-head --strength 1.0 --parameter model=our-look" in command(standardising)
    (models / "our-look.json").unlink()
    standardising.fillModels()
    assert ui.methodComboBox.currentText == HARMONIZERS.get("nyul").title


def test_failure_and_cancel_change_nothing(host: Any, standardising: Any, scene: Any, scan_node: Any):
    ui = standardising.ui
    standardising.logic.runner = FakeRunner(error=InputError("the scan is odd", "take another"))
    assert apply(host, standardising) is None
    assert ui.statusLabel.text == "The scan is odd; take another."
    standardising.logic.runner = FakeRunner(steps=10_000)
    host.click(ui.applyButton)
    assert not ui.modeComboBox.enabled
    host.process(150)
    host.click(ui.applyButton)
    assert ui.statusLabel.text == "Cancelled; nothing was changed."
    assert standardising.logic.runner.processes[0].killed
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1
    host.click(ui.applyButton)
    scene.Clear(0)
    host.process(150)
    assert standardising.run.task is None


def test_saved_and_loaded_scene(host: Any, standardising: Any, scene: Any, scan_node: Any, tmp_path: Path):
    ui = standardising.ui
    ui.strengthSlider.value = 0.6
    output = apply(host, standardising)
    expected, warnings = values(output).copy(), ui.warningsLabel.text
    assert warnings
    assert host.slicer.util.saveScene(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    host.slicer.util.loadScene(str(tmp_path / "scene.mrb"))
    settle(host, standardising)
    output = ui.outputSelector.currentNode()
    assert np.array_equal(values(output), expected)
    assert standardising._parameterNode.mode is Mode.STANDARDISE
    assert ui.methodComboBox.itemData(ui.methodComboBox.currentIndex) == "percentile"
    assert ui.groupComboBox.itemData(ui.groupComboBox.currentIndex) == "t1-head"
    assert ui.strengthSlider.value == 0.6
    assert ui.warningsLabel.text == warnings
    assert "Distance to <b>t1-head</b>" in ui.measuresLabel.text
    host.click(ui.undoButton)
    settle(host, standardising)
    assert np.array_equal(values(output), values(ui.inputSelector.currentNode()))
