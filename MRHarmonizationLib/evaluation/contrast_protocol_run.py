"""The contrast evaluation: alter unseen subjects, harmonise, hold methods against each other, check, report."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.cached_rows import finished_rows, run_and_keep
from MRHarmonizationLib.evaluation.contrast_protocol import ContrastProtocol
from MRHarmonizationLib.evaluation.contrast_protocol_cases import STATE_FILE, build_references
from MRHarmonizationLib.evaluation.contrast_protocol_checks import check_task
from MRHarmonizationLib.evaluation.contrast_protocol_lesions import lesion_bars, lesion_task
from MRHarmonizationLib.evaluation.contrast_protocol_methods import Contestant, contestants
from MRHarmonizationLib.evaluation.contrast_protocol_page import contrast_page, text_lines
from MRHarmonizationLib.evaluation.contrast_protocol_rows import case_fingerprints, evaluate_contrast_case
from MRHarmonizationLib.evaluation.contrast_protocol_tables import markdown_tables, summarise
from MRHarmonizationLib.evaluation.contrast_protocol_visits import visit_bars, visit_task
from MRHarmonizationLib.evaluation.protocol import PROTOCOL_KINDS, EvaluationResult
from MRHarmonizationLib.evaluation.report import make_folder, write_csv
from MRHarmonizationLib.evaluation.tasks import Task, run_tasks
from MRHarmonizationLib.methods.reference_group import load_group
from MRHarmonizationLib.volumes.atomic import write_json_atomic, write_text_atomic

ROWS_FILE, FURTHER_FILE = "rows.csv", "further.json"
#: Shares of the work: reference groups, cases; the rest is for the checks.
REFERENCE_SHARE, CASES_SHARE = 0.05, 0.9


@PROTOCOL_KINDS.register("contrast")
def run_contrast(
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
    """Run a contrast protocol; see :func:`MRHarmonizationLib.evaluation.protocol.run_protocol`."""
    if retune:
        raise ParameterError("a contrast protocol has nothing to tune", "leave out --retune")
    protocol = ContrastProtocol.from_dict(values, quick)
    entries = contestants(protocol, models)
    pictures = make_folder(out / "pictures")
    reference = build_references(protocol, data, out / "reference", progress.part(0.0, REFERENCE_SHARE))
    rows = _rows(protocol, data, out, reference, entries, jobs, progress.part(REFERENCE_SHARE, CASES_SHARE))
    found = _further(protocol, data, out, reference, entries, jobs, progress.part(CASES_SHARE, 0.99))
    summary = {
        "protocol": protocol.name,
        "version": protocol.version,
        "quick": quick,
        "methods": [{"name": e.name, "kind": e.kind, "parameters": dict(e.parameters)} for e in entries],
        "held_out": list(protocol.held_out),
        **summarise(rows, protocol),
        **found,
    }
    paths = {
        "report": out / "report.html",
        "csv": out / ROWS_FILE,
        "json": out / "summary.json",
        "table": out / "tables.md",
        "pictures": pictures,
    }
    write_json_atomic(summary, paths["json"])
    write_text_atomic(markdown_tables(summary), paths["table"])
    drawn = [path for name in _picture_names(protocol) if (path := pictures / f"{name}.png").is_file()]
    write_text_atomic(contrast_page(protocol, summary, drawn), paths["report"])
    progress.report(1.0, "done")
    return EvaluationResult(protocol.name, summary, paths, tuple(text_lines(summary)))


def _rows(
    protocol: ContrastProtocol,
    data: Path,
    out: Path,
    reference: Path,
    entries: Sequence[Contestant],
    jobs: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Run what the CSV does not hold yet, each method of each case; a case is appended as soon as it is done."""
    path = out / ROWS_FILE
    cases = list(protocol.cases())
    wanted = {case.id: case_fingerprints(case, protocol, entries, reference) for case in cases}
    counts = {case.id: {e.name: len(protocol.alterations_of(case, e.name)) for e in entries} for case in cases}
    rows = whole_rows(path, wanted, counts)
    drawn = _drawn_cases(protocol)
    tasks = []
    for case in cases:
        done = {row["method"] for row in rows if row["case"] == case.id}
        missing = {name: mark for name, mark in wanted[case.id].items() if name not in done}
        if missing:
            picture = str(out / "pictures" / f"{case.id}.png") if case.id in drawn else None
            arguments = (case, protocol, str(data), str(reference), entries, missing, picture)
            tasks.append(Task(case.id, evaluate_contrast_case, arguments))
    rows = run_and_keep(path, rows, tasks, jobs, progress)
    order = {case.id: number for number, case in enumerate(cases)}
    methods = {entry.name: number for number, entry in enumerate(entries)}
    rows.sort(key=lambda row: (order[row["case"]], methods[row["method"]], int(row["alteration"])))
    write_csv(rows, path)
    return rows


