"""The command ``restore``: the same as the library's function, mistakes in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_models import write_tiny_restorer
from typer.testing import CliRunner

from MRHarmonizationLib.cli import app
from MRHarmonizationLib.inference.restore import RestoreRequest, restore
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture
def scan(head_phantom: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scan in a file, and a tiny restorer."""
    pytest.importorskip("onnx")
    write_tiny_restorer(tmp_path / "weights", input={"ensemble": False})
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(tmp_path / "weights"))
    part = head_phantom.array[:12]
    return write_volume(Volume(part, head_phantom.grid.crop((0, 0, 0), part.shape)), tmp_path / "scan.nii.gz")


def test_restore_and_undo(scan: Path, tmp_path: Path):
    out, residual = tmp_path / "out.nii.gz", tmp_path / "residual.nrrd"
    words = ["restore", scan, out, "--denoise", 0.7, "--sharpen", 0.2, "--noise-level", 6, "--blur-level", 1.5]
    result = CliRunner().invoke(app, [*map(str, words), "--residual", str(residual), "--jsonl"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout.splitlines()[-1])
    assert told["event"] == "result"
    assert told["provenance"]["parameters"]["noise_level"] == 6
    assert set(told["quality"]) == {"estimated_noise_percent", "estimated_blur_level"}
    expected = restore(read_volume(scan), RestoreRequest(0.7, 0.2, noise_level=6, blur_level=1.5))
    np.testing.assert_array_equal(read_volume(out).array, expected.volume.array)
    undone = CliRunner().invoke(app, ["undo", str(out), str(residual), str(tmp_path / "back.nii.gz")])
    assert undone.exit_code == 0, undone.output
    np.testing.assert_array_equal(read_volume(tmp_path / "back.nii.gz").array, read_volume(scan).array)


@pytest.mark.parametrize("options", [["--interpolated"], ["--finer", "2"]])
def test_interpolated_planes(scan: Path, tmp_path: Path, options: list[str]):
    write_tiny_restorer(tmp_path / "weights", input={"ensemble": True, "interpolated": "fine"})
    write_tiny_restorer(tmp_path / "weights", "fine", input={"ensemble": False})
    out = tmp_path / "out.nrrd"
    result = CliRunner().invoke(app, ["restore", str(scan), str(out), "--sharpen", "1", *options])
    assert result.exit_code == 0, result.output
    finer = 2 if "--finer" in options else 1
    expected = restore(read_volume(scan), RestoreRequest(sharpen=1.0, finer=finer, interpolated=finer == 1))
    assert expected.provenance.parameters["detail_model"] == "fine"
    np.testing.assert_array_equal(read_volume(out).array, expected.volume.array)


def test_a_person_is_told_what_was_found(scan: Path, tmp_path: Path):
    result = CliRunner().invoke(app, ["restore", str(scan), str(tmp_path / "out.nrrd")])
    assert result.exit_code == 0, result.output
    assert "denoise 0.8, sharpen" in result.output
    assert "pixels (estimated)" in result.output
    record = json.loads((tmp_path / "out.mrh.json").read_text())
    assert RestoreRequest().to_dict().items() <= record["parameters"].items()  # the doors have the same defaults


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--denoise", "1.5"], 2, "denoise is 1.5"),
        (["--blur-level", "9"], 2, "9.0 pixels"),
        (["--model", "nothing"], 4, "no model 'nothing'"),
        (["--residual", "residual.txt"], 5, ".nrrd"),
    ],
)
def test_mistakes(scan: Path, tmp_path: Path, options: list[str], code: int, word: str):
    result = CliRunner().invoke(app, ["restore", str(scan), str(tmp_path / "out.nii.gz"), *options])
    assert result.exit_code == code
    assert word in " ".join(result.output.split())
    assert not (tmp_path / "out.nii.gz").exists()
