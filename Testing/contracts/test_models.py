"""What every model must keep: driven by the store, so a new card is tested the day it is added.

Two networks of random weights, one per layout, go through the same tests: they hold for the machinery itself.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tiny_models import write_tiny_model

from MRHarmonizationLib.core.tiling import padded_size, smallest_tile
from MRHarmonizationLib.inference.backends import choose_backend
from MRHarmonizationLib.inference.enhance import EnhanceRequest, EnhanceResult, enhance
from MRHarmonizationLib.inference.predictor import Limits, predict
from MRHarmonizationLib.inference.preparation import prepare
from MRHarmonizationLib.inference.undo import undo
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.orientation import AxisOrder
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights import store
from MRHarmonizationLib.weights.card import Card, read_card
from MRHarmonizationLib.weights.store import get_model, verify

PACKAGE_FOLDER = Path(store.__file__).parent
SHIPPED = sorted(path.stem for path in PACKAGE_FOLDER.glob("*.json"))
#: Those that this file runs; other tasks have contracts of their own.
ENHANCERS = [name for name in SHIPPED if read_card(PACKAGE_FOLDER / f"{name}.json").task == "enhance"]
TINY = {"tiny-planes": "planes-2.5d", "tiny-blocks": "volume-3d"}

TILING_TOLERANCE = 1e-3
"""Largest difference between tiled and whole, in normalised intensity."""
STORAGE_TOLERANCE = 2e-3
"""Largest difference between storages of one scan, as a part of its intensity range."""
OVERSHOOT = 0.25
"""How far a result may leave the input's range, as a part of that range."""


@pytest.fixture(params=[*ENHANCERS, *TINY])
def card(request, tmp_path, own_home, monkeypatch) -> Card:
    if request.param in TINY:
        write_tiny_model(tmp_path, request.param, TINY[request.param])
        monkeypatch.setenv(store.FOLDERS_VARIABLE, str(tmp_path))
    return get_model(request.param)


@pytest.fixture(scope="module")
def scan(head_phantom) -> Volume:
    """The middle of the phantom in 5 mm slices, flipped and permuted storage."""
    middle = tuple(slice(first, last) for first, last in ((6, 40), (6, 50), (8, 44)))
    part = Volume(head_phantom.array[middle], head_phantom.grid.crop((6, 6, 8), (34, 44, 36)), "part")
    coarse = resample(part, part.grid.with_spacing((1.6, 1.6, 5.0)))
    return stored(coarse, AxisOrder((1, 2, 0), (True, False, True)))


def stored(volume: Volume, order: AxisOrder) -> Volume:
    """The same scan, its axes stored in another order."""
    return Volume(order.apply(volume.array), order.apply_grid(volume.grid), volume.name)


def run(card: Card, volume: Volume, **changes) -> EnhanceResult:
    return enhance(volume, EnhanceRequest(card.id, device="cpu", measure=False, **changes))


@pytest.fixture(scope="module")
def known() -> dict[str, EnhanceResult]:
    """What each model made of the scan: the tests hold other runs against it."""
    return {}


@pytest.fixture
def plain(card: Card, scan: Volume, known: dict[str, EnhanceResult]) -> EnhanceResult:
    """The scan enhanced, once for all tests of a model."""
    if card.id not in known:
        known[card.id] = run(card, scan)
        for volume in (known[card.id].volume, known[card.id].baseline):
            volume.array.flags.writeable = False
    return known[card.id]


def test_a_model_for_low_field_scans_is_shipped():
    assert "lowfield" in SHIPPED


@pytest.mark.parametrize("model_id", SHIPPED)
def test_a_shipped_card_says_what_a_user_must_know(model_id):
    card = read_card(PACKAGE_FOLDER / f"{model_id}.json")
    assert card.id == model_id
    for name in ("title", "version", "summary", "licence", "trained_on", "recipe", "recipe_sha256", "scores"):
        assert getattr(card, name), f"the card says nothing about {name}"
    assert card.limitations
    assert card.domain.modalities
    assert json.loads(json.dumps(card.to_dict()))


@pytest.mark.parametrize("path", sorted(PACKAGE_FOLDER.glob("*.onnx")), ids=lambda path: path.name)
def test_no_weight_file_is_shipped_without_a_card(path):
    cards = [read_card(card) for card in PACKAGE_FOLDER.glob("*.json")]
    assert path.name in {weights.file for card in cards for weights in card.weight_files}


