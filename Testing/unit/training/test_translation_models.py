"""From a recipe to a model that enhances: every shipped network trains, exports, and runs beside the others."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace

import numpy as np
import pytest
from support.heads import face_labels
from support.pairs import write_prepared

from MRHarmonizationLib import cli
from MRHarmonizationLib.inference.enhance import EnhanceRequest, enhance
from MRHarmonizationLib.training.recipe import TRANSLATION, Source, list_recipes, load_recipe
from MRHarmonizationLib.training.samples import draw_sample, load_sources
from MRHarmonizationLib.volumes.files import read_volume, write_volume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.card import read_card
from MRHarmonizationLib.weights.store import FOLDERS_VARIABLE

torch = pytest.importorskip("torch", reason="torch is not installed")

#: The same networks and judges, narrow enough for a test.
NARROW = {
    "unet": {"features": [4, 4, 6, 6]},
    "resnet_generator": {"width": 4, "blocks": 2},
    "lohires_generator": {"features": [4, 4, 6, 6], "blocks": [1, 1, 1, 2]},
    "cyclegan_pair": {"parameters": {"width": 4, "blocks": 2}},
}
STEPS = 30


def narrow(name: str, contrast: str):
    """A shipped recipe with narrow networks on a label map."""
    recipe = load_recipe(name, contrast)
    adversary = recipe.adversary
    return replace(
        recipe,
        architecture_parameters={**recipe.architecture_parameters, **NARROW[recipe.architecture]},
        adversary=adversary and replace(adversary, discriminator={"width": 4, "layers": 2}),
        sources=(Source("labels", ("head.nii.gz",), 1.0, contrast=contrast),),
        validation=(),
        block=40,
        optimisation=replace(recipe.optimisation, steps=STEPS, batch=2, patch=32, warmup_steps=2, learning_rate=2e-3),
    )


@pytest.fixture(scope="module")
def heads(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    write_volume(face_labels(1, (60, 70, 62), 1.0), folder / "head.nii.gz")
    return folder


@pytest.fixture(scope="module")
def buffers(heads):
    """Simulated scans by contrast."""
    found = {}
    for contrast in ("t1", "t2", "flair"):
        anatomies = load_sources(narrow("lohiresgan", contrast).sources, heads)
        found[contrast] = deque(draw_sample(np.random.default_rng(n), anatomies, 40) for n in range(3))
    return found


@pytest.mark.parametrize("name", list_recipes(TRANSLATION))
def test_every_shipped_recipe_learns(name, buffers):
    from MRHarmonizationLib.training.loop import build_state

    recipe, device = narrow(name, "t1"), torch.device("cpu")
    state = build_state(recipe, device)
    before = {key: value.clone() for key, value in state.network.state_dict().items()}
    # the same patches at every step: what one step takes away must not hide behind another draw
    losses = [state.advance(np.random.default_rng(5), buffers["t1"], recipe, device) for _ in range(STEPS)]
    assert state.step == STEPS
    assert np.isfinite(losses).all()
    assert np.mean(losses[-5:]) < 0.95 * np.mean(losses[:5])
    moved = {key for key, value in state.network.state_dict().items() if not torch.equal(value, before[key])}
    assert moved == before.keys()
    assert ("judge_loss" in state.judged()) == (recipe.adversary is not None)


@pytest.mark.parametrize(("contrast", "order"), [("t1", "fluid < grey < white"), ("t2", "white < grey < fluid")])
def test_label_maps_look_like_the_contrast_of_the_recipe(contrast, order, heads):
    from MRHarmonizationLib.degradations.label_images import render_label_image
    from MRHarmonizationLib.training.samples import sample_look

    labels = np.rint(read_volume(heads / "head.nii.gz").array).astype(int)
    for seed in range(6):
        image = render_label_image(labels, sample_look(np.random.default_rng(seed), labels, contrast))
        means = {
            "white": image[labels == 2].mean(),
            "grey": image[labels == 3].mean(),
            "fluid": image[labels == 4].mean(),
        }
        assert " < ".join(sorted(means, key=lambda tissue: means[tissue])) == order


@pytest.mark.parametrize("name", list_recipes(TRANSLATION))
def test_every_shipped_network_exports_with_a_card_that_holds(name, tmp_path):
    pytest.importorskip("onnx", reason="onnx is not installed")
    from MRHarmonizationLib.training.checkpoint import save_weights
    from MRHarmonizationLib.training.export import publish
    from MRHarmonizationLib.training.loop import build_state

    recipe = narrow(name, "flair")
    state = build_state(recipe, torch.device("cpu"))
    save_weights(tmp_path / "best.pt", state.network)
    weights, path = publish(recipe, tmp_path / "best.pt", tmp_path)
    card = read_card(path)
    assert (card.id, card.task) == (f"{name}-flair", "enhance")
    assert card.input.planes == recipe.planes
    assert card.input.input_channels == recipe.architecture_parameters["in_channels"]
    assert (card.input.stride, card.input.halo % card.input.stride) == (state.network.stride, 0)
    used = state.network.to_high if name == "lohires-cyclegan" else state.network
    assert weights.stat().st_size < 4 * sum(p.numel() for p in used.parameters()) + 60_000
    assert not list(tmp_path.glob(".mrh-part-*"))


def test_own_pairs_become_a_model_that_enhances(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnx", reason="onnx is not installed")
    pairs = write_prepared(tmp_path / "pairs")
    file = tmp_path / "mine.json"
    changes = {"steps": 60, "batch": 2, "patch": 32, "buffer": 3, "learning_rate": 0.003, "warmup_steps": 2}
    parameters = {"in_channels": 8, "planes": 5, **NARROW["lohires_generator"]}
    judge = {"mode": "gan", "pixel_weight": 30.0, "discriminator": {"width": 4, "layers": 2}}
    values = {"extends": "lohiresgan", "id": "mine", "block": 36, "architecture_parameters": parameters}
    file.write_text(json.dumps({**values, "adversary": judge, "optimisation": changes}))
    out = tmp_path / "run"
    with pytest.raises(SystemExit) as end:
        cli.main(["train", str(file), "--pairs", str(pairs), "--out", str(out), "--device", "cpu", "--jsonl"])
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert not end.value.code, events[-1]
    assert events[-1]["recipe"] == "mine-t1-own"
    monkeypatch.setenv(FOLDERS_VARIABLE, str(out))
    card = read_card(out / "mine-t1-own.json")
    assert card.trained_on[0]["files"] == ["pairs/s0", "pairs/s1"]
    low, high = (read_volume(pairs / "pairs" / "s2" / name) for name in ("low.nii.gz", "high.nii.gz"))
    result = enhance(low, EnhanceRequest("mine-t1-own", device="cpu", measure=False))
    assert np.isfinite(result.volume.array).all()
    assert not np.array_equal(result.volume.array, result.baseline.array)
    inside = high.array > 0.1
    errors = [np.abs(v.array - high.array)[inside].mean() for v in (result.baseline, result.volume)]
    assert errors[1] < errors[0]
    thick = Volume(low.array[:, :, ::4], Grid.from_parts((40, 40, 10), (4.0, 1.0, 1.0)))
    assert enhance(thick, EnhanceRequest("mine-t1-own", device="cpu", measure=False)).volume.grid.shape == (40, 40, 40)
