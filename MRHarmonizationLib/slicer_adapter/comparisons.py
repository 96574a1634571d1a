"""A comparison in the scene: one table node of measurements, and from it its images, charts, maps and brain regions.

Everything is found again from the table node's references and attributes, so that it works on a scene that was saved
and loaded.
"""

from __future__ import annotations

import json
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import InputError, OutputError, ParameterError
from MRHarmonizationLib.inference.provenance import ATTRIBUTE_PREFIX
from MRHarmonizationLib.slicer_adapter import plots, records
from MRHarmonizationLib.slicer_adapter.compare_run import REPORT, Comparison
from MRHarmonizationLib.slicer_adapter.metric_rows import MetricRow, metric_rows
from MRHarmonizationLib.slicer_adapter.nodes import set_node_volume
from MRHarmonizationLib.slicer_adapter.region_table import fill_regions_table, read_regions_table
from MRHarmonizationLib.volumes.atomic import write_bytes_atomic

OPERATION_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}operation"
COMPARE, MAP, REGIONS = "compare", "texture map", "brain regions"
NOTES_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}notes"
MASK_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}mask"
MAP_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}map"
WINDOW_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}window"
ROLES = ("before", "after", "reference", "mask")
CHART_ROLE, MAP_ROLE = f"{ATTRIBUTE_PREFIX}chart", f"{ATTRIBUTE_PREFIX}map"
REGIONS_ROLE, SOURCE_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}regions", f"{ATTRIBUTE_PREFIX}labels"
#: Colours of feature maps.
MAP_COLOURS = "vtkMRMLColorTableNodeFileViridis.txt"


def is_comparison(node: Any) -> bool:
    """Tell whether a node holds a comparison's measurements."""
    return node is not None and node.GetAttribute(OPERATION_ATTRIBUTE) == COMPARE


def image_role(role: str) -> str:
    """Return the name of the node reference to an image of a comparison ('before', 'after', 'reference', 'mask')."""
    return f"{ATTRIBUTE_PREFIX}{role}"


