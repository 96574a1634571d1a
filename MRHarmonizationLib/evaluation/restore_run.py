"""The evaluation of the adjustable restorer: every subject and lesion, tables, verdicts, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.html import HtmlPage
from MRHarmonizationLib.evaluation.protocol import PROTOCOL_KINDS, EvaluationResult
from MRHarmonizationLib.evaluation.report import write_csv
from MRHarmonizationLib.evaluation.restore_cases import lesion_task, subject_task
from MRHarmonizationLib.evaluation.restore_protocol import RestoreProtocol
from MRHarmonizationLib.evaluation.splits import HELD_OUT_ROLES
from MRHarmonizationLib.evaluation.tables import text_table
from MRHarmonizationLib.evaluation.tasks import Task, run_tasks
from MRHarmonizationLib.volumes.atomic import write_json_atomic, write_text_atomic
from MRHarmonizationLib.weights.store import get_model

METHOD_NOTE = (
    "PSNR and SSIM are measured inside the head on the truth's .5 to 99.5 % intensity range. Non-local means, total "
    "variation and unsharp masking are told the true noise and get, for every single scan, the strength that suits it "
    "best; the restorer estimates noise and resolution itself. Consistency is the error of the result after measuring "
    "it again, over that of the truth: 1 is as consistent with the scan as the truth is."
)


@PROTOCOL_KINDS.register("restore")
def run_restore(
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
    """Run the restorer's protocol; see :func:`MRHarmonizationLib.evaluation.protocol.run_protocol`."""
    protocol = RestoreProtocol.from_dict(values, quick)
    if models is not None:
        if len(models) > 1:
            raise ParameterError(f"{len(models)} models were named", "protocol 'restore' judges one at a time")
        protocol = replace(protocol, model=models[0] if models else "")
    weights = get_model(protocol.model).weights.sha256 if protocol.model else ""
    tasks = [Task(s.name, subject_task, (protocol, str(data), n)) for n, s in enumerate(protocol.subjects)]
    if protocol.model:
        tasks += [
            Task(f"lesions {path} {percent:g} %", lesion_task, (protocol, str(data), path, float(percent)))
            for path in protocol.lesions.get("images", ())
            for percent in protocol.lesions["noise_percent"]
        ]
    found = {task.name: result for task, result in run_tasks(tasks, jobs, progress)}
    rows = [row for task in tasks if task.function is subject_task for row in found[task.name]]
    lesions = [row for task in tasks if task.function is lesion_task for row in found[task.name]]
    summary = {
        "protocol": protocol.name,
        "version": protocol.version,
        "quick": quick,
        "model": protocol.model,
        "weights": weights,
        "scores": score_table(rows),
        "lesions": lesions,
        "bars": verdicts(rows, lesions, protocol),
    }
    paths = {"report": out / "report.html", "csv": out / "cases.csv", "json": out / "summary.json"}
    write_csv(rows, paths["csv"])
    write_json_atomic(summary, paths["json"])
    write_text_atomic(_page(protocol, summary), paths["report"])
    progress.report(1.0, "done")
    return EvaluationResult(protocol.name, summary, paths, tuple(_text(summary)))


