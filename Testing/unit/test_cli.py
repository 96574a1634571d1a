"""The command line: what it writes, says and returns, for a person and for a program."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_models

from MRHarmonizationLib import __version__, cli
from MRHarmonizationLib.cli_output import EXIT_CODES, finite
from MRHarmonizationLib.core import errors
from MRHarmonizationLib.evaluation.protocol import protocol_names
from MRHarmonizationLib.training.recipe import list_recipes
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

COMMANDS = (
    *("demo", "enhance", "undo", "degrade", "models", "import-weights", "compare", "train", "evaluate"),
    *("harmonize", "restore", "simulate-dwi", "probe", "prepare-pairs"),
)


@dataclass
class Ended:
    """How a run of the command line ended."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def result(self) -> dict[str, Any]:
        assert self.code == 0, self.err
        (event,) = [event for event in self.events if event["event"] == "result"]
        assert event == self.events[-1]
        return event


Run = Callable[..., Ended]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the command line in this process."""

    def call(*words: object) -> Ended:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            cli.main([str(word) for word in words])
        said = capsys.readouterr()
        return Ended(int(end.value.code or 0), said.out, said.err)

    return call


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny network called lowfield, found before the published one; returns its card."""
    card = tiny_models.write_tiny_model(tmp_path / "models", "lowfield")
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(card.parent))
    return card


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    """A thick-slice scan on disk: 20 × 18 × 8 voxels of 2 × 2 × 5 mm, turned and shifted."""
    rng = np.random.default_rng(3)
    k, j, i = np.meshgrid(*(np.linspace(-1, 1, n) for n in (8, 18, 20)), indexing="ij")
    inside = i**2 + j**2 + k**2 < 0.9
    array = np.where(inside, 300 + 120 * np.sin(5 * i) * np.cos(4 * j), 5) + rng.normal(0, 4, inside.shape)
    angle = np.deg2rad(12)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn * [2.0, 2.0, 5.0]
    affine[:3, 3] = (-11, 7, 30)
    return write_volume(Volume(array.astype(np.float32), Grid((8, 18, 20), affine)), tmp_path / "scan.nrrd")


def files_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def assert_one_line_error(ended: Ended, code: int, *words: str) -> None:
    """The user sees one line with the problem and a remedy, and no trace."""
    assert ended.code == code, ended.err
    assert ended.out == ""
    (line,) = ended.err.splitlines()
    assert line.startswith("error: ")
    assert ";" in line, f"no remedy in: {line}"
    for word in words:
        assert word in line


# --- help, version, mistakes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_its_exit_codes(run: Run, command: str):
    ended = run(command, "--help")
    assert ended.code == 0
    text = " ".join(ended.out.split())
    assert "Usage" in text
    assert "--jsonl" in text
    assert all(f"{code} " in text for code in EXIT_CODES)


def test_no_words_show_the_help(run: Run):
    ended = run()
    assert ended.code == 0
    assert all(command in ended.out for command in COMMANDS)


def test_version(run: Run):
    assert run("--version").out.split() == ["mrharmonize", __version__]


def test_exit_codes_of_all_errors_are_documented():
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    assert len(kinds) > 5
    assert {kind.exit_code for kind in kinds} | {0} == set(EXIT_CODES)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["enhnce"], ["enhnce", "--help"]),
        (["enhance", "in.nii"], ["OUT", "enhance --help"]),
        (["enhance", "in.nii", "out.nii", "--strenth", "1"], ["--strenth"]),
        (["enhance", "in.nii", "out.nii", "--strength", "much"], ["--strength"]),
        (["compare", "a.nii", "b.nii"], ["--out"]),
    ],
)
def test_mistakes_are_one_line(run: Run, words: list[str], expected: list[str]):
    assert_one_line_error(run(*words), 2, *expected)


def test_mistakes_reach_a_program_too(run: Run):
    ended = run("enhance", "in.nii", "--jsonl")
    assert ended.code == 2
    (event,) = ended.events
    assert event["event"] == "error"
    assert event["exit_code"] == 2
    assert event["remedy"]


