"""One harmonisation of a diffusion scan, with the real command line and without; no temporary folder stays."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fake_dwi import GAIN, WARNING
from fake_runner import FakeRunner
from support.panel_scans import small_scan

from MRHarmonizationLib.core.errors import InputError, OutputError
from MRHarmonizationLib.inference.dwi_request import HarmonizeDwiRequest
from MRHarmonizationLib.inference.undo_series import undo_series
from MRHarmonizationLib.methods.dwi_target import DwiTarget, load_target, target_of_scans
from MRHarmonizationLib.slicer_adapter.dwi_run import KEPT_MAPS, DwiJob, DwiRun, harmonize_dwi_command
from MRHarmonizationLib.slicer_adapter.jobs import SubprocessRunner
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.grid import same_grid
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture(scope="module")
def scan() -> DwiVolume:
    return small_scan(directions=6, name="a/b: scan")


@pytest.fixture(scope="module")
def target() -> DwiTarget:
    return target_of_scans([small_scan(gain=0.4, seed=8)], name="Other")


def job_of(scan: DwiVolume, target: DwiTarget | None = None, **changes) -> DwiJob:
    request = HarmonizeDwiRequest(method="global_scaling", noise="none", keep_residual=True)
    return DwiJob(scan, replace(request, **changes), None, target, maps=True, report=True)


@pytest.mark.slow
def test_real_command_line(scan: DwiVolume, target: DwiTarget, tmp_path: Path):
    seen: list[float] = []
    done = DwiRun(job_of(scan, target), SubprocessRunner(), lambda share, _: seen.append(share), tmp_path).wait()
    assert not list(tmp_path.iterdir())
    assert seen == sorted(seen)
    assert same_grid(done.dwi.grid, scan.grid)
    np.testing.assert_allclose(done.dwi.b_values_s_per_mm2, scan.b_values_s_per_mm2)
    np.testing.assert_allclose(done.dwi.gradients_ras, scan.gradients_ras, atol=1e-6)
    factor = done.dwi.array[6, 8, 18] / scan.array[6, 8, 18]
    np.testing.assert_allclose(factor, factor[0], rtol=1e-5, err_msg="one gain for all volumes")
    assert factor[0] == pytest.approx(0.4, abs=0.01)
    assert done.residual is not None
    np.testing.assert_array_equal(undo_series(done.dwi, done.residual).array, scan.array)
    assert set(done.maps) == set(KEPT_MAPS)
    np.testing.assert_allclose(done.maps["fa_after"].array, done.maps["fa_before"].array, atol=1e-4)
    assert [row.tissue for row in done.rows][0] == "white matter"
    assert all(row.md_holds and row.fa_holds for row in done.rows)
    page = next(content for name, content in done.files.items() if name.endswith(".html"))
    assert page.decode("utf-8").lstrip().lower().startswith("<!doctype html")


def test_error_of_the_command_line_arrives(scan: DwiVolume, target: DwiTarget, tmp_path: Path):
    broken = scan.array.copy()
    broken[3, 3, 3, 2] = np.nan
    with pytest.raises(InputError, match="volume 2 has 1 of"):
        DwiRun(job_of(scan.with_array(broken), target), SubprocessRunner(), folder=tmp_path).wait()
    assert not list(tmp_path.iterdir())


def test_what_a_run_reads(scan: DwiVolume, tmp_path: Path):
    done = DwiRun(job_of(scan), FakeRunner(), folder=tmp_path).wait()
    assert done.strength_used == 0.8
    assert done.warnings == (WARNING,)
    np.testing.assert_allclose(done.dwi.array, scan.array * (1 + 0.8 * (GAIN - 1)), rtol=1e-6)
    assert set(done.maps) == set(KEPT_MAPS)
    assert set(done.files) == {"report.html", "report.csv"}
    assert b"a_b_ scan" in done.files["report.html"]
    assert not list(tmp_path.iterdir())
    plain = DwiRun(replace(job_of(scan, keep_residual=False), maps=False, report=False), FakeRunner(), folder=tmp_path)
    assert (plain.wait().residual, plain.wait().maps, plain.wait().files) == (None, {}, {})


def test_mask_and_target_lie_in_files(scan: DwiVolume, target: DwiTarget, tmp_path: Path):
    found: list[tuple[int, DwiTarget]] = []

    def look(command: Sequence[str]) -> None:
        from MRHarmonizationLib.volumes.files import read_volume

        mask = read_volume(command[command.index("--mask") + 1])
        found.append((int(mask.array.sum()), load_target(command[command.index("--target") + 1])))

    region = np.zeros(scan.grid.shape, np.uint8)
    region[4:8, 10:20, 10:20] = 1
    job = replace(job_of(scan, target), mask=Volume(region, scan.grid))
    DwiRun(job, FakeRunner(afterwards=look), folder=tmp_path).wait()
    assert found == [(400, target)]


@pytest.mark.parametrize("name", ["harmonized.nii", "residual.nrrd", "harmonized.bvec", "harmonized.mrh.json"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_result_that_does_not_load_is_a_failure(scan: DwiVolume, tmp_path: Path, name: str, damage: str):
    def spoil(command: Sequence[str]) -> None:
        path = Path(command[5]).with_name(name)
        if damage == "missing":
            path.unlink()
        else:
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    with pytest.raises(OutputError, match=r"wrote no|does not load"):
        DwiRun(job_of(scan), FakeRunner(afterwards=spoil), folder=tmp_path).wait()
    assert not list(tmp_path.iterdir())


def test_sidecar_without_table_is_a_failure(scan: DwiVolume, tmp_path: Path):
    def spoil(command: Sequence[str]) -> None:
        path = Path(command[5]).with_name("harmonized.mrh.json")
        values = json.loads(path.read_text(encoding="utf-8"))
        del values["table"]
        path.write_text(json.dumps(values), encoding="utf-8")

    with pytest.raises(OutputError, match="does not load"):
        DwiRun(job_of(scan), FakeRunner(afterwards=spoil), folder=tmp_path).wait()


def test_command_says_what_the_job_says(scan: DwiVolume):
    paths = {"scan": Path("s.nii"), "output": Path("o.nii")}
    job = job_of(scan, strength=0.5, spacing_mm=(2, 2, 2.5), noise="floor")
    command = harmonize_dwi_command(job, paths | {"residual": Path("r.nrrd"), "mask": Path("m"), "report": Path("p")})
    assert command[:4] == [sys.executable, "-m", "MRHarmonizationLib", "harmonize-dwi"]
    assert " ".join(command[4:]) == (
        "s.nii o.nii --method global_scaling --strength 0.5 --noise floor --target canonical --spacing 2.0,2.0,2.5 "
        "--mask m --residual r.nrrd --report p --jsonl"
    )
    fitted = replace(job, request=HarmonizeDwiRequest(method="nyul", fitted="f.json", spacing_mm="target"))
    said = " ".join(harmonize_dwi_command(fitted, paths))
    assert "--fitted f.json" in said
    assert "--spacing target" in said
    assert "--target canonical" not in said
