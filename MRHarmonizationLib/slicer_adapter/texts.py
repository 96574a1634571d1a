"""What the panel says: short texts made from cards, grids and measurements. No Slicer, no Qt."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.methods.reference_group import ReferenceGroup
from MRHarmonizationLib.slicer_adapter.measures import BeforeAfter
from MRHarmonizationLib.slicer_adapter.metric_rows import MetricRow
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.weights.card import Card

GOOD, BAD, WRONG, QUIET = "#2e8b57", "#b9770e", "#c94f3d", "#808080"
"""Colours readable on light and dark panels."""

LEAST_CHANGE = 0.05
"""Share by which a distance must change to count as better or worse."""

SHOWN_SCORES = 4
"""Scores of a card shown at once; the others are in the tooltip."""

_DIRECTIONS = {
    "R": "left–right",
    "L": "left–right",
    "A": "front–back",
    "P": "front–back",
    "S": "head–foot",
    "I": "head–foot",
}
_METRIC_NAMES = {
    "psnr": "PSNR",
    "ssim": "SSIM",
    "noise": "Noise",
    "sharpness": "Sharpness",
    "distance_histogram": "Histogram",
    "distance_edges": "Borders",
    "distance_spectrum": "Spectrum",
}
_METRIC_HELP = {
    "psnr": "closeness to the reference; higher is better",
    "ssim": "likeness of structure to the reference, 1 is identical",
    "noise": "estimated noise, in per cent of the intensity range; lower is better",
    "sharpness": "mean edge strength; higher is sharper",
    "distance_histogram": "distance of the histograms' shapes; lower is more alike",
    "distance_edges": "between which intensities borders lie, compared with the reference; lower is more alike",
    "distance_spectrum": "detail of which size there is, compared with the reference; lower is more alike",
}


def grid_text(grid: Grid) -> str:
    """Return size and spacing of a volume, and the direction of its thick slices if it has any.

    Examples
    --------
    >>> grid_text(Grid.from_parts((28, 120, 112), (1.6, 1.6, 5.0)))
    '112 × 120 × 28 voxels of 1.60 × 1.60 × 5.00 mm, thick slices head–foot'
    """
    size = " × ".join(str(count) for count in grid.size_ijk)
    spacing = " × ".join(f"{value:.2f}" for value in grid.spacing_mm)
    text = f"{size} voxels of {spacing} mm"
    thick = grid.thick_axis
    if grid.spacing_mm[thick] > 1.5 * min(grid.spacing_mm):
        text += f", thick slices {_DIRECTIONS[grid.axis_codes[thick]]}"
    return text


def card_text(card: Card) -> str:
    """Return what a user should know of a model before choosing it, as rich text; :func:`card_help` says the rest."""
    lines = [html.escape(card.summary)]
    domain = card.domain
    made_for = [", ".join(domain.modalities), domain.body_part]
    if math.isfinite(domain.slice_spacing_mm[1]):
        made_for.append("slices {:g}–{:g} mm".format(*domain.slice_spacing_mm))
    if math.isfinite(domain.inplane_mm[1]):
        made_for.append("in plane {:g}–{:g} mm".format(*domain.inplane_mm))
    said = "; ".join(html.escape(part) for part in made_for if part)
    if said:
        lines.append(f"<i>Made for</i> {said}.")
    scores = _flat(card.scores)
    if scores:
        lines.append(f"<i>Measured</i> {html.escape(scores_text(scores[:SHOWN_SCORES]))}.")
    if card.limitations:
        lines.append("<i>Limits</i> are listed when the pointer rests here.")
    return "<br>".join(lines)


def card_help(card: Card) -> str:
    """Return everything else a card says, as plain text of several lines."""
    lines = [f"{card.title}, version {card.version}, licence {card.licence}"]
    if card.limitations:
        lines += ["", "Limits:", *(f"• {text}" for text in card.limitations)]
    scores = _flat(card.scores)
    if scores:
        lines += ["", "Measured:", *(f"• {name} {_number(value)}" for name, value in scores)]
    return "\n".join(lines)


def group_text(group: ReferenceGroup) -> str:
    """Return what a user should know of a reference group, as rich text; its notes are told apart."""
    people = "an unknown number of people" if group.subjects is None else _counted(group.subjects, "person", "people")
    fine, coarse = (" × ".join(f"{mm:.2g}" for mm in spacing) for spacing in (group.finest_mm, group.coarsest_mm))
    lines = [
        f"{_counted(group.cases, 'scan', 'scans')} of {people}, voxels {fine} to {coarse} mm.",
    ]
    if group.notes:
        lines.append("<i>Notes</i> are listed when the pointer rests here.")
    return "<br>".join(lines)


def scores_text(scores: Sequence[tuple[str, Any]]) -> str:
    """Return named numbers in one line."""
    return ", ".join(f"{name} {_number(value)}" for name, value in scores)


def measures_text(measures: Sequence[BeforeAfter], held_against: str = "") -> str:
    """Return a small table of measurements before and after, as rich text.

    Parameters
    ----------
    measures : sequence of BeforeAfter
    held_against : str
        Name of the reference, if there is one.
    """
    title = (
        f"Held against <b>{html.escape(held_against)}</b>, inside the head"
        if held_against
        else "Estimated in the middle of the volume"
    )
    return _measures_table(measures, title)


def distances_text(measures: Sequence[BeforeAfter], reference: str, place: str) -> str:
    """Return a small table of distances to a reference before and after, as rich text.

    Parameters
    ----------
    measures : sequence of BeforeAfter
    reference : str
        Id of the group.
    place : str
        Where it was measured.
    """
    title = f"Distance to <b>{html.escape(reference)}</b>, {html.escape(place)}"
    return _measures_table(measures, title, LEAST_CHANGE)


def _measures_table(measures: Sequence[BeforeAfter], title: str, least_change: float = 0.0) -> str:
    if not measures:
        return ""
    rows = [
        "<tr><td></td><td align='right'><i>before</i>&nbsp;</td><td align='right'>&nbsp;<i>after</i></td><td></td></tr>"
    ]
    for item in measures:
        name = html.escape(_METRIC_NAMES.get(item.name, item.name))
        unit = "" if item.unit == "1" else html.escape(item.unit)
        same = abs(item.after - item.before) <= least_change * abs(item.before)
        colour = "" if same else f" style='color:{GOOD if item.improved else BAD}'"
        after = f"<b{colour}>{_number(item.after)}</b>"
        cells = (f"{name}&nbsp;&nbsp;", f"{_number(item.before)}&nbsp;", f"&nbsp;{after}")
        aligned = "".join(f"<td align='{'left' if i == 0 else 'right'}'>{cell}</td>" for i, cell in enumerate(cells))
        rows.append(f"<tr>{aligned}<td>&nbsp;{unit}</td></tr>")
    return f"<span style='color:{QUIET}'>{title}</span><table cellspacing='2'>{''.join(rows)}</table>"


def measures_help(measures: Sequence[BeforeAfter]) -> str:
    """Return what the shown measurements mean, one line each."""
    return "\n".join(f"{_METRIC_NAMES[m.name]}: {_METRIC_HELP[m.name]}" for m in measures if m.name in _METRIC_HELP)


def metric_help(row: MetricRow) -> str:
    """Return what a measurement means: the first paragraph of its metric's documentation, and where it was taken."""
    from MRHarmonizationLib.metrics.base import METRICS

    try:
        text = (METRICS.get(row.name).__doc__ or "").strip()
    except MRHarmonizationError:
        text = ""
    better = {"higher": "Higher is better.", "lower": "Lower is better."}.get(
        row.better, "Neither direction is better."
    )
    first = " ".join(text.split("\n\n")[0].split())
    return " ".join(part for part in (first, better, f"{row.voxels:,} voxels.") if part)


def warnings_text(warnings: Iterable[str]) -> str:
    """Return warnings as one text, each on a line of its own."""
    return "\n".join(f"⚠ {sentence(text)}" for text in warnings)


def sentence(text: str) -> str:
    """Return a text with a capital at its start and a full stop at its end."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith(('.', '?', '!')) else '.'}" if text else ""


def duration_text(seconds: float) -> str:
    """Return a duration as people say it.

    >>> duration_text(7.2), duration_text(83)
    ('7 s', '1 min 23 s')
    """
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _number(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for key, value in values.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            found += _flat(value, f"{name} ")
        elif isinstance(value, (int, float, str)) and not isinstance(value, bool):
            found.append((name, value))
    return found
