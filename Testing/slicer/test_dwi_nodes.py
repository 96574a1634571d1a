"""Diffusion nodes and sequences: there and back, measurement frame, parent transform, Slicer's own files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.dwi_dicom_files import samples, weightings
from support.geometry import GRIDS, rotation

from MRHarmonizationLib.core.errors import GridMismatchError, InputError
from MRHarmonizationLib.slicer_adapter import dwi_nodes, nodes
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.dwi_files import read_dwi, write_dwi
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.volume import Volume

CLASS = "vtkMRMLDiffusionWeightedVolumeNode"


def series(grid: Grid = GRIDS["oblique"], dtype: Any = np.int16, n: int = 7) -> DwiVolume:
    b_values, vectors = weightings(n)
    return DwiVolume(samples(grid, n).astype(dtype), grid, b_values, vectors, "dti")


def dwi_node(scene: Any, dwi: DwiVolume, frame: np.ndarray | None = None) -> Any:
    node = scene.AddNewNodeByClass(CLASS, "dti")
    if frame is not None:
        matrix = np.eye(4)
        matrix[:3, :3] = frame
        node.SetMeasurementFrameMatrix(nodes.array_to_matrix(matrix))
    dwi_nodes.set_node_dwi(node, dwi)
    return node


def gradients_of(node: Any) -> np.ndarray:
    return np.array([node.GetDiffusionGradient(n) for n in range(node.GetNumberOfGradients())])


def check_same(a: DwiVolume, b: DwiVolume, atol: float = 1e-12) -> None:
    np.testing.assert_array_equal(a.array, b.array)
    assert same_grid(a.grid, b.grid)
    np.testing.assert_allclose(a.b_values_s_per_mm2, b.b_values_s_per_mm2, atol=1e-6)
    np.testing.assert_allclose(a.gradients_ras, b.gradients_ras, atol=atol)


@pytest.mark.parametrize("name", list(GRIDS))
def test_there_and_back(scene: Any, name: str):
    dwi = series(GRIDS[name])
    back = dwi_nodes.dwi_from_node(dwi_node(scene, dwi))
    check_same(back, dwi)
    assert back.array.dtype == np.int16
    assert back.name == "dti"


@pytest.mark.parametrize(
    "frame", [rotation(20, -35, 70), np.diag([-1.0, -1.0, 1.0]), rotation(5, 5, 5) @ np.diag([1.0, 1.0, -1.0])]
)
def test_measurement_frame_is_kept_and_obeyed(scene: Any, frame: np.ndarray):
    dwi = series()
    node = dwi_node(scene, dwi, frame)
    np.testing.assert_allclose(dwi_nodes.measurement_frame(node), frame, atol=1e-12)
    np.testing.assert_allclose(gradients_of(node) @ frame.T, dwi.gradients_ras, atol=1e-12)
    check_same(dwi_nodes.dwi_from_node(node), dwi)


def test_only_voxels_of_a_clone_change(host: Any, scene: Any):
    """A clone of the input keeps gradients, b-values and frame bit by bit, whatever their lengths are."""
    node = dwi_node(scene, series(), rotation(20, -35, 70))
    node.SetDiffusionGradient(2, [1.003 * value for value in node.GetDiffusionGradient(2)])
    clone = scene.AddNewNodeByClass(CLASS, "clone")
    clone.Copy(node)
    before = gradients_of(clone)
    dwi = dwi_nodes.dwi_from_node(node)
    dwi_nodes.set_node_dwi(clone, dwi.with_array(dwi.array * 0.5))
    np.testing.assert_array_equal(gradients_of(clone), before)
    np.testing.assert_array_equal(dwi_nodes.measurement_frame(clone), dwi_nodes.measurement_frame(node))
    np.testing.assert_array_equal(dwi_nodes.dwi_from_node(clone).array, dwi.array * 0.5)
    np.testing.assert_array_equal(dwi_nodes.dwi_from_node(node).array, dwi.array, "the input is not written to")


def test_parent_transform_is_left_alone(scene: Any):
    dwi = series()
    node = dwi_node(scene, dwi)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "turn")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = rotation(0, 0, 90), (5, 6, 7)
    transform.SetMatrixTransformToParent(nodes.array_to_matrix(matrix))
    node.SetAndObserveTransformNodeID(transform.GetID())
    check_same(dwi_nodes.dwi_from_node(node), dwi)
    dwi_nodes.set_node_dwi(node, dwi.with_array(dwi.array + 1))
    assert node.GetParentTransformNode() is transform
    check_same(dwi_nodes.dwi_from_node(node), dwi.with_array(dwi.array + 1))


def test_copies_not_views(host: Any, scene: Any):
    node = dwi_node(scene, series())
    dwi = dwi_nodes.dwi_from_node(node)
    before = dwi.array.copy()
    host.slicer.util.arrayFromVolume(node)[:] = 0
    np.testing.assert_array_equal(dwi.array, before)


@pytest.mark.parametrize(("given", "expected"), [(np.uint8, np.uint8), (np.int64, np.int32), (np.float16, np.float32)])
def test_types(scene: Any, given: Any, expected: Any):
    dwi = series()
    dwi = dwi.with_array((dwi.array % 100).astype(given))
    back = dwi_nodes.dwi_from_node(dwi_node(scene, dwi))
    assert back.array.dtype == expected
    np.testing.assert_array_equal(back.array, dwi.array)


def test_number_of_volumes_may_change(scene: Any):
    node = dwi_node(scene, series(n=7))
    dwi_nodes.set_node_dwi(node, series(n=9))
    check_same(dwi_nodes.dwi_from_node(node), series(n=9))


@pytest.mark.parametrize("name", ["oblique", "oblique_left_handed", "sagittal"])
def test_slicer_reads_our_nrrd(host: Any, scene: Any, tmp_path: Path, name: str):
    """Slicer's own reader gives the same directions in RAS for a file the library wrote."""
    dwi = series(GRIDS[name])
    path = write_dwi(dwi, tmp_path / "ours.nrrd")[0]
    node = scene.AddNewNodeByClass(CLASS, "loaded")
    storage = host.slicer.vtkMRMLNRRDStorageNode()
    storage.SetFileName(str(path))
    assert storage.ReadData(node)
    check_same(dwi_nodes.dwi_from_node(node), dwi, atol=1e-6)


