"""The protocol of the specialists: unseen subjects only, verdicts that can fail, two small cases that resume."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from tiny_models import write_tiny_restorer

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation import subtle_run
from MRHarmonizationLib.evaluation.protocol import read_protocol
from MRHarmonizationLib.evaluation.subtle_protocol import SubtleProtocol, person_of
from MRHarmonizationLib.evaluation.subtle_tables import (
    agreement_rows,
    paired_rows,
    score_rows,
    subject_means,
    verdicts,
)
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

VALUES = read_protocol("subtle")


def test_shipped_protocol_is_complete():
    protocol = SubtleProtocol.from_dict(VALUES)
    assert protocol.scans == {"noise_3": "noise", "noise_6": "noise", "noise_10": "noise", "coarse": "detail"}
    assert protocol.model_ids("noise")["distilled"] == "denoise-cnn-misaligned-2mm-distilled"
    assert protocol.measured("a", 0).factors == (1.0, 2.0, 2.0)
    assert len(SubtleProtocol.from_dict(VALUES, quick=True).subjects) == 2
    assert person_of("labelmaps/training_seg_17") == person_of("labelmaps/training_seg_17.nii.gz")


def test_subjects_that_were_trained_on_are_refused():
    with pytest.raises(ParameterError, match="maniqa_slices is 0"):
        SubtleProtocol.from_dict({**VALUES, "maniqa_slices": 0})
    with pytest.raises(ParameterError, match="training_seg_03"):
        SubtleProtocol.from_dict({**VALUES, "subjects": [{"path": "labelmaps/training_seg_03", "kind": "labels"}]})


def table(scores: dict[str, tuple[float, float]], scan: str = "noise_3") -> list[dict]:
    """Rows of four persons with three slices each: method → (PSNR, SSIM) of the first person's first slice."""
    return [
        {
            "case": f"p{person}/{scan}",
            "person": f"p{person}",
            "scan": scan,
            "method": method,
            "slice": str(plane),
            "slices": "3",
            "psnr": str(psnr + person + 0.1 * plane),
            "ssim": str(ssim + 0.01 * person + 0.001 * plane * (person + 1)),
            "piqe": str(40 + plane),
            "maniqa": "",
            "seconds": "1",
        }
        for method, (psnr, ssim) in scores.items()
        for person in range(4)
        for plane in range(3)
    ]


def test_persons_count_alike_however_many_slices_they_have():
    rows = table({"input": (20.0, 0.5)})
    assert subject_means(rows[:4], "psnr") == pytest.approx({"p0": 20.1, "p1": 21.0})
    assert score_rows(rows)[0]["psnr"] == pytest.approx(21.6)


@pytest.mark.parametrize(("reached", "met"), [(25.0, True), (23.9, False)])
def test_verdicts_compare_with_the_best_rival(reached, met):
    protocol = SubtleProtocol.from_dict(VALUES)
    scores = {"input": (20.0, 0.5), "nlm": (23.0, 0.7), "tv": (22.0, 0.6), "acquired": (reached, 0.8)}
    found = {v["what"]: v for v in verdicts(table(scores), protocol)}
    assert found["dB over nlm"]["met"] is met
    assert found["dB over the input"]["met"] is True
    assert not any("restore-any" in what for what in found)


@pytest.mark.parametrize(("distilled", "met"), [(22.0, True), (21.0, False)])
def test_misaligned_routes_must_beat_naive_training(distilled, met):
    protocol = SubtleProtocol.from_dict(VALUES)
    scores = {"input": (20.0, 0.5), "naive": (21.5, 0.6), "distilled": (distilled, 0.6), "synthetic": (20.5, 0.6)}
    found = {v["what"]: v for v in verdicts(table(scores), protocol)}
    assert found["dB of the better of them over naive, misaligned pairs"]["met"] is met


def test_trainings_are_held_against_each_other():
    protocol = SubtleProtocol.from_dict({**VALUES, "draws": 50})
    rows = table({"acquired": (25.0, 0.9), "synthetic": (24.0, 0.895), "combined": (25.0, 0.9)})
    found = agreement_rows(rows, protocol)
    assert [(row["second"], row["slices"], row["subjects"]) for row in found] == [
        ("synthetic", 12, 4),
        ("combined", 12, 4),
    ]
    assert found[0]["bias"] == pytest.approx(-0.005)
    assert found[0]["r"] == pytest.approx(1.0)
    gap = next(v for v in verdicts(rows, protocol) if "synthetic-" in v["what"])
    assert gap["value"] == pytest.approx(0.005)
    assert gap["met"] is True
    tests = [row for row in paired_rows(rows, protocol) if row["score"].startswith("ssim")]
    assert tests[0]["difference"] == pytest.approx(-0.005)
    assert (tests[0]["subjects"], tests[0]["slices"]) == (4, 12)


def test_run_on_two_cases_resumes(tmp_path, monkeypatch, head_phantom):
    pytest.importorskip("onnx")
    data = tmp_path / "data"
    (data / "structural").mkdir(parents=True)
    (data / "eval_t1_slabs").mkdir()
    array = np.maximum(head_phantom.array, 0)
    write_volume(Volume(array, Grid.from_parts(array.shape)), data / "structural" / "colin27_T1w.nii.gz")
    # a slab whose short axis is not the first
    slab = np.ascontiguousarray(array[:, 16:34])
    write_volume(Volume(slab, Grid.from_parts(slab.shape)), data / "eval_t1_slabs" / "subject01.nii.gz")
    (tmp_path / "out").mkdir()
    for model in ("restore-any", "denoise-cnn", "denoise-cnn-synthetic", "super-resolve-cnn"):
        write_tiny_restorer(tmp_path / "weights", model)
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(tmp_path / "weights"))
    subjects = [{"path": path, "kind": "image"} for path in ("structural/colin27_T1w", "eval_t1_slabs/subject01")]
    values = {**VALUES, "subjects": subjects, "noise_percent": [5.0], "block_mm": 32, "slice_step": 4, "draws": 20}
    values |= {"nlm_h_factors": [0.7], "tv_weight_factors": [1.0]}
    options = {"quick": False, "models": None, "jobs": 1, "retune": False, "progress": Progress()}
    done = subtle_run.run_subtle(values, data, tmp_path / "out", **options)
    methods = {(row["scan"], row["method"]) for row in done.summary["scores"]}
    assert {("noise_5", "tv"), ("noise_5", "synthetic"), ("coarse", "lanczos"), ("coarse", "acquired")} <= methods
    assert "denoise-cnn-combined" in done.summary["missing"]
    assert done.summary["agreement"][0]["subjects"] == 2
    assert all(path.exists() for path in done.paths.values())
    with done.paths["csv"].open() as stream:
        first = list(csv.DictReader(stream))
    # one row of the last method is lost, as when a run is killed while it writes
    kept = done.paths["csv"].read_text().splitlines(keepends=True)
    done.paths["csv"].write_text("".join(kept[:-1]))
    ran = []
    task = subtle_run.case_task
    monkeypatch.setattr(subtle_run, "case_task", lambda *args: (ran.append(args[4].name), task(*args))[1])
    subtle_run.run_subtle(values, data, tmp_path / "out", **options)
    assert len(ran) == 1
    with done.paths["csv"].open() as stream:
        again = list(csv.DictReader(stream))
    drop = {"seconds"}
    assert [{k: v for k, v in r.items() if k not in drop} for r in again] == [
        {k: v for k, v in r.items() if k not in drop} for r in first
    ]