# --- enhance and undo -----------------------------------------------------------------------------------------------


def test_enhance_writes_volume_and_sidecar(run: Run, model: Path, scan: Path, tmp_path: Path):
    ended = run("enhance", scan, tmp_path / "out.nii.gz", "--strength", 0.8)
    assert ended.code == 0
    assert ended.err == ""
    assert str(tmp_path / "out.nii.gz") in ended.out
    volume = read_volume(tmp_path / "out.nii.gz")
    np.testing.assert_allclose(volume.grid.spacing_mm, 1.0, atol=1e-5)
    record = json.loads((tmp_path / "out.mrh.json").read_text())
    assert record["model_id"] == "lowfield"
    assert record["parameters"]["strength"] == 0.8
    assert record["input_digest"] == read_volume(scan).digest()
    assert {measurement["name"] for measurement in record["measurements"]} == {"noise", "sharpness"}
    assert files_in(tmp_path) == {"models", "scan.nrrd", "out.nii.gz", "out.mrh.json"}


def test_json_lines_carry_progress_and_result(run: Run, model: Path, scan: Path, tmp_path: Path):
    ended = run("enhance", scan, tmp_path / "out.nrrd", "--residual", tmp_path / "r.nrrd", "--jsonl")
    fractions = [event["fraction"] for event in ended.events if event["event"] == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0
    assert fractions[-1] == 1
    assert len(fractions) > 3
    result = ended.result
    for name in ("output", "sidecar", "residual"):
        assert Path(result[name]).is_file()
    assert result["provenance"]["weights_sha256"] == json.loads(model.read_text())["sha256"]
    assert {event["event"] for event in ended.events} <= {"status", "progress", "result"}


def test_what_other_code_prints_does_not_mix_with_events(
    run: Run, model: Path, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from MRHarmonizationLib.inference import file_operations

    real = file_operations.enhance_file

    def chatty(*arguments: Any, **options: Any) -> Any:
        print("chatter of some package")
        logging.getLogger("MRHarmonizationLib.somewhere").warning("mind %s", "this")
        logging.getLogger("MRHarmonizationLib.somewhere").info("not this")
        logging.getLogger("other_package").warning("nor that")
        return real(*arguments, **options)

    monkeypatch.setattr(file_operations, "enhance_file", chatty)
    ended = run("enhance", scan, tmp_path / "out.nrrd", "--jsonl")
    warnings = [event["message"] for event in ended.events if event.get("level") == "warning"]
    assert "mind this" in warnings
    assert "not this" not in ended.out
    assert "nor that" not in ended.out + ended.err
    assert "chatter" in ended.err


def test_undo_gives_back_the_resampled_input_exactly(run: Run, model: Path, scan: Path, tmp_path: Path):
    outputs = [tmp_path / name for name in ("enhanced.nii.gz", "residual.nrrd", "undone.nrrd", "nothing.nrrd")]
    enhanced, residual, undone, nothing = outputs
    assert run("enhance", scan, enhanced, "--residual", residual).code == 0
    assert run("undo", enhanced, residual, undone).code == 0
    assert run("enhance", scan, nothing, "--strength", 0).code == 0
    first, second, changed = (read_volume(path).array for path in (undone, nothing, enhanced))
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first.view(np.int32), second.view(np.int32))
    assert np.abs(changed - first).max() > 1


def test_undo_refuses_a_foreign_residual(run: Run, model: Path, scan: Path, tmp_path: Path):
    enhanced, other, residual = (tmp_path / name for name in ("enhanced.nrrd", "other.nrrd", "residual.nrrd"))
    assert run("enhance", scan, enhanced, "--residual", residual).code == 0
    assert run("enhance", scan, other, "--strength", 0.5).code == 0
    assert_one_line_error(run("undo", other, residual, tmp_path / "undone.nrrd"), 3, "belongs to another volume")
    assert not (tmp_path / "undone.nrrd").exists()


def write_bad_inputs(folder: Path, scan: Path) -> dict[str, Path]:
    volume = read_volume(scan)
    nan = volume.array.copy()
    nan[2, 3, 4] = np.nan
    labels = (volume.array > 100).astype(np.uint8) * 3
    grid_one = Grid((1, 1, 1), np.eye(4))
    (folder / "empty.nii.gz").write_bytes(b"")
    (folder / "truncated.nrrd").write_bytes(scan.read_bytes()[:-900])
    (folder / "text.nii").write_text("no image")
    (folder / "folder").mkdir()
    return {
        "missing": folder / "missing.nii.gz",
        "empty": folder / "empty.nii.gz",
        "truncated": folder / "truncated.nrrd",
        "text": folder / "text.nii",
        "folder without DICOM": folder / "folder",
        "nan": write_volume(volume.with_array(nan), folder / "nan.nrrd"),
        "constant": write_volume(volume.with_array(np.full_like(nan, 7)), folder / "constant.nrrd"),
        "one voxel": write_volume(Volume(np.ones((1, 1, 1), np.float32), grid_one), folder / "one.nrrd"),
        "label map": write_volume(volume.with_array(labels), folder / "labels.nrrd"),
    }


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "empty",
        "truncated",
        "text",
        "folder without DICOM",
        "nan",
        "constant",
        "one voxel",
        "label map",
    ],
)
def test_bad_input_is_refused_and_leaves_nothing(run: Run, model: Path, scan: Path, tmp_path: Path, kind: str):
    source = write_bad_inputs(tmp_path, scan)[kind]
    before = files_in(tmp_path)
    assert_one_line_error(run("enhance", source, tmp_path / "out.nii.gz", "--residual", tmp_path / "r.nrrd"), 3)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--model", "nonsense"], 4, "lowfield"),
        (["--strength", "1.5"], 2, "strength"),
        (["--strength", "nan"], 2, "strength"),
        (["--device", "tpu"], 2, "cpu"),
        (["--backend", "abacus"], 2, "onnxruntime"),
        (["--spacing", "0"], 2, "spacing"),
        (["--threads", "0"], 2, "threads"),
        (["--residual", "r.nii.gz"], 5, ".nrrd"),
        (["--residual", "out.nrrd"], 5, "same file"),
        (["--series", "1.2.3"], 2, "DICOM"),
    ],
)
def test_bad_options_are_refused(
    run: Run, model: Path, scan: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, word: str
):
    monkeypatch.chdir(scan.parent)
    assert_one_line_error(run("enhance", scan, "out.nrrd", *options), code, word)
    assert not Path("out.nrrd").exists()


