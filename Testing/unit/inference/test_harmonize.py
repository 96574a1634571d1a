"""Harmonisation of scans, files and folders, and the command line's part in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from MRHarmonizationLib import cli
from MRHarmonizationLib.core.errors import GridMismatchError, InputError, OperationCancelled, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.file_operations import undo_file
from MRHarmonizationLib.inference.harmonize import HarmonizeRequest, harmonize, nearest_groups
from MRHarmonizationLib.inference.harmonize_files import harmonize_file, harmonize_folder
from MRHarmonizationLib.inference.provenance import Provenance
from MRHarmonizationLib.methods.reference_group import group_of_volumes, save_group
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.volume import Volume

T1 = (0.25, 0.6, 0.9)
T2 = (0.95, 0.5, 0.3)
SHAPE = (16, 40, 36)


def head(seed: int = 0, tissues: tuple[float, float, float] = T1, gain: float = 800.0, thick: float = 3.0) -> Volume:
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in SHAPE), indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2) + 0.05 * np.sin(7 * np.arctan2(y, x) + seed)
    image = np.select([radius < 0.3, radius < 0.6, radius < 0.85], tissues, 0.0)
    image = np.hypot(image + rng.normal(0, 0.02, SHAPE), rng.normal(0, 0.02, SHAPE))
    affine = np.diag([-2.0, 2.0, thick, 1.0])
    affine[:3, 3] = (7, -8, 9)
    return Volume((gain * image).astype(np.float32), Grid(SHAPE, affine), f"head{seed}", {"modality": "MR"})


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    return save_group(group_of_volumes([head(s) for s in range(3)], "t1", "site"), tmp_path / "site.json")


@pytest.fixture
def request_nyul(reference: Path) -> HarmonizeRequest:
    return HarmonizeRequest("nyul", str(reference))


@pytest.fixture
def scan_file(tmp_path: Path) -> Path:
    return write_volume(head(5, gain=150.0), tmp_path / "scan.nrrd")


# --- one scan -------------------------------------------------------------------------------------------------------


def test_result_says_where_it_comes_from(request_nyul: HarmonizeRequest):
    scan = head(5, gain=150.0)
    result = harmonize(scan, request_nyul)
    assert result.warnings == ()
    assert result.residual is None
    assert result.group.id == "site"
    record = result.provenance
    assert (record.operation, record.model_id) == ("harmonize", "nyul")
    assert record.parameters["reference"] == "site"
    assert record.input_digest == scan.digest()
    assert len(record.weights_sha256) == 64
    assert result.volume.metadata["MRHarmonization.model"] == "nyul"
    assert result.volume.metadata["modality"] == "MR"
    assert result.volume.name == "head5_nyul"
    assert same_grid(result.volume.grid, scan.grid, atol_mm=0)
    assert Provenance.from_dict(json.loads(json.dumps(record.to_dict()))) == record


def test_distance_to_the_reference_falls(request_nyul: HarmonizeRequest):
    bent = head(5)
    bent = bent.with_array((800 * (bent.array / 800) ** 1.5).astype(np.float32))
    result = harmonize(bent, request_nyul)
    (histogram,) = [m for m in result.measurements if m.name == "distance_histogram"]
    assert histogram.value < 0.3 * histogram.detail["before"]
    assert harmonize(bent, HarmonizeRequest("nyul", request_nyul.reference, measure=False)).measurements == ()


def test_another_contrast_is_warned_of(request_nyul: HarmonizeRequest):
    result = harmonize(head(6, T2), request_nyul)
    assert any("another contrast" in warning for warning in result.warnings)
    assert "site" in result.warnings[0]
    assert result.provenance.warnings == result.warnings


def test_another_resolution_is_warned_of(request_nyul: HarmonizeRequest):
    assert any("9 mm are unlike" in warning for warning in harmonize(head(6, thick=9.0), request_nyul).warnings)


def test_nearest_shipped_group_is_taken_and_named():
    scan = head(6, T2)
    result = harmonize(scan, HarmonizeRequest("percentile", measure=False))
    groups = [group for group, _ in nearest_groups(scan)]
    assert len(groups) == 3
    assert result.group == groups[0]
    assert result.provenance.parameters["reference"] == result.group.id


def test_mask_is_a_volume_on_the_same_grid(request_nyul: HarmonizeRequest):
    scan = head(5)
    mask = scan.with_array((scan.array > 300).astype(np.uint8))
    assert not np.array_equal(
        harmonize(scan, request_nyul, mask).volume.array, harmonize(scan, request_nyul).volume.array
    )
    with pytest.raises(GridMismatchError, match="another grid"):
        harmonize(scan, request_nyul, Volume(mask.array, Grid(SHAPE, np.eye(4))))
    with pytest.raises(InputError, match="empty"):
        harmonize(scan, request_nyul, scan.with_array(np.zeros(SHAPE, np.uint8)))
    with pytest.raises(InputError, match="finite"):
        harmonize(scan, request_nyul, scan.with_array(np.full(SHAPE, np.nan, np.float32)))


def test_wrong_requests_are_refused():
    with pytest.raises(ParameterError, match="nyul"):
        HarmonizeRequest("moonlight")
    with pytest.raises(ParameterError, match="strength"):
        HarmonizeRequest(strength=1.1)
    with pytest.raises(InputError, match="cannot be read"):
        harmonize(head(), HarmonizeRequest(reference="nowhere.json"))
    with pytest.raises(ParameterError, match="upper"):
        harmonize(head(), HarmonizeRequest("percentile", parameters={"upper": 12}))


def test_it_can_be_cancelled(request_nyul: HarmonizeRequest):
    progress = Progress()
    progress.cancel()
    with pytest.raises(OperationCancelled):
        harmonize(head(), request_nyul, progress=progress)


# --- files and folders ----------------------------------------------------------------------------------------------


def test_file_sidecar_and_exact_undo(scan_file: Path, request_nyul: HarmonizeRequest, tmp_path: Path):
    done = harmonize_file(scan_file, tmp_path / "out.nii.gz", request_nyul, tmp_path / "residual.nrrd")
    record = json.loads(done.sidecar.read_text())
    assert record["operation"] == "harmonize"
    assert record["distance"]["limits"]["histogram"] >= 18
    assert str(tmp_path) not in done.sidecar.read_text()
    undo_file(done.output, tmp_path / "residual.nrrd", tmp_path / "back.nrrd")
    np.testing.assert_array_equal(
        read_volume(tmp_path / "back.nrrd").array.view(np.int32), read_volume(scan_file).array.view(np.int32)
    )


def test_a_folder_is_done_whole_and_failures_do_not_stop_it(tmp_path: Path, request_nyul: HarmonizeRequest):
    scans = tmp_path / "scans"
    scans.mkdir()
    for seed in (1, 2):
        write_volume(head(seed, gain=100.0 * seed), scans / f"case{seed}.nii.gz")
    write_volume(head().with_array(np.zeros(SHAPE, np.float32)), scans / "flat.nrrd")
    done = harmonize_folder(scans, tmp_path / "out" / "deep", request_nyul, tmp_path / "residuals")
    assert [scan.name for scan in done.files] == ["case1", "case2"]
    ((name, error),) = done.failed
    assert (name, "constant" in str(error)) == ("flat", True)
    names = {path.name for path in (tmp_path / "out" / "deep").iterdir()}
    assert names == {"case1.nii.gz", "case1.mrh.json", "case2.nii.gz", "case2.mrh.json"}
    single = harmonize_file(scans / "case1.nii.gz", tmp_path / "single.nii.gz", request_nyul)
    np.testing.assert_array_equal(read_volume(done.files[0].output).array, read_volume(single.output).array)
    undo_file(done.files[1].output, tmp_path / "residuals" / "case2_residual.nrrd", tmp_path / "back.nrrd")
    np.testing.assert_array_equal(read_volume(tmp_path / "back.nrrd").array, read_volume(scans / "case2.nii.gz").array)


def test_masks_of_a_folder_have_the_names_of_the_scans(tmp_path: Path, request_nyul: HarmonizeRequest):
    scans, masks = tmp_path / "scans", tmp_path / "masks"
    scans.mkdir()
    masks.mkdir()
    write_volume(head(1), scans / "a.nii.gz")
    write_volume(head(1).with_array((head(1).array > 300).astype(np.uint8)), masks / "a.nrrd")
    assert len(harmonize_folder(scans, tmp_path / "out", request_nyul, masks=masks).files) == 1
    write_volume(head(2), scans / "b.nii.gz")
    with pytest.raises(InputError, match="'b'"):
        harmonize_folder(scans, tmp_path / "out", request_nyul, masks=masks)
    write_volume(head(2), scans / "a.nrrd")
    with pytest.raises(InputError, match="called 'a'"):
        harmonize_folder(scans, tmp_path / "out", request_nyul)


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


def test_harmonize_command_for_people_and_programs(run: Run, scan_file: Path, reference: Path, tmp_path: Path):
    words = ["harmonize", scan_file, tmp_path / "o.nrrd", "--method", "whitestripe", "--reference", reference]
    code, out, err = run(*words, "--strength", 0.5, "--residual", tmp_path / "r.nrrd")
    assert (code, err) == (0, "")
    assert "whitestripe to reference 'site', strength 0.5" in out
    assert "distance_histogram" in out
    code, out, _ = run(*words, "--jsonl")
    event = result_of(out)
    assert code == 0
    assert event["reference"] == "site"
    assert Path(event["output"]).is_file()
    assert event["provenance"]["model_id"] == "whitestripe"
    code, _, _ = run(*words, "--residual", tmp_path / "r.nrrd")
    assert run("undo", tmp_path / "o.nrrd", tmp_path / "r.nrrd", tmp_path / "back.nrrd")[0] == 0
    np.testing.assert_array_equal(read_volume(tmp_path / "back.nrrd").array, read_volume(scan_file).array)


def test_harmonize_command_takes_a_folder(run: Run, reference: Path, tmp_path: Path):
    scans = tmp_path / "scans"
    scans.mkdir()
    for seed in (1, 2):
        write_volume(head(seed), scans / f"case{seed}.nii.gz")
    words = ["harmonize", scans, tmp_path / "out", "--reference", reference, "--method", "zscore"]
    code, out, _ = run(*words, "--jsonl")
    assert code == 0
    assert [file["name"] for file in result_of(out)["files"]] == ["case1", "case2"]
    write_volume(head().with_array(np.zeros(SHAPE, np.float32)), scans / "flat.nrrd")
    code, _, err = run(*words)
    assert code == 3
    assert "1 of 3 scans failed" in err.splitlines()[-1]
    assert (tmp_path / "out" / "case2.nii.gz").is_file()


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--method", "moonlight"], 2, "nyul"),
        (["--strength", "2"], 2, "strength"),
        (["--reference", "nowhere.json"], 3, "t1-head"),
        (["--parameter", "upper"], 2, "NAME=NUMBER"),
        (["--parameter", "colour=3"], 2, "colour"),
        (["--mask", "nowhere.nii.gz"], 3, "nowhere"),
        (["--residual", "r.nii.gz"], 5, ".nrrd"),
        (["--residual", "out.nrrd"], 5, "same file"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    run: Run, scan_file: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, word: str
):
    monkeypatch.chdir(scan_file.parent)
    ended, out, err = run("harmonize", scan_file, "out.nrrd", *options)
    assert ended == code
    assert out == ""
    assert len(err.splitlines()) == 1
    assert word in err
    assert not Path("out.nrrd").exists()


def test_reference_commands(run: Run, tmp_path: Path):
    scans = tmp_path / "scans"
    scans.mkdir()
    for seed in range(3):
        write_volume(head(seed), scans / f"case{seed}.nii.gz")
    words = ["reference", "build", scans, "--out", tmp_path / "g.json", "--cases", 2, "--contrast", "t1"]
    code, out, err = run(*words, "--title", "Our scanner")
    assert code == 0
    assert "left out: case" in out
    assert (tmp_path / "g.json").is_file()
    event = result_of(run(*words, "--jsonl")[1])
    assert event["group"]["cases"] == 2
    code, out, _ = run("reference", "list")
    assert code == 0
    assert "nyul" in out
    assert "t1-head" in out
    listed = result_of(run("reference", "list", "--jsonl")[1])
    assert {group["id"] for group in listed["groups"]} >= {"t1-head", "t2-head", "flair-head"}
    for group in ("harmonize", "reference"):
        assert run(group, "--help")[0] == 0


def test_degrade_previews_an_alteration(run: Run, tmp_path: Path):
    scan = write_volume(head(), tmp_path / "fine.nrrd")
    labels = write_volume(head().with_array((head().array > 300).astype(np.int16) * 2), tmp_path / "labels.nrrd")
    words = ["degrade", scan, tmp_path / "a.nrrd", "--kind", "kspace-contrast"]
    further = ["--labels", labels, "--donor", scan]
    saved = tmp_path / "p.json"
    code, out, err = run(*words, "--seed", 3, "--json", saved, "--preview", tmp_path / "p.png", *further)
    assert code == 0, err
    picture = (tmp_path / "p.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    first = read_volume(tmp_path / "a.nrrd").array
    assert run(*words, "--json", saved, "--labels", labels)[0] == 0
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").array, first)
    code, _, err = run(*words, "--seed", 3, "--preview", tmp_path / "p.jpg")
    assert (code, ".png" in err) == (5, True)
    code, _, err = run("degrade", scan, tmp_path / "b.nrrd", "--seed", 1, "--labels", labels)
    assert (code, "no use for labels" in err) == (2, True)


# --- real scans -----------------------------------------------------------------------------------------------------


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "contrast"),
    [
        ("structural/colin27_T1w", "t1"),
        ("ms_lesions/patient01_visit2_T1W", "t1"),
        ("ms_lesions/patient07_T2", "t2"),
        ("ms_lesions/patient01_visit2_FLAIR", "flair"),
    ],
)
def test_real_scans_find_their_contrast_and_are_unlike_another(data_dir: Path, name: str, contrast: str):
    scan = read_volume(data_dir / f"{name}.nii.gz")
    (first, near), (_, far), *_ = nearest_groups(scan)
    assert first.contrast == contrast
    assert near.edges < far.edges
    other = "t2-head" if contrast != "t2" else "t1-head"
    unlike = harmonize(scan, HarmonizeRequest("percentile", other, measure=False))
    if name != "ms_lesions/patient01_visit2_T1W":  # bright vessels: its histogram is no nearer to T1 than to T2
        assert any("another contrast" in warning for warning in unlike.warnings)
