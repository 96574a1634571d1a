"""What every segmenter must keep: driven by the store, so a new card is tested the day it is added.

A tiny network of the real architecture, with random weights, goes through the same tests.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from tiny_models import card_dict

from MRHarmonizationLib.core.brain_regions import CLASS_NUMBERS, REGIONS
from MRHarmonizationLib.inference.backends import choose_backend
from MRHarmonizationLib.inference.region_input import CHANNELS
from MRHarmonizationLib.inference.segment import LAYOUT, SegmentRequest, SegmentResult, segment, segmenter
from MRHarmonizationLib.volumes.grid import same_grid
from MRHarmonizationLib.volumes.orientation import AxisOrder
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights import store
from MRHarmonizationLib.weights.card import Card, read_card
from MRHarmonizationLib.weights.store import verify

PACKAGE_FOLDER = Path(store.__file__).parent
SHIPPED = sorted(path.stem for path in PACKAGE_FOLDER.glob("*.json") if read_card(path).task == "segment")
TINY = "tiny-regions"
LARGEST_FILE = 12_000_000


@pytest.fixture(scope="session")
def tiny_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a network of the architecture that is published, of few features."""
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("onnx")
    from MRHarmonizationLib.models.region_unet import RegionUNet

    folder = tmp_path_factory.mktemp("segmenter")
    torch.manual_seed(4)
    network = RegionUNet(features=(4, 6), hidden=8).eval()
    path = folder / f"{TINY}.onnx"
    axes = ("slices", "rows", "columns")
    torch.onnx.export(
        network,
        (torch.rand(1, len(CHANNELS), 8, 12, 8),),
        str(path),
        input_names=["scan"],
        output_names=["probabilities"],
        dynamic_axes={name: dict(enumerate(axes, 2)) for name in ("scan", "probabilities")},
        dynamo=False,
    )
    content = path.read_bytes()
    contract = {"layout": LAYOUT, "planes": 1, "channels": list(CHANNELS), "stride": network.stride, "ensemble": False}
    contract["spacing_mm"] = 2.0
    output = {"residual": False, "channels": [str(number) for number in CLASS_NUMBERS]}
    card = card_dict(content, TINY, "volume-3d", input=contract, task="segment", output=output)
    torch.save(network.state_dict(), folder / f"{TINY}.pt")
    state = (folder / f"{TINY}.pt").read_bytes()
    card["checkpoint"] = {"file": f"{TINY}.pt", "sha256": hashlib.sha256(state).hexdigest(), "bytes": len(state)}
    card["architecture"] = {"name": "region_unet", "parameters": {"features": [4, 6], "hidden": 8}}
    (folder / f"{TINY}.json").write_text(json.dumps(card), encoding="utf-8")
    return folder


@pytest.fixture(params=[*SHIPPED, TINY])
def card(request: pytest.FixtureRequest, own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Card:
    if request.param == TINY:
        monkeypatch.setenv(store.FOLDERS_VARIABLE, str(request.getfixturevalue("tiny_folder")))
    return segmenter(request.param)


@pytest.fixture(scope="module")
def scan(head_phantom: Volume) -> Volume:
    """The phantom in slices of 2.4 mm: its voxels lie between those of the network."""
    return resample(head_phantom, head_phantom.grid.with_spacing((1.0, 1.3, 2.4)))


def request_of(card: Card, volume: Volume, backend: str = "onnxruntime") -> SegmentRequest:
    return SegmentRequest(volume, card.id, device="cpu", backend=backend)


@pytest.fixture(scope="module")
def known() -> dict[str, SegmentResult]:
    """What each model found in the scan: the tests hold other runs against it."""
    return {}


@pytest.fixture
def plain(card: Card, scan: Volume, known: dict[str, SegmentResult]) -> SegmentResult:
    """The scan segmented, once for all tests of a model; the scan is not changed."""
    if card.id not in known:
        before = scan.array.copy()
        known[card.id] = segment(request_of(card, scan))
        np.testing.assert_array_equal(scan.array, before)
        known[card.id].labels.array.flags.writeable = False
    return known[card.id]


def test_weights_are_what_the_card_says(card: Card):
    assert verify(card).stat().st_size < LARGEST_FILE
    assert card.limitations
    assert card.input.channels == CHANNELS
    assert not card.output.residual


def test_every_voxel_is_background_or_a_structure(card: Card, scan: Volume, plain: SegmentResult):
    assert plain.labels.array.dtype == np.int16
    assert same_grid(plain.labels.grid, scan.grid)
    assert np.isin(plain.labels.array, CLASS_NUMBERS).all()
    assert set(plain.volumes_mm3) == {region.number for region in REGIONS}
    assert all(volume >= 0 for volume in plain.volumes_mm3.values())
    again = segment(request_of(card, scan))
    np.testing.assert_array_equal(again.labels.array, plain.labels.array)


@pytest.mark.parametrize("order", [((0, 1, 2), (True, False, True)), ((1, 2, 0), (False, True, True))])
def test_storage_does_not_matter(card: Card, scan: Volume, plain: SegmentResult, order: tuple):
    moved = AxisOrder(*order)
    other = Volume(moved.apply(scan.array), moved.apply_grid(scan.grid), "other")
    second = segment(request_of(card, other))
    np.testing.assert_array_equal(second.labels.array, moved.apply(plain.labels.array))
    assert dict(second.volumes_mm3) == dict(plain.volumes_mm3)


def test_units_of_intensity_do_not_matter(card: Card, scan: Volume, plain: SegmentResult):
    scaled = scan.with_array((scan.array * 0.125 + 4.0).astype(np.float32))
    second = segment(request_of(card, scaled)).labels.array
    assert np.mean(plain.labels.array == second) > 0.999


def test_torch_gives_the_same_answer(card: Card, scan: Volume, plain: SegmentResult):
    if card.checkpoint is None:
        pytest.skip(f"model '{card.id}' has no checkpoint")
    second = segment(request_of(card, scan, "torch"))
    assert second.provenance.backend == "torch"
    assert np.mean(plain.labels.array == second.labels.array) > 0.999


def test_any_size_in_whole_strides_is_answered(card: Card):
    backend = choose_backend(card, "onnxruntime", "cpu")
    stride = card.input.stride
    for sizes in ((2, 3, 2), (4, 2, 3)):
        block = np.random.default_rng(1).random(
            (1, card.input.input_channels, *(stride * n for n in sizes)), np.float32
        )
        answer = backend.run(block)
        assert answer.shape == (1, CLASS_NUMBERS.size, *block.shape[2:])
        assert answer.min() >= 0
        np.testing.assert_allclose(answer.sum(axis=1), 1.0, atol=1e-4)
