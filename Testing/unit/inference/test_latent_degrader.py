"""Degrading with a latent diffusion model: deterministic, plane by plane, nothing at level 0, kind about mistakes."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.degraders import write_tiny_degraders

pytest.importorskip("torch")
pytest.importorskip("onnx")

from MRHarmonizationLib.core.errors import (
    InputError,
    ModelNotFoundError,
    OperationCancelled,
    ParameterError,
    WeightsError,
)
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.latent_degrader import (
    LatentDegrader,
    LatentDegradeRequest,
    degrade_scan,
    degrader_card,
    magnitude_scale,
)
from MRHarmonizationLib.inference.latent_degrader_files import degrade_scan_file
from MRHarmonizationLib.inference.latent_input import BLUR, KINDS, NOISE, Acquisition, sample_acquisition
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.orientation import AxisOrder
from MRHarmonizationLib.volumes.volume import Volume


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_tiny_degraders(tmp_path_factory.mktemp("degraders"))


@pytest.fixture
def models(folder, monkeypatch):
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(folder))
    return folder


@pytest.fixture
def scan() -> Volume:
    """Three thick planes of odd sizes, int16, read-only."""
    rng = np.random.default_rng(0)
    array = np.abs(rng.normal(300, 90, (3, 21, 34))).astype(np.int16)
    array[:, :4] = 0
    array.flags.writeable = False
    return Volume(array, Grid.from_parts(array.shape, (1.0, 1.0, 4.0)), "scan")


def request(kind: str = NOISE, level: float = 0.5, **changes) -> LatentDegradeRequest:
    return LatentDegradeRequest(kind, level, **{"seed": 3, "steps": 5, "device": "cpu", **changes})


@pytest.mark.parametrize("kind", KINDS)
def test_result_is_a_function_of_the_seed(models, scan, kind):
    first, again = (degrade_scan(scan, request(kind)).volume for _ in range(2))
    other = degrade_scan(scan, request(kind, seed=4)).volume
    assert first.array.tobytes() == again.array.tobytes()
    assert not np.allclose(first.array, other.array)
    assert first.array.dtype == np.float32
    assert first.array.shape == scan.array.shape
    assert first.array.min() >= 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_level_zero_changes_nothing_and_more_level_changes_more(models, scan, kind):
    assert np.array_equal(degrade_scan(scan, request(kind, 0.0)).volume.array, scan.array)
    changes = [
        np.abs(degrade_scan(scan, request(kind, level)).volume.array - scan.array).mean() for level in (0.02, 0.3, 1.0)
    ]
    assert 0 < changes[0] < changes[1] < changes[2]


def test_planes_do_not_depend_on_one_another(models, scan):
    asked = request()
    degrader = LatentDegrader(degrader_card(asked), asked)
    planes = magnitude_scale(scan.array, 99.5).normalise(scan.array)
    acquisition = sample_acquisition(np.random.default_rng(1), NOISE)
    whole = degrader.degrade(planes, [0, 1, 2], 3, acquisition, Progress())
    alone = degrader.degrade(planes[[2]], [2], 3, acquisition, Progress())
    turned = degrader.degrade(planes[::-1].copy(), [2, 1, 0], 3, acquisition, Progress())
    np.testing.assert_allclose(alone[0], whole[2], atol=1e-5)
    np.testing.assert_allclose(turned[::-1], whole, atol=1e-5)
    assert np.corrcoef((whole - planes).reshape(3, -1))[0, 1] < 0.5, "planes have noise of their own"


def test_planes_lie_across_the_thick_axis_however_the_scan_is_stored(models, scan):
    order = AxisOrder((1, 0, 2), (False, False, False))
    stored = Volume(order.apply(scan.array), order.apply_grid(scan.grid), "scan")
    found = degrade_scan(stored, request()).volume
    expected = degrade_scan(scan, request()).volume
    np.testing.assert_allclose(order.undo(found.array), expected.array, atol=1e-3)


def test_a_single_slice_and_what_is_known_of_the_acquisition(models, scan):
    single = Volume(scan.array[:1], scan.grid.crop((0, 0, 0), (1, 21, 34)), "slice")
    done = degrade_scan(single, request())
    assert done.volume.array.shape == (1, 21, 34)
    record = done.provenance.parameters
    assert record["kind"] == "diffusion-noise"
    assert record["acquisition"]["first"] == done.acquisition.first
    assert record["seed"] == 3


def test_acquisition_and_guidance_are_heeded(models, scan):
    planes = magnitude_scale(scan.array, 99.5).normalise(scan.array)
    white, coloured = Acquisition(0.0, 0.0), Acquisition(0.8, 0.8)
    results = []
    for asked, acquisition in ((request(), white), (request(), coloured), (request(guidance=2.0), white)):
        degrader = LatentDegrader(degrader_card(asked), asked)
        results.append(degrader.degrade(planes, [0, 1, 2], 3, acquisition, Progress()))
    assert not np.allclose(results[0], results[1])
    assert not np.allclose(results[0], results[2])


def test_ringing_is_drawn_or_given(models, scan):
    drawn = degrade_scan(scan, request(BLUR))
    given = degrade_scan(scan, request(BLUR, ringing=drawn.acquisition.first))
    np.testing.assert_array_equal(given.volume.array, drawn.volume.array)
    other = degrade_scan(scan, request(BLUR, ringing=1.0 if drawn.acquisition.first < 0.5 else 0.0))
    assert other.acquisition.second == drawn.acquisition.second
    assert not np.allclose(other.volume.array, drawn.volume.array)
    assert other.provenance.parameters["acquisition"]["first"] == other.acquisition.first


def test_zero_of_a_magnitude_image_stays_zero():
    array = np.array([[[10.0, 20.0, 110.0]]], np.float32)
    scale = magnitude_scale(array, 100.0)
    assert (scale.offset, scale.scale) == (0.0, 110.0)
    assert magnitude_scale(array - 30.0, 100.0).offset == -20.0
    with pytest.raises(InputError, match="not above"):
        magnitude_scale(np.array([0.0, 0.0, 0.0, 5.0]), 50.0)


def test_files_come_whole_with_their_record(models, scan, tmp_path):
    source = write_volume(scan, tmp_path / "in.nii.gz")
    done = degrade_scan_file(source, tmp_path / "out.nrrd", request())
    expected = degrade_scan(read_volume(source), request()).volume
    assert np.array_equal(read_volume(done.output).array, expected.array)
    record = json.loads(done.sidecar.read_text())
    assert record["operation"] == "degrade"
    assert record["model_id"] == "degrader-noise"
    assert record["weights_sha256"] == degrader_card(request()).weights.sha256


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"level": 1.5}, "level is 1.5"),
        ({"level": float("nan")}, "level is nan"),
        ({"level": -0.1}, "level is -0.1"),
        ({"kind": "fog"}, "fog"),
        ({"steps": 1}, "steps is 1"),
        ({"seed": -1}, "seed is -1"),
        ({"guidance": 9.0}, "guidance is 9"),
        ({"device": "abacus"}, "abacus"),
        ({"threads": 0}, "threads is 0"),
        ({"kind": "blur", "ringing": 1.5}, "ringing is 1.5"),
        ({"kind": "blur", "ringing": float("nan")}, "ringing is nan"),
        ({"ringing": 0.5}, "only blur can ring"),
    ],
)
def test_wrong_values_are_refused(changes, words):
    with pytest.raises(ParameterError, match=words):
        replace(request(), **changes)


def test_images_that_are_no_scans_are_refused(models, scan):
    hole = scan.array.astype(np.float32)
    hole[0, 8, 8] = np.nan
    with pytest.raises(InputError, match="NaN"):
        degrade_scan(scan.with_array(hole), request())
    with pytest.raises(InputError, match="constant"):
        degrade_scan(scan.with_array(np.full(hole.shape, 7.0, np.float32)), request())
    small = Volume(scan.array[:, :12], scan.grid.crop((0, 0, 0), (3, 12, 34)))
    with pytest.raises(InputError, match="34 x 12"):
        degrade_scan(small, request())


def test_missing_and_unfitting_models_are_named_with_a_remedy(own_home, models, folder, scan, tmp_path, monkeypatch):
    with pytest.raises(ParameterError, match="made for 'noise'"):
        degrade_scan(scan, request("blur", model="degrader-noise"))
    other = write_tiny_degraders(tmp_path / "other", seed=5)
    (other / "degrader-autoencoder.json").replace(other / "degrader-autoencoder.txt")
    for name in ("degrader-autoencoder.json", "degrader-autoencoder.onnx"):
        (other / name).write_bytes((folder / name).read_bytes())
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(other))
    with pytest.raises(WeightsError, match="is not the one"):
        degrade_scan(scan, request())
    with pytest.raises(ModelNotFoundError, match="mrharmonize train degrader-noise"):
        degrade_scan(scan, request(model="absent"))


def test_cancelling_stops(models, scan):
    progress = Progress()
    progress.cancel()
    with pytest.raises(OperationCancelled):
        degrade_scan(scan, request(), progress)
