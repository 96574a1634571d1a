"""A run that is stopped from outside leaves nothing half-written and says how it ended."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_models

from MRHarmonizationLib.samples import LOW_FIELD_SCAN
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.volume import Volume

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX systems")


@pytest.fixture
def environment(tmp_path: Path, repository: Path) -> dict[str, str]:
    """A tiny model in the place of the published one: what is tested is how a run ends."""
    card = tiny_models.write_tiny_model(tmp_path / "models", "lowfield")
    return os.environ | {"MRHARMONIZATION_WEIGHTS": str(card.parent), "PYTHONPATH": str(repository)}


def start(environment: dict[str, str], folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "MRHarmonizationLib", *words],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # started from a background job, a process would inherit that SIGINT is ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def read_until(process: subprocess.Popen[str], fraction: float) -> None:
    """Read events until the run has come that far."""
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if event["event"] == "progress" and event["fraction"] >= fraction:
            return
    pytest.fail(f"the run ended first: {process.communicate()[1]}")


WORDS = ("enhance", str(LOW_FIELD_SCAN), "out/enhanced.nii.gz", "--residual", "out/residual.nrrd", "--jsonl")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
@pytest.mark.parametrize("fraction", [0.0, 0.2, 0.95], ids=["reading", "working", "writing"])
def test_interrupted_run_cleans_up(environment: dict[str, str], tmp_path: Path, number: int, fraction: float):
    out = tmp_path / "out"
    out.mkdir()
    process = start(environment, tmp_path, *WORDS)
    read_until(process, fraction)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr
    event = json.loads(stdout.splitlines()[-1])
    assert (event["event"], event["kind"], event["exit_code"]) == ("error", "OperationCancelled", 130)
    assert "Traceback" not in stderr
    assert list(out.iterdir()) == []


def test_killed_run_leaves_no_output(environment: dict[str, str], tmp_path: Path):
    out = tmp_path / "out"
    out.mkdir()
    process = start(environment, tmp_path, *WORDS)
    read_until(process, 0.95)
    process.kill()
    process.communicate(timeout=60)
    assert not list(out.glob("enhanced*"))
    assert not list(out.glob("residual*"))
    # What it was writing is set aside under a name that tells, and the next run is not disturbed by it.
    assert all(path.name.startswith(".mrh-part-") for path in out.iterdir())
    scan = read_volume(LOW_FIELD_SCAN)
    few = (8, *scan.array.shape[1:])
    write_volume(Volume(scan.array[:8], scan.grid.crop((0, 0, 0), few), "part"), tmp_path / "part.nrrd")
    done = start(environment, tmp_path, "enhance", "part.nrrd", *WORDS[2:])
    _, stderr = done.communicate(timeout=120)
    assert done.returncode == 0, stderr
    assert {"enhanced.nii.gz", "enhanced.mrh.json", "residual.nrrd"} <= {path.name for path in out.iterdir()}


def test_reader_that_goes_away_ends_the_run(environment: dict[str, str], tmp_path: Path):
    (tmp_path / "out").mkdir()
    process = start(environment, tmp_path, *WORDS)
    read_until(process, 0.0)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=60) == 130
    with process.stderr:
        assert "Traceback" not in process.stderr.read()
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a folder nobody may write to")
def test_read_only_folder_is_refused(environment: dict[str, str], tmp_path: Path):
    process = start(environment, tmp_path, "enhance", str(LOW_FIELD_SCAN), "/proc/enhanced.nii.gz")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 5
    assert len(stderr.splitlines()) == 1
    assert "/proc" in stderr


def test_file_that_cannot_grow_is_refused(environment: dict[str, str], tmp_path: Path):
    """Writing fails half-way, as on a full disk: nothing of the output stays."""
    import resource

    out = tmp_path / "out"
    out.mkdir()
    limit = 2**20
    process = subprocess.run(
        [sys.executable, "-m", "MRHarmonizationLib", *WORDS[:-1]],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert process.returncode == 5, process.stderr
    assert len(process.stderr.splitlines()) == 1
    assert list(out.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file system that is full")
def test_full_output_for_the_events_is_said(environment: dict[str, str], tmp_path: Path):
    """Nowhere to write the events to: the run fails and says so on the standard error."""
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "MRHarmonizationLib", "models"],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert "No space left" in done.stderr
