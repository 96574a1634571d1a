"""Masks of a comparison: segments, labels and plain volumes, wherever they lie; their nodes stay as they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from slicer_support import add_node, add_segmentation

from MRHarmonizationLib.core.errors import GridMismatchError, InputError
from MRHarmonizationLib.slicer_adapter.masks import mask_volume, parts_of
from MRHarmonizationLib.slicer_adapter.nodes import array_to_matrix, volume_from_node
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume


def on_grid_of(mask: Volume, node: Any) -> np.ndarray:
    """A mask as the command line sees it: on the voxels of a node, without help for what lies outside it."""
    return resample(mask, volume_from_node(node).grid, "nearest").array > 0


@pytest.fixture
def regions(thick_scan: Volume) -> dict[str, np.ndarray]:
    bright = thick_scan.array > 450
    lower = np.zeros_like(bright)
    lower[:5, 10:30, 8:20] = True
    return {"Bright": bright, "Lower": lower & ~bright}


@pytest.fixture
def segmentation(host: Any, scan_node: Any, regions: dict[str, np.ndarray]) -> Any:
    return add_segmentation(host, scan_node, regions)


def test_segments_are_offered_and_give_their_voxels(segmentation: Any, scan_node: Any, regions: dict[str, np.ndarray]):
    parts = parts_of(segmentation)
    assert [text for _, text in parts] == ["All segments", "Bright", "Lower"]
    for part, text in parts[1:]:
        mask = mask_volume(segmentation, part, scan_node)
        assert mask.name == text
        assert np.array_equal(on_grid_of(mask, scan_node), regions[text])
    union = mask_volume(segmentation, "", scan_node)
    assert np.array_equal(on_grid_of(union, scan_node), regions["Bright"] | regions["Lower"])
    assert union.name == "Segmentation"


def test_a_box_that_fills_its_extent_does_not_run_over(host: Any, scan_node: Any, thick_scan: Volume):
    """Label maps of segments are cut to what they hold: one of ones only must still be 0 around."""
    box = np.zeros(thick_scan.array.shape, bool)
    box[3:6, 20:30, 10:40] = True
    mask = mask_volume(add_segmentation(host, scan_node, {"Box": box}), "", scan_node)
    assert np.array_equal(on_grid_of(mask, scan_node), box)
    labels = add_node(host, Volume(np.ones((4, 8, 8), np.uint8), thick_scan.grid.crop((3, 20, 10), (4, 8, 8))), "Ones")
    expected = np.zeros_like(box)
    expected[3:7, 20:28, 10:18] = True
    assert np.array_equal(on_grid_of(mask_volume(labels, "", scan_node), scan_node), expected)


def test_segmentations_are_not_changed(host: Any, scene: Any, segmentation: Any, scan_node: Any):
    before = (segmentation.GetSegmentation().GetMTime(), scene.GetNumberOfNodes())
    mask_volume(segmentation, "", scan_node)
    assert (segmentation.GetSegmentation().GetMTime(), scene.GetNumberOfNodes()) == before


def test_surfaces_become_voxels_without_touching_them(host: Any, scene: Any, scan_node: Any):
    import vtk

    ball = vtk.vtkSphereSource()
    ball.SetCenter(0.0, 2.0, -6.0)
    ball.SetRadius(12.0)
    ball.SetThetaResolution(48)
    ball.SetPhiResolution(48)
    ball.Update()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Ball")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    node.AddSegmentFromClosedSurfaceRepresentation(ball.GetOutput(), "Ball", [1.0, 0.0, 0.0], "Ball")
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")
    mask = mask_volume(node, "Ball", scan_node)
    assert np.allclose(mask.grid.spacing_mm, scan_node.GetSpacing(), atol=1e-4)
    volume_mm3 = np.count_nonzero(mask.array) * mask.grid.voxel_volume_mm3
    assert volume_mm3 == pytest.approx(4 / 3 * np.pi * 12.0**3, rel=0.06)
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")


@pytest.mark.parametrize("where", ["mask", "image", "both"])
def test_parent_transforms_are_followed(host: Any, scene: Any, segmentation: Any, scan_node: Any, where: str):
    angle = np.deg2rad(20)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = (9.0, -4.0, 6.0)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Turn")
    transform.SetMatrixTransformToParent(array_to_matrix(matrix))
    still = mask_volume(segmentation, "", scan_node)
    for node in {"mask": [segmentation], "image": [scan_node], "both": [segmentation, scan_node]}[where]:
        node.SetAndObserveTransformNodeID(transform.GetID())
    moved = mask_volume(segmentation, "", scan_node)
    expected = {"mask": matrix, "image": np.linalg.inv(matrix), "both": np.eye(4)}[where] @ still.grid.affine
    assert np.allclose(moved.grid.affine, expected, atol=1e-6)
    assert np.array_equal(moved.array, still.array)


def test_transform_that_is_not_linear_is_refused(scene: Any, segmentation: Any, scan_node: Any):
    warp = scene.AddNewNodeByClass("vtkMRMLBSplineTransformNode", "Warp")
    segmentation.SetAndObserveTransformNodeID(warp.GetID())
    import vtk

    spline = vtk.vtkThinPlateSplineTransform()
    source, target = vtk.vtkPoints(), vtk.vtkPoints()
    for point, moved in (
        ((0, 0, 0), (1, 2, 3)),
        ((9, 0, 0), (9, 5, 0)),
        ((0, 9, 0), (3, 9, 0)),
        ((0, 0, 9), (0, 0, 9)),
    ):
        source.InsertNextPoint(point)
        target.InsertNextPoint(moved)
    spline.SetSourceLandmarks(source)
    spline.SetTargetLandmarks(target)
    warp.SetAndObserveTransformToParent(spline)
    with pytest.raises(GridMismatchError, match="not linear"):
        mask_volume(segmentation, "", scan_node)


def test_labels_of_a_label_map(host: Any, scan_node: Any, thick_scan: Volume):
    labels = np.zeros(thick_scan.array.shape, np.uint8)
    labels[2:4] = 2
    labels[6:7] = 5
    node = add_node(host, Volume(labels, thick_scan.grid), "Labels", "vtkMRMLLabelMapVolumeNode")
    ids = [part for part, _ in parts_of(node)]
    assert ids == ["", "2", "5"]
    assert parts_of(node)[1][1].startswith("Label 2")
    five = mask_volume(node, "5", scan_node)
    assert np.array_equal(on_grid_of(five, scan_node), labels == 5)
    assert five.name == "Labels, label 5"
    with pytest.raises(InputError, match="'Labels, label 3' is empty"):
        mask_volume(node, "3", scan_node)


def test_empty_masks_are_refused(host: Any, scene: Any, scan_node: Any, thick_scan: Volume):
    with pytest.raises(InputError, match="'None' is empty"):
        mask_volume(add_node(host, thick_scan.with_array(thick_scan.array * 0), "None"), "", scan_node)
    empty = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "Segments")
    with pytest.raises(InputError, match="has no segments"):
        mask_volume(empty, "", scan_node)
    empty.GetSegmentation().AddEmptySegment("Nothing", "Nothing")
    with pytest.raises(InputError, match="is empty"):
        mask_volume(empty, "Nothing", scan_node)
    with pytest.raises(InputError, match="no segment 'Else'"):
        mask_volume(empty, "Else", scan_node)
    bare = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "Bare")
    assert parts_of(bare) == [("", "Every voxel that is not 0")]
    with pytest.raises(InputError, match="no voxels"):
        mask_volume(bare, "", scan_node)
    assert parts_of(None) == []
