"""The evaluation of the specialists: every scan and method, tables, verdicts, figures, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.cached_rows import finished_rows, run_and_keep
from MRHarmonizationLib.evaluation.html import HtmlPage
from MRHarmonizationLib.evaluation.protocol import PROTOCOL_KINDS, EvaluationResult
from MRHarmonizationLib.evaluation.report import make_folder
from MRHarmonizationLib.evaluation.subtle_cases import case_name, case_task, fingerprint
from MRHarmonizationLib.evaluation.subtle_figures import Figure, agreement_figures, box_figures
from MRHarmonizationLib.evaluation.subtle_protocol import DETAIL, NOISE, Entrant, SubtleProtocol
from MRHarmonizationLib.evaluation.subtle_tables import agreement_rows, paired_rows, score_rows, verdicts
from MRHarmonizationLib.evaluation.tables import text_table
from MRHarmonizationLib.evaluation.tasks import Task
from MRHarmonizationLib.volumes.atomic import write_bytes_atomic, write_csv, write_json_atomic, write_text_atomic

CASES_FILE = "cases.csv"
NOTES = {
    "Scores": (
        "Means over persons, each the mean of its judged slices. PSNR and SSIM (two-dimensional, Gaussian window, "
        "σ 1.5 pixels) inside the head, on the truth's .5 to 99.5 % intensity range; PIQE looks at the result alone, 0 "
        "is best, and smoothness can lower it. Non-local means and total variation get, for every single scan, the "
        "strength that suits it best; networks and classical methods are told the true noise level alike. Coarse scans "
        "are measured with half the matrix within planes and brought to the fine grid by cubic splines, on which all "
        "networks work. The general network is told that the coarse scan was interpolated from half its matrix; its "
        "card may name another model for the detail of such planes, which then takes part."
    ),
    "Agreement": (
        "SSIM slice by slice: second against first. Slices of one head are not independent; intervals over subjects "
        "come from a bootstrap that draws whole subjects (Field & Welsh 2007) and, with few of them, are still too "
        "narrow. Limits of agreement: bias ± 1.96 SD."
    ),
    "Paired tests": (
        "Second minus first. Over subjects (means of their slices), with p values corrected for their number (Holm), "
        "and over slices as the paper made them, whose p values are too small. Wilcoxon needs six pairs. Few subjects: "
        "a difference that is not significant is not shown to be absent."
    ),
    "Trainings": (
        "acquired: pairs whose low-quality scans were simulated by the physics of the measurement, unless the networks "
        "were trained on pairs of your own; synthetic: pairs whose low-quality scans a degrader made; combined: both. "
        "naive: trained on acquired pairs that lie {shift:g} mm beside each other; distilled: on the same pairs, with "
        "the answers of a teacher as soft targets; synthetic pairs are aligned by the way they are made."
    ),
}


@PROTOCOL_KINDS.register("subtle")
def run_subtle(
    values: Mapping[str, Any],
    data: Path,
    out: Path,
    *,
    quick: bool,
    models: tuple[str, ...] | None,
    jobs: int,
    retune: bool,
    progress: Progress,
) -> EvaluationResult:
    """Run the specialists' protocol; see :func:`MRHarmonizationLib.evaluation.protocol.run_protocol`.

    What was judged before with the same settings and weights is not run again. ``models`` limits the networks.
    """
    protocol = SubtleProtocol.from_dict(values, quick)
    entered: dict[str, tuple[Entrant, ...]] = {}
    missing: list[str] = []
    for task in (NOISE, DETAIL):
        entered[task], lacking = protocol.entrants(task, models)
        missing += [name for name in lacking if name not in missing]
    rows = _rows(protocol, entered, data, out, jobs, progress.part(0.0, 0.97))
    progress.report(0.97, "Writing the report")
    summary = {
        "protocol": protocol.name,
        "version": protocol.version,
        "quick": quick,
        "missing": missing,
        "weights": {e.model: e.weights for entrants in entered.values() for e in entrants if e.model},
        "scores": score_rows(rows),
        "agreement": agreement_rows(rows, protocol),
        "tests": paired_rows(rows, protocol),
        "bars": verdicts(rows, protocol),
    }
    figures = agreement_figures(rows, protocol) + box_figures(rows, protocol)
    paths = {"report": out / "report.html", "csv": out / CASES_FILE, "json": out / "summary.json"}
    paths["pictures"] = make_folder(out / "pictures")
    write_json_atomic(summary, paths["json"])
    for stem, _, picture in figures:
        write_bytes_atomic(picture, paths["pictures"] / f"{stem}.png")
    write_text_atomic(_page(protocol, summary, figures), paths["report"])
    progress.report(1.0, "done")
    return EvaluationResult(protocol.name, summary, paths, tuple(_text(summary)))


def _rows(
    protocol: SubtleProtocol,
    entered: Mapping[str, Sequence[Entrant]],
    data: Path,
    out: Path,
    jobs: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Return one row per judged slice of every scan and method, what is missing run and kept."""
    places = {
        (case_name(subject, scan), entrant.name): (subject, scan, entrant)
        for subject in protocol.subjects
        for scan, task in protocol.scans.items()
        for entrant in entered[task]
    }
    marks = {place: fingerprint(protocol, *what) for place, what in places.items()}
    wanted: dict[str, dict[str, str]] = {}
    for (case, method), mark in marks.items():
        wanted.setdefault(case, {})[method] = mark
    path, key = out / CASES_FILE, ("case", "method", "slice")
    found = finished_rows(path, wanted, key)
    counts: dict[tuple[str, str], int] = {}
    for row in found:
        counts[row["case"], row["method"]] = counts.get((row["case"], row["method"]), 0) + 1
    # a run that was killed may have left a method's rows in part
    whole = [row for row in found if counts[row["case"], row["method"]] == int(row["slices"])]
    done = {(row["case"], row["method"]) for row in whole}
    tasks = [
        Task(f"{place[0]} {place[1]}", case_task, (protocol, str(data), *what, marks[place]))
        for place, what in places.items()
        if place not in done
    ]
    run_and_keep(path, whole, tasks, jobs, progress)
    order = {place: number for number, place in enumerate(places)}
    complete = finished_rows(path, wanted, key)
    complete.sort(key=lambda row: (order[row["case"], row["method"]], int(row["slice"])))
    write_csv(complete, path)
    return complete


