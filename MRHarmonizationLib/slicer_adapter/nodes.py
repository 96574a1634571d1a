"""Volume nodes to and from :class:`Volume`: voxels, geometry, display.

A node's voxels lie in the node's own frame; a parent transform moves that frame to the world. Results are made in the
node's frame and observe the same transform, linear or not, so they lie where the input lies.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import GridMismatchError, InputError
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

#: Volume node classes that hold something else than one grey value per voxel: what they hold.
NOT_GREY_VALUES = {
    "vtkMRMLLabelMapVolumeNode": "a label map",
    "vtkMRMLDiffusionWeightedVolumeNode": "several volumes",
    "vtkMRMLVectorVolumeNode": "vectors or colours",
    "vtkMRMLTensorVolumeNode": "tensors",
}


def volume_from_node(node: Any) -> Volume:
    """Return a copy of a scalar volume node's voxels, in the node's own frame.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode
        Not changed. Parent transforms are left alone: see the module's text.

    Returns
    -------
    Volume
        Voxel type of the node; grid in RAS mm of the node's frame.

    Raises
    ------
    InputError
        No node, no voxels, or not one grey value per voxel.
    GridError
        Sheared or impossible geometry.
    """
    check_scalar_node(node)
    import slicer

    array = np.array(slicer.util.arrayFromVolume(node), copy=True)
    return Volume(array, grid_of_node(node), name=node.GetName() or "")


def check_scalar_node(node: Any) -> None:
    """Refuse what is not a scalar volume node with voxels; raises InputError."""
    if node is None:
        raise InputError("no volume is selected", "select a volume")
    name = f"'{node.GetName()}'"
    for class_name, content in NOT_GREY_VALUES.items():
        if node.IsA(class_name):
            raise InputError(f"{name} holds {content}", "select a volume with one grey value per voxel")
    if not node.IsA("vtkMRMLScalarVolumeNode"):
        raise InputError(f"{name} is a {node.GetClassName()}, no scalar volume", "select a scalar volume")
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or image.GetNumberOfPoints() == 0:
        raise InputError(f"{name} has no voxels", "load its data, or select another volume")
    components = image.GetNumberOfScalarComponents()
    if components != 1:
        raise InputError(
            f"{name} has {components} values per voxel",
            "convert it to a scalar volume (module Vector to Scalar Volume)",
        )


def grid_of_node(node: Any) -> Grid:
    """Return the grid of a volume node in the node's own frame; raises GridError if it is sheared."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    i, j, k = node.GetImageData().GetDimensions()
    return Grid((k, j, i), matrix_to_array(matrix))


def set_node_volume(node: Any, volume: Volume) -> None:
    """Give a scalar volume node new voxels and their geometry, in one step for whoever observes it.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode
        Gets its own copy of the voxels. Parent transform, display and attributes stay as they are.
    volume : Volume
        In the node's own frame. Types Slicer cannot show are converted, see :func:`displayable_array`.
    """
    import vtk
    from vtk.util import numpy_support

    array = displayable_array(volume.array)
    image = vtk.vtkImageData()
    image.SetDimensions(*volume.grid.size_ijk)
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(array.reshape(-1), deep=True))
    modifying = node.StartModify()
    try:
        node.SetIJKToRASMatrix(array_to_matrix(volume.grid.affine))
        node.SetAndObserveImageData(image)
        node.StorableModified()
    finally:
        node.EndModify(modifying)


def displayable_array(array: np.ndarray) -> np.ndarray:
    """Return values in a type that Slicer shows: no bool, no float16, no 64-bit integers.

    Parameters
    ----------
    array : ndarray
        Real.

    Returns
    -------
    ndarray
        C-contiguous, native byte order: uint8 for bool, float32 for float16, int32 for 64-bit integers that fit,
        float64 for those that do not.
    """
    if array.dtype == bool:
        array = array.astype(np.uint8)
    elif array.dtype.kind in "iu" and array.dtype.itemsize == 8:
        limits = np.iinfo(np.int32)
        fits = array.size == 0 or (limits.min <= int(array.min()) and int(array.max()) <= limits.max)
        array = array.astype(np.int32 if fits else np.float64)
    elif array.dtype.kind == "f" and array.dtype.itemsize not in (4, 8):
        array = array.astype(np.float32 if array.dtype.itemsize == 2 else np.float64)
    return np.ascontiguousarray(array, dtype=array.dtype.newbyteorder("="))


def copy_display(source: Any, target: Any) -> None:
    """Show the target as the source is shown: window, level, colours, thresholds, interpolation."""
    if target.GetDisplayNode() is None:
        target.CreateDefaultDisplayNodes()
    old, new = source.GetScalarVolumeDisplayNode(), target.GetScalarVolumeDisplayNode()
    if old is None or new is None:
        return
    modifying = new.StartModify()
    try:
        new.SetAutoWindowLevel(False)
        new.SetWindowLevel(old.GetWindow(), old.GetLevel())
        new.SetAndObserveColorNodeID(old.GetColorNodeID())
        new.SetInvertDisplayScalarRange(old.GetInvertDisplayScalarRange())
        new.SetInterpolate(old.GetInterpolate())
        new.SetAutoThreshold(False)
        new.SetThreshold(old.GetLowerThreshold(), old.GetUpperThreshold())
        new.SetApplyThreshold(old.GetApplyThreshold())
    finally:
        new.EndModify(modifying)


def volume_in_frame_of(node: Any, target: Any) -> Volume:
    """Return a node's voxels with the geometry they have in another node's frame.

    Parameters
    ----------
    node, target : vtkMRMLScalarVolumeNode
        Either may have a parent transform.

    Returns
    -------
    Volume

    Raises
    ------
    InputError
        ``node`` cannot be used, or lies in another frame through a transform that is not linear.
    GridError
        The transform between the frames shears the grid.
    """
    return moved_to_frame(volume_from_node(node), node, target)


def moved_to_frame(volume: Volume, node: Any, target: Any) -> Volume:
    """Return a volume of one node's frame with the geometry it has in another's; see :func:`volume_in_frame_of`."""
    if node.GetParentTransformNode() is target.GetParentTransformNode():
        return volume
    return Volume(
        volume.array, Grid(volume.grid.shape, frame_transform(node, target) @ volume.grid.affine), volume.name
    )


def frame_transform(node: Any, target: Any) -> np.ndarray:
    """Return what takes points of one node's frame to another's, float64 of shape (4, 4).

    Raises
    ------
    GridMismatchError
        A transform that is not linear lies between them.
    """
    import slicer
    import vtk

    own, others = node.GetParentTransformNode(), target.GetParentTransformNode()
    if not slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(_transform_between(own, others)):
        raise GridMismatchError(
            f"'{node.GetName()}' and '{target.GetName()}' are related by a transform that is not linear",
            "harden the transform (module Transforms), or put both volumes under it",
        )
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(own, others, matrix)
    return matrix_to_array(matrix)


def _transform_between(source: Any, target: Any) -> Any:
    import slicer
    import vtk

    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, transform)
    return transform


def matrix_to_array(matrix: Any) -> np.ndarray:
    """Return a vtkMatrix4x4 as a float64 array of shape (4, 4)."""
    return np.array([[matrix.GetElement(row, column) for column in range(4)] for row in range(4)])


def array_to_matrix(array: np.ndarray) -> Any:
    """Return an array of shape (4, 4) as a vtkMatrix4x4."""
    import vtk

    matrix = vtk.vtkMatrix4x4()
    for row in range(4):
        for column in range(4):
            matrix.SetElement(row, column, float(array[row, column]))
    return matrix
