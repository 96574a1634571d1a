from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from tiny_models import write_tiny_model

from MRHarmonizationLib.core.errors import (
    InputError,
    ModelNotFoundError,
    OperationCancelled,
    ParameterError,
    ResourceError,
    WeightsError,
)
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference import enhance as enhance_module
from MRHarmonizationLib.inference.enhance import EnhanceRequest, enhance
from MRHarmonizationLib.inference.undo import undo, voxel_digest
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

MODELS = pytest.mark.parametrize("model", ["tiny", "tiny3d"])


@MODELS
def test_the_result_lies_on_the_inputs_axes_in_the_inputs_intensity_range(tiny, thick_scan, model):
    result = enhance(thick_scan, EnhanceRequest(model=model))
    assert result.volume.array.dtype == np.float32
    assert same_grid(result.volume.grid, thick_scan.grid.isotropic(1.0))
    assert same_grid(result.baseline.grid, result.volume.grid)
    low, high = (float(value) for value in np.percentile(thick_scan.array, [1, 99]))
    assert np.percentile(result.volume.array, 1) == pytest.approx(low, abs=0.15 * (high - low))
    assert np.percentile(result.volume.array, 99) == pytest.approx(high, abs=0.15 * (high - low))
    assert result.volume.name == f"thick_{model}"


def test_the_baseline_is_the_cubic_resampled_input(tiny, thick_scan):
    result = enhance(thick_scan, EnhanceRequest(model="tiny"))
    expected = resample(thick_scan, thick_scan.grid.isotropic(1.0), "cubic")
    np.testing.assert_array_equal(result.baseline.array, expected.array)
    assert not np.array_equal(result.volume.array, expected.array)


def test_strength_zero_is_the_baseline_and_strength_is_linear(tiny, thick_scan):
    none, half, full = (enhance(thick_scan, EnhanceRequest("tiny", strength)) for strength in (0.0, 0.5, 1.0))
    np.testing.assert_array_equal(none.volume.array, none.baseline.array)
    np.testing.assert_array_equal(none.baseline.array, full.baseline.array)
    np.testing.assert_allclose(half.volume.array, (none.volume.array + full.volume.array) / 2, atol=1e-3)


@MODELS
def test_the_same_request_gives_the_same_voxels(tiny, thick_scan, model):
    first, second = (enhance(thick_scan, EnhanceRequest(model)) for _ in range(2))
    np.testing.assert_array_equal(first.volume.array, second.volume.array)


def test_inputs_are_not_changed(tiny, thick_scan):
    before = thick_scan.digest()
    enhance(thick_scan, EnhanceRequest("tiny"))
    assert thick_scan.digest() == before


def test_the_change_is_moved_to_another_output_spacing(tiny, thick_scan):
    native = enhance(thick_scan, EnhanceRequest("tiny", measure=False))
    finer = enhance(thick_scan, EnhanceRequest("tiny", output_spacing_mm=0.8, keep_residual=True, measure=False))
    assert same_grid(finer.volume.grid, thick_scan.grid.isotropic(0.8))
    change = native.volume.with_array(native.volume.array - native.baseline.array)
    expected = resample(change, finer.volume.grid, "linear", fill=0.0)
    np.testing.assert_allclose(finer.volume.array - finer.baseline.array, expected.array, atol=2e-3)
    assert finer.residual is not None
    np.testing.assert_array_equal(undo(finer.volume, finer.residual).array, finer.baseline.array)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_undo_of_an_enhancement_is_bit_identical(tiny, thick_scan, strength):
    result = enhance(thick_scan, EnhanceRequest("tiny", strength, keep_residual=True))
    assert result.residual is not None
    restored = undo(result.volume, result.residual)
    assert restored.array.tobytes() == result.baseline.array.tobytes()


def test_provenance_records_what_ran(tiny, thick_scan):
    result = enhance(thick_scan, EnhanceRequest("tiny", strength=0.7))
    card = json.loads((tiny / "tiny.json").read_text())
    provenance = result.provenance
    assert provenance.weights_sha256 == card["sha256"]
    assert provenance.input_digest == thick_scan.digest()
    assert provenance.output_digest == voxel_digest(result.volume.array)
    assert provenance.parameters["strength"] == 0.7
    assert (provenance.backend, provenance.device) == ("onnxruntime", "cpu")
    assert result.volume.metadata["MRHarmonization.model"] == "tiny"
    assert result.volume.metadata["modality"] == "MR"


def test_noise_and_sharpness_are_measured_before_and_after(tiny, thick_scan):
    result = enhance(thick_scan, EnhanceRequest("tiny"))
    assert [measurement.name for measurement in result.measurements] == ["noise", "sharpness"]
    for measurement in result.measurements:
        assert np.isfinite(measurement.value)
        assert np.isfinite(measurement.detail["before"])
        assert measurement.data_range == result.measurements[0].data_range
    assert enhance(thick_scan, EnhanceRequest("tiny", measure=False)).measurements == ()


