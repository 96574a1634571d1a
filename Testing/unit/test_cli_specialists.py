"""The commands around specialists: synthetic pairs of a folder, options that do not fit, told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from MRHarmonizationLib.cli import app
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture
def good(head_phantom: Volume, tmp_path: Path) -> Path:
    """A folder with two good scans of one grid."""
    folder = tmp_path / "good"
    folder.mkdir()
    for number in (1, 2):
        volume = head_phantom.with_array(np.roll(head_phantom.array, number, axis=1))
        write_volume(volume, folder / f"sub-0{number}_T1w.nii.gz")
    return folder


def test_pairs_of_a_folder(good: Path, tmp_path: Path):
    words = ["synthesize-pairs", "--high", str(good), "--kind", "coarse-matrix", "--out", str(tmp_path / "pairs")]
    result = CliRunner().invoke(app, [*words, "--seed", "3", "--jsonl"])
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout.splitlines()[-1])
    assert len(told["pairs"]) == 2
    folder = tmp_path / "pairs" / told["pairs"][0]["folder"]
    low, high = (read_volume(folder / f"{name}.nii.gz").array for name in ("low", "high"))
    assert low.shape == high.shape
    # what was coarse came back to the fine grid: blurred, in place
    assert np.abs(np.diff(low, axis=2)).mean() < 0.9 * np.abs(np.diff(high, axis=2)).mean()

    def alike(shift: int) -> float:
        return float(np.corrcoef(np.roll(low, shift, axis=2).ravel(), high.ravel())[0, 1])

    assert alike(0) > 0.9
    assert alike(0) > max(alike(-1), alike(1)) + 0.01


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["synthesize-pairs", "--out", "p"], "--high DIR or --recipe NAME"),
        (["synthesize-pairs", "--out", "p", "--high", "x", "--kind", "noise-blur", "--steps", "9"], "no use"),
        (["train", "regions", "--set", "acquired"], "does not exist"),
        (["train", "contrast", "--misalign", "2"], "of no specialist"),
        (["train", "restore-any", "--set", "acquired", "--data", "."], "of no specialist"),
        (["train", "denoise-cnn", "--set", "synthetic", "--data", "."], "--synthetic DIR"),
        (["train", "denoise-cnn", "--misalign", "9", "--data", "."], "9"),
        (["restore", "a.nii", "b.nii", "--finer", "3"], "finer is 3"),
        (["evaluate", "restore", "--out", "o", "--data", ".", "--maniqa", "m.pt"], "--maniqa"),
    ],
)
def test_mistakes_are_told(words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, words)
    assert result.exit_code in (2, 3), result.output
    assert said in result.output + result.stderr
