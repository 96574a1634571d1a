"""The whole contrast evaluation on a small synthetic data folder, and its checks on methods that break the rules."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import dataclass

import numpy as np
import pytest
from support.heads import write_heads

from MRHarmonizationLib.core.errors import InputError, OperationCancelled, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.contrast_protocol_checks import check_harmonizer, reversed_stack, seam_strength
from MRHarmonizationLib.evaluation.contrast_protocol_lesions import lesion_bars
from MRHarmonizationLib.evaluation.contrast_protocol_methods import Contestant
from MRHarmonizationLib.evaluation.protocol import read_protocol, run_protocol
from MRHarmonizationLib.methods.harmonizers import FittedHarmonizer

METHODS = ["nyul", "percentile"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_heads(tmp_path_factory.mktemp("heads"))


@pytest.fixture(scope="module")
def protocol(tmp_path_factory):
    whole = read_protocol("contrast")
    values = {**whole, **whole["quick"], "methods": METHODS}
    values["groups"] = [
        {**values["groups"][0], "subjects": ["labelmaps/training_seg_17", "labelmaps/training_seg_18"]},
        {**whole["groups"][1], "alterations": {"seen": 2}},
    ]
    values["lesions"] = {**whole["lesions"], "images": {"flair": "ms_lesions/patient07_FLAIR"}, "alterations": 1}
    values["visits"] = {
        **whole["visits"],
        "first": {"flair": "ms_lesions/patient01_visit1_FLAIR"},
        "second": {"flair": "ms_lesions/patient01_visit2_FLAIR"},
    }
    path = tmp_path_factory.mktemp("protocol") / "small.json"
    path.write_text(json.dumps(values), "utf-8")
    return path


@pytest.fixture(scope="module")
def done(protocol, data, tmp_path_factory):
    """One whole run: (result, fractions of progress, folder)."""
    out, seen = tmp_path_factory.mktemp("out"), []
    return (
        run_protocol(protocol, data, out, jobs=1, models=(), progress=Progress(lambda f, m: seen.append(f))),
        seen,
        out,
    )


def read_rows(folder):
    with (folder / "rows.csv").open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_rows_tables_report_and_pictures_are_written(done):
    result, seen, out = done
    assert seen == sorted(seen)
    rows = read_rows(out)
    assert {row["method"] for row in rows} == {"unscaled", "raw", *METHODS}
    assert len(rows) == (2 * 6 + 2) * 4
    assert all(0 < float(row["ssim"]) <= 1 and 0 < float(row["dice"]) <= 1 for row in rows)
    summary = json.loads(result.paths["json"].read_text("utf-8"))
    cell = next(c for c in summary["cells"] if (c["group"], c["set"]) == ("labelmaps", "all"))
    assert cell["methods"]["nyul"]["cv"]["sd"] is not None
    assert cell["methods"]["nyul"]["cv"]["mean"] < cell["methods"]["raw"]["cv"]["mean"], "landmarks undo tone curves"
    assert {(c["group"], c["set"]) for c in summary["cells"]} == {
        *(("labelmaps", families) for families in ("all", "seen", "held-out")),
        *(("colin27", families) for families in ("all", "seen")),
    }
    assert summary["bars"] == [], "classical methods alone are held to no bar"
    page = result.paths["report"].read_text("utf-8")
    assert set(json.loads((out / "further.json").read_text("utf-8"))["parts"]) == {"lesions flair", "visits", "checks"}
    # one per group and contrast, the lesions, the visits and their spectra
    assert page.count("data:image/png") == 2 + 1 + 2
    assert "| nyul | classical |" in result.paths["table"].read_text("utf-8")
    assert any("idempotence" in line for line in result.lines())


def test_raw_and_percentile_scaling_are_the_same_mapping(done):
    rows = read_rows(done[2])
    raw, scaled = (
        {(r["case"], r["alteration"]): r["ssim"] for r in rows if r["method"] == name} for name in ("raw", "percentile")
    )
    assert raw == scaled


def test_lesions_keep_overlap_and_contrast_under_monotone_methods(done):
    found = done[0].summary["lesions"]
    assert {(row["input"], row["method"]) for row in found["rows"]} == {
        (name, method) for name in ("unaltered", "alteration 1") for method in ("unscaled", "raw", *METHODS)
    }
    for row in found["rows"]:
        assert row["lesions"] == 2
        assert row["role"] == "train"
        if row["method"] in ("unscaled", "raw", "percentile"):  # linear maps
            assert row["contrast"] == pytest.approx(1.0, abs=1e-3)
            assert row["dice"] == pytest.approx(1.0, abs=1e-3)
    assert {bar["method"]: bar["met"] for bar in found["bars"]}["percentile"]


def test_visits_in_other_units_come_together_and_the_change_stays(done):
    rows = {row["method"]: row for row in done[0].summary["visits"]["rows"]}
    assert rows["unscaled"]["difference"] > 3 * rows["raw"]["difference"], "the second visit has twice the units"
    for name in METHODS:
        assert rows[name]["change"] == pytest.approx(1.0, abs=0.25)
        assert rows[name]["difference"] < 8.0
    assert rows["raw"]["change"] == 1.0
    assert rows["raw"]["spectrum"] == pytest.approx(rows["percentile"]["spectrum"], rel=1e-3)


def test_pointwise_methods_pass_the_checks(done):
    rows = {row["method"]: row for row in done[0].summary["checks"]["rows"]}
    assert set(rows) == set(METHODS)
    for row in rows.values():
        assert row["strength_0"] is True
        assert row["reversed_order"] < 0.1
        assert row["met"] == (row["seams"] <= 0.4 and row["idempotence"] <= 1.0)
    assert rows["percentile"]["idempotence"] < 0.1
    assert rows["percentile"]["seams"] < 0.01


def test_an_interrupted_run_goes_on_where_it_stopped(protocol, data, done, tmp_path):
    out = tmp_path / "out"
    progress = Progress()

    def stop(fraction: float, message: str) -> None:
        if "1 of 3" in message:
            progress.cancel()

    progress._callback = stop
    with pytest.raises(OperationCancelled):
        run_protocol(protocol, data, out, jobs=1, models=(), progress=progress)
    before = read_rows(out)
    assert len(before) == 6 * 4
    marked = [{**row, "seconds": "12345.0"} for row in before]
    with (out / "rows.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(before[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(marked[:-1])  # the last method lacks an alteration
    values = json.loads(protocol.read_text("utf-8"))
    only_rows = tmp_path / "rows.json"
    only_rows.write_text(json.dumps({**values, "lesions": {}, "visits": {}, "checks": {}}), "utf-8")
    run_protocol(only_rows, data, out, jobs=1, models=())
    after = read_rows(out)
    kept = {row["method"] for row in after if row["seconds"] == "12345.0"}
    assert kept == {"unscaled", "raw", "nyul"}
    same = [{k: v for k, v in row.items() if k != "seconds"} for row in after]
    assert same == [{k: v for k, v in row.items() if k != "seconds"} for row in read_rows(done[2])]


def test_finished_parts_are_not_run_again(protocol, data, done, tmp_path):
    out = tmp_path / "out"
    shutil.copytree(done[2], out)
    stored = json.loads((out / "further.json").read_text("utf-8"))
    stored["parts"]["checks"][0]["idempotence"] = 12345.0
    (out / "further.json").write_text(json.dumps(stored), "utf-8")
    again = run_protocol(protocol, data, out, jobs=1, models=())
    assert again.summary["checks"]["rows"][0]["idempotence"] == 12345.0
    assert again.summary["visits"] == done[0].summary["visits"]
    # another reference: everything anew
    (out / "further.json").write_text(json.dumps({**stored, "mark": "of something else"}), "utf-8")
    values = {**json.loads(protocol.read_text("utf-8")), "lesions": {}, "visits": {}}
    (tmp_path / "checks.json").write_text(json.dumps(values), "utf-8")
    anew = run_protocol(tmp_path / "checks.json", data, out, jobs=1, models=())
    assert anew.summary["checks"] == done[0].summary["checks"]


def test_wrong_calls_are_refused_before_any_work(protocol, data, tmp_path):
    with pytest.raises(ParameterError, match="retune"):
        run_protocol(protocol, data, tmp_path / "out", jobs=1, retune=True)
    with pytest.raises(InputError, match="training_seg_01"):
        run_protocol(protocol, tmp_path, tmp_path / "out", jobs=1, models=())
    values = json.loads(protocol.read_text("utf-8"))
    (tmp_path / "other.json").write_text(json.dumps({**values, "methods": ["nobody"]}), "utf-8")
    with pytest.raises(ParameterError, match="nobody"):
        run_protocol(tmp_path / "other.json", data, tmp_path / "out", jobs=1)


def test_a_seam_is_found_and_anatomy_is_not():
    rng = np.random.default_rng(0)
    from scipy.ndimage import gaussian_filter

    source = np.clip(500 + 2000 * gaussian_filter(rng.normal(size=(24, 26, 28)), 1.5), 50, None)
    inside = np.ones(source.shape, bool)
    curved = 900 * (source / 1000) ** 1.3
    assert seam_strength(curved, source, inside) < 0.1
    for axis in range(3):
        stepped = np.moveaxis(curved.copy(), axis, 0)
        stepped[12:] += 100.0
        assert seam_strength(np.moveaxis(stepped, 0, axis), source, inside) > 0.4


@dataclass(frozen=True)
class Drifting(FittedHarmonizer):
    """Breaks every rule: shrinks intensities each time, and depends on where a slice is stored."""

    method = "drifting"

    def map_array(self, volume, mask):
        """Return the values after a gain that rises along k, with a step in the middle."""
        gain = np.linspace(0.6, 0.9, volume.array.shape[0], dtype=np.float32)
        gain[volume.array.shape[0] // 2 :] += 0.3
        return volume.array * gain[:, None, None]


def test_a_method_that_breaks_the_rules_is_caught(data, protocol, tmp_path):
    from MRHarmonizationLib.evaluation.contrast_protocol import ContrastProtocol
    from MRHarmonizationLib.evaluation.contrast_protocol_cases import build_references, prepare_case

    small = ContrastProtocol.from_dict(json.loads(protocol.read_text("utf-8")))
    case = next(small.cases())
    prepared = prepare_case(case, small, data, build_references(small, data, tmp_path / "reference", Progress()))
    honest = check_harmonizer(Contestant("nyul", "classical", "nyul"), prepared, prepared.image)
    fitted = Drifting()
    once = fitted.apply(prepared.image).array
    inside = prepared.mask
    assert honest["reversed_order"] < 0.1
    assert np.abs(reversed_stack(fitted, prepared.image) - once)[inside].mean() > 10
    assert np.abs(fitted.apply(prepared.image.with_array(once)).array - once)[inside].mean() > 10
    assert seam_strength(once, prepared.image.array, inside) > 2 * honest["seams"]


def between_slices(array: np.ndarray) -> float:
    return float(np.abs(np.diff(array.astype(np.float32), axis=0)).mean())


class Choosy(FittedHarmonizer):
    """Needs anatomy: refuses a stack whose neighbouring slices have nothing to do with each other."""

    method, limit = "choosy", 0.0

    def map_array(self, volume, mask):
        """Return the values, or refuse."""
        if between_slices(volume.array) > self.limit:
            raise InputError("this is no head", "choose a head")
        return np.array(volume.array, np.float32)


def test_a_method_that_refuses_shuffled_slices_is_judged_by_the_rest(data, protocol, tmp_path, monkeypatch):
    from MRHarmonizationLib.evaluation import contrast_protocol_checks as checks
    from MRHarmonizationLib.evaluation.contrast_protocol import ContrastProtocol
    from MRHarmonizationLib.evaluation.contrast_protocol_cases import build_references, prepare_case

    small = ContrastProtocol.from_dict(json.loads(protocol.read_text("utf-8")))
    case = next(small.cases())
    prepared = prepare_case(case, small, data, build_references(small, data, tmp_path / "reference", Progress()))
    monkeypatch.setattr(Choosy, "limit", 1.2 * between_slices(prepared.image.array))
    monkeypatch.setattr(Contestant, "fit", lambda self, group: Choosy())
    found = check_harmonizer(Contestant("choosy", "learned", "percentile"), prepared, prepared.image)
    assert found["shuffled_slices"] is None
    assert found["reversed_order"] < 1e-3
    assert checks._worse(None, 0.3) is None
    row = checks._row("choosy", found, {"idempotence": 1.0, "shuffled_slices": 0.1})
    assert (row["shuffled_slices"], row["met"]) == ("", True)
    assert not checks._row("choosy", {**found, "idempotence": 1.5}, {"idempotence": 1.0})["met"]


def test_lost_lesions_fail_the_bar(done):
    from MRHarmonizationLib.evaluation.contrast_protocol import ContrastProtocol

    whole = ContrastProtocol.from_dict(read_protocol("contrast"))
    rows = [{**row, "kind": "classical"} for row in done[0].summary["lesions"]["rows"] if row["method"] == "percentile"]
    undone = [{**rows[0], "contrast": 0.5}, *rows[1:]]
    assert lesion_bars(undone, whole)[0]["met"], "the alteration had added the contrast that went"
    faded = [{**rows[0], "contrast": 0.5, "contrast_to_scan": 0.6, "lost": 1}, *rows[1:]]
    assert lesion_bars(rows, whole)[0]["met"]
    assert not lesion_bars(faded, whole)[0]["met"]
    assert lesion_bars(faded, whole)[0]["lost"] == 1
