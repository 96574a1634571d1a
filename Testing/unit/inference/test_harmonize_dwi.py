"""Harmonisation of diffusion scans: what stays, what changes, strength, safety, and what is refused."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
from support.diffusion_scan import brain_scan, labels

from MRHarmonizationLib.core.errors import (
    GridMismatchError,
    InputError,
    OperationCancelled,
    ParameterError,
)
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.dwi_request import canonical_spacing_mm
from MRHarmonizationLib.inference.dwi_work import LEAST_STRENGTH, gain_warnings
from MRHarmonizationLib.inference.harmonize_dwi import HarmonizeDwiRequest, harmonize_dwi
from MRHarmonizationLib.inference.provenance import Provenance
from MRHarmonizationLib.inference.undo_series import undo_series
from MRHarmonizationLib.methods.dwi_harmonizers.base import FittedDwiHarmonizer
from MRHarmonizationLib.methods.dwi_target import load_target
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.volume import Volume

QUIET = HarmonizeDwiRequest("b0_histogram", noise="none")
BRAIN = labels() > 0


@dataclass(frozen=True, eq=False)
class Crooked(FittedDwiHarmonizer):
    """Weighted volumes times a factor of their own: what a harmoniser must not do. Linear in the strength."""

    method: ClassVar[str] = "global_scaling"
    share: float = 0.8

    def prepare(self, dwi: DwiVolume, mask: np.ndarray, acquired: Grid | None = None):
        return CrookedOperator(np.where(dwi.is_b0, 1.0, self.share))


class CrookedOperator:
    def __init__(self, factors: np.ndarray) -> None:
        self._factors = factors

    def apply(self, image: np.ndarray, index: int) -> np.ndarray:
        return (image * self._factors[index]).astype(np.float32)


def scan(**changes) -> DwiVolume:
    return brain_scan(15, **({"noise": 4.0, "gain": 50.0} | changes))


def of_tissue(result, tissue: str, measure: str):
    return next(row for row in result.table if (row.tissue, row.measure) == (tissue, measure))


# --- what stays and what changes --------------------------------------------------------------------------------------


def test_gradients_geometry_and_input_stay():
    before = scan(dtype=np.int16)
    digest = before.digest()
    done = harmonize_dwi(before, QUIET)
    assert before.digest() == digest
    np.testing.assert_array_equal(done.dwi.b_values_s_per_mm2, before.b_values_s_per_mm2)
    np.testing.assert_array_equal(done.dwi.gradients_ras, before.gradients_ras)
    assert same_grid(done.dwi.grid, before.grid, atol_mm=0)
    assert done.dwi.array.dtype == np.float32
    assert done.dwi.metadata["echo_time_ms"] == 80.0
    assert done.dwi.name == "scan0_b0_histogram"


def test_contrast_goes_to_the_target_and_diffusion_stays():
    done = harmonize_dwi(scan(), QUIET)
    target = load_target("canonical").median_b0
    assert float(np.median(done.after.b0.array[BRAIN])) == pytest.approx(target, rel=0.05)
    assert float(np.median(done.before.b0.array[BRAIN])) > 10 * target
    for tissue in ("white matter", "grey matter", "fluid", "brain"):
        assert abs(of_tissue(done, tissue, "MD").change_percent) < 1e-3
        assert abs(of_tissue(done, tissue, "FA").change) < 1e-5
    assert of_tissue(done, "white matter", "MD").before == pytest.approx(0.77e-3, rel=0.08)
    assert all("gain is not even" in said for said in done.warnings)
    assert done.strength_used == 1.0


@pytest.mark.parametrize("noise", ["none", "floor", "denoise"])
def test_every_volume_gets_the_same_gain(noise: str):
    before = scan()
    done = harmonize_dwi(before, replace(QUIET, noise=noise))
    plain = harmonize_dwi(before, HarmonizeDwiRequest("none", noise=noise))
    for n in (0, 3, 9):
        np.testing.assert_allclose(
            done.dwi.array[..., n], plain.dwi.array[..., n] * done.gain.array, rtol=1e-5, atol=1e-3
        )


def test_a_gain_that_is_not_even_is_pointed_out():
    mask = np.ones((4, 5, 6), bool)
    mask[0] = False
    gain = np.full((4, 5, 6), 2.0, np.float32)
    gain[0] = 9.0  # outside the brain it does not matter
    assert gain_warnings(gain, mask) == []
    gain[1, :, :2] = 3.0
    (said,) = gain_warnings(gain, mask)
    assert "1.00 to 1.50" in said
    assert "MD" in said


def test_the_default_keeps_the_gain_even():
    scan = brain_scan()
    assert not any("gain" in w for w in harmonize_dwi(scan).warnings)
    assert any("gain is not even" in w for w in harmonize_dwi(scan, HarmonizeDwiRequest(method="nyul")).warnings)


def test_order_of_volumes_does_not_matter():
    before = scan()
    order = np.random.default_rng(3).permutation(before.n_volumes)
    shuffled = DwiVolume(
        np.ascontiguousarray(before.array[..., order]),
        before.grid,
        before.b_values_s_per_mm2[order],
        before.gradients_ras[order],
    )
    request = HarmonizeDwiRequest("nyul")
    found, wanted = harmonize_dwi(shuffled, request), harmonize_dwi(before, request)
    np.testing.assert_allclose(found.dwi.array, wanted.dwi.array[..., order], rtol=1e-3, atol=0.2)


def test_mixed_shells_and_odd_b_values_are_taken():
    before = brain_scan(8, b_values=(995.0, 2000.0), noise=4.0)
    b = before.b_values_s_per_mm2.copy()
    b[before.is_b0] = [0.001, 4.0]
    odd = DwiVolume(before.array, before.grid, b, before.gradients_ras)
    done = harmonize_dwi(odd, HarmonizeDwiRequest("nyul"))
    np.testing.assert_array_equal(done.dwi.b_values_s_per_mm2, b)
    assert all(row.holds for row in done.table)


def test_large_units_of_floating_point_scanners():
    done = harmonize_dwi(scan(gain=2.4e6 / 900), HarmonizeDwiRequest("global_scaling"))
    assert float(np.median(done.after.b0.array[BRAIN])) == pytest.approx(load_target("canonical").median_b0, rel=0.05)


def test_too_few_directions_for_a_tensor_are_checked_by_adc():
    before = scan()
    one = DwiVolume(before.array[..., :4], before.grid, before.b_values_s_per_mm2[:4], before.gradients_ras[:4])
    done = harmonize_dwi(one, QUIET)
    assert {row.measure for row in done.table} == {"ADC"}
    assert done.after.fa is None
    assert any("no tensor" in warning for warning in done.warnings)


# --- grid -------------------------------------------------------------------------------------------------------------


def test_other_voxels_keep_field_of_view_and_directions():
    before = scan()
    done = harmonize_dwi(before, replace(QUIET, spacing_mm=(2.5, 2.5, 3.0)))
    np.testing.assert_allclose(done.dwi.grid.spacing_mm, (2.5, 2.5, 3.0))
    np.testing.assert_allclose(done.dwi.grid.directions, before.grid.directions, atol=1e-9)
    np.testing.assert_array_equal(done.dwi.gradients_ras, before.gradients_ras)
    assert done.dwi.array.min() >= 0
    centre = [g.ijk_to_ras((np.array(g.size_ijk) - 1) / 2) for g in (before.grid, done.dwi.grid)]
    np.testing.assert_allclose(*centre, atol=1e-6)


def test_target_voxels_are_the_canonical_scans():
    done = harmonize_dwi(brain_scan(6), HarmonizeDwiRequest("none", noise="none", spacing_mm="target"))
    within, between = canonical_spacing_mm()
    np.testing.assert_allclose(done.dwi.grid.spacing_mm, (within, within, between))


# --- strength and undo ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.int16])
def test_strength_zero_is_the_scan_itself(dtype):
    before = scan(dtype=dtype)
    done = harmonize_dwi(before, HarmonizeDwiRequest("b0_histogram", strength=0.0))
    np.testing.assert_array_equal(done.dwi.array, before.array.astype(np.float32))
    assert all(row.change == 0 for row in done.table)


def test_half_the_strength_is_half_the_change():
    before = scan()
    half, whole = (harmonize_dwi(before, replace(QUIET, strength=share)) for share in (0.5, 1.0))
    brain = whole.mask.array != 0
    # units are no matter of strength
    unit = np.median(whole.dwi.array[brain][:, 0]) / np.median(before.array[brain][:, 0])
    np.testing.assert_allclose(half.dwi.array, 0.5 * (unit * before.array + whole.dwi.array), rtol=1e-4, atol=1e-2)


@pytest.mark.parametrize("spacing", [None, 2.5])
def test_residual_brings_the_scan_back(spacing: float | None):
    before = scan()
    done = harmonize_dwi(before, HarmonizeDwiRequest("nyul", keep_residual=True, spacing_mm=spacing))
    restored = undo_series(done.dwi, done.residual)
    identity = harmonize_dwi(before, HarmonizeDwiRequest("nyul", strength=0.0, spacing_mm=spacing))
    np.testing.assert_array_equal(restored.array, identity.dwi.array)
    assert restored.metadata == before.metadata


# --- safety -----------------------------------------------------------------------------------------------------------


def test_strength_is_lowered_to_the_largest_that_holds():
    done = harmonize_dwi(scan(noise=0.0), HarmonizeDwiRequest("global_scaling", noise="none"), fitted=Crooked())
    # 20 % off the weighted signal at b 1000 is .22e-3 mm²/s, 29 % of white matter's MD: 2 % is a small part of it
    assert LEAST_STRENGTH < done.strength_used < 0.15
    assert all(row.holds for row in done.table)
    nearest = max(abs(row.change_percent) / row.limit for row in done.table if row.limit and row.measure == "MD")
    assert nearest > 0.85
    assert "reduced to" in done.warnings[0]
    assert done.provenance.parameters["strength_used"] == done.strength_used
    assert done.provenance.parameters["strength"] == 1.0


def test_reduced_strength_is_the_same_as_asking_for_it():
    before = scan(noise=3.0)
    request = HarmonizeDwiRequest("global_scaling", noise="denoise")
    reduced = harmonize_dwi(before, request, fitted=Crooked())
    asked = harmonize_dwi(before, replace(request, strength=reduced.strength_used), fitted=Crooked())
    np.testing.assert_array_equal(reduced.dwi.array, asked.dwi.array)
    assert asked.warnings == ()


def test_damage_is_refused():
    with pytest.raises(InputError, match="not even strength"):
        harmonize_dwi(scan(), HarmonizeDwiRequest("global_scaling", noise="none"), fitted=Crooked(share=0.01))


def test_limits_can_be_ignored_knowingly():
    request = HarmonizeDwiRequest("global_scaling", noise="none", enforce_safety=False)
    done = harmonize_dwi(scan(), request, fitted=Crooked())
    assert done.strength_used == 1.0
    assert not all(row.holds for row in done.table)
    assert "MD in white matter" in done.warnings[0]


# --- noise ------------------------------------------------------------------------------------------------------------


def test_noise_is_handled_and_told():
    before = scan(noise=12.0, gain=1.0)
    done = harmonize_dwi(before, HarmonizeDwiRequest("none"))
    truth = brain_scan(15)
    assert done.noise.denoised
    assert done.noise.floor_corrected
    assert done.noise.sigma == pytest.approx(12.0, rel=0.2)
    inside = labels() == 1
    error = [np.abs(x.array - truth.array)[inside].mean() for x in (before, done.dwi)]
    assert error[1] < 0.7 * error[0]
    assert done.provenance.parameters["noise_handling"]["sigma_method"] == done.noise.sigma_method


# --- record -----------------------------------------------------------------------------------------------------------


def test_result_says_where_it_comes_from():
    before = scan()
    done = harmonize_dwi(before, QUIET)
    record = done.provenance
    assert (record.operation, record.model_id) == ("harmonize-dwi", "b0_histogram")
    assert record.input_digest == before.digest()
    assert len(record.weights_sha256) == 64
    assert Provenance.from_dict(json.loads(json.dumps(record.to_dict()))) == record
    assert done.dwi.metadata["MRHarmonization.model"] == "b0_histogram"


# --- refused ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"method": "moonlight"}, "linear_rish"),
        ({"strength": 1.5}, "strength"),
        ({"noise": "loud"}, "denoise"),
        ({"spacing_mm": (1.0, 2.0)}, "spacing"),
        ({"spacing_mm": 99.0}, "spacing"),
        ({"spacing_mm": "fine"}, "spacing"),
        ({"max_fa_change": 0.0}, "max_fa_change"),
        ({"max_md_change_percent": float("nan")}, "max_md_change_percent"),
    ],
)
def test_wrong_requests_are_refused(values: dict, message: str):
    with pytest.raises(ParameterError, match=message):
        HarmonizeDwiRequest(**({"method": "nyul"} | values))


def test_method_that_learns_from_both_scanners_must_be_fitted():
    with pytest.raises(ParameterError, match="learns from scans of both scanners"):
        harmonize_dwi(scan(), HarmonizeDwiRequest("linear_rish"))


def test_fitted_harmoniser_must_be_of_the_method():
    with pytest.raises(ParameterError, match="not 'nyul'"):
        harmonize_dwi(scan(), HarmonizeDwiRequest("nyul"), fitted=Crooked())


def test_values_that_are_not_finite_are_refused():
    array = np.array(scan().array)
    array[3, 4, 5, 2] = np.inf
    with pytest.raises(InputError, match="volume 2 has 1 of"):
        harmonize_dwi(scan().with_array(array), QUIET)


def test_lost_volumes_are_refused():
    array = np.array(scan().array)
    array[..., 5] = 0
    with pytest.raises(InputError, match="volume 5 is constant"):
        harmonize_dwi(scan().with_array(array), QUIET)


def test_mask_must_lie_on_the_scan():
    before = scan()
    with pytest.raises(GridMismatchError, match="another grid"):
        harmonize_dwi(before, QUIET, Volume(BRAIN.astype(np.uint8), Grid.from_parts(BRAIN.shape)))
    done = harmonize_dwi(before, QUIET, Volume(BRAIN.astype(np.uint8), before.grid))
    np.testing.assert_array_equal(done.mask.array != 0, BRAIN)


def test_can_be_cancelled_between_volumes():
    seen: list[str] = []

    def listen(fraction: float, message: str) -> None:
        seen.append(message)
        if message == "Harmonising volume 3 of 17":
            progress.cancel()

    progress = Progress(listen)
    with pytest.raises(OperationCancelled):
        harmonize_dwi(scan(), QUIET, progress=progress)
    assert "Harmonising volume 3 of 17" in seen
    assert "Harmonising volume 4 of 17" not in seen
