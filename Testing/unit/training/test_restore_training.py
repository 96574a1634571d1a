"""Training of the adjustable restorer: samples with a truth, the same loop, export to a model that restores."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.noise_blur import NoiseBlurParameters
from MRHarmonizationLib.inference.restore import RestoreRequest, restore
from MRHarmonizationLib.training.recipe import Optimisation, Recipe, Source, load_recipe
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

TINY = {"dimensions": 2, "in_channels": 7, "planes": 5, "features": [6, 8], "blocks": [1, 1], "outputs": 2}


@pytest.fixture
def data(tmp_path):
    """A label map and two scans of a layered ball."""
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, 56)] * 3, indexing="ij")
    radius = np.sqrt(k**2 + j**2 + i**2)
    labels = np.select([radius < 0.3, radius < 0.6, radius < 0.85], [4, 2, 3], 0).astype(np.int16)
    write_volume(Volume(labels, Grid.from_parts(labels.shape)), tmp_path / "labels.nii.gz")
    scan = np.choose(np.searchsorted([0, 2, 3], labels), [0, 300, 200, 80]).astype(np.float32)
    for name in ("scan", "validation"):
        write_volume(Volume(scan, Grid.from_parts(scan.shape)), tmp_path / f"{name}.nii.gz")
    return tmp_path


def tiny_recipe(**changes) -> Recipe:
    values = {
        "id": "tiny-restorer",
        "task": "restore",
        "layout": "planes-2.5d",
        "architecture": "residual_unet",
        "architecture_parameters": TINY,
        "sources": (Source("labels", ("labels.nii.gz",), 0.5), Source("image", ("scan.nii.gz",), 0.5)),
        "validation": (Source("image", ("validation.nii.gz",), 1.0),),
        "block": 40,
        "optimisation": Optimisation(steps=4, batch=2, patch=32, buffer=3, refresh_steps=2, warmup_steps=1),
        "card": {"title": "T", "version": "1", "summary": "S.", "licence": "Apache-2.0", "domain": {}},
        "digest": "sha256:0",
    }
    return Recipe(**{**values, **changes})


def ball() -> np.ndarray:
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, 40)] * 3, indexing="ij")
    return (300 * (np.sqrt(k**2 + j**2 + i**2) < 0.8)).astype(np.float32)


def test_shipped_recipe_builds():
    recipe = load_recipe("restore-any")
    assert recipe.task == "restore"
    assert recipe.architecture_parameters["outputs"] == 2
    assert recipe.architecture_parameters["in_channels"] == recipe.planes + 2


def test_blocks_cannot_be_restored():
    with pytest.raises(ParameterError, match="planes-2.5d"):
        tiny_recipe(layout="volume-3d")


def test_parts_of_a_sample_differ_by_what_was_done():
    from MRHarmonizationLib.training.restore_samples import degraded_sample

    truth, nothing = ball(), np.zeros((40, 40, 40), bool)
    blurred = degraded_sample(None, truth, nothing, NoiseBlurParameters((1.0, 2.5, 2.5), noise_percent=0.0), (0,))
    assert np.array_equal(blurred.image, blurred.blurred)
    assert not np.array_equal(blurred.blurred, blurred.sharp)
    noisy = degraded_sample(None, truth, nothing, NoiseBlurParameters(noise_percent=6.0, seed=1), (0,))
    assert np.array_equal(noisy.blurred, noisy.sharp)
    found = (noisy.image - noisy.blurred).astype(np.float32)[truth > 0].std()
    assert noisy.noise.astype(np.float32)[truth > 0].mean() == pytest.approx(found, rel=0.25)


def test_validation_sharpens_only_what_lacks_detail(data):
    torch = pytest.importorskip("torch")
    from MRHarmonizationLib.training.restore_validation import RestoreValidationSet

    class Constant(torch.nn.Module):
        """Finds the same noise and detail everywhere."""

        def __init__(self, noise: float, detail: float) -> None:
            super().__init__()
            self.parts = torch.nn.Parameter(torch.tensor([noise, detail]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.parts.reshape(1, 2, 1, 1).expand(len(x), 2, *x.shape[2:])

    cases = RestoreValidationSet.build(tiny_recipe(), data)
    harmful = cases.score(Constant(0.0, 0.5))
    assert all(harmful[f"validation/{name}"]["gain_db"] == 0.0 for name in ("noise_3", "noise_8"))
    assert all(harmful[f"validation/{name}"]["gain_db"] < -1.0 for name in ("blur_2", "both"))
    assert cases.score(Constant(0.5, 0.0))["validation/noise_3"]["gain_db"] < -1.0


def test_samples_replay(data):
    from MRHarmonizationLib.training.restore_samples import draw_restore_sample
    from MRHarmonizationLib.training.samples import load_sources

    anatomies = load_sources(tiny_recipe().sources, data)
    first, again, other = (draw_restore_sample(np.random.default_rng(s), anatomies, 40) for s in (3, 3, 4))
    assert np.array_equal(first.image, again.image)
    assert first.image.shape != other.image.shape or not np.array_equal(first.image, other.image)
    for seed in range(12):
        sample = draw_restore_sample(np.random.default_rng(seed), anatomies, 40)
        for part in (sample.image, sample.blurred, sample.sharp, sample.noise):
            assert np.all(np.isfinite(part.astype(np.float32)))
        assert sample.resolution >= 1


def test_training_resumes_and_exports_a_model_that_restores(data, tmp_path, monkeypatch, head_phantom):
    pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from MRHarmonizationLib.training.export import publish
    from MRHarmonizationLib.training.loop import train

    recipe = tiny_recipe()
    out = tmp_path / "run"
    train(recipe, data, out, "cpu", steps=2)
    best = train(recipe, data, out, "cpu")
    lines = (out / "log.jsonl").read_text().splitlines()
    assert len(lines) == 2
    assert "validation/noise_3" in lines[-1]
    folder = tmp_path / "published"
    folder.mkdir()
    publish(replace(recipe, card=dict(recipe.card)), best, folder)
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(folder))
    request = RestoreRequest(1.0, 1.0, model="tiny-restorer", measure=False, backend="onnxruntime", device="cpu")
    done = restore(head_phantom, request)
    assert done.volume.array.shape == head_phantom.array.shape
    assert not np.array_equal(done.volume.array, head_phantom.array)
