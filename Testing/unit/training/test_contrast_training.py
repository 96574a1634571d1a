"""Standardisers: what they are trained on, that training resumes exactly, and that a site's own model is used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.heads import head_labels

from MRHarmonizationLib.core.errors import InputError, ModelNotFoundError, ParameterError, WeightsError
from MRHarmonizationLib.core.local_tone import FEATURES, identity_coefficients
from MRHarmonizationLib.degradations.kspace_contrast import FAMILIES
from MRHarmonizationLib.degradations.reference_look import render_reference_look
from MRHarmonizationLib.inference.harmonize import HarmonizeRequest, harmonize
from MRHarmonizationLib.inference.reference import ReferenceRequest, build_reference
from MRHarmonizationLib.methods.harmonizers import HARMONIZERS
from MRHarmonizationLib.methods.reference_group import group_of_volumes, load_group
from MRHarmonizationLib.models.tone_grid import ToneGrid, apply_to_bands
from MRHarmonizationLib.training import contrast_samples
from MRHarmonizationLib.training.contrast_export import publish_contrast, start_of
from MRHarmonizationLib.training.contrast_loop import train_contrast
from MRHarmonizationLib.training.contrast_recipe import ContrastOptimisation, ContrastRecipe, load_contrast_recipe
from MRHarmonizationLib.training.contrast_samples import Drawing, draw_contrast_sample, head_of_labels, head_of_scan
from MRHarmonizationLib.training.contrast_site import train_site
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.weights.card import read_card

BOX = (32, 48, 32)
SMALL = {"widths": (8, 8, 8), "blocks": 1}
BRIEF = ContrastOptimisation(steps=4, warmup_steps=1, buffer=2, validation_steps=2, validation_heads=1, patience=9)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("maps")
    for number in (1, 2):
        write_volume(head_labels(number), folder / f"map{number}.nii.gz")
    return folder


@pytest.fixture
def recipe() -> ContrastRecipe:
    return ContrastRecipe(
        "standardiser-test",
        ("map1.nii.gz",),
        ("map2.nii.gz",),
        references={"t1": "t1-head", "t2": "t2-head", "flair": "flair-head"},
        architecture_parameters=SMALL,
        box=BOX,
        optimisation=BRIEF,
        card={"title": "test", "version": "1", "summary": "test", "licence": "none"},
        digest="sha256:test",
    )


@pytest.fixture(scope="module")
def head(data):
    return head_of_labels(data / "map1.nii.gz")


def test_a_label_map_becomes_shares_of_tissues(head):
    total = head.shares.sum(axis=0, dtype=int)
    assert np.all((total == 0) | (np.abs(total - 255) <= len(head.keys)))
    assert 2 in head.keys
    assert 41 not in head.keys, "left and right are one tissue"


def test_a_sample_holds_what_the_network_needs(head):
    sample = draw_contrast_sample(np.random.default_rng(3), [head], Drawing(box=BOX))
    again = draw_contrast_sample(np.random.default_rng(3), [head], Drawing(box=BOX))
    np.testing.assert_array_equal(sample.bands, again.bands)
    assert sample.features.shape == (FEATURES, *(n // 2 for n in BOX))
    assert sample.target.shape == BOX
    assert set(np.unique(sample.tissues)) <= {0, 1, 2, 3}
    assert np.isfinite(sample.bands.astype(float)).all()


def test_the_target_has_the_look_whatever_the_alteration(head):
    """White matter of a T1 head lies at its place in the look in the target, elsewhere in the input."""
    found, before = [], []
    for seed in range(6):
        sample = draw_contrast_sample(np.random.default_rng(seed), [head], Drawing(contrasts=("t1",), box=BOX))
        inside = sample.tissues == 1
        found.append(float(np.median(sample.target[inside])))
        before.append(float(np.median(sample.bands.astype(float).sum(axis=0)[inside])))
    assert np.allclose(found, 0.87, atol=0.07)
    assert np.std(before) > 2 * np.std(found)


def test_held_out_families_are_never_drawn(head, monkeypatch):
    seen = set()

    def spy(rng, volume, labels, donor, families, strength):
        seen.update(families)
        return original(rng, volume, labels, donor, families, strength)

    original = contrast_samples.sample_kspace_contrast
    monkeypatch.setattr(contrast_samples, "sample_kspace_contrast", spy)
    for seed in range(8):
        draw_contrast_sample(
            np.random.default_rng(seed), [head], Drawing(held_out=("sequence", "fold", "bands"), box=BOX)
        )
    assert seen
    assert not seen & {"sequence", "fold"}
    with pytest.raises(InputError, match="'tilt'"):
        Drawing(held_out=("tilt",))
    assert set(Drawing(box=BOX).families) == set(FAMILIES) - {"sequence", "fold"}


def test_an_untrained_network_changes_nothing_and_both_applications_agree(rng):
    network = ToneGrid(FEATURES + 3, **SMALL)
    coefficients = network(torch.rand(1, FEATURES + 3, 16, 8, 8))
    np.testing.assert_allclose(coefficients[0].detach().numpy(), identity_coefficients((8, 4, 4)), atol=1e-6)
    bands = torch.from_numpy(rng.random((1, 5, 8, 8, 8)).astype(np.float32) * 0.2)
    drawn = torch.from_numpy(identity_coefficients((1, 1, 1))[None] + rng.normal(0, 0.1, (1, 18, 1, 1, 1)))
    from MRHarmonizationLib.core.local_tone import apply_coefficients

    there = apply_to_bands(bands, drawn.float())[0, 0].numpy()
    dense = np.broadcast_to(drawn.numpy()[0].astype(np.float32), (18, 8, 8, 8))
    np.testing.assert_allclose(there, apply_coefficients(list(bands.numpy()[0]), list(dense)), atol=1e-5)


def test_a_resumed_run_equals_one_in_a_piece(recipe, data, tmp_path):
    """Interrupted at a checkpoint; the buffer holds one head, so that it refills alike."""
    settings = replace(BRIEF, buffer=1, refresh_steps=1, replay=0.0)
    whole = replace(recipe, optimisation=settings)
    train_contrast(whole, data, tmp_path / "whole")
    stopped = _Stop(tmp_path / "parts" / "checkpoint.pt")
    with pytest.raises(KeyboardInterrupt):
        train_contrast(whole, data, tmp_path / "parts", progress=stopped)
    train_contrast(whole, data, tmp_path / "parts")
    one, other = (torch.load(tmp_path / name / "checkpoint.pt", weights_only=True) for name in ("whole", "parts"))
    assert one["step"] == other["step"] == 4
    for name, value in one["network"].items():
        torch.testing.assert_close(value, other["network"][name], rtol=0, atol=1e-5)


class _Stop:
    """A progress that interrupts the run once a checkpoint exists."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint

    def report(self, fraction: float, message: str = "") -> None:
        if self.checkpoint.exists():
            raise KeyboardInterrupt

    def part(self, start: float, stop: float) -> _Stop:
        return self


