"""Diffusion nodes and sequences to and from :class:`DwiVolume`: voxels, geometry, weighting, measurement frame.

As for other volumes, voxels and directions are in the node's own frame; a parent transform is left alone, and results
observe the same one. A node tells its directions in its measurement frame: RAS direction = frame · gradient.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import GridMismatchError, InputError
from MRHarmonizationLib.slicer_adapter.nodes import (
    array_to_matrix,
    displayable_array,
    grid_of_node,
    matrix_to_array,
    volume_from_node,
)
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.formats.gradient_tables import read_b_values, read_directions
from MRHarmonizationLib.volumes.gradients import checked_b_values, checked_gradients, fsl_to_ras
from MRHarmonizationLib.volumes.grid import same_grid

_DWI_CLASS = "vtkMRMLDiffusionWeightedVolumeNode"

#: Weightings and frames closer than this are the same, and are left as they are.
_SAME = 1e-9


def dwi_from_node(node: Any) -> DwiVolume:
    """Return a copy of a diffusion-weighted volume node, in the node's own frame.

    Parameters
    ----------
    node : vtkMRMLDiffusionWeightedVolumeNode
        Not changed. Parent transforms are left alone: see the module's text.

    Returns
    -------
    DwiVolume
        Voxel type of the node.

    Raises
    ------
    InputError
        No node, another kind of node, no voxels, or weightings that do not fit them.
    GridError
        Sheared or impossible geometry.
    """
    check_dwi_node(node)
    array = np.array(values_of_dwi_node(node), copy=True)
    b_values, gradients = _weighting_of(node, array.shape[-1])
    try:
        return DwiVolume(
            array, grid_of_node(node), b_values, gradients @ measurement_frame(node).T, node.GetName() or ""
        )
    except InputError as problem:
        raise type(problem)(f"'{node.GetName()}': {problem.problem}", problem.remedy) from None


def values_of_dwi_node(node: Any) -> np.ndarray:
    """Return the voxels of a diffusion node, [K, J, I, N]: its own memory, to be read and not written."""
    import slicer

    array = np.asarray(slicer.util.arrayFromVolume(node))
    return array[..., np.newaxis] if array.ndim == 3 else array


def weighting_of_node(node: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return b-values (N,) in s/mm² and unit directions (N, 3) in RAS of a diffusion node, checked.

    Raises
    ------
    InputError
        As :func:`dwi_from_node`; the voxels are not looked at.
    """
    check_dwi_node(node)
    count = node.GetImageData().GetNumberOfScalarComponents()
    b_values, directions = _weighting_of(node, count)
    try:
        b_values = checked_b_values(b_values, count)
        return b_values, checked_gradients(directions @ measurement_frame(node).T, b_values)
    except InputError as problem:
        raise type(problem)(f"'{node.GetName()}': {problem.problem}", problem.remedy) from None


def set_node_dwi(node: Any, dwi: DwiVolume) -> None:
    """Give a diffusion node new voxels, geometry and weighting, in one step for whoever observes it.

    Parameters
    ----------
    node : vtkMRMLDiffusionWeightedVolumeNode
        Gets its own copy of the voxels. Its measurement frame, parent transform, display and attributes stay; so do
        its b-values and gradients where they are those of the series (a clone of the input keeps them bit by bit).
    dwi : DwiVolume
        In the node's own frame. Types Slicer cannot show are converted, as by ``set_node_volume``.

    Raises
    ------
    InputError
        Another kind of node.
    """
    if node is None or not node.IsA(_DWI_CLASS):
        raise InputError(f"the output is no diffusion-weighted volume ({_class_of(node)})", "select or create one")
    import vtk
    from vtk.util import numpy_support

    array = displayable_array(dwi.array)
    image = vtk.vtkImageData()
    image.SetDimensions(*dwi.grid.size_ijk)
    image.GetPointData().SetScalars(numpy_support.numpy_to_vtk(array.reshape(-1, dwi.n_volumes), deep=True))
    modifying = node.StartModify()
    try:
        node.SetIJKToRASMatrix(array_to_matrix(dwi.grid.affine))
        _set_weighting(node, dwi)
        node.SetAndObserveImageData(image)
        node.StorableModified()
    finally:
        node.EndModify(modifying)