@pytest.mark.parametrize("model_id", [*SHIPPED, *TINY])
def test_the_weights_verify_and_load(model_id, tmp_path, own_home, monkeypatch):
    if model_id in TINY:
        write_tiny_model(tmp_path, model_id, TINY[model_id])
        monkeypatch.setenv(store.FOLDERS_VARIABLE, str(tmp_path))
    card = get_model(model_id)
    for weights in card.weight_files:
        assert verify(card, weights).stat().st_size == weights.bytes
    assert choose_backend(card, device="cpu").device == "cpu"


@pytest.mark.parametrize("shape", [(3, 17, 23), (2, 2, 2), (31, 5, 9)], ids=str)
def test_odd_shapes_run(card, shape):
    array = np.random.default_rng(0).normal(300, 90, shape).astype(np.float32)
    grid = Grid.from_parts(shape, (1.3, 1.7, 4.4), (5.0, -3.0, 12.0))
    result = run(card, Volume(array, grid))
    assert same_grid(result.volume.grid, grid.isotropic(card.input.spacing_mm))
    assert np.isfinite(result.volume.array).all()


def test_the_result_is_deterministic(card, scan, plain):
    assert run(card, scan).volume.array.tobytes() == plain.volume.array.tobytes()


def test_the_result_does_not_depend_on_the_tiling(card):
    contract = replace(card.input, ensemble=False)
    stride, tile = contract.stride, smallest_tile(contract.halo, contract.stride)
    long = padded_size(tile + 2 * stride, stride) - 1
    shape = (2, long, long) if contract.layout == "planes-2.5d" else (long, padded_size(tile, stride) - 3, long)
    array = np.random.default_rng(0).normal(300, 90, shape).astype(np.float32)
    grid = Grid.from_parts(shape)
    prepared = prepare(Volume(array, grid), grid, contract.intensity)
    backend = choose_backend(card, device="cpu")

    def result(edge: int) -> np.ndarray:
        limits = Limits(2, (edge,) * (2 if contract.layout == "planes-2.5d" else 3))
        return predict(prepared.array, prepared.condition, contract, backend, limits=limits)

    np.testing.assert_allclose(result(tile), result(2 * long), atol=TILING_TOLERANCE, rtol=0)


def test_strength_zero_is_the_resampled_input(card, scan):
    result = run(card, scan, strength=0.0)
    np.testing.assert_array_equal(result.volume.array, result.baseline.array)


def test_the_network_changes_something_and_stays_in_the_intensity_range(plain):
    low, high = float(plain.baseline.array.min()), float(plain.baseline.array.max())
    assert not np.array_equal(plain.volume.array, plain.baseline.array)
    assert plain.volume.array.min() > low - OVERSHOOT * (high - low)
    assert plain.volume.array.max() < high + OVERSHOOT * (high - low)


def test_the_result_follows_the_intensity_units(card, scan, plain):
    scaled = Volume(scan.array.astype(np.float32) * 0.01 + 7, scan.grid)
    found, expected = run(card, scaled).volume.array, plain.volume.array
    np.testing.assert_allclose((found - 7) / 0.01, expected, atol=STORAGE_TOLERANCE * float(np.ptp(expected)))


@pytest.mark.parametrize(
    "order",
    [
        AxisOrder((0, 1, 2), (True, True, True)),
        AxisOrder((2, 0, 1), (False, True, False)),
        AxisOrder((1, 0, 2), (True, False, False)),
    ],
    ids=["flipped", "cycled", "swapped"],
)
def test_the_result_does_not_depend_on_how_the_scan_is_stored(card, scan, plain, order):
    expected = plain.volume
    found = run(card, stored(scan, order)).volume
    assert same_grid(found.grid, order.apply_grid(expected.grid))
    tolerance = STORAGE_TOLERANCE * float(np.ptp(expected.array))
    np.testing.assert_allclose(order.undo(found.array), expected.array, atol=tolerance)


def test_undo_is_bit_identical(card, scan):
    result = run(card, scan, keep_residual=True)
    assert result.residual is not None
    assert undo(result.volume, result.residual).array.tobytes() == result.baseline.array.tobytes()


def test_all_weight_files_of_a_card_give_the_same_result(card, scan, plain):
    if card.checkpoint is None:
        pytest.skip(f"model '{card.id}' has one weight file")
    pytest.importorskip("torch", reason="the checkpoint needs torch")
    onnx, torch = plain.volume.array, run(card, scan, backend="torch").volume.array
    np.testing.assert_allclose(onnx, torch, atol=TILING_TOLERANCE * float(np.ptp(onnx)))
