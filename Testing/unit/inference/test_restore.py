"""Denoising and sharpening: two sliders that are linear, exact at 0, the same for every storage of a scan."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_models import write_tiny_model, write_tiny_restorer

from MRHarmonizationLib.core.errors import InputError, ModelNotFoundError, OperationCancelled, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.backends import choose_backend
from MRHarmonizationLib.inference.restore import RestoreRequest, blend, expert_for, restore, restorer
from MRHarmonizationLib.inference.restore_files import restore_file
from MRHarmonizationLib.inference.restore_parts import assess, plane_directions, slice_axis, split, split_slice
from MRHarmonizationLib.inference.undo import undo
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.orientation import AxisOrder
from MRHarmonizationLib.volumes.volume import Volume

QUICK = {"measure": False, "backend": "onnxruntime", "device": "cpu"}


@pytest.fixture
def models(tmp_path, monkeypatch):
    """A tiny restorer, and one that is told to look along three directions."""
    pytest.importorskip("onnx")
    folder = tmp_path / "weights"
    write_tiny_restorer(folder, input={"ensemble": False})
    write_tiny_restorer(folder, "restore-thrice", input={"ensemble": True})
    write_tiny_restorer(folder, "restore-led", input={"ensemble": True, "interpolated": "restore-any"})
    write_tiny_model(folder, "other")
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(folder))
    return folder


@pytest.fixture
def scan(head_phantom):
    """A part of the phantom with some noise, float32."""
    noise = np.random.default_rng(3).standard_normal(head_phantom.array.shape).astype(np.float32)
    array = np.abs(head_phantom.array + 20 * noise)[10:34]
    array.flags.writeable = False
    return Volume(array, head_phantom.grid.crop((10, 0, 0), array.shape), "scan")


def test_strengths_of_zero_are_the_identity(models, scan):
    whole = Volume(np.round(scan.array).astype(np.int16), scan.grid, "scan")
    done = restore(whole, RestoreRequest(0.0, 0.0, keep_residual=True, **QUICK))
    assert np.array_equal(done.volume.array, whole.array)
    assert done.volume.array.dtype == np.float32


def test_result_is_linear_in_both_sliders(models, scan):
    card = restorer("restore-any")
    parts = split(scan, assess(scan, card), card, choose_backend(card, "onnxruntime", "cpu"))
    assert np.abs(parts.noise).max() > 0
    assert np.abs(parts.detail).max() > 0
    for denoise, sharpen in ((1.0, 0.0), (0.3, 0.8)):
        done = restore(scan, RestoreRequest(denoise, sharpen, **QUICK))
        expected = scan.array - denoise * parts.noise + sharpen * parts.detail
        np.testing.assert_allclose(done.volume.array, expected, atol=1e-3)
        np.testing.assert_array_equal(done.volume.array, blend(scan.array, parts, denoise, sharpen))


def test_undo_is_exact(models, scan):
    done = restore(scan, RestoreRequest(keep_residual=True, **QUICK))
    assert not np.array_equal(done.volume.array, scan.array)
    assert np.array_equal(undo(done.volume, done.residual).array, scan.array)


@pytest.mark.parametrize("model", ["restore-any", "restore-thrice"])
def test_storage_of_the_scan_does_not_matter(models, scan, model):
    order = AxisOrder((2, 0, 1), (True, False, True))
    turned = Volume(order.apply(scan.array), order.apply_grid(scan.grid), "scan")
    request = RestoreRequest(model=model, **QUICK)
    straight = restore(scan, request).volume.array
    np.testing.assert_allclose(order.undo(restore(turned, request).volume.array), straight, atol=0.02)


def test_three_directions_only_where_voxels_are_nearly_cubes(models, scan):
    thrice, once = restorer("restore-thrice"), restorer("restore-any")
    assert plane_directions(scan.grid, thrice) == (0, 1, 2)
    assert plane_directions(scan.grid, once) == (slice_axis(scan.grid),)
    thick = Grid.from_parts((8, 40, 40), (1.0, 1.0, 4.0))
    assert plane_directions(thick, thrice) == (2,)


@pytest.mark.parametrize(("axis", "index"), [(2, 0), (2, 11), (1, 20), (0, 47)])
def test_one_slice_is_that_of_the_whole(models, scan, axis, index):
    """What is previewed is what a run along that direction gives."""
    card = restorer("restore-any")
    backend, quality = choose_backend(card, "onnxruntime", "cpu"), assess(scan, card)
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 1.4  # makes this the axis across the planes
    whole = Volume(scan.array, Grid.from_parts(scan.array.shape, tuple(spacing)), "scan")
    assert slice_axis(whole.grid) == axis
    parts = split(whole, quality, card, backend)
    preview = split_slice(whole, axis, index, quality, card, backend)
    np.testing.assert_allclose(preview.noise, np.take(parts.noise, index, 2 - axis), atol=1e-3)
    np.testing.assert_allclose(preview.detail, np.take(parts.detail, index, 2 - axis), atol=1e-3)


def test_detail_of_interpolated_planes_comes_from_the_model_that_the_card_names(models, scan):
    led, fine = restorer("restore-led"), restorer("restore-any")
    backend = choose_backend(led, "onnxruntime", "cpu")
    own, other = (split(scan, assess(scan, card), card, backend) for card in (led, fine))
    assert not np.array_equal(own.detail, other.detail)  # one looks along three directions
    done = restore(scan, RestoreRequest(1.0, 1.0, interpolated=True, model="restore-led", **QUICK))
    np.testing.assert_allclose(done.volume.array, scan.array - own.noise + other.detail, atol=1e-3)
    assert done.provenance.parameters["detail_model"] == "restore-any"
    assert done.provenance.parameters["detail_weights_sha256"] == fine.weights.sha256
    plain = restore(scan, RestoreRequest(1.0, 1.0, model="restore-led", **QUICK))
    np.testing.assert_allclose(plain.volume.array, scan.array - own.noise + own.detail, atol=1e-3)
    assert "detail_model" not in plain.provenance.parameters
    finer = restore(scan, RestoreRequest(finer=2, model="restore-led", **QUICK))
    assert finer.provenance.parameters["detail_model"] == "restore-any"
    # the preview agrees on planes of acquisition; other views are interpolated along one axis only
    quality, expert = assess(scan, led), expert_for(scan, led, None, backend)
    for axis in range(3):
        views = [split_slice(scan, axis, 12, quality, led, backend, expert=e) for e in (expert, None)]
        assert np.array_equal(views[0].noise, views[1].noise)
        theirs = split_slice(scan, axis, 12, expert.quality, expert.card, expert.backend).detail
        used = theirs if axis == slice_axis(scan.grid) else views[1].detail
        np.testing.assert_array_equal(views[0].detail, used)


def test_a_missing_model_for_interpolated_planes_is_said(models, scan):
    write_tiny_restorer(models, "restore-lost", input={"interpolated": "nowhere"})
    request = RestoreRequest(interpolated=True, model="restore-lost", **QUICK)
    done = restore(scan, request)
    assert any("'nowhere' for interpolated planes is not installed" in text for text in done.warnings)
    plain = restore(scan, replace(request, interpolated=False))
    assert np.array_equal(done.volume.array, plain.volume.array)
    assert restore(scan, replace(request, sharpen=0.0)).warnings == plain.warnings  # no detail, nothing to say


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_single_slices(models, scan, axis):
    array = np.ascontiguousarray(np.take(scan.array, [12], axis=axis))
    done = restore(Volume(array, Grid.from_parts(array.shape, (0.8, 0.9, 1.0))), RestoreRequest(**QUICK))
    assert done.volume.array.shape == array.shape
    assert not np.array_equal(done.volume.array, array)


def test_levels_are_estimated_or_said(models, scan):
    found = restore(scan, RestoreRequest(**QUICK))
    said = restore(scan, RestoreRequest(noise_level=12.0, blur_level=3.0, **QUICK))
    noisier = scan.with_array(scan.array + 60 * np.random.default_rng(1).standard_normal(scan.array.shape))
    assert assess(noisier, restorer("restore-any")).noise_percent > 1.2 * found.quality.noise_percent > 0
    assert said.quality.told_noise == pytest.approx(0.12)
    assert said.quality.told_resolution_voxels == 3.0
    assert said.quality.noise_percent == found.quality.noise_percent
    assert not np.array_equal(found.volume.array, said.volume.array)
    assert said.provenance.parameters["estimated_noise_percent"] == round(found.quality.noise_percent, 3)
    assert any("20 %" in text for text in restore(scan, RestoreRequest(noise_level=20.0, **QUICK)).warnings)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"denoise": 1.2}, "denoise is 1.2"),
        ({"sharpen": -0.1}, "sharpen is -0.1"),
        ({"noise_level": 80.0}, "80.0 %"),
        ({"blur_level": 0.5}, "0.5 pixels"),
        ({"device": "tpu"}, "tpu"),
        ({"threads": 0}, "threads is 0"),
    ],
)
def test_wrong_requests_are_refused(change, said):
    with pytest.raises(ParameterError, match=said):
        RestoreRequest(**change)


def test_wrong_inputs_are_refused(models, scan):
    labels = Volume(
        np.kron(np.eye(3, dtype=np.int16), np.ones((8, 8), np.int16))[None].repeat(4, 0),
        scan.grid.crop((0, 0, 0), (4, 24, 24)),
    )
    for volume, said in (
        (labels, "label map"),
        (Volume(np.full((4, 24, 24), 3.0, np.float32), scan.grid.crop((0, 0, 0), (4, 24, 24))), "constant"),
        (Volume(scan.array[:, :10].copy(), scan.grid.crop((0, 0, 0), (24, 10, 48))), "at least 16 x 16"),
    ):
        with pytest.raises(InputError, match=said):
            restore(volume, RestoreRequest(**QUICK))
    with pytest.raises(ParameterError, match="made for 'enhance'"):
        restore(scan, RestoreRequest(model="other", **QUICK))
    with pytest.raises(ModelNotFoundError, match="nothing"):
        restore(scan, RestoreRequest(model="nothing", **QUICK))


def test_cancelling_stops(models, scan):
    progress = Progress(lambda fraction, message: progress.cancel() if fraction > 0.1 else None)
    with pytest.raises(OperationCancelled):
        restore(scan, RestoreRequest(**QUICK), progress)


def test_files(models, scan, tmp_path):
    source = write_volume(scan, tmp_path / "scan.nii.gz")
    done = restore_file(source, tmp_path / "out.nii.gz", RestoreRequest(measure=True), tmp_path / "residual.nrrd")
    record = json.loads(done.sidecar.read_text())
    assert record["operation"] == "restore"
    assert record["parameters"]["denoise"] == 0.8
    assert {entry["name"] for entry in record["measurements"]} == {"noise", "sharpness"}
    again = undo(read_volume(done.output), read_volume(done.residual))
    assert np.array_equal(again.array, read_volume(source).array)


def test_finer_planes_are_restored_on_their_own_grid(models, scan):
    done = restore(scan, RestoreRequest(1.0, 1.0, finer=2, keep_residual=True, **QUICK))
    assert done.volume.array.shape == tuple(n * f for n, f in zip(scan.array.shape, (1, 2, 2), strict=True))
    np.testing.assert_allclose(done.volume.grid.corners_ras(), scan.grid.corners_ras(), atol=1e-6)
    assert np.array_equal(undo(done.volume, done.residual).array, done.baseline.array)
    assert done.provenance.input_digest == scan.digest()
    assert np.corrcoef(done.baseline.array[:, ::2, ::2].ravel(), scan.array.ravel())[0, 1] > 0.9
    with pytest.raises(ParameterError, match="finer is 3"):
        RestoreRequest(finer=3)
