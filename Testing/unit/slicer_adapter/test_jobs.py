"""Processes: what they say is taken in without waiting, success is exit code 0 and the files, cancel leaves nothing."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from MRHarmonizationLib.core.errors import InputError, MRHarmonizationError, OutputError, ResourceError
from MRHarmonizationLib.slicer_adapter import jobs
from MRHarmonizationLib.slicer_adapter.jobs import CANCELLED, FAILED, RUNNING, SUCCEEDED, Job, SubprocessRunner


def start(code: str, promised: Sequence[Path] = (), on_progress=None) -> Job:
    command = [sys.executable, "-c", code]
    return Job(SubprocessRunner().start(command, dict(os.environ)), promised, on_progress)


def finish(job: Job, seconds: float = 30.0) -> str:
    end = time.monotonic() + seconds
    while job.step() == RUNNING:
        assert time.monotonic() < end, "the job did not end"
        time.sleep(0.01)
    return job.state


def say(**event: object) -> str:
    return f"print({json.dumps(json.dumps(event))}, flush=True)\n"


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"


def test_success_needs_exit_code_and_files(tmp_path: Path):
    promised = tmp_path / "out.txt"
    seen = []
    code = say(event="progress", fraction=0.25, message="half way") + "print('noise from a library')\n"
    code += f"open({str(promised)!r}, 'w').close()\n" + say(event="result", measurements=[1])
    job = start(code, [promised], lambda fraction, message: seen.append((fraction, message)))
    assert finish(job) == SUCCEEDED
    assert job.error is None
    assert job.result["measurements"] == [1]
    assert seen == [(0.25, "half way")]


def test_exit_code_0_without_the_file_is_a_failure(tmp_path: Path):
    job = start(say(event="result"), [tmp_path / "missing.nrrd"])
    assert finish(job) == FAILED
    assert isinstance(job.error, OutputError)
    assert "missing.nrrd" in str(job.error)


def test_reported_error_keeps_its_kind_problem_and_remedy():
    code = say(event="error", kind="InputError", problem="p", remedy="r", exit_code=3) + "raise SystemExit(3)"
    job = start(code)
    assert finish(job) == FAILED
    assert type(job.error) is InputError
    assert (job.error.problem, job.error.remedy) == ("p", "r")


def test_unknown_kind_of_error_is_an_error_all_the_same():
    assert type(jobs.error_from_event({"kind": "Path", "problem": "p"})) is MRHarmonizationError


def test_crash_without_a_word_shows_the_last_line():
    job = start("raise RuntimeError('boom')")
    assert finish(job) == FAILED
    assert "boom" in str(job.error)


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
def test_killed_by_the_system_is_explained():
    job = start("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert finish(job) == FAILED
    assert isinstance(job.error, ResourceError)


def test_warnings_are_kept_apart_from_messages():
    job = start(say(event="status", message="w", level="warning") + say(event="status", message="m", level="info"))
    assert finish(job) == SUCCEEDED
    assert job.warnings == ["w"]


def test_step_does_not_wait():
    job = start("import time; time.sleep(30)")
    try:
        began = time.monotonic()
        for _ in range(5):
            assert job.step() == RUNNING
        assert time.monotonic() - began < 1.0
    finally:
        job.cancel()


@pytest.mark.skipif(sys.platform == "win32", reason="uses /proc")
def test_cancel_ends_children_and_grandchildren(tmp_path: Path):
    pids = tmp_path / "pids"
    child = f"import os, time; open({str(pids)!r}, 'a').write(f'{{os.getpid()}} '); time.sleep(60)"
    code = (
        f"import subprocess, sys, time\nsubprocess.Popen([sys.executable, '-c', {child!r}])\n"
        f"import os; open({str(pids)!r}, 'a').write(f'{{os.getpid()}} ')\ntime.sleep(60)"
    )
    job = start(code)
    end = time.monotonic() + 20
    while not pids.exists() or len(pids.read_text().split()) < 2:
        assert time.monotonic() < end
        job.step()
        time.sleep(0.02)
    job.cancel()
    assert job.state == CANCELLED
    found = [int(pid) for pid in pids.read_text().split()]
    end = time.monotonic() + 5
    while any(is_alive(pid) for pid in found) and time.monotonic() < end:
        time.sleep(0.02)
    assert not any(is_alive(pid) for pid in found)
    job.cancel()  # again does no harm
    assert job.step() == CANCELLED


def test_a_child_left_behind_does_not_hold_the_job(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jobs, "LAST_OUTPUT_S", 0.2)
    code = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(20)'])"
    job = start(code)
    assert finish(job, 10.0) == SUCCEEDED
    job._process.kill()


def test_much_output_is_read_to_the_end():
    code = "\n".join(say(event="progress", fraction=i / 3000, message="m").strip() for i in range(3))
    job = start(f"for _ in range(3000):\n    {code.splitlines()[0]}\n" + say(event="result", last=True))
    assert finish(job) == SUCCEEDED
    assert job.result["last"] is True


def test_environment_finds_the_library_first():
    environment = jobs.process_environment({"PYTHONPATH": "elsewhere", "KEPT": "1"})
    first, rest = environment["PYTHONPATH"].split(os.pathsep)
    assert (Path(first) / "MRHarmonizationLib" / "__main__.py").is_file()
    assert rest == "elsewhere"
    assert environment["KEPT"] == "1"
    assert jobs.process_environment({})["PYTHONPATH"] == first


def test_slicers_python_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    assert jobs.python_executable() == sys.executable
    program = tmp_path / "PythonSlicer"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    if sys.platform != "win32":
        assert jobs.python_executable() == str(program)
