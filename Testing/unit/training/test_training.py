"""Training: recipes, samples, a few real steps, resuming, export."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError, OperationCancelled, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.training.recipe import Optimisation, Recipe, Source, list_recipes, load_recipe
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

TINY = {"dimensions": 2, "in_channels": 8, "planes": 5, "features": [6, 8], "blocks": [1, 1]}


@pytest.fixture
def data(tmp_path):
    """A label map and two scans of a layered ball."""
    k, j, i = np.meshgrid(*[np.linspace(-1, 1, 56)] * 3, indexing="ij")
    radius = np.sqrt(k**2 + j**2 + i**2)
    labels = np.select([radius < 0.3, radius < 0.6, radius < 0.85], [4, 2, 3], 0).astype(np.int16)
    rng = np.random.default_rng(0)
    for name in ("labels", "other_labels"):
        write_volume(Volume(labels, Grid.from_parts(labels.shape)), tmp_path / f"{name}.nii.gz")
    for name in ("scan", "validation"):
        array = (
            np.choose(np.searchsorted([0, 2, 3], labels), [0, 300, 200, 80]) + 5 * rng.standard_normal(labels.shape)
        ).astype(np.float32)
        write_volume(Volume(np.maximum(array, 0), Grid.from_parts(labels.shape)), tmp_path / f"{name}.nii.gz")
    return tmp_path


def tiny_recipe(**changes) -> Recipe:
    values = {
        "id": "tiny",
        "layout": "planes-2.5d",
        "architecture": "residual_unet",
        "architecture_parameters": TINY,
        "sources": (Source("labels", ("labels.nii.gz",), 0.5), Source("image", ("scan.nii.gz",), 0.5)),
        "validation": (Source("image", ("validation.nii.gz",), 1.0),),
        "block": 40,
        "optimisation": Optimisation(steps=4, batch=2, patch=32, buffer=3, refresh_steps=2, warmup_steps=1),
        "card": {
            "title": "Tiny",
            "version": "1.0",
            "summary": "A test.",
            "licence": "Apache-2.0",
            "domain": {},
            "limitations": [],
        },
        "digest": "sha256:0",
    }
    return Recipe(**{**values, **changes})


@pytest.mark.parametrize("name", list_recipes())
def test_shipped_recipes_load_and_split_by_subject(name):
    recipe = load_recipe(name)
    trained = {f for s in recipe.sources for f in s.files}
    assert trained
    assert not trained & {f for s in recipe.validation for f in s.files}
    assert not [f for f in trained if "eval_t1_slabs" in f or "aal" in f]
    held_out = {f"labelmaps/training_seg_{n:02d}.nii.gz" for n in (16, 17, 18, 19, 20)}
    assert not trained & held_out
    assert all(s.licence for s in recipe.sources)


def test_training_on_validation_images_is_refused():
    with pytest.raises(ParameterError, match=r"scan\.nii\.gz"):
        tiny_recipe(validation=(Source("image", ("scan.nii.gz",), 1.0),))


@pytest.mark.parametrize(("text", "named"), [("{", "JSON"), ('{"colour": 1}', "colour")])
def test_broken_recipes_are_named(tmp_path, text, named):
    path = tmp_path / "broken.json"
    path.write_text(text)
    with pytest.raises(ParameterError, match=named):
        load_recipe(path)


def test_unknown_recipes_name_the_shipped_ones():
    with pytest.raises(ParameterError, match="lowfield"):
        load_recipe("nothing")


def test_samples_are_a_function_of_their_seed(data):
    from MRHarmonizationLib.training.samples import draw_sample, load_sources

    anatomies = load_sources(tiny_recipe().sources, data)
    one, two = (draw_sample(np.random.default_rng((3, 1)), anatomies, 40) for _ in range(2))
    assert np.array_equal(one.image, two.image)
    assert one.image.shape == one.target.shape
    assert one.condition.slice_distance_mm.shape == one.image.shape[:1]
    # the simulated scan resembles its truth: same place, same scale
    assert np.corrcoef(one.image.ravel().astype(float), one.target.ravel().astype(float))[0, 1] > 0.6


def test_missing_data_are_named(tmp_path):
    from MRHarmonizationLib.training.samples import load_sources

    with pytest.raises(InputError, match=r"labels\.nii\.gz"):
        load_sources(tiny_recipe().sources, tmp_path)


def test_thick_slice_scans_teach_only_within_their_planes(data):
    from MRHarmonizationLib.training.samples import draw_sample, load_sources

    source = Source("image", ("scan.nii.gz",), 1.0, in_plane_only=True)
    sample = draw_sample(np.random.default_rng(0), load_sources((source,), data), 40)
    assert len(sample.stack_axes) == 1
    assert sample.image.shape[sample.stack_axes[0]] == 24


def test_training_runs_resumes_and_exports(data, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("onnx", reason="onnx is not installed")
    from MRHarmonizationLib.training.export import publish
    from MRHarmonizationLib.training.loop import train
    from MRHarmonizationLib.weights.card import read_card

    recipe, out = tiny_recipe(), tmp_path / "run"
    train(recipe, data, out, device="cpu", steps=2)
    best = train(recipe, data, out, device="cpu")
    log = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log] == [2, 4]
    assert np.isfinite(log[-1]["mean_gain_db"])
    with pytest.raises(InputError, match="another version"):
        train(replace(recipe, digest="sha256:1"), data, out, device="cpu")
    _, card_path = publish(recipe, best, out)
    card = read_card(card_path)
    assert card.input.stride == 4


def test_cancelling_stops_the_run(data, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    from MRHarmonizationLib.training.loop import train

    progress = Progress()
    progress.cancel()
    with pytest.raises(OperationCancelled):
        train(tiny_recipe(), data, tmp_path / "run", device="cpu", progress=progress)


def test_drawn_lesions_are_marked_and_weigh_more(data):
    from MRHarmonizationLib.training.patches import cut_patch
    from MRHarmonizationLib.training.samples import draw_sample, load_sources

    recipe = tiny_recipe(optimisation=replace(tiny_recipe().optimisation, lesion_weight=4.0))
    anatomies = load_sources(recipe.sources, data)
    samples = [draw_sample(np.random.default_rng((5, n)), anatomies, 40) for n in range(8)]
    marked = [s for s in samples if s.lesions.any()]
    assert 0 < len(marked) < 8
    for sample in marked:
        assert sample.lesions.shape == sample.image.shape
        assert sample.lesions.mean() < 0.5
    sample = replace(marked[0], target=marked[0].lesions.astype(np.float16))
    heavy = 0
    for n in range(20):
        _, target, weight = cut_patch(np.random.default_rng(n), sample, recipe)
        assert np.array_equal(weight, 1.0 + 3.0 * target)
        heavy += int((weight > 1).any())
    assert heavy


def test_the_linear_schedule_is_constant_until_it_decays():
    pytest.importorskip("torch", reason="torch is not installed")
    from MRHarmonizationLib.training.loop import learning_rate

    def rates(steps):
        optimisation = Optimisation(
            steps=steps, warmup_steps=10, schedule="linear", decay_share=0.25, learning_rate=1.0
        )
        return [learning_rate(n, tiny_recipe(optimisation=optimisation)) for n in range(steps)]

    short, long = rates(100), rates(200)
    assert short[:75] == long[:75]
    assert short[0] == pytest.approx(0.1)
    assert max(short) == 1.0
    assert short[75:] == sorted(short[75:], reverse=True)
    assert short[-1] == pytest.approx(0.04)


@pytest.mark.parametrize("changes", [{"optimiser": "sgd"}, {"schedule": "steps"}])
def test_unknown_optimisers_and_schedules_are_named(changes):
    with pytest.raises(ParameterError, match=next(iter(changes.values()))):
        Optimisation(**changes)


def test_the_muon_recipe_trains(data, tmp_path):
    pytest.importorskip("torch", reason="torch is not installed")
    from MRHarmonizationLib.training.loop import train

    optimisation = replace(tiny_recipe().optimisation, optimiser="muon", schedule="linear")
    recipe = tiny_recipe(optimisation=optimisation)
    train(recipe, data, tmp_path / "run", device="cpu", steps=2)
    assert train(recipe, data, tmp_path / "run", device="cpu").is_file()
