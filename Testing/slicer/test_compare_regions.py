"""Brain regions in the panel of comparisons: offered where they can be measured, as a table and plots in the scene."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slicer_support import add_node, choose, compare, picture, settle_comparison, values
from tiny_models import write_tiny_segmenter

from MRHarmonizationLib.core.brain_regions import REGIONS
from MRHarmonizationLib.slicer_adapter import layouts, plots, texts
from MRHarmonizationLib.slicer_adapter.comparisons import StoredComparison
from MRHarmonizationLib.slicer_adapter.jobs import SubprocessRunner
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights import store


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny network under the name of the real one."""
    pytest.importorskip("onnx")
    folder = tmp_path / "weights"
    write_tiny_segmenter(folder, classes=(0, 18, 2, 1))
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(folder))
    return folder


@pytest.fixture
def panel(compare_panel: Any, network: Path) -> Any:
    """The panel as it is entered with the network installed, its section open."""
    compare_panel.enter()
    compare_panel.ui.optionsSection.collapsed = False
    yield compare_panel
    parameters = compare_panel._parameterNode
    if parameters:
        parameters.brainRegions = False
    compare_panel.ui.optionsSection.collapsed = True


def label_node(host: Any, like: Any, name: str, numbers: dict[int, int]) -> Any:
    """A label map node on a volume's grid with so many voxels of each number."""
    from MRHarmonizationLib.slicer_adapter.nodes import volume_from_node

    volume = volume_from_node(like)
    array = np.zeros(volume.array.size, np.int16)
    found = np.repeat(list(numbers), list(numbers.values()))
    array[: found.size] = found
    labels = Volume(array.reshape(volume.array.shape), volume.grid, name)
    return add_node(host, labels, name, "vtkMRMLLabelMapVolumeNode")


def cells(panel: Any) -> list[list[str]]:
    table = panel.ui.measuresTable
    found = [[table.item(row, column) for column in range(3)] for row in range(table.rowCount)]
    return [[cell.text() if cell is not None else "" for cell in row] for row in found]


def test_they_are_off_at_first(host: Any, panel: Any, scene: Any, scan_node: Any, better_node: Any):
    assert panel.ui.regionsCheckBox.enabled
    assert not panel.ui.regionsCheckBox.checked
    table = compare(host, panel, scan_node, better_node)
    assert "--regions" not in panel.logic.runner.processes[-1].command
    assert StoredComparison(table).regions == []
    assert StoredComparison(table).regions_table is None


def test_without_the_network_the_choice_says_why(
    host: Any, compare_panel: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scan_node: Any, better_node: Any
):
    monkeypatch.setattr(store, "search_folders", lambda: (tmp_path / "empty",))
    compare_panel.enter()
    ui, parameters = compare_panel.ui, compare_panel._parameterNode
    assert not ui.regionsCheckBox.enabled
    assert "There is no model 'brain-regions'" in ui.regionsCheckBox.toolTip
    assert "your own label maps" in ui.regionsCheckBox.toolTip
    parameters.brainRegions = True  # as a scene from elsewhere may say
    compare(host, compare_panel, scan_node, better_node)
    assert "--regions" not in compare_panel.logic.runner.processes[-1].command
    ui.beforeLabelsSelector.setCurrentNode(label_node(host, scan_node, "Own", {17: 100}))
    assert ui.regionsCheckBox.enabled
    assert "measure the volumes" in ui.regionsCheckBox.toolTip
    parameters.brainRegions = False


def test_a_weight_file_that_is_missing_counts_as_not_installed(compare_panel: Any, network: Path):
    (network / "brain-regions.onnx").unlink()
    compare_panel.enter()
    assert not compare_panel.ui.regionsCheckBox.enabled
    assert "is missing" in compare_panel.ui.regionsCheckBox.toolTip


