"""The console: the same comparison without a panel."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runner import FakeRunner
from slicer_support import COMPARE_MODULE, ROOT, add_node, add_segmentation, values

from MRHarmonizationLib.core.errors import GridMismatchError, InputError, ParameterError
from MRHarmonizationLib.slicer_adapter.compare_readiness import overlap, readiness
from MRHarmonizationLib.slicer_adapter.nodes import array_to_matrix, volume_from_node
from MRHarmonizationLib.volumes.grid import Grid


@pytest.fixture
def logic(host: Any, compare_panel: Any) -> Any:
    """A logic of its own, as a script makes one."""
    return sys.modules["MRHarmonizationCompare"].MRHarmonizationCompareLogic(FakeRunner())


def test_process_returns_everything(host: Any, logic: Any, scan_node: Any, better_node: Any, tmp_path: Path):
    layout = host.slicer.app.layoutManager().layout
    region = add_segmentation(host, better_node, {"Bright": values(better_node) > 400})
    result = logic.process(scan_node, better_node, scan_node, region, "Bright", features=["contrast"], window=7)
    assert host.slicer.app.layoutManager().layout == layout  # a script's user is not interrupted
    assert result.table.GetName() == "Scan → Better"
    assert result.value("psnr", "before") == float("inf")  # before is the reference here
    assert result.value("psnr") == pytest.approx(result.value("psnr", "after", "reference"))
    assert result.value("ssim", heldAgainst="before") < 1
    with pytest.raises(ParameterError, match=r"'nonsense' was not measured; choose one of: .*noise"):
        result.value("nonsense")
    assert result.measured_in.startswith("Bright, ")
    assert set(result.charts) == {"histogram", "psd_radial", "psd_ratio"}
    assert set(result.maps) == {f"{role}_contrast" for role in ("before", "after", "reference")}
    assert result.maps["after_contrast"].GetAttribute("MRHarmonization.window") == "7"
    path = result.exportReport(tmp_path / "a" / "b")
    assert path == tmp_path / "a" / "b" / "report.html"
    assert (path.parent / "metrics.csv").is_file()


def test_what_a_table_remembers(logic: Any, scan_node: Any, better_node: Any, scene: Any):
    result = logic.process(scan_node, better_node)
    assert logic.comparison(result.table) is result
    again = sys.modules["MRHarmonizationCompare"].MRHarmonizationCompareLogic().comparison(result.table)
    assert again.rows == result.rows or repr(again.rows) == repr(result.rows)
    assert again.image("after") is better_node
    with pytest.raises(InputError, match="not saved with the scene; press Apply"):
        again.exportReport("/nowhere")
    attributes = {name: result.table.GetAttribute(name) for name in result.table.GetAttributeNames()}
    assert attributes["MRHarmonization.operation"] == "compare"
    assert attributes["MRHarmonization.before_digest"].startswith("sha256:")
    assert "MRHarmonization.library_version" in attributes
    assert logic.comparison(None) is None
    assert logic.comparison(scene.AddNewNodeByClass("vtkMRMLTableNode", "Other")) is None


def test_process_refuses_wrong_parameters(logic: Any, scan_node: Any, better_node: Any):
    with pytest.raises(ParameterError, match="is both before and after"):
        logic.process(scan_node, scan_node)
    with pytest.raises(InputError, match="no volume is selected"):
        logic.process(None, better_node)
    with pytest.raises(ParameterError, match="no map of 'fluff'"):
        logic.process(scan_node, better_node, features=["fluff"])
    with pytest.raises(ParameterError, match="window 4"):
        logic.process(scan_node, better_node, features=["contrast"], window=4)
    better_node.SetOrigin(900, 900, 900)
    with pytest.raises(GridMismatchError, match="before and after do not overlap"):
        logic.process(scan_node, better_node)
    assert logic.runner.processes == []


def test_everything_is_measured_in_the_frame_of_after(logic: Any, scene: Any, scan_node: Any, better_node: Any):
    """A parent transform of before is followed; the files the process gets lie where the nodes lie in the world."""
    from MRHarmonizationLib.volumes.files import read_volume

    shift = np.eye(4)
    shift[:3, 3] = (3.0, -2.0, 5.0)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Shift")
    transform.SetMatrixTransformToParent(array_to_matrix(shift))
    scan_node.SetAndObserveTransformNodeID(transform.GetID())
    seen: dict[str, Grid] = {}

    def look(command: Any) -> None:
        seen.update(before=read_volume(command[4]).grid, after=read_volume(command[5]).grid)

    logic.runner = FakeRunner(afterwards=look)
    result = logic.process(scan_node, better_node, features=["contrast"])
    assert np.allclose(seen["before"].affine, shift @ volume_from_node(scan_node).grid.affine, atol=1e-3)
    assert np.allclose(seen["after"].affine, volume_from_node(better_node).grid.affine, atol=1e-3)
    scan_node.SetAndObserveTransformNodeID(None)
    better_node.SetAndObserveTransformNodeID(transform.GetID())
    result = logic.process(scan_node, better_node, features=["contrast"])
    assert np.allclose(seen["before"].affine, np.linalg.inv(shift) @ volume_from_node(scan_node).grid.affine, atol=1e-3)
    assert result.maps["after_contrast"].GetTransformNodeID() == transform.GetID()
    difference = logic.difference(scan_node, better_node)
    assert difference.GetTransformNodeID() == transform.GetID()


def test_pictures_of_both(logic: Any, scan_node: Any, better_node: Any):
    from MRHarmonizationLib.volumes.resampling import resample

    placed = resample(volume_from_node(scan_node), volume_from_node(better_node).grid).array
    difference = logic.difference(scan_node, better_node)
    assert np.allclose(values(difference), values(better_node) - placed, atol=1e-3)
    checker = logic.checkerboard(scan_node, better_node, squareMm=8)
    k, j, i = np.indices(placed.shape) // 8
    assert np.allclose(values(checker), np.where((k + j + i) % 2, values(better_node), placed), atol=1e-3)
    assert logic.checkerboard(scan_node, better_node) is checker
    assert logic.checkerboard(better_node, scan_node) is not checker


def test_thin_slabs_between_the_points_are_not_apart(host: Any, better_node: Any, thick_scan: Any):
    """Overlap is looked at in points; a slab one voxel thick may lie between them."""
    whole = Grid((400, 40, 40), np.eye(4))
    affine = np.eye(4)
    affine[2, 3] = 10.2
    slab = Grid((1, 40, 40), affine @ np.diag([1, 1, 0.1, 1]))
    assert overlap(slab, whole) == 0.0
    assert overlap(slab, slab) == 1.0
    assert overlap(whole, slab) == 1.0
    one = add_node(host, volume_from_node(better_node).with_array(values(better_node)), "Whole")
    slice_node = add_node(host, slice_of(volume_from_node(better_node), 21), "Slice")
    assert readiness(slice_node, one).refusal == ""


def slice_of(volume: Any, number: int) -> Any:
    from MRHarmonizationLib.volumes.volume import Volume

    depth, height, width = volume.grid.shape
    return Volume(volume.array[number : number + 1], volume.grid.crop((number, 0, 0), (1, height, width)), "slice")


def test_reference_that_is_one_of_both_is_noted(scan_node: Any, better_node: Any):
    assert readiness(scan_node, better_node).warnings[0].startswith("before lies on another grid")
    warnings = readiness(scan_node, better_node, better_node).warnings
    assert any("after is measured as perfect" in text for text in warnings)


def test_library_of_the_checkout_is_used(logic: Any):
    assert sys.modules["MRHarmonizationCompare"].findLibrary(COMPARE_MODULE) == ROOT
