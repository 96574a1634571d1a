"""Rows of an evaluation that are kept as they come, so that an interrupted run goes on where it stopped."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.tasks import Task, run_tasks
from MRHarmonizationLib.volumes.atomic import write_csv

#: Case → method → fingerprint: what is wanted, and what tells a row that would come out the same.
Wanted = Mapping[str, Mapping[str, str]]


def finished_rows(path: Path, wanted: Wanted, key: Sequence[str] = ("case", "method")) -> list[dict[str, Any]]:
    """Return the rows of an earlier run that would come out the same.

    Parameters
    ----------
    path : Path
        The CSV, with columns ``case``, ``method`` and ``fingerprint``; it need not exist. Broken lines are left out.
    wanted : mapping
        Case → method → fingerprint.
    key : sequence of str
        Columns that tell rows apart; of two alike the later counts.
    """
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as stream:
        found = {
            tuple(row.get(column) for column in key): row
            for row in csv.DictReader(stream)
            if row.get("fingerprint") and wanted.get(row["case"], {}).get(row.get("method") or "") == row["fingerprint"]
        }
    return list(found.values())


def run_and_keep(
    path: Path, rows: Sequence[dict[str, Any]], tasks: Sequence[Task], jobs: int, progress: Progress
) -> list[dict[str, Any]]:
    """Run tasks and append their rows to a CSV as soon as each is done.

    Parameters
    ----------
    path : Path
        The CSV; begun anew with ``rows``.
    rows : sequence of dict
        What there is already.
    tasks : sequence of Task
        Each returns a list of rows of the same columns, at least one.
    jobs : int
        Processes.
    progress : Progress

    Returns
    -------
    list of dict
        ``rows`` and those of the tasks, as they came.
    """
    write_csv(rows, path)
    found = list(rows)
    for _, result in run_tasks(tasks, jobs, progress):
        with path.open("a", encoding="utf-8", newline="") as stream:
            writer = csv.DictWriter(stream, fieldnames=list(result[0]), lineterminator="\n")
            if not found:
                writer.writeheader()
            writer.writerows(result)
        found.extend(result)
    return found


def complete_rows(
    path: Path,
    wanted: Wanted,
    task_of: Callable[[str, str, str], Task],
    jobs: int,
    progress: Progress,
    is_kept: Callable[[Mapping[str, Any]], bool] = lambda row: True,
) -> list[dict[str, Any]]:
    """Run what a CSV does not hold yet, one task per case and method, and append each row as soon as it is there.

    Parameters
    ----------
    path : Path
        The CSV; made if it does not exist.
    wanted : mapping
        Case → method → fingerprint, in the order of the result.
    task_of : callable
        (case, method, fingerprint) → task that returns a list of the one row, with these three under ``case``,
        ``method`` and ``fingerprint``; all rows have the same columns.
    jobs : int
        Processes.
    progress : Progress
    is_kept : callable
        Tells whether what belongs to a finished row, such as a file, is still there.

    Returns
    -------
    list of dict
        All rows in order, as read from the CSV: values are text.
    """
    rows = [row for row in finished_rows(path, wanted) if is_kept(row)]
    done = {(row["case"], row["method"]) for row in rows}
    places = [(case, name, mark) for case, marks in wanted.items() for name, mark in marks.items()]
    tasks = [task_of(*place) for place in places if place[:2] not in done]
    run_and_keep(path, rows, tasks, jobs, progress)
    order = {place[:2]: number for number, place in enumerate(places)}
    complete = sorted(finished_rows(path, wanted), key=lambda row: order[row["case"], row["method"]])
    write_csv(complete, path)
    return complete


def number(row: Mapping[str, Any], column: str) -> float | None:
    """Return a number of a row, None where its field is empty."""
    value: Any = row[column]
    return None if value in ("", None) else float(value)