def test_table_and_plots(host: Any, panel: Any, scene: Any, scan_node: Any, better_node: Any):
    ui = panel.ui
    host.click(ui.regionsCheckBox)
    assert panel._parameterNode.brainRegions
    table = compare(host, panel, scan_node, better_node)
    assert "--regions" in panel.logic.runner.processes[-1].command
    stored = StoredComparison(table)
    node = stored.regions_table
    assert node.GetName() == "Scan → Better (brain regions)"
    assert node.GetNumberOfRows() == len(REGIONS)
    assert node.GetAttribute("MRHarmonization.operation") == "brain regions"
    assert node.GetTable().GetColumnByName("before (ml)").GetDataType() == 11  # double
    rows = {row["number"]: row for row in stored.regions}
    assert set(rows) == {region.number for region in REGIONS}
    inside = np.count_nonzero(values(better_node)[:, :, :24] > 100) / 1000  # 1 mm³ each, without the hippocampus
    assert 0.9 * inside < rows[2]["after_ml"] < 1.01 * inside
    percent = 100 * (rows[41]["after_ml"] / rows[41]["before_ml"] - 1)
    assert rows[41]["change_percent"] == pytest.approx(percent, abs=0.05)
    assert math.isnan(rows[60]["change_percent"])
    assert "reference_ml" not in rows[2]
    shown = cells(panel)
    start = shown.index(["Brain regions (ml)", "", ""])
    assert len(shown) == start + 1 + len(REGIONS)
    assert shown[start + 1][0] == "Left cerebral white matter"
    assert float(shown[start + 1][2]) == pytest.approx(rows[2]["after_ml"], rel=1e-3)
    assert "FreeSurfer number 2" in ui.measuresTable.item(start + 1, 2).toolTip()
    hierarchy = host.slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    items = [hierarchy.GetItemByDataNode(found) for found in (table, node)]
    assert hierarchy.GetItemParent(items[0]) == hierarchy.GetItemParent(items[1])
    assert ui.resultSelector.nodeCount() == 1, "the table of regions is no comparison of its own"
    ui.optionsSection.collapsed = True
    choose(ui.curveComboBox, "region_changes")
    chart = host.slicer.app.layoutManager().viewWidget(layouts.curves_view_node()).plotView().chart()
    assert chart.GetTitle() == "Brain regions: changes"
    assert chart.GetNumberOfPlots() == 1
    assert chart.GetPlot(0).IsA("vtkPlotBar")
    assert stored.charts["region_changes"].GetXAxisTitle() == "structure (row of the table)"
    picture(host, "compare_regions_changes")
    choose(ui.curveComboBox, "region_volumes")
    assert chart.GetTitle() == "Brain regions: volumes"
    series = plots.series_of(stored.charts["region_volumes"])
    assert [line.GetName() for line in series] == ["before", "after"]
    assert series[0].GetLabelColumnName() == "name"
    assert series[0].GetTableNode().GetCellText(0, 1) == "cerebral white matter L"
    assert series[0].GetLineStyle() == series[0].LineStyleNone
    assert series[0].GetMarkerStyle() == series[0].MarkerStyleCircle
    picture(host, "compare_regions_volumes")


def test_a_comparison_that_is_overwritten_loses_them(
    host: Any, panel: Any, scene: Any, scan_node: Any, better_node: Any
):
    host.click(panel.ui.regionsCheckBox)
    table = compare(host, panel, scan_node, better_node)
    node = StoredComparison(table).regions_table
    tables = scene.GetNumberOfNodesByClass("vtkMRMLTableNode")
    assert compare(host, panel, scan_node, better_node) is table
    assert StoredComparison(table).regions_table is node
    assert scene.GetNumberOfNodesByClass("vtkMRMLTableNode") == tables
    host.click(panel.ui.regionsCheckBox)
    compare(host, panel, scan_node, better_node)
    assert StoredComparison(table).regions_table is None
    assert node.GetScene() is None
    assert not {"region_volumes", "region_changes"} & set(StoredComparison(table).charts)
    assert ["Brain regions (ml)", "", ""] not in cells(panel)


