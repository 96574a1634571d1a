"""The travelling-subject evaluation: scan unseen brains on every scanner, harmonise, hold methods to the truth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.cached_rows import finished_rows, run_and_keep
from MRHarmonizationLib.evaluation.dwi_protocol import DwiProtocol
from MRHarmonizationLib.evaluation.dwi_protocol_methods import (
    TRUTH,
    DwiContestant,
    contestants,
    fit_task,
    is_fitted,
    method_records,
)
from MRHarmonizationLib.evaluation.dwi_protocol_page import dwi_page, markdown_tables, picture_methods, text_lines
from MRHarmonizationLib.evaluation.dwi_protocol_planes import DRAWN, planes_figure, read_planes
from MRHarmonizationLib.evaluation.dwi_protocol_rows import case_fingerprints, evaluate_dwi_case
from MRHarmonizationLib.evaluation.dwi_protocol_tables import summarise
from MRHarmonizationLib.evaluation.protocol import PROTOCOL_KINDS, EvaluationResult
from MRHarmonizationLib.evaluation.report import make_folder, write_csv
from MRHarmonizationLib.evaluation.tasks import Task, run_tasks
from MRHarmonizationLib.volumes.atomic import write_bytes_atomic, write_json_atomic, write_text_atomic

ROWS_FILE = "rows.csv"
#: Share of the work until every method is fitted.
FITTING_SHARE = 0.2


@PROTOCOL_KINDS.register("dwi")
def run_dwi(
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
    """Run a travelling-subject protocol; see :func:`MRHarmonizationLib.evaluation.protocol.run_protocol`."""
    if retune:
        raise ParameterError("a travelling-subject protocol has nothing to tune", "leave out --retune")
    protocol = DwiProtocol.from_dict(values, quick)
    entries = contestants(protocol, models)
    folders = {name: make_folder(out / name) for name in ("fitted", "planes", "pictures")}
    wanted = {case.id: case_fingerprints(case, protocol, entries) for case in protocol.cases()}
    rows = finished_rows(out / ROWS_FILE, wanted)
    _fit(protocol, data, folders["fitted"], entries, wanted, rows, jobs, progress.part(0.0, FITTING_SHARE))
    rows = _rows(protocol, data, out, entries, wanted, rows, jobs, progress.part(FITTING_SHARE, 0.99))
    summary = {
        "protocol": protocol.name,
        "version": protocol.version,
        "quick": quick,
        "entries": method_records(entries),
        **summarise(rows, protocol),
    }
    paths = {
        "report": out / "report.html",
        "csv": out / ROWS_FILE,
        "json": out / "summary.json",
        "table": out / "tables.md",
        "pictures": folders["pictures"],
    }
    write_json_atomic(summary, paths["json"])
    write_text_atomic(markdown_tables(summary, protocol), paths["table"])
    pictures = _pictures(protocol, summary, folders["planes"], folders["pictures"])
    write_text_atomic(dwi_page(protocol, summary, pictures), paths["report"])
    progress.report(1.0, "done")
    return EvaluationResult(protocol.name, summary, paths, tuple(text_lines(summary, protocol)))


def _fit(
    protocol: DwiProtocol,
    data: Path,
    folder: Path,
    entries: Sequence[DwiContestant],
    wanted: Mapping[str, Mapping[str, str]],
    rows: Sequence[Mapping[str, Any]],
    jobs: int,
    progress: Progress,
) -> None:
    """Fit what learns from both scanners, where its rows are still to be made and no earlier run has fitted it."""
    done = {(row["case"], row["method"]) for row in rows}
    tasks = {}
    for case in protocol.cases():
        for entry in entries:
            if not entry.needs_source or entry.harmonizer is None or (case.id, entry.name) in done:
                continue
            if not is_fitted(protocol, folder, entry.harmonizer, case.scanner):
                arguments = (protocol, str(data), str(folder), entry.harmonizer, case.scanner)
                tasks[entry.harmonizer, case.scanner] = Task(
                    f"fitting {entry.harmonizer} to {case.scanner}", fit_task, arguments
                )
    for _ in run_tasks(list(tasks.values()), jobs, progress):
        pass


def _rows(
    protocol: DwiProtocol,
    data: Path,
    out: Path,
    entries: Sequence[DwiContestant],
    wanted: Mapping[str, Mapping[str, str]],
    rows: list[dict[str, Any]],
    jobs: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Run what the CSV does not hold yet, each method of each case; a case is appended as soon as it is done."""
    path, cases = out / ROWS_FILE, list(protocol.cases())
    tasks = []
    for case in cases:
        done = {row["method"] for row in rows if row["case"] == case.id}
        missing = {name: mark for name, mark in wanted[case.id].items() if name not in done}
        if missing:
            planes = str(out / "planes") if case.subject == protocol.subjects[0] else None
            arguments = (case, protocol, str(data), str(out / "fitted"), tuple(entries), missing, planes)
            tasks.append(Task(case.id, evaluate_dwi_case, arguments))
    rows = run_and_keep(path, rows, tasks, jobs, progress)
    order = {case.id: number for number, case in enumerate(cases)}
    methods = {entry.name: number for number, entry in enumerate(entries)}
    rows.sort(key=lambda row: (order[row["case"]], methods[row["method"]]))
    write_csv(rows, path)
    return rows


def _pictures(protocol: DwiProtocol, summary: Mapping[str, Any], planes: Path, folder: Path) -> list[tuple[str, bytes]]:
    """Draw every image of the first brain: a row per scanner."""
    columns, lines = picture_methods(summary), []
    for case in protocol.cases():
        if case.subject == protocol.subjects[0]:
            found = {name: kept for name in columns if (kept := read_planes(planes, case.id, name)) is not None}
            if found:
                lines.append((protocol.scanner(case.scanner).id, found))
    drawn = []
    for image in DRAWN if lines else ():
        png = planes_figure(lines, columns, image, TRUTH)
        write_bytes_atomic(png, folder / f"{image}.png")
        units = " One window per scanner, that of the canonical scan." if DRAWN[image] is None else ""
        drawn.append((f"{image} of {protocol.subjects[0]}: one plane per scanner, in its own place.{units}", png))
    return drawn
