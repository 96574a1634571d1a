"""Rows that are kept as they come: what an interrupted run leaves, and what the next one takes over."""

from __future__ import annotations

import csv

import pytest

from MRHarmonizationLib.core.errors import OperationCancelled
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.cached_rows import complete_rows, finished_rows, run_and_keep
from MRHarmonizationLib.evaluation.contrast_protocol_run import whole_rows
from MRHarmonizationLib.evaluation.tasks import Task

WANTED = {"a": {"cubic": "1", "linear": "2"}, "b": {"cubic": "3"}}


def made(case, method, mark, numbers=(0,)):
    """Return one row per number."""
    return [{"case": case, "method": method, "alteration": n, "fingerprint": mark} for n in numbers]


def task(case, method, mark, numbers=(0,)):
    return Task(f"{case} {method}", made, (case, method, mark, numbers))


def read(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def places(rows):
    return [(row["case"], row["method"], int(row["alteration"])) for row in rows]


def test_each_task_is_on_disk_before_the_next_starts(tmp_path):
    path, progress = tmp_path / "rows.csv", Progress()
    progress._callback = lambda _, message: progress.cancel() if "2 of 3" in message else None
    kept = made("z", "cubic", "0")
    tasks = [task("a", "cubic", "1", (0, 1)), task("a", "linear", "2"), task("b", "cubic", "3")]
    with pytest.raises(OperationCancelled):
        run_and_keep(path, kept, tasks, 1, progress)
    assert places(read(path)) == [("z", "cubic", 0), ("a", "cubic", 0), ("a", "cubic", 1), ("a", "linear", 0)]
    assert len(kept) == 1, "the rows given are not changed"
    found = run_and_keep(path, [], tasks, 1, Progress())
    assert places(found) == places(read(path)) == [*places(made("a", "cubic", "1", (0, 1))), *places(read(path))[2:]]
    assert path.read_text("utf-8").count("fingerprint") == 1, "one heading"


def test_torn_lines_and_rows_of_other_settings_are_made_again(tmp_path):
    path = tmp_path / "rows.csv"
    other = made("a", "linear", "of another protocol")
    run_and_keep(path, [*made("b", "cubic", "3"), *other], [], 1, Progress())
    with path.open("a", encoding="utf-8") as stream:
        stream.write("a,cub")
    assert places(finished_rows(path, WANTED)) == [("b", "cubic", 0)]
    run = []
    progress = Progress(lambda _, message: run.append(message))
    rows = complete_rows(path, WANTED, task, 1, progress)
    assert run == ["a cubic (1 of 2)", "a linear (2 of 2)"]
    assert places(rows) == places(read(path)) == [("a", "cubic", 0), ("a", "linear", 0), ("b", "cubic", 0)]
    assert rows[1]["fingerprint"] == "2"


def test_rows_whose_files_are_gone_are_made_again(tmp_path):
    path, run = tmp_path / "rows.csv", []
    complete_rows(path, WANTED, task, 1, Progress())
    progress = Progress(lambda _, message: run.append(message))
    complete_rows(path, WANTED, task, 1, progress, lambda row: row["method"] != "linear")
    assert run == ["a linear (1 of 1)"]
    assert finished_rows(tmp_path / "none.csv", WANTED) == []


def test_a_method_that_lacks_an_alteration_counts_as_not_run(tmp_path):
    path = tmp_path / "rows.csv"
    rows = [*made("a", "cubic", "1", (0, 1)), *made("a", "linear", "2"), *made("b", "cubic", "3", (0, 0))]
    run_and_keep(path, rows, [], 1, Progress())
    counts = {"a": {"cubic": 2, "linear": 2}, "b": {"cubic": 2}}
    assert places(whole_rows(path, WANTED, counts)) == [("a", "cubic", 0), ("a", "cubic", 1)], "alike lines count once"
