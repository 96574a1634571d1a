from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from MRHarmonizationLib.core.errors import OperationCancelled
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.tasks import THREAD_VARIABLES, Task, run_tasks


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_task_is_done_once_and_reported(jobs):
    seen = []
    progress = Progress(lambda fraction, message: seen.append(fraction))
    tasks = [Task(f"power {n}", pow, (n, 2)) for n in range(5)]
    results = {task.name: result for task, result in run_tasks(tasks, jobs, progress)}
    assert results == {f"power {n}": n * n for n in range(5)}
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


@pytest.mark.parametrize("jobs", [1, 2])
def test_errors_come_through(jobs):
    with pytest.raises(ZeroDivisionError):
        list(run_tasks([Task("impossible", divmod, (1, 0))], jobs, Progress()))


@pytest.mark.parametrize("jobs", [1, 2])
def test_cancelling_stops_between_tasks(jobs):
    progress = Progress()
    done = []

    def run() -> None:
        for task, _ in run_tasks([Task(str(n), abs, (n,)) for n in range(50)], jobs, progress):
            done.append(task.name)
            progress.cancel()

    with pytest.raises(OperationCancelled):
        run()
    assert len(done) == 1


def test_processes_use_one_thread_each_and_the_environment_is_put_back(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    tasks = [Task(name, os.getenv, (name,)) for name in THREAD_VARIABLES]
    assert {result for _, result in run_tasks(tasks, 2, Progress())} == {"1"}
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


@pytest.mark.skipif(os.name != "posix", reason="looks for processes by signal")
def test_workers_end_with_a_killed_parent(tmp_path):
    note = tmp_path / "worker"
    script = tmp_path / "parent.py"
    script.write_text(
        "import os, sys, time\n"
        "from MRHarmonizationLib.core.progress import Progress\n"
        "from MRHarmonizationLib.evaluation.tasks import Task, run_tasks\n"
        "def work(path):\n"
        "    open(path, 'w').write(str(os.getpid()))\n"
        "    time.sleep(120)\n"
        "if __name__ == '__main__':\n"
        "    list(run_tasks([Task('long', work, (sys.argv[1],))], 2, Progress()))\n",
        "utf-8",
    )
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    parent = subprocess.Popen([sys.executable, str(script), str(note)], env=environment, stderr=subprocess.DEVNULL)
    try:
        assert _until(lambda: note.is_file() and note.read_text() != "", 60)
    finally:
        parent.kill()
        parent.wait()
    worker = int(note.read_text())
    assert _until(lambda: not _alive(worker), 20)


def _until(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.1)
    return False


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_nothing_to_do():
    assert list(run_tasks([], 2, Progress())) == []
