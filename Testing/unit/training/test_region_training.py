"""The segmentation's training: samples, loss, and a run that learns, resumes exactly and is published."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from MRHarmonizationLib.core.brain_regions import (
    CLASS_NUMBERS,
    MIRRORED_CLASSES,
    classes_of,
    dice_per_region,
    numbers_of,
)
from MRHarmonizationLib.core.errors import InputError, OperationCancelled, ParameterError, WeightsError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.degradations.deformation import sample_deformation
from MRHarmonizationLib.training import region_samples
from MRHarmonizationLib.training.recipe import Source
from MRHarmonizationLib.training.region_recipe import RegionOptimisation, RegionRecipe, load_region_recipe
from MRHarmonizationLib.training.samples import Anatomy
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

torch = pytest.importorskip("torch", reason="torch is not installed")

from MRHarmonizationLib.models.region_unet import RegionUNet, space_to_depth  # noqa: E402
from MRHarmonizationLib.training.optimiser import cosine_rate  # noqa: E402
from MRHarmonizationLib.training.region_export import publish_regions  # noqa: E402
from MRHarmonizationLib.training.region_loop import (  # noqa: E402
    BORDER_SHARE,
    FIRST_SAMPLES,
    LEAST_SHARE,
    _build_state,
    _drawn_before,
    _validate,
    chosen_cells,
    region_loss,
    region_step,
    train_regions,
)
from MRHarmonizationLib.training.region_samples import (  # noqa: E402
    GAMMA_DEVIATION,
    RegionSample,
    as_it_is_known,
    draw_region_sample,
    scan_labels,
)

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
        classes = draw_region_sample(np.random.default_rng(seed), [anatomy], (40, 40, 40), voxel_mm=3.0).classes
        assert np.argwhere(classes == left)[:, 2].mean() < np.argwhere(classes == right)[:, 2].mean()
    assert MIRRORED_CLASSES[left] == right


def test_the_brain_s_middle_is_known_as_well_as_when_it_is_used(anatomy):
    rng = np.random.default_rng(0)
    drawn = np.array([as_it_is_known(rng, np.array([10.0, 20.0, 30.0]), 2.0) for _ in range(500)])
    np.testing.assert_allclose(drawn.mean(axis=0), (10, 20, 30), atol=1.0)
    # √(.2·20² + .8·5²) mm superior, √(.2·6² + .8·2.5²) mm right, in voxels of 2 mm
    np.testing.assert_allclose(drawn[:, [0, 2]].std(axis=0), (4.9, 1.7), rtol=0.2)


def test_the_middle_of_a_sample_is_that_of_its_brain_and_image_and_classes_lie_alike(monkeypatch):
    """Turned, scaled, moved and mirrored, of an anatomy with long voxels; without what bends it."""

    def straight(rng, scale, elastic_mm):
        return sample_deformation(rng, scale=scale, elastic_mm=0.0)

    monkeypatch.setattr(region_samples, "sample_deformation", straight)
    monkeypatch.setattr(region_samples, "FIRST_GUESS_MM", (0.0, 0.0, 0.0))
    monkeypatch.setattr(region_samples, "SECOND_GUESS_MM", (0.0, 0.0, 0.0))
    labels = head_labels()[:, :, ::2]
    centres = np.argwhere(classes_of(labels) > 0).astype(np.float32)
    long = Anatomy(np.ascontiguousarray(labels), (1.0, 1.0, 2.0), centres, Source("labels", ("x",), 1.0))
    for seed in range(10):
        sample = draw_region_sample(np.random.default_rng(seed), [long], (36, 40, 44), voxel_mm=3.0)
        inside = np.argwhere(sample.classes > 0)
        middle = (inside.min(axis=0) + inside.max(axis=0)) / 2
        np.testing.assert_allclose(sample.centre, middle, atol=0.6, err_msg=str(seed))
        alike = explained(sample.image, sample.classes)
        assert alike > 0.35
        assert alike > explained(sample.image[:, :, ::-1], sample.classes) - 0.1


def explained(image, classes):
    """Return the share of an image's variance that lies between classes."""
    values = image.astype(np.float64)
    within = sum(values[classes == c].var() * np.mean(classes == c) for c in np.unique(classes))
    return 1.0 - within / values.var()


def test_what_lies_outside_of_an_anatomy_is_background():
    centres = np.argwhere(np.ones((16, 16, 16))).astype(np.float32)
    cut = Anatomy(np.full((16, 16, 16), 3, np.int16), (1.0, 1.0, 1.0), centres, Source("labels", ("x",), 1.0))
    for seed in range(3):
        classes = draw_region_sample(np.random.default_rng(seed), [cut], (32, 32, 32)).classes
        assert 0 < np.count_nonzero(classes) * 2.0**3 < 2 * 16**3


def test_scans_are_normalised_and_stripped_of_what_is_no_brain(monkeypatch):
    monkeypatch.setattr(region_samples, "STRIPPED_SHARE", 1.0)
    labels = head_labels()[::2, ::2, ::2]
    inside = classes_of(labels) > 0
    for seed in range(6):
        image = scan_labels(np.random.default_rng(seed), labels, 0.3, 2.0).astype(np.float32)
        assert np.median(image[inside]) > 3 * np.median(image[~inside])
        assert 1.0 < image.max() <= 2.0 ** np.exp(4 * GAMMA_DEVIATION)
        assert np.mean(image > 1.0) < 0.02


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
    assert probability.min() == pytest.approx(LEAST_SHARE), "the commonest structures"
    classes[9_000:9_100, :4] = 0  # borders of the two
    cells, probability = chosen_cells(np.random.default_rng(0), classes)
    border = (cells >= 9_000) & (cells < 9_100)
    assert probability[border] == pytest.approx(BORDER_SHARE)
    assert probability[~border & (cells != 7)].max() < BORDER_SHARE
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


