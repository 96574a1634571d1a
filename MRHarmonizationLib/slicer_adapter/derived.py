"""Pictures made of before and after: their difference and a checkerboard of both, as volumes and as nodes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from MRHarmonizationLib.slicer_adapter import records
from MRHarmonizationLib.slicer_adapter.comparisons import OPERATION_ATTRIBUTE, image_role
from MRHarmonizationLib.slicer_adapter.nodes import copy_display, set_node_volume, volume_from_node, volume_in_frame_of
from MRHarmonizationLib.slicer_adapter.results import show_as_difference
from MRHarmonizationLib.volumes.grid import same_grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

DIFFERENCE, CHECKERBOARD = "difference", "checkerboard"
DEFAULT_SQUARE_MM = 20.0
#: Distance in mm below which checkerboard edges are the same; keeps edges from depending on rounding.
_ROUNDING_MM = 1e-6


def difference_volume(before: Volume, after: Volume) -> Volume:
    """Return after − before, float32 on the grid of after; before is resampled (cubic) where it lies on another."""
    placed = _on_grid_of(after, before)
    values = after.array.astype(np.float32) - placed.array.astype(np.float32)
    return replace(after, array=values)


def checkerboard_volume(before: Volume, after: Volume, square_mm: float = DEFAULT_SQUARE_MM) -> Volume:
    """Return before and after in alternate cubes, on the grid of after.

    Parameters
    ----------
    before, after : Volume
        ``before`` is resampled (cubic) where it lies on another grid.
    square_mm : float
        Side of a cube, mm; at least one voxel along each axis.

    Returns
    -------
    Volume
        float32; the first cube holds before.
    """
    placed = _on_grid_of(after, before)
    numbers = []
    for count, spacing in zip(after.grid.size_ijk, after.grid.spacing_mm, strict=True):
        side = max(square_mm, float(spacing))
        numbers.append(np.floor((np.arange(count) * float(spacing) + _ROUNDING_MM) / side).astype(np.int64))
    i, j, k = numbers
    odd = (k[:, None, None] + j[None, :, None] + i[None, None, :]) % 2 == 1
    values = np.where(odd, after.array, placed.array).astype(np.float32)
    return replace(after, array=values)


def make_derived(kind: str, before: Any, after: Any, square_mm: float = DEFAULT_SQUARE_MM) -> Any:
    """Make or update the picture of a kind of two nodes, now, and return its node; see :func:`store_derived`."""
    volumes = volume_in_frame_of(before, after), volume_from_node(after)
    made = difference_volume(*volumes) if kind == DIFFERENCE else checkerboard_volume(*volumes, square_mm)
    return store_derived(kind, made, before, after)


def store_derived(kind: str, volume: Volume, before: Any, after: Any) -> Any:
    """Keep a picture in the node of that kind that belongs to before and after, made if needed, and return it.

    Parameters
    ----------
    kind : {'difference', 'checkerboard'}
    volume : Volume
        In the frame of after.
    before, after : vtkMRMLScalarVolumeNode
        Not changed.
    """
    node = find_derived(kind, before, after)
    if node is None:
        node = records.new_volume_node(f"{before.GetName()}_{after.GetName()}_{kind}", after)
        node.SetAttribute(OPERATION_ATTRIBUTE, kind)
        node.SetNodeReferenceID(image_role("before"), before.GetID())
        node.SetNodeReferenceID(image_role("after"), after.GetID())
    set_node_volume(node, volume)
    node.SetAndObserveTransformNodeID(after.GetTransformNodeID())
    if kind == DIFFERENCE:
        show_as_difference(node, volume.array)
    else:
        copy_display(after, node)
    return node


def find_derived(kind: str, before: Any, after: Any) -> Any:
    """Return the node of a kind of picture that belongs to before and after, or None."""
    scene = after.GetScene()
    for index in range(scene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode")):
        node = scene.GetNthNodeByClass(index, "vtkMRMLScalarVolumeNode")
        if (
            node.GetAttribute(OPERATION_ATTRIBUTE) == kind
            and node.GetNodeReference(image_role("before")) is before
            and node.GetNodeReference(image_role("after")) is after
        ):
            return node
    return None


def _on_grid_of(target: Volume, volume: Volume) -> Volume:
    return volume if same_grid(volume.grid, target.grid) else resample(volume, target.grid)
