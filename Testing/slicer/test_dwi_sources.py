"""Diffusion nodes of volumes with several values per voxel, and what is told before a scan is harmonised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from slicer_support import add_dwi_node

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.slicer_adapter import dwi_nodes, dwi_readiness, dwi_sources
from MRHarmonizationLib.slicer_adapter.nodes import array_to_matrix
from MRHarmonizationLib.volumes.dwi_files import write_dwi


@pytest.fixture
def vector_node(host: Any, scene: Any, small_dwi: Any) -> Any:
    """The small scan as a vector volume, which holds no b-values."""
    node = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "series")
    node.SetIJKToRASMatrix(array_to_matrix(small_dwi.grid.affine))
    host.slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(small_dwi.array))
    return node


@pytest.fixture
def tables(small_dwi: Any, tmp_path: Path) -> tuple[Path, Path]:
    _, bval, bvec = write_dwi(small_dwi, tmp_path / "scan.nii.gz")
    return bval, bvec


def test_vector_volume_and_tables(scene: Any, small_dwi: Any, vector_node: Any, tables: tuple[Path, Path]):
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "turn")
    vector_node.SetAndObserveTransformNodeID(transform.GetID())
    node = dwi_sources.diffusion_from_tables(vector_node, *map(str, tables))
    assert node.GetName() == "series_dwi"
    assert node.GetTransformNodeID() == transform.GetID()
    made = dwi_nodes.dwi_from_node(node)
    np.testing.assert_array_equal(made.array, small_dwi.array)
    np.testing.assert_allclose(made.gradients_ras, small_dwi.gradients_ras, atol=1e-6)
    np.testing.assert_allclose(made.grid.affine, small_dwi.grid.affine, atol=1e-6)


def test_what_is_missing_is_named(scene: Any, vector_node: Any, tables: tuple[Path, Path], tmp_path: Path):
    bval, bvec = tables
    count = scene.GetNumberOfNodes()
    for source, b, v, what in (
        (None, bval, bvec, "no series of volumes is selected"),
        (vector_node, "", bvec, "the file of the b-values is missing"),
        (vector_node, bval, tmp_path / "gone.bvec", "gone.bvec is not there"),
        (vector_node, bvec, bvec, "expected one row of b-values"),
    ):
        with pytest.raises(InputError, match=what):
            dwi_sources.diffusion_from_tables(source, b, v)
    bval.write_text("0 1000")
    with pytest.raises(InputError, match="2 b-values for 14 volumes"):
        dwi_sources.diffusion_from_tables(vector_node, bval, bvec)
    assert scene.GetNumberOfNodes() == count
    for name, kind in (("empty", "vtkMRMLVectorVolumeNode"), ("text", "vtkMRMLTextNode")):
        with pytest.raises(InputError, match=f"'{name}'.* is no volume with voxels"):
            dwi_sources.diffusion_from_tables(scene.AddNewNodeByClass(kind, name), bval, bvec)


def test_one_value_per_voxel_is_no_series(host: Any, scene: Any, small_dwi: Any, tables: tuple[Path, Path]):
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "single")
    host.slicer.util.updateVolumeFromArray(node, np.ascontiguousarray(small_dwi.array[..., 0]))
    with pytest.raises(InputError, match="'single' has one value per voxel"):
        dwi_sources.dwi_from_components(node, *tables)


def test_readiness(host: Any, scene: Any, dwi_node: Any, small_dwi: Any):
    assert dwi_readiness.readiness(None, None).missing == "select a diffusion scan"
    assert "cannot replace its scan" in dwi_readiness.readiness(dwi_node, dwi_node).refusal
    ready = dwi_readiness.readiness(dwi_node, None, missing="choose more")
    assert (ready.refusal, ready.missing, ready.warnings) == ("", "choose more", ())
    bent = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "bent")
    mask = add_dwi_node(host, small_dwi, "Mask")
    mask.SetAndObserveTransformNodeID(bent.GetID())
    assert "not linear" in dwi_readiness.readiness(dwi_node, None, mask).refusal
    dwi_node.SetBValue(3, float("nan"))
    assert "b-value of volume 3 is nan" in dwi_readiness.readiness(dwi_node, None).refusal


def test_first_scan_is_no_result(host: Any, scene: Any, small_dwi: Any):
    assert dwi_readiness.first_diffusion_scan(scene) is None
    hidden = add_dwi_node(host, small_dwi, "Hidden")
    hidden.SetHideFromEditors(True)
    made = add_dwi_node(host, small_dwi, "Made")
    made.SetAttribute("MRHarmonization.operation", "harmonize-dwi")
    assert dwi_readiness.first_diffusion_scan(scene) is None
    scan = add_dwi_node(host, small_dwi, "Scan")
    assert dwi_readiness.first_diffusion_scan(scene) is scan


def test_shell_names():
    b_values = np.array([0.0, 5.0, 998.0, 1003.0, 2000.0])
    assert [dwi_readiness.shell_name(n, b_values) for n in range(5)] == ["b0", "b0", "b1000", "b1000", "b2000"]