def test_background_has_no_overlap_of_its_own():
    """Half background and half a structure, in all of which the structure is answered: overlap 2·1 / (2 + 1)."""
    truth = torch.zeros((2, 8), dtype=torch.long)
    truth[0] = 1
    logits = torch.nn.functional.one_hot(torch.ones((2, 8), dtype=torch.long), 33).float() * 60.0
    overlap = region_loss(logits, truth, torch.ones(2), 1.0) - region_loss(logits, truth, torch.ones(2), 0.0)
    assert float(overlap) == pytest.approx(1.0 - 2.0 / 3.0, abs=1e-4)


def test_a_step_holds_each_voxel_against_its_own_truth(recipe):
    """The loss that a step reports is that of the network's answer, voxel by voxel; its rate is the plan's."""
    rng = np.random.default_rng(0)
    torch.manual_seed(0)
    network = RegionUNet(features=(4, 8), hidden=8)
    with torch.no_grad():
        for values in network.parameters():
            values.mul_(3.0)  # an untrained network answers much the same everywhere
    sample = RegionSample(rng.random((8, 12, 16)).astype(np.float16), np.zeros(1), (4.0, 6.0, 8.0), 2.0)
    with torch.inference_mode():
        answer = network(torch.from_numpy(sample.network_input())[None])[0].log()
    classes = answer.argmax(0).numpy().astype(np.uint8)
    classes[:2] = 5  # wrong here and there
    sample = replace(sample, classes=classes)
    cells = [
        (slice(2 * k, 2 * k + 2), slice(2 * j, 2 * j + 2), slice(2 * i, 2 * i + 2)) for k, j, i in np.ndindex(4, 6, 8)
    ]
    truth = np.stack([classes[cell].ravel() for cell in cells])
    chosen, probability = chosen_cells(np.random.default_rng(5), truth)
    logits = torch.stack([answer[(slice(None), *cells[number])].reshape(33, 8).T for number in chosen])
    truth, odds = torch.from_numpy(truth[chosen]).long(), torch.from_numpy(probability)
    expected = float(region_loss(logits, truth, odds, recipe.optimisation.dice_weight))
    optimiser = torch.optim.AdamW(network.parameters(), lr=1.0)
    found = region_step(network, optimiser, sample, np.random.default_rng(5), 7, recipe, torch.device("cpu"))
    assert found == pytest.approx(expected, rel=0.02)
    plan = recipe.optimisation
    assert optimiser.param_groups[0]["lr"] == cosine_rate(7, plan.steps, plan.warmup_steps, plan.learning_rate)


def test_validation_judges_the_averaged_weights_and_keeps_the_best(recipe, tmp_path):
    rng = np.random.default_rng(0)
    state = _build_state(recipe, torch.device("cpu"))
    with torch.no_grad():
        for values in state.average.parameters():
            values.mul_(3.0)
    image, centre = rng.random((8, 12, 16)).astype(np.float16), (4.0, 6.0, 8.0)
    given = torch.from_numpy(RegionSample(image, np.zeros(image.shape, np.uint8), centre, 2.0).network_input())[None]
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        answer = state.average(given)[0].argmax(0).numpy().astype(np.uint8)
    right = answer.copy()
    right[4:] = 0  # half of what is answered is there
    expected = np.nanmean(list(dice_per_region(numbers_of(answer), numbers_of(right)).values()))
    samples = [RegionSample(image, classes, centre, 2.0) for classes in (right, answer)]
    _validate(state, recipe, samples, tmp_path, 0.5, 1.0)
    line = json.loads((tmp_path / "log.jsonl").read_text())
    assert line["scans"] == pytest.approx([expected, 1.0], abs=1e-3)
    assert 0.2 < expected < 0.9
    best = (tmp_path / "best.pt").read_bytes()
    assert state.best_dice == pytest.approx((expected + 1.0) / 2, abs=1e-3)
    state.average.load_state_dict(state.network.state_dict())
    _validate(state, recipe, samples, tmp_path, 0.5, 1.0)
    assert (tmp_path / "best.pt").read_bytes() == best, "a worse one is not kept"


def test_steps_make_the_loss_smaller(anatomy, recipe):
    torch.manual_seed(0)
    network = RegionUNet(features=(8, 16), hidden=16)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    sample = draw_region_sample(np.random.default_rng(1), [anatomy], (32, 32, 32))
    plan = replace(recipe, optimisation=replace(recipe.optimisation, steps=1000, learning_rate=1e-2))
    losses = [
        region_step(network, optimiser, sample, np.random.default_rng(n), n, plan, torch.device("cpu"))
        for n in range(30)
    ]
    assert np.mean(losses[-5:]) < 0.75 * losses[0]


def test_samples_drawn_before_a_step_are_counted_as_the_loop_draws_them(recipe):
    plan = replace(recipe, optimisation=replace(recipe.optimisation, buffer=16, refresh_steps=3))
    drawn = min(16, FIRST_SAMPLES)
    for step in range(12):
        assert _drawn_before(step, plan) == drawn
        drawn += step % 3 == 0


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
