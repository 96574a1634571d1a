"""The HTML report of the low-field evaluation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MRHarmonizationLib.evaluation.html import HtmlPage
from MRHarmonizationLib.evaluation.lowfield_protocol import LowFieldProtocol
from MRHarmonizationLib.evaluation.tables import score_rows

METHOD_NOTE = (
    "PSNR and SSIM are measured inside the mask of each group on the truth's .5 to 99.5 % intensity range; SSIM is "
    "the mean of the three-dimensional map (Gaussian window, σ 1.5 voxels). The classical methods are tuned per "
    "acquisition on subjects that are not tested on, and may use the true noise level. The gain is over the classical "
    "method with the best mean of the row's group and acquisition; the worst gain is over the best classical method "
    "of the same case."
)


def lowfield_page(protocol: LowFieldProtocol, summary: Mapping[str, Any], pictures: Sequence[Path]) -> str:
    """Return the report as one self-contained page.

    Parameters
    ----------
    protocol : LowFieldProtocol
    summary : mapping
        As written to ``summary.json``.
    pictures : sequence of Path
        PNG files to embed; the file names are the captions.
    """
    models = ", ".join(f"{name} ({sha[:12]})" for name, sha in summary["weights"].items()) or "no model"
    page = HtmlPage(protocol.title, f"protocol {protocol.name} version {protocol.version}; {models}")
    if summary["quick"]:
        page.paragraph("This is the quick part of the protocol: a trial of the machinery, not a figure.", note=True)
    _verdicts(page, summary)
    page.heading("Scores")
    page.paragraph(METHOD_NOTE)
    for group in protocol.groups:
        rows = [row for row in score_rows(summary) if row["group"] == group.id]
        page.paragraph(f"{group.id}: {group.title}")
        page.table(rows, [n for n, row in enumerate(rows) if row["method"] in protocol.models])
    page.heading("Significance")
    page.table(_significance(summary))
    if summary["lesions"]["rows"]:
        page.heading("Lesions")
        page.paragraph(
            "Contrast of lesions of at least 30 mm³ against their surroundings, as a share of what the degraded scan "
            "shows when it is interpolated (retention) and of the undegraded image (retention_of_truth)."
        )
        if any(not verdict["subject_held_out"] for verdict in summary["lesions"]["bars"]):
            page.paragraph("The subject of this check was trained on: the figures are optimistic.", note=True)
        page.table(summary["lesions"]["rows"])
    if summary["native"]:
        page.heading("Native thick-slice scans")
        page.paragraph(
            "No truth exists here. Consistency: error after measuring the result again with the scan's slices, beside "
            "that of cubic interpolation. end_change: change near the ends of the stack over that in the middle."
        )
        page.table(summary["native"])
    page.heading("Pictures")
    for picture in pictures:
        page.picture(picture.read_bytes(), picture.stem)
    page.heading("Tuned parameters of the classical methods")
    page.table(
        [
            {
                "acquisition": acquisition,
                "method": method,
                "parameters": ", ".join(f"{k} {v}" for k, v in found.items()),
            }
            for acquisition, methods in summary["tuned"].items()
            for method, found in methods.items()
        ]
    )
    return page.render()


def _verdicts(page: HtmlPage, summary: Mapping[str, Any]) -> None:
    if summary["bars"] or summary["lesions"]["bars"]:
        page.heading("Bars")
        page.table(summary["bars"])
        page.table(summary["lesions"]["bars"])


def _significance(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "group": cell["group"],
            "acquisition": cell["acquisition"],
            "cases": cell["cases"],
            "subjects": cell["subjects"],
            "model": model,
            "metric": metric,
            "gain": gain["mean"],
            "SD": gain["sd"],
            "over": gain["best_classical"],
            "worst": gain["worst"],
            "worst case": gain["worst_case"],
            "Wilcoxon p": gain["wilcoxon_p"],
        }
        for cell in summary["cells"]
        for model, gains in cell["gains"].items()
        for metric, gain in gains.items()
    ]
