"""Training of specialists: which pairs, in which shares, out of place or not, with a teacher or not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.fft import dctn

from MRHarmonizationLib.core.errors import InputError, ParameterError, WeightsError
from MRHarmonizationLib.inference.restore import RestoreRequest, restore
from MRHarmonizationLib.training.recipe import Optimisation, Recipe, Source, load_recipe
from MRHarmonizationLib.training.specialist_recipe import Specialist, specialised
from MRHarmonizationLib.training.specialist_samples import (
    SpecialistSources,
    draw_specialist_sample,
    matched,
    pair_sample,
)
from MRHarmonizationLib.training.synthetic_pairs import degrader_of, make_synthetic_pairs, scans_of_recipe
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

TINY = {"in_channels": 7, "planes": 5, "features": 6, "blocks": 1}


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """A label map and two scans of a layered ball, and three synthetic pairs of them."""
    folder = tmp_path_factory.mktemp("data")
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, 56)] * 3, indexing="ij")
    radius = np.sqrt(k**2 + j**2 + i**2)
    labels = np.select([radius < 0.3, radius < 0.6, radius < 0.85], [4, 2, 3], 0).astype(np.int16)
    write_volume(Volume(labels, Grid.from_parts(labels.shape)), folder / "labels.nii.gz")
    scan = np.choose(np.searchsorted([0, 2, 3], labels), [0, 300, 200, 80]).astype(np.float32)
    for name in ("scan", "validation"):
        write_volume(Volume(scan, Grid.from_parts(scan.shape)), folder / f"{name}.nii.gz")
    scans = scans_of_recipe(tiny_recipe(), folder, 3)
    make_synthetic_pairs(scans, degrader_of("noise-blur"), "noise-blur", folder / "synthetic", seed=5)
    return folder


def tiny_recipe(part: str = "noise", **changes) -> Recipe:
    values = {
        "id": "tiny-specialist",
        "task": "restore",
        "layout": "planes-2.5d",
        "architecture": "residual_cnn",
        "architecture_parameters": {**TINY, "part": part},
        "specialist": Specialist(part),
        "sources": (Source("labels", ("labels.nii.gz",), 0.5), Source("image", ("scan.nii.gz",), 0.5, licence="own")),
        "validation": (Source("image", ("validation.nii.gz",), 1.0),),
        "block": 40,
        "optimisation": Optimisation(steps=6, batch=2, patch=32, buffer=3, refresh_steps=2, warmup_steps=1),
        "card": {"title": "T", "version": "1", "summary": "S.", "licence": "Apache-2.0", "domain": {}},
        "digest": "sha256:0",
    }
    return Recipe(**{**values, **changes})


@pytest.mark.parametrize(("name", "part"), [("denoise-cnn", "noise"), ("super-resolve-cnn", "detail")])
def test_shipped_recipes_build(name, part):
    recipe = load_recipe(name)
    assert recipe.specialist == Specialist(part)
    assert recipe.architecture_parameters["part"] == part
    changed = specialised(recipe, misalign_mm=2.0)
    assert changed.id == f"{name}-misaligned-2mm"
    assert changed.digest != recipe.digest
    assert "2 mm out of place" in changed.card["summary"]


def test_options_that_do_not_fit_are_refused(data):
    with pytest.raises(ParameterError, match="--synthetic"):
        specialised(tiny_recipe(), "combined")
    with pytest.raises(ParameterError, match="acquired has none"):
        specialised(tiny_recipe(), "acquired", data / "synthetic")
    with pytest.raises(ParameterError, match="out of place"):
        specialised(tiny_recipe(), "synthetic", data / "synthetic", misalign_mm=1.0)
    with pytest.raises(ParameterError, match="of no specialist"):
        specialised(load_recipe("restore-any"), "acquired")
    with pytest.raises(InputError, match="prepare-pairs"):
        specialised(tiny_recipe(), "synthetic", data)
    with pytest.raises(WeightsError, match="beside it"):
        specialised(tiny_recipe(), teacher=str(data / "nobody.onnx"))


@pytest.mark.parametrize("share", [0.25, 0.75])
def test_sets_are_mixed_in_the_stated_share(data, share, monkeypatch):
    recipe = specialised(
        tiny_recipe(specialist=Specialist("noise", synthetic_share=share)), "combined", data / "synthetic"
    )
    from MRHarmonizationLib.training import specialist_samples

    drawn = []
    monkeypatch.setattr(specialist_samples, "draw_pair_sample", lambda *args, **options: drawn.append("synthetic"))
    monkeypatch.setattr(specialist_samples, "_simulated", lambda *args: drawn.append("acquired"))
    sources = SpecialistSources((), (), ())
    for number in range(400):
        draw_specialist_sample(np.random.default_rng((7, number)), sources, recipe)
    assert drawn.count("synthetic") / 400 == pytest.approx(share, abs=3 * np.sqrt(share * (1 - share) / 400))


def test_sets_are_what_they_say(data):
    sources = SpecialistSources.load(specialised(tiny_recipe(), "synthetic", data / "synthetic"), data)
    assert (len(sources.anatomies), len(sources.acquired), len(sources.synthetic)) == (0, 0, 3)
    sources = SpecialistSources.load(tiny_recipe(), data)
    assert (len(sources.anatomies), len(sources.synthetic)) == (2, 0)


@pytest.mark.parametrize("part", ["noise", "detail"])
def test_samples_replay_and_hold_the_right_truth(data, part):
    recipe = tiny_recipe(part)
    sources = SpecialistSources.load(recipe, data)
    first, again = (draw_specialist_sample(np.random.default_rng(3), sources, recipe) for _ in range(2))
    assert np.array_equal(first.image, again.image)
    # a denoiser's truth is as sharp as the scan; a super-resolver's scan holds all there is but detail
    assert np.array_equal(first.blurred, first.sharp if part == "noise" else first.image)
    assert not np.array_equal(first.image, first.sharp)


def test_misalignment_moves_the_scan_and_not_the_truth(data):
    aligned, moved = (tiny_recipe("detail", specialist=Specialist("detail", misalign_mm=mm)) for mm in (0.0, 3.0))
    sources = SpecialistSources.load(aligned, data)
    errors = []
    for recipe in (aligned, moved):
        sample = draw_specialist_sample(np.random.default_rng(8), sources, recipe)
        errors.append(float(np.abs(sample.image.astype(np.float32) - sample.sharp.astype(np.float32)).mean()))
    assert errors[1] > 1.3 * errors[0]


def test_acquired_pairs_are_matched_in_brightness(data):
    scan = SpecialistSources.load(specialised(tiny_recipe(), "synthetic", data / "synthetic"), data).synthetic[0]
    brighter = replace(scan, high=(scan.high.astype(np.float32) * 1.7 - 0.2).astype(np.float16))
    found = matched(brighter).high.astype(np.float32)
    inside = tuple(np.rint(scan.centres).astype(int).T)
    assert found[inside].mean() == pytest.approx(scan.low.astype(np.float32)[inside].mean(), abs=0.02)


def test_synthetic_pairs_lie_on_each_other_and_go_on(data, tmp_path):
    manifest = json.loads((data / "synthetic" / "manifest.json").read_text())
    assert manifest["synthetic"]["kind"] == "noise-blur"
    assert manifest["synthetic"]["origin"][1]["licence"] == "own"
    folder = data / "synthetic" / manifest["pairs"][0]["folder"]
    low, high = (read_volume(folder / f"{name}.nii.gz") for name in ("low", "high"))
    np.testing.assert_allclose(low.grid.affine, high.grid.affine)
    assert np.corrcoef(low.array.ravel(), high.array.ravel())[0, 1] > 0.8
    before = {path: path.stat().st_mtime_ns for path in (data / "synthetic").rglob("*.nii.gz")}
    scans = scans_of_recipe(tiny_recipe(), data, 3)

    def refuse(volume: Volume, seed: int) -> Volume:
        raise AssertionError("made twice")

    make_synthetic_pairs(scans, refuse, "noise-blur", data / "synthetic", seed=5)
    assert before == {path: path.stat().st_mtime_ns for path in (data / "synthetic").rglob("*.nii.gz")}


def test_noise_of_aligned_pairs_is_told_as_it_is(data):
    """Some samples tell the noise that the pair shows, whatever the estimate says of it."""
    scan = SpecialistSources.load(specialised(tiny_recipe(), "synthetic", data / "synthetic"), data).synthetic[0]
    rng = np.random.default_rng(2)
    smooth = ndimage.gaussian_filter(rng.standard_normal(scan.high.shape), (0, 2, 2))  # looks like no noise
    smooth = np.float32(0.06) * (smooth / smooth.std()).astype(np.float32)
    scan = replace(scan, low=(scan.high.astype(np.float32) + smooth).astype(np.float16))
    told = {aligned: [] for aligned in (True, False)}
    for aligned, values in told.items():
        for seed in range(24):
            drawn = np.random.default_rng(seed)
            sample = pair_sample(drawn, scan, np.array(scan.low.shape) // 2, 40, "noise", aligned)
            true = float((sample.image.astype(np.float32) - sample.sharp.astype(np.float32)).std())
            values.append(float(sample.noise.astype(np.float32).mean()) / true)
    right = [sum(0.7 < value < 1.4 for value in values) for values in told.values()]
    assert right[1] == 0
    assert 4 <= right[0] <= 16  # 40 % of 24


def test_stored_coarser_loses_what_a_smaller_matrix_cannot_hold(data):
    scans = scans_of_recipe(tiny_recipe(), data, 1)
    scan = scans.read(0)
    made = degrader_of("noise-blur", coarser=2.0)(scan, 3)
    np.testing.assert_allclose(made.grid.affine, scan.grid.affine)
    again, plain = degrader_of("noise-blur", coarser=2.0)(scan, 3), degrader_of("noise-blur")(scan, 3)
    assert np.array_equal(made.array, again.array)

    def fine(array: np.ndarray) -> float:
        spectrum = np.abs(dctn(array.astype(np.float64), axes=(1, 2))) ** 2
        half = array.shape[1] * 5 // 8
        return float(spectrum[:, half:].sum() + spectrum[:, :, half:].sum())

    assert fine(made.array) < 0.1 * fine(plain.array)
    with pytest.raises(ParameterError, match="times as large"):
        degrader_of("noise-blur", coarser=0.5)


def test_wrong_degraders_are_refused():
    with pytest.raises(ParameterError, match="no use"):
        degrader_of("noise-blur", levels=(0.1, 0.2))
    with pytest.raises(ParameterError, match="kind"):
        degrader_of("diffusion-rain")
    with pytest.raises(ParameterError, match="no use"):
        degrader_of("noise-blur", ringing=(0.1, 0.2))
    with pytest.raises(ParameterError, match="only blur"):
        degrader_of("diffusion-noise", ringing=(0.1, 0.2))
    with pytest.raises(ParameterError, match="lower number first"):
        degrader_of("diffusion-blur", ringing=(0.5, 0.2))


def test_network_finds_one_part_and_knows_its_reach():
    torch = pytest.importorskip("torch")
    from MRHarmonizationLib.models import build_model

    for place, part in enumerate(("noise", "detail")):
        network = build_model("residual_cnn", {**TINY, "part": part, "blocks": 2}).eval()
        torch.nn.init.normal_(network.head[-1].weight)
        image = torch.rand(1, 7, 96, 96)
        changed = image.clone()
        changed[:, :5, 47, 47] += 1.0
        with torch.inference_mode():
            found, other = network(image), network(changed)
        assert torch.all(found[:, 1 - place] == 0)
        rows = torch.nonzero((found - other)[0, place].abs().amax(dim=1) > 0).ravel()
        assert 0 < max(47 - int(rows.min()), int(rows.max()) - 47) <= network.halo
    with pytest.raises(ParameterError, match="rain"):
        build_model("residual_cnn", {**TINY, "part": "rain"})


def test_distillation_changes_the_loss_as_stated():
    torch = pytest.importorskip("torch")
    from MRHarmonizationLib.training.specialist_loss import specialist_loss

    plain = Optimisation(charbonnier_epsilon=0.0, gradient_weight=0.0, ssim_weight=0.0)
    recipe = tiny_recipe(optimisation=plain, specialist=Specialist("noise", distil_weight=0.3))
    image, weight = torch.full((1, 1, 8, 8), 0.5), torch.ones(1, 1, 8, 8)
    parts = torch.zeros(1, 2, 8, 8)
    truth = torch.full((1, 2, 8, 8), 0.4)
    assert float(specialist_loss(parts, image, truth, weight, recipe)) == pytest.approx(0.1)
    soft = torch.cat([truth, torch.full((1, 1, 8, 8), 0.8)], dim=1)
    assert float(specialist_loss(parts, image, soft, weight, recipe)) == pytest.approx(0.7 * 0.1 + 0.3 * 0.3)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_training_resumes_distils_and_restores(data, tmp_path, monkeypatch, head_phantom):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from MRHarmonizationLib.training.distillation import DistilledState
    from MRHarmonizationLib.training.export import publish
    from MRHarmonizationLib.training.loop import build_state, train

    recipe = specialised(tiny_recipe(), "combined", data / "synthetic")
    train(recipe, data, tmp_path / "once", "cpu", workers=0)
    train(recipe, data, tmp_path / "twice", "cpu", steps=3, workers=0)
    train(recipe, data, tmp_path / "twice", "cpu", workers=0)
    once, twice = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("once", "twice"))
    for name, value in once["average"].items():
        assert torch.allclose(value, twice["average"][name], atol=1e-5)
    folder = tmp_path / "published"
    folder.mkdir()
    weights, card = publish(recipe, tmp_path / "once" / "best.pt", folder)
    said = json.loads(card.read_text())
    assert said["id"] == "tiny-specialist-combined"
    assert any("degraded by noise-blur" in entry["licence"] for entry in said["trained_on"])
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(folder))
    done = restore(head_phantom, RestoreRequest(1.0, 1.0, model=said["id"], measure=False, device="cpu"))
    assert not np.array_equal(done.volume.array, head_phantom.array)

    pupil = specialised(tiny_recipe(), misalign_mm=2.0, teacher=said["id"])
    assert pupil.id.endswith("-misaligned-2mm-distilled")
    state = build_state(pupil, torch.device("cpu"))
    assert isinstance(state, DistilledState)
    inputs = np.random.default_rng(0).random((2, 7, 32, 32)).astype(np.float32)
    soft = state.with_soft_targets(inputs, np.zeros((2, 2, 32, 32), np.float32))
    expected = state.teacher.run(inputs)
    assert np.allclose(soft[:, 2], inputs[:, 2] - expected[:, 0] + expected[:, 1], atol=1e-6)
    train(pupil, data, tmp_path / "pupil", "cpu", steps=2, workers=0)
    with pytest.raises(ParameterError, match="planes"):
        specialised(tiny_recipe(planes=3), teacher=str(weights))
