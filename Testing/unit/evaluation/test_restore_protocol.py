"""The protocol of the adjustable restorer: unseen subjects only, verdicts that can fail, one small run."""

from __future__ import annotations

import numpy as np
import pytest
from tiny_models import write_tiny_restorer

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.protocol import read_protocol
from MRHarmonizationLib.evaluation.restore_protocol import RestoreProtocol
from MRHarmonizationLib.evaluation.restore_run import run_restore, score_table, verdicts
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

VALUES = read_protocol("restore")


def test_shipped_protocol_is_complete():
    protocol = RestoreProtocol.from_dict(VALUES)
    assert len(protocol.noise_percent) == 3
    assert protocol.noisy("a", 3.0).seed != protocol.noisy("b", 3.0).seed
    assert RestoreProtocol.from_dict(VALUES, quick=True).lesions == {}


def test_subjects_that_were_trained_on_are_refused():
    subject = {"path": "labelmaps/training_seg_03", "kind": "labels", "contrast": "t1"}
    with pytest.raises(ParameterError, match="training_seg_03"):
        RestoreProtocol.from_dict({**VALUES, "subjects": [subject]})


def row(scan: str, method: str, psnr: float, **more) -> dict:
    values = dict.fromkeys(("consistency", "identity", "denoise_monotone", "sharpen_monotone"), "")
    return {"subject": "s", "scan": scan, "method": method, "psnr": psnr, "ssim": 0.9, **values, **more}


@pytest.mark.parametrize(("reached", "met"), [(34.5, True), (32.0, False)])
def test_verdicts_compare_with_the_best_rival(reached, met):
    protocol = RestoreProtocol.from_dict(VALUES)
    sliders = {"identity": True, "denoise_monotone": True, "sharpen_monotone": True, "consistency": 1.0}
    rows = [row("noise_3", "input", 30.0), row("noise_3", "nlm", 33.0), row("noise_3", "tv", 31.0)]
    rows.append(row("noise_3", "restore-any denoise", reached, **sliders))
    found = verdicts(rows, [], protocol)
    assert [v["met"] for v in found[:2]] == [reached >= 33.0, met]
    assert "nlm" in found[1]["what"]
    assert score_table(rows)[-1]["gain_db"] == reached - 30.0


def test_run_writes_its_tables(tmp_path, monkeypatch, head_phantom):
    pytest.importorskip("onnx")
    data = tmp_path / "data"
    (data / "structural").mkdir(parents=True)
    phantom = Volume(np.maximum(head_phantom.array, 0), Grid.from_parts(head_phantom.array.shape))
    write_volume(phantom, data / "structural" / "colin27_T1w.nii.gz")
    write_tiny_restorer(tmp_path / "weights")
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(tmp_path / "weights"))
    subject = {"path": "structural/colin27_T1w", "kind": "image"}
    values = {**VALUES, "subjects": [subject], "lesions": {}, "noise_percent": [5.0], "block_mm": 32}
    values |= {"nlm_h_factors": [0.7], "tv_weight_factors": [1.0], "slider_steps": [0.0, 0.5, 1.0]}
    options = {"quick": False, "models": None, "jobs": 1, "retune": False, "progress": Progress()}
    done = run_restore(values, data, tmp_path, **options)
    assert {row["scan"] for row in done.summary["scores"]} == {"noise_5", "blur"}
    methods = {row["method"] for row in done.summary["scores"]}
    assert {"input", "nlm", "tv", "unsharp", "lanczos", "restore-any denoise", "restore-any default"} <= methods
    shares = {bar["what"]: bar["value"] for bar in done.summary["bars"] if bar["scan"] == "all"}
    assert shares["share of scans with identity"] == 1.0
    assert all(path.is_file() for path in done.paths.values())
    classical = run_restore(values, data, tmp_path, **{**options, "models": ()})
    assert classical.summary["bars"] == []