@pytest.mark.parametrize(
    ("output", "word"), [("no/such/folder/out.nrrd", "folder"), ("out.jpg", ".nii.gz"), ("scan.nrrd", "same file")]
)
def test_bad_output_is_refused_before_the_work(
    run: Run, scan: Path, monkeypatch: pytest.MonkeyPatch, output: str, word: str
):
    from MRHarmonizationLib.inference import file_operations

    monkeypatch.setattr(file_operations, "read_volume", lambda *_: pytest.fail("the scan was read in vain"))
    monkeypatch.chdir(scan.parent)
    content = scan.read_bytes()
    assert_one_line_error(run("enhance", scan, output), 5, word)
    assert scan.read_bytes() == content


def test_tampered_weights_do_not_run(run: Run, model: Path, scan: Path, tmp_path: Path):
    weights = model.with_suffix(".onnx")
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    assert_one_line_error(run("enhance", scan, tmp_path / "out.nrrd"), 4, "SHA-256")
    assert not (tmp_path / "out.nrrd").exists()


@pytest.mark.parametrize(
    ("raised", "code", "word"),
    [
        (MemoryError(), 7, "memory"),
        (KeyboardInterrupt(), 130, "cancelled"),
        (ModuleNotFoundError("no torch", name="torch"), 6, "mrharmonization[torch]"),
        (OSError(28, "No space left on device", "out.nrrd"), 5, "No space"),
        (OSError(12, "Cannot allocate memory"), 7, "memory"),
        (ImportError("x.so: failed to map segment from shared object"), 7, "memory"),
        (OSError(28, "No space left on device"), 5, "No space"),
        (TypeError("a\nslip"), 1, "--debug"),
    ],
)
def test_every_ending_has_its_exit_code(
    run: Run, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, raised: BaseException, code: int, word: str
):
    from MRHarmonizationLib.inference import file_operations

    def fail(*arguments: Any, **options: Any) -> None:
        raise raised

    monkeypatch.setattr(file_operations, "enhance_file", fail)
    ended = run("enhance", scan, tmp_path / "out.nrrd")
    assert ended.code == code
    assert len(ended.err.splitlines()) == 1
    assert word in ended.err
    debugged = run("enhance", scan, tmp_path / "out.nrrd", "--debug")
    assert debugged.code == code
    assert ("Traceback" in debugged.err) == (code != 130)


