"""Training of a diffusion network on small simulated heads: samples, tone, filters, card, use."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.travelling import write_travelling

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.inference.dwi_network import TASK, tone_of
from MRHarmonizationLib.training import dwi_loop
from MRHarmonizationLib.training.dwi_export import publish_dwi
from MRHarmonizationLib.training.dwi_loop import train_dwi
from MRHarmonizationLib.training.dwi_recipe import DwiOptimisation, DwiRecipe, load_dwi_recipe
from MRHarmonizationLib.training.dwi_samples import DwiSample, draw_dwi_sample, load_brain
from MRHarmonizationLib.training.dwi_tone import contrast_of, fit_tone, known_gain, tone_error, wanted_gain
from MRHarmonizationLib.training.recipe import DIFFUSION, list_recipes, recipe_kind
from MRHarmonizationLib.weights.card import read_card
from MRHarmonizationLib.weights.store import verify

SAMPLES = 14


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_travelling(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def recipe() -> DwiRecipe:
    return DwiRecipe(
        id="small",
        labels=("labelmaps/training_seg_11.nii.gz",),
        validation_labels=("labelmaps/training_seg_17.nii.gz",),
        samples=SAMPLES,
        validation_samples=1,
        architecture_parameters={"widths": [4, 8], "limit": 0.2},
        passes=1,
        optimisation=DwiOptimisation(steps=4, warmup_steps=1, batch=1, crop=(16, 16, 16), validation_steps=2),
        card={"title": "Small", "version": "0", "summary": "s", "licence": "none", "limitations": ["none"]},
        digest="sha256:0",
    )


@pytest.fixture(scope="module")
def trained(recipe: DwiRecipe, data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict, Path]:
    out = tmp_path_factory.mktemp("run")
    best, tone = train_dwi(recipe, data, out, "cpu", 0)
    return best, tone, out


@pytest.fixture(scope="module")
def samples(trained: tuple[Path, dict, Path]) -> list[DwiSample]:
    return [DwiSample.load(path) for path in sorted((trained[2] / "samples").glob("*.npz"))]


def test_shipped_recipe_is_read_and_splits_by_subject():
    found = load_dwi_recipe("dwi-canonical")
    assert recipe_kind("dwi-canonical") == DIFFUSION
    assert "dwi-canonical" in list_recipes(DIFFUSION)
    assert not set(found.labels) & set(found.validation_labels)
    with pytest.raises(ParameterError, match="trains and validates on"):
        replace(found, validation_labels=found.labels[:1])
    with pytest.raises(ParameterError, match="trains no diffusion network"):
        load_dwi_recipe("lowfield")


def test_samples_are_a_function_of_their_seed(data: Path, tmp_path: Path):
    brain = load_brain(data / "labelmaps/training_seg_11.nii.gz", 1, tmp_path)
    again = load_brain(data / "labelmaps/training_seg_11.nii.gz", 1, tmp_path)  # from the cache
    first, second = (draw_dwi_sample(np.random.default_rng(4), [b]) for b in (brain, again))
    np.testing.assert_array_equal(first.volumes, second.volumes)
    assert not np.array_equal(first.volumes, draw_dwi_sample(np.random.default_rng(5), [brain]).volumes)


def test_white_matter_of_scan_and_truth_is_one(samples: list[DwiSample]):
    for sample in samples[:4]:
        assert float(np.median(sample.guide[0][sample.white])) == pytest.approx(1.0, abs=0.02)
        assert float(np.median(sample.truth[0][sample.white])) == pytest.approx(1.0, abs=0.15)


def test_known_gain_brings_the_scan_to_the_canonical_contrast(samples: list[DwiSample]):
    errors = []
    for sample in samples:
        wanted, trust = wanted_gain(sample)
        after = np.abs(wanted - np.log(known_gain(sample)))
        errors.append([(trust * np.abs(wanted)).sum() / trust.sum(), (trust * after).sum() / trust.sum()])
    before, after = np.mean(errors, axis=0)
    assert after < 0.5 * before


def test_the_tone_is_learned(samples: list[DwiSample], trained: tuple[Path, dict, Path]):
    tone = trained[1]
    rows = []
    for sample in samples:
        contrast = contrast_of(sample)
        coefficients, notes = tone_of(contrast, tone)
        assert notes == ()  # what was learned from is inside the range
        rows.append([tone_error(sample, 0 * contrast.shading), tone_error(sample, np.log(contrast.gain(coefficients)))])
    before, after = np.mean(rows, axis=0)
    assert after < 0.8 * before
    assert tone == json.loads((trained[2] / "tone.json").read_text())


def test_too_few_samples_for_a_tone_are_refused(samples: list[DwiSample]):
    with pytest.raises(InputError, match="samples for 11 features"):
        fit_tone(samples[:5])


def test_training_resumes_to_the_same_weights(
    recipe: DwiRecipe, data: Path, trained: tuple[Path, dict, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    step = dwi_loop._step

    def killed_in_the_third(state: Any, *rest: Any) -> float:
        if state.step == 2:
            raise KeyboardInterrupt
        return step(state, *rest)

    for name in ("samples", "validation", "brains"):
        (tmp_path / name).symlink_to(trained[2] / name)
    monkeypatch.setattr(dwi_loop, "_step", killed_in_the_third)
    with pytest.raises(KeyboardInterrupt):
        train_dwi(recipe, data, tmp_path, "cpu", 0)
    monkeypatch.undo()
    best, _ = train_dwi(recipe, data, tmp_path, "cpu", 0)
    whole, resumed = (torch.load(path, weights_only=True) for path in (trained[0], best))
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value, atol=1e-5, rtol=1e-5)
    steps = [json.loads(line)["step"] for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert steps == [2, 4]


def test_published_network_is_a_model(recipe: DwiRecipe, trained: tuple[Path, dict, Path], tmp_path: Path):
    weights, path = publish_dwi(recipe, trained[0], trained[1], tmp_path)
    card = read_card(path)
    assert card.task == TASK
    assert verify(card) == weights
    assert card.extra["target"] == "canonical"
    assert card.extra["tone"]["samples"] <= SAMPLES


def test_missing_label_maps_are_named(recipe: DwiRecipe, tmp_path: Path):
    with pytest.raises(InputError, match="1 label maps are not below"):
        train_dwi(recipe, tmp_path, tmp_path / "out", "cpu", 0)
