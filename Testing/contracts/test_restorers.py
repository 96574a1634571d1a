"""What every restorer must keep: driven by the store, so a new card is tested the day it is added."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tiny_models import write_tiny_restorer

from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.degradations.noise_blur import NoiseBlur, NoiseBlurParameters
from MRHarmonizationLib.inference.backends import choose_backend
from MRHarmonizationLib.inference.predictor import Limits, predict_planes
from MRHarmonizationLib.inference.restore import RestoreRequest, blend, restore
from MRHarmonizationLib.inference.restore_input import restore_channels
from MRHarmonizationLib.inference.restore_parts import assess, split
from MRHarmonizationLib.metrics.base import METRICS, default_data_range
from MRHarmonizationLib.volumes.orientation import AxisOrder
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights import store
from MRHarmonizationLib.weights.card import Card, read_card
from MRHarmonizationLib.weights.store import get_model, verify

PACKAGE_FOLDER = Path(store.__file__).parent
SHIPPED = sorted(path.stem for path in PACKAGE_FOLDER.glob("*.json") if read_card(path).task == "restore")
TINY = "tiny-restorer"
LARGEST_FILE = 12_000_000


@pytest.fixture(params=[*SHIPPED, TINY])
def card(request, tmp_path, own_home, monkeypatch) -> Card:
    if request.param == TINY:
        pytest.importorskip("onnx")
        write_tiny_restorer(tmp_path, TINY)
        monkeypatch.setenv(store.FOLDERS_VARIABLE, str(tmp_path))
    return get_model(request.param)


@pytest.fixture(scope="module")
def scan(head_phantom) -> Volume:
    """The phantom with 6 % noise."""
    part = Volume(head_phantom.array[8:36], head_phantom.grid.crop((8, 0, 0), (28, 56, 48)), "scan")
    return NoiseBlur.apply(part, NoiseBlurParameters(noise_percent=6.0, seed=2))


def request_of(card: Card, denoise: float, sharpen: float) -> RestoreRequest:
    return RestoreRequest(denoise, sharpen, model=card.id, backend="onnxruntime", device="cpu", measure=False)


def test_weights_are_what_the_card_says(card):
    assert verify(card).stat().st_size < LARGEST_FILE
    assert card.limitations
    assert card.input.input_channels == card.input.planes + 2


def test_strengths_of_zero_are_the_identity(card, scan):
    assert np.array_equal(restore(scan, request_of(card, 0.0, 0.0)).volume.array, scan.array)


def test_scan_is_not_changed_and_grid_kept(card, scan):
    before = scan.array.copy()
    done = restore(scan, request_of(card, 1.0, 1.0))
    assert np.array_equal(scan.array, before)
    np.testing.assert_array_equal(done.volume.grid.affine, scan.grid.affine)
    assert np.all(np.isfinite(done.volume.array))


def test_storage_does_not_matter(card, scan):
    order = AxisOrder((1, 2, 0), (False, True, True))
    turned = Volume(order.apply(scan.array), order.apply_grid(scan.grid), "scan")
    straight = restore(scan, request_of(card, 1.0, 1.0)).volume.array
    again = order.undo(restore(turned, request_of(card, 1.0, 1.0)).volume.array)
    assert np.abs(again - straight).max() < 2e-3 * np.ptp(scan.array)


def test_units_do_not_matter(card, scan):
    straight = restore(scan, request_of(card, 1.0, 1.0)).volume.array
    scaled = restore(scan.with_array(scan.array * np.float32(0.01)), request_of(card, 1.0, 1.0)).volume.array
    assert np.abs(scaled * 100 - straight).max() < 2e-3 * np.ptp(scan.array)


def test_tiles_do_not_show(card):
    rng = np.random.default_rng(1)
    edge = 2 * (card.input.halo + 4 * card.input.stride) // card.input.stride * card.input.stride
    array = rng.random((edge, edge, 3), dtype=np.float32)
    backend = choose_backend(card, "onnxruntime", "cpu")

    def told(indices: np.ndarray, padded: tuple[int, int]) -> np.ndarray:
        return restore_channels(np.full(padded, 0.05, np.float32), 1.5)

    def run(tile: int) -> np.ndarray:
        return predict_planes(array, 2, told, card.input, backend, Progress(), Limits(1, (tile, tile)), 2, [1])

    assert np.abs(run(edge) - run(edge - card.input.stride)).max() < 1e-3


@pytest.mark.parametrize("name", SHIPPED)
def test_sliders_work_one_way_only(name, scan):
    card = get_model(name)
    parts = split(scan, assess(scan, card), card, choose_backend(card, "onnxruntime", "cpu"))
    spacing = (1.0, 1.0, 1.0)
    span = default_data_range(scan.array)

    def measured(metric: str, denoise: float, sharpen: float) -> float:
        array = blend(scan.array, parts, denoise, sharpen)
        return METRICS.get(metric)(array, data_range=span, spacing_mm=spacing).value

    steps = np.linspace(0, 1, 5)
    only = card.architecture.parameters.get("part")  # a specialist finds one of the two, and nothing of the other
    if only != "detail":
        assert np.all(np.diff([measured("noise", d, 0.0) for d in steps]) < 0)
        assert measured("noise", 1.0, 0.0) < 0.5 * measured("noise", 0.0, 0.0)
    assert np.all(np.diff([measured("sharpness", 1.0, s) for s in steps]) >= 0)
    if only is not None:
        assert not np.any(parts.detail if only == "noise" else parts.noise)
