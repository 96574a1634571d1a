"""Plots with hover in an HTML page: Plotly, written into the page once; a still picture where scripts are off."""

from __future__ import annotations

import base64
import gzip
import html
import json
from functools import lru_cache
from typing import Any

from MRHarmonizationLib.evaluation.figures import MARKED_POINTS, curve_figure
from MRHarmonizationLib.evaluation.html import HtmlPage, image_tag
from MRHarmonizationLib.inference.curves import Curve, Series

#: Plotly's names of the dashes of series that share a role, as ``figures.DASHES``.
PLOTLY_DASHES = ("solid", "dash", "dashdot", "dot")
SIGNIFICANT_DIGITS = 6
#: Height of a plot whose legend takes one row, and of each further series' row in it.
PLOT_HEIGHT_PX, LEGEND_ROW_PX, ROLES_IN_A_ROW = 370, 19, 3
#: Height that the names of categories take below a plot.
NAMES_HEIGHT_PX = 110
NO_PLOTLY_NOTE = (
    "The curves are still pictures: the package plotly, which makes them readable point by point, is not installed "
    "(pip install plotly)."
)

PLOT_STYLE = """
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr)); gap: 1rem 2rem; }
.plots > section { min-width: 0; } .plots figure { margin: .4rem 0; }
.plots img { background: #fff; }
"""

PLOT_SCRIPT = """
(async () => {
  const packed = document.getElementById("plotly");
  if (!packed || !("DecompressionStream" in window)) return;
  const bytes = Uint8Array.from(atob(packed.textContent), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(stream).text();
  document.head.append(script);
  const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue("--" + name).trim();
  const themed = (plot) => {
    const ink = colour("ink"), line = colour("line");
    const layout = structuredClone(plot.layout);
    Object.assign(layout, { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" });
    layout.font = { color: ink, size: 12, family: "system-ui, sans-serif" };
    layout.hoverlabel = { bgcolor: colour("paper"), bordercolor: colour("rule"), font: { color: ink } };
    layout.modebar = { bgcolor: "rgba(0,0,0,0)", color: colour("soft"), activecolor: colour("after") };
    for (const axis of [layout.xaxis, layout.yaxis]) Object.assign(axis, { gridcolor: line, linecolor: line });
    const data = plot.data.map((trace) => ({ ...trace, line: { ...trace.line, color: colour(trace.meta) },
      marker: { ...trace.marker, color: colour(trace.meta) } }));
    return [data, layout];
  };
  const draw = () => document.querySelectorAll("figure.plot").forEach((figure) => {
    const plot = JSON.parse(figure.querySelector("script").textContent);
    const live = figure.querySelector(".live"), [data, layout] = themed(plot);
    live.hidden = false;
    figure.querySelector("img").hidden = true;
    Plotly.react(live, data, layout, { responsive: true, displaylogo: false, modeBarButtons: [["toImage",
      "zoom2d", "pan2d", "resetScale2d"]] });
  });
  draw();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
})();
"""


def add_plots(page: HtmlPage, curves: tuple[Curve, ...], level: int = 3) -> None:
    """Add curves to a page, two beside each other where there is room.

    Each has its title as a heading, its sentence, and a plot with hover, zoom and a legend that hides lines. Without
    scripts, or where plotly is not installed (which a note then says), a still picture with the same lines is seen.

    Parameters
    ----------
    page : HtmlPage
    curves : tuple of Curve
    level : int
        Of the headings.

    Raises
    ------
    DependencyError
        matplotlib is not installed.
    """
    if not curves:
        return
    library = _plotly_script()
    if library is None:
        page.paragraph(NO_PLOTLY_NOTE, note=True)
    sections = "".join(_section(curve, level, library is not None) for curve in curves)
    scripts = [] if library is None else [library, f"<script>{PLOT_SCRIPT}</script>"]
    page.fragment(f'<div class="plots">{sections}</div>', PLOT_STYLE, scripts)


