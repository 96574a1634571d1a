"""The host is strict: what Slicer refuses, it refuses."""

from __future__ import annotations

from typing import Any, Union

import numpy as np
import pytest


def test_unknown_names_are_refused(host: Any):
    import qt

    button = qt.QPushButton("x")
    with pytest.raises(AttributeError):
        button.colour = 3
    with pytest.raises(AttributeError):
        button.setText = "y"
    with pytest.raises(AttributeError):
        _ = host.slicer.qMRMLNoSuchWidget
    assert not button.connect("presed()", print)
    assert [kind for kind, _ in host.problems] == ["connect"]
    host.problems.clear()


def test_properties_are_attributes_and_surplus_arguments_are_dropped(host: Any):
    import qt

    button, seen = qt.QPushButton("x"), []
    button.connect("clicked(bool)", lambda: seen.append(button.text))
    button.click()
    button.text = "y"
    button.click()
    assert seen == ["x", "y"]


def test_unanswered_dialogs_are_problems(host: Any):
    import qt

    assert qt.QFileDialog.getOpenFileName(None, "title") == ""
    assert host.problems.pop()[0] == "modal"
    host.answers.append("chosen.json")
    assert qt.QFileDialog.getOpenFileName(None, "title") == "chosen.json"


def test_layouts_are_built_from_their_description(host: Any):
    manager = host.slicer.app.layoutManager()
    node = manager.layoutLogic().GetLayoutNode()
    view = '<item><view class="vtkMRMLSliceNode" singletontag="HostTest{0}"><property name="orientation" '
    view += 'action="default">{1}</property></view></item>'
    description = '<layout type="horizontal">' + view.format(1, "Sagittal") + view.format(2, "Axial") + "</layout>"
    node.AddLayoutDescription(987654, description)
    manager.setLayout(987654)
    assert manager.sliceWidget("HostTest1").mrmlSliceNode().GetOrientation() == "Sagittal"
    assert manager.sliceWidget("HostTest2").isVisible()
    assert not manager.sliceWidget("Red").isVisible()
    manager.setLayout(3)
    assert manager.sliceWidget("Red").isVisible()
    assert not manager.sliceWidget("HostTest1").isVisible()


def test_plots_of_what_a_table_does_not_have_are_problems(host: Any):
    """Slicer draws nothing then, without a word."""
    scene, manager = host.slicer.mrmlScene, host.slicer.app.layoutManager()
    view = '<layout type="vertical"><item><view class="vtkMRMLPlotViewNode" singletontag="HostPlot"/></item></layout>'
    manager.layoutLogic().GetLayoutNode().AddLayoutDescription(987655, view)
    manager.setLayout(987655)
    table = scene.AddNewNodeByClass("vtkMRMLTableNode")
    host.slicer.util.updateTableFromArray(table, np.array([[1.0, 4.0], [2.0, 2.0], [3.0, 1.0]]), ["x", "y"])
    series = scene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "Line")
    series.SetAndObserveTableNodeID(table.GetID())
    series.SetPlotType(series.PlotTypeScatter)
    series.SetYColumnName("y")
    chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode")
    chart.AddAndObservePlotSeriesNodeID(series.GetID())
    node = scene.GetSingletonNode("HostPlot", "vtkMRMLPlotViewNode")
    node.SetPlotChartNodeID(chart.GetID())
    drawn = manager.viewWidget(node).plotView().chart()
    assert drawn.GetNumberOfPlots() == 0
    assert {kind for kind, _ in host.problems} == {"plot"}
    host.problems.clear()
    series.SetXColumnName("x")
    assert drawn.GetNumberOfPlots() == 1
    with pytest.raises(AttributeError):
        _ = manager.viewWidget(node).plotView().resetCamera
    manager.setLayout(3)


def test_one_of_several_node_types_as_parameter(host: Any):
    """As Slicer stores it: None must be named, and a node of another type is refused."""
    from slicer.parameterNodeWrapper import parameterNodeWrapper

    slicer = host.slicer
    several = Union[slicer.vtkMRMLTableNode, slicer.vtkMRMLScalarVolumeNode, None]  # noqa: UP007
    Parameters = parameterNodeWrapper(type("Parameters", (), {"__annotations__": {"node": several}}))
    parameters = Parameters(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScriptedModuleNode"))
    assert parameters.node is None
    volume = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    table = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode")
    for chosen in (volume, table, None, volume):
        parameters.node = chosen
        assert parameters.node is chosen
    with pytest.raises(Exception, match=r"."):
        parameters.node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLModelNode")


def test_panels_outlive_the_choice_of_another_module(host: Any, panel: Any, compare_panel: Any):
    """Slicer keeps the panel of a module that is left; so must what is connected to it."""
    import gc

    gc.collect()
    assert not panel.ui.applyButton.isVisible()
    assert compare_panel.ui.applyButton.isVisible()
    host.slicer.app.layoutManager().setLayout(6)  # both panels hear of it
    host.slicer.app.layoutManager().setLayout(3)
    host.select("MRHarmonizationEnhance")
    assert panel.ui.applyButton.isVisible()
    assert not compare_panel.ui.applyButton.isVisible()