@pytest.mark.parametrize("name", ["oblique", "oblique_left_handed", "sagittal"])
def test_we_read_slicers_nrrd(host: Any, scene: Any, tmp_path: Path, name: str):
    dwi = series(GRIDS[name])
    node = dwi_node(scene, dwi, rotation(20, -35, 70))
    storage = host.slicer.vtkMRMLNRRDStorageNode()
    storage.SetFileName(str(tmp_path / "slicers.nrrd"))
    assert storage.WriteData(node)
    check_same(read_dwi(tmp_path / "slicers.nrrd"), dwi, atol=1e-5)


def broken(host: Any, what: str) -> Any:
    scene = host.slicer.mrmlScene
    if what == "no diffusion series is selected":
        return None
    if what == "no diffusion-weighted volume":
        return scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "scan")
    node = scene.AddNewNodeByClass(CLASS, "dti")
    if what == "no voxels":
        return node
    dwi_nodes.set_node_dwi(node, series())
    if what == "tells no b-values":
        node.SetNumberOfGradients(0)
    elif what == "5 b-values for 7 volumes":
        node.SetNumberOfGradients(5)
    elif what == "is not a rotation":
        node.SetMeasurementFrameMatrix(nodes.array_to_matrix(np.diag([1.0, 0.5, 1.0, 1.0])))
    elif what == "all 7 b-values are 0":
        for n in range(7):
            node.SetBValue(n, 0.0)
    return node


@pytest.mark.parametrize(
    "what",
    [
        "no diffusion series is selected", "no diffusion-weighted volume", "no voxels", "tells no b-values",
        "5 b-values for 7 volumes", "is not a rotation", "all 7 b-values are 0",
    ],
)  # fmt: skip
def test_wrong_nodes_are_named(host: Any, what: str):
    with pytest.raises(InputError, match=what):
        dwi_nodes.dwi_from_node(broken(host, what))


def test_wrong_output_node(scene: Any):
    with pytest.raises(InputError, match="no diffusion-weighted volume"):
        dwi_nodes.set_node_dwi(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "scan"), series())


def sequence_of(scene: Any, dwi: DwiVolume, shift: float = 0.0) -> Any:
    sequence = scene.AddNewNodeByClass("vtkMRMLSequenceNode", "dti")
    item = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "item")
    for n in range(dwi.n_volumes):
        affine = dwi.grid.affine.copy()
        affine[0, 3] += shift * n
        nodes.set_node_volume(item, Volume(dwi.array[..., n], Grid(dwi.grid.shape, affine)))
        sequence.SetDataNodeAtValue(item, str(n))
    return sequence


def test_sequence_with_tables(scene: Any, tmp_path: Path):
    dwi = series()
    _, bval, bvec = write_dwi(dwi, tmp_path / "dti.nii.gz")
    check_same(dwi_nodes.dwi_from_sequence(sequence_of(scene, dwi), bval, bvec), dwi, atol=1e-6)


def test_sequences_refused(scene: Any, tmp_path: Path):
    dwi = series()
    _, bval, bvec = write_dwi(dwi, tmp_path / "dti.nii.gz")
    with pytest.raises(GridMismatchError, match="volume 1 of sequence 'dti' lies on another grid"):
        dwi_nodes.dwi_from_sequence(sequence_of(scene, dwi, 3.0), bval, bvec)
    with pytest.raises(InputError, match="holds 0 volumes"):
        dwi_nodes.dwi_from_sequence(scene.AddNewNodeByClass("vtkMRMLSequenceNode", "empty"), bval, bvec)
    with pytest.raises(InputError, match="no sequence is selected"):
        dwi_nodes.dwi_from_sequence(None, bval, bvec)
    bval.write_text("0 1000 1000")
    with pytest.raises(InputError, match="3 b-values for 7 volumes"):
        dwi_nodes.dwi_from_sequence(sequence_of(scene, dwi), bval, bvec)
