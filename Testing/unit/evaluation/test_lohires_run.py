"""The whole low- to high-field evaluation on two small heads and a slab, with random networks."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from support.lohires import NETWORKS, small_lohires, write_heads, write_networks, write_protocol, write_slab

from MRHarmonizationLib.cli import main
from MRHarmonizationLib.core.errors import GridMismatchError, InputError, OperationCancelled, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.lohires_regions import own_label_map, read_own_labels
from MRHarmonizationLib.evaluation.protocol import run_protocol
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.volume import Volume

pytest.importorskip("onnx")
SHOWN = ("lohiresgan", "lohires-unet")
METHODS = ["cubic", "linear", "lowfield", *(f"{network}-t1" for network in SHOWN), "truth"]
NO_PICTURES = {"plotted_regions": [], "picture_snr": 99}
CASES = ("heads-training_seg_17-t1-t1_axial-snr20", "heads-training_seg_18-t1-t1_axial-snr20")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Data, two of the five networks and the protocol."""
    folder = tmp_path_factory.mktemp("lohires")
    write_slab(write_heads(folder / "data"))
    write_networks(folder / "weights", SHOWN)
    write_protocol(folder / "small.json", small_lohires())
    # the same rows without most of the pictures
    write_protocol(folder / "plain.json", small_lohires(**NO_PICTURES))
    return folder


@pytest.fixture(scope="module")
def done(folder):
    """One whole run: (result, fractions of progress, folder of the report)."""
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRHARMONIZATION_WEIGHTS", str(folder / "weights"))
        progress = Progress(lambda fraction, _: seen.append(fraction))
        result = run_protocol(folder / "small.json", folder / "data", folder / "out", jobs=1, progress=progress)
    return result, seen, folder / "out"


@pytest.fixture
def installed(folder, own_home, monkeypatch):
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(folder / "weights"))


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_rows(path, rows):
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def test_every_method_of_every_case_has_its_row(done):
    result, seen, out = done
    assert seen == sorted(seen)
    rows = read_rows(out / "cases.csv")
    assert [row["method"] for row in rows] == METHODS * 3
    assert {row["group"] for row in rows} == {"heads", "slabs"}
    for row in rows:
        assert (row["psnr"] == "") == (row["method"] == "truth")
        assert 0 <= float(row["piqe"]) <= 100
        assert float(row["flicker_superior"]) > 0
        assert (row["lesions"] == "") == (row["group"] == "slabs")
        assert float(row["consistency"]) > 0.2
    kept = sorted(path.relative_to(out / "images").as_posix() for path in (out / "images").rglob("*.nii.gz"))
    assert kept == sorted(f"{case}/{method}.nii.gz" for case in CASES for method in METHODS)
    assert result.paths["csv"] == out / "cases.csv"


def test_summary_says_what_was_found_and_what_could_not_be(done):
    result, _, out = done
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    assert set(summary["missing"]) == {f"{network}-t1" for network in set(NETWORKS) - set(SHOWN)}
    assert summary["budget"] == "Same budget: all 2 networks were trained for 200 steps, 2 to 2 minutes each."
    heads = summary["groups"][0]
    assert (heads["group"], heads["subjects"], heads["scans"]) == ("heads", 2, 2)
    assert heads["methods"]["truth"]["scores"]["psnr"]["mean"] is None
    assert heads["methods"]["cubic"]["lesions"]["lesions"] == 2
    tests = {(test["group"], test["first"], test["second"]) for test in summary["tests"]}
    assert ("all", "lohiresgan-t1", "lohires-unet-t1") in tests
    assert ("heads", "linear", "cubic") in tests
    assert {claim["gans_beat_unet"] for claim in summary["claims"]} == {"not judged"}
    text = "\n".join(result.lines())
    assert "mrharmonize train lohires-gan --contrast t1" in text
    assert "lohiresgan-t1: fall of the mean absolute relative error of volumes" in text


