from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from MRHarmonizationLib.core.errors import OperationCancelled, ResourceError, WeightsError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.backends import BackendOutOfMemory
from MRHarmonizationLib.inference.predictor import Limits, choose_limits, predict
from MRHarmonizationLib.inference.preparation import Conditioning
from MRHarmonizationLib.weights.card import InputContract

PLANES = InputContract(layout="planes-2.5d", planes=5, stride=8, ensemble=False, halo=8)
ENSEMBLE = InputContract(layout="planes-2.5d", planes=5, stride=8, ensemble=True, halo=8)
BLOCKS = InputContract(layout="volume-3d", planes=1, stride=8, halo=8)


def limits_of(contract: InputContract, batch: int, tile: int) -> Limits:
    return Limits(batch, (tile,) * (3 if contract.layout == "volume-3d" else 2))


CONTRACTS = pytest.mark.parametrize("contract", [PLANES, ENSEMBLE, BLOCKS], ids=["planes", "ensemble", "blocks"])


class SmoothingBackend:
    """Stands for a network: smooths the centre plane and adds the slice distance; counts, and can run out of memory."""

    name, device = "onnxruntime", "cpu"

    def __init__(self, voxels_that_fit: int | None = None) -> None:
        self.voxels_that_fit = voxels_that_fit
        self.shapes: list[tuple[int, ...]] = []

    def run(self, batch: np.ndarray) -> np.ndarray:
        assert batch.dtype == np.float32
        assert batch.flags.c_contiguous
        self.shapes.append(batch.shape)
        if self.voxels_that_fit is not None and batch[:, 0].size > self.voxels_that_fit:
            raise BackendOutOfMemory("no more")
        centre = (batch.shape[1] - 3) // 2
        window = (1, *(5 for _ in batch.shape[2:]))
        smooth = ndimage.uniform_filter(batch[:, centre], window, mode="constant")
        return (smooth + batch[:, -3])[:, None]


def scan(shape=(37, 50, 45), seed=0) -> tuple[np.ndarray, Conditioning]:
    rng = np.random.default_rng(seed)
    array = rng.normal(size=shape).astype(np.float32)
    array.setflags(write=False)
    return array, Conditioning(np.abs(rng.normal(size=shape[0])).astype(np.float32), 5.0, 1.5)


@CONTRACTS
def test_the_result_does_not_depend_on_batch_and_tile(contract):
    array, condition = scan()
    whole = predict(array, condition, contract, SmoothingBackend(), limits=limits_of(contract, 64, 64))
    assert whole.shape == array.shape
    assert whole.dtype == np.float32
    for batch, tile in ((1, 64), (3, 24), (7, 32)):
        tiled = SmoothingBackend()
        result = predict(array, condition, contract, tiled, limits=limits_of(contract, batch, tile))
        np.testing.assert_allclose(result, whole, atol=1e-5)
        assert max(max(shape[2:]) for shape in tiled.shapes) <= tile


def test_planes_are_predicted_at_their_own_place():
    array, condition = scan()
    change = predict(array, condition, PLANES, SmoothingBackend())
    padded = np.pad(array[:, :, 11], ((0, 3), (0, 6)), mode="reflect")
    expected = ndimage.uniform_filter(padded, 5, mode="constant")[:37, :50] + condition.slice_distance_mm[:, None] / 4
    np.testing.assert_allclose(change[:, :, 11], expected, atol=1e-5)


def test_the_ensemble_is_the_mean_of_both_in_plane_directions():
    array, condition = scan()
    along_b = predict(array, condition, PLANES, SmoothingBackend())
    turned = predict(np.ascontiguousarray(array.swapaxes(1, 2)), condition, PLANES, SmoothingBackend()).swapaxes(1, 2)
    both = predict(array, condition, ENSEMBLE, SmoothingBackend())
    np.testing.assert_allclose(both, (along_b + turned) / 2, atol=1e-6)


def test_blocks_carry_the_conditioning_of_their_own_rows():
    array, condition = scan()
    change = predict(array * 0, condition, BLOCKS, SmoothingBackend(), limits=limits_of(BLOCKS, 1, 24))
    expected = np.broadcast_to(condition.slice_distance_mm[:, None, None] / 4, array.shape)
    np.testing.assert_allclose(change, expected, atol=1e-5)


