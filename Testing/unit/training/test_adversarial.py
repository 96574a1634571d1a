"""Generators and judges in the training loop: they learn, resume exactly, and lose nothing when they are stopped."""

from __future__ import annotations

import errno
import json
from dataclasses import replace

import numpy as np
import pytest
from support.pairs import JUDGE, NETWORKS, tiny_translation, write_prepared

from MRHarmonizationLib.core.errors import InputError, OperationCancelled, OutputError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.training.pair_manifest import with_pairs
from MRHarmonizationLib.training.recipe import TRANSLATION, Adversary, Optimisation, Source, list_recipes, load_recipe

torch = pytest.importorskip("torch", reason="torch is not installed")

from MRHarmonizationLib.training import checkpoint as checkpoints  # noqa: E402
from MRHarmonizationLib.training.loop import drawn_before, train  # noqa: E402


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("pairs"))


@pytest.fixture(scope="module")
def unpaired(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("unpaired"), unpaired=True)


def cancel_at(step):
    """A progress that cancels itself when a step is reported."""
    progress = Progress(lambda fraction, message: progress.cancel() if f"step {step} " in message else None)
    return progress


def run(recipe, data, out, **options):
    return train(recipe, data, out, device="cpu", workers=0, **options)


def log_of(out):
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


def tensors(values, path=""):
    """Yield (path, tensor) of everything in a checkpoint."""
    if isinstance(values, torch.Tensor):
        yield path, values
    elif isinstance(values, dict):
        for key, value in values.items():
            yield from tensors(value, f"{path}/{key}")
    elif isinstance(values, list):
        for number, value in enumerate(values):
            yield from tensors(value, f"{path}/{number}")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_resumed_run_equals_an_uninterrupted_one(name, pairs, tmp_path):
    recipe = with_pairs(tiny_translation(name), pairs)
    run(recipe, pairs, tmp_path / "whole")
    with pytest.raises(OperationCancelled):
        run(recipe, pairs, tmp_path / "parts", progress=cancel_at(20))
    assert torch.load(tmp_path / "parts" / "checkpoint.pt", weights_only=True)["step"] == 20
    run(recipe, pairs, tmp_path / "parts")
    for file in ("checkpoint.pt", "best.pt"):
        whole, parts = (dict(tensors(torch.load(tmp_path / o / file, weights_only=True))) for o in ("whole", "parts"))
        assert whole.keys() == parts.keys()
        assert len(whole) > 4
        for key, value in whole.items():
            torch.testing.assert_close(parts[key], value, atol=1e-5, rtol=0, msg=key)
    assert [line["scores"] for line in log_of(tmp_path / "whole")] == [
        line["scores"] for line in log_of(tmp_path / "parts")
    ]


def test_a_cycle_keeps_its_latest_weights_others_their_best(pairs, tmp_path, monkeypatch):
    from MRHarmonizationLib.training import loop
    from MRHarmonizationLib.training.validation import ValidationSet

    monkeypatch.setattr(loop, "VALIDATION_STEPS", 1)
    gains = iter([0.0, 2.0, 1.0] * 2)
    monkeypatch.setattr(ValidationSet, "score", lambda self, network: {"head": {"gain_db": next(gains)}})
    kept = {}
    for name in ("cycle", "gan"):
        recipe = with_pairs(tiny_translation(name, 3), pairs)
        run(recipe, pairs, tmp_path / name)
        kept[name] = json.loads((tmp_path / name / "best.json").read_text())["step"]
    assert kept == {"cycle": 3, "gan": 2}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_short_run_makes_scans_better_than_interpolation(name, pairs, tmp_path):
    steps = 200
    recipe = with_pairs(tiny_translation(name, steps), pairs)
    run(recipe, pairs, tmp_path)
    (line,) = [line for line in log_of(tmp_path) if line["step"] == steps]
    assert ("judge_loss" in line) == (recipe.adversary is not None)
    if name == "cycle":  # nothing pulls it to the truth voxel by voxel: it must not do harm
        assert line["mean_gain_db"] > -3.0
        assert 0.0 < line["judge_loss"] < 1.0
    else:
        assert line["mean_gain_db"] > 1.0


def test_unpaired_scans_train_a_cycle_and_nothing_else(unpaired, tmp_path):
    recipe = with_pairs(tiny_translation("cycle", steps=6), unpaired)
    best = run(recipe, unpaired, tmp_path)
    assert [line["mean_gain_db"] for line in log_of(tmp_path)] == [None]
    average = torch.load(tmp_path / "checkpoint.pt", weights_only=True)["average"]
    for key, value in torch.load(best, weights_only=True).items():
        assert torch.equal(value, average[key])
    with pytest.raises(ParameterError, match="unpaired"):
        with_pairs(tiny_translation("gan"), unpaired)


