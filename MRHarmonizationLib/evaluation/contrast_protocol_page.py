"""The report of the contrast evaluation: one HTML page, and lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MRHarmonizationLib.evaluation.contrast_protocol import ContrastProtocol
from MRHarmonizationLib.evaluation.contrast_protocol_methods import LEARNED
from MRHarmonizationLib.evaluation.contrast_protocol_tables import ALL, cell_title, score_rows
from MRHarmonizationLib.evaluation.html import HtmlPage
from MRHarmonizationLib.evaluation.lesion_overlap import THRESHOLD_RULE
from MRHarmonizationLib.evaluation.tables import text_table

SCORE_NOTE = (
    "CV: standard deviation over mean, over the alterations, of the mean of white matter, grey matter and fluid, "
    "averaged over the three. Wasserstein: distance of the histograms of the three tissues to the unaltered image's. "
    "PSNR and SSIM to the unaltered image inside the brain, on its .5 to 99.5 % range (SSIM: Gaussian window, σ 1.5 "
    "voxels, three-dimensional). Class Dice and CV of class volumes: tissue classes by a Gaussian mixture that is "
    "fitted once to the unaltered image and then stays as it is. 'unscaled': altered images as they are; 'raw': the "
    "same with air at 0 and their own 99th percentile at the reference's. n: alterations on which the method was run; "
    "slow ones are run on a part of each family, and compared with others on that part. ± over subjects. The best "
    "classical method is chosen for each score, set and group by its gain over raw images."
)
VISIT_NOTE = (
    "Both visits were moved halfway towards each other by one rigid motion, found on the scans as they are. All in "
    "shares of their range in unchanged tissue: inside of the head in both, more than 5 mm from the marked change. "
    "change: contrast of the marked change after over before; empty where it is too faint to be followed."
)
CHECK_NOTE = (
    "idempotence: mean change by harmonising again, % of full scale. reversed_order: the stack stored from its other "
    "end. shuffled_slices: slices in random order, which only methods that look at one voxel or slice at a time do "
    "not notice; empty where a method that needs a head refused. seams: how far a step between two planes stands out "
    "of those beside it."
)


def contrast_page(protocol: ContrastProtocol, summary: Mapping[str, Any], pictures: Sequence[Path]) -> str:
    """Return the report as one self-contained page.

    Parameters
    ----------
    protocol : ContrastProtocol
    summary : mapping
        As written to ``summary.json``.
    pictures : sequence of Path
        PNG files to embed; the file names are the captions.
    """
    held_out = ", ".join(protocol.held_out) or "none"
    page = HtmlPage(
        protocol.title,
        f"protocol {protocol.name} version {protocol.version}; families held out of training: {held_out}",
    )
    if summary["quick"]:
        page.paragraph("This is the quick part of the protocol: a trial of the machinery, not a figure.", note=True)
    learned = {entry["name"] for entry in summary["methods"] if entry["kind"] == LEARNED}
    if not learned:
        page.paragraph("No learned harmoniser took part: there is nothing to hold to the bars.", note=True)
    page.heading("Bars")
    page.table(summary["bars"])
    page.heading("Scores")
    page.paragraph(SCORE_NOTE)
    for cell in summary["cells"]:
        rows = score_rows(cell)
        page.table(rows, [n for n, row in enumerate(rows) if row["method"] in learned], cell_title(cell))
    for name, note in (("lesions", THRESHOLD_RULE), ("visits", VISIT_NOTE), ("checks", CHECK_NOTE)):
        if not summary[name]["rows"]:
            continue
        page.heading(name.capitalize())
        page.paragraph(note)
        if any(row.get("role") == "train" for row in summary[name]["rows"]):
            page.paragraph("This subject may be trained on: the figures may be optimistic.", note=True)
        page.table(summary[name].get("bars", []))
        page.table(summary[name]["rows"])
    page.heading("Pictures")
    for picture in pictures:
        page.picture(picture.read_bytes(), picture.stem)
    return page.render()


def text_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the tables of all contrasts together, and the verdicts, as lines of text."""
    lines = []
    for cell in summary["cells"]:
        alone = all(c["contrast"] != ALL for c in summary["cells"] if c["group"] == cell["group"])
        if alone or cell["contrast"] == ALL:
            lines += [cell_title(cell), *text_table(score_rows(cell)), ""]
    for bar in summary["bars"]:
        lines.append(
            f"{bar['group']}, families {bar['set']}: {bar['method']} {bar['bar']} {bar['reached']:.3g} (required "
            f"{bar['required']:g}, against {bar['against']}, worst subject {bar['worst subject']:.3g}): "
            f"{'met' if bar['met'] else 'NOT met'}"
        )
    for name in ("lesions", "visits"):
        lines += [f"{name}: {_verdict(bar)}" for bar in summary[name]["bars"]]
    return lines + [f"checks: {_verdict(row)}" for row in summary["checks"]["rows"]]


def _verdict(bar: Mapping[str, Any]) -> str:
    said = ", ".join(f"{key} {value}" for key, value in bar.items() if key not in ("method", "met"))
    return f"{bar['method']}: {said}: {'met' if bar['met'] else 'NOT met'}"
