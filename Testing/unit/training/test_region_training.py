"""The segmentation's training: samples, loss, and a run that learns, resumes exactly and is published."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from MRHarmonizationLib.core.brain_regions import CLASS_NUMBERS, MIRRORED_CLASSES, classes_of
from MRHarmonizationLib.core.errors import InputError, OperationCancelled, ParameterError, WeightsError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.training.recipe import Source
from MRHarmonizationLib.training.region_recipe import RegionOptimisation, RegionRecipe, load_region_recipe
from MRHarmonizationLib.training.samples import Anatomy
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

torch = pytest.importorskip("torch", reason="torch is not installed")

from MRHarmonizationLib.models.region_unet import RegionUNet, space_to_depth  # noqa: E402
from MRHarmonizationLib.training.region_export import publish_regions  # noqa: E402
from MRHarmonizationLib.training.region_loop import (  # noqa: E402
    chosen_cells,
    region_loss,
    region_step,
    train_regions,
)
from MRHarmonizationLib.training.region_samples import RegionSample, as_it_is_known, draw_region_sample  # noqa: E402

SIZE = 64


def head_labels() -> np.ndarray:
    """A head of (64, 64, 64) mm: scalp, cortex, white matter of both sides, one ventricle a side, a stem."""
    k, j, i = np.mgrid[:SIZE, :SIZE, :SIZE] - (SIZE - 1) / 2
    depth = np.sqrt((k / 26) ** 2 + (j / 26) ** 2 + (i / 24) ** 2)
    left = i < 0  # of ascending right
    labels = np.zeros((SIZE,) * 3, np.int16)
    labels[depth < 1.15] = 258
    labels[depth < 1.0] = 24
    labels[(depth < 0.92) & left], labels[(depth < 0.92) & ~left] = 3, 42
    labels[(depth < 0.75) & left], labels[(depth < 0.75) & ~left] = 2, 41
    ventricle = (abs(k) < 6) & (abs(j) < 10) & (abs(i) > 2) & (abs(i) < 8)
    labels[ventricle & left], labels[ventricle & ~left] = 4, 43
    labels[(k < -8) & (abs(j) < 6) & (abs(i) < 6) & (depth < 0.95)] = 16
    return labels


@pytest.fixture(scope="module")
def anatomy() -> Anatomy:
    labels = head_labels()
    source = Source("labels", ("head.nii.gz",), 1.0)
    return Anatomy(labels, (1.0, 1.0, 1.0), np.argwhere(classes_of(labels) > 0).astype(np.float32), source)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    grid = Grid.from_parts((SIZE,) * 3)
    for name in ("a", "b"):
        write_volume(Volume(head_labels(), grid), folder / f"{name}.nii.gz")
    return folder


@pytest.fixture
def recipe() -> RegionRecipe:
    optimisation = RegionOptimisation(
        steps=24, warmup_steps=2, shapes=(((32, 48, 32), 1.0),), buffer=4, validation_steps=8, learning_rate=4e-3
    )
    return RegionRecipe(
        "tiny-regions",
        ("a.nii.gz",),
        ("b.nii.gz",),
        {"features": [8, 16], "hidden": 16},
        optimisation=optimisation,
        licence="made for the test",
        card={"title": "Tiny", "version": "1", "summary": "s", "licence": "l", "limitations": ["small"]},
        digest="sha256:" + "0" * 64,
    )


def test_space_to_depth_gathers_the_voxels_of_a_cell():
    image = torch.rand((2, 1, 4, 6, 8))
    cells = space_to_depth(image)
    assert cells.shape == (2, 8, 2, 3, 4)
    assert torch.equal(cells[0, :, 1, 2, 3], image[0, 0, 2:4, 4:6, 6:8].reshape(8))


def test_the_network_answers_with_the_probabilities_of_each_voxel():
    torch.manual_seed(0)
    network = RegionUNet(features=(4, 8), hidden=8).eval()
    image = torch.rand((1, 4, 8, 8, 12))
    with torch.inference_mode():
        found = network(image)
        logits = network.logits(network.cells(image)[0, :, 1, 2, 3][None])[0]
    assert found.shape == (1, 33, 8, 8, 12)
    torch.testing.assert_close(found.sum(1), torch.ones((1, 8, 8, 12)))
    torch.testing.assert_close(found[0, :, 2:4, 4:6, 6:8].reshape(33, 8).T, torch.softmax(logits, -1))


def test_a_network_of_no_classes_is_refused():
    with pytest.raises(ParameterError, match="1 classes"):
        RegionUNet(classes=1)


def test_a_sample_is_a_function_of_its_seed_and_holds_the_structures(anatomy):
    first, again, other = (draw_region_sample(np.random.default_rng(n), [anatomy], (48, 64, 56)) for n in (3, 3, 4))
    assert np.array_equal(first.image, again.image)
    assert np.array_equal(first.classes, again.classes)
    assert not np.array_equal(first.image, other.image)
    assert first.image.shape == first.classes.shape == (48, 64, 56)
    assert first.image.dtype == np.float16
    assert np.isfinite(first.image).all()
    wanted = set(classes_of(np.array([0, 2, 41, 3, 42])).tolist())
    assert wanted <= set(np.unique(first.classes).tolist())


def test_left_stays_left_in_every_sample(anatomy):
    """Mirrored or not: the left hemisphere lies at smaller right-coordinates than the right one."""
    left, right = (int(c) for c in classes_of(np.array([2, 41])))
    for seed in range(8):
        classes = draw_region_sample(np.random.default_rng(seed), [anatomy], (64, 64, 64)).classes
        assert np.argwhere(classes == left)[:, 2].mean() < np.argwhere(classes == right)[:, 2].mean()
    assert MIRRORED_CLASSES[left] == right


def test_the_brain_s_middle_is_known_as_well_as_when_it_is_used(anatomy):
    rng = np.random.default_rng(0)
    drawn = np.array([as_it_is_known(rng, np.array([10.0, 20.0, 30.0]), 2.0) for _ in range(500)])
    np.testing.assert_allclose(drawn.mean(axis=0), (10, 20, 30), atol=1.0)
    assert 4.0 < drawn[:, 0].std() < 6.0  # √(.2·20² + .8·5²) mm in voxels of 2 mm
    away = []
    for seed in range(12):
        sample = draw_region_sample(np.random.default_rng(seed), [anatomy], (64, 64, 64))
        inside = np.argwhere(sample.classes > 0)
        away.append(np.array(sample.centre) - (inside.min(axis=0) + inside.max(axis=0)) / 2)
    assert np.all(np.median(np.abs(away), axis=0) < 5.0)


def test_the_network_s_input_holds_the_way_from_the_middle():
    sample = RegionSample(np.ones((3, 4, 5), np.float16), np.zeros((3, 4, 5), np.uint8), (1.0, 0.0, 4.0), 2.0)
    given = sample.network_input()
    assert given.shape == (4, 3, 4, 5)
    assert np.all(given[0] == 1.0)
    assert given[1:, 2, 3, 0].tolist() == pytest.approx([0.02, 0.06, -0.08])


def test_small_structures_are_all_looked_at_and_large_ones_in_part():
    classes = np.zeros((20_000, 8), np.uint8)
    classes[:10_000] = 1
    classes[7, 3] = 9
    cells, probability = chosen_cells(np.random.default_rng(0), classes)
    assert 7 in cells
    assert probability[cells == 7] == 1.0
    assert 200 < cells.size < 2_000
    share = np.isin(np.arange(10_000), cells).mean()
    assert share == pytest.approx(float(probability[cells == cells[-1]][0]), rel=0.3)


def test_the_loss_is_least_for_the_truth_and_counts_what_was_not_looked_at():
    truth = torch.randint(0, 3, (50, 8))
    odds = torch.full((50,), 0.5)
    right = torch.nn.functional.one_hot(truth, 33).float() * 30.0
    assert float(region_loss(right, truth, odds, 1.0)) == pytest.approx(0.0, abs=1e-4)
    wrong = torch.nn.functional.one_hot((truth + 1) % 3, 33).float() * 30.0
    assert float(region_loss(wrong, truth, odds, 1.0)) > 20.0
    # a structure of one cell beside nine of background, all called background: it counts as the root of its size
    truth = torch.zeros((10, 8), dtype=torch.long)
    truth[0] = 5
    logits = torch.zeros((10, 8, 33))
    logits[..., 0] = 20.0
    alike = 20.0 * 1.0 / (1.0 + 3.0)
    assert float(region_loss(logits, truth, torch.ones(10), 0.0)) == pytest.approx(alike, rel=1e-3)
    # two cells of one class, one answered rightly; the wrong one stands for nine: overlap 2·1 / (1 + 10)
    truth = torch.ones((2, 8), dtype=torch.long)
    answers = torch.tensor([1, 2])[:, None].expand(2, 8)
    logits = torch.nn.functional.one_hot(answers, 33).float() * 60.0
    probability = torch.tensor([1.0, 1.0 / 9.0])
    overlap = float(region_loss(logits, truth, probability, 1.0) - region_loss(logits, truth, probability, 0.0))
    assert overlap == pytest.approx(1.0 - 2.0 * 1.0 / (1.0 + 10.0), abs=1e-4)


def test_steps_make_the_loss_smaller(anatomy, recipe):
    torch.manual_seed(0)
    network = RegionUNet(features=(8, 16), hidden=16)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    sample = draw_region_sample(np.random.default_rng(1), [anatomy], (64, 64, 64))
    plan = replace(recipe, optimisation=replace(recipe.optimisation, steps=1000, learning_rate=1e-2))
    losses = [
        region_step(network, optimiser, sample, np.random.default_rng(n), n, plan, torch.device("cpu"))
        for n in range(30)
    ]
    assert np.mean(losses[-5:]) < 0.75 * losses[0]


def test_a_resumed_run_equals_an_uninterrupted_one_and_is_published(data, recipe, tmp_path):
    train_regions(recipe, data, tmp_path / "whole", "cpu", workers=0)
    progress = Progress(lambda fraction, message: progress.cancel() if "step 20 " in message else None)
    with pytest.raises(OperationCancelled):
        train_regions(recipe, data, tmp_path / "parts", "cpu", workers=0, progress=progress)
    best = train_regions(recipe, data, tmp_path / "parts", "cpu", workers=0)
    whole, parts = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["average"] for name in ("whole", "parts")
    )
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, atol=1e-5, rtol=0, msg=key)
    logs = [(tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("whole", "parts")]
    steps = [[json.loads(line)["step"] for line in lines] for lines in logs]
    assert steps[0] == steps[1] == [8, 16, 24]

    weights, card_file = publish_regions(recipe, best, tmp_path / "parts")
    card = json.loads(card_file.read_text())
    assert (card["task"], card["input"]["layout"], card["input"]["stride"]) == ("segment", "head-labels", 4)
    assert card["input"]["spacing_mm"] == 2.0
    assert card["output"]["channels"] == [str(n) for n in CLASS_NUMBERS]
    import onnxruntime

    session = onnxruntime.InferenceSession(str(weights), providers=["CPUExecutionProvider"])
    found = session.run(None, {"scan": np.random.default_rng(0).random((1, 4, 16, 8, 12), np.float32)})[0]
    assert found.shape == (1, 33, 16, 8, 12)


def test_bad_input_is_named(data, recipe, tmp_path):
    with pytest.raises(InputError, match=r"c\.nii\.gz"):
        train_regions(replace(recipe, validation_labels=("c.nii.gz",)), data, tmp_path / "x", "cpu", workers=0)
    with pytest.raises(ParameterError, match="trains and validates"):
        replace(recipe, validation_labels=recipe.labels)
    (tmp_path / "best.pt").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"best\.pt"):
        publish_regions(recipe, tmp_path / "best.pt", tmp_path)


def test_the_shipped_recipe_keeps_subjects_apart():
    shipped = load_region_recipe("brain-regions")
    assert not set(shipped.labels) & set(shipped.validation_labels)
    assert shipped.digest.startswith("sha256:")
    assert shipped.with_steps(5).digest != shipped.digest
    with pytest.raises(ParameterError, match="trains no segmentation"):
        load_region_recipe("lowfield")


@pytest.mark.parametrize("entry", ["[[128, 160], 1.0]", "[[8, 64, 64], 1.0]", "[[64, 64, 64], 0.0]"])
def test_a_wrong_part_of_a_head_is_named(entry, tmp_path):
    values = {
        "kind": "regions",
        "id": "x",
        "labels": ["a"],
        "validation_labels": ["b"],
        "optimisation": {"shapes": [json.loads(entry)]},
    }
    path = tmp_path / "x.json"
    path.write_text(json.dumps(values))
    with pytest.raises(ParameterError):
        load_region_recipe(path)