@CONTRACTS
@pytest.mark.parametrize("shape", [(2, 2, 2), (1, 9, 3), (3, 17, 100), (65, 8, 7)])
def test_odd_and_tiny_shapes_are_padded_and_cropped(contract, shape):
    array, condition = scan(shape)
    backend = SmoothingBackend()
    assert predict(array, condition, contract, backend).shape == shape
    assert all(size % contract.stride == 0 for seen in backend.shapes for size in seen[2:])


@CONTRACTS
@pytest.mark.parametrize("voxels_that_fit", [24**3, 40 * 56, 24 * 24])
def test_out_of_memory_is_retried_with_less_and_gives_the_same(contract, voxels_that_fit):
    array, condition = scan()
    if contract is BLOCKS:
        voxels_that_fit = max(voxels_that_fit, 24**3)
    whole = predict(array, condition, contract, SmoothingBackend(), limits=limits_of(contract, 16, 64))
    small = SmoothingBackend(voxels_that_fit)
    result = predict(array, condition, contract, small, limits=limits_of(contract, 16, 64))
    np.testing.assert_allclose(result, whole, atol=1e-5)


@CONTRACTS
def test_out_of_memory_at_the_smallest_size_ends_in_a_remedy(contract):
    array, condition = scan()
    backend = SmoothingBackend(voxels_that_fit=0)
    with pytest.raises(ResourceError, match="crop the scan") as caught:
        predict(array, condition, contract, backend)
    assert caught.value.exit_code == 7
    assert len(backend.shapes) < 20


def test_memory_errors_of_numpy_count_as_out_of_memory(monkeypatch):
    class Failing(SmoothingBackend):
        def run(self, batch):
            if batch.shape[0] > 2:
                raise MemoryError("numpy")
            return super().run(batch)

    array, condition = scan()
    expected = predict(array, condition, PLANES, SmoothingBackend())
    np.testing.assert_allclose(predict(array, condition, PLANES, Failing()), expected, atol=1e-5)


@CONTRACTS
def test_progress_rises_to_one_and_cancellation_stops_between_tiles(contract):
    array, condition = scan()
    seen: list[float] = []
    limits = limits_of(contract, 1, 32)
    predict(array, condition, contract, SmoothingBackend(), Progress(lambda fraction, _: seen.append(fraction)), limits)
    assert seen == sorted(seen)
    assert seen[-1] == pytest.approx(1.0)
    assert len(seen) > 5

    backend = SmoothingBackend()
    progress = Progress(lambda fraction, _: progress.cancel() if fraction > 0.3 else None)
    with pytest.raises(OperationCancelled):
        predict(array, condition, contract, backend, progress, limits)
    whole = SmoothingBackend()
    predict(array, condition, contract, whole, limits=limits)
    assert 0 < len(backend.shapes) < len(whole.shapes)


def test_a_network_with_another_output_shape_is_refused():
    class TwoChannels(SmoothingBackend):
        def run(self, batch):
            return np.repeat(super().run(batch), 2, axis=1)

    array, condition = scan()
    with pytest.raises(WeightsError, match="returned shape"):
        predict(array, condition, PLANES, TwoChannels())


@CONTRACTS
@pytest.mark.parametrize("budget", [20_000_000, 200_000_000, 800_000_000, 80_000_000_000])
def test_limits_fit_the_budget_and_use_it(contract, budget):
    limits = choose_limits((184, 224, 184), contract, "cpu", budget)
    used = limits.voxels * contract.activation_bytes
    assert used <= budget
    everything = limits.tile in ((184, 224), (184, 224, 184)) and limits.batch in (1, 4)
    assert everything or used > budget / 3


def test_blocks_are_cut_along_the_longest_edge_only_as_often_as_needed():
    two_pieces = choose_limits((184, 224, 184), BLOCKS, "cpu", 184 * 184 * 130 * BLOCKS.activation_bytes)
    assert two_pieces.tile == (184, 120, 184)


@CONTRACTS
def test_limits_never_fall_below_what_tiling_accepts(contract):
    limits = choose_limits((184, 224, 184), contract, "cpu", 1)
    assert set(limits.tile) == {24}
    assert limits.batch == 1
    assert limits.smaller(contract) is None
