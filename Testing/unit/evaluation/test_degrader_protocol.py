"""The protocol of the degraders: measures that tell likeness, verdicts that can fail, one small run."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from support.degraders import write_tiny_degraders

from MRHarmonizationLib.core.errors import ModelNotFoundError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.degrader_cases import MODEL, UNDEGRADED, WHITE
from MRHarmonizationLib.evaluation.degrader_measures import (
    log_spectral_distance,
    low_pass_ssim,
    measured_effect,
    neighbour_correlations,
    plane_power,
)
from MRHarmonizationLib.evaluation.degrader_protocol import DegraderProtocol
from MRHarmonizationLib.evaluation.degrader_run import pooled_distances, run_degraders, verdicts
from MRHarmonizationLib.evaluation.protocol import read_protocol
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

VALUES = read_protocol("degraders")


def test_shipped_protocol_is_complete():
    protocol = DegraderProtocol.from_dict(VALUES)
    assert set(protocol.models) == {"noise", "blur"}
    assert protocol.bars["log_spectral_distance_db"] == 1.0
    assert len(DegraderProtocol.from_dict(VALUES, quick=True).subjects) == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"subjects": [{"path": "labelmaps/training_seg_03", "kind": "labels"}]}, "training_seg_03"),
        ({"models": {"fog": "degrader-fog"}}, "fog"),
        ({"ladder": [0.0, 1.0]}, "2 rungs"),
        ({"levels": [1.5]}, "level is 1.5"),
    ],
)
def test_protocols_that_cannot_be_are_refused(changes, words):
    with pytest.raises(ParameterError, match=words):
        DegraderProtocol.from_dict({**VALUES, **changes})


def test_spectra_tell_white_from_coloured_noise_of_the_same_variance():
    rng = np.random.default_rng(0)
    mask = np.ones((4, 64, 64), bool)
    white, again = rng.standard_normal((2, 4, 64, 64), np.float32)
    coloured = gaussian_filter(white, (0, 1, 1))
    coloured /= coloured.std()
    powers = [plane_power(part, mask) for part in (white, again, coloured)]
    assert log_spectral_distance(powers[1], powers[0]) < 1.0
    assert log_spectral_distance(powers[2], powers[0]) > 5.0
    assert log_spectral_distance(4.0 * powers[0], powers[0]) == pytest.approx(6.02, abs=0.01)
    assert np.abs(neighbour_correlations(white, mask, 3)).max() < 0.05
    found = neighbour_correlations(coloured, mask, 3)
    np.testing.assert_allclose(found[[0, 3]], np.exp(-0.25), atol=0.03)


def test_low_pass_forgives_noise_but_not_moved_anatomy():
    rng = np.random.default_rng(0)
    image = gaussian_filter(rng.standard_normal((3, 80, 80), np.float32), (0, 5, 5))
    image /= image.std()
    mask = np.ones(image.shape, bool)
    noisy = image + 0.3 * rng.standard_normal(image.shape)
    assert low_pass_ssim(noisy, image, mask, 3.0) > 0.97
    assert low_pass_ssim(np.roll(image, 5, 1), image, mask, 3.0) < 0.9


def test_effects_rise_with_what_is_done():
    rng = np.random.default_rng(0)
    image = gaussian_filter(rng.standard_normal((4, 48, 48), np.float32), (0, 2, 2))
    mask = np.ones(image.shape, bool)
    noise = rng.standard_normal(image.shape)
    noises = [measured_effect(image + s * noise, "noise", mask, 1.0) for s in (0.0, 0.1, 0.2)]
    blurs = [measured_effect(gaussian_filter(image, (0, s, s)), "blur", mask, 1.0) for s in (0.0, 1.0, 2.0)]
    assert noises == sorted(noises)
    assert blurs == sorted(blurs)


def result(kind: str, model_power: float, rank: float = 1.0, ssim: float = 0.99) -> dict:
    """One subject whose model has a spectrum off by a factor from the simulator's, and a rival off by 10."""
    flat, rival = np.full(5, 2.0), WHITE if kind == "noise" else UNDEGRADED
    power = {"simulator": flat.tolist(), MODEL: (model_power * flat).tolist(), rival: (8.0 * flat).tolist()}
    correlation = {"simulator": [0.5, 0.1], MODEL: [0.45, 0.1], rival: [0.0, 0.0]}
    entry = {"power": power, "correlation": correlation}
    rows = [{"level": level, "low_pass_ssim_model": ssim, "low_pass_ssim_simulator": 0.99} for level in (0.25, 0.5, 1)]
    return {"kind": kind, "subject": "s", "rank": rank, "spectra": [entry, entry], "anatomy": rows, "ladder": []}


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, None),
        ({"model_power": 1.6}, "simulator's spectrum"),
        ({"rank": 0.9}, "rank correlation"),
        ({"ssim": 0.9}, "low-pass SSIM"),
        ({"model_power": 10.0}, "to be beaten"),
    ],
)
@pytest.mark.parametrize("kind", ["noise", "blur"])
def test_verdicts_fail_where_they_should(kind, changes, failing):
    found = verdicts([result(kind, **{"model_power": 1.1, **changes})], DegraderProtocol.from_dict(VALUES))
    missed = [bar["what"] for bar in found if bar["met"] is False]
    assert any(failing in what for what in missed) if failing else not missed
    distances = pooled_distances(result(kind, 1.1)["spectra"])
    assert distances[MODEL]["lsd_db"] == pytest.approx(10 * np.log10(1.1))
    assert distances[MODEL]["correlation"] == pytest.approx(0.05)


def test_a_run_writes_its_tables(tmp_path, own_home, monkeypatch, head_phantom):
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    data = tmp_path / "data"
    (data / "structural").mkdir(parents=True)
    phantom = Volume(np.maximum(head_phantom.array, 0), Grid.from_parts(head_phantom.array.shape))
    write_volume(phantom, data / "structural" / "colin27_T1w.nii.gz")
    subject = {"path": "structural/colin27_T1w", "kind": "image"}
    values = {**VALUES, "subjects": [subject], "block_mm": 40, "planes": 3, "steps": 5, "ladder": [0.0, 0.5, 1.0]}
    values |= {"levels": [0.5], "acquisitions": 1, "lags": 2}
    options = {"quick": False, "models": None, "jobs": 1, "retune": False, "progress": Progress()}
    with pytest.raises(ModelNotFoundError, match="degrader-noise"):
        run_degraders({**values, "models": {"noise": "degrader-noise-x"}}, data, tmp_path, **options)
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(write_tiny_degraders(tmp_path / "weights")))
    done = run_degraders(values, data, tmp_path, **options)
    assert all(path.is_file() for path in done.paths.values())
    ways = {(row["degrader"], row["way"]) for row in done.summary["scores"]}
    assert {("noise", WHITE), ("noise", MODEL), ("blur", UNDEGRADED)} <= ways
    assert {bar["degrader"] for bar in done.summary["bars"]} == {"noise", "blur"}
    named = run_degraders(values, data, tmp_path, **{**options, "models": ("degrader-blur",)})
    assert set(named.summary["models"]) == {"blur"}
    with pytest.raises(ParameterError, match="cannot be judged"):
        run_degraders(values, data, tmp_path, **{**options, "models": ("degrader-autoencoder",)})
