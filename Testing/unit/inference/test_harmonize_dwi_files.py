"""Harmonisation of diffusion files and the command line's part in it, from a real scan's mistakes to undo."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.diffusion_scan import brain_scan, labels

from MRHarmonizationLib import cli
from MRHarmonizationLib.core.errors import InputError, OperationCancelled, OutputError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.harmonize_dwi import HarmonizeDwiRequest
from MRHarmonizationLib.inference.harmonize_dwi_files import harmonize_dwi_file, undo_dwi_file
from MRHarmonizationLib.inference.undo_series import series_digest
from MRHarmonizationLib.volumes.dwi_files import read_dwi, write_dwi
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.volume import Volume

REQUEST = HarmonizeDwiRequest("nyul", noise="none")
MAPS = {f"{name}_{when}" for name in ("b0", "trace", "md", "fa") for when in ("before", "after")} | {"gain", "brain"}


@pytest.fixture
def scan_file(tmp_path: Path) -> Path:
    folder = tmp_path / "scans"
    folder.mkdir()
    return write_dwi(brain_scan(6, noise=4.0, gain=20.0, dtype=np.int16), folder / "dti.nii.gz")[0]


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd"])
def test_scan_tables_record_residual_and_maps(scan_file: Path, tmp_path: Path, ending: str):
    out = tmp_path / f"out{ending}"
    request = HarmonizeDwiRequest("nyul", keep_residual=True)
    done = harmonize_dwi_file(scan_file, out, request, maps=tmp_path / "maps")
    before, after = read_dwi(scan_file), read_dwi(out)
    np.testing.assert_allclose(after.b_values_s_per_mm2, before.b_values_s_per_mm2)
    np.testing.assert_allclose(after.gradients_ras, before.gradients_ras, atol=1e-6)
    np.testing.assert_array_equal(after.array, done.result.dwi.array)
    record = json.loads(done.sidecar.read_text())
    assert record["output_digest"] == series_digest(after.array)
    assert record["table"][0]["tissue"] == "white matter"
    assert set(done.maps) == MAPS
    np.testing.assert_array_equal(read_volume(done.maps["fa_after"]).array, done.result.after.fa.array)
    assert (done.bval is None) == (ending == ".nrrd")
    assert done.residual == tmp_path / "out_residual.nrrd"
    back = undo_dwi_file(out, done.residual, tmp_path / f"back{ending}")
    np.testing.assert_array_equal(read_dwi(back).array, before.array.astype(np.float32))
    assert not list(tmp_path.rglob(".mrh-part-*"))


def test_nothing_appears_after_a_cancellation(scan_file: Path, tmp_path: Path):
    progress = Progress(lambda fraction, message: message.startswith("Writing") and progress.cancel())
    with pytest.raises(OperationCancelled):
        harmonize_dwi_file(scan_file, tmp_path / "out.nii.gz", REQUEST, residual=tmp_path / "r.nrrd", progress=progress)
    assert [path.name for path in tmp_path.iterdir()] == ["scans"]


def test_files_must_differ(scan_file: Path, tmp_path: Path):
    with pytest.raises(OutputError, match="same file"):
        harmonize_dwi_file(scan_file, scan_file, REQUEST)
    with pytest.raises(OutputError, match="same file"):
        harmonize_dwi_file(scan_file, tmp_path / "o.nrrd", REQUEST, residual=tmp_path / "o.nrrd")


def test_undo_wants_the_right_pair(scan_file: Path, tmp_path: Path):
    residual = tmp_path / "r.nrrd"
    harmonize_dwi_file(scan_file, tmp_path / "a.nrrd", REQUEST, residual=residual)
    harmonize_dwi_file(scan_file, tmp_path / "b.nrrd", HarmonizeDwiRequest("global_scaling", noise="none"))
    with pytest.raises(InputError, match="another scan"):
        undo_dwi_file(tmp_path / "b.nrrd", residual, tmp_path / "c.nrrd")
    assert not (tmp_path / "c.nrrd").exists()


# --- command line ---------------------------------------------------------------------------------------------------

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*words: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main([str(word) for word in words])
        said = capsys.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return call


def result_of(out: str) -> dict[str, Any]:
    event = json.loads(out.splitlines()[-1])
    assert event["event"] == "result"
    return event


def test_command_for_programs_carries_all_paths(run: Run, scan_file: Path, tmp_path: Path):
    words = ["harmonize-dwi", scan_file, tmp_path / "o.nii.gz", "--method", "b0_histogram", "--strength", 0.7]
    further = ["--keep-residual", tmp_path / "r.nrrd", "--report", tmp_path / "report", "--spacing", "2.5,2.5,3"]
    code, out, err = run(*words, *further, "--jsonl")
    assert (code, err) == (0, "")
    event = result_of(out)
    paths = {"output", "bval", "bvec", "sidecar", "residual", "report", "report_json", "report_csv", *MAPS}
    assert all(Path(event[name]).is_file() for name in paths)
    assert event["strength_requested"] == event["strength_used"] == 0.7
    assert {row["measure"] for row in event["table"]} == {"MD", "FA"}
    assert event["provenance"]["model_id"] == "b0_histogram"
    fractions = [line["fraction"] for line in map(json.loads, out.splitlines()) if line["event"] == "progress"]
    assert fractions == sorted(fractions)
    assert run("undo", tmp_path / "o.nii.gz", tmp_path / "r.nrrd", tmp_path / "back.nii.gz")[0] == 0
    np.testing.assert_allclose(read_dwi(tmp_path / "back.nii.gz").grid.spacing_mm, (2.5, 2.5, 3), atol=1e-5)


def test_command_for_people(run: Run, scan_file: Path, tmp_path: Path):
    mask = write_volume(Volume((labels() > 0).astype(np.uint8), read_dwi(scan_file).grid), tmp_path / "brain.nrrd")
    bare = tmp_path / "bare.nii.gz"
    bare.write_bytes(scan_file.read_bytes())
    tables = ["--bval", scan_file.with_name("dti.bval"), "--bvec", scan_file.with_name("dti.bvec")]
    code, out, err = run("harmonize-dwi", bare, tmp_path / "o.nrrd", *tables, "--method", "nyul", "--mask", mask)
    assert code == 0, err
    assert "white matter   MD" in out
    assert "too few to be denoised" in err
    code, _, err = run("harmonize-dwi", bare, tmp_path / "o.nrrd", "--method", "nyul")
    assert code == 3
    assert "bare.bval" in err


def test_fitting_from_own_scans(run: Run, scan_file: Path, tmp_path: Path):
    target = write_dwi(brain_scan(15, gain=0.5, seed=3), tmp_path / "target.nrrd")[0]
    words = ["fit-dwi", "b0_histogram", tmp_path / "fit.json", "--target", target]
    assert run(*words)[0] == 0
    code, out, _ = run("harmonize-dwi", scan_file, tmp_path / "o.nrrd", "--fitted", tmp_path / "fit.json", "--jsonl")
    assert code == 0
    assert result_of(out)["provenance"]["model_id"] == "b0_histogram"
    inside = labels() > 0
    found, wanted = (float(np.median(read_dwi(path).mean_b0().array[inside])) for path in (tmp_path / "o.nrrd", target))
    assert found == pytest.approx(wanted, rel=0.05)
    code, _, err = run("fit-dwi", "linear_rish", tmp_path / "fit.json", "--target", target)
    assert (code, "source" in err) == (2, True)


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--method", "moonlight"], 2, "b0_histogram"),
        (["--strength", "2"], 2, "strength"),
        (["--noise", "loud"], 2, "denoise"),
        (["--spacing", "fine"], 2, "spacing"),
        (["--spacing", "1,2"], 2, "spacing"),
        (["--target", "moon"], 2, "canonical"),
        (["--fitted", "nowhere.json"], 3, "nowhere.json"),
        (["--mask", "nowhere.nrrd"], 3, "nowhere.nrrd"),
        (["--keep-residual", "r.nii.gz"], 5, ".nrrd"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    run: Run, scan_file: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, word: str
):
    monkeypatch.chdir(scan_file.parent)
    method = [] if {"--method", "--fitted"} & set(options) else ["--method", "nyul"]
    ended, out, err = run("harmonize-dwi", scan_file, "out.nrrd", *method, *options)
    assert ended == code, err
    assert out == ""
    assert len(err.splitlines()) == 1
    assert word in err
    assert not Path("out.nrrd").exists()


def rewrite(ending: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Path], None]:
    """Change the numbers of a table beside a scan."""

    def apply(scan: Path) -> None:
        path = scan.with_name("dti" + ending)
        np.savetxt(path, np.atleast_2d(change(np.loadtxt(path))), fmt="%.8g")

    return apply


def one_volume(scan: Path) -> None:
    dwi = read_dwi(scan)
    write_volume(dwi.volume(0), scan)


def weighted_direction(values: list[float]) -> Callable[[np.ndarray], np.ndarray]:
    def change(table: np.ndarray) -> np.ndarray:
        table[:, 3] = values
        return table

    return change


@pytest.mark.parametrize(
    ("damage", "word"),
    [
        (lambda scan: scan.with_name("dti.bval").unlink(), "has no b-values"),
        (lambda scan: scan.with_name("dti.bvec").unlink(), "has no gradient directions"),
        (rewrite(".bval", lambda b: b[:-1]), "7 b-values for 8 volumes"),
        (rewrite(".bval", lambda b: 0 * b), "all 8 b-values are 0"),
        (rewrite(".bval", lambda b: b / 1000), "ms/µm²"),
        (rewrite(".bval", lambda b: b * 1e6), "s/m²"),
        (rewrite(".bval", lambda b: b + 900), "without diffusion weighting"),
        (rewrite(".bvec", weighted_direction([0.5, 0.5, 0.1])), "has length"),
        (rewrite(".bvec", weighted_direction([float("nan")] * 3)), "volume 3"),
        (one_volume, "3-D"),
    ],
)
def test_bad_scans_are_refused_in_one_line(run: Run, scan_file: Path, tmp_path: Path, damage: Any, word: str):
    damage(scan_file)
    code, _, err = run("harmonize-dwi", scan_file, tmp_path / "o.nrrd", "--method", "nyul")
    assert code == 3
    assert len(err.splitlines()) == 1
    assert word in err
    assert not (tmp_path / "o.nrrd").exists()


# --- real scans -----------------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", ["philips_achieva_dstream_b2000", "canon_galan3t_b1500_oblique_sagittal"])
def test_real_scans_keep_gradients_geometry_and_diffusion(data_dir: Path, tmp_path: Path, name: str):
    source = data_dir / "dwi" / f"{name}.nii.gz"
    done = harmonize_dwi_file(source, tmp_path / "o.nii.gz", HarmonizeDwiRequest("b0_histogram"))
    before, after = read_dwi(source), read_dwi(done.output)
    np.testing.assert_allclose(after.b_values_s_per_mm2, before.b_values_s_per_mm2)
    np.testing.assert_allclose(after.gradients_ras, before.gradients_ras, atol=1e-5)
    np.testing.assert_allclose(after.grid.affine, before.grid.affine, atol=1e-3)
    assert all(row.holds for row in done.result.table)
    assert done.result.strength_used == 1.0
    assert done.result.noise.denoised
