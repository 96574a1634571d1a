"""The console: diffusion scans harmonised without a panel, in this process, on real nodes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_runner import FakeRunner
from slicer_support import DWI_MODULE, ROOT, add_dwi_node, add_node, add_segmentation
from support.panel_scans import small_scan

from MRHarmonizationLib.core.errors import DependencyError, InputError, OperationCancelled, ParameterError
from MRHarmonizationLib.slicer_adapter import dwi_nodes, records
from MRHarmonizationLib.slicer_adapter.nodes import array_to_matrix
from MRHarmonizationLib.volumes.grid import same_grid
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture
def logic(host: Any, dwi_panel: Any) -> Any:
    """A logic of its own, as a script makes one."""
    return sys.modules["MRHarmonizationDWI"].MRHarmonizationDWILogic(FakeRunner())


def gradients_of(node: Any) -> np.ndarray:
    return np.array([(*node.GetDiffusionGradient(n), node.GetBValue(n)) for n in range(node.GetNumberOfGradients())])


def test_process_gives_a_clone_with_other_voxels(host: Any, scene: Any, logic: Any, dwi_node: Any):
    """Gradients, b-values and measurement frame stay bit by bit; diffusivities do; the scan is not written to."""
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "turn")
    dwi_node.SetAndObserveTransformNodeID(transform.GetID())
    before, table = dwi_nodes.dwi_from_node(dwi_node), gradients_of(dwi_node)
    layout = host.slicer.app.layoutManager().layout
    target = add_dwi_node(host, small_scan(gain=0.4, seed=8), "Other")
    said: list[tuple[float, str]] = []
    node = logic.process(
        dwi_node, target=target, method="b0_histogram", keepMaps=True, onProgress=lambda *what: said.append(what)
    )
    assert host.slicer.app.layoutManager().layout == layout  # a script's user is not interrupted
    np.testing.assert_array_equal(dwi_nodes.dwi_from_node(dwi_node).array, before.array)
    np.testing.assert_array_equal(gradients_of(dwi_node), table)
    assert not records.record_of(dwi_node)
    assert node.GetName() == "DTI_b0_histogram"
    np.testing.assert_array_equal(gradients_of(node), gradients_of(dwi_node))
    np.testing.assert_array_equal(dwi_nodes.measurement_frame(node), dwi_nodes.measurement_frame(dwi_node))
    assert node.GetTransformNodeID() == transform.GetID()
    after = dwi_nodes.dwi_from_node(node)
    assert same_grid(after.grid, before.grid, 1e-9)
    wanted = dwi_nodes.dwi_from_node(target).mean_b0().array
    brain = wanted > 200
    ratios = [np.median(dwi.mean_b0().array[brain] / wanted[brain]) for dwi in (before, after)]
    assert ratios[0] == pytest.approx(2.5, abs=0.1)
    assert ratios[1] == pytest.approx(1.0, abs=0.05)
    assert said[-1][0] == 1.0
    assert [share for share, _ in said] == sorted(share for share, _ in said)
    result = logic.result(node)
    assert result.scan is dwi_node
    assert [row.tissue for row in result.rows] == ["white matter", "grey matter", "fluid", "brain"]
    assert all(abs(row.md_change_percent) < 0.5 and abs(row.fa_change) < 0.002 for row in result.rows)
    assert result.strength == 1.0
    assert set(result.map_names) == {"b0", "trace", "fa", "md"}
    assert result.map("fa").GetTransformNodeID() == transform.GetID()
    attributes = records.record_of(node)
    assert attributes["MRHarmonization.operation"] == "harmonize-dwi"
    assert attributes["MRHarmonization.input_name"] == "DTI"
    assert attributes["MRHarmonization.parameter.target"] == "scan 'Other'"
    assert attributes["MRHarmonization.input_digest"] == before.digest()


def test_strength_and_undo(logic: Any, dwi_node: Any):
    scan = dwi_nodes.dwi_from_node(dwi_node).array
    whole = logic.process(dwi_node, method="global_scaling", noise="none", target=target_file(logic, 0.5))
    half = logic.process(
        dwi_node, method="global_scaling", noise="none", strength=0.5, target=target_file(logic, 0.5), keepResidual=True
    )
    values = {name: dwi_nodes.dwi_from_node(node).array for name, node in (("whole", whole), ("half", half))}
    # one factor is a unit: no matter of strength
    np.testing.assert_allclose(values["half"], values["whole"], rtol=1e-4)
    with pytest.raises(InputError, match="was not kept"):
        logic.undo(whole)
    logic.undo(half)
    np.testing.assert_array_equal(dwi_nodes.dwi_from_node(half).array, scan)
    logic.undo(half)
    np.testing.assert_array_equal(dwi_nodes.dwi_from_node(half).array, values["half"])
    zero = logic.process(dwi_node, half, strength=0.0, method="nyul", target=target_file(logic, 0.5))
    assert zero is half
    np.testing.assert_array_equal(dwi_nodes.dwi_from_node(half).array, scan)
    with pytest.raises(InputError, match="was not kept"):  # of the new content nothing was kept
        logic.undo(half)


def target_file(logic: Any, gain: float) -> str:
    """A target of half the brightness, as a file."""
    import slicer

    from MRHarmonizationLib.methods.dwi_target import save_target, target_of_scans

    path = Path(slicer.app.temporaryPath) / f"target_{gain}.json"
    return str(save_target(target_of_scans([small_scan(gain=gain, seed=8)], name="half"), path))


def test_undo_refuses_changed_voxels(host: Any, logic: Any, dwi_node: Any):
    node = logic.process(dwi_node, method="none", noise="none", keepResidual=True)
    host.slicer.util.arrayFromVolume(node)[5, 5, 5, 1] += 1
    with pytest.raises(InputError, match="belongs to another scan"):
        logic.undo(node)


def test_voxels_of_the_result(logic: Any, dwi_node: Any):
    node = logic.process(dwi_node, method="none", noise="none", spacingMm=(5.0, 5.0, 3.0))
    grid = dwi_nodes.dwi_from_node(node).grid
    np.testing.assert_allclose(grid.spacing_mm, (5.0, 5.0, 3.0), rtol=0.05)
    before = dwi_nodes.dwi_from_node(dwi_node).grid
    np.testing.assert_allclose(grid.corners_ras(), before.corners_ras(), atol=1.0)
    np.testing.assert_array_equal(gradients_of(node), gradients_of(dwi_node))


def test_mask_of_a_segmentation_in_another_frame(host: Any, scene: Any, logic: Any, dwi_node: Any, small_dwi: Any):
    """The brain is measured where the segment lies in the world, and only there."""
    region = np.zeros(small_dwi.grid.shape, bool)
    region[3:9, 12:30, 10:26] = True
    scalar = add_node(host, Volume(region.astype(np.int16), small_dwi.grid), "Box")
    segmentation = add_segmentation(host, scalar, {"Brain": region, "Rest": ~region})
    shift = np.eye(4)
    shift[:3, 3] = (400.0, -300.0, 200.0)
    transform = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "Shift")
    transform.SetMatrixTransformToParent(array_to_matrix(shift))
    for node in (dwi_node, segmentation):
        node.SetAndObserveTransformNodeID(transform.GetID())
    made = logic.process(dwi_node, method="none", noise="none", maskNode=segmentation, segmentID="Brain")
    rows = {row.tissue: row.voxels for row in logic.result(made).rows}
    assert rows["brain"] == region.sum()
    segmentation.SetAndObserveTransformNodeID(None)
    with pytest.raises(InputError, match="does not overlap the scan"):
        logic.process(dwi_node, method="none", maskNode=segmentation, segmentID="Brain")


def test_wrong_parameters(host: Any, scene: Any, logic: Any, dwi_node: Any):
    count = scene.GetNumberOfNodes()
    for arguments, options, kind, what in (
        ((None,), {"method": "none"}, InputError, "no diffusion series is selected"),
        ((dwi_node, dwi_node), {"method": "none"}, ParameterError, "cannot replace its scan"),
        ((dwi_node,), {"method": "magic"}, ParameterError, "unknown method 'magic'; choose one of: .*nyul"),
        ((dwi_node,), {"method": "nyul", "strength": 1.5}, ParameterError, "1.5"),
        ((dwi_node,), {"method": "nyul", "noise": "loud"}, ParameterError, "loud"),
        ((dwi_node,), {"method": "nyul", "target": "moon"}, ParameterError, "unknown target 'moon'"),
        ((dwi_node,), {"method": "nyul", "target": dwi_node}, ParameterError, "is both scan and target"),
        ((dwi_node,), {"method": "none", "spacingMm": 99.0}, ParameterError, "99"),
        ((dwi_node,), {"method": "nyul", "fitted": "/nowhere.json"}, InputError, "cannot be read"),
    ):
        with pytest.raises(kind, match=what):
            logic.process(*arguments, **options)
    assert scene.GetNumberOfNodes() == count
    scalar = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "scalar")
    with pytest.raises(ParameterError, match="cannot hold the result"):
        logic.process(dwi_node, scalar, method="none")


def test_missing_package_is_named(logic: Any, dwi_node: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "skimage.filters", None)  # as if it were not installed
    with pytest.raises(DependencyError, match=r"'skimage.filters' is not installed; call ensureDependencies"):
        logic.process(dwi_node, method="none", noise="none")


def test_cancelled_from_the_callback(scene: Any, logic: Any, dwi_node: Any):
    """What the callback raises ends the work; the scene stays as it was."""
    count = scene.GetNumberOfNodes()

    def stop(fraction: float, message: str) -> None:
        if fraction > 0.1:
            raise OperationCancelled()

    with pytest.raises(OperationCancelled):
        logic.process(dwi_node, method="none", onProgress=stop)
    assert scene.GetNumberOfNodes() == count


def test_result_of_other_nodes_is_none(scene: Any, logic: Any, dwi_node: Any):
    assert logic.result(None) is None
    assert logic.result(dwi_node) is None
    assert logic.result(scene.AddNewNodeByClass("vtkMRMLTableNode", "Other")) is None


def test_start_runs_the_command_line(logic: Any, dwi_node: Any, tmp_path: Path):
    task = logic.start(dwi_node, method="nyul", report=True)
    result = logic.remember(task.wait())
    assert logic.result(result.node) is result
    assert result.exportReport(tmp_path / "a" / "b") == tmp_path / "a" / "b" / "report.html"
    assert result.strength == 0.8
    assert "reduced to 0.8" in result.warnings[0]
    again = sys.modules["MRHarmonizationDWI"].MRHarmonizationDWILogic().result(result.node)
    assert repr(again.rows) == repr(result.rows)  # some are NaN
    assert again.warnings == result.warnings
    with pytest.raises(InputError, match="not saved with the scene; press Apply"):
        again.exportReport("/nowhere")


def test_library_of_the_checkout_is_used(logic: Any):
    assert sys.modules["MRHarmonizationDWI"].findLibrary(DWI_MODULE) == ROOT


def test_the_modules_own_tests(host: Any, logic: Any):
    result = host.run_test_case("MRHarmonizationDWI")
    assert result.testsRun == 2
    assert result.wasSuccessful()


def test_empty_node_as_output(scene: Any, logic: Any, dwi_node: Any):
    """As in the README: it becomes a result like any other, known to the panel's list of results."""
    output = scene.AddNewNodeByClass("vtkMRMLDiffusionWeightedVolumeNode")
    assert logic.result(output) is None
    assert logic.process(dwi_node, output, target="canonical", strength=1.0, method="nyul", noise="none") is output
    assert logic.result(output).scan is dwi_node
    np.testing.assert_array_equal(gradients_of(output), gradients_of(dwi_node))
    assert output.GetDisplayNode() is not None
    panel = sys.modules["slicer"].modules.MRHarmonizationDWIWidget
    assert panel.ui.outputSelector.nodeCount() == 1