def measurement_frame(node: Any) -> np.ndarray:
    """Return the matrix that turns a diffusion node's gradients into RAS, shape (3, 3).

    Raises
    ------
    InputError
        The frame is not a rotation, mirrored or not.
    """
    import vtk

    matrix = vtk.vtkMatrix4x4()
    node.GetMeasurementFrameMatrix(matrix)
    frame = matrix_to_array(matrix)[:3, :3]
    if not np.allclose(frame @ frame.T, np.eye(3), atol=1e-2):
        raise InputError(
            f"the measurement frame of '{node.GetName()}' is not a rotation: {np.round(frame, 3).tolist()}",
            "correct it, or load the series again",
        )
    return frame


def dwi_from_sequence(sequence: Any, bval: str | os.PathLike[str], bvec: str | os.PathLike[str]) -> DwiVolume:
    """Return a four-dimensional sequence of scalar volumes with the weightings of two text files.

    Parameters
    ----------
    sequence : vtkMRMLSequenceNode
        Its items in order are the volumes; neither it nor what a browser shows of it is changed.
    bval, bvec : path-like
        Tables in FSL's convention, which is about the axes of the image: those the sequence was loaded with.

    Returns
    -------
    DwiVolume
        In the frame of the items.

    Raises
    ------
    InputError
        No sequence of scalar volumes, or tables that do not fit it.
    GridMismatchError
        Volumes on different grids.
    """
    if sequence is None or not sequence.IsA("vtkMRMLSequenceNode"):
        raise InputError(f"no sequence is selected ({_class_of(sequence)})", "select a sequence of volumes")
    count = sequence.GetNumberOfDataNodes()
    if count < 2:
        raise InputError(
            f"sequence '{sequence.GetName()}' holds {count} volumes, expected several", "select a diffusion series"
        )
    volumes = [volume_from_node(sequence.GetNthDataNode(index)) for index in range(count)]
    grid = volumes[0].grid
    for index, volume in enumerate(volumes):
        if not same_grid(volume.grid, grid):
            raise GridMismatchError(
                f"volume {index} of sequence '{sequence.GetName()}' lies on another grid than volume 0",
                "resample the volumes to one grid",
            )
    array = np.stack([volume.array for volume in volumes], axis=-1)
    directions = fsl_to_ras(read_directions(Path(bvec), count), grid)
    return DwiVolume(array, grid, read_b_values(Path(bval)), directions, sequence.GetName() or "")


def check_dwi_node(node: Any) -> None:
    """Refuse what is not a diffusion-weighted volume node with voxels; raises InputError."""
    if node is None:
        raise InputError("no diffusion series is selected", "select a diffusion-weighted volume")
    if not node.IsA(_DWI_CLASS):
        raise InputError(
            f"'{node.GetName()}' is a {node.GetClassName()}, no diffusion-weighted volume",
            "load the series as a diffusion-weighted volume (.nrrd with modality DWMRI)",
        )
    image = node.GetImageData()
    if image is None or image.GetPointData().GetScalars() is None or image.GetNumberOfPoints() == 0:
        raise InputError(f"'{node.GetName()}' has no voxels", "load its data, or select another volume")


def _weighting_of(node: Any, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Return b-values (n,) and gradients (n, 3) of a node, as it tells them."""
    from vtk.util import numpy_support

    told = node.GetNumberOfGradients()
    b_values, gradients = node.GetBValues(), node.GetDiffusionGradients()
    if told == 0 or b_values is None or gradients is None:
        raise InputError(
            f"'{node.GetName()}' tells no b-values and gradients for its {count} volumes",
            "load the series again with its gradient table",
        )
    return (
        numpy_support.vtk_to_numpy(b_values).astype(np.float64).reshape(-1),
        numpy_support.vtk_to_numpy(gradients).astype(np.float64).reshape(-1, 3),
    )


def _set_weighting(node: Any, dwi: DwiVolume) -> None:
    from vtk.util import numpy_support

    told = dwi.gradients_ras @ np.linalg.inv(measurement_frame(node)).T
    if node.GetNumberOfGradients() == dwi.n_volumes and node.GetBValues() is not None:
        b_values, gradients = _weighting_of(node, dwi.n_volumes)
        lengths = np.linalg.norm(gradients, axis=1, keepdims=True)
        unit = gradients / np.where(lengths > 0, lengths, 1.0)
        if np.allclose(b_values, dwi.b_values_s_per_mm2, rtol=0, atol=_SAME) and np.allclose(unit, told, atol=_SAME):
            return
    node.SetNumberOfGradients(dwi.n_volumes)
    node.SetDiffusionGradients(numpy_support.numpy_to_vtk(np.ascontiguousarray(told), deep=True))
    node.SetBValues(numpy_support.numpy_to_vtk(np.array(dwi.b_values_s_per_mm2), deep=True))


def _class_of(node: Any) -> str:
    return "none" if node is None else str(node.GetClassName())