def whole_rows(
    path: Path, wanted: Mapping[str, Mapping[str, str]], counts: Mapping[str, Mapping[str, int]]
) -> list[dict[str, Any]]:
    """Return the rows of an earlier run that would come out the same, of methods of which no alteration is missing.

    Parameters
    ----------
    path : Path
        The CSV; it need not exist.
    wanted : mapping
        Case → method → fingerprint.
    counts : mapping
        Case → method → number of alterations.
    """
    rows = finished_rows(path, wanted, ("case", "method", "alteration"))
    found = Counter((row["case"], row["method"]) for row in rows)
    return [row for row in rows if found[row["case"], row["method"]] == counts[row["case"]][row["method"]]]


def _further(
    protocol: ContrastProtocol,
    data: Path,
    out: Path,
    reference: Path,
    entries: Sequence[Contestant],
    jobs: int,
    progress: Progress,
) -> dict[str, Any]:
    """Return rows and verdicts of lesions, visits and checks; parts that an earlier run finished are kept."""
    pictures, file = out / "pictures", out / FURTHER_FILE
    tasks = []
    for contrast in protocol.lesions.get("images", {}):
        drawn = str(pictures / f"lesions-{contrast}.png")
        tasks.append(Task(f"lesions {contrast}", lesion_task, (protocol, str(data), contrast, tuple(entries), drawn)))
    if protocol.visits:
        tasks.append(Task("visits", visit_task, (protocol, str(data), tuple(entries), str(pictures))))
    if protocol.checks:
        tasks.append(Task("checks", check_task, (protocol, str(data), str(reference), tuple(entries))))
    mark = _further_mark(protocol, entries, reference)
    known = _known_parts(file, mark)
    names = [task.name for task in tasks]
    results = {name: rows for name, rows in known.items() if name in names}
    for task, rows in run_tasks([task for task in tasks if task.name not in results], jobs, progress):
        results[task.name] = rows
        write_json_atomic({"mark": mark, "parts": {**known, **results}}, file)
    lesions = [row for name in names if name.startswith("lesions ") for row in results[name]]
    visits, checks = results.get("visits", []), results.get("checks", [])
    return {
        "lesions": {"rows": lesions, "bars": lesion_bars(lesions, protocol)},
        "visits": {"rows": visits, "bars": visit_bars(visits, protocol)},
        "checks": {"rows": checks},
    }


def _further_mark(protocol: ContrastProtocol, entries: Sequence[Contestant], reference: Path) -> str:
    """Return a digest of what decides the further parts: their settings, the cases' and every fitted state."""
    groups = [load_group(name) for name in protocol.reference["groups"].values()]
    groups += [load_group(path) for path in sorted(reference.glob("*.json")) if path.name != STATE_FILE]
    fitted = [
        (entry.name, f.digest() if f is not None else "") for entry in entries for g in groups for f in [entry.fit(g)]
    ]
    settings = [asdict(protocol), fitted]
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


def _known_parts(file: Path, mark: str) -> dict[str, list[dict[str, Any]]]:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return dict(stored["parts"]) if isinstance(stored, dict) and stored.get("mark") == mark else {}


def _drawn_cases(protocol: ContrastProtocol) -> set[str]:
    """Return the first case of every group and contrast."""
    drawn: dict[tuple[str, str], str] = {}
    for case in protocol.cases():
        drawn.setdefault((case.group, case.contrast), case.id)
    return set(drawn.values())


def _picture_names(protocol: ContrastProtocol) -> list[str]:
    """Return the names of this protocol's pictures, in the order of the report."""
    drawn = _drawn_cases(protocol)
    names = [case.id for case in protocol.cases() if case.id in drawn]
    names += [f"lesions-{contrast}" for contrast in protocol.lesions.get("images", {})]
    for contrast in protocol.visits.get("first", {}):
        names += [f"visits-{contrast}", f"visits-{contrast}-spectra"]
    return names
