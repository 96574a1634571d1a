"""The panel of comparisons, driven as a user drives it; processes are replaced by a fake that answers at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fake_runner import FakeRunner
from slicer_support import add_node, add_segmentation, choose, compare, picture, settle_comparison, values

from MRHarmonizationLib.core.errors import DependencyError, ResourceError
from MRHarmonizationLib.slicer_adapter import layouts, plots, texts
from MRHarmonizationLib.slicer_adapter.comparisons import StoredComparison
from MRHarmonizationLib.volumes.volume import Volume

FOUR_UP = 3


@pytest.fixture
def panel(compare_panel: Any) -> Any:
    return compare_panel


def table_texts(panel: Any) -> list[list[str]]:
    """The measurements as the panel shows them."""
    table = panel.ui.measuresTable
    cells = [[table.item(row, column) for column in range(3)] for row in range(table.rowCount)]
    return [[cell.text() if cell is not None else "" for cell in row] for row in cells]


def test_empty_scene(host: Any, compare_panel: Any):
    panel = compare_panel
    host.slicer.app.layoutManager().setLayout(FOUR_UP)  # whatever was shown before
    panel.enter()
    ui = panel.ui
    assert not ui.applyButton.enabled
    assert "select a volume before and one after" in ui.applyButton.toolTip
    assert ui.statusLabel.text == ""
    buttons = (ui.showButton, ui.swapButton, ui.rockButton, ui.differenceButton, ui.checkerButton, ui.curvesButton)
    for button in (*buttons, ui.restoreButton, ui.exportButton, ui.openButton):
        assert not button.enabled
    assert ui.curveComboBox.count == 0


def test_every_control_has_a_tooltip(host: Any, panel: Any):
    import qt

    kinds = (qt.QPushButton, qt.QComboBox, qt.QCheckBox, qt.QDoubleSpinBox, qt.QTableWidget)
    kinds += (host.slicer.qMRMLNodeComboBox,)
    named = {name: widget for name, widget in vars(panel.ui).items() if isinstance(widget, kinds)}
    assert len(named) > 20
    assert not [name for name, widget in named.items() if not widget.toolTip]


def test_apply_shows_numbers_curves_and_both_images(host: Any, panel: Any, scan_node: Any, better_node: Any):
    ui, manager = panel.ui, host.slicer.app.layoutManager()
    manager.setLayout(FOUR_UP)
    panel.logic.runner = FakeRunner(steps=4)
    ui.beforeSelector.setCurrentNode(scan_node)
    ui.afterSelector.setCurrentNode(better_node)
    inputs = {node: (values(node), node.GetMTime()) for node in (scan_node, better_node)}
    host.click(ui.applyButton)
    assert ui.applyButton.text == "Cancel"
    assert ui.progressBar.visible
    assert not ui.beforeSelector.enabled
    assert host.wait(lambda: ui.progressBar.value >= 25)
    assert ui.statusLabel.text.startswith("Working (")
    settle_comparison(host, panel)
    assert ui.applyButton.text == "Apply"
    assert ui.statusLabel.text.startswith("Done in")
    assert ui.resultSelector.currentNode().GetName() == "Scan → Better"
    shown = table_texts(panel)
    assert ["Each image by itself", "", ""] in shown
    assert [row[0] for row in shown] == [
        "Each image by itself", "Noise (%) ↓", "After, held against before", "PSNR (dB) ↑", "SSIM ↑",
    ]  # fmt: skip
    assert float(shown[1][1]) > 0
    assert shown[3][1] == "–"
    assert "noise" in ui.measuresTable.item(1, 0).toolTip().lower()
    assert "foreground of before" in ui.notesLabel.text
    assert "≥ nothing" in ui.notesLabel.text
    assert ui.curveComboBox.currentText == "Histogram"
    assert ui.curveLabel.text == "How often."
    assert ui.showButton.checked
    assert ui.curvesButton.checked
    left, right = (manager.sliceWidget(layouts.view_name(side, "Axial")) for side in (layouts.BEFORE, layouts.AFTER))
    assert left.mrmlSliceCompositeNode().GetBackgroundVolumeID() == scan_node.GetID()
    assert right.mrmlSliceCompositeNode().GetBackgroundVolumeID() == better_node.GetID()
    chart = manager.viewWidget(layouts.curves_view_node()).plotView().chart()
    assert chart.GetTitle() == "Histogram"
    picture(host, "compare_applied")
    ui.curveComboBox.setCurrentIndex(1)
    assert chart.GetTitle() == "Power spectrum"
    assert chart.GetNumberOfPlots() == 3
    assert ui.curveLabel.text == "How much detail of which size."
    picture(host, "compare_spectrum")
    for node, (array, time) in inputs.items():
        assert np.array_equal(values(node), array)
        assert node.GetMTime() == time  # inputs are not written


def test_nodes_lie_in_one_folder(host: Any, panel: Any, scene: Any, scan_node: Any, better_node: Any):
    table = compare(host, panel, scan_node, better_node)
    hierarchy = host.slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.GetItemParent(hierarchy.GetItemByDataNode(table))
    assert hierarchy.GetItemName(folder) == "Scan → Better"
    charts = StoredComparison(table).charts
    assert set(charts) == {"histogram", "psd_radial", "psd_ratio"}
    for chart in charts.values():
        item = hierarchy.GetItemByDataNode(chart)
        assert hierarchy.GetItemParent(item) == folder
        for values_table in plots.tables_of(chart):
            assert hierarchy.GetItemParent(hierarchy.GetItemByDataNode(values_table)) == item
    assert len(host.slicer.util.getSubjectHierarchyItemChildren(folder)) == 1 + len(charts)


def test_everything_is_offered_by_the_dialog_for_saving(host: Any, panel: Any, scan_node: Any, better_node: Any):
    """It leaves out what is hidden: such tables would be lost with a scene that is saved file by file."""
    table = compare(host, panel, scan_node, better_node)
    storable = [
        table,
        *(values for chart in StoredComparison(table).charts.values() for values in plots.tables_of(chart)),
    ]
    assert len(storable) > 3
    assert not [node.GetName() for node in storable if node.GetHideFromEditors() or not node.GetSaveWithScene()]


def test_reference(host: Any, panel: Any, scan_node: Any, better_node: Any):
    truth = add_node(host, volume_plus(better_node, 0.0), "Truth")
    panel.ui.referenceSelector.setCurrentNode(truth)
    table = compare(host, panel, scan_node, better_node)
    assert "--reference" in panel.logic.runner.processes[-1].command
    shown = table_texts(panel)
    assert shown[0][0] == "Held against the reference"
    assert shown[1][0] == "PSNR (dB) ↑"
    assert shown[1][2] == "∞"  # after is the truth
    import qt

    assert panel.ui.measuresTable.item(1, 2).foreground().color().name() == qt.QColor(texts.GOOD).name()
    assert StoredComparison(table).image("reference") is truth


def test_views_need_no_apply(host: Any, panel: Any, scan_node: Any, better_node: Any):
    ui, manager = panel.ui, host.slicer.app.layoutManager()
    manager.setLayout(FOUR_UP)
    ui.beforeSelector.setCurrentNode(scan_node)
    ui.afterSelector.setCurrentNode(better_node)
    host.click(ui.showButton)
    assert not ui.curvesButton.checked
    right = manager.sliceWidget(layouts.view_name(layouts.AFTER, "Axial"))
    composite = right.mrmlSliceCompositeNode()
    host.click(ui.swapButton)
    assert composite.GetBackgroundVolumeID() == scan_node.GetID()
    host.click(ui.swapButton)
    host.click(ui.rockButton)
    assert host.wait(lambda: composite.GetBackgroundVolumeID() == scan_node.GetID(), 5)
    host.click(ui.rockButton)
    assert composite.GetBackgroundVolumeID() == better_node.GetID()
    host.click(ui.differenceButton)
    settle_comparison(host, panel)
    assert right.mrmlSliceNode().GetLayoutLabel() == "Difference"
    assert ui.differenceButton.checked
    picture(host, "compare_difference")
    host.click(ui.checkerButton)
    settle_comparison(host, panel)
    assert right.mrmlSliceNode().GetLayoutLabel() == "Checkerboard"
    assert not ui.differenceButton.checked
    picture(host, "compare_checkerboard")
    ui.planesComboBox.setCurrentIndex(ui.planesComboBox.count - 1)
    settle_comparison(host, panel)
    assert manager.sliceWidget(layouts.view_name(layouts.AFTER, "Coronal")).isVisible()
    assert ui.checkerButton.checked
    host.click(ui.checkerButton)
    assert composite.GetBackgroundVolumeID() == better_node.GetID()
    host.click(ui.curvesButton)
    assert manager.viewWidget(layouts.curves_view_node()).isVisible()
    picture(host, "compare_three_planes")
    host.click(ui.restoreButton)
    assert manager.layout == FOUR_UP
    assert not ui.showButton.checked
    assert panel.logic.runner.processes == []


def test_difference_and_checkerboard_hold_both_images(host: Any, panel: Any, scene: Any, better_node: Any):
    """On one grid every voxel of the pictures can be told in advance."""
    brighter = add_node(host, volume_plus(better_node, 100.0), "Brighter")
    panel.ui.beforeSelector.setCurrentNode(better_node)
    panel.ui.afterSelector.setCurrentNode(brighter)
    host.click(panel.ui.showButton)
    host.click(panel.ui.differenceButton)
    settle_comparison(host, panel)
    difference = host.slicer.util.getNode("Better_Brighter_difference")
    assert np.allclose(values(difference), 100.0, atol=1e-3)
    assert difference.GetScalarVolumeDisplayNode().GetLevel() == 0.0
    panel.ui.squareSpinBox.setValue(10.0)
    host.click(panel.ui.checkerButton)
    settle_comparison(host, panel)
    checker = host.slicer.util.getNode("Better_Brighter_checkerboard")
    k, j, i = np.indices(values(checker).shape) // 10
    assert np.allclose(values(checker) - values(better_node), 100.0 * ((k + j + i) % 2), atol=1e-3)
    panel.ui.squareSpinBox.setValue(25.0)  # follows at once, in the same node
    settle_comparison(host, panel)
    k, j, i = np.indices(values(checker).shape) // 25
    assert np.allclose(values(checker) - values(better_node), 100.0 * ((k + j + i) % 2), atol=1e-3)
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 4


def volume_plus(node: Any, value: float) -> Volume:
    from MRHarmonizationLib.slicer_adapter.nodes import volume_from_node

    volume = volume_from_node(node)
    return volume.with_array(volume.array + np.float32(value))


def test_one_window_or_two(host: Any, panel: Any, scan_node: Any, better_node: Any):
    first, second = (node.GetScalarVolumeDisplayNode() for node in (scan_node, better_node))
    first.SetWindowLevel(300.0, 200.0)
    panel.ui.beforeSelector.setCurrentNode(scan_node)
    panel.ui.afterSelector.setCurrentNode(better_node)
    host.click(panel.ui.sameWindowCheckBox)
    host.click(panel.ui.showButton)
    assert second.GetWindow() == 480.0
    first.SetWindowLevel(310.0, 200.0)
    assert second.GetWindow() == 480.0
    host.click(panel.ui.sameWindowCheckBox)
    assert (second.GetWindow(), second.GetLevel()) == (310.0, 200.0)
    second.SetWindowLevel(90.0, 80.0)
    assert first.GetWindow() == 90.0


def test_segment_of_a_segmentation_as_mask(host: Any, panel: Any, scan_node: Any, better_node: Any):
    regions = {"White matter": values(better_node) > 480, "Box": np.zeros(values(better_node).shape, bool)}
    regions["Box"][10:30, 20:30, 20:28] = True
    segmentation = add_segmentation(host, better_node, regions)
    ui = panel.ui
    assert not ui.segmentComboBox.enabled
    ui.maskSelector.setCurrentNode(segmentation)
    assert [ui.segmentComboBox.itemText(i) for i in range(ui.segmentComboBox.count)] == [
        "All segments", "White matter", "Box",
    ]  # fmt: skip
    ui.segmentComboBox.setCurrentIndex(2)
    assert panel._parameterNode.segmentID == "Box"
    table = compare(host, panel, scan_node, better_node)
    assert StoredComparison(table).measured_in == "Box, 1,600 voxels"
    assert "Box, 1,600 voxels" in ui.notesLabel.text
    ui.maskSelector.setCurrentNode(None)
    assert ui.segmentComboBox.count == 0
    compare(host, panel, scan_node, better_node)
    assert "--mask" not in panel.logic.runner.processes[-1].command


def test_maps_of_texture(host: Any, panel: Any, scene: Any, scan_node: Any, better_node: Any):
    ui = panel.ui
    ui.optionsSection.collapsed = False
    choose(ui.mapComboBox, "contrast")
    assert "squared difference" in ui.mapComboBox.toolTip
    ui.windowComboBox.setCurrentIndex(0)
    host.click(ui.allMetricsCheckBox)
    table = compare(host, panel, scan_node, better_node)
    command = " ".join(panel.logic.runner.processes[-1].command)
    assert "--maps contrast --window 3 --metric all" in command
    maps = StoredComparison(table).maps
    assert set(maps) == {"before_contrast", "after_contrast"}
    assert maps["before_contrast"].GetName() == "Scan_glcm_contrast"
    first, second = (node.GetScalarVolumeDisplayNode() for node in maps.values())
    assert (first.GetWindow(), first.GetLevel()) == (second.GetWindow(), second.GetLevel())
    right = host.slicer.app.layoutManager().sliceWidget(layouts.view_name(layouts.AFTER, "Axial"))
    assert ui.shownComboBox.enabled
    choose(ui.shownComboBox, "contrast")
    assert right.mrmlSliceCompositeNode().GetBackgroundVolumeID() == maps["after_contrast"].GetID()
    picture(host, "compare_maps")
    host.click(ui.differenceButton)
    settle_comparison(host, panel)
    assert right.mrmlSliceNode().GetLayoutLabel() == "Difference"
    ui.shownComboBox.setCurrentIndex(0)
    assert right.mrmlSliceCompositeNode().GetBackgroundVolumeID() == better_node.GetID()
    choose(ui.mapComboBox, "")
    host.click(ui.applyButton)
    settle_comparison(host, panel)
    assert StoredComparison(table).maps == {}  # of the comparison that was overwritten
    assert not ui.shownComboBox.enabled
    ui.optionsSection.collapsed = True


def test_different_grids_are_told_beforehand(host: Any, panel: Any, scan_node: Any, better_node: Any):
    panel.ui.beforeSelector.setCurrentNode(scan_node)
    panel.ui.afterSelector.setCurrentNode(better_node)
    assert "48 × 56 × 44 voxels of 1.00 × 1.00 × 1.00 mm" in panel.ui.infoLabel.text
    assert "Before lies on another grid" in panel.ui.warningsLabel.text
    assert "resampled on the grid of after" in panel.ui.warningsLabel.text
    assert panel.ui.applyButton.enabled  # a word, no refusal
    panel.ui.beforeSelector.setCurrentNode(add_node(host, volume_plus(better_node, 1.0), "Same grid"))
    assert not panel.ui.warningsLabel.visible


def test_the_same_volume_twice(host: Any, panel: Any, scan_node: Any, better_node: Any):
    panel.ui.beforeSelector.setCurrentNode(scan_node)
    panel.ui.afterSelector.setCurrentNode(scan_node)
    assert not panel.ui.applyButton.enabled
    assert "'Scan' is both before and after" in panel.ui.statusLabel.text
    assert not panel.ui.showButton.enabled
    panel.ui.afterSelector.setCurrentNode(better_node)
    assert panel.ui.applyButton.enabled
    assert panel.ui.statusLabel.text == ""


def test_volumes_apart_are_refused(host: Any, panel: Any, scan_node: Any, better_node: Any):
    better_node.SetOrigin(900, 900, 900)
    panel.ui.beforeSelector.setCurrentNode(scan_node)
    panel.ui.afterSelector.setCurrentNode(better_node)
    assert not panel.ui.applyButton.enabled
    assert "do not overlap in space" in panel.ui.statusLabel.text


@pytest.mark.parametrize(("what", "said"), [("constant", "is constant"), ("NaN", "NaN or infinite")])
def test_images_that_are_none(host: Any, panel: Any, better_node: Any, scan_node: Any, what: str, said: str):
    volume = volume_plus(better_node, 0.0)
    array = np.full_like(volume.array, 7) if what == "constant" else np.where(volume.array > 500, np.nan, volume.array)
    wrong = add_node(host, volume.with_array(array.astype(np.float32)), "Wrong")
    assert compare(host, panel, scan_node, wrong) is None
    assert said in panel.ui.statusLabel.text
    assert panel.logic.runner.processes == []


def test_empty_mask_is_refused(host: Any, panel: Any, scan_node: Any, better_node: Any, thick_scan: Volume):
    panel.ui.maskSelector.setCurrentNode(add_node(host, thick_scan.with_array(thick_scan.array * 0), "Nothing"))
    assert compare(host, panel, scan_node, better_node) is None
    assert panel.ui.statusLabel.text == "The mask 'Nothing' is empty; choose another mask, or none."
    assert panel.logic.runner.processes == []


def test_cancel(host: Any, panel: Any, scene: Any, scan_node: Any, better_node: Any):
    ui = panel.ui
    panel.logic.runner = FakeRunner(steps=10_000)
    ui.beforeSelector.setCurrentNode(scan_node)
    ui.afterSelector.setCurrentNode(better_node)
    count = scene.GetNumberOfNodes()
    host.click(ui.applyButton)
    host.process(300)
    picture(host, "compare_running")
    host.click(ui.applyButton)
    assert panel.run.task is None
    assert panel.logic.runner.processes[0].killed
    assert ui.statusLabel.text == "Cancelled; nothing was changed."
    assert scene.GetNumberOfNodes() == count
    assert ui.beforeSelector.enabled


def test_failure_is_said_in_the_panel(host: Any, panel: Any, scan_node: Any, better_node: Any):
    panel.logic.runner = FakeRunner(error=ResourceError("memory is exhausted", "crop the volumes"))
    assert compare(host, panel, scan_node, better_node) is None
    assert panel.ui.statusLabel.text == "Memory is exhausted; crop the volumes."
    assert texts.WRONG in panel.ui.statusLabel.styleSheet


def test_user_declines_packages(host: Any, panel: Any, scan_node: Any, better_node: Any):
    class Declined:
        def missing(self, requirements: Any) -> list[Any]:
            return list(requirements)

        def install(self, requirements: Any) -> None:
            assert any(requirement.module == "matplotlib" for requirement in requirements)
            raise DependencyError("needed packages were not installed", "press Apply again")

    former, panel.logic.installer = panel.logic.installer, Declined()
    try:
        assert compare(host, panel, scan_node, better_node) is None
    finally:
        panel.logic.installer = former
    assert "were not installed" in panel.ui.statusLabel.text


def test_another_pair_gets_a_comparison_of_its_own(host: Any, panel: Any, scene: Any, scan_node: Any, better_node: Any):
    ui = panel.ui
    first = compare(host, panel, scan_node, better_node)
    assert compare(host, panel, scan_node, better_node) is first  # the same pair overwrites
    other = add_node(host, volume_plus(better_node, 5.0), "Other")
    ui.afterSelector.setCurrentNode(other)
    assert ui.resultSelector.currentNode() is None
    assert ui.measuresTable.rowCount == 0
    assert ui.curveComboBox.count == 0
    second = compare(host, panel, scan_node, other)
    assert second is not first
    assert ui.resultSelector.nodeCount() == 2
    ui.resultSelector.setCurrentNode(first)
    assert ui.afterSelector.currentNode() is better_node  # its images come back with it
    assert ui.beforeSelector.currentNode() is scan_node
    assert ui.measuresTable.rowCount > 0
    ui.resultSelector.setCurrentNode(None)
    assert compare(host, panel, scan_node, better_node) not in (first, second)
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotChartNode") == 9


def test_tables_of_others_are_not_offered(host: Any, panel: Any, scene: Any):
    scene.AddNewNodeByClass("vtkMRMLTableNode", "Someone else's")
    assert panel.ui.resultSelector.nodeCount() == 0