def test_progress_reaches_the_end_of_the_network_and_can_cancel(tiny, thick_scan):
    seen: list[float] = []
    enhance(thick_scan, EnhanceRequest("tiny"), Progress(lambda fraction, _: seen.append(fraction)))
    assert seen == sorted(seen)
    assert seen[0] == 0
    assert seen[-1] > 0.9
    progress = Progress(lambda fraction, _: progress.cancel() if fraction > 0.5 else None)
    with pytest.raises(OperationCancelled):
        enhance(thick_scan, EnhanceRequest("tiny"), progress)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.full((6, 6, 6), np.nan), "NaN"),
        (np.full((6, 6, 6), 3.0), "constant"),
        (np.arange(36.0).reshape(1, 6, 6), "at least"),
        (np.arange(1.0).reshape(1, 1, 1), "at least"),
        (np.repeat(np.repeat(np.arange(4).reshape(1, 1, 4), 40, axis=2), 40, axis=1).repeat(8, axis=0), "label map"),
    ],
    ids=["nan", "constant", "single slice", "single voxel", "labels"],
)
def test_what_is_no_scan_is_refused(tiny, array, message):
    with pytest.raises(InputError, match=message):
        enhance(Volume(array, Grid.from_parts(array.shape)), EnhanceRequest("tiny"))


def test_a_wrong_spacing_in_the_header_does_not_exhaust_the_machine(tiny, thick_scan):
    huge = Grid.from_parts(thick_scan.grid.shape, (150.0, 160.0, 400.0))
    with pytest.raises(InputError, match="spacing in the image header"):
        enhance(Volume(thick_scan.array, huge), EnhanceRequest("tiny"))


def test_an_unknown_model_names_those_there_are(tiny, thick_scan):
    with pytest.raises(ModelNotFoundError, match="tiny, tiny3d"):
        enhance(thick_scan, EnhanceRequest("no-such-model"))


def test_a_model_for_another_task_is_refused(tiny, thick_scan):
    write_tiny_model(tiny, "other", task="segment")
    with pytest.raises(ParameterError, match="segment"):
        enhance(thick_scan, EnhanceRequest("other"))


def test_tampered_weights_do_not_run(tiny, thick_scan):
    path = tiny / "tiny.onnx"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(WeightsError, match="SHA-256"):
        enhance(thick_scan, EnhanceRequest("tiny"))


@pytest.mark.parametrize("kind", [MemoryError, RuntimeError])
def test_exhausted_memory_while_resampling_ends_in_a_remedy(tiny, thick_scan, monkeypatch, kind):
    def fail(*_args, **_kwargs):
        raise kind("cannot allocate 9 GB")

    monkeypatch.setattr(enhance_module, "resample", fail)
    with pytest.raises(ResourceError, match="cannot allocate 9 GB.*crop the scan"):
        enhance(thick_scan, EnhanceRequest("tiny"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"strength": 1.1},
        {"strength": -0.1},
        {"strength": float("nan")},
        {"device": "tpu"},
        {"backend": "tensorflow"},
        {"output_spacing_mm": 0.0},
        {"output_spacing_mm": 9.0},
        {"threads": 0},
        {"max_memory_gb": 0.0},
    ],
    ids=str,
)
def test_wrong_requests_are_refused_when_they_are_made(wrong):
    with pytest.raises(ParameterError) as caught:
        EnhanceRequest(**wrong)
    (value,) = wrong.values()
    assert str(value) in str(caught.value)


def test_a_scan_outside_the_domain_is_enhanced_with_a_warning(tiny, thick_scan):
    assert enhance(thick_scan, EnhanceRequest("tiny")).warnings == ()
    thicker = Volume(thick_scan.array, Grid.from_parts(thick_scan.grid.shape, (1.5, 1.6, 12.0)))
    result = enhance(thicker, EnhanceRequest("tiny"))
    assert any("12.00 mm" in warning for warning in result.warnings)
    assert result.provenance.warnings == result.warnings


def test_enhancing_imports_no_torch(tiny):
    code = (
        "import sys, numpy as np\n"
        "from MRHarmonizationLib import EnhanceRequest, Grid, Volume, enhance\n"
        "array = np.random.default_rng(0).normal(size=(4, 12, 12))\n"
        "enhance(Volume(array, Grid.from_parts(array.shape, (1.5, 1.5, 4))), EnhanceRequest('tiny'))\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space")
def test_a_process_whose_memory_really_ends_says_so(tiny):
    code = (
        "import resource, sys, numpy as np\n"
        "from MRHarmonizationLib import EnhanceRequest, Grid, Volume, enhance\n"
        "from MRHarmonizationLib.core.errors import ResourceError\n"
        "def scan(size, spacing):\n"
        "    array = np.random.default_rng(0).normal(size=size).astype(np.float32)\n"
        "    return Volume(array, Grid.from_parts(size, spacing))\n"
        "request = EnhanceRequest('tiny', measure=False)\n"
        "enhance(scan((4, 12, 12), (1.5, 1.5, 4)), request)\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 300_000_000,) * 2)\n"
        "try:\n"
        "    enhance(scan((90, 300, 300), (1.0, 1.0, 4.0)), request)\n"
        "except ResourceError as error:\n"
        "    sys.exit(f'ended kindly: {error}')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.startswith("ended kindly: memory ran out"), done.stderr[-2000:]
