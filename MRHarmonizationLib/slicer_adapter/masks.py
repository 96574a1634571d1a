"""Where to measure, as a panel offers it: segments of a segmentation, labels of a label map, voxels that are not 0."""

from __future__ import annotations

from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.slicer_adapter.nodes import (
    array_to_matrix,
    frame_transform,
    grid_of_node,
    matrix_to_array,
    moved_to_frame,
)
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

#: Labels offered at most; a label map with more is measured as a whole.
MOST_LABELS = 64
#: Classes of nodes that can be a mask, as selectors name them.
MASK_CLASSES = ("vtkMRMLSegmentationNode", "vtkMRMLLabelMapVolumeNode", "vtkMRMLScalarVolumeNode")


def parts_of(node: Any) -> list[tuple[str, str]]:
    """Return what can be chosen of a mask node: (id, what to show), the whole first with the id ''.

    Parameters
    ----------
    node : vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode or None
    """
    if node is None:
        return []
    if node.IsA("vtkMRMLSegmentationNode"):
        segmentation = node.GetSegmentation()
        ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
        return [("", "All segments"), *((id_, segmentation.GetSegment(id_).GetName() or id_) for id_ in ids)]
    whole = [("", "Every voxel that is not 0")]
    if not node.IsA("vtkMRMLLabelMapVolumeNode") or node.GetImageData() is None:
        return whole
    found = np.unique(_array(node))
    labels = [int(value) for value in found if value != 0]
    if len(labels) > MOST_LABELS:
        return whole
    display = node.GetDisplayNode()
    colours = None if display is None else display.GetColorNode()
    names = {label: (colours.GetColorName(label) if colours is not None else "") or "" for label in labels}
    shown = {
        label: f"{label} ({name})" if name not in ("", str(label)) else str(label) for label, name in names.items()
    }
    return whole + [(str(label), f"Label {text}") for label, text in shown.items()]


def mask_volume(node: Any, part: str, target: Any) -> Volume:
    """Return a mask as a volume in the frame of the volume it is laid over.

    Parameters
    ----------
    node : vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode or vtkMRMLScalarVolumeNode
        Not changed.
    part : str
        Id of :func:`parts_of`; '' for the whole.
    target : vtkMRMLScalarVolumeNode
        A segmentation of surfaces is voxelised on its grid.

    Returns
    -------
    Volume
        uint8, 1 inside; a border of zeros around it.

    Raises
    ------
    InputError
        Nothing in it, an unknown part, no voxels.
    GridMismatchError
        Related to the target by a transform that is not linear.
    """
    mask = _segments(node, part, target) if node.IsA("vtkMRMLSegmentationNode") else _voxels(node, part)
    if not mask.array.any():
        raise InputError(f"the mask '{mask.name}' is empty", "choose another mask, or none")
    return moved_to_frame(_with_border(mask), node, target)


def label_volume(node: Any, target: Any) -> Volume:
    """Return a label map with its numbers, in the frame of the volume it was drawn on.

    Parameters
    ----------
    node : vtkMRMLLabelMapVolumeNode
        Not changed.
    target : vtkMRMLScalarVolumeNode

    Raises
    ------
    InputError
        No voxels, or several values per voxel.
    GridMismatchError
        Related to the target by a transform that is not linear.
    """
    array, name = _checked_array(node)
    return moved_to_frame(Volume(array.copy(), grid_of_node(node), name), node, target)


def _voxels(node: Any, part: str) -> Volume:
    array, name = _checked_array(node)
    inside = array != 0 if part == "" else array == int(part)
    return Volume(inside.astype(np.uint8), grid_of_node(node), name if part == "" else f"{name}, label {part}")


def _checked_array(node: Any) -> tuple[np.ndarray, str]:
    """Return the voxels (K, J, I) of a volume node, and its name."""
    name = node.GetName() or "mask"
    if node.GetImageData() is None or node.GetImageData().GetNumberOfPoints() == 0:
        raise InputError(f"'{name}' has no voxels", "load its data, or select another mask")
    array = _array(node)
    if array.ndim != 3:
        raise InputError(f"'{name}' has several values per voxel", "select a mask with one value per voxel")
    return array, name


