"""Whether volumes can be compared, what is to be said about them before, and which belong together."""

from __future__ import annotations

from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.slicer_adapter import records, texts
from MRHarmonizationLib.slicer_adapter.nodes import check_scalar_node, frame_transform, grid_of_node
from MRHarmonizationLib.slicer_adapter.readiness import Readiness
from MRHarmonizationLib.volumes.grid import Grid, same_grid

#: Below this share of after inside another image's field of view the panel says so.
NOTED_OVERLAP = 0.9
#: Points per axis at which the overlap is looked at.
_SAMPLES = 24


def readiness(before: Any, after: Any, reference: Any = None, mask: Any = None) -> Readiness:
    """Look at a panel's choices; voxels are not looked at.

    Parameters
    ----------
    before, after, reference : vtkMRMLScalarVolumeNode or None
    mask : vtkMRMLNode or None
    """
    if before is None or after is None:
        return Readiness(missing="select a volume before and one after")
    if before is after:
        return Readiness(refusal=f"'{after.GetName()}' is both before and after; choose two volumes")
    warnings: list[str] = []
    try:
        check_scalar_node(after)
        grid = grid_of_node(after)
        info = f"Compared on the grid of after: {texts.grid_text(grid)}"
        for role, node in (("before", before), ("reference", reference)):
            if node is None:
                continue
            check_scalar_node(node)
            own = placed_grid(node, after)
            if disjoint(own, grid):
                return Readiness(info, refusal=f"{role} and after do not overlap in space; register them first")
            if not same_grid(own, grid):
                warnings.append(
                    f"{role} lies on another grid ({texts.grid_text(own)}): it is resampled on the grid of after"
                )
            shared = overlap(own, grid)
            if shared < NOTED_OVERLAP:
                warnings.append(f"only {100 * shared:.0f} % of after lie inside {role}; the rest is left out")
        if mask is not None:
            frame_transform(mask, after)
    except MRHarmonizationError as error:
        return Readiness(refusal=str(error))
    if reference is not None and (reference is before or reference is after):
        role = "before" if reference is before else "after"
        warnings.append(f"reference and {role} are one volume: {role} is measured as perfect")
    if records.input_of(before) is after:
        warnings.append(f"'{before.GetName()}' was made from '{after.GetName()}': before and after seem exchanged")
    return Readiness(info, tuple(warnings))


def placed_grid(node: Any, after: Any) -> Grid:
    """Return the grid of a volume node in the frame of another."""
    grid = grid_of_node(node)
    if node.GetParentTransformNode() is after.GetParentTransformNode():
        return grid
    return Grid(grid.shape, frame_transform(node, after) @ grid.affine)


def overlap(grid: Grid, target: Grid) -> float:
    """Return the share of a target's voxel centres inside another grid's field of view, from some thousand points."""
    axes = [np.unique(np.linspace(0, count - 1, _SAMPLES).round()) for count in target.size_ijk]
    i, j, k = np.meshgrid(*axes, indexing="ij")
    points = np.stack([i.ravel(), j.ravel(), k.ravel()], axis=-1)
    found = grid.ras_to_ijk(target.ijk_to_ras(points))
    inside = np.all((found >= -0.5) & (found <= np.array(grid.size_ijk) - 0.5), axis=-1)
    return float(np.mean(inside))


def disjoint(grid: Grid, target: Grid) -> bool:
    """Tell whether two grids share no space, looked at from both: one may be a thin slab between the other's points."""
    return overlap(grid, target) == 0 and overlap(target, grid) == 0


def linked(before: Any, after: Any, former_after: Any = None) -> tuple[Any, Any]:
    """Complete a pair by what the extension's results remember: the input belongs before its result.

    Parameters
    ----------
    before, after : vtkMRMLScalarVolumeNode or None
        As chosen now.
    former_after : vtkMRMLScalarVolumeNode or None
        Chosen before; its input gives way to the new one's.

    Returns
    -------
    (before, after)
        Changed only where a place was empty or filled by this function; a result chosen as before moves to after.
    """
    if after is not None:
        source = records.input_of(after)
        former = None if former_after is None else records.input_of(former_after)
        free = before is None or before is after or (former is not None and before is former)
        return (source, after) if source is not None and free else (before, after)
    if before is None:
        return None, None
    source = records.input_of(before)
    return (before, _result_of(before)) if source is None else (source, before)


def newest_pair(scene: Any) -> tuple[Any, Any]:
    """Return the input and the result that was made last, or (None, None)."""
    for node in reversed(_results(scene)):
        source = records.input_of(node)
        if source is not None:
            return source, node
    return None, None


def _result_of(before: Any) -> Any:
    return next((node for node in reversed(_results(before.GetScene())) if records.input_of(node) is before), None)


def _results(scene: Any) -> list[Any]:
    """Return the volumes the extension has made from scans, in the order of the scene."""
    count = scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")
    nodes = [scene.GetNthNodeByClass(index, "vtkMRMLScalarVolumeNode") for index in range(count)]
    return [node for node in nodes if records.is_output(node) and not node.GetHideFromEditors()]
