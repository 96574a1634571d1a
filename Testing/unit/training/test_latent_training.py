"""Training of the degraders: it learns, goes on where it stopped, trains the autoencoder it needs, takes real pairs."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from support.degraders import tiny_recipe
from support.heads import write_heads
from support.pairs import write_prepared

torch = pytest.importorskip("torch")
pytest.importorskip("onnx")

from MRHarmonizationLib.core.errors import InputError, ParameterError  # noqa: E402
from MRHarmonizationLib.core.progress import Progress  # noqa: E402
from MRHarmonizationLib.inference.latent_codec import LatentCodec  # noqa: E402
from MRHarmonizationLib.inference.latent_input import BLUR, KINDS, LEAST_LEVEL, NOISE, residual_unit  # noqa: E402
from MRHarmonizationLib.training import latent_export  # noqa: E402
from MRHarmonizationLib.training.latent_export import find_autoencoder, train_degrader  # noqa: E402
from MRHarmonizationLib.training.latent_loop import train_latent  # noqa: E402
from MRHarmonizationLib.training.latent_recipe import (  # noqa: E402
    LatentOptimisation,
    load_latent_recipe,
    with_real_pairs,
)
from MRHarmonizationLib.training.latent_samples import CleanBlock, cut_pair, draw_real_block  # noqa: E402
from MRHarmonizationLib.training.paired_samples import load_all_prepared  # noqa: E402
from MRHarmonizationLib.training.recipe import DEGRADER, Source, list_recipes  # noqa: E402
from MRHarmonizationLib.weights.card import read_card  # noqa: E402
from MRHarmonizationLib.weights.store import verify  # noqa: E402


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_heads(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def codec(data, tmp_path_factory):
    """A tiny trained autoencoder."""
    folder = tmp_path_factory.mktemp("codec")
    _, card = train_degrader(tiny_recipe("autoencoder", 4), data, folder, "cpu", workers=0)
    return LatentCodec(read_card(card), device="cpu")


def weights_of(path):
    return torch.load(path, weights_only=True)


def test_shipped_recipes_split_by_subject_and_share_their_autoencoder():
    assert list_recipes(DEGRADER) == ["degrader-autoencoder", "degrader-blur", "degrader-noise"]
    for kind in KINDS:
        recipe = load_latent_recipe(f"degrader-{kind}")
        assert recipe.stage == kind
        assert recipe.autoencoder == "degrader-autoencoder"
        assert recipe.sources == load_latent_recipe("degrader-autoencoder").sources
        assert recipe.architecture_parameters["given"] == 2 * recipe.architecture_parameters["channels"] + 1


@pytest.mark.parametrize("kind", KINDS)
def test_a_pair_is_the_image_plus_unit_times_residual(kind):
    rng = np.random.default_rng(0)
    block = CleanBlock(rng.uniform(0, 1, (4, 64, 64)).astype(np.float16), (0,))
    pair = cut_pair(np.random.default_rng(1), block, kind, 32, 0.5)
    again = cut_pair(np.random.default_rng(1), block, kind, 32, 0.5)
    assert np.array_equal(pair.residual, again.residual)
    unit = (pair.degraded - pair.image) / pair.residual
    if kind == NOISE:
        np.testing.assert_allclose(unit, 0.05, rtol=1e-2)
    assert pair.image.shape == pair.gain.shape == (32, 32)
    assert 0.3 < pair.residual.std() < 3.0


def test_unit_of_blur_follows_the_detail_and_the_level():
    plane = np.zeros((1, 32, 48), np.float32)
    plane[:, :, 24:] = 1.0
    half, whole = (residual_unit(plane, BLUR, level, 0.5) for level in (0.5, 1.0))
    assert np.all(whole > half)
    assert whole[0, 16, 24] > 10 * whole[0, 16, 2]
    assert not residual_unit(plane, BLUR, 0.0, 0.5).any()


def test_autoencoder_carries_what_it_is_shown(codec):
    planes = np.random.default_rng(0).standard_normal((2, 32, 48)).astype(np.float32)
    np.testing.assert_allclose(codec.decode(codec.encode(planes)), planes, atol=0.1)


def test_two_hundred_steps_learn_something(data, codec, tmp_path):
    """An untrained network answers nothing, which leaves a loss of about 1."""
    recipe = tiny_recipe("noise", 200)
    changes = {"learning_rate": 4e-3, "validation_steps": 100, "refresh_steps": 100, "ema_decay": 0.95}
    recipe = replace(recipe, optimisation=replace(recipe.optimisation, **changes))
    train_latent(recipe, data, tmp_path, codec, "cpu", workers=0)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [100, 200]
    assert lines[-1]["validation_loss"] < 0.95


@pytest.mark.parametrize("stage", ["autoencoder", "noise"])
def test_resuming_gives_what_an_uninterrupted_run_gives(data, codec, tmp_path, stage):
    recipe = tiny_recipe(stage, 8)
    given = None if stage == "autoencoder" else codec
    train_latent(recipe, data, tmp_path / "whole", given, "cpu", workers=0)
    for steps in (5, None):
        train_latent(recipe, data, tmp_path / "parts", given, "cpu", steps, workers=0)
    whole, parts = (weights_of(tmp_path / name / "checkpoint.pt")["network"] for name in ("whole", "parts"))
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, atol=1e-5, rtol=0)


def test_a_denoiser_trains_its_autoencoder_first_and_once(data, tmp_path, monkeypatch):
    base = replace(tiny_recipe("autoencoder", 4), digest="sha256:tiny")  # not the installed one's
    monkeypatch.setattr(latent_export, "load_latent_recipe", lambda name: base)
    recipe = tiny_recipe("noise", 4)
    weights, path = train_degrader(recipe, data, tmp_path, "cpu", workers=0, progress=Progress())
    card, first = read_card(path), read_card(tmp_path / "degrader-autoencoder.json")
    assert weights.stat().st_size == card.weights.bytes
    assert card.extra["autoencoder"] == {"id": first.id, "sha256": first.weights.sha256}
    assert card.extra["degrader"] == "noise"
    assert len(card.extra["code_scale"]) == 16
    assert verify(card)
    assert verify(first)
    stamp = (tmp_path / "degrader-autoencoder.onnx").stat().st_mtime_ns
    train_degrader(recipe, data, tmp_path, "cpu", workers=0)
    assert (tmp_path / "degrader-autoencoder.onnx").stat().st_mtime_ns == stamp
    monkeypatch.setattr(latent_export, "load_latent_recipe", lambda name: replace(base, digest="sha256:other"))
    assert find_autoencoder(recipe, tmp_path) is None, "an autoencoder of another recipe does not count"


def test_real_pairs_take_the_place_of_the_simulator(codec, tmp_path):
    folder = write_prepared(tmp_path / "pairs")
    recipe = with_real_pairs(tiny_recipe("noise", 4), folder)
    assert recipe.id == "degrader-noise-own"
    assert recipe.digest != tiny_recipe("noise").digest
    scans = load_all_prepared(recipe.sources, folder)
    block = draw_real_block(np.random.default_rng(0), scans, 36)
    pair = cut_pair(np.random.default_rng(0), block, NOISE, 32)
    assert not pair.acquisition.known
    assert LEAST_LEVEL <= pair.level <= 1.0
    np.testing.assert_allclose(pair.image + 0.1 * pair.level * pair.residual, pair.degraded, atol=1e-5)
    assert pair.guide.shape == pair.image.shape
    assert train_latent(recipe, folder, tmp_path / "run", codec, "cpu", workers=0).is_file()
    with pytest.raises(ParameterError, match="needs no pairs"):
        with_real_pairs(tiny_recipe("autoencoder"), folder)
    with pytest.raises(InputError, match="too few subjects"):
        with_real_pairs(tiny_recipe("noise"), write_prepared(tmp_path / "one", subjects=1))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"stage": "moonlight"}, "moonlight"),
        ({"autoencoder": ""}, "names the autoencoder"),
        ({"validation": (Source("labels", ("labelmaps/training_seg_01.nii.gz",), 1.0),)}, "trains and validates"),
        ({"sources": ()}, "no images"),
    ],
)
def test_wrong_recipes_are_refused(changes, words):
    with pytest.raises(ParameterError, match=words):
        tiny_recipe("noise", **changes)


def test_wrong_settings_and_missing_images_are_named(tmp_path):
    with pytest.raises(ParameterError, match="patch of the recipe is 40"):
        LatentOptimisation(patch=40)
    with pytest.raises(ParameterError, match="dropout"):
        LatentOptimisation(dropout=1.0)
    with pytest.raises(ParameterError, match="trains no degrader"):
        load_latent_recipe("restore-any")
    with pytest.raises(InputError, match="missing|not below"):
        train_latent(tiny_recipe("autoencoder"), tmp_path, tmp_path / "run", workers=0)