def plotly_description(curve: Curve) -> dict[str, Any]:
    """Return what Plotly draws for a curve: data and layout; colours are the page's, by the name in ``meta``."""
    drawn: dict[str, int] = {}
    data = []
    for series in curve.series:
        number = drawn[series.role] = drawn.get(series.role, -1) + 1
        data.append(_trace(series, number, curve))
    axis: dict[str, Any] = {"zeroline": False, "automargin": True, "ticks": "outside"}
    long_log = {"exponentformat": "power", "dtick": 1} if curve.y_log and _decades(curve) > 2 else {}
    layout: dict[str, Any] = {
        "xaxis": axis | {"title": {"text": curve.x_title}, "type": "log" if curve.x_log else "linear"},
        "yaxis": axis | long_log | {"title": {"text": curve.y_title}, "type": "log" if curve.y_log else "linear"},
        "hovermode": "x unified",
        "hoverdistance": 30,
        "margin": {"l": 55, "r": 12, "t": 30, "b": 45},
        "legend": {"orientation": "h", "yref": "container", "y": 0, "yanchor": "bottom", "x": 0},
        "height": PLOT_HEIGHT_PX + LEGEND_ROW_PX * max(0, len(curve.series) - ROLES_IN_A_ROW),
        "showlegend": True,
    }
    if curve.x_names:
        places = list(range(1, len(curve.x_names) + 1))
        layout["xaxis"] |= {"tickvals": places, "ticktext": list(curve.x_names), "tickangle": -90}
        layout["xaxis"] |= {"tickfont": {"size": 10}, "title": {"text": ""}}  # it would lie on the names
        layout["height"] += NAMES_HEIGHT_PX
    return {"data": data, "layout": layout}


def _trace(series: Series, number: int, curve: Curve) -> dict[str, Any]:
    limit = series.role == "limit"
    marked = series.x.size <= MARKED_POINTS and not limit
    values = {"name": series.name, "meta": series.role, "x": _short(series.x.tolist()), "y": _short(series.y.tolist())}
    if curve.drawn == "bars":
        return {"type": "bar", **values, "hovertemplate": "%{y:.4g}"}
    if curve.drawn == "points":
        return {"type": "scatter", "mode": "markers", **values, "marker": {"size": 7}, "hovertemplate": "%{y:.4g}"}
    return {
        "type": "scatter",
        "mode": "lines+markers" if marked else "lines",
        **values,
        "line": {"width": 1.8, "dash": "dot" if limit else PLOTLY_DASHES[number % len(PLOTLY_DASHES)]},
        "marker": {"size": 6},
        "hovertemplate": "%{y:.4g}",
        **({"hoverinfo": "skip", "hovertemplate": None} if limit else {}),
    }


def _section(curve: Curve, level: int, with_hover: bool) -> str:
    title, sentence = html.escape(curve.title), html.escape(curve.sentence)
    what = f"{curve.title}: {curve.y_title} over {curve.x_title}; {', '.join(s.name for s in curve.series)}"
    still = image_tag(curve_figure(curve), what)
    live = ""
    if with_hover:
        values = json.dumps(plotly_description(curve), allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
        label = html.escape(what, quote=True)
        live = (
            f'<script type="application/json">{values}</script>'
            f'<div class="live" id="plot-{html.escape(curve.id, quote=True)}" role="group" aria-label="{label}" hidden>'
            "</div>"
        )
    text = f"<h{level}>{title}</h{level}><p>{sentence}</p>"
    return f'<section>{text}<figure class="plot">{live}{still}</figure></section>'


@lru_cache(maxsize=1)
def _plotly_script() -> str | None:
    """Return Plotly's own JavaScript for a page, packed to two fifths of its size; None where it is not installed."""
    try:
        from plotly.offline import get_plotlyjs
    except ImportError:
        return None
    packed = base64.b64encode(gzip.compress(get_plotlyjs().encode("utf-8"), 9, mtime=0)).decode("ascii")
    return f'<script type="application/gzip" id="plotly">{packed}</script>'


def _decades(curve: Curve) -> float:
    from math import log10

    low, high = min(s.y.min() for s in curve.series), max(s.y.max() for s in curve.series)
    return log10(high / low) if low > 0 else 0.0


def _short(values: list[float]) -> list[float]:
    return [float(f"{value:.{SIGNIFICANT_DIGITS}g}") for value in values]
