"""The package as a user has it: installed from the wheel, run from elsewhere, with a home of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from MRHarmonizationLib.samples import LOW_FIELD_SCAN
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.volume import Volume

DEMO_LIMIT_S = 150
"""Processor time: the README promises three minutes on two cores, installation included, on a machine not else busy."""
TIMEOUT_S = 550


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel unpacked into a folder, as pip does it; its dependencies are those of the test environment."""
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--quiet", "--target", str(target)]
    done = subprocess.run([*command, str(wheel)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return target


def run_installed(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the installed command line in ``folder``, with HOME there and nothing of the checkout in reach."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "MRH", "XDG"))}
    environment |= {"PYTHONPATH": str(installed), "HOME": str(folder / "home")}
    return subprocess.run(
        [sys.executable, "-m", "MRHarmonizationLib", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )


def processor_time_s() -> float:
    """Return the processor time of all ended child processes: unlike the clock, not lengthened by other work."""
    times = os.times()
    return times.children_user + times.children_system


def test_command_of_the_wheel_starts_the_program(installed: Path):
    (entry_points,) = installed.glob("*.dist-info/entry_points.txt")
    assert "mrharmonize = MRHarmonizationLib.cli:main" in entry_points.read_text()


@pytest.mark.slow
def test_demo_with_the_published_model(installed: Path, tmp_path: Path):
    """The first of the README's two commands: a result, a report, the paths; nearer to the truth than before."""
    began = processor_time_s()
    done = run_installed(installed, tmp_path, "demo", "--jsonl")
    assert done.returncode == 0, done.stderr
    assert processor_time_s() - began < DEMO_LIMIT_S
    result = json.loads(done.stdout.splitlines()[-1])
    for name in ("scan", "output", "residual", "sidecar", "reference", "report"):
        assert Path(result[name]).parent == tmp_path / "mrharmonize-demo"
        assert Path(result[name]).stat().st_size > 500
    before, after = (
        {entry["name"]: entry["value"] for entry in result["comparison"]["measurements"][key]}
        for key in ("before_vs_reference", "after_vs_reference")
    )
    assert after["psnr"] > before["psnr"] + 1
    assert after["ssim"] > before["ssim"] + 0.03
    page = Path(result["report"]).read_text(encoding="utf-8")
    assert "data:image/png;base64," in page
    assert "not used in training" in page
    assert not (tmp_path / "home" / "mrharmonize-demo").exists()


@pytest.mark.slow
def test_undo_of_a_part_of_the_sample(installed: Path, tmp_path: Path):
    """enhance → undo → compare through files of three formats, with the published model."""
    sample = read_volume(LOW_FIELD_SCAN)
    shape = tuple(min(48, size) for size in sample.array.shape)
    start = tuple((size - part) // 2 for size, part in zip(sample.array.shape, shape, strict=True))
    middle = tuple(slice(first, first + part) for first, part in zip(start, shape, strict=True))
    write_volume(Volume(sample.array[middle], sample.grid.crop(start, shape), "part"), tmp_path / "scan.nii.gz")
    enhanced, residual, undone = "enhanced.nii.gz", "residual.nrrd", "undone.mha"
    for words in (
        ("enhance", "scan.nii.gz", enhanced, "--residual", residual, "--strength", "0.7"),
        ("undo", enhanced, residual, undone),
        ("enhance", "scan.nii.gz", "baseline.nrrd", "--strength", "0"),
        ("compare", "baseline.nrrd", enhanced, "--out", "report"),
    ):
        done = run_installed(installed, tmp_path, *words)
        assert done.returncode == 0, done.stderr
        assert done.stderr == ""
    first, second = (read_volume(tmp_path / name).array for name in (undone, "baseline.nrrd"))
    np.testing.assert_array_equal(first.view(np.int32), second.view(np.int32))
    assert (tmp_path / "report" / "report.html").is_file()
