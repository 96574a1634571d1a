"""The report of the brain's 32 structures: one HTML page, one figure, and lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from MRHarmonizationLib.core.brain_regions import LEAST_REFERENCE_MM3, REGIONS
from MRHarmonizationLib.evaluation.html import HtmlPage
from MRHarmonizationLib.evaluation.laboratory_figures import COLOURS, new_figure, png
from MRHarmonizationLib.evaluation.lohires_tables import text
from MRHarmonizationLib.evaluation.regions_protocol import RegionsProtocol
from MRHarmonizationLib.evaluation.tables import text_table

NOTE = (
    "Label maps of subjects that no network was trained on, turned into images: every tissue of any brightness, with "
    "texture; simulated 64 mT scans are brought to 1 mm by cubic interpolation. Dice: overlap of the segmentation with "
    "the map, mean ± SD over subjects, each the mean of its images. Volume error: mean absolute relative error over "
    f"structures of at least {LEAST_REFERENCE_MM3:g} mm³. The images are simulated; figures on acquired scans will be "
    "lower."
)


def set_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one flat row per set."""
    return [
        {
            "images": entry["title"],
            "subjects": entry["subjects"],
            "scans": entry["images"],
            "mean Dice": text(entry["mean_dice"], 3),
            "required": "" if entry["bar"] is None else f"{entry['bar']:.2f}",
            "met": "" if entry["met"] is None else entry["met"],
            "volume error, %": text(entry["volume_error_percent"], 1),
        }
        for entry in summary["sets"]
    ]


def structure_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one flat row per structure: Dice in every set."""
    return [
        {
            "number": region.number,
            "structure": region.name,
            **{entry["title"]: text(entry["regions"][place], 3) for entry in summary["sets"]},
        }
        for place, region in enumerate(REGIONS)
    ]


def regions_page(protocol: RegionsProtocol, summary: Mapping[str, Any], picture: bytes) -> str:
    """Return the report as one self-contained page."""
    lead = f"protocol {protocol.name} version {protocol.version}, seed {protocol.seed}; model {protocol.model} "
    page = HtmlPage(protocol.title, lead + f"({summary['weights'][:12]})")
    if summary["quick"]:
        page.paragraph("This is the quick part of the protocol: a trial of the machinery, not a figure.", note=True)
    page.heading("Overlap")
    page.paragraph(NOTE)
    page.table(set_rows(summary))
    page.heading("Structures")
    page.table(structure_rows(summary))
    page.picture(picture, "Dice of every structure, mean and standard deviation over subjects")
    return page.render()


def text_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the tables and the verdicts as lines of text."""
    lines = [*text_table(structure_rows(summary)), "", *text_table(set_rows(summary)), ""]
    for entry in summary["sets"]:
        if entry["bar"] is not None:
            met = "met" if entry["met"] else "NOT met"
            lines.append(f"{entry['title']}: mean Dice {text(entry['mean_dice'], 3)}, required {entry['bar']:g}: {met}")
    return lines


def dice_figure(summary: Mapping[str, Any]) -> bytes:
    """Draw the Dice of every structure in every set, mean and standard deviation over subjects, as PNG bytes."""
    figure = new_figure(7.0, 0.26 * len(REGIONS) + 1.0)
    axes = figure.add_subplot()
    for number, entry in enumerate(summary["sets"]):
        shift = 0.2 * (number - (len(summary["sets"]) - 1) / 2)
        rows = [(n, row) for n, row in enumerate(entry["regions"]) if row["mean"] is not None]
        known = [(n + shift, row["mean"], row["sd"] or 0.0) for n, row in rows]
        if known:
            places, means, spreads = (np.array(column) for column in zip(*known, strict=True))
            colour = COLOURS[number % len(COLOURS)]
            axes.errorbar(means, places, xerr=spreads, fmt="o", markersize=3, color=colour, label=entry["title"])
    axes.set_yticks(range(len(REGIONS)), [region.name for region in REGIONS], fontsize=8)
    axes.set_ylim(len(REGIONS) - 0.4, -0.6)
    axes.set_xlim(0, 1)
    axes.set_xlabel("Dice")
    axes.grid(axis="x", linewidth=0.4)
    axes.legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0, 1))
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)
