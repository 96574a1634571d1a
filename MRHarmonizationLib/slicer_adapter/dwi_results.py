"""A harmonised scan in the scene: the result node, and from it its table, maps and what undoes it.

Everything is found again from the result's references and attributes, so that it works on a scene that was saved and
loaded; only the report's files are kept in memory.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError, OutputError
from MRHarmonizationLib.inference.harmonize_dwi import TASK
from MRHarmonizationLib.inference.provenance import ATTRIBUTE_PREFIX
from MRHarmonizationLib.inference.undo import (
    BASELINE_DIGEST_KEY,
    ENHANCED_DIGEST_KEY,
    float_of_ordered_bits,
    ordered_bits,
)
from MRHarmonizationLib.inference.undo_series import series_digest, undo_series
from MRHarmonizationLib.slicer_adapter import plots, records
from MRHarmonizationLib.slicer_adapter.dwi_nodes import dwi_from_node, set_node_dwi
from MRHarmonizationLib.slicer_adapter.dwi_rows import TissueRow
from MRHarmonizationLib.slicer_adapter.dwi_run import MAPS, SIDES, DwiHarmonization
from MRHarmonizationLib.slicer_adapter.dwi_sources import DWI_CLASS
from MRHarmonizationLib.slicer_adapter.nodes import set_node_volume
from MRHarmonizationLib.volumes.atomic import write_bytes_atomic
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.grid import same_grid

OPERATION_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}operation"
TABLE_ROLE, MAP_ROLE = f"{ATTRIBUTE_PREFIX}measures", f"{ATTRIBUTE_PREFIX}map"
MAP_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}map"
WARNINGS_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}warnings_json"
STRENGTH_USED_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}strength_used"
SPATIAL_STRENGTH_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}parameter.spatial_strength"
#: Maps that can be kept, in the order they are offered, with the names that lists show.
MAP_TITLES = {
    "b0": "Map: mean b0",
    "trace": "Map: trace (geometric mean of the weighted volumes)",
    "fa": "Map: FA",
    "md": "Map: MD",
}
_NUMBERS = ("md_before", "md_after", "fa_before", "fa_after", "md_limit_percent", "fa_limit")
_TABLE_COLUMNS = ("tissue", "voxels", *_NUMBERS)
_MD_UNIT = "mm2/s"
_DIGESTS = (ENHANCED_DIGEST_KEY, BASELINE_DIGEST_KEY)


def is_dwi_result(node: Any) -> bool:
    """Tell whether a node is a harmonised diffusion scan of this extension."""
    return node is not None and node.IsA(DWI_CLASS) and node.GetAttribute(OPERATION_ATTRIBUTE) == TASK


class DwiResult:
    """A harmonised diffusion scan that is in the scene.

    Parameters
    ----------
    node : vtkMRMLDiffusionWeightedVolumeNode
        As :func:`store_dwi_harmonization` has made it.
    files : dict of str to bytes, optional
        The report's files by name.

    Attributes
    ----------
    node, files
        As given.
    """

    def __init__(self, node: Any, files: dict[str, bytes] | None = None) -> None:
        self.node, self.files = node, dict(files or {})

    @property
    def scan(self) -> Any:
        """The node it was made from, or None."""
        return records.input_of(self.node)

    @property
    def table(self) -> Any:
        """The table (vtkMRMLTableNode) of diffusivity and anisotropy, or None."""
        return self.node.GetNodeReference(TABLE_ROLE)

    @property
    def rows(self) -> list[TissueRow]:
        """Diffusivity and anisotropy per tissue, before and after."""
        return [] if self.table is None else read_tissue_table(self.table)

    @property
    def maps(self) -> dict[str, Any]:
        """The maps (vtkMRMLScalarVolumeNode) by ``<map>_before``, ``<map>_after`` (of MAP_TITLES), and ``gain``."""
        count = self.node.GetNumberOfNodeReferences(MAP_ROLE)
        found = [self.node.GetNthNodeReference(MAP_ROLE, index) for index in range(count)]
        return {node.GetAttribute(MAP_ATTRIBUTE): node for node in found if node is not None}

    @property
    def map_names(self) -> list[str]:
        """Maps there are of both sides."""
        found = self.maps
        return [name for name in MAPS if all(f"{name}_{side}" in found for side in SIDES)]

    def map(self, name: str, side: str = "after") -> Any:
        """Return the map 'b0', 'trace', 'fa' or 'md' of a side ('before', 'after'); None where none was kept."""
        return self.maps.get(f"{name}_{side}")

    @property
    def strength(self) -> float:
        """The strength that was used: what was asked for, or less where the limits of safety asked for it."""
        return float(self.node.GetAttribute(STRENGTH_USED_ATTRIBUTE) or "nan")

    @property
    def spatialStrength(self) -> float:
        """The strength of what is done beyond one gain, such as sharpening; less where MD and FA asked for it."""
        return float(self.node.GetAttribute(SPATIAL_STRENGTH_ATTRIBUTE) or "nan")

    @property
    def warnings(self) -> tuple[str, ...]:
        """What to know when using the result."""
        return tuple(json.loads(self.node.GetAttribute(WARNINGS_ATTRIBUTE) or "[]"))

    def exportReport(self, folder: str | Path) -> Path:
        """Write the report (HTML, CSV, JSON) into a folder, which is made if needed, and return the HTML's path.

        Raises
        ------
        InputError
            There is no report: none was asked for, or the result comes from a scene file.
        OutputError
            The folder cannot be written.
        """
        page = next((name for name in self.files if name.endswith(".html")), None)
        if page is None:
            raise InputError("there is no report; it is not saved with the scene", "press Apply to make it again")
        target = Path(folder).expanduser()
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"folder {target} cannot be made: {error.strerror or error}", "choose one you may write to"
            ) from error
        for name, content in self.files.items():
            write_bytes_atomic(content, target / name)
        return target / page


def store_dwi_harmonization(done: DwiHarmonization, scan: Any, dwi: DwiVolume, node: Any = None) -> DwiResult:
    """Write a harmonised scan into the scene.

    Parameters
    ----------
    done : DwiHarmonization
    scan : vtkMRMLDiffusionWeightedVolumeNode
        What it was made from; not changed.
    dwi : DwiVolume
        What went in: its weightings are those of the result, to the last bit.
    node : vtkMRMLDiffusionWeightedVolumeNode or None
        A result to overwrite, with its table and maps; None: a new one beside the scan.

    Returns
    -------
    DwiResult

    Raises
    ------
    OutputError
        The result has other weightings than the scan.
    """
    _require_same_weighting(done.dwi, dwi)
    if node is None or node.GetScene() is None:
        node = _new_result(f"{scan.GetName()}_{done.provenance.model_id}", scan)
    _copy_weighting(scan, node)
    grid = dwi.grid if same_grid(done.dwi.grid, dwi.grid) else done.dwi.grid
    set_node_dwi(node, dwi.with_array(done.dwi.array, grid))
    node.SetAndObserveTransformNodeID(scan.GetTransformNodeID())
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    records.write_record(node, done.provenance.to_attributes(), scan)
    node.SetAttribute(records.STATE_ATTRIBUTE, records.ENHANCED)
    node.SetAttribute(STRENGTH_USED_ATTRIBUTE, repr(float(done.strength_used)))
    node.SetAttribute(WARNINGS_ATTRIBUTE, json.dumps(list(done.warnings)))
    result = DwiResult(node, done.files)
    _store_table(result, done)
    _store_maps(result, done)
    _store_residual(node, done.residual)
    return result


def can_undo(node: Any) -> bool:
    """Tell whether what undoes a result was kept."""
    return node is not None and node.GetNodeReference(records.RESIDUAL_ROLE) is not None


def is_undone(node: Any) -> bool:
    """Tell whether a result holds the scan as it was before harmonisation."""
    return node is not None and node.GetAttribute(records.STATE_ATTRIBUTE) == records.UNDONE


def toggle_undo(node: Any) -> None:
    """Put the scan before harmonisation into a result, bit for bit; or the harmonised values back.

    Raises
    ------
    InputError
        What undoes it was not kept, or the voxels were changed since.
    """
    if not can_undo(node):
        raise InputError(
            f"what undoes '{'none' if node is None else node.GetName()}' was not kept",
            "tick 'Keep what undoes it' and press Apply again",
        )
    residual, current = _residual_of(node), dwi_from_node(node)
    if is_undone(node):
        if series_digest(current.array) != residual.metadata[BASELINE_DIGEST_KEY]:
            raise InputError(f"the voxels of '{node.GetName()}' were changed since it was undone", "press Apply again")
        restored, state = redo_series(current, residual), records.ENHANCED
    else:
        restored, state = undo_series(current, residual).array, records.UNDONE
    set_node_dwi(node, current.with_array(restored))
    node.SetAttribute(records.STATE_ATTRIBUTE, state)


def read_tissue_table(table: Any) -> list[TissueRow]:
    """Return the rows of a table this extension has written; none of another."""
    if any(table.GetColumnIndex(name) < 0 for name in _TABLE_COLUMNS):
        return []

    def number(row: int, name: str) -> float:
        return float(table.GetTable().GetValueByName(row, name).ToDouble())

    return [
        TissueRow(
            str(table.GetCellText(row, table.GetColumnIndex("tissue"))),
            int(number(row, "voxels")),
            *(number(row, name) for name in _NUMBERS),
        )
        for row in range(table.GetNumberOfRows())
    ]


def _new_result(name: str, scan: Any) -> Any:
    """Add a node that is known as a result from the beginning: selectors look at a node when it is added."""
    scene = scan.GetScene()
    node = scene.CreateNodeByClass(DWI_CLASS)
    node.UnRegister(None)
    node.SetName(scene.GenerateUniqueName(name))
    node.SetAttribute(OPERATION_ATTRIBUTE, TASK)
    node = scene.AddNode(node)
    records.place_beside(node, scan)
    return node


def _require_same_weighting(done: DwiVolume, dwi: DwiVolume) -> None:
    same = done.n_volumes == dwi.n_volumes and np.allclose(
        done.b_values_s_per_mm2, dwi.b_values_s_per_mm2, rtol=1e-4, atol=0.1
    )
    if not (same and np.allclose(done.gradients_ras, dwi.gradients_ras, atol=1e-3)):
        raise OutputError(
            f"the harmonised scan has {done.n_volumes} volumes or weightings unlike the {dwi.n_volumes} of the scan",
            "run it again",
        )


def _copy_weighting(scan: Any, node: Any) -> None:
    """Give a node the measurement frame, gradients and b-values of another, bit by bit."""
    import vtk

    frame = vtk.vtkMatrix4x4()
    scan.GetMeasurementFrameMatrix(frame)
    modifying = node.StartModify()
    node.SetMeasurementFrameMatrix(frame)
    node.SetNumberOfGradients(scan.GetNumberOfGradients())
    gradients, b_values = vtk.vtkDoubleArray(), vtk.vtkDoubleArray()
    gradients.DeepCopy(scan.GetDiffusionGradients())
    b_values.DeepCopy(scan.GetBValues())
    node.SetDiffusionGradients(gradients)
    node.SetBValues(b_values)
    node.EndModify(modifying)


def redo_series(baseline: DwiVolume, residual: DwiVolume) -> np.ndarray:
    """Return the harmonised values, [K, J, I, N] float32, of an undone scan and its residual."""
    values = np.empty(baseline.array.shape, np.float32)
    for n in range(baseline.n_volumes):
        numbers = ordered_bits(baseline.array[..., n])
        np.add(numbers, residual.array[..., n], out=numbers)
        values[..., n] = float_of_ordered_bits(numbers)
    return values


def _store_residual(node: Any, residual: DwiVolume | None) -> None:
    """Keep a residual in a hidden node, or remove the one of an earlier run."""
    scene, holder = node.GetScene(), node.GetNodeReference(records.RESIDUAL_ROLE)
    if residual is None:
        node.SetNodeReferenceID(records.RESIDUAL_ROLE, None)
        if holder is not None:
            scene.RemoveNode(holder)
        return
    if holder is None:
        holder = scene.CreateNodeByClass(DWI_CLASS)
        holder.UnRegister(None)
        holder.SetName(scene.GenerateUniqueName(f"{node.GetName()}_residual"))
        holder.SetHideFromEditors(True)
        scene.AddNode(holder)
        node.SetNodeReferenceID(records.RESIDUAL_ROLE, holder.GetID())
    set_node_dwi(holder, residual)
    for key in _DIGESTS:
        holder.SetAttribute(key, str(residual.metadata[key]))


def _residual_of(node: Any) -> DwiVolume:
    holder = node.GetNodeReference(records.RESIDUAL_ROLE)
    digests = {key: holder.GetAttribute(key) or "" for key in _DIGESTS}
    return replace(dwi_from_node(holder), metadata=digests)


def _store_table(result: DwiResult, done: DwiHarmonization) -> None:
    node, table = result.node, result.table
    if table is None:
        scene = node.GetScene()
        table = scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(f"{node.GetName()}_measures"))
        table.SetAttribute(OPERATION_ATTRIBUTE, "diffusion measures")
        node.SetNodeReferenceID(TABLE_ROLE, table.GetID())
    rows = done.rows
    columns: dict[str, Any] = {name: [getattr(row, name) for row in rows] for name in _TABLE_COLUMNS}
    columns["md_change_percent"] = [row.md_change_percent for row in rows]
    columns["fa_change"] = [row.fa_change for row in rows]
    plots.set_columns(table, columns)
    for name, unit in (("md_before", _MD_UNIT), ("md_after", _MD_UNIT), ("md_change_percent", "%")):
        table.SetColumnUnitLabel(name, unit)
    table.SetUseColumnTitleAsColumnHeader(True)
    _place_under(table, node)


def _store_maps(result: DwiResult, done: DwiHarmonization) -> None:
    """Keep the maps, or remove those of an earlier run."""
    node, old = result.node, result.maps
    node.RemoveNodeReferenceIDs(MAP_ROLE)
    for key, volume in done.maps.items():
        holder = old.pop(key, None) or records.new_volume_node(f"{node.GetName()}_{key}", node)
        set_node_volume(holder, volume)
        holder.SetAndObserveTransformNodeID(node.GetTransformNodeID())
        if holder.GetDisplayNode() is None:
            holder.CreateDefaultDisplayNodes()
        holder.SetAttribute(OPERATION_ATTRIBUTE, "diffusion map")
        holder.SetAttribute(MAP_ATTRIBUTE, key)
        node.AddNodeReferenceID(MAP_ROLE, holder.GetID())
        _place_under(holder, node)
    for holder in old.values():
        node.GetScene().RemoveNode(holder)


def _place_under(node: Any, parent: Any) -> None:
    """Put a node under another one in the subject hierarchy."""
    import slicer

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    if hierarchy is None:
        return
    own, above = hierarchy.GetItemByDataNode(node), hierarchy.GetItemByDataNode(parent)
    if own and above:
        hierarchy.SetItemParent(own, above)