def test_own_label_maps_with_a_reference(host: Any, panel: Any, scan_node: Any, better_node: Any, thick_scan: Volume):
    ui = panel.ui
    truth = add_node(host, thick_scan, "Truth")
    host.click(ui.regionsCheckBox)
    assert not ui.referenceLabelsSelector.enabled
    ui.referenceSelector.setCurrentNode(truth)
    assert ui.referenceLabelsSelector.enabled
    ui.beforeLabelsSelector.setCurrentNode(label_node(host, scan_node, "Before labels", {17: 300, 53: 200}))
    ui.afterLabelsSelector.setCurrentNode(label_node(host, better_node, "After labels", {17: 900, 53: 1300}))
    assert compare(host, panel, scan_node, better_node) is None
    assert "2 segmentations were given for 3 images" in ui.statusLabel.text
    ui.referenceLabelsSelector.setCurrentNode(label_node(host, truth, "Truth labels", {17: 250, 53: 250}))
    table = compare(host, panel, scan_node, better_node)
    command = panel.logic.runner.processes[-1].command
    assert command.count("--segmentations") == 3
    assert "--regions" not in command
    stored = StoredComparison(table)
    rows = {row["number"]: row for row in stored.regions}
    voxel_ml = float(np.prod(scan_node.GetSpacing())) / 1000
    assert rows[17]["before_ml"] == pytest.approx(300 * voxel_ml, abs=1e-3)
    assert rows[17]["after_ml"] == pytest.approx(0.9)
    assert rows[17]["reference_ml"] == pytest.approx(250 * voxel_ml, abs=1e-3)
    assert stored.regions_table.GetAttribute("MRHarmonization.labels") == "label maps given by the user"
    import qt

    start = cells(panel).index(["Brain regions (ml)", "", ""])
    names = [row[0] for row in cells(panel)]
    colours = {
        name: panel.ui.measuresTable.item(names.index(name, start), 2).foreground().color().name()
        for name in ("Left hippocampus", "Right hippocampus")
    }
    assert voxel_ml == pytest.approx(0.004)
    assert colours["Left hippocampus"] == qt.QColor(texts.GOOD).name()  # 1.2 → 0.9 ml, the truth has 1.0
    assert colours["Right hippocampus"] == qt.QColor(texts.BAD).name()  # 0.8 → 1.3 ml
    for role in ("before", "after", "reference"):
        getattr(ui, f"{role}LabelsSelector").setCurrentNode(None)


def test_they_survive_saving_and_loading(host: Any, panel: Any, scene: Any, scan_node: Any, better_node: Any, tmp_path):
    host.click(panel.ui.regionsCheckBox)
    expected = StoredComparison(compare(host, panel, scan_node, better_node)).regions
    path = tmp_path / "scene.mrb"
    assert host.slicer.util.saveScene(str(path))
    scene.Clear(0)
    host.slicer.util.loadScene(str(path))
    stored = StoredComparison(host.slicer.util.getNode("Scan → Better"))
    found = stored.regions
    assert [row["region"] for row in found] == [row["region"] for row in expected]
    assert [row["after_ml"] for row in found] == pytest.approx([row["after_ml"] for row in expected])
    settle_comparison(host, panel)
    assert ["Brain regions (ml)", "", ""] in cells(panel)


def test_report_is_saved_with_their_table(host: Any, panel: Any, scan_node: Any, better_node: Any, tmp_path: Path):
    host.click(panel.ui.regionsCheckBox)
    table = compare(host, panel, scan_node, better_node)
    panel.logic.comparison(table).exportReport(tmp_path / "report")
    assert (tmp_path / "report" / "regions.csv").read_text("utf-8").startswith("region,number,side,before_ml")


@pytest.mark.slow
def test_with_a_real_process(host: Any, panel: Any, network: Path, scan_node: Any, better_node: Any):
    panel.logic.runner = SubprocessRunner()
    host.click(panel.ui.regionsCheckBox)
    table = compare(host, panel, scan_node, better_node)
    assert table is not None, panel.ui.statusLabel.text
    stored = StoredComparison(table)
    assert len(stored.regions) == len(REGIONS)
    assert stored.regions_table.GetAttribute("MRHarmonization.labels").startswith("network 'brain-regions'")
    assert {"region_volumes", "region_changes"} <= set(stored.charts)
    assert "brain regions of before" in " ".join(stored.notes)
