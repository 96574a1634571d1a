"""Before | after: two linked columns, one window and level, swap, rock, difference, and the user's layout back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from slicer_support import add_node

from MRHarmonizationLib.slicer_adapter import layouts
from MRHarmonizationLib.slicer_adapter.layouts import AFTER, BEFORE, PLANES, ComparisonView, view_name
from MRHarmonizationLib.volumes.resampling import resample

ONE_RED_VIEW = 6


@pytest.fixture
def pair(host: Any, scan_node: Any, thick_scan: Any) -> tuple[Any, Any]:
    return scan_node, add_node(host, resample(thick_scan, thick_scan.grid.isotropic(1.0)), "After")


@pytest.fixture
def view(host: Any) -> Iterator[ComparisonView]:
    host.slicer.app.layoutManager().setLayout(ONE_RED_VIEW)
    made = ComparisonView()
    yield made
    made.restore()
    made.forget()


def shown(host: Any, side: str, orientation: str = "Axial") -> str:
    widget = host.slicer.app.layoutManager().sliceWidget(view_name(side, orientation))
    return widget.mrmlSliceCompositeNode().GetBackgroundVolumeID()


@pytest.mark.parametrize("planes", PLANES)
def test_descriptions_are_xml_slicer_reads(host: Any, planes: str):
    element = ElementTree.fromstring(layouts.layout_description(planes))
    tags = [view.get("singletontag") for view in element.iter("view")]
    assert tags == [view_name(side, orientation) for orientation in PLANES[planes] for side in (BEFORE, AFTER)]
    layouts.register_layouts()
    layouts.register_layouts()  # again does no harm
    manager = host.slicer.app.layoutManager()
    manager.setLayout(layouts.layout_id(planes))
    for orientation in PLANES[planes]:
        for side in (BEFORE, AFTER):
            widget = manager.sliceWidget(view_name(side, orientation))
            assert widget.isVisible()
            assert widget.mrmlSliceNode().GetOrientation() == orientation
    manager.setLayout(ONE_RED_VIEW)


def test_side_by_side_and_back(host: Any, view: ComparisonView, pair: tuple[Any, Any]):
    before, after = pair
    red = host.slicer.app.layoutManager().sliceWidget("Red").mrmlSliceCompositeNode()
    red.SetBackgroundVolumeID(before.GetID())
    view.show(before, after, "all")
    assert view.is_shown
    for orientation in PLANES["all"]:
        assert shown(host, BEFORE, orientation) == before.GetID()
        assert shown(host, AFTER, orientation) == after.GetID()
    view.show(before, after, "axial")  # our own layout is not what the user had
    view.restore()
    assert host.slicer.app.layoutManager().layout == ONE_RED_VIEW
    assert red.GetBackgroundVolumeID() == before.GetID()
    assert not view.is_shown


def test_the_layout_comes_back_from_another_panel(host: Any, view: ComparisonView, pair: tuple[Any, Any]):
    view.show(*pair, "axial")
    another = ComparisonView()
    another.show(*pair, "all")
    another.restore()
    assert host.slicer.app.layoutManager().layout == ONE_RED_VIEW


@pytest.mark.parametrize("written", [None, "", "no number", "-1", "765432", str(layouts.layout_id("axial"))])
def test_a_scene_that_opens_in_our_layout_can_be_left(host: Any, view: ComparisonView, written: str | None):
    layouts.register_layouts()
    manager = host.slicer.app.layoutManager()
    manager.layoutLogic().GetLayoutNode().SetAttribute(layouts.FORMER_LAYOUT, written)
    manager.setLayout(layouts.layout_id("axial"))
    assert view.is_laid_out
    view.restore()
    assert manager.layout == layouts.FOUR_UP


def test_curves_of_another_panel_are_taken_away(host: Any, view: ComparisonView, pair: tuple[Any, Any]):
    other = ComparisonView(has_curves=True)
    other.show(*pair, "axial")
    other.show_curves(True)
    other.show(*pair, "all")
    assert other.shows_curves
    view.show(*pair, "axial")
    assert view.is_shown
    assert not view.shows_curves
    other.restore()
    other.forget()


def test_views_are_linked_and_show_the_same(host: Any, view: ComparisonView, pair: tuple[Any, Any]):
    view.show(*pair, "axial_sagittal")
    manager = host.slicer.app.layoutManager()
    for orientation in PLANES["axial_sagittal"]:
        left, right = (manager.sliceWidget(view_name(side, orientation)) for side in (BEFORE, AFTER))
        for widget in (left, right):
            assert widget.mrmlSliceCompositeNode().GetLinkedControl()
            assert widget.mrmlSliceCompositeNode().GetHotLinkedControl()
            assert widget.mrmlSliceNode().GetViewGroup() == layouts.VIEW_GROUP
        assert np.isclose(left.mrmlSliceNode().GetSliceOffset(), right.mrmlSliceNode().GetSliceOffset())
        assert np.allclose(left.mrmlSliceNode().GetFieldOfView(), right.mrmlSliceNode().GetFieldOfView())


def test_one_window_and_level(host: Any, view: ComparisonView, pair: tuple[Any, Any]):
    view.show(*pair)
    first, second = (node.GetScalarVolumeDisplayNode() for node in pair)
    first.SetWindowLevel(100.0, 50.0)
    assert (second.GetWindow(), second.GetLevel()) == (100.0, 50.0)
    second.SetWindowLevel(300.0, 120.0)
    assert (first.GetWindow(), first.GetLevel()) == (300.0, 120.0)
    view.restore()
    first.SetWindowLevel(10.0, 5.0)
    assert second.GetWindow() == 300.0  # only while they are compared


def test_swap_rock_and_difference(host: Any, view: ComparisonView, pair: tuple[Any, Any], thick_scan: Any):
    before, after = pair
    difference = add_node(host, thick_scan, "Difference")
    view.show(before, after)
    view.swap(True)
    assert (shown(host, BEFORE), shown(host, AFTER)) == (after.GetID(), before.GetID())
    label = host.slicer.app.layoutManager().sliceWidget(view_name(BEFORE, "Axial")).mrmlSliceNode().GetLayoutLabel()
    assert label == AFTER
    view.swap(False)
    view.show_overlay(difference)
    label = host.slicer.app.layoutManager().sliceWidget(view_name(AFTER, "Axial")).mrmlSliceNode().GetLayoutLabel()
    assert label == "Difference"
    assert (shown(host, BEFORE), shown(host, AFTER)) == (before.GetID(), difference.GetID())
    view.show_overlay(None)
    view.rock(True)
    seen = set()
    assert host.wait(lambda: seen.add(shown(host, AFTER)) or len(seen) == 2, 5.0)
    assert seen == {before.GetID(), after.GetID()}
    assert shown(host, BEFORE) == before.GetID()
    view.rock(False)
    assert shown(host, AFTER) == after.GetID()
    assert not view.is_rocking


def test_scene_closes_while_rocking(host: Any, scene: Any, view: ComparisonView, pair: tuple[Any, Any]):
    view.show(*pair)
    view.rock(True)
    view.forget()
    scene.Clear(0)
    host.process(int(1.5 * layouts.ROCK_INTERVAL_MS))
    assert not view.is_rocking
    assert not view.is_shown
