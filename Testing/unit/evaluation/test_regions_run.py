"""The evaluation of the 32 structures on a small head, with a network that goes by brightness."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from support.lohires import write_heads, write_networks, write_protocol
from typer.testing import CliRunner

from MRHarmonizationLib.cli import app
from MRHarmonizationLib.core.brain_regions import REGIONS
from MRHarmonizationLib.core.errors import ModelNotFoundError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.protocol import read_protocol, run_protocol
from MRHarmonizationLib.evaluation.regions_protocol import RegionsProtocol
from MRHarmonizationLib.evaluation.regions_run import region_image, set_summary

pytest.importorskip("onnx")


def small(**changes):
    values = read_protocol("regions")
    first, _, second, _ = values["sets"]
    values["sets"] = [{**first, "contrasts": ["t1"], "draws": 2}, {**second, "snr": [20]}]
    values |= {"subjects": ["labelmaps/training_seg_17", "labelmaps/training_seg_18"]}
    values |= {"head": {"margin_mm": 4, "box_mm": [48, 56, 44]}}
    return {**values, **changes}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("regions")
    write_heads(folder / "data")
    write_networks(folder / "weights", ())
    write_protocol(folder / "small.json", small())
    return folder


@pytest.fixture
def installed(folder, own_home, monkeypatch):
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(folder / "weights"))


@pytest.fixture(scope="module")
def done(folder):
    """One whole run by the command line: (its folder, what it printed)."""
    words = ["evaluate", str(folder / "small.json"), "--data", str(folder / "data"), "--out", str(folder / "out")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MRHARMONIZATION_WEIGHTS", str(folder / "weights"))
        found = CliRunner().invoke(app, [*words, "--jobs", "1"])
    assert found.exit_code == 0, found.output
    return folder / "out", found.output


def test_rows_tables_and_verdicts(done):
    out, printed = done
    assert "mean Dice" in printed
    with (out / "cases.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 2 * 2 + 2
    assert all(0 < float(row["mean_dice"]) < 1 for row in rows)
    assert float(rows[0]["dice_2"]) > 0.3, "bright white matter is found where the map has it"
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    fine, coarse = summary["sets"]
    assert (fine["subjects"], fine["images"], coarse["images"]) == (2, 4, 2)
    assert (fine["met"], coarse["met"]) == (False, False)
    assert [row["number"] for row in fine["regions"]] == [region.number for region in REGIONS]
    page = (out / "report.html").read_text("utf-8")
    assert "Left hippocampus" in page
    assert page.count("data:image/png") == 1


def test_finished_rows_are_kept_and_replayable(done, folder, installed, tmp_path):
    shutil.copytree(done[0], tmp_path / "again")
    first = (tmp_path / "again" / "cases.csv").read_text("utf-8").splitlines()
    messages = []
    progress = Progress(lambda _, message: messages.append(message))
    run_protocol(folder / "small.json", folder / "data", tmp_path / "again", jobs=1, progress=progress)
    assert not any(" of " in message for message in messages)
    assert (tmp_path / "again" / "cases.csv").read_text("utf-8").splitlines() == first
    (tmp_path / "again" / "cases.csv").write_text("\n".join(first[:-1]) + "\n", "utf-8")
    run_protocol(folder / "small.json", folder / "data", tmp_path / "again", jobs=1, progress=progress)
    assert [message for message in messages if " of " in message] == [f"{first[-1].split(',')[0]} (1 of 1)"]
    again = (tmp_path / "again" / "cases.csv").read_text("utf-8").splitlines()
    assert [_without_seconds(line) for line in again] == [_without_seconds(line) for line in first]


def _without_seconds(line):
    return line.split(",")[:-2] + line.split(",")[-1:]


def test_the_picture_is_made_from_the_map(folder):
    protocol = RegionsProtocol.from_dict(small())
    fine = next(iter(protocol.cases()))
    image, labels = region_image(fine, protocol, str(folder / "data"))
    white, fluid = (float(np.median(image.array[np.isin(labels, numbers)])) for numbers in ((2, 41), (4, 43)))
    assert white > fluid, "T1-like"
    coarse = next(case for case in protocol.cases() if case.acquisition)
    scan, there = region_image(coarse, protocol, str(folder / "data"))
    assert scan.array.shape == there.shape
    assert scan.grid.spacing_mm == pytest.approx([1, 1, 1], abs=1e-6)
    assert len({case.noise_seed for case in protocol.cases()}) == len(list(protocol.cases()))


def test_mean_is_over_subjects_and_a_bar_can_be_met():
    protocol = RegionsProtocol.from_dict(small())
    row = {"set": "random-1mm", "volume_error_percent": "", **{f"dice_{r.number}": 0.9 for r in REGIONS}}
    rows = [{**row, "subject": "a", "mean_dice": 1.0} for _ in range(3)]
    rows.append({**row, "subject": "b", "mean_dice": 0.7, "dice_2": ""})
    found = set_summary(rows, protocol, "random-1mm")
    assert found["mean_dice"] == {"mean": pytest.approx(0.85), "sd": pytest.approx(0.3 / 2**0.5)}
    assert found["met"] is True
    assert found["volume_error_percent"]["mean"] is None
    assert found["regions"][0]["sd"] is None


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"subjects": ["labelmaps/training_seg_02"]}, "training_seg_02"),
        ({"sets": [{"id": "a", "title": "", "contrasts": ["t1"], "acquisition": "spiral", "snr": [20]}]}, "spiral"),
        ({"sets": [{"id": "a", "title": "", "contrasts": ["t1"], "snr": [20]}]}, "SNR"),
        ({"modle": "x"}, "modle"),
    ],
)
def test_mistakes_are_named(change, named):
    with pytest.raises(ParameterError, match=named):
        RegionsProtocol.from_dict(small(**change))


def test_missing_model_and_wrong_options_are_said_before_any_work(folder, installed, tmp_path):
    with pytest.raises(ModelNotFoundError, match="nobody"):
        run_protocol(folder / "small.json", folder / "data", tmp_path, models=("nobody",))
    with pytest.raises(ParameterError, match="one at a time"):
        run_protocol(folder / "small.json", folder / "data", tmp_path, models=("a", "b"))
    with pytest.raises(ParameterError, match="nothing to tune"):
        run_protocol(folder / "small.json", folder / "data", tmp_path, retune=True)
    assert list(tmp_path.iterdir()) == []


def test_shipped_protocol_is_complete():
    protocol = RegionsProtocol.from_dict(read_protocol("regions"))
    assert len(list(protocol.cases())) == 4 * (3 + 3 + 1 + 1)
    assert [entry.bar for entry in protocol.sets] == [0.8, None, 0.7, 0.7]
    assert len(list(RegionsProtocol.from_dict(read_protocol("regions"), quick=True).cases())) == 2
