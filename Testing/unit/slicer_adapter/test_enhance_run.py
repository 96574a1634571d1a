"""One run from volume to volume, with the real command line on a tiny network; the temporary folder never stays."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from fake_runner import FakeRunner
from tiny_models import write_tiny_model

from MRHarmonizationLib.core.errors import InputError, OperationCancelled, OutputError
from MRHarmonizationLib.inference.enhance import EnhanceRequest
from MRHarmonizationLib.inference.undo import undo
from MRHarmonizationLib.slicer_adapter import jobs
from MRHarmonizationLib.slicer_adapter.enhance_run import EnhanceRun, enhance_command
from MRHarmonizationLib.slicer_adapter.jobs import CANCELLED, SubprocessRunner
from MRHarmonizationLib.volumes.grid import same_grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume


def test_real_command_line(head_phantom: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(write_tiny_model(tmp_path / "weights").parent))
    work = tmp_path / "work"
    work.mkdir()
    thick = resample(head_phantom, head_phantom.grid.with_spacing((1.0, 1.0, 4.0)))
    seen = []
    request = EnhanceRequest(model="tiny", strength=0.5, keep_residual=True, output_spacing_mm=1.5, device="cpu")
    run = EnhanceRun(thick, request, SubprocessRunner(), lambda *args: seen.append(args), work)
    done = run.wait()
    assert not list(work.iterdir())
    assert same_grid(done.volume.grid, thick.grid.isotropic(1.5))
    assert done.residual is not None
    baseline = undo(done.volume, done.residual)
    assert np.array_equal(baseline.array, resample(thick, thick.grid.isotropic(1.5)).array)
    assert done.provenance.model_id == "tiny"
    assert done.provenance.parameters["strength"] == 0.5
    assert [fraction for fraction, _ in seen] == sorted(fraction for fraction, _ in seen)
    assert seen[-1][0] == 1.0


def test_error_of_the_command_line_arrives(head_phantom: Volume, tmp_path: Path):
    run = EnhanceRun(head_phantom, EnhanceRequest(model="none-such"), SubprocessRunner(), folder=tmp_path)
    with pytest.raises(LookupError, match="none-such"):
        run.wait()
    assert not list(tmp_path.iterdir())


def test_cancel_removes_the_folder(head_phantom: Volume, tmp_path: Path):
    run = EnhanceRun(head_phantom, EnhanceRequest(), FakeRunner(steps=1000), folder=tmp_path)
    run.step()
    assert list(tmp_path.iterdir())
    run.cancel()
    assert run.state == CANCELLED
    assert isinstance(run.error, OperationCancelled)
    assert not list(tmp_path.iterdir())


def test_interrupted_waiting_leaves_nothing_running(head_phantom: Volume, tmp_path: Path):
    runner = FakeRunner(steps=1000)
    run = EnhanceRun(head_phantom, EnhanceRequest(), runner, folder=tmp_path)

    def interrupt() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.wait(interrupt)
    assert runner.processes[0].killed
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["empty", "cut"])
def test_result_that_does_not_load_is_a_failure(head_phantom: Volume, tmp_path: Path, damage: str):
    def spoil(command: Sequence[str]) -> None:
        target = Path(command[5])
        target.write_bytes(b"" if damage == "empty" else target.read_bytes()[: target.stat().st_size // 2])

    run = EnhanceRun(head_phantom, EnhanceRequest(), FakeRunner(afterwards=spoil), folder=tmp_path)
    with pytest.raises(OutputError, match="does not load"):
        run.wait()
    assert not list(tmp_path.iterdir())


def test_process_that_cannot_be_started(head_phantom: Volume, tmp_path: Path):
    class Deaf:
        def start(self, command: Sequence[str], environment: Mapping[str, str]) -> jobs.RunningProcess:
            raise FileNotFoundError("no such program")

    with pytest.raises(OutputError, match="cannot be started"):
        EnhanceRun(head_phantom, EnhanceRequest(), Deaf(), folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_no_room_for_temporary_files(head_phantom: Volume, tmp_path: Path):
    with pytest.raises(OutputError, match="temporary"):
        EnhanceRun(head_phantom, EnhanceRequest(), FakeRunner(), folder=tmp_path / "missing")


def test_error_event_of_a_fake(head_phantom: Volume, tmp_path: Path):
    runner = FakeRunner(error=InputError("wrong scan", "take another"))
    with pytest.raises(InputError, match="wrong scan; take another"):
        EnhanceRun(head_phantom, EnhanceRequest(), runner, folder=tmp_path).wait()


def test_command_says_what_the_request_says(monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("typer")
    command = enhance_command(
        EnhanceRequest("m", 0.25, "cpu", "torch", 1.5), Path("in.nrrd"), Path("out.nrrd"), Path("r.nrrd")
    )
    assert command[:4] == [sys.executable, "-m", "MRHarmonizationLib", "enhance"]
    assert " ".join(command[4:]) == (
        "in.nrrd out.nrrd --model m --strength 0.25 --device cpu --backend torch --spacing 1.5 --residual r.nrrd "
        "--jsonl"
    )
    assert json.dumps(command)
    plain = enhance_command(EnhanceRequest(), Path("a"), Path("b"), None)
    assert "--spacing" not in plain
    assert "--residual" not in plain