def test_volumes_are_held_against_the_truth_and_the_label_map(done):
    _, _, out = done
    found = json.loads((out / "summary.json").read_text("utf-8"))["morphometry"]
    methods = found["methods"]
    assert methods["truth"]["error_truth"]["mean"] is None
    assert methods["cubic"]["reduction_percent"] == pytest.approx(0)
    assert methods["cubic"]["error_truth"]["mean"] > 1
    assert methods["truth"]["dice"]["mean"] > methods["cubic"]["dice"]["mean"]
    assert methods["label map"]["error_labels"]["mean"] is methods["label map"]["error_truth"]["mean"] is None
    assert methods["label map"]["dice"]["mean"] == pytest.approx(1)
    rows = read_rows(out / "regions.csv")
    assert len(rows) == 32 * (len(METHODS) - 1)
    white = next(row for row in rows if row["method"] == "cubic" and row["number"] == "2")
    assert float(white["reference_mm3"]) > 1000
    assert -1 <= float(white["icc"]) <= 1
    bars = {bar["method"]: bar["met"] for bar in found["bars"]}
    assert set(bars) == {"lowfield", "lohiresgan-t1", "lohires-unet-t1"}
    assert not any(bars.values()), "random networks do not make volumes better"


def test_page_and_pictures(done):
    _, _, out = done
    page = (out / "report.html").read_text("utf-8")
    pictures = sorted(path.name for path in (out / "pictures").glob("*.png"))
    assert page.count("data:image/png") == len(pictures)
    assert {"scores-heads.png", "scores-slabs.png", f"{CASES[0]}-1.png", f"{CASES[0]}-2.png"} <= set(pictures)
    assert {"volumes-2-cubic.png", "volumes-2-lohiresgan-t1.png"} <= set(pictures)
    agreement = "Agreement with the truth: lohiresgan-t1"
    for heading in ("Image quality", "Morphometry", "Paired tests", "Training", agreement):
        assert heading in page


def test_only_what_is_missing_or_changed_is_run_again(done, folder, installed, tmp_path):
    shutil.copytree(done[2], tmp_path / "out")
    out = tmp_path / "out"
    rows = [{**row, "seconds": "12345.0"} for row in read_rows(out / "cases.csv")]
    rows[0]["fingerprint"] = "other"
    write_rows(out / "cases.csv", rows)
    (out / "images" / CASES[1] / "linear.nii.gz").unlink()
    structures = [{**row, "volume_2": "0.125"} for row in read_rows(out / "structures.csv")]
    write_rows(out / "structures.csv", structures[:-1])
    messages = []
    progress = Progress(lambda _, message: messages.append(message))
    run_protocol(folder / "plain.json", folder / "data", out, jobs=1, progress=progress)
    fresh = {(row["case"], row["method"]) for row in read_rows(out / "cases.csv") if row["seconds"] != "12345.0"}
    assert fresh == {(CASES[0], "cubic"), (CASES[1], "linear")}
    assert sum(row["volume_2"] != "0.125" for row in read_rows(out / "structures.csv")) == 1
    assert any("(2 of 2)" in message for message in messages)


def test_an_interrupted_run_goes_on(folder, installed, tmp_path):
    progress = Progress()
    progress._callback = lambda _, message: progress.cancel() if "3 of" in message else None
    arguments = (folder / "plain.json", folder / "data", tmp_path / "out")
    with pytest.raises(OperationCancelled):
        run_protocol(*arguments, jobs=1, models=(), progress=progress)
    with (tmp_path / "out" / "cases.csv").open("a", encoding="utf-8") as stream:
        stream.write("half a line")
    before = [row for row in read_rows(tmp_path / "out" / "cases.csv") if row["fingerprint"]]
    assert len(before) == 3
    result = run_protocol(*arguments, jobs=1, models=())
    after = read_rows(tmp_path / "out" / "cases.csv")
    assert after[:3] == before
    assert len(after) == 3 * 3
    assert result.summary["budget"] == "No network took part."
    assert result.summary["morphometry"]["bars"] == []


