"""The report of the travelling-subject evaluation: Markdown tables, one HTML page, and lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from MRHarmonizationLib.evaluation.dwi_protocol import DwiProtocol
from MRHarmonizationLib.evaluation.dwi_protocol_cases import APART_MM, PARENCHYMA_SHARE, TISSUE_SHARE
from MRHarmonizationLib.evaluation.dwi_protocol_measures import REFERENCE_B
from MRHarmonizationLib.evaluation.dwi_protocol_methods import CONTROL, LEARNED, RAW, REFERENCE
from MRHarmonizationLib.evaluation.dwi_protocol_tables import (
    ERRORS,
    JUDGED_VARIATIONS,
    LESION_SUMS,
    SIMILARITIES,
    stricter,
)
from MRHarmonizationLib.evaluation.html import HtmlPage
from MRHarmonizationLib.evaluation.lesion_overlap import THRESHOLD_RULE
from MRHarmonizationLib.evaluation.tables import text_table

VARIATION_TITLES: Mapping[str, str] = {
    "b0": "b0",
    "shell": "trace, scanners of one b",
    "referred": f"trace referred to b {REFERENCE_B:g}",
    "trace": "trace, b of each scanner",
}
NOTES: Mapping[str, str] = {
    "Variation between the scanners": (
        "Coefficient of variation, %, between the scanners, of the mean of true white matter, grey matter and fluid "
        f"(voxels of at least {100 * TISSUE_SHARE:g} % of one tissue, outside lesions), averaged over the three. "
        "Traces are geometric means over the directions. Scanners with other b-values have other traces, the canonical "
        "scan too: its row is what remains of an ideal harmonisation. 'Trace referred': b0 times (trace over b0) to "
        f"the power {REFERENCE_B:g}/b, voxel by voxel. Raw scans are in the scanners' units; 'scaled': every image "
        "divided by its own median in the brain. Fall: against whichever of the two raw rows varies less. Methods "
        "whose strength was lowered stay between two units, so that their scaled images are shown too."
    ),
    "Similarity to the canonical scan": (
        "In the brain with its fluid, volume by volume, on the .5 to 99.5 % range of the canonical volume there; SSIM "
        "in three dimensions, Gaussian window, σ 1.5 voxels. b0: an unweighted volume, DW: weighted ones. Own units: "
        "as the method gives them. Best factor: after the one factor for the whole scan that brings it closest to the "
        "canonical scan; scans that were not brought to any unit are judged by it alone."
    ),
    "Tensor": (
        "Mean absolute error of FA and of MD (10⁻³ mm²/s) against the tensors the brain was made of, averaged over "
        "each voxel with the weight of their unweighted signal; in white matter outside lesions, and in voxels of at "
        f"least {100 * PARENCHYMA_SHARE:g} % brain without fluid. Bias: mean error in white matter. The canonical "
        "scan's own error (its tensor fit, without noise) is the least that its resolution and weighting allow."
    ),
    "Lesions": (
        THRESHOLD_RULE + " Dice: overlap of the segmentation with the one that the same rule finds in the canonical "
        "scan, 0 where the lesion differs from its ring in the other direction; kept: with the one before "
        "harmonisation, noise taken off. Lost: less than half of the contrast against "
        "its surroundings in the canonical scan (lost by harmonising: before it); flipped: the other sign. Images in "
        f"canonical units by the best factor. Lesions of one kind lie at least {APART_MM:g} mm from the other's. "
        "Counts are sums over scanners and images, mean over brains."
    ),
    "Safety": (
        "Brain found: share of the true brain in the mask that harmonisation found, least of the scanners; MD and FA "
        "are fitted in the mask alone. Strength that was left of 1, largest change of mean MD and FA in white matter "
        "or brain, as harmonisation "
        "itself measures them. A refused scan counts as it is without noise."
    ),
}


def score_tables(summary: Mapping[str, Any], protocol: DwiProtocol) -> dict[str, list[dict[str, Any]]]:
    """Return the tables by their titles (keys of :data:`NOTES`), one flat row per method, for printing."""
    methods = summary["methods"]
    tables: dict[str, list[dict[str, Any]]] = {title: [] for title in NOTES}
    for name, entry in methods.items():
        scores = entry["scores"]
        tables["Variation between the scanners"] += _variation_rows(name, entry, summary)
        similar: dict[str, Any] = {"method": name}
        for ending, units in (("", "own units"), ("_scaled", "best factor")):
            for score in SIMILARITIES:
                measure, shell = score.split("_")
                title = f"{measure.upper()} {shell if shell == 'b0' else 'DW'}, {units}"
                similar[title] = _mean_sd(scores[score + ending], 2 if measure == "psnr" else 3)
        if entry["kind"] != REFERENCE:
            tables["Similarity to the canonical scan"].append(similar)
        titles = dict(zip(ERRORS, ("FA, white", "FA, brain", "MD, white", "MD, brain"), strict=True))
        tensor = {"method": name} | {t: _mean_sd(scores[key], 4) for key, t in titles.items()}
        tensor["FA bias"], tensor["MD bias"] = (_mean_sd(scores[f"{m}_bias_white"], 4) for m in ("fa", "md"))
        tables["Tensor"].append(tensor)
        if protocol.lesion_images:
            tables["Lesions"].append(_lesion_row(name, scores, protocol))
        if entry["kind"] not in (REFERENCE,) and name != RAW:
            tables["Safety"].append(_safety_row(name, entry))
    return {title: rows for title, rows in tables.items() if rows}


def _variation_rows(name: str, entry: Mapping[str, Any], summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for ending in ("", "_scaled") if name == RAW or entry["reduced"] else ("",):
        row: dict[str, Any] = {"method": f"{name}, scaled" if ending else name}
        for key, title in VARIATION_TITLES.items():
            row[title] = _mean_sd(entry["scores"][f"cv_{key}{ending}"], 1)
        reductions = summary.get("reduction", {}).get(name)
        for key in JUDGED_VARIATIONS:
            fall = None if reductions is None or name == RAW or ending else stricter(reductions, key)
            row[f"fall, {key}"] = "" if fall is None else f"{fall:+.0f} %"
        rows.append(row)
    return rows


def _lesion_row(name: str, scores: Mapping[str, Any], protocol: DwiProtocol) -> dict[str, Any]:
    row: dict[str, Any] = {"method": name}
    for kind, images in protocol.lesion_images.items():
        for image in images:
            row[f"Dice {kind}, {image}"] = _mean_sd(scores[f"{kind}_{image}_dice"], 3)
            row[f"kept {kind}, {image}"] = _mean_sd(scores[f"{kind}_{image}_dice_kept"], 3)
    counts = {key: scores[key]["mean"] for key in LESION_SUMS}
    row["lesions"] = _share(counts["lesions"], None)
    row["lost of visible"] = _share(counts["lost"], counts["visible"])
    row["flipped"] = _share(counts["flipped"], None)
    row["lost by harmonising"] = _share(counts["lost_kept"], counts["visible_kept"])
    return row


def _safety_row(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    scores = entry["scores"]
    return {
        "method": name,
        "scans": entry["scans"],
        "least brain found": _mean_sd(scores["brain_found"], 3),
        "strength": _mean_sd(scores["strength"], 3),
        "reduced": entry["reduced"],
        "refused": entry["refused"],
        "largest MD change, %": _number(scores["md_change_percent"]["worst"], 2),
        "largest FA change": _number(scores["fa_change"]["worst"], 4),
        "b-values and directions kept": entry["gradients_kept"],
    }


def markdown_tables(summary: Mapping[str, Any], protocol: DwiProtocol) -> str:
    """Return all tables as Markdown."""
    parts = [f"{_setting(summary, protocol)}\n"]
    for title, rows in score_tables(summary, protocol).items():
        columns = list(rows[0])
        lines = [f"**{title}**", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        lines += ["| " + " | ".join(str(row[column]) for column in columns) + " |" for row in rows]
        parts.append("\n".join(lines) + f"\n\n{NOTES[title]}\n")
    return "\n".join(parts)


def dwi_page(protocol: DwiProtocol, summary: Mapping[str, Any], pictures: Sequence[tuple[str, bytes]]) -> str:
    """Return the report as one self-contained page.

    Parameters
    ----------
    protocol : DwiProtocol
    summary : mapping
        As written to ``summary.json``.
    pictures : sequence of (caption, PNG)
    """
    page = HtmlPage(
        protocol.title, f"protocol {protocol.name} version {protocol.version}; {_setting(summary, protocol)}"
    )
    if summary["quick"]:
        page.paragraph("This is the quick part of the protocol: a trial of the machinery, not a figure.", note=True)
    learned = {name for name, entry in summary["methods"].items() if entry["kind"] == LEARNED}
    if not learned:
        page.paragraph("No learned harmoniser took part: there is nothing to hold to the bars.", note=True)
    page.heading("Bars")
    page.table(summary["bars"])
    for title, rows in score_tables(summary, protocol).items():
        page.heading(title)
        page.paragraph(NOTES[title])
        page.table(rows, [n for n, row in enumerate(rows) if row["method"] in learned])
    page.heading("Pictures")
    for caption, png in pictures:
        page.picture(png, caption)
    return page.render()


def text_lines(summary: Mapping[str, Any], protocol: DwiProtocol) -> list[str]:
    """Return the tables and the verdicts as lines of text."""
    lines = [_setting(summary, protocol), ""]
    for title, rows in score_tables(summary, protocol).items():
        lines += [title, *text_table(rows), ""]
    for bar in summary["bars"]:
        reached = "nothing" if bar["reached"] is None else f"{bar['reached']:.3g}"
        against = f" (against {bar['against']})" if bar["against"] else ""
        met = "met" if bar["met"] else "NOT met"
        lines.append(f"{bar['method']}: {bar['bar']}: {reached}, required {bar['required']:.3g}{against}: {met}")
    return lines


def picture_methods(summary: Mapping[str, Any]) -> list[str]:
    """Return the columns of the pictures: raw, the best classical method, learned ones, the canonical scan."""
    methods = summary["methods"]
    best = summary["best"].get("psnr_dw")
    classical = [best] if best is not None and methods[best]["kind"] != CONTROL else []
    learned = [name for name, entry in methods.items() if entry["kind"] == LEARNED]
    ideal = [name for name, entry in methods.items() if entry["kind"] == REFERENCE]
    return [*([RAW] if RAW in methods else []), *classical, *learned, *ideal]


def _setting(summary: Mapping[str, Any], protocol: DwiProtocol) -> str:
    return (
        f"{summary['subjects']} unseen brains of {protocol.brain_mm:g} mm on {len(protocol.scanner_names)} scanners, "
        f"{protocol.directions} directions each; mean ± SD over brains"
    )


def _mean_sd(value: Mapping[str, float | None], digits: int) -> str:
    if value["mean"] is None:
        return ""
    spread = "" if value["sd"] is None else f" ± {value['sd']:.{digits}f}"
    return f"{value['mean']:.{digits}f}{spread}"


def _share(count: float | None, of: float | None) -> str:
    if count is None:
        return ""
    return f"{count:.1f}" if of is None else f"{count:.1f} of {of:.1f}"


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"
