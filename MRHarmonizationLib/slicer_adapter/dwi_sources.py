"""Where diffusion nodes come from when Slicer has none yet: files, sequences, volumes with several values per voxel."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.slicer_adapter import records
from MRHarmonizationLib.slicer_adapter.dwi_nodes import dwi_from_sequence, set_node_dwi
from MRHarmonizationLib.slicer_adapter.nodes import grid_of_node
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.formats.gradient_tables import read_b_values, read_directions
from MRHarmonizationLib.volumes.gradients import fsl_to_ras

DWI_CLASS = "vtkMRMLDiffusionWeightedVolumeNode"
#: Nodes whose weightings have to be read from text files.
SOURCE_CLASSES = ("vtkMRMLSequenceNode", "vtkMRMLVectorVolumeNode")

AnyPath = str | os.PathLike[str]


def load_diffusion(path: AnyPath, bval: AnyPath | None = None, bvec: AnyPath | None = None) -> Any:
    """Load a diffusion scan from disk into the scene and return its node.

    Parameters
    ----------
    path, bval, bvec : path-like
        As for :func:`~MRHarmonizationLib.volumes.dwi_files.read_dwi`: NIfTI with its tables, NRRD, or DICOM.

    Returns
    -------
    vtkMRMLDiffusionWeightedVolumeNode

    Raises
    ------
    InputError
        What keeps it from being a diffusion scan.
    """
    import slicer

    from MRHarmonizationLib.volumes.dwi_files import read_dwi

    dwi = read_dwi(path, bval, bvec)
    return new_dwi_node(dwi, dwi.name or "diffusion", slicer.mrmlScene)


def diffusion_from_tables(source: Any, bval: AnyPath | None, bvec: AnyPath | None) -> Any:
    """Make a diffusion node of a series of volumes and its tables, beside it in the hierarchy, and return it.

    Parameters
    ----------
    source : vtkMRMLSequenceNode or vtkMRMLVectorVolumeNode
        Not changed.
    bval, bvec : path-like
        Text files in FSL's convention, about the axes of the image.

    Returns
    -------
    vtkMRMLDiffusionWeightedVolumeNode
        Named after the series, under its parent transform.

    Raises
    ------
    InputError
        No series, a file that is missing, tables that do not fit.
    GridMismatchError
        Volumes on different grids.
    """
    if source is None:
        raise InputError("no series of volumes is selected", "select a sequence or a 4-D volume")
    tables = _table(bval, "b-values", ".bval"), _table(bvec, "gradients", ".bvec")
    is_sequence = source.IsA("vtkMRMLSequenceNode")
    dwi = dwi_from_sequence(source, *tables) if is_sequence else dwi_from_components(source, *tables)
    node = new_dwi_node(dwi, f"{source.GetName()}_dwi", source.GetScene())
    if not is_sequence:
        node.SetAndObserveTransformNodeID(source.GetTransformNodeID())
    records.place_beside(node, source)
    return node


def dwi_from_components(node: Any, bval: AnyPath, bvec: AnyPath) -> DwiVolume:
    """Return a volume with several values per voxel as a series, with the weightings of two text files.

    Parameters
    ----------
    node : vtkMRMLVectorVolumeNode
        Not changed.
    bval, bvec : path-like
        In FSL's convention.

    Raises
    ------
    InputError
        Another kind of node, no voxels, or tables that do not fit.
    """
    import slicer

    image = node.GetImageData() if node is not None and node.IsA("vtkMRMLScalarVolumeNode") else None
    if image is None or image.GetPointData().GetScalars() is None or image.GetNumberOfPoints() == 0:
        kind = "nothing" if node is None else f"'{node.GetName()}' ({node.GetClassName()})"
        raise InputError(f"{kind} is no volume with voxels", "select a sequence or a 4-D volume")
    array = np.array(slicer.util.arrayFromVolume(node), copy=True)
    if array.ndim != 4 or array.shape[-1] < 2:
        raise InputError(f"'{node.GetName()}' has one value per voxel, expected several", "select the whole series")
    grid, count = grid_of_node(node), array.shape[-1]
    directions = fsl_to_ras(read_directions(Path(bvec), count), grid)
    return DwiVolume(array, grid, read_b_values(Path(bval)), directions, node.GetName() or "")


def new_dwi_node(dwi: DwiVolume, name: str, scene: Any) -> Any:
    """Add a diffusion node with a unique name and return it; directions are told in RAS."""
    node = scene.AddNewNodeByClass(DWI_CLASS, scene.GenerateUniqueName(name))
    set_node_dwi(node, dwi)
    node.CreateDefaultDisplayNodes()
    return node


def _table(path: AnyPath | None, what: str, ending: str) -> Path:
    remedy = f"choose the {ending} file that was written with the scan"
    if not path:
        raise InputError(f"the file of the {what} is missing", remedy)
    found = Path(path).expanduser()
    if not found.is_file():
        raise InputError(f"the file of the {what} {found} is not there", remedy)
    return found
