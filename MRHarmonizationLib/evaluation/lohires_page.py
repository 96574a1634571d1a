"""The report of the low- to high-field protocol: one HTML page, and lines for a terminal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from MRHarmonizationLib.core.brain_regions import LEAST_REFERENCE_MM3, REGIONS
from MRHarmonizationLib.evaluation.html import HtmlPage
from MRHarmonizationLib.evaluation.lohires_cases import BASELINE
from MRHarmonizationLib.evaluation.lohires_methods import FOUNDATION, NETWORK
from MRHarmonizationLib.evaluation.lohires_morphometry import agreement_rows, method_rows, region_rows
from MRHarmonizationLib.evaluation.lohires_protocol import LohiresProtocol
from MRHarmonizationLib.evaluation.lohires_tables import paired_table, safety_rows, score_rows
from MRHarmonizationLib.evaluation.tables import text_table

NOTES = {
    "Image quality": (
        "Mean ± SD over subjects, each subject the mean of its scans. PSNR, SSIM and NRMSE against the undegraded "
        "image inside the mask (heads: the 32 structures; slabs: the tissue map) on its .5 to 99.5 % intensity range; "
        "SSIM in three dimensions, Gaussian window, σ 1.5 voxels. PIQE looks at the axial planes of the image alone, 0 "
        "is best; smoothness can lower it. The classical methods are tuned on other subjects and may use the true "
        "noise."
    ),
    "Paired tests": (
        "Over subjects: first minus second. Every method against the low-field image (cubic), every network with an "
        "adversary against the U-Net; p values of one score in one group corrected together (Holm). Wilcoxon needs six "
        "subjects. Few subjects: a difference that is not significant is not shown to be absent."
    ),
    "Flicker, consistency, lesions": (
        "Flicker: mean absolute second difference from plane to plane relative to that of the truth, along three axes; "
        "above 1 neighbouring planes disagree more than they should, below 1 the image is smoother. Step: change from "
        "plane to plane of the plane's mean error, % of the intensity range. Consistency: the image measured again as "
        "the scan was, its distance to the scan over that of the truth: 1 is as consistent as the truth, far above 1 "
        "cannot be what was scanned, below 1 keeps the scan's noise. Lesions drawn into white matter, summed over "
        "scans: lost of all (less than half of the true contrast), lost of those visible in the low-field image, and "
        "spots of at least 30 mm³ in healthy white matter that the truth has not (added)."
    ),
    "Morphometry": (
        "Volumes of the 32 structures, segmented alike in every image. Error: mean absolute relative error against the "
        "segmentation of the undegraded image, mean ± SD over subjects; fall: how much smaller than that of the "
        f"low-field image. Structures below {LEAST_REFERENCE_MM3:g} mm³ in the reference are left out. ICC(2,1) and "
        "Pearson's r over subjects, means over structures; with four subjects they are rough. Against the label map "
        "the head was made of, the segmentation's own error counts too: the row of the truth shows it."
    ),
    "Structures": "Mean relative error of the volume against the segmented truth, %, and its mean absolute value.",
}


def lohires_page(
    protocol: LohiresProtocol, summary: Mapping[str, Any], pictures: Mapping[str, Sequence[tuple[str, bytes]]]
) -> str:
    """Return the report as one self-contained page.

    Parameters
    ----------
    protocol : LohiresProtocol
    summary : mapping
        As written to ``summary.json``.
    pictures : mapping
        Section ('scores', 'volumes', 'montage') → (caption, PNG).
    """
    page = HtmlPage(protocol.title, _setting(protocol, summary))
    if summary["quick"]:
        page.paragraph("This is the quick part of the protocol: a trial of the machinery, not a figure.", note=True)
    if summary["missing"]:
        names = ", ".join(summary["missing"])
        page.paragraph(f"Not installed and therefore not judged: {names}. See Training.", note=True)
    page.heading("Summary")
    page.bullets(claim_lines(summary))
    page.table(summary["morphometry"].get("bars", []))
    page.heading("Image quality")
    page.paragraph(NOTES["Image quality"])
    for entry in summary["groups"]:
        rows = score_rows(summary, entry["group"])
        page.paragraph(_group_words(entry))
        page.table(rows, _learned(rows, entry))
    for caption, png in pictures.get("scores", ()):
        page.picture(png, caption)
    page.heading("Flicker, consistency, lesions")
    page.paragraph(NOTES["Flicker, consistency, lesions"])
    for entry in summary["groups"]:
        rows = safety_rows(summary, entry["group"])
        page.paragraph(entry["group"])
        page.table(rows, _learned(rows, entry))
    _morphometry(page, protocol, summary, pictures)
    page.heading("Paired tests")
    page.paragraph(NOTES["Paired tests"])
    page.table(paired_table([*summary["tests"], *summary["morphometry"].get("tests", [])]))
    page.heading("Training")
    page.paragraph(summary["budget"])
    page.table(summary["training"])
    page.heading("Pictures")
    for caption, png in pictures.get("montage", ()):
        page.picture(png, caption)
    return page.render()


def _morphometry(
    page: HtmlPage,
    protocol: LohiresProtocol,
    summary: Mapping[str, Any],
    pictures: Mapping[str, Sequence[tuple[str, bytes]]],
) -> None:
    found = summary["morphometry"]
    page.heading("Morphometry")
    if "missing" in found:
        page.paragraph(found["missing"], note=True)
        return
    page.paragraph(f"Segmented by: {found['segmenter']}. {NOTES['Morphometry']}")
    page.table(method_rows(found))
    page.heading("Structures", 3)
    page.paragraph(NOTES["Structures"])
    page.table(region_rows(found))
    for name in (BASELINE, protocol.foundation, protocol.model_of(protocol.proposed)):
        if name in found["regions"]:
            page.heading(f"Agreement with the truth: {name}", 3)
            page.table(agreement_rows(found, name))
    page.heading("Dice with the label map", 3)
    page.table(
        [
            {"structure": r.name, **{name: _dice(values[r.number]) for name, values in found["dice"].items()}}
            for r in REGIONS
        ]
    )
    for caption, png in pictures.get("volumes", ()):
        page.picture(png, caption)


def text_lines(protocol: LohiresProtocol, summary: Mapping[str, Any]) -> list[str]:
    """Return the tables and the verdicts as lines of text."""
    lines = [_setting(protocol, summary), ""]
    for entry in summary["groups"]:
        lines += [_group_words(entry), *text_table(score_rows(summary, entry["group"])), ""]
        lines += [*text_table(safety_rows(summary, entry["group"])), ""]
    found = summary["morphometry"]
    if "missing" in found:
        lines += [f"Morphometry: {found['missing']}", ""]
    else:
        lines += [f"Morphometry, segmented by: {found['segmenter']}", *text_table(method_rows(found)), ""]
    lines += [summary["budget"], *text_table(summary["training"]), ""]
    lines += claim_lines(summary)
    for bar in found.get("bars", []):
        reached = "nothing" if bar["reached"] is None else f"{bar['reached']:.0f}"
        met = "met" if bar["met"] else "NOT met"
        lines.append(f"{bar['method']}: {bar['bar']}: {reached}, required {bar['required']:g}: {met}")
    return lines


def claim_lines(summary: Mapping[str, Any]) -> list[str]:
    """Return the paper's claim, score by score, in words."""
    return [
        f"{claim['group']}, {claim['score']}, best first: {claim['order'] or 'no network'}. Networks with an "
        f"adversary beat the U-Net: {claim['gans_beat_unet']}. LoHiResGAN is best: {claim['lohiresgan_is_best']}."
        for claim in summary["claims"]
    ]


def _setting(protocol: LohiresProtocol, summary: Mapping[str, Any]) -> str:
    subjects = sum(entry["subjects"] for entry in summary["groups"])
    return (
        f"protocol {protocol.name} version {protocol.version}, contrast {protocol.contrast}: {subjects} unseen "
        f"subjects, SNR {', '.join(f'{snr:g}' for snr in protocol.snr)}, seed {protocol.seed}"
    )


def _group_words(entry: Mapping[str, Any]) -> str:
    return f"{entry['group']}: {entry['title']}; {entry['subjects']} subjects, {entry['scans']} scans"


def _learned(rows: Sequence[Mapping[str, Any]], entry: Mapping[str, Any]) -> list[int]:
    kinds = {name: method["kind"] for name, method in entry["methods"].items()}
    return [n for n, row in enumerate(rows) if kinds[row["method"]] in (FOUNDATION, NETWORK)]


def _dice(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
