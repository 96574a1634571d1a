"""Simulated scans as files, and the command that makes them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.diffusion import head_labels

from MRHarmonizationLib import cli
from MRHarmonizationLib.core.errors import InputError, OutputError, ParameterError
from MRHarmonizationLib.degradations.dwi_scanner import load_scanner, scanner_ids
from MRHarmonizationLib.inference.dwi_simulation import simulate_dwi_file
from MRHarmonizationLib.volumes.dwi_files import read_dwi
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.grid import same_grid


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    return write_volume(head_labels(spacing_mm=1.75), tmp_path / "labels.nii.gz")


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A quick scanner: 4 mm voxels, 6 directions."""
    values = load_scanner("vendor-d-3t").to_dict()
    values |= {"id": "small", "matrix": [32, 32], "field_of_view_mm": [128, 128], "directions": [6]}
    values |= {"slice_spacing_mm": 6.0, "slice_thickness_mm": 6.0}
    path = tmp_path / "small.json"
    path.write_text(json.dumps(values))
    return path


def test_scan_masks_and_record_fit_together(labels: Path, small: Path, tmp_path: Path):
    (files,) = simulate_dwi_file(labels, tmp_path / "scan.nii.gz", str(small), seed=2, lesion="stroke")
    dwi = read_dwi(files.output)
    assert dwi.n_volumes == 7
    assert dwi.metadata["echo_time_ms"] == pytest.approx(90.0)
    assert dwi.metadata["phase_encoding"] == "j"
    brain, lesion = read_volume(files.brain_mask), read_volume(files.lesion_mask)
    assert same_grid(brain.grid, dwi.grid)
    assert same_grid(lesion.grid, dwi.grid)
    assert lesion.array.sum() * lesion.grid.voxel_volume_mm3 > 50
    record = json.loads(files.sidecar.read_text())
    assert record["operation"] == "simulate-dwi"
    assert record["parameters"]["scan"]["scanner"] == "small"
    assert np.allclose(dwi.gradients_ras, record["parameters"]["scan"]["gradients_ras"], atol=1e-6)
    assert np.allclose(dwi.b_values_s_per_mm2, record["parameters"]["scan"]["b_values_s_per_mm2"])
    b0 = dwi.array[..., 0]
    assert b0[brain.array > 0].mean() > 3 * b0[brain.array == 0].mean()
    assert not list(tmp_path.glob(".mrh-part-*"))


def test_record_replays_the_scan(labels: Path, small: Path, tmp_path: Path):
    (first,) = simulate_dwi_file(labels, tmp_path / "one.nrrd", str(small), seed=5, lesion="ms")
    (again,) = simulate_dwi_file(labels, tmp_path / "two.nrrd", replay=first.sidecar)
    assert np.array_equal(read_dwi(first.output).array, read_dwi(again.output).array)
    assert np.array_equal(read_volume(first.lesion_mask).array, read_volume(again.lesion_mask).array)
    (other,) = simulate_dwi_file(labels, tmp_path / "three.nrrd", str(small), seed=6)
    assert other.lesion_mask is None
    assert not np.array_equal(read_dwi(other.output).array, read_dwi(first.output).array)


def test_mistakes_are_told_before_the_work(labels: Path, small: Path, tmp_path: Path):
    with pytest.raises(ParameterError, match="'cold' is unknown"):
        simulate_dwi_file(labels, tmp_path / "a.nii.gz", lesion="cold")
    with pytest.raises(ParameterError, match="seed -1"):
        simulate_dwi_file(labels, tmp_path / "a.nii.gz", seed=-1)
    with pytest.raises(ParameterError, match="vendor-z"):
        simulate_dwi_file(labels, tmp_path / "a.nii.gz", "vendor-z")
    with pytest.raises(OutputError, match="does not end with"):
        simulate_dwi_file(labels, tmp_path / "a.mha", str(small))
    with pytest.raises(OutputError, match="same file"):
        simulate_dwi_file(labels, labels, str(small))
    with pytest.raises(OutputError, match="is a file"):
        simulate_dwi_file(labels, labels, all_scanners=True)
    with pytest.raises(InputError, match="no record of a simulated scan"):
        simulate_dwi_file(labels, tmp_path / "a.nii.gz", replay=small)
    with pytest.raises(ParameterError, match="one scan, not all"):
        simulate_dwi_file(labels, tmp_path, all_scanners=True, replay=small)
    with pytest.raises(InputError, match="nothing.nii"):
        simulate_dwi_file(tmp_path / "nothing.nii", tmp_path / "a.nii.gz", str(small))
    assert not list(tmp_path.glob("a.*"))


def test_an_image_is_not_taken_for_labels(small: Path, tmp_path: Path):
    source = head_labels()
    path = write_volume(source.with_array(source.array + np.float32(0.25)), tmp_path / "image.nii.gz")
    with pytest.raises(InputError, match="labels, not an image"):
        simulate_dwi_file(path, tmp_path / "a.nii.gz", str(small))


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        cli.main([str(word) for word in words])
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


def test_command_writes_a_scan(labels: Path, small: Path, tmp_path: Path, capsys):
    out = tmp_path / "scan.nii.gz"
    code, said, _ = run(capsys, "simulate-dwi", labels, out, "--scanner", small, "--seed", 3, "--jsonl")
    assert code == 0
    events = [json.loads(line) for line in said.splitlines()]
    assert events[-1]["event"] == "result"
    (scan,) = events[-1]["scans"]
    assert scan["scanner"] == "small"
    assert read_dwi(scan["output"]).n_volumes == 7
    fractions = [event["fraction"] for event in events if event["event"] == "progress"]
    assert fractions == sorted(fractions)


def test_command_explains_itself_and_its_mistakes(labels: Path, tmp_path: Path, capsys):
    code, said, _ = run(capsys, "simulate-dwi", "--help")
    assert code == 0
    assert "--all-scanners" in said
    code, _, complaint = run(capsys, "simulate-dwi", labels, tmp_path / "a.nii.gz", "--scanner", "nobody")
    assert code == 2
    assert "vendor-a-1.5t" in complaint
    assert len(complaint.splitlines()) == 1


@pytest.mark.slow
def test_command_writes_the_travelling_subject(labels: Path, tmp_path: Path, capsys):
    folder = tmp_path / "subject"
    code, said, _ = run(capsys, "simulate-dwi", labels, folder, "--all-scanners", "--lesion", "stroke")
    assert code == 0
    assert len(said.splitlines()) == 7
    for name in scanner_ids():
        dwi = read_dwi(folder / f"{name}.nii.gz")
        lesion = read_volume(folder / f"{name}_lesion.nii.gz")
        assert same_grid(dwi.grid, lesion.grid)
        assert lesion.array.any()