def test_a_full_disk_at_a_checkpoint_loses_nothing(pairs, tmp_path, monkeypatch):
    recipe = with_pairs(tiny_translation("cgan"), pairs)
    run(recipe, pairs, tmp_path, steps=8)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr("os.fsync", full)
        with pytest.raises(OutputError, match="free some space"):
            run(recipe, pairs, tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert after.keys() == before.keys()
    assert after["checkpoint.pt"] == before["checkpoint.pt"]
    assert after["best.pt"] == before["best.pt"]
    run(recipe, pairs, tmp_path)
    assert [line["step"] for line in log_of(tmp_path)] == [8, 24]


def test_the_log_forgets_what_came_after_the_checkpoint(tmp_path):
    path = tmp_path / "log.jsonl"
    checkpoints.trim_log(path, 100)
    path.write_text('{"step": 100}\n{"step": 200}\n{"step": 30')
    checkpoints.trim_log(path, 100)
    assert path.read_text() == '{"step": 100}\n'


def test_ctrl_c_ends_the_run_between_two_steps():
    import os
    import signal

    progress = Progress()
    former = signal.getsignal(signal.SIGTERM)
    with checkpoints.stop_between_steps(progress):
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(OperationCancelled):
            progress.check()
    assert signal.getsignal(signal.SIGTERM) is former


def test_the_buffer_of_a_step_is_known_without_running_to_it():
    recipe = tiny_translation("unet")
    drawn = 1
    for step in range(12):
        assert drawn_before(step, recipe) == drawn
        drawn += step % recipe.optimisation.refresh_steps == 0


@pytest.mark.parametrize("name", list_recipes(TRANSLATION))
@pytest.mark.parametrize("contrast", ["t1", "t2", "flair"])
def test_shipped_recipes_are_compared_on_the_same_data_and_budget(name, contrast):
    from MRHarmonizationLib.evaluation.splits import role_of

    recipe, main = load_recipe(name, contrast), load_recipe("lohiresgan", contrast)
    assert recipe.id == f"{name}-{contrast}"
    assert recipe.card["domain"]["modalities"] == [{"t1": "T1w", "t2": "T2w", "flair": "FLAIR"}[contrast]]
    assert recipe.card["limitations"]
    assert (recipe.sources, recipe.validation) == (main.sources, main.validation)
    assert recipe.optimisation == main.optimisation
    assert (recipe.digest == main.digest) == (name == "lohiresgan")
    assert {role_of(f) for s in recipe.sources for f in s.files} == {"train"}
    assert {role_of(f) for s in recipe.validation for f in s.files} == {"validation"}
    assert all(s.contrast == contrast and s.licence for s in recipe.sources)


def test_each_contrast_has_its_own_digest_and_unknown_ones_are_refused(tmp_path):
    assert len({load_recipe("lohiresgan", c).digest for c in ("t1", "t2", "flair")}) == 3
    with pytest.raises(ParameterError, match="pd"):
        load_recipe("lohiresgan", "pd")
    with pytest.raises(ParameterError, match="all contrasts"):
        load_recipe("lowfield", "t1")
    other = tmp_path / "other.json"
    other.write_text(json.dumps({"extends": "lohiresgan", "id": "other", "optimisation": {"steps": 7}}))
    recipe = load_recipe(other)
    assert recipe.id == "other-t1"
    assert recipe.optimisation == replace(load_recipe("lohiresgan").optimisation, steps=7)


@pytest.mark.parametrize(
    ("values", "named"),
    [({"mode": "wgan"}, "wgan"), ({"mode": "gan", "loss": "hinge"}, "hinge"), ({"mode": "gan", "pool": -1}, "pool")],
)
def test_wrong_adversaries_are_named(values, named):
    with pytest.raises(ParameterError, match=named):
        Adversary(**values)


def test_recipes_that_cannot_work_are_refused():
    with pytest.raises(ParameterError, match="cyclegan_pair"):
        tiny_translation("cycle", adversary=None)
    with pytest.raises(ParameterError, match="cyclegan_pair"):
        tiny_translation("cgan", adversary=Adversary("cycle"))
    with pytest.raises(ParameterError, match="mixes"):
        tiny_translation("gan", sources=(Source("pair", ("a",), 1.0), Source("image", ("b",), 1.0)))
    with pytest.raises(ParameterError, match="gradient_weight"):
        Optimisation(charbonnier_epsilon=0.0)
    from MRHarmonizationLib.training.loop import build_state

    recipe = tiny_translation("gan", adversary=Adversary("gan", discriminator={**JUDGE, "layers": 4}))
    with pytest.raises(ParameterError, match="patches of 32"):
        build_state(recipe, torch.device("cpu"))


def test_own_pairs_are_checked_before_training(tmp_path):
    folder = write_prepared(tmp_path / "own")
    recipe = tiny_translation("gan")
    own = with_pairs(recipe, folder)
    assert own.id == "tiny-gan-own"
    assert own.digest != recipe.digest
    assert {f for s in own.sources for f in s.files} == {"pairs/s0", "pairs/s1"}
    assert {f for s in own.validation for f in s.files} == {"pairs/s2"}
    with pytest.raises(ParameterError, match="t2"):
        with_pairs(replace(recipe, contrast="t2"), folder)
    scan = folder / "pairs" / "s0" / "low.nii.gz"
    content = scan.read_bytes()
    scan.write_bytes(content[:-5])
    with pytest.raises(InputError, match="not the file of the manifest"):
        with_pairs(recipe, folder)
    scan.unlink()
    with pytest.raises(InputError, match="missing"):
        with_pairs(recipe, folder)
    scan.write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, "complete": False}))
    with pytest.raises(InputError, match="not complete"):
        with_pairs(recipe, folder)
    with pytest.raises(InputError, match="prepare-pairs"):
        with_pairs(recipe, tmp_path)


def test_nothing_is_learned_where_the_high_field_scan_does_not_reach(pairs):
    from MRHarmonizationLib.training.paired_samples import draw_prepared, load_all_prepared
    from MRHarmonizationLib.training.patches import cut_patch

    recipe = with_pairs(tiny_translation("gan"), pairs)
    scans = [scan for scan in load_all_prepared(recipe.sources, pairs) if not scan.valid.all()]
    assert scans
    weights = []
    for n in range(20):
        sample = draw_prepared(np.random.default_rng(n), scans, recipe.block)
        assert sample.image.shape == (recipe.block,) * 3
        inputs, target, weight = cut_patch(np.random.default_rng(n), sample, recipe)
        assert inputs.shape == (8, 32, 32)
        assert target.shape == weight.shape == (1, 32, 32)
        weights.append(weight)
    assert {0.0, 1.0} == set(np.unique(weights))