def test_failure_while_writing_leaves_the_former_files(
    run: Run, model: Path, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    from MRHarmonizationLib.inference import file_targets

    output = tmp_path / "out.nrrd"
    assert run("enhance", scan, output).code == 0
    former = {path.name: path.read_bytes() for path in tmp_path.glob("out.*")}

    def full(volume: Volume, path: Path) -> None:
        if path.name == "out.nrrd":
            raise errors.OutputError("the disk is full", "free some space")
        write_volume(volume, path)

    monkeypatch.setattr(file_targets, "write_volume", full)
    words = ["enhance", scan, output, "--strength", 0.5, "--residual", tmp_path / "r.nrrd"]
    assert_one_line_error(run(*words), 5, "disk is full")
    assert {path.name: path.read_bytes() for path in tmp_path.glob("out.*")} == former
    assert files_in(tmp_path) == {"models", "scan.nrrd", *former}


# --- degrade --------------------------------------------------------------------------------------------------------


@pytest.fixture
def fine_scan(tmp_path: Path, head_phantom: Volume) -> Path:
    return write_volume(head_phantom, tmp_path / "fine.nrrd")


def test_degrade_is_repeatable_by_seed(run: Run, fine_scan: Path, tmp_path: Path):
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert run("degrade", fine_scan, tmp_path / f"{name}.nrrd", "--seed", seed).code == 0
    a, b, c = (read_volume(tmp_path / f"{name}.nrrd").digest() for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize("source", ["saved parameters", "sidecar"])
def test_degrade_replays_parameters_exactly(run: Run, fine_scan: Path, tmp_path: Path, source: str):
    saved = tmp_path / "parameters.json"
    first = run("degrade", fine_scan, tmp_path / "a.nrrd", "--seed", 5, "--json", saved, "--jsonl").result
    assert Path(first["parameters_file"]) == saved
    replayed = saved if source == "saved parameters" else tmp_path / "a.mrh.json"
    second = run("degrade", fine_scan, tmp_path / "b.nrrd", "--json", replayed, "--jsonl").result
    assert second["parameters"] == first["parameters"]
    assert read_volume(tmp_path / "a.nrrd").digest() == read_volume(tmp_path / "b.nrrd").digest()


def test_degrade_does_not_guess(run: Run, fine_scan: Path, tmp_path: Path):
    saved, out = tmp_path / "parameters.json", tmp_path / "out.nrrd"
    assert_one_line_error(run("degrade", fine_scan, out), 2, "seed")
    assert_one_line_error(run("degrade", fine_scan, out, "--json", saved), 2, "does not exist")
    assert_one_line_error(run("degrade", fine_scan, out, "--seed", 1, "--kind", "moonlight"), 2, "lowfield")
    assert run("degrade", fine_scan, tmp_path / "a.nrrd", "--seed", 1, "--json", saved).code == 0
    assert_one_line_error(run("degrade", fine_scan, out, "--seed", 2, "--json", saved), 2, "seed 1")
    for text in ("not JSON", "{}", '{"kind": "lowfield", "parameters": {"nonsense": 1}}'):
        saved.write_text(text)
        assert run("degrade", fine_scan, out, "--json", saved).code in (2, 3)
    assert not out.exists()


def test_degrade_with_a_network_says_what_it_needs(run: Run, fine_scan: Path, tmp_path: Path):
    words = ["degrade", fine_scan, tmp_path / "out.nrrd", "--kind"]
    assert_one_line_error(run(*words, "diffusion-noise", "--seed", 1), 2, "no level", "--level")
    assert_one_line_error(run(*words, "diffusion-blur", "--level", 0.5), 2, "no seed")
    assert_one_line_error(run(*words, "diffusion-noise", "--level", 1.5, "--seed", 1), 2, "level is 1.5")
    assert_one_line_error(run(*words, "diffusion-fog", "--level", 0.5, "--seed", 1), 2, "diffusion-blur")
    assert_one_line_error(run(*words, "lowfield", "--level", 0.5, "--seed", 1), 2, "--level")
    assert_one_line_error(run(*words, "lowfield", "--ringing", 0.5, "--seed", 1), 2, "--ringing")
    given = ["--level", 0.5, "--seed", 1]
    assert_one_line_error(run(*words, "diffusion-noise", *given, "--ringing", 0.5), 2, "only blur")
    assert_one_line_error(run(*words, "diffusion-noise", *given, "--labels", fine_scan), 2, "--labels")
    missing = run(*words, "diffusion-noise", *given, "--model", "absent")
    assert_one_line_error(missing, 4, "mrharmonize train degrader-noise")
    assert not (tmp_path / "out.nrrd").exists()


# --- models, weights, compare, train, evaluate ----------------------------------------------------------------------


def test_models_are_listed(run: Run, model: Path):
    assert "lowfield" in run("models").out
    cards = json.loads(run("models", "--json").out)
    assert [card["sha256"] for card in cards if card["id"] == "lowfield"] == [json.loads(model.read_text())["sha256"]]
    assert run("models", "--jsonl").result["models"] == cards


def test_weights_are_imported_checked(run: Run, tmp_path: Path, own_home: Path):
    card = tiny_models.write_tiny_model(tmp_path / "download", "mine")
    weights = card.with_suffix(".onnx")
    result = run("import-weights", weights, card, "--jsonl").result
    assert Path(result["card"]).is_relative_to(own_home)
    assert "mine" in run("models").out
    weights.write_bytes(weights.read_bytes()[:-10])
    assert_one_line_error(run("import-weights", weights, card, "--out", tmp_path / "other"), 4, "SHA-256")
    assert not (tmp_path / "other").exists()


def test_compare_writes_a_report(run: Run, fine_scan: Path, head_phantom: Volume, tmp_path: Path):
    noise = np.random.default_rng(0).normal(0, 25, head_phantom.array.shape).astype(np.float32)
    noisy = write_volume(head_phantom.with_array(head_phantom.array + noise), tmp_path / "noisy.nrrd")
    words = ["compare", noisy, fine_scan, "--reference", fine_scan, "--out", tmp_path / "report"]
    words += ["--maps", "contrast", "--maps", "homogeneity", "--window", 3]
    ended = run(*words, "--jsonl")
    result = ended.result
    assert Path(result["report"]).read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    for name in ("report", "metrics", "comparison", "curves", "texture"):
        assert Path(result[name]).parent == tmp_path / "report"
        assert Path(result[name]).stat().st_size > 500
    assert set(result["maps"]) == {
        f"{i}_{f}" for i in ("before", "after", "reference") for f in ("contrast", "homogeneity")
    }
    assert all(read_volume(path).array.any() for path in result["maps"].values())
    measured = {m["name"]: m for m in result["measurements"]["before_vs_reference"]}
    assert 15 < measured["psnr"]["value"] < 40
    summary = json.loads(Path(result["comparison"]).read_text(encoding="utf-8"))
    assert summary["measurements"]["after"] == result["measurements"]["after"]
    assert {curve["id"] for curve in json.loads(Path(result["curves"]).read_text(encoding="utf-8"))} >= {"psd_radial"}
    fractions = [event["fraction"] for event in ended.events if event["event"] == "progress"]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert len(fractions) > 20


def test_compare_says_what_it_did_to_a_person(run: Run, scan: Path, tmp_path: Path):
    volume = read_volume(scan)
    coarse = resample(volume, volume.grid.with_spacing((3.0, 3.0, 5.0)))
    labels = np.zeros(volume.array.shape, np.uint8)
    labels[2:6, 5:13, 5:15] = 2
    mask = write_volume(volume.with_array(labels), tmp_path / "labels.nrrd")
    other = write_volume(coarse, tmp_path / "coarse.nrrd")
    ended = run("compare", other, scan, "--mask", mask, "--label", 2, "--out", tmp_path / "report")
    assert ended.code == 0
    assert "before (3 × 3 × 5 mm) was resampled on the grid of after (2 × 2 × 5 mm, cubic)" in ended.err
    assert "psnr" in ended.out
    assert "labels, label 2" in ended.out
    assert str(tmp_path / "report" / "report.html") in ended.out


@pytest.mark.parametrize(
    ("options", "code", "word"),
    [
        (["--maps", "beauty"], 2, "contrast"),
        (["--maps", "contrast", "--window", "4"], 2, "window 4"),
        (["--label", "2"], 2, "mask"),
        (["--metric", "beauty"], 2, "all"),
        (["--mask", "scan.nrrd", "--label", "9999"], 3, "no label 9999"),
        (["--reference", "missing.nrrd"], 3, "does not exist"),
    ],
)
def test_compare_refuses_bad_options(
    run: Run, scan: Path, monkeypatch: pytest.MonkeyPatch, options: list[str], code: int, word: str
):
    monkeypatch.chdir(scan.parent)
    write_volume(read_volume(scan), scan.parent / "after.nrrd")
    assert_one_line_error(run("compare", scan, "after.nrrd", "--out", "report", *options), code, word)
    assert not [path for path in scan.parent.glob("report/**/*") if path.is_file()]


def test_compare_refuses_images_of_different_places(run: Run, fine_scan: Path, head_phantom: Volume, tmp_path: Path):
    affine = head_phantom.grid.affine.copy()
    affine[:3, 3] += 500
    far = Volume(head_phantom.array, Grid(head_phantom.grid.shape, affine))
    moved = write_volume(far, tmp_path / "moved.nrrd")
    assert_one_line_error(run("compare", fine_scan, moved, "--out", tmp_path / "report"), 3, "overlap")


def test_train_does_not_run_over_a_checkpoint(run: Run, tmp_path: Path):
    (tmp_path / "checkpoint.pt").touch()
    recipe = list_recipes()[0]
    assert_one_line_error(run("train", recipe, "--out", tmp_path, "--data", tmp_path), 2, "--resume")


@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_unknown_plans_and_missing_data_are_refused(run: Run, tmp_path: Path, command: str):
    out = ["--out", tmp_path / "out"]
    assert_one_line_error(run(command, "nonsense", "--data", tmp_path, *out), 2, "lowfield")
    known = {"train": list_recipes, "evaluate": protocol_names}[command]()[0]
    assert_one_line_error(run(command, known, "--data", tmp_path / "nowhere", *out), 3, "--data")


def test_finite_replaces_what_json_has_no_word_for():
    values = {"a": [1.5, float("inf")], "b": {"c": float("nan")}, "d": "text", "e": 3}
    assert finite(values) == {"a": [1.5, None], "b": {"c": None}, "d": "text", "e": 3}
