"""Nodes to volumes and back: voxels, oblique and flipped grids, transforms, display, types, wrong nodes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from slicer_support import add_node

from MRHarmonizationLib.core.errors import GridError, GridMismatchError, InputError
from MRHarmonizationLib.slicer_adapter import nodes, records
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.volume import Volume

PERMUTATIONS = [
    np.eye(3),
    np.diag([-1.0, -1.0, 1.0]),
    np.array([[0, 0, -1], [1, 0, 0], [0, -1, 0]], float),
    np.array([[0, 1, 0], [0, 0, -1], [1, 0, 0]], float),
]


def oblique(degrees: float) -> np.ndarray:
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def some_volume(directions: np.ndarray, dtype: Any = np.int16) -> Volume:
    array = np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(dtype)
    return Volume(array, Grid.from_parts(array.shape, (0.8, 1.2, 5.0), (12.0, -7.5, 3.25), directions), "some")


@pytest.mark.parametrize("tilt", [0.0, 17.0])
@pytest.mark.parametrize("axes", range(len(PERMUTATIONS)))
def test_there_and_back(host: Any, scene: Any, axes: int, tilt: float):
    volume = some_volume(oblique(tilt) @ PERMUTATIONS[axes])
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "some")
    nodes.set_node_volume(node, volume)
    back = nodes.volume_from_node(node)
    assert np.array_equal(back.array, volume.array)
    assert back.array.dtype == volume.array.dtype
    assert same_grid(back.grid, volume.grid, 1e-6)
    assert back.name == "some"


def test_node_agrees_with_slicer_on_positions(host: Any, scene: Any):
    """The RAS point of a voxel, as Slicer computes it, holds the value the volume has there."""
    volume = some_volume(oblique(30.0) @ PERMUTATIONS[2])
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "some")
    nodes.set_node_volume(node, volume)
    point = [*volume.grid.ijk_to_ras(np.array([5, 2, 3])), 1.0]
    to_ijk = host.slicer.util.arrayFromVTKMatrix(_ras_to_ijk(host, node))
    i, j, k = np.round(to_ijk @ point).astype(int)[:3]
    assert node.GetImageData().GetScalarComponentAsDouble(i, j, k, 0) == volume.array[3, 2, 5]


def _ras_to_ijk(host: Any, node: Any) -> Any:
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetRASToIJKMatrix(matrix)
    return matrix


def test_volume_is_a_copy(host: Any, scan_node: Any):
    volume = nodes.volume_from_node(scan_node)
    before = volume.array.copy()
    host.slicer.util.arrayFromVolume(scan_node)[:] = 0
    assert np.array_equal(volume.array, before)
    assert not volume.array.flags.writeable


def test_node_gets_a_copy_and_does_not_share_voxels(scene: Any):
    volume = some_volume(np.eye(3))
    first, second = (scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name) for name in "ab")
    nodes.set_node_volume(first, volume)
    second.SetAndObserveImageData(first.GetImageData())
    nodes.set_node_volume(second, volume.with_array(volume.array + 1))
    assert nodes.volume_from_node(first).array[0, 0, 0] == 0
    assert nodes.volume_from_node(second).array[0, 0, 0] == 1


def test_observers_never_see_new_voxels_with_the_old_geometry(scene: Any):
    import vtk

    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "some")
    nodes.set_node_volume(node, some_volume(np.eye(3)))
    seen = []
    finer = Volume(np.zeros((8, 10, 12), np.float32), some_volume(np.eye(3)).grid.with_spacing((0.4, 0.6, 2.5)))
    node.AddObserver(
        vtk.vtkCommand.ModifiedEvent, lambda *_: seen.append((node.GetImageData().GetDimensions(), node.GetSpacing()))
    )
    nodes.set_node_volume(node, finer)
    assert seen
    assert all(dimensions == (12, 10, 8) and np.allclose(spacing, (0.4, 0.6, 2.5)) for dimensions, spacing in seen)


@pytest.mark.parametrize(
    ("given", "expected"),
    [(bool, np.uint8), (np.float16, np.float32), (np.int64, np.int32), (np.uint64, np.int32), (">i2", np.int16)],
)
def test_types_slicer_cannot_show_are_converted(scene: Any, given: Any, expected: Any):
    array = np.arange(24).reshape(2, 3, 4).astype(given)
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "typed")
    nodes.set_node_volume(node, Volume(array, Grid.from_parts(array.shape)))
    back = nodes.volume_from_node(node).array
    assert back.dtype == expected
    assert np.array_equal(back, array.astype(expected))


def test_large_whole_numbers_keep_their_value(scene: Any):
    array = np.array([[[2**40, -(2**40)]]], np.int64)
    converted = nodes.displayable_array(array)
    assert converted.dtype == np.float64
    assert np.array_equal(converted, array)


def test_display_is_copied(host: Any, scene: Any, scan_node: Any):
    display = scan_node.GetScalarVolumeDisplayNode()
    display.SetAndObserveColorNodeID("vtkMRMLColorTableNodeRed")
    display.SetInterpolate(0)
    display.SetThreshold(10, 300)
    display.SetApplyThreshold(True)
    target = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "target")
    nodes.set_node_volume(target, nodes.volume_from_node(scan_node))
    nodes.copy_display(scan_node, target)
    copy = target.GetScalarVolumeDisplayNode()
    assert (copy.GetWindow(), copy.GetLevel()) == (480.0, 231.0)
    assert copy.GetColorNodeID() == "vtkMRMLColorTableNodeRed"
    assert (copy.GetInterpolate(), copy.GetApplyThreshold()) == (0, 1)
    assert (copy.GetLowerThreshold(), copy.GetUpperThreshold()) == (10, 300)


def wrong_nodes(host: Any) -> dict[str, Any]:
    scene, util = host.slicer.mrmlScene, host.slicer.util
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    labels = util.addVolumeFromArray(
        np.ones((3, 3, 3), np.int16), name="labels", nodeClassName="vtkMRMLLabelMapVolumeNode"
    )
    colours = util.addVolumeFromArray(
        np.ones((3, 3, 3, 3), np.uint8), name="colours", nodeClassName="vtkMRMLVectorVolumeNode"
    )
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "model")
    diffusion = scene.AddNewNodeByClass("vtkMRMLDiffusionWeightedVolumeNode", "diffusion")
    return {
        "no volume": None,
        "no voxels": empty,
        "label map": labels,
        "vectors": colours,
        "vtkMRMLModelNode": model,
        "several": diffusion,
    }


@pytest.mark.parametrize("what", ["no volume", "no voxels", "label map", "vectors", "vtkMRMLModelNode", "several"])
def test_wrong_nodes_are_named(host: Any, what: str):
    with pytest.raises(InputError, match=what):
        nodes.volume_from_node(wrong_nodes(host)[what])


def test_sheared_node_is_refused(scene: Any):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "sheared")
    nodes.set_node_volume(node, some_volume(np.eye(3)))
    matrix = np.eye(4)
    matrix[0, 1] = 0.4
    node.SetIJKToRASMatrix(nodes.array_to_matrix(matrix))
    with pytest.raises(GridError, match="sheared"):
        nodes.volume_from_node(node)


def transform_node(host: Any, matrix: np.ndarray, name: str = "transform") -> Any:
    node = host.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(nodes.array_to_matrix(matrix))
    return node


def test_reference_under_another_linear_transform_is_placed_right(host: Any, scan_node: Any, thick_scan: Any):
    """Moving scan and reference by different transforms, so that they still coincide, changes nothing."""
    shift, turn = np.eye(4), np.eye(4)
    shift[:3, 3] = (10.0, -4.0, 7.0)
    turn[:3, :3] = oblique(25.0)
    target, reference = scan_node, add_node(host, thick_scan, "Reference")
    target.SetAndObserveTransformNodeID(transform_node(host, turn).GetID())
    moved = nodes.array_to_matrix(np.linalg.inv(shift) @ turn @ thick_scan.grid.affine)
    reference.SetIJKToRASMatrix(moved)
    reference.SetAndObserveTransformNodeID(transform_node(host, shift).GetID())
    assert same_grid(nodes.volume_in_frame_of(reference, target).grid, thick_scan.grid, 1e-4)
    reference.SetAndObserveTransformNodeID(target.GetTransformNodeID())
    assert np.allclose(nodes.volume_in_frame_of(reference, target).grid.affine, nodes.matrix_to_array(moved))


def bend(host: Any) -> Any:
    import vtk

    points, warped = vtk.vtkPoints(), vtk.vtkPoints()
    for index, point in enumerate([(0, 0, 0), (50, 0, 0), (0, 50, 0), (0, 0, 50), (20, 20, 20)]):
        points.InsertNextPoint(*point)
        warped.InsertNextPoint(point[0] + index, point[1] - 2 * index, point[2])
    spline = vtk.vtkThinPlateSplineTransform()
    spline.SetSourceLandmarks(points)
    spline.SetTargetLandmarks(warped)
    spline.SetBasisToR()
    node = host.slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTransformNode", "bend")
    node.SetAndObserveTransformToParent(spline)
    return node


def test_transform_that_is_not_linear(host: Any, scan_node: Any, thick_scan: Any):
    reference = add_node(host, thick_scan, "Reference")
    warp = bend(host)
    reference.SetAndObserveTransformNodeID(warp.GetID())
    with pytest.raises(GridMismatchError, match="not linear"):
        nodes.volume_in_frame_of(reference, scan_node)
    scan_node.SetAndObserveTransformNodeID(warp.GetID())  # both under it: one frame
    assert same_grid(nodes.volume_in_frame_of(reference, scan_node).grid, thick_scan.grid)
    assert same_grid(nodes.volume_from_node(scan_node).grid, thick_scan.grid)  # the scan's own frame


def test_new_node_lies_beside_its_input(host: Any, scene: Any, scan_node: Any, thick_scan: Any):
    hierarchy = host.slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folder = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "Study")
    later = add_node(host, thick_scan, "Later")
    for node in (scan_node, later):
        hierarchy.SetItemParent(hierarchy.GetItemByDataNode(node), folder)
    scan_node.SetAndObserveTransformNodeID(transform_node(host, np.eye(4)).GetID())
    made = records.new_volume_node("Scan_tiny", scan_node)
    item = hierarchy.GetItemByDataNode(made)
    assert hierarchy.GetItemParent(item) == folder
    order = [hierarchy.GetItemPositionUnderParent(hierarchy.GetItemByDataNode(n)) for n in (scan_node, made, later)]
    assert order == sorted(order)
    assert made.GetTransformNodeID() == scan_node.GetTransformNodeID()
    assert records.new_volume_node("Scan_tiny", scan_node).GetName() != made.GetName()


def test_record_replaces_the_former(scene: Any, scan_node: Any):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "out")
    node.SetAttribute("Other", "kept")
    records.write_record(node, {"MRHarmonization.operation": "enhance", "MRHarmonization.old": "1"}, scan_node)
    records.write_record(node, {"MRHarmonization.operation": "enhance"}, scan_node)
    assert set(records.record_of(node)) == {"MRHarmonization.operation", records.INPUT_ID_ATTRIBUTE}
    assert node.GetAttribute("Other") == "kept"
    assert records.input_of(node) is scan_node
    assert records.is_output(node)
    assert not records.is_output(scan_node)