class StoredComparison:
    """A comparison that is in the scene.

    Parameters
    ----------
    table : vtkMRMLTableNode
        As :func:`store_comparison` has made it.
    files : dict of str to bytes, optional
        The report's files, which are kept in memory and not in the scene.

    Attributes
    ----------
    table, files
        As given.
    """

    def __init__(self, table: Any, files: dict[str, bytes] | None = None) -> None:
        self.table, self.files = table, dict(files or {})

    def image(self, role: str) -> Any:
        """Return the node of 'before', 'after', 'reference' or 'mask'; None where there is none."""
        return self.table.GetNodeReference(image_role(role))

    @property
    def rows(self) -> list[MetricRow]:
        """The measurements."""
        return plots.read_metrics_table(self.table)

    @property
    def charts(self) -> dict[str, Any]:
        """The chart nodes by the ids of their curves (``psd_radial`` …)."""
        return {chart.GetAttribute(plots.CURVE_ATTRIBUTE): chart for chart in _referenced(self.table, CHART_ROLE)}

    @property
    def maps(self) -> dict[str, Any]:
        """The feature maps (vtkMRMLScalarVolumeNode) by ``before_<feature>``, ``after_<feature>`` …."""
        return {node.GetAttribute(MAP_ATTRIBUTE): node for node in _referenced(self.table, MAP_ROLE)}

    @property
    def map_features(self) -> list[str]:
        """Features there are maps of, before and after."""
        found = self.maps
        names = [key.removeprefix("after_") for key in found if key.startswith("after_")]
        return [name for name in names if f"before_{name}" in found]

    @property
    def regions_table(self) -> Any:
        """The table (vtkMRMLTableNode) of the volumes of brain structures; None where they were not measured."""
        return self.table.GetNodeReference(REGIONS_ROLE)

    @property
    def regions(self) -> list[dict[str, Any]]:
        """The volumes of brain structures: region, number, side, before_ml, after_ml, change_percent …."""
        return read_regions_table(self.regions_table)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was done to the images, and what a reader must know."""
        return tuple(json.loads(self.table.GetAttribute(NOTES_ATTRIBUTE) or "[]"))

    @property
    def measured_in(self) -> str:
        """Where everything was measured, and in how many voxels."""
        return self.table.GetAttribute(MASK_ATTRIBUTE) or ""

    def value(self, metric: str, side: str = "after", heldAgainst: str | None = None) -> float:
        """Return one number.

        Parameters
        ----------
        metric : str
            Name in the registry of metrics ("ssim").
        side : {'before', 'after'}
        heldAgainst : {'reference', '', 'before'}, optional
            What it was compared with; the first of these that there is if omitted.

        Raises
        ------
        ParameterError
            It was not measured.
        """
        for row in self.rows:
            if row.name == metric and heldAgainst in (None, row.held_against):
                return row.before if side == "before" else row.after
        known = ", ".join(dict.fromkeys(row.name for row in self.rows))
        raise ParameterError(f"'{metric}' was not measured", f"choose one of: {known}")

    def exportReport(self, folder: str | Path) -> Path:
        """Write the report (HTML, CSV, JSON) into a folder, which is made if needed, and return the HTML's path.

        Raises
        ------
        InputError
            The comparison comes from a scene file: its report was not saved with it.
        OutputError
            The folder cannot be written.
        """
        if REPORT not in self.files:
            raise InputError("the report is not saved with the scene", "press Apply to make it again")
        target = Path(folder).expanduser()
        try:
            target.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"folder {target} cannot be made: {error.strerror or error}", "choose one you may write to"
            ) from error
        for name, content in self.files.items():
            write_bytes_atomic(content, target / name)
        return target / REPORT


def store_comparison(done: Comparison, images: dict[str, Any], table: Any = None, window: int = 0) -> StoredComparison:
    """Write a comparison into the scene.

    Parameters
    ----------
    done : Comparison
    images : dict of str to node or None
        By 'before', 'after', 'reference', 'mask'; not changed.
    table : vtkMRMLTableNode or None
        A comparison to overwrite, with its charts, maps and regions; None: a new one beside after.
    window : int
        Of the feature maps, voxels.

    Returns
    -------
    StoredComparison
    """
    before, after = images["before"], images["after"]
    scene = after.GetScene()
    if table is None or table.GetScene() is None:
        table = _new_table(scene, f"{before.GetName()} → {after.GetName()}")
    stored = StoredComparison(table, done.files)
    plots.fill_metrics_table(table, metric_rows(done.summary["measurements"]))
    _record(table, done, images)
    _store_charts(stored, done)
    _store_maps(stored, done, after, window)
    _store_regions(stored, done)
    _gather(stored)
    return stored


def _new_table(scene: Any, name: str) -> Any:
    """Add a table that is known as a comparison from the beginning: selectors look at a node when it is added."""
    table = scene.CreateNodeByClass("vtkMRMLTableNode")
    table.UnRegister(None)
    table.SetName(scene.GenerateUniqueName(name))
    table.SetAttribute(OPERATION_ATTRIBUTE, COMPARE)
    return scene.AddNode(table)


def _record(table: Any, done: Comparison, images: dict[str, Any]) -> None:
    from MRHarmonizationLib import __version__

    modifying = table.StartModify()
    for role in ROLES:
        node = images.get(role)
        table.SetNodeReferenceID(image_role(role), None if node is None else node.GetID())
    mask = done.summary.get("mask", {})
    said = {
        OPERATION_ATTRIBUTE: COMPARE,
        NOTES_ATTRIBUTE: json.dumps(done.notes),
        MASK_ATTRIBUTE: f"{mask['name']}, {mask['voxels']:,} voxels" if mask else "",
        f"{ATTRIBUTE_PREFIX}library_version": __version__,
        f"{ATTRIBUTE_PREFIX}created_utc": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    for role, image in done.summary.get("images", {}).items():
        said[f"{ATTRIBUTE_PREFIX}{role}_digest"] = str(image.get("digest", ""))
    for key, text in said.items():
        table.SetAttribute(key, text)
    table.EndModify(modifying)


def _store_charts(stored: StoredComparison, done: Comparison) -> None:
    table, old = stored.table, stored.charts
    table.RemoveNodeReferenceIDs(CHART_ROLE)
    for curve in done.curves:
        chart = plots.update_chart(old.pop(curve.id, None), curve, table.GetScene())
        table.AddNodeReferenceID(CHART_ROLE, chart.GetID())
    for chart in old.values():
        plots.remove_chart(chart)


def _store_maps(stored: StoredComparison, done: Comparison, after: Any, window: int) -> None:
    """Keep the maps, on one window and level per feature, so that before and after can be compared by eye."""
    import numpy as np

    table, old = stored.table, stored.maps
    table.RemoveNodeReferenceIDs(MAP_ROLE)
    limits: dict[str, tuple[float, float]] = {}
    for key, volume in done.maps.items():
        role, _, feature = key.partition("_")
        source = stored.image(role) or after
        node = old.pop(key, None) or records.new_volume_node(f"{source.GetName()}_glcm_{feature}", after)
        set_node_volume(node, volume)
        node.SetAndObserveTransformNodeID(after.GetTransformNodeID())
        for name, text in ((OPERATION_ATTRIBUTE, MAP), (MAP_ATTRIBUTE, key), (WINDOW_ATTRIBUTE, str(window))):
            node.SetAttribute(name, text)
        inside = volume.array[volume.array != 0]
        if feature not in limits:
            low, high = np.percentile(inside, (1, 99)) if inside.size else (0.0, 1.0)
            limits[feature] = (float(low), float(max(high, low + 1e-6)))
        _show_map(node, *limits[feature])
        table.AddNodeReferenceID(MAP_ROLE, node.GetID())
    for node in old.values():
        table.GetScene().RemoveNode(node)


def _store_regions(stored: StoredComparison, done: Comparison) -> None:
    """Keep the volumes of brain structures in a table of their own."""
    found, node, scene = done.summary.get("regions"), stored.regions_table, stored.table.GetScene()
    if not found:
        if node is not None:
            scene.RemoveNode(node)
        stored.table.SetNodeReferenceID(REGIONS_ROLE, None)
        return
    if node is None:
        name = scene.GenerateUniqueName(f"{stored.table.GetName()} ({REGIONS})")
        node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
        node.SetAttribute(OPERATION_ATTRIBUTE, REGIONS)
        stored.table.SetNodeReferenceID(REGIONS_ROLE, node.GetID())
    fill_regions_table(node, found["rows"])
    node.SetAttribute(SOURCE_ATTRIBUTE, str(found.get("source", "")))


def _show_map(node: Any, low: float, high: float) -> None:
    if node.GetDisplayNode() is None:
        node.CreateDefaultDisplayNodes()
    display = node.GetScalarVolumeDisplayNode()
    if node.GetScene().GetNodeByID(MAP_COLOURS) is not None:
        display.SetAndObserveColorNodeID(MAP_COLOURS)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(high - low, (low + high) / 2)


def _gather(stored: StoredComparison) -> None:
    """Put table, charts and maps into one folder of the subject hierarchy, beside after; values below their charts."""
    import slicer

    table = stored.table
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(table.GetScene())
    if hierarchy is None:
        return
    item, after = hierarchy.GetItemByDataNode(table), hierarchy.GetItemByDataNode(stored.image("after"))
    if not item:
        return
    parent = hierarchy.GetItemParent(item)
    if hierarchy.GetItemDataNode(parent) is not None or hierarchy.GetItemName(parent) != table.GetName():
        above = hierarchy.GetItemParent(after) if after else hierarchy.GetSceneItemID()
        parent = hierarchy.CreateFolderItem(above, table.GetName())
    for node in (table, *stored.charts.values(), *stored.maps.values(), stored.regions_table):
        if node is None:
            continue
        own = hierarchy.GetItemByDataNode(node)
        if own:
            hierarchy.SetItemParent(own, parent)
    for chart in stored.charts.values():
        for values in plots.tables_of(chart):
            own, above = (hierarchy.GetItemByDataNode(node) for node in (values, chart))
            if own and above:
                hierarchy.SetItemParent(own, above)


def _referenced(node: Any, role: str) -> list[Any]:
    found = [node.GetNthNodeReference(role, index) for index in range(node.GetNumberOfNodeReferences(role))]
    return [item for item in found if item is not None]
