"""The command ``segment``: label map, table and record as the library's function gives them, mistakes in one line."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_models import write_tiny_model, write_tiny_segmenter
from typer.testing import CliRunner

from MRHarmonizationLib.cli import app
from MRHarmonizationLib.inference.region_volumes import volume_rows
from MRHarmonizationLib.inference.segment import SegmentRequest, segment
from MRHarmonizationLib.inference.undo import voxel_digest
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.grid import same_grid
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture
def scan(head_phantom: Volume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A scan in a file, and a tiny network that names voxels by intensity."""
    pytest.importorskip("onnx")
    write_tiny_segmenter(tmp_path / "weights", classes=(0, 18, 2, 1))
    write_tiny_model(tmp_path / "weights", "enhancer")
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(tmp_path / "weights"))
    return write_volume(head_phantom, tmp_path / "scan.nii.gz")


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["segment", *map(str, words)])
    assert result.exit_code == code, result.output
    return " ".join(result.output.split()) if code else result.output


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_labels_table_and_record(scan: Path, tmp_path: Path, ending: str):
    out, table = tmp_path / f"labels{ending}", tmp_path / "volumes.csv"
    told = json.loads(run(scan, out, "--volumes", table, "--jsonl").splitlines()[-1])
    assert told["event"] == "result"
    expected = segment(SegmentRequest(read_volume(scan)))
    written = read_volume(out)
    np.testing.assert_array_equal(written.array, expected.labels.array)
    assert written.array.dtype == np.int16
    assert same_grid(written.grid, read_volume(scan).grid)
    rows = list(csv.DictReader(table.read_text(encoding="utf-8").splitlines()))
    assert list(rows[0]) == ["region", "number", "side", "volume_ml"]
    assert [float(row["volume_ml"]) for row in rows] == [r["volume_ml"] for r in volume_rows(expected.volumes_mm3)]
    assert told["regions"] == volume_rows(expected.volumes_mm3)
    record = json.loads((tmp_path / "labels.mrh.json").read_text(encoding="utf-8"))
    assert record["operation"] == "segment"
    assert record["output_digest"] == voxel_digest(written.array)
    assert record["volumes"] == told["regions"]
    assert any("not found" in warning for warning in told["warnings"])


def test_a_person_sees_a_table_without_any_file(scan: Path, tmp_path: Path):
    before = sorted(path.name for path in tmp_path.iterdir())
    text = run(scan)
    lines = text.splitlines()
    (head,) = [line for line in lines if line.startswith("volume in ml")]
    (thalamus,) = [line for line in lines if line.startswith("thalamus")]
    assert len(thalamus) == len(head)
    assert any(line.startswith("Brain stem") for line in lines)
    assert len([line for line in lines if "warning" not in line]) == 1 + 14 + 4 + 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_table_alone_has_its_record_beside_it(scan: Path, tmp_path: Path):
    run(scan, "--volumes", tmp_path / "only.csv")
    assert json.loads((tmp_path / "only.mrh.json").read_text())["model_id"] == "brain-regions"
    assert not (tmp_path / "only.nii.gz").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--model", "nothing"], 4, "no model 'nothing'"),
        (["--model", "enhancer"], 2, "made for 'enhance', not for 'segment'"),
        (["--device", "tpu"], 2, "device is 'tpu'"),
        (["--volumes", "table.txt"], 5, "does not end with .csv"),
        (["--volumes", "/no/such/folder/table.csv"], 5, "/no/such/folder"),
    ],
)
def test_mistakes(scan: Path, tmp_path: Path, words: list[str], code: int, said: str):
    assert said in run(scan, tmp_path / "out.nii.gz", *words, code=code)
    assert not (tmp_path / "out.nii.gz").exists()


def test_files_that_are_no_output(scan: Path, tmp_path: Path):
    assert "same file" in run(scan, scan, code=5)
    assert ".nii.gz" in run(scan, tmp_path / "out.txt", code=5)
    labels = segment(SegmentRequest(read_volume(scan))).labels
    drawn = write_volume(labels, tmp_path / "drawn.nii.gz")
    assert "label map" in run(drawn, tmp_path / "out.nii.gz", code=3)


def test_models_are_listed_with_what_they_are_for(scan: Path):
    result = CliRunner().invoke(app, ["models"])
    assert result.exit_code == 0, result.output
    listed = result.output.split("brain-regions 1")[1].split("\n\n")[0]
    assert "command: segment" in listed
    assert "command: enhance" in result.output.split("enhancer 1")[1]
    refused = CliRunner().invoke(app, ["enhance", str(scan), str(scan.parent / "o.nii.gz"), "--model", "brain-regions"])
    assert refused.exit_code == 2
    assert "made for 'segment'" in refused.output
