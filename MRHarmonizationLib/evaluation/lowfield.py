"""The low-field evaluation: tune the classical methods, run every case, check lesions and native scans, report."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.cached_rows import finished_rows, run_and_keep
from MRHarmonizationLib.evaluation.cases import evaluate_case
from MRHarmonizationLib.evaluation.lesion_check import lesion_task
from MRHarmonizationLib.evaluation.lowfield_page import lowfield_page
from MRHarmonizationLib.evaluation.lowfield_protocol import Case, LowFieldProtocol, Tuning
from MRHarmonizationLib.evaluation.native_check import native_task
from MRHarmonizationLib.evaluation.protocol import PROTOCOL_KINDS, EvaluationResult
from MRHarmonizationLib.evaluation.report import make_folder, write_csv
from MRHarmonizationLib.evaluation.splits import HELD_OUT_ROLES
from MRHarmonizationLib.evaluation.tables import score_rows, summarise, text_table
from MRHarmonizationLib.evaluation.tasks import Task, run_tasks
from MRHarmonizationLib.evaluation.tuning import best_parameters, tune_task
from MRHarmonizationLib.volumes.atomic import write_json_atomic, write_text_atomic
from MRHarmonizationLib.weights.store import get_model

CASES_FILE = "cases.csv"


@PROTOCOL_KINDS.register("lowfield")
def run_lowfield(
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
    """Run a low-field protocol; see :func:`MRHarmonizationLib.evaluation.protocol.run_protocol`."""
    protocol = LowFieldProtocol.from_dict(values, quick)
    if models is not None:
        protocol = replace(protocol, models=tuple(models))
    weights = {name: get_model(name).weights.sha256 for name in protocol.models}
    pictures = make_folder(out / "pictures")
    if retune or not protocol.tuning.parameters:
        protocol = _tuned(protocol, data, out, jobs, progress.part(0.0, 0.3))
        progress = progress.part(0.3, 1.0)
    rows = _case_rows(protocol, data, out, weights, jobs, progress.part(0.0, 0.85))
    lesions, native = _checks(protocol, data, pictures, jobs, progress.part(0.85, 0.98))
    summary = {
        "protocol": protocol.name,
        "version": protocol.version,
        "quick": quick,
        "weights": weights,
        "tuned": {key: dict(methods) for key, methods in protocol.tuning.parameters.items()},
        **summarise(rows, protocol),
        "lesions": {"rows": lesions, "bars": lesion_bars(lesions, protocol)},
        "native": native,
    }
    paths = {"report": out / "report.html", "csv": out / CASES_FILE, "json": out / "summary.json", "pictures": pictures}
    write_json_atomic(summary, paths["json"])
    write_text_atomic(lowfield_page(protocol, summary, _drawn(protocol, pictures)), paths["report"])
    progress.report(1.0, "done")
    return EvaluationResult(protocol.name, summary, paths, tuple(_text(summary)))


def lesion_bars(rows: Sequence[Mapping[str, Any]], protocol: LowFieldProtocol) -> list[dict[str, Any]]:
    """Return the verdict on lesions per model: the least contrast retained and the lesions lost over all images."""
    bars = protocol.lesions.get("bars", {})
    verdicts = []
    for model in protocol.models:
        mine = [row for row in rows if row["method"] == model]
        if not mine:
            continue
        least = min((row["retention"] for row in mine if row["retention"] is not None), default=0.0)
        lost = sum(row["lost"] for row in mine)
        verdicts.append(
            {
                "model": model,
                "required": bars.get("lesion_contrast_retention"),
                "least_retention": least,
                "lost": lost,
                "subject_held_out": all(row["role"] in HELD_OUT_ROLES for row in mine),
                "met": bool(least >= bars.get("lesion_contrast_retention", 0.0) and lost <= bars.get("lost", 0)),
            }
        )
    return verdicts


def _tuned(protocol: LowFieldProtocol, data: Path, out: Path, jobs: int, progress: Progress) -> LowFieldProtocol:
    tasks = [
        Task(f"tuning {entry['path']} {acquisition.id}", tune_task, (protocol, str(data), index, acquisition.id))
        for index, entry in enumerate(protocol.tuning.subjects)
        for acquisition in protocol.acquisitions
    ]
    rows = [row for _, result in run_tasks(tasks, jobs, progress) for row in result]
    write_csv(rows, out / "tuning.csv")
    best = best_parameters(rows)
    write_json_atomic(best, out / "tuned.json")
    return replace(protocol, tuning=Tuning(protocol.tuning.subjects, best))


def _case_rows(
    protocol: LowFieldProtocol, data: Path, out: Path, weights: Mapping[str, str], jobs: int, progress: Progress
) -> list[dict[str, Any]]:
    """Run what the CSV does not hold yet, each method of each case; a case is appended as soon as it is done."""
    path = out / CASES_FILE
    wanted = {case.id: _fingerprints(case, protocol, weights) for case in protocol.cases()}
    rows = finished_rows(path, wanted)
    finished = {(row["case"], row["method"]) for row in rows}
    drawn = _drawn_cases(protocol)
    tasks = []
    for case in protocol.cases():
        missing = {name: mark for name, mark in wanted[case.id].items() if (case.id, name) not in finished}
        picture = out / "pictures" / f"{case.id}.png" if case.id in drawn else None
        if missing and picture is not None:  # the picture shows them all
            missing = wanted[case.id]
            rows = [row for row in rows if row["case"] != case.id]
        if missing:
            arguments = (case, protocol, str(data), missing, str(picture) if picture else None)
            tasks.append(Task(case.id, evaluate_case, arguments))
    rows = run_and_keep(path, rows, tasks, jobs, progress)
    cases = {case.id: number for number, case in enumerate(protocol.cases())}
    methods = {name: number for number, name in enumerate((*protocol.methods, *protocol.models))}
    rows.sort(key=lambda row: (cases[row["case"]], methods[row["method"]]))
    write_csv(rows, path)
    return rows


def _drawn_cases(protocol: LowFieldProtocol) -> set[str]:
    """Return one case per group and acquisition: the first one with the SNR that pictures are wanted of."""
    drawn: dict[tuple[str, str], str] = {}
    for case in protocol.cases():
        if case.snr == protocol.picture_snr:
            drawn.setdefault((case.group, case.acquisition), case.id)
    return set(drawn.values())


def _drawn(protocol: LowFieldProtocol, folder: Path) -> list[Path]:
    """Return the pictures of this protocol that exist, cases first."""
    drawn = _drawn_cases(protocol)
    names = [case.id for case in protocol.cases() if case.id in drawn]
    names += [f"lesions-{Path(path).name}" for path in protocol.lesions.get("images", ())]
    names += [f"native-{Path(p).name}-{model}" for p in protocol.native.get("images", ()) for model in protocol.models]
    return [path for name in names if (path := folder / f"{name}.png").is_file()]


def _checks(
    protocol: LowFieldProtocol, data: Path, pictures: Path, jobs: int, progress: Progress
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    tasks = []
    for path in protocol.lesions.get("images", ()):
        for snr in protocol.lesions["snr"]:
            drawn = pictures / f"lesions-{Path(path).name}.png" if snr == protocol.picture_snr else None
            arguments = (protocol, str(data), path, float(snr), str(drawn) if drawn else None)
            tasks.append(Task(f"lesions {path} snr{snr:g}", lesion_task, arguments))
    for path in protocol.native.get("images", ()):
        for model in protocol.models:
            drawn = pictures / f"native-{Path(path).name}-{model}.png"
            tasks.append(Task(f"native {path}", native_task, (str(data), path, model, str(drawn))))
    results = {task.name + str(task.arguments): result for task, result in run_tasks(tasks, jobs, progress)}
    ordered = [results[task.name + str(task.arguments)] for task in tasks]
    lesions = [row for result in ordered if isinstance(result, list) for row in result]
    return lesions, [result for result in ordered if isinstance(result, dict)]


def _fingerprints(case: Case, protocol: LowFieldProtocol, weights: Mapping[str, str]) -> dict[str, str]:
    """Return a short digest per method and model of what decides its row: case, scan, parameters or weights."""
    acquisition = dict(protocol.acquisition(case.acquisition).parameters)
    extent = protocol.group(case.group).extend_to_mm
    tuned = protocol.tuning.parameters.get(case.acquisition, {})
    digests = {}
    for name in (*protocol.methods, *protocol.models):
        decides = weights[name] if name in protocol.models else dict(tuned.get(name, {}))
        state = [protocol.version, case.id, case.seed, case.snr, extent, acquisition, name, decides]
        digests[name] = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]
    return digests


def _text(summary: Mapping[str, Any]) -> list[str]:
    lines = text_table(score_rows(summary))
    for verdict in summary["bars"]:
        met = "met" if verdict["met"] else "NOT met"
        lines.append(
            f"{verdict['group']}: {verdict['model']} {verdict['metric']} {verdict['gain']:+.3f} over the best "
            f"classical method (required {verdict['required']:+.3g}, worst case {verdict['worst']:+.3f}): {met}"
        )
    for verdict in summary["lesions"]["bars"]:
        lines.append(
            f"lesions: {verdict['model']} keeps at least {verdict['least_retention']:.2f} of their contrast, "
            f"{verdict['lost']} lost: {'met' if verdict['met'] else 'NOT met'}"
            + ("" if verdict["subject_held_out"] else " (subject was trained on)")
        )
    return lines