def _page(protocol: SubtleProtocol, summary: Mapping[str, Any], figures: Sequence[Figure]) -> str:
    page = HtmlPage(protocol.title, f"protocol {protocol.name} version {protocol.version}")
    if summary["quick"]:
        page.paragraph("This is the quick part of the protocol: a trial of the machinery, not a figure.", note=True)
    if summary["missing"]:
        page.paragraph(_missing_words(summary), note=True)
    page.heading("What was required")
    page.table(summary["bars"])
    page.paragraph(NOTES["Trainings"].format(shift=protocol.misalign_mm))
    page.heading("Scores")
    page.paragraph(NOTES["Scores"])
    for scan in dict.fromkeys(row["scan"] for row in summary["scores"]):
        page.table([row for row in summary["scores"] if row["scan"] == scan])
    for heading, key in (("Agreement", "agreement"), ("Paired tests", "tests")):
        if summary[key]:
            page.heading(heading)
            page.paragraph(NOTES[heading])
            page.table(summary[key])
    for _, caption, picture in figures:
        page.picture(picture, caption)
    return page.render()


def _missing_words(summary: Mapping[str, Any]) -> str:
    return f"Not installed and therefore not judged: {', '.join(summary['missing'])}. See Training."


def _text(summary: Mapping[str, Any]) -> list[str]:
    lines = [*text_table(summary["scores"]), ""]
    for key in ("agreement", "tests"):
        if summary[key]:
            lines += [*text_table(summary[key]), ""]
    for bar in summary["bars"]:
        met = {True: "met", False: "NOT met", "": "for information"}[bar["met"]]
        required = f" (required: {bar['required']})" if bar["required"] else ""
        lines.append(f"{bar['scan']}: {bar['value']:g} {bar['what']}{required}: {met}")
    return [*lines, _missing_words(summary)] if summary["missing"] else lines