def _segments(node: Any, part: str, target: Any) -> Volume:
    """Return segments as one mask, read from a copy, so that the node is not given further representations."""
    import slicer

    source, name = node.GetSegmentation(), node.GetName() or "segmentation"
    ids = [id_ for id_, _ in parts_of(node) if id_ and part in ("", id_)]
    if not ids:
        what = f"segment '{part}'" if part else "segments"
        raise InputError(f"'{name}' has no {what}", "choose another mask, or none")
    labelmap = slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()
    copy = slicer.vtkSegmentation()
    copy.SetSourceRepresentationName(source.GetSourceRepresentationName())
    for id_ in ids:
        copy.CopySegmentFromSegmentation(source, id_)
    if not copy.ContainsRepresentation(labelmap):
        copy.SetConversionParameter(
            slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(), _geometry_text(node, target)
        )
        if not copy.CreateRepresentation(labelmap):
            raise InputError(f"'{name}' cannot be turned into voxels", "open it in the module Segment Editor")
    shown = name if part == "" else source.GetSegment(part).GetName() or part
    return _union([copy.GetSegment(id_) for id_ in ids], labelmap, shown)


def _union(segments: list[Any], labelmap: str, name: str) -> Volume:
    """Return the union of the binary label maps of segments, which share one lattice but not one extent."""
    import vtk

    parts = []
    for segment in segments:
        image = segment.GetRepresentation(labelmap)
        extent = np.array(image.GetExtent() if image is not None else (0, -1) * 3).reshape(3, 2)
        if image is None or np.any(extent[:, 1] < extent[:, 0]) or image.GetPointData().GetScalars() is None:
            continue
        matrix = vtk.vtkMatrix4x4()
        image.GetImageToWorldMatrix(matrix)
        values = _scalars(image) == segment.GetLabelValue()
        parts.append((extent, matrix_to_array(matrix), values))
    if not parts:
        raise InputError(f"the mask '{name}' is empty", "choose another mask, or none")
    to_ras = parts[0][1]
    if any(not np.allclose(matrix, to_ras, atol=1e-4) for _, matrix, _ in parts):
        raise InputError(f"the segments of '{name}' lie on different voxel grids", "choose one segment")
    first = np.min([extent[:, 0] for extent, _, _ in parts], axis=0)
    last = np.max([extent[:, 1] for extent, _, _ in parts], axis=0)
    whole = np.zeros(tuple((last - first + 1)[::-1]), np.uint8)
    for extent, _, values in parts:
        i, j, k = extent[:, 0] - first
        depth, height, width = values.shape
        whole[k : k + depth, j : j + height, i : i + width] |= values
    affine = to_ras.copy()
    affine[:3, 3] += to_ras[:3, :3] @ first
    return Volume(whole, Grid(whole.shape, affine), name)


def _geometry_text(node: Any, target: Any) -> str:
    """Return the grid of the target in the frame of a segmentation, as segmentations write it down."""
    import slicer

    affine = frame_transform(target, node) @ grid_of_node(target).affine
    extent = target.GetImageData().GetExtent()
    image = slicer.vtkOrientedImageData()
    image.SetExtent(extent)
    image.SetGeometryFromImageToWorldMatrix(array_to_matrix(affine))
    return str(slicer.vtkSegmentationConverter.SerializeImageGeometry(image))


def _with_border(mask: Volume) -> Volume:
    """Return a mask one voxel larger on each side, so that it is 0 at its border, as resampling takes for granted."""
    grid = mask.grid
    padded = np.pad(mask.array, 1)
    affine = grid.affine.copy()
    affine[:3, 3] -= affine[:3, :3].sum(axis=1)
    return Volume(padded, Grid(padded.shape, affine), mask.name)


def _array(node: Any) -> np.ndarray:
    import slicer

    return np.asarray(slicer.util.arrayFromVolume(node))


def _scalars(image: Any) -> np.ndarray:
    from vtk.util import numpy_support

    i, j, k = image.GetDimensions()
    return np.asarray(numpy_support.vtk_to_numpy(image.GetPointData().GetScalars())).reshape(k, j, i)
