"""The whole evaluation on a small synthetic data folder."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from tiny_models import write_tiny_model

from MRHarmonizationLib.core.errors import InputError, ModelNotFoundError, OperationCancelled, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.protocol import read_protocol, run_protocol
from MRHarmonizationLib.evaluation.report import write_csv
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.volume import Volume

METHODS = ["cubic", "linear"]


@pytest.fixture
def tiny(tmp_path, own_home, monkeypatch):
    write_tiny_model(tmp_path / "weights", "tiny", "planes-2.5d")
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(tmp_path / "weights"))
    return "tiny"


@pytest.fixture
def data(head_phantom, tmp_path):
    """A slab of ten full slices between zeros, stored along k, and its tissue map."""
    folder = tmp_path / "data" / "eval_t1_slabs"
    folder.mkdir(parents=True)
    array, tissue = np.zeros((2, *head_phantom.array.shape), np.float32)
    array[17:27] = head_phantom.array[17:27]
    tissue[17:27] = head_phantom.array[17:27] > 100
    grid = head_phantom.grid.crop((12, 0, 0), (20, *array.shape[1:]))
    write_volume(Volume(array[12:32], grid), folder / "subject01.nii.gz")
    write_volume(Volume(tissue[12:32], grid), folder / "subject01_tissues.nii.gz")
    return tmp_path / "data"


@pytest.fixture
def protocol(tmp_path, tiny):
    values = read_protocol("lowfield")
    values.update(models=[tiny], methods=METHODS, snr=[10, 20], native={}, lesions={})
    values["groups"] = [{**values["groups"][0], "subjects": ["eval_t1_slabs/subject01"], "extend_to_mm": 20}]
    values["tuning"]["parameters"] = {"t1_coronal": {"cubic": {}}}
    path = tmp_path / "small.json"
    path.write_text(json.dumps(values), "utf-8")
    return path


def test_tables_report_and_pictures_are_written(protocol, data, tmp_path):
    seen = []
    progress = Progress(lambda fraction, message: seen.append(fraction))
    result = run_protocol(protocol, data, tmp_path / "out", jobs=1, progress=progress)
    assert seen == sorted(seen)
    with result.paths["csv"].open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3 * 2 * 3
    assert {row["method"] for row in rows} == {*METHODS, "tiny"}
    assert all(0 < float(row["ssim"]) < 1 and 5 < float(row["psnr"]) < 60 for row in rows)
    summary = json.loads(result.paths["json"].read_text("utf-8"))
    assert [cell["acquisition"] for cell in summary["cells"]] == ["t1_coronal", "t2_coronal", "sagittal_thick", "all"]
    assert {bar["metric"] for bar in summary["bars"]} == {"psnr", "ssim"}
    assert result.paths["report"].read_text("utf-8").count("data:image/png") == 3
    assert any("required" in line for line in result.lines())
    assert result.to_dict()["protocol"] == "lowfield"


def test_an_interrupted_run_goes_on_where_it_stopped(protocol, data, tmp_path):
    progress = Progress()
    out = tmp_path / "out"

    def stop_after_three(fraction: float, message: str) -> None:
        if "3 of 6" in message:
            progress.cancel()

    progress._callback = stop_after_three
    with pytest.raises(OperationCancelled):
        run_protocol(protocol, data, out, jobs=1, progress=progress)
    with (out / "cases.csv").open(encoding="utf-8", newline="") as stream:
        before = list(csv.DictReader(stream))
    assert 0 < len(before) < 18
    with (out / "cases.csv").open("a", encoding="utf-8") as stream:
        stream.write("half a line")
    messages = []
    run_protocol(protocol, data, out, jobs=1, progress=Progress(lambda fraction, message: messages.append(message)))
    assert any("of 3)" in message for message in messages), "only what was missing is run"
    with (out / "cases.csv").open(encoding="utf-8", newline="") as stream:
        after = list(csv.DictReader(stream))
    assert len(after) == 18
    assert [row for row in after if row["case"] in {b["case"] for b in before}] == before


def test_new_weights_do_not_run_the_classical_methods_again(protocol, data, tmp_path):
    def rows():
        with (tmp_path / "out" / "cases.csv").open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))

    run_protocol(protocol, data, tmp_path / "out", jobs=1, models=())
    marked = [{**row, "seconds": "12345.0"} for row in rows()]
    write_csv(marked, tmp_path / "out" / "cases.csv")
    run_protocol(protocol, data, tmp_path / "out", jobs=1)
    kept = [row for row in rows() if row["seconds"] == "12345.0"]
    # the three cases with a picture need every method's output, the other three only the model's
    assert {row["method"] for row in kept} == set(METHODS)
    assert len(kept) == 3 * len(METHODS)
    assert len(rows()) == 18


def test_a_run_can_be_made_again_exactly(protocol, data, tmp_path):
    first, second = (
        run_protocol(protocol, data, tmp_path / name, jobs=1, models=()).summary["cells"] for name in ("a", "b")
    )
    assert first == second


def test_classical_methods_alone_need_no_model(protocol, data, tmp_path):
    result = run_protocol(protocol, data, tmp_path / "out", jobs=1, models=())
    assert result.summary["bars"] == []
    assert set(result.summary["cells"][0]["methods"]) == set(METHODS)


def test_missing_models_and_scans_are_named_before_any_work(protocol, data, tmp_path):
    with pytest.raises(ModelNotFoundError, match="nobody"):
        run_protocol(protocol, data, tmp_path / "out", jobs=1, models=("nobody",))
    with pytest.raises(InputError, match="subject01"):
        run_protocol(protocol, tmp_path, tmp_path / "out", jobs=1, models=())


def test_unknown_kind_is_refused(tmp_path):
    path = tmp_path / "other.json"
    path.write_text('{"kind": "highfield"}', "utf-8")
    kinds = "batch-effect, contrast, degraders, dwi, lohires, lowfield, regions, restore, subtle"
    with pytest.raises(ParameterError, match=f"'highfield'; choose one of: {kinds}"):
        run_protocol(path, tmp_path, tmp_path / "out")
