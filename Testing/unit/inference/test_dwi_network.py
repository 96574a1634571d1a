"""The trained harmoniser: the same for every volume, whatever units, axes and number of volumes the scan has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.diffusion_scan import brain_scan, labels

from MRHarmonizationLib.core.diffusion_tone import FEATURES
from MRHarmonizationLib.core.errors import InputError, ModelNotFoundError, ParameterError, WeightsError
from MRHarmonizationLib.core.guided_filters import PER_PASS
from MRHarmonizationLib.inference import dwi_network
from MRHarmonizationLib.inference.dwi_network import (
    TASK,
    NetworkHarmonizer,
    NetworkOperator,
    describe_scan,
    find_network,
    prepare_network,
    run_filters,
    tone_of,
)
from MRHarmonizationLib.inference.harmonize_dwi import HarmonizeDwiRequest, harmonize_dwi
from MRHarmonizationLib.methods.dwi_target import load_target
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.weights.store import list_models

CARD = next(iter(list_models(TASK)))
BRAIN = labels() > 0
AXES = np.diag([1.75, 1.75, 2.0, 1.0])


def canonical_scan(gain: float = 1.0) -> DwiVolume:
    """A scan on voxels of the canonical size, slices from bottom to top."""
    scan = brain_scan(12, gain=gain)
    return DwiVolume(scan.array, Grid(scan.grid.shape, AXES), scan.b_values_s_per_mm2, scan.gradients_ras, "scan")


def operator(scan: DwiVolume, acquired: Grid | None = None) -> NetworkOperator:
    return prepare_network(scan, BRAIN, acquired or scan.grid, CARD)


class Filters:
    """Stands for the network where the filters it returns must be known."""

    name, device = "known", "cpu"

    def __init__(self, channels: int = PER_PASS) -> None:
        self.channels, self.calls = channels, 0

    def run(self, batch: np.ndarray) -> np.ndarray:
        self.calls += 1
        first = np.tanh(batch[:, :1] - 1.0) * 0.1  # a function of the voxel alone
        return np.repeat(first, self.channels, axis=1)


def test_white_matter_gets_the_targets_level_and_units_do_not_matter():
    scan, other = canonical_scan(), canonical_scan(gain=90.0)
    done = [operator(s).apply(s.array[..., 0], 0) for s in (scan, other)]
    np.testing.assert_allclose(done[0], done[1], rtol=2e-3, atol=0.5)
    white = float(np.median(done[0][labels() == 1]))
    assert white == pytest.approx(float(CARD.extra["unit"]), rel=0.1)


def test_every_volume_gets_the_same_operator():
    scan = canonical_scan()
    prepared = operator(scan)
    assert prepared.weights is not None
    both = prepared.apply(scan.array[..., 2] + scan.array[..., 5], 0)
    apart = prepared.apply(scan.array[..., 2], 2) + prepared.apply(scan.array[..., 5], 5)
    inner = apart > 30.0  # where nothing was cut at 0
    np.testing.assert_allclose(both[inner], apart[inner], rtol=1e-3, atol=0.3)


def test_order_and_number_of_axes_do_not_matter():
    scan = canonical_scan()
    turned = DwiVolume(
        np.ascontiguousarray(np.transpose(scan.array, (2, 0, 1, 3))[:, ::-1]),
        Grid(
            (scan.grid.shape[2], scan.grid.shape[0], scan.grid.shape[1]),
            AXES[:, [1, 2, 0, 3]] * np.array([1, -1, 1, 1]) + _origin((0, 0, 2.0 * (scan.grid.shape[0] - 1))),
        ),
        scan.b_values_s_per_mm2,
        scan.gradients_ras,
        "turned",
    )
    mask = np.ascontiguousarray(np.transpose(BRAIN, (2, 0, 1))[:, ::-1])
    other = prepare_network(turned, mask, turned.grid, CARD).apply(turned.array[..., 3], 3)
    back = np.transpose(other[:, ::-1], (1, 2, 0))
    np.testing.assert_allclose(back, operator(scan).apply(scan.array[..., 3], 3), rtol=2e-3, atol=0.5)


def _origin(place: tuple[float, float, float]) -> np.ndarray:
    shift = np.zeros((4, 4))
    shift[:3, 3] = place
    return shift


def test_own_voxels_are_not_sharpened_and_that_is_said():
    scan = brain_scan(12)
    prepared = operator(scan)
    assert prepared.weights is None
    assert any("nothing was sharpened" in note for note in prepared.notes)
    np.testing.assert_array_equal(prepared.apply(scan.array[..., 4], 4), scan.array[..., 4] * prepared.gain)


def test_acquired_voxels_are_told_to_the_network():
    scan = canonical_scan()
    thick = operator(scan, Grid(scan.grid.shape, np.diag([2.5, 2.5, 5.0, 1.0])))
    assert not np.allclose(thick.weights, operator(scan).weights)


def test_large_brains_are_worked_on_in_tiles(monkeypatch: pytest.MonkeyPatch):
    inputs = np.random.default_rng(0).uniform(0, 2, (5, 20, 90, 24)).astype(np.float32)
    card = replace(CARD, input=replace(CARD.input, halo=8))
    whole, tiled = Filters(), Filters()
    reference = run_filters(whole, inputs, card)
    monkeypatch.setattr(dwi_network, "TILE", 40)
    np.testing.assert_allclose(run_filters(tiled, inputs, card), reference, atol=1e-6)
    assert whole.calls == 1 < tiled.calls


def test_a_network_that_returns_something_else_is_refused():
    with pytest.raises(WeightsError, match="returned shape"):
        run_filters(Filters(PER_PASS + 1), np.zeros((5, 8, 8, 8), np.float32), CARD)


def test_scans_unlike_the_taught_ones_are_pointed_out():
    contrast, _ = describe_scan(canonical_scan(), BRAIN, 30.0, 1.75)
    _, notes = tone_of(contrast, CARD.extra["tone"])
    assert any("slice spacing 30.00" in note for note in notes)
    inside = np.array(CARD.extra["tone"]["mean"], float)
    _, none = tone_of(replace(contrast, features=inside), CARD.extra["tone"])
    assert none == ()
    assert len(FEATURES) == len(inside)


def test_too_few_directions_are_refused():
    scan = canonical_scan()
    few = DwiVolume(scan.array[..., :5], scan.grid, scan.b_values_s_per_mm2[:5], scan.gradients_ras[:5], "few")
    with pytest.raises(InputError, match="too few directions"):
        operator(few)


def test_other_targets_need_another_method():
    with pytest.raises(ModelNotFoundError, match="choose another method"):
        find_network("our-scanner")
    with pytest.raises(ParameterError, match="trained for target 'canonical'"):
        NetworkHarmonizer.fit(replace(load_target("canonical"), id="our-scanner"), CARD.id)


def test_other_weights_than_fitted_are_noticed():
    fitted = replace(NetworkHarmonizer.fit(load_target("canonical")), weights_sha256="0" * 64)
    with pytest.raises(WeightsError, match="other weights"):
        fitted.prepare(canonical_scan(), BRAIN)


def test_the_contrast_is_kept_where_sharpening_is_held_back(monkeypatch: pytest.MonkeyPatch):
    scan = canonical_scan()
    monkeypatch.setattr(dwi_network, "_backend", lambda *_: Filters())
    request = HarmonizeDwiRequest("network", noise="none")
    free = harmonize_dwi(scan, replace(request, enforce_safety=False))
    held = harmonize_dwi(scan, replace(request, max_fa_change=1e-3, max_md_change_percent=0.2))
    assert held.spatial_strength < 1.0 == held.strength_used == free.spatial_strength
    assert any("the contrast is harmonised as asked for" in said for said in held.warnings)
    gained = scan.array[..., 0] * held.gain.array
    mixed = gained + np.float32(held.spatial_strength) * (free.dwi.array[..., 0] - gained)
    np.testing.assert_allclose(held.dwi.array[..., 0], mixed, rtol=1e-4, atol=1e-2)
    assert all(row.holds for row in held.table)


def test_the_result_names_model_and_weights():
    record = harmonize_dwi(canonical_scan(), HarmonizeDwiRequest("network", noise="none")).provenance
    assert (record.model_id, record.model_version) == (CARD.id, CARD.version)
    assert record.weights_sha256 == CARD.weights.sha256
    assert record.backend == "onnxruntime"


def test_scans_of_different_contrast_come_closer():
    """What the features say matters: tissue ratios differ less after the gain than before."""
    tissue = labels()
    ratios = []
    for tissues in ((300.0, 360.0, 600.0), (300.0, 480.0, 1100.0)):
        scan = brain_scan(12, tissues=tissues)
        b0 = scan.array[..., 0]
        for image in (b0, operator(scan).apply(b0, 0)):
            white, grey, fluid = (float(np.median(image[tissue == n])) for n in (1, 2, 3))
            ratios.append((grey / white, fluid / white))
    before, after = (np.abs(np.log(np.array(ratios[n]) / np.array(ratios[n + 2]))) for n in (0, 1))
    assert np.all(after < 0.8 * before)
