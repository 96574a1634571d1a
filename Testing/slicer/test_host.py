"""The host is strict: what Slicer refuses, it refuses."""

from __future__ import annotations

from typing import Any

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
