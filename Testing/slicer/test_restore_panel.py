"""The task "Denoise and sharpen" of the panel, driven as a user drives it; a tiny network really runs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slicer_support import add_node, apply, picture, settle, values
from tiny_models import write_tiny_restorer

from MRHarmonizationLib.inference.restore import RestoreRequest, restore
from MRHarmonizationLib.inference.restore_parts import slice_axis
from MRHarmonizationLib.slicer_adapter import units
from MRHarmonizationLib.slicer_adapter.choices import Mode
from MRHarmonizationLib.slicer_adapter.nodes import volume_from_node
from MRHarmonizationLib.slicer_adapter.restore_preview import slice_of_view


@pytest.fixture
def restoring(host: Any, models: Path, panel: Any, scan_node: Any) -> Iterator[Any]:
    """The panel with the scan and a restorer, set to denoise and sharpen."""
    write_tiny_restorer(models, title="Tiny restorer", input={"ensemble": False})
    panel.enter()
    choose_mode(panel, Mode.RESTORE)
    yield panel
    panel.ui.advancedSection.collapsed = True
    panel.modes[Mode.RESTORE].hide()


def choose_mode(panel: Any, mode: Mode) -> None:
    panel.ui.modeComboBox.setCurrentIndex(list(Mode).index(mode))
    assert panel._parameterNode.mode is mode


def show_scan(host: Any, scan: Any) -> None:
    host.slicer.util.setSliceViewerLayers(background=scan, fit=True)


def composite(host: Any, view: str = "Red") -> Any:
    return host.slicer.app.layoutManager().sliceWidget(view).sliceLogic().GetSliceCompositeNode()


def wait_for_preview(host: Any, panel: Any) -> Any:
    preview = panel.modes[Mode.RESTORE].preview
    assert host.wait(lambda: not preview.is_working, 60.0)
    return preview._node


def test_each_task_shows_its_own_choices(restoring: Any):
    ui = restoring.ui
    for name in ("denoiseSlider", "sharpenSlider", "previewCheckBox", "deviceComboBox"):
        assert getattr(ui, name).visible, name
    for name in ("strengthSlider", "modelComboBox", "methodComboBox", "groupComboBox"):
        assert not getattr(ui, name).visible, name
    ui.advancedSection.collapsed = False
    assert ui.noiseLevelSpinBox.visible
    assert ui.importModelButton.visible
    assert not ui.maskSelector.visible
    choose_mode(restoring, Mode.ENHANCE)
    assert ui.strengthSlider.visible
    assert ui.spacingSpinBox.visible
    assert not ui.denoiseSlider.visible
    assert not ui.noiseLevelSpinBox.visible


def test_without_a_network_it_says_so(host: Any, models: Path, panel: Any, scan_node: Any):
    panel.enter()
    choose_mode(panel, Mode.RESTORE)
    assert not panel.ui.applyButton.enabled
    assert not panel.ui.previewCheckBox.enabled
    assert "is installed" in panel.ui.applyButton.toolTip
    write_tiny_restorer(models)
    panel.fillModels()
    assert panel.ui.applyButton.enabled


def test_apply_gives_what_the_library_gives(host: Any, restoring: Any, scan_node: Any):
    ui = restoring.ui
    ui.denoiseSlider.value, ui.sharpenSlider.value = 0.6, 0.9
    ui.noiseLevelSpinBox.value = 7.0
    output = apply(host, restoring)
    assert output.GetName() == "Scan_restore-any"
    expected = restore(volume_from_node(scan_node), RestoreRequest(0.6, 0.9, noise_level=7.0))
    np.testing.assert_allclose(values(output), expected.volume.array, atol=1e-3)
    assert units.is_restored(output)
    assert output.GetAttribute("MRHarmonization.parameter.sharpen") == "0.9"
    assert "--noise-level 7.0" in " ".join(restoring.logic.runner.processes[-1].command)
    assert ui.showButton.checked
    assert not restoring.logic.canSetStrength(output)
    host.click(ui.undoButton)
    settle(host, restoring)
    assert np.array_equal(values(output), values(scan_node))
    choose_mode(restoring, Mode.ENHANCE)  # another task makes a result of its own
    assert restoring._parameterNode.outputVolume is None
    ui.outputSelector.setCurrentNode(output)
    assert restoring._parameterNode.mode is Mode.RESTORE


def test_interpolated_slices_are_told(host: Any, models: Path, restoring: Any, scan_node: Any):
    write_tiny_restorer(models, input={"ensemble": True, "interpolated": "fine"})
    write_tiny_restorer(models, "fine", input={"ensemble": False, "intensity": {"lower": 5.0, "upper": 90.0}})
    restoring.fillModels()
    ui = restoring.ui
    ui.advancedSection.collapsed = False
    assert ui.interpolatedCheckBox.visible
    show_scan(host, scan_node)
    ui.previewCheckBox.checked = True
    before = values(wait_for_preview(host, restoring)).copy()
    host.click(ui.interpolatedCheckBox)
    assert not np.array_equal(values(wait_for_preview(host, restoring)), before)
    output = apply(host, restoring)
    assert "--interpolated" in restoring.logic.runner.processes[-1].command
    expected = restore(volume_from_node(scan_node), RestoreRequest(interpolated=True))
    np.testing.assert_allclose(values(output), expected.volume.array, atol=1e-3)


def test_preview_is_the_slice_that_apply_gives(host: Any, restoring: Any, scan_node: Any):
    show_scan(host, scan_node)
    restoring.ui.previewCheckBox.checked = True
    node = wait_for_preview(host, restoring)
    assert composite(host).GetForegroundVolumeID() == node.GetID()
    assert composite(host).GetForegroundOpacity() == 1.0
    assert "Found: noise" in restoring.ui.restoreInfoLabel.text
    widget = host.slicer.app.layoutManager().sliceWidget("Red")
    axis, index = slice_of_view(scan_node, widget.mrmlSliceNode())
    whole = volume_from_node(scan_node)
    assert axis == slice_axis(whole.grid) == 2
    expected = restore(whole, RestoreRequest()).volume.array[index]
    np.testing.assert_allclose(values(node)[0], expected, atol=1e-3)
    middle = [node.GetImageData().GetDimensions()[0] / 2, node.GetImageData().GetDimensions()[1] / 2, 0]
    own, others = volume_from_node(node).grid, whole.grid
    np.testing.assert_allclose(own.ijk_to_ras(middle), others.ijk_to_ras([*middle[:2], index]), atol=1e-6)
    picture(host, "panel_restore_preview")


def test_sliders_need_no_network(host: Any, restoring: Any, scan_node: Any):
    show_scan(host, scan_node)
    ui = restoring.ui
    ui.previewCheckBox.checked = True
    node = wait_for_preview(host, restoring)
    before = values(node).copy()
    ui.denoiseSlider.value = ui.sharpenSlider.value = 0.0
    preview = restoring.modes[Mode.RESTORE].preview
    assert not preview.is_working
    _, index = slice_of_view(scan_node, host.slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode())
    np.testing.assert_array_equal(values(node)[0], values(scan_node)[index])
    ui.denoiseSlider.value, ui.sharpenSlider.value = 0.8, 0.3
    np.testing.assert_array_equal(values(node), before)
    ui.noiseLevelSpinBox.value = 12.0  # the network is told otherwise
    assert preview.is_working
    assert not np.array_equal(values(wait_for_preview(host, restoring)), before)


def test_preview_follows_the_view_and_leaves_no_trace(host: Any, restoring: Any, scene: Any, scan_node: Any):
    other = add_node(host, volume_from_node(scan_node), "Other")
    host.slicer.util.setSliceViewerLayers(background=scan_node, foreground=other, foregroundOpacity=0.25, fit=True)
    restoring.ui.previewCheckBox.checked = True
    first = values(wait_for_preview(host, restoring)).copy()
    offset = host.slicer.app.layoutManager().sliceWidget("Red").sliceLogic()
    offset.SetSliceOffset(offset.GetSliceOffset() + 8.0)
    host.process(50)
    assert not np.array_equal(values(wait_for_preview(host, restoring)), first)
    logic = host.slicer.app.layoutManager().sliceWidget("Green").sliceLogic()
    logic.SetSliceOffset(logic.GetSliceOffset() + 3.0)
    host.process(50)
    node = wait_for_preview(host, restoring)
    assert composite(host, "Green").GetForegroundVolumeID() == node.GetID()
    assert composite(host, "Red").GetForegroundVolumeID() == other.GetID()
    assert not node.GetSaveWithScene()
    orientation = host.slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().GetSliceToRAS()
    assert abs(orientation.GetElement(2, 2)) == pytest.approx(np.cos(np.deg2rad(12)))  # in the planes of the scan
    restoring.exit()
    assert abs(orientation.GetElement(2, 2)) == pytest.approx(1.0)
    for view in ("Red", "Green"):
        assert composite(host, view).GetForegroundVolumeID() == other.GetID()
        assert composite(host, view).GetForegroundOpacity() == 0.25
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 2


def test_window_stays_responsive_and_closing_the_scene_ends_it(host: Any, restoring: Any, scene: Any, scan_node: Any):
    show_scan(host, scan_node)
    restoring.ui.previewCheckBox.checked = True
    preview = restoring.modes[Mode.RESTORE].preview
    assert preview.is_working
    scene.Clear(0)
    host.process(200)
    assert not preview.is_working
    assert not preview.is_shown