def test_a_checkpoint_of_another_recipe_is_refused(recipe, data, tmp_path):
    train_contrast(replace(recipe, optimisation=replace(BRIEF, steps=2)), data, tmp_path)
    with pytest.raises(InputError, match="another version"):
        train_contrast(replace(recipe, digest="sha256:other"), data, tmp_path)


def test_missing_files_and_wrong_recipes_are_named(recipe, tmp_path):
    with pytest.raises(InputError, match="map1"):
        train_contrast(recipe, tmp_path, tmp_path / "out")
    with pytest.raises(ParameterError, match="both|map1"):
        replace(recipe, validation_labels=("map1.nii.gz",))
    with pytest.raises(ParameterError, match="replay"):
        ContrastOptimisation(replay=1.0)
    with pytest.raises(ParameterError, match="'none'"):
        load_contrast_recipe("none")
    shipped = load_contrast_recipe()
    assert shipped.held_out == ("sequence", "fold")
    assert shipped.with_steps(5).digest != shipped.digest


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> tuple[Path, Path]:
    """Five scans of a site and the reference group built from them."""
    folder = tmp_path_factory.mktemp("site")
    cases = folder / "cases"
    cases.mkdir()
    for number in range(5):
        scan = render_reference_look(head_labels(20 + number), "t1", number)
        write_volume(scan.with_array(0.7 * scan.array**0.95), cases / f"case{number}.nii.gz")
    group = folder / "my_site.json"
    build_reference(cases, group, ReferenceRequest(contrast="t1"))
    return group, cases


def test_a_site_trains_its_own_and_it_is_used(recipe, site, tmp_path, own_home, monkeypatch):
    group, cases = site
    monkeypatch.setenv("MRHARMONIZATION_WEIGHTS", str(tmp_path))
    done = train_site(recipe, group, cases, tmp_path, steps=2, from_scratch=True)
    card = read_card(done.card)
    assert card.task == "standardise"
    assert dict(card.extra["references"]) == {"t1": "my_site", "t2": "", "flair": ""}
    assert done.cases == 5
    fitted = HARMONIZERS.get("network").fit(load_group(group))
    assert fitted.model == "standardiser-my_site"
    assert not fitted.further_state, "trained for this group: nothing follows"
    scan = render_reference_look(head_labels(30), "t1", 3)
    result = harmonize(scan, HarmonizeRequest(method="network", reference=str(group)))
    assert result.volume.array.shape == scan.array.shape
    with pytest.raises(ModelNotFoundError, match="not 't2'"):
        HARMONIZERS.get("network").fit(group_of_volumes([scan], "t2", "other"), model=done.model)


def test_training_can_start_from_published_weights(recipe, data, tmp_path):
    best = train_contrast(replace(recipe, optimisation=replace(BRIEF, steps=2)), data, tmp_path)
    values = torch.load(best, weights_only=True)  # parameters that are equal would be stored once
    torch.save({name: value + 0.01 * torch.rand_like(value) for name, value in values.items()}, best)
    weights, _ = publish_contrast(recipe, best, tmp_path, ())
    start = torch.load(start_of(weights, recipe, tmp_path / "next"), weights_only=True)
    for name, value in torch.load(best, weights_only=True).items():
        torch.testing.assert_close(start[name], value)
    wider = replace(recipe, architecture_parameters={**SMALL, "blocks": 2})
    with pytest.raises(WeightsError, match="parameters"):
        start_of(weights, wider, tmp_path / "next")


def test_too_few_cases_are_refused(recipe, site, tmp_path):
    group, cases = site
    few = tmp_path / "few"
    few.mkdir()
    for path in sorted(cases.iterdir())[:3]:
        (few / path.name).write_bytes(path.read_bytes())
    with pytest.raises(InputError, match="3 scans"):
        train_site(recipe, group, few, tmp_path / "out")


def test_a_real_scan_is_brought_to_two_millimetres(rng):
    scan = render_reference_look(head_labels(3), "flair", 1)
    head = head_of_scan(scan, "flair")
    assert head.contrast == "flair"
    assert head.shape == tuple(2 * n for n in scan.array.shape)
    assert 0.9 < float(np.percentile(head.image, 99.5)) < 2.0