def score_table(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return one row per degradation and method: means over the subjects, and the gain over the input."""
    table = []
    for scan in dict.fromkeys(row["scan"] for row in rows):
        mine = [row for row in rows if row["scan"] == scan]
        base = _by_subject(mine, "input")
        for method in dict.fromkeys(row["method"] for row in mine):
            scores = _by_subject(mine, method)
            gains = [scores[s]["psnr"] - base[s]["psnr"] for s in scores]
            consistency = [row["consistency"] for row in scores.values() if row["consistency"] != ""]
            table.append(
                {
                    "scan": scan,
                    "method": method,
                    "subjects": len(scores),
                    "psnr": round(float(np.mean([row["psnr"] for row in scores.values()])), 2),
                    "ssim": round(float(np.mean([row["ssim"] for row in scores.values()])), 4),
                    "gain_db": round(float(np.mean(gains)), 2),
                    "worst_gain_db": round(float(np.min(gains)), 2),
                    "consistency": round(float(np.mean(consistency)), 3) if consistency else "",
                }
            )
    return table


def verdicts(
    rows: Sequence[Mapping[str, Any]], lesions: Sequence[Mapping[str, Any]], protocol: RestoreProtocol
) -> list[dict[str, Any]]:
    """Return what was required, what was reached, and whether that suffices; nothing without a model."""
    if not protocol.model:
        return []
    bars, found = protocol.bars, []
    for scan in dict.fromkeys(row["scan"] for row in rows):
        mine = [row for row in rows if row["scan"] == scan]
        blurred = scan == "blur"
        model = _by_subject(mine, f"{protocol.model} {'both' if blurred else 'denoise'}")
        rivals = {
            name: _by_subject(mine, name)
            for name in (("cubic", "lanczos", "unsharp", "input") if blurred else ("input", "nlm", "tv"))
        }
        gains = {
            name: float(np.mean([model[s]["psnr"] - scores[s]["psnr"] for s in model]))
            for name, scores in rivals.items()
        }
        if blurred:
            best = min(("cubic", "lanczos"), key=lambda name: gains[name])
            found.append(_verdict(scan, f"dB over {best}", gains[best], bars.get("sharpen_over_interpolation_db")))
            best = min(gains, key=lambda name: gains[name])
            found.append(_verdict(scan, f"dB over {best}, the best rival", gains[best], None))
        else:
            best = min(("nlm", "tv"), key=lambda name: gains[name])
            found.append(_verdict(scan, "dB over the input", gains["input"], bars.get("denoise_over_input_db")))
            found.append(_verdict(scan, f"dB over {best}", gains[best], bars.get("denoise_over_classical_db")))
    judged = [row for row in rows if row["identity"] != ""]
    for name in ("identity", "denoise_monotone", "sharpen_monotone"):
        share = float(np.mean([bool(row[name]) for row in judged]))
        found.append(_verdict("all", f"share of scans with {name.replace('_', ' ')}", share, 1.0))
    if lesions:
        least = min(row["retention"] for row in lesions)
        trained = any(row["role"] not in HELD_OUT_ROLES for row in lesions)
        text = "least lesion contrast kept" + (" (subject was trained on)" if trained else "")
        found.append(_verdict("lesions", text, least, bars.get("lesion_contrast_retention")))
        found.append(_verdict("lesions", "lesions lost", float(sum(row["lost"] for row in lesions)), None))
    return found


def _verdict(scan: str, what: str, value: float, required: float | None) -> dict[str, Any]:
    met = "" if required is None else bool(value >= required)
    return {"scan": scan, "what": what, "value": round(value, 3), "required": "" if required is None else required} | {
        "met": met
    }


def _by_subject(rows: Sequence[Mapping[str, Any]], method: str) -> dict[str, Mapping[str, Any]]:
    return {str(row["subject"]): row for row in rows if row["method"] == method}


def _page(protocol: RestoreProtocol, summary: Mapping[str, Any]) -> str:
    model = f"{protocol.model} ({str(summary['weights'])[:12]})" if protocol.model else "no model"
    page = HtmlPage(protocol.title, f"protocol {protocol.name} version {protocol.version}; {model}")
    if summary["quick"]:
        page.paragraph("This is the quick part of the protocol: a trial of the machinery, not a figure.", note=True)
    page.heading("Bars")
    page.table(summary["bars"])
    page.heading("Scores")
    page.paragraph(METHOD_NOTE)
    for scan in dict.fromkeys(row["scan"] for row in summary["scores"]):
        rows = [row for row in summary["scores"] if row["scan"] == scan]
        page.table(rows, [n for n, row in enumerate(rows) if protocol.model and protocol.model in row["method"]])
    if summary["lesions"]:
        page.heading("Lesions")
        if any(row["role"] not in HELD_OUT_ROLES for row in summary["lesions"]):
            page.paragraph("The subject of this check was trained on: the figures are optimistic.", note=True)
        page.table(summary["lesions"])
    return page.render()


def _text(summary: Mapping[str, Any]) -> list[str]:
    lines = [*text_table(summary["scores"]), ""]
    if summary["lesions"]:
        lines += [*text_table(summary["lesions"]), ""]
    for bar in summary["bars"]:
        met = {True: "met", False: "NOT met", "": "for information"}[bar["met"]]
        required = "" if bar["required"] == "" else f" (required {bar['required']:g})"
        lines.append(f"{bar['scan']}: {bar['value']:g} {bar['what']}{required}: {met}")
    return lines
