"""Curves as charts, measurements as tables: labelled, drawn, reused, saved and loaded with the scene."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MRHarmonizationLib.inference.curves import Curve, Series
from MRHarmonizationLib.slicer_adapter import layouts, plots
from MRHarmonizationLib.slicer_adapter.metric_rows import MetricRow

FREQUENCY = np.linspace(0.02, 0.5, 25)


def spectrum(*series: Series, **changes: Any) -> Curve:
    described = {
        "id": "psd_radial", "title": "Power spectrum", "sentence": "How much detail.", "x_label": "frequency",
        "x_unit": "cycles/mm", "x_log": True, "y_label": "power", "y_unit": "mm", "y_log": True,
    }  # fmt: skip
    return Curve(**{**described, **changes}, series=series or before_and_after())


def before_and_after() -> tuple[Series, ...]:
    return (
        Series("before", "before", FREQUENCY, np.exp(-9 * FREQUENCY)),
        Series("after", "after", FREQUENCY, np.exp(-5 * FREQUENCY)),
    )


def column(table: Any, name: str) -> np.ndarray:
    from vtk.util import numpy_support

    return np.array(numpy_support.vtk_to_numpy(table.GetTable().GetColumnByName(name)))


@pytest.fixture
def plot_view(host: Any, scene: Any) -> Any:
    """The plot view, shown beside the slices."""
    layouts.register_layouts()
    manager = host.slicer.app.layoutManager()
    former = manager.layout
    manager.setLayout(layouts.layout_id("axial", True))
    host.process(50)
    yield manager.viewWidget(layouts.curves_view_node()).plotView()
    manager.setLayout(former)


def test_chart_says_what_it_shows(scene: Any):
    chart = plots.update_chart(None, spectrum(), scene)
    assert chart.GetTitle() == "Power spectrum"
    assert (chart.GetXAxisTitle(), chart.GetYAxisTitle()) == ("frequency (cycles/mm)", "power (mm)")
    assert chart.GetXAxisLogScale()
    assert chart.GetYAxisLogScale()
    assert chart.GetLegendVisibility()
    assert not chart.GetEnablePointMoveAlongY()  # measured points cannot be dragged
    assert chart.GetAttribute("MRHarmonization.curve") == "psd_radial"
    first, second = plots.series_of(chart)
    assert (first.GetName(), second.GetName()) == ("before", "after")
    assert first.GetColor() == pytest.approx(plots.ROLE_COLOURS["before"])
    table = first.GetTableNode()
    assert table is second.GetTableNode()  # one x for both: one table
    assert np.allclose(column(table, "frequency"), FREQUENCY)
    assert np.allclose(column(table, "after"), np.exp(-5 * FREQUENCY))
    assert table.GetColumnUnitLabel("frequency") == "cycles/mm"
    assert table.GetColumnUnitLabel("before") == "mm"
    assert table.GetLocked()


def test_series_of_other_x_get_a_table_of_their_own(scene: Any):
    limit = Series("Nyquist", "limit", np.array([0.5, 0.5]), np.array([1e-3, 1.0]))
    chart = plots.update_chart(None, spectrum(*before_and_after(), limit), scene)
    first, second, third = (series.GetTableNode() for series in plots.series_of(chart))
    assert first is second
    assert third is not first
    assert third.GetNumberOfRows() == 2  # nothing is padded
    assert plots.series_of(chart)[2].GetLineStyle() == plots.series_of(chart)[2].LineStyleDashDotDot


def test_names_that_repeat_are_told_apart(scene: Any):
    twins = [Series("axis", "before", FREQUENCY, FREQUENCY * n) for n in (1, 2)]
    own = Series("frequency", "after", FREQUENCY, FREQUENCY * 3)
    chart = plots.update_chart(None, spectrum(*twins, own), scene)
    lines = plots.series_of(chart)
    assert [series.GetYColumnName() for series in lines] == ["axis", "axis 2", "frequency 2"]
    assert lines[0].GetColor() == lines[1].GetColor()  # one role, told apart by the line
    assert [line.GetLineStyle() for line in lines] == [
        lines[0].LineStyleSolid,
        lines[0].LineStyleDash,
        lines[0].LineStyleSolid,
    ]
    table = plots.series_of(chart)[0].GetTableNode()
    assert np.allclose(column(table, "frequency 2"), 3 * FREQUENCY)


def test_charts_are_drawn(host: Any, scene: Any, plot_view: Any):
    chart = plots.update_chart(None, spectrum(), scene)
    layouts.curves_view_node().SetPlotChartNodeID(chart.GetID())
    drawn = plot_view.chart()
    assert drawn.GetNumberOfPlots() == 2
    assert [drawn.GetPlot(index).GetLabel() for index in range(2)] == ["before", "after"]
    picture = plot_view._canvas.array().reshape(-1, 3).astype(int)
    for role in ("before", "after"):
        colour = np.round(255 * np.array(plots.ROLE_COLOURS[role]))
        assert np.count_nonzero(np.abs(picture - colour).max(axis=1) < 12) > 100, f"no line in the colour of {role}"


def test_a_new_curve_takes_the_place_of_the_old(host: Any, scene: Any, plot_view: Any):
    chart = plots.update_chart(None, spectrum(), scene)
    layouts.curves_view_node().SetPlotChartNodeID(chart.GetID())
    count = scene.GetNumberOfNodes()
    half = tuple(Series(s.name, s.role, s.x[:10], s.y[:10]) for s in before_and_after())
    assert plots.update_chart(chart, spectrum(*half), scene) is chart
    assert scene.GetNumberOfNodes() == count
    assert plots.series_of(chart)[0].GetTableNode().GetNumberOfRows() == 10
    alone = Series("after / before", "ratio", FREQUENCY, FREQUENCY)
    plots.update_chart(chart, spectrum(alone, title="Ratio", y_log=False), scene)
    assert plot_view.chart().GetNumberOfPlots() == 1
    assert plot_view.chart().GetTitle() == "Ratio"
    assert scene.GetNumberOfNodesByClass("vtkMRMLPlotSeriesNode") == 1
    plots.remove_chart(chart)
    for class_name in ("vtkMRMLPlotChartNode", "vtkMRMLPlotSeriesNode", "vtkMRMLTableNode"):
        assert scene.GetNumberOfNodesByClass(class_name) == 0


ROWS = [
    MetricRow("psnr", "dB", "reference", 21.25, math.inf, "higher", 1000),
    MetricRow("noise", "%", "", 3.5, 1.75, "lower", 1000),
    MetricRow("ssim", "1", "before", math.nan, 0.875, "higher", 1000),
]


def same(rows: list[MetricRow], expected: list[MetricRow]) -> bool:
    return repr(rows) == repr(expected)  # NaN equals nothing, not itself either


def test_measurements_as_a_table(scene: Any):
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Numbers")
    plots.fill_metrics_table(table, ROWS)
    assert same(plots.read_metrics_table(table), ROWS)
    assert np.allclose(column(table, "before"), [21.25, 3.5, math.nan], equal_nan=True)
    plots.fill_metrics_table(table, ROWS[:1])
    assert table.GetNumberOfRows() == 1
    plots.fill_metrics_table(table, [])
    assert plots.read_metrics_table(table) == []
    assert plots.read_metrics_table(scene.AddNewNodeByClass("vtkMRMLTableNode", "Else")) == []


@pytest.mark.parametrize("bundle", [True, False])
def test_they_survive_saving_and_loading(host: Any, scene: Any, plot_view: Any, tmp_path: Path, bundle: bool):
    chart = plots.update_chart(None, spectrum(), scene)
    layouts.curves_view_node().SetPlotChartNodeID(chart.GetID())
    table = scene.AddNewNodeByClass("vtkMRMLTableNode", "Numbers")
    plots.fill_metrics_table(table, ROWS)
    path = tmp_path / ("scene.mrb" if bundle else "scene.mrml")
    if not bundle:
        for number, node in enumerate((table, plots.series_of(chart)[0].GetTableNode())):
            assert host.slicer.util.saveNode(node, str(tmp_path / f"table{number}.tsv"))
    assert host.slicer.util.saveScene(str(path))
    scene.Clear(0)
    assert plot_view.chart().GetNumberOfPlots() == 0
    host.slicer.util.loadScene(str(path))
    assert same(plots.read_metrics_table(host.slicer.util.getNode("Numbers")), ROWS)
    loaded = host.slicer.util.getNode("Power spectrum")
    assert loaded.GetXAxisTitle() == "frequency (cycles/mm)"
    assert loaded.GetXAxisLogScale()
    before = plots.series_of(loaded)[0]
    assert before.GetColor() == pytest.approx(plots.ROLE_COLOURS["before"])
    assert np.allclose(column(before.GetTableNode(), "before"), np.exp(-9 * FREQUENCY), rtol=1e-4)
    assert before.GetTableNode().GetColumnUnitLabel("frequency") == "cycles/mm"
    assert plot_view.chart().GetNumberOfPlots() == 2  # shown again
    assert plot_view.chart().GetPlot(0).GetLabel() == "before"
