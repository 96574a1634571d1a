"""The whole travelling-subject evaluation on a small head and two small scanners."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest
from support.travelling import small_protocol, write_travelling

from MRHarmonizationLib.cli import main
from MRHarmonizationLib.core.errors import InputError, OperationCancelled, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.dwi_protocol import DwiProtocol
from MRHarmonizationLib.evaluation.dwi_protocol_cases import prepare_dwi_case
from MRHarmonizationLib.evaluation.dwi_protocol_methods import fitted_path, is_fitted
from MRHarmonizationLib.evaluation.dwi_protocol_rows import harmonised_after_correction, harmonised_as_by_user
from MRHarmonizationLib.evaluation.protocol import run_protocol
from MRHarmonizationLib.inference.harmonize_dwi import HarmonizeDwiRequest, harmonize_dwi
from MRHarmonizationLib.methods.dwi_harmonizers.base import DWI_HARMONIZERS, DwiHarmonizer, load_dwi_harmonizer
from MRHarmonizationLib.methods.dwi_harmonizers.scaling import GlobalScaling

METHODS = ["global_scaling", "linear_rish"]
ROWS = ["raw", "none", *METHODS, "canonical"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_travelling(tmp_path_factory.mktemp("heads"))


@pytest.fixture(scope="module")
def protocol(tmp_path_factory):
    folder = tmp_path_factory.mktemp("protocol")
    path = folder / "small.json"
    path.write_text(json.dumps(small_protocol(folder, methods=METHODS)), "utf-8")
    return path


@pytest.fixture(scope="module")
def done(protocol, data, tmp_path_factory):
    """One whole run: (result, fractions of progress, folder)."""
    out, seen = tmp_path_factory.mktemp("out"), []
    progress = Progress(lambda fraction, _: seen.append(fraction))
    return run_protocol(protocol, data, out, jobs=1, models=(), progress=progress), seen, out


def read_rows(folder):
    with (folder / "rows.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_rows(folder, rows):
    with (folder / "rows.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def test_rows_tables_report_and_pictures_are_written(done):
    result, seen, out = done
    assert seen == sorted(seen)
    rows = read_rows(out)
    assert [row["method"] for row in rows] == ROWS * 2
    for row in rows:
        assert 0 < float(row["ssim_dw_scaled"]) <= 1
        assert 0.8 < float(row["brain_found"]) <= 1
        assert row["gradients_kept"] == ("" if row["method"] == "canonical" else "True")
        assert (row["psnr_b0"] == "") == (row["method"] in ("raw", "none") or bool(row["refused"]))
    summary = json.loads(result.paths["json"].read_text("utf-8"))
    methods = summary["methods"]
    variation = {name: entry["scores"]["cv_b0"]["mean"] for name, entry in methods.items()}
    assert variation["canonical"] < variation["global_scaling"] < variation["raw"]
    errors = {name: entry["scores"]["fa_error_white"]["mean"] for name, entry in methods.items()}
    assert errors["canonical"] < errors["none"]
    assert errors["global_scaling"] == pytest.approx(errors["none"], abs=1e-5), "one gain keeps the tensor"
    assert summary["bars"] == [], "classical methods alone are held to no bar"
    page = result.paths["report"].read_text("utf-8")
    assert page.count("data:image/png") == 4
    assert "| global_scaling |" in result.paths["table"].read_text("utf-8")
    assert any("fall, b0" in line for line in result.lines())


def test_the_classical_shortcut_is_exact_for_a_method_fitted_to_the_scanner(protocol, data, done):
    small = DwiProtocol.from_dict(json.loads(protocol.read_text("utf-8")))
    case = next(small.cases())
    scan = prepare_dwi_case(case, small, data).scan
    method = load_dwi_harmonizer(fitted_path(done[2] / "fitted", "linear_rish", "small-a"))
    corrected = harmonize_dwi(scan, HarmonizeDwiRequest(method="none", spacing_mm="target"))
    whole, short = (f(method, scan, corrected) for f in (harmonised_as_by_user, harmonised_after_correction))
    assert whole.strength_used == short.strength_used
    assert np.array_equal(whole.dwi.array, short.dwi.array)


def test_fitted_harmonisers_are_used_again_only_for_the_same_scans(protocol, done):
    small = DwiProtocol.from_dict(json.loads(protocol.read_text("utf-8")))
    folder, scanner = done[2] / "fitted", small.scanners[0]
    assert is_fitted(small, folder, "linear_rish", scanner)
    other = DwiProtocol.from_dict({**json.loads(protocol.read_text("utf-8")), "directions": 8})
    assert not is_fitted(other, folder, "linear_rish", scanner)
    assert not is_fitted(small, folder.parent, "linear_rish", scanner)


def test_an_interrupted_run_goes_on_and_a_new_network_alone_is_run(protocol, data, done, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(done[2], out)
    rows = [{**row, "seconds": "12345.0"} for row in read_rows(out)]
    write_rows(out, rows[:-3])  # of the second scanner two methods and the canonical scan are missing
    progress = Progress()
    progress.cancel()
    with pytest.raises(OperationCancelled):
        run_protocol(protocol, data, out, jobs=1, models=(), progress=progress)
    assert len(read_rows(out)) == len(rows) - 3

    entry = DwiHarmonizer("network", "Network", "trained", Network, Network.fit, defaults={"model": ""})
    monkeypatch.setitem(DWI_HARMONIZERS._entries, "network", entry)
    values = json.loads(protocol.read_text("utf-8")) | {"methods": [*METHODS, "network"]}
    (tmp_path / "more.json").write_text(json.dumps(values), "utf-8")
    result = run_protocol(tmp_path / "more.json", data, out, jobs=1)
    after = read_rows(out)
    kept = [row for row in after if row["seconds"] == "12345.0"]
    assert len(kept) == len(rows) - 3
    assert [row["method"] for row in after] == [*ROWS[:-1], "network", "canonical"] * 2
    fresh = {row["method"]: row["psnr_dw_scaled"] for row in after if row["seconds"] != "12345.0"}
    before = {row["method"]: row["psnr_dw_scaled"] for row in rows[-3:]}
    assert {name: fresh[name] for name in before} == before
    own, other = ([r["fa_error_white"] for r in after if r["method"] == name] for name in ("network", "global_scaling"))
    assert own == other
    verdicts = {bar["bar"]: bar["met"] for bar in result.summary["bars"]}
    assert verdicts["scans refused"]
    assert not verdicts["gain, psnr_dw_scaled"], "one factor gains nothing over one factor"
    assert "network" in result.paths["report"].read_text("utf-8")


class Network(GlobalScaling):
    """One factor, under another name."""

    method = "network"

    @classmethod
    def fit(cls, target, model=""):
        """Take the target's median."""
        return cls(float(target.median_b0))


def test_the_command_line_runs_it(protocol, data, done, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(done[2], out)
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", str(protocol), "--data", str(data), "--out", str(out), "--jobs", "1"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert "Variation between the scanners" in said
    assert "report.html" in said
    assert [row["seconds"] for row in read_rows(out)] == [row["seconds"] for row in read_rows(done[2])]


def test_wrong_calls_are_refused(protocol, data, tmp_path):
    with pytest.raises(ParameterError, match="retune"):
        run_protocol(protocol, data, tmp_path / "out", jobs=1, retune=True)
    with pytest.raises(InputError, match="training_seg_11"):
        run_protocol(protocol, tmp_path, tmp_path / "out", jobs=1, models=())
    values = json.loads(protocol.read_text("utf-8")) | {"methods": ["nobody"]}
    (tmp_path / "other.json").write_text(json.dumps(values), "utf-8")
    with pytest.raises(ParameterError, match="nobody"):
        run_protocol(tmp_path / "other.json", data, tmp_path / "out", jobs=1)