def test_own_label_maps_take_the_place_of_the_model(done, folder, installed, tmp_path):
    shutil.copytree(done[2], tmp_path / "out")
    own = tmp_path / "own"
    for path in (tmp_path / "out" / "images").rglob("*.nii.gz"):
        image = read_volume(path)
        labels = np.where(image.array > 400, 2, 0).astype(np.int16)
        (own / path.parent.name).mkdir(parents=True, exist_ok=True)
        write_volume(image.with_array(labels), own / path.parent.name / path.name.replace(".nii.gz", ".mha"))
    words = ["evaluate", str(folder / "plain.json"), "--data", str(folder / "data"), "--out", str(tmp_path / "out")]
    words += ["--jobs", "1", "--segmentations", str(own)]
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 0
    found = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))["morphometry"]
    assert found["segmenter"] == "label maps in own"
    assert found["methods"]["cubic"]["error_truth"]["mean"] > 0
    (own / CASES[1] / "truth.mha").unlink()
    with pytest.raises(InputError, match=f"1 of 12 label maps .* the first is '{CASES[1]}/truth.nii.gz'"):
        run_protocol(
            folder / "plain.json", folder / "data", tmp_path / "out", jobs=1, settings={"segmentations": str(own)}
        )


def test_label_maps_that_do_not_fit_are_refused(done, folder, installed, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(done[2], out)
    for case in CASES:
        (tmp_path / "own" / case).mkdir(parents=True)
        for method in METHODS:
            image = read_volume(out / "images" / case / f"{method}.nii.gz")
            labels = np.full(image.array.shape, 2, np.int16)[1:]
            cut = Volume(labels, image.grid.crop((1, 0, 0), labels.shape))
            write_volume(cut, tmp_path / "own" / case / f"{method}.nii.gz")
    settings = {"segmentations": str(tmp_path / "own")}
    with pytest.raises(GridMismatchError, match=r"cubic\.nii\.gz"):
        run_protocol(folder / "plain.json", folder / "data", out, jobs=1, settings=settings)


@pytest.mark.parametrize(("value", "named"), [(511.0, "none of the 32 structures"), (2.5, "no whole numbers")])
def test_maps_of_other_numbers_are_refused(done, tmp_path, value, named):
    image = read_volume(done[2] / "images" / CASES[0] / "cubic.nii.gz")
    path = tmp_path / "cubic.nii.gz"
    write_volume(image.with_array(np.full(image.array.shape, value, np.float32)), path)
    with pytest.raises(InputError, match=named):
        read_own_labels(path)
    assert own_label_map(tmp_path, "", "cubic") == path
    assert own_label_map(tmp_path, "", "linear") is None


def test_without_the_segmentation_model_the_rest_stands(folder, own_home, monkeypatch, tmp_path):
    write_networks(tmp_path / "weights", (), segmenter=False, contrast="t2")
    write_networks(tmp_path / "weights", ("lohiresgan",), segmenter=False, contrast="t2")
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(tmp_path / "weights"))
    path = write_protocol(tmp_path / "plain.json", small_lohires(segmentation="no-such-model", **NO_PICTURES))
    settings = {"contrast": "t2"}
    result = run_protocol(path, folder / "data", tmp_path / "out", jobs=1, settings=settings)
    assert result.summary["contrast"] == "t2"
    assert "lohiresgan-t2" in result.summary["groups"][0]["methods"]
    assert "mrharmonize train no-such-model" in result.summary["morphometry"]["missing"]
    assert "Not measured" in result.paths["report"].read_text("utf-8")
    assert "regions" not in result.paths


@pytest.mark.parametrize(("protocol", "named"), [("lowfield", "leave out --contrast"), ("lohires", "t1, t2")])
def test_a_contrast_that_cannot_be_had_ends_with_one_line(folder, tmp_path, capsys, protocol, named):
    words = ["evaluate", protocol, "--data", str(folder / "data"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as end:
        main([*words, "--contrast", "flair"])
    assert end.value.code == 2
    printed = capsys.readouterr()
    assert named in printed.out + printed.err


def test_nothing_is_tuned_here(folder, tmp_path):
    with pytest.raises(ParameterError, match="evaluate lowfield --retune"):
        run_protocol(folder / "plain.json", folder / "data", tmp_path, retune=True)
