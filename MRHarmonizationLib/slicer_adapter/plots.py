"""Curves and numbers as nodes: tables, plot series and charts, which Slicer shows and saves with the scene."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from MRHarmonizationLib.inference.curves import Curve, Series
from MRHarmonizationLib.inference.provenance import ATTRIBUTE_PREFIX
from MRHarmonizationLib.slicer_adapter.metric_rows import MetricRow

CURVE_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}curve"
SENTENCE_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}sentence"
#: Colours (RGB, 0 to 1) by role, the same in every chart; the colour-blind can tell them apart.
ROLE_COLOURS = {
    "before": (0.90, 0.62, 0.00),
    "after": (0.00, 0.45, 0.70),
    "reference": (0.30, 0.30, 0.30),
    "ratio": (0.00, 0.62, 0.45),
    "limit": (0.60, 0.60, 0.60),
}
#: Line styles of the first, second … series of a role, and of borders.
LINES = ("LineStyleSolid", "LineStyleDash", "LineStyleDot", "LineStyleDashDot")
BORDER_LINE, NO_LINE = "LineStyleDashDotDot", "LineStyleNone"
#: Column of a table that names categories.
NAME_COLUMN = "name"
LINE_WIDTH = 2.0
#: With more points than these a series is drawn without markers.
MOST_MARKERS = 16
TITLE_SIZE, LABEL_SIZE = 18, 14


def update_chart(chart: Any, curve: Curve, scene: Any) -> Any:
    """Make a chart show a curve, reusing its series and tables.

    Parameters
    ----------
    chart : vtkMRMLPlotChartNode or None
        None: a new one is added.
    curve : Curve
    scene : vtkMRMLScene

    Returns
    -------
    vtkMRMLPlotChartNode
        Series that share their x values share a table; axes and columns are labelled with their units.
    """
    if chart is None:
        chart = scene.AddNewNodeByClass("vtkMRMLPlotChartNode", scene.GenerateUniqueName(curve.title))
    old, tables = series_of(chart), tables_of(chart)
    modifying = chart.StartModify()
    try:
        chart.RemoveAllPlotSeriesNodeIDs()
        for group in _same_x(curve.series):
            table = tables.pop(0) if tables else _new_table(scene, f"{curve.title} (values)")
            x_name, names = _fill(table, curve, group)
            for series, y_name in zip(group, names, strict=True):
                node = old.pop(0) if old else _new_series(scene)
                _describe_series(node, series, table, x_name, y_name, curve)
                node.SetLineStyle(getattr(node, _line_style(series, curve)))
                chart.AddAndObservePlotSeriesNodeID(node.GetID())
        _describe_chart(chart, curve)
    finally:
        chart.EndModify(modifying)
    for node in (*old, *tables):
        scene.RemoveNode(node)
    chart.Modified()  # a plot view that already shows the chart may stay empty without it
    return chart


def remove_chart(chart: Any) -> None:
    """Remove a chart with its series and tables."""
    scene, series, tables = chart.GetScene(), series_of(chart), tables_of(chart)
    for node in (chart, *series, *tables):
        scene.RemoveNode(node)


def series_of(chart: Any) -> list[Any]:
    """Return the series nodes of a chart."""
    nodes = [chart.GetNthPlotSeriesNode(index) for index in range(chart.GetNumberOfPlotSeriesNodes())]
    return [node for node in nodes if node is not None]


def tables_of(chart: Any) -> list[Any]:
    """Return the tables that hold a chart's values."""
    return unique(node.GetTableNode() for node in series_of(chart))


def fill_metrics_table(table: Any, rows: Sequence[MetricRow]) -> None:
    """Write measurements into a table node: one row per metric, numbers as numbers.

    Parameters
    ----------
    table : vtkMRMLTableNode
        Its former columns are replaced.
    rows : sequence of MetricRow
    """
    columns: dict[str, list[Any]] = {
        "metric": [row.name for row in rows],
        "held against": [row.held_against for row in rows],
        "before": [row.before for row in rows],
        "after": [row.after for row in rows],
        "unit": [row.unit for row in rows],
        "better": [row.better for row in rows],
        "voxels": [row.voxels for row in rows],
    }
    set_columns(table, columns)
    table.SetUseColumnTitleAsColumnHeader(True)


def read_metrics_table(table: Any) -> list[MetricRow]:
    """Return the rows of a table that :func:`fill_metrics_table` has written; none of another."""
    if any(table.GetColumnIndex(name) < 0 for name in ("metric", "held against", "before", "after", "voxels")):
        return []

    def cell(row: int, name: str) -> str:
        return str(table.GetCellText(row, table.GetColumnIndex(name)))

    def number(row: int, name: str) -> float:
        return float(table.GetTable().GetValueByName(row, name).ToDouble())

    return [
        MetricRow(
            cell(row, "metric"),
            cell(row, "unit"),
            cell(row, "held against"),
            number(row, "before"),
            number(row, "after"),
            cell(row, "better"),
            int(number(row, "voxels")),
        )
        for row in range(table.GetNumberOfRows())
    ]


