"""Results on nodes: what is stored, exact undo and redo, other strengths, difference; also after saving and loading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runner import FakeRunner
from slicer_support import add_node, baseline, values

from MRHarmonizationLib.core.errors import InputError, OperationCancelled, ParameterError, ResourceError
from MRHarmonizationLib.inference.enhance import EnhanceRequest
from MRHarmonizationLib.slicer_adapter import records, results
from MRHarmonizationLib.slicer_adapter.nodes import matrix_to_array, set_node_volume, volume_from_node
from MRHarmonizationLib.slicer_adapter.results import StrengthBlender
from MRHarmonizationLib.slicer_adapter.tasks import EnhanceTask
from MRHarmonizationLib.volumes.grid import same_grid


def enhance(scan: Any, output: Any = None, strength: float = 1.0, keep: bool = True, runner: Any = None) -> Any:
    request = EnhanceRequest(model="tiny", strength=strength, keep_residual=keep)
    return EnhanceTask(scan, output, request, runner or FakeRunner()).wait()


def test_result_node(host: Any, scene: Any, scan_node: Any, thick_scan: Any):
    moved = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    scan_node.SetAndObserveTransformNodeID(moved.GetID())
    before = values(scan_node).copy()
    output = enhance(scan_node)
    assert np.array_equal(values(scan_node), before)
    assert output.GetName() == "Scan_tiny"
    assert output.GetTransformNodeID() == moved.GetID()
    assert same_grid(volume_from_node(output).grid, thick_scan.grid.isotropic(1.0), 1e-4)
    display = output.GetScalarVolumeDisplayNode()
    assert (display.GetWindow(), display.GetLevel()) == (480.0, 231.0)
    record = records.record_of(output)
    assert record["MRHarmonization.model"] == "tiny"
    assert record["MRHarmonization.input_name"] == "Scan"
    assert record["MRHarmonization.input_digest"] == thick_scan.digest()
    assert len(record["MRHarmonization.weights_sha256"]) == 64
    assert {"MRHarmonization.library_version", "MRHarmonization.created_utc"} <= set(record)
    assert records.input_of(output) is scan_node
    assert results.residual_node_of(output).GetHideFromEditors()


def test_origin_moves_by_half_voxels(scan_node: Any, thick_scan: Any):
    """A point of the head lies at the same RAS position in scan and result."""
    output = enhance(scan_node)
    new, old = volume_from_node(output).grid, thick_scan.grid
    assert not np.allclose(new.origin_ras, old.origin_ras)
    assert np.allclose(new.corners_ras(), old.corners_ras(), atol=0.51)
    centres = [grid.ijk_to_ras((np.array(grid.size_ijk) - 1) / 2) for grid in (new, old)]
    assert np.allclose(*centres, atol=1e-6)


def test_existing_output_is_overwritten_and_keeps_its_name(scene: Any, scan_node: Any, thick_scan: Any, host: Any):
    output = add_node(host, thick_scan, "Mine")
    assert enhance(scan_node, output) is output
    first = results.residual_node_of(output)
    assert output.GetName() == "Mine"
    assert output.GetImageData().GetDimensions() == thick_scan.grid.isotropic(1.0).size_ijk
    enhance(scan_node, output, keep=False)
    assert results.residual_node_of(output) is None
    assert first.GetScene() is None


def test_output_may_not_be_the_input(scan_node: Any):
    with pytest.raises(ParameterError, match="replace its input"):
        enhance(scan_node, scan_node)


@pytest.mark.parametrize("failure", [ResourceError("memory", "less"), None])
def test_failure_and_cancel_leave_the_scene_as_it_was(scene: Any, scan_node: Any, failure: Any):
    count = scene.GetNumberOfNodes()
    runner = FakeRunner(steps=2 if failure else 1000, error=failure)
    task = EnhanceTask(scan_node, None, EnhanceRequest(model="tiny"), runner)
    task.step()
    if failure is None:
        task.cancel()
        assert isinstance(task.error, OperationCancelled)
        assert runner.processes[0].killed
    else:
        task.step()
        assert isinstance(task.error, ResourceError)
    assert scene.GetNumberOfNodes() == count


def test_input_removed_during_the_run(scene: Any, scan_node: Any):
    task = EnhanceTask(scan_node, None, EnhanceRequest(model="tiny"), FakeRunner())
    scene.RemoveNode(scan_node)
    with pytest.raises(InputError, match="was removed"):
        task.wait()
    assert scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0


def test_output_removed_during_the_run_is_made_anew(host: Any, scene: Any, scan_node: Any, thick_scan: Any):
    output = add_node(host, thick_scan, "Mine")
    task = EnhanceTask(scan_node, output, EnhanceRequest(model="tiny"), FakeRunner())
    scene.RemoveNode(output)
    assert task.wait().GetName() == "Scan_tiny"


def test_undo_and_redo_are_exact(scan_node: Any):
    output = enhance(scan_node, strength=0.7)
    enhanced = values(output).copy()
    results.toggle_undo(output)
    assert results.is_undone(output)
    assert np.array_equal(values(output), baseline(scan_node))
    results.toggle_undo(output)
    assert not results.is_undone(output)
    assert np.array_equal(values(output).view(np.int32), enhanced.view(np.int32))


def test_undo_refuses_changed_voxels_and_missing_residuals(scan_node: Any):
    output = enhance(scan_node)
    volume = volume_from_node(output)
    set_node_volume(output, volume.with_array(volume.array + 1))
    with pytest.raises(InputError, match="belongs to another volume"):
        results.toggle_undo(output)
    with pytest.raises(InputError, match="no residual was kept"):
        results.toggle_undo(enhance(scan_node, keep=False))


def test_other_strengths_follow_without_the_network(scan_node: Any):
    reference = {strength: values(enhance(scan_node, strength=strength)) for strength in (0.0, 0.3, 1.0)}
    output, blender = enhance(scan_node, strength=0.8), StrengthBlender()
    for strength in (0.3, 1.0, 0.0, 1.0, 0.3):
        blender.blend(output, strength)
        assert np.allclose(values(output), reference[strength], rtol=1e-5, atol=1e-3)
        assert results.strength_of(output) == strength
    results.toggle_undo(output)
    assert np.array_equal(values(output), baseline(scan_node))
    blender.blend(output, 1.0)  # from the undone state
    assert np.allclose(values(output), reference[1.0], rtol=1e-5, atol=1e-3)
    assert not results.is_undone(output)


def test_strength_0_is_the_resampled_input_bit_for_bit(scan_node: Any):
    output = enhance(scan_node)
    StrengthBlender().blend(output, 0.0)
    assert np.array_equal(values(output).view(np.int32), baseline(scan_node).view(np.int32))


def test_blending_refusals(scan_node: Any):
    output = enhance(scan_node, strength=0.0)
    with pytest.raises(InputError, match="too little to be extended"):
        StrengthBlender().blend(output, 0.5)
    with pytest.raises(ParameterError):
        StrengthBlender().blend(output, 1.5)
    output, blender = enhance(scan_node), StrengthBlender()
    blender.blend(output, 0.5)
    set_node_volume(output, volume_from_node(output).with_array(values(output) + 1))
    with pytest.raises(InputError, match="were changed"):
        blender.blend(output, 0.7)


def test_difference(scene: Any, scan_node: Any):
    output = enhance(scan_node)
    difference = results.update_difference(output)
    assert difference.GetName() == "Scan_tiny_difference"
    assert np.allclose(values(difference), values(output) - baseline(scan_node))
    display = difference.GetScalarVolumeDisplayNode()
    assert display.GetLevel() == 0.0
    assert display.GetWindow() > 0
    results.toggle_undo(output)
    assert results.update_difference(output) is difference
    assert not values(difference).any()
    without = enhance(scan_node, keep=False)  # from the input
    assert np.allclose(values(results.update_difference(without)), values(without) - baseline(scan_node))
    scene.RemoveNode(scan_node)
    with pytest.raises(InputError, match="no longer in the scene"):
        results.update_difference(without)


@pytest.mark.parametrize("bundle", [True, False])
def test_saved_and_loaded_scene(host: Any, scene: Any, scan_node: Any, tmp_path: Path, bundle: bool):
    output = enhance(scan_node, strength=0.6)
    enhanced, affine = values(output).copy(), volume_from_node(output).grid.affine
    expected = baseline(scan_node)
    path = tmp_path / ("scene.mrb" if bundle else "scene.mrml")
    if not bundle:
        for node in (scan_node, output, results.residual_node_of(output)):
            assert host.slicer.util.saveNode(node, str(tmp_path / f"{node.GetName()}.nrrd"))
    assert host.slicer.util.saveScene(str(path))
    scene.Clear(0)
    host.slicer.util.loadScene(str(path))
    loaded = host.slicer.util.getNode("Scan_tiny")
    assert np.array_equal(values(loaded), enhanced)
    assert np.allclose(volume_from_node(loaded).grid.affine, affine, atol=1e-4)
    assert records.input_of(loaded).GetName() == "Scan"
    results.toggle_undo(loaded)
    assert np.array_equal(values(loaded), expected)
    results.toggle_undo(loaded)
    StrengthBlender().blend(loaded, 0.0)
    assert np.array_equal(values(loaded), expected)


def test_matrix_round_trip(scan_node: Any):
    import vtk

    matrix = vtk.vtkMatrix4x4()
    scan_node.GetIJKToRASMatrix(matrix)
    assert np.array_equal(matrix_to_array(matrix), volume_from_node(scan_node).grid.affine)