def _same_x(series: Sequence[Series]) -> list[list[Series]]:
    groups: list[list[Series]] = []
    for line in series:
        fitting = next((group for group in groups if np.array_equal(group[0].x, line.x)), None)
        if fitting is None:
            groups.append([line])
        else:
            fitting.append(line)
    return groups


def _fill(table: Any, curve: Curve, group: Sequence[Series]) -> tuple[str, list[str]]:
    """Write series of one x into a table; return the names of the x and of the y columns."""
    names: list[str] = []
    for line in group:
        name, number = line.name, 2
        while name in names or name in (curve.x_label, NAME_COLUMN):
            name, number = f"{line.name} {number}", number + 1
        names.append(name)
    columns: dict[str, Any] = {curve.x_label: group[0].x}
    if curve.x_names:
        columns[NAME_COLUMN] = [curve.x_names[round(float(place)) - 1] for place in group[0].x]
    columns.update({name: line.y for name, line in zip(names, group, strict=True)})
    set_columns(table, columns)
    for name in columns:
        if name == NAME_COLUMN:
            continue
        label, unit = (curve.x_label, curve.x_unit) if name == curve.x_label else (curve.y_label, curve.y_unit)
        table.SetColumnUnitLabel(name, unit)
        table.SetColumnDescription(name, label)
    return curve.x_label, names


def set_columns(table: Any, columns: dict[str, Any]) -> None:
    """Replace the columns of a table node (vtkMRMLTableNode) by texts, whole numbers or numbers, by name."""
    import vtk
    from vtk.util import numpy_support

    content = vtk.vtkTable()
    for name, values in columns.items():
        if len(values) and isinstance(values[0], str):
            array = vtk.vtkStringArray()
            for text in values:
                array.InsertNextValue(text)
        else:
            whole = len(values) > 0 and isinstance(values[0], int)
            kind = np.int32 if whole else np.float64
            array = numpy_support.numpy_to_vtk(np.array(values, dtype=kind), deep=True)
        array.SetName(name)
        content.AddColumn(array)
    table.SetAndObserveTable(content)
    table.SetLocked(True)  # measured values are looked at, not edited
    table.StorableModified()


def _describe_series(node: Any, series: Series, table: Any, x_name: str, y_name: str, curve: Curve) -> None:
    modifying = node.StartModify()
    node.SetName(series.name)  # what the legend shows
    node.SetAndObserveTableNodeID(table.GetID())
    node.SetXColumnName(x_name)
    node.SetYColumnName(y_name)
    node.SetLabelColumnName(NAME_COLUMN if curve.x_names else "")  # told when the pointer rests on a point
    # lines over x; "line" plots over the row number
    node.SetPlotType(node.PlotTypeScatterBar if curve.drawn == "bars" else node.PlotTypeScatter)
    node.SetColor(*ROLE_COLOURS[series.role])
    node.SetLineWidth(LINE_WIDTH)
    marked = curve.drawn == "points" or (series.x.size <= MOST_MARKERS and series.role != "limit")
    node.SetMarkerStyle(node.MarkerStyleCircle if marked else node.MarkerStyleNone)
    node.EndModify(modifying)


def _line_style(series: Series, curve: Curve) -> str:
    """Return the line style by which a series is told from others of its role, which share its colour."""
    if series.role == "limit":
        return BORDER_LINE
    if curve.drawn == "points":
        return NO_LINE
    earlier = [line.role for line in curve.series[: curve.series.index(series)]]
    return LINES[earlier.count(series.role) % len(LINES)]


def _describe_chart(chart: Any, curve: Curve) -> None:
    chart.SetTitle(curve.title)
    chart.SetTitleFontSize(TITLE_SIZE)
    chart.SetAxisTitleFontSize(LABEL_SIZE)
    # Axes have no names of categories; the pointer tells them, and the table lists them in this order.
    chart.SetXAxisTitle(f"{curve.x_title} (row of the table)" if curve.x_names else curve.x_title)
    chart.SetYAxisTitle(curve.y_title)
    chart.SetXAxisLogScale(curve.x_log)
    chart.SetYAxisLogScale(curve.y_log)
    chart.SetLegendVisibility(len(curve.series) > 1)
    chart.SetEnablePointMoveAlongX(False)  # dragging a point would change the measured values
    chart.SetEnablePointMoveAlongY(False)
    chart.SetAttribute(CURVE_ATTRIBUTE, curve.id)
    chart.SetAttribute(SENTENCE_ATTRIBUTE, curve.sentence)


def _new_table(scene: Any, name: str) -> Any:
    """Add a table that is seen: Slicer's dialog for saving leaves hidden nodes out."""
    return scene.AddNewNodeByClass("vtkMRMLTableNode", scene.GenerateUniqueName(name))


def _new_series(scene: Any) -> Any:
    """Add a series that selectors and the hierarchy leave out: it is part of its chart, and saved in the scene file."""
    node = scene.CreateNodeByClass("vtkMRMLPlotSeriesNode")
    node.UnRegister(None)
    node.SetHideFromEditors(True)
    return scene.AddNode(node)


def unique(nodes: Iterable[Any]) -> list[Any]:
    """Return nodes without repetitions and without None, in order."""
    found: list[Any] = []
    for node in nodes:
        if node is not None and all(node is not other for other in found):
            found.append(node)
    return found
