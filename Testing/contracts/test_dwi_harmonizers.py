"""What every classical harmoniser of diffusion scans promises, tested on each one the registry knows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.diffusion_scan import TISSUES, brain_scan, labels

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.inference.dwi_network import NETWORK
from MRHarmonizationLib.methods.dwi_harmonizers.base import (
    DWI_HARMONIZERS,
    FittedDwiHarmonizer,
    load_dwi_harmonizer,
    restore,
    save_dwi_harmonizer,
)
from MRHarmonizationLib.volumes.dwi import DwiVolume

#: The network is taught its target and has tests of its own.
NAMES = [name for name in DWI_HARMONIZERS.names() if name != NETWORK]
BRAIN = labels() > 0
#: The source scanner: other units, another contrast.
OTHER = {"gain": 40.0, "tissues": (360.0, 400.0, 620.0)}


@pytest.fixture(scope="module")
def fitted_by_name() -> dict[str, FittedDwiHarmonizer]:
    target = [brain_scan(15, noise=4.0, seed=seed) for seed in range(2)]
    source = [brain_scan(12, noise=4.0, seed=seed, **OTHER) for seed in range(2, 4)]
    return {name: DWI_HARMONIZERS.get(name).fit(target, source) for name in NAMES}


@pytest.fixture(params=NAMES)
def fitted(request: pytest.FixtureRequest, fitted_by_name: dict[str, FittedDwiHarmonizer]) -> FittedDwiHarmonizer:
    return fitted_by_name[request.param]


@pytest.fixture(scope="module")
def scan() -> DwiVolume:
    return brain_scan(15, noise=4.0, seed=9, **OTHER)


def harmonised(fitted: FittedDwiHarmonizer, scan: DwiVolume) -> np.ndarray:
    operator = fitted.prepare(scan, BRAIN)
    return np.stack([operator.apply(scan.array[..., n], n) for n in range(scan.n_volumes)], axis=-1)


def test_values_are_finite_float32_of_the_scans_shape(fitted: FittedDwiHarmonizer, scan: DwiVolume):
    found = harmonised(fitted, scan)
    assert found.dtype == np.float32
    assert found.shape == scan.array.shape
    assert np.all(np.isfinite(found))


def test_volumes_do_not_depend_on_their_order(fitted: FittedDwiHarmonizer, scan: DwiVolume):
    order = np.random.default_rng(0).permutation(scan.n_volumes)
    turned = DwiVolume(
        np.ascontiguousarray(scan.array[..., order]),
        scan.grid,
        scan.b_values_s_per_mm2[order],
        scan.gradients_ras[order],
    )
    np.testing.assert_allclose(harmonised(fitted, turned), harmonised(fitted, scan)[..., order], rtol=2e-3, atol=0.5)


def test_same_scan_same_result(fitted: FittedDwiHarmonizer, scan: DwiVolume):
    operator = fitted.prepare(scan, BRAIN)
    first, second = (operator.apply(scan.array[..., 4], 4) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, fitted.prepare(scan, BRAIN).apply(scan.array[..., 4], 4))


def test_gain_is_one_for_all_volumes(fitted: FittedDwiHarmonizer, scan: DwiVolume):
    """Methods that name a gain multiply every volume with it, whatever its weighting."""
    operator = fitted.prepare(scan, BRAIN)
    gain = getattr(operator, "gain", None)
    if gain is None:
        assert fitted.method == "linear_rish"  # scales shells apart, as published
        return
    for n in range(scan.n_volumes):
        np.testing.assert_allclose(operator.apply(scan.array[..., n], n), scan.array[..., n] * gain, rtol=1e-6)


def test_unweighted_brain_gets_the_targets_level(fitted: FittedDwiHarmonizer, scan: DwiVolume):
    level = float(np.median(brain_scan(15).mean_b0().array[BRAIN]))
    found = float(np.median(harmonised(fitted, scan)[..., scan.is_b0].mean(axis=-1)[BRAIN]))
    own = float(np.median(scan.mean_b0().array[BRAIN]))
    if fitted.method == "none":
        assert found == pytest.approx(own)
    else:
        assert abs(found / level - 1) < 0.1 < abs(own / level - 1)


def test_state_is_saved_and_read_back(fitted: FittedDwiHarmonizer, scan: DwiVolume, tmp_path: Path):
    written = save_dwi_harmonizer(fitted, tmp_path / "fit.json")
    again = load_dwi_harmonizer(tmp_path / "fit.json")
    assert type(again) is type(fitted)
    assert again.digest() == fitted.digest()
    assert json.loads(written[0].read_text()) == fitted.to_dict()
    np.testing.assert_array_equal(harmonised(again, scan), harmonised(fitted, scan))


def test_inputs_are_not_changed(fitted: FittedDwiHarmonizer, scan: DwiVolume):
    assert not scan.array.flags.writeable
    before = scan.digest()
    harmonised(fitted, scan)
    assert scan.digest() == before


@pytest.mark.parametrize("name", NAMES)
def test_unknown_parameter_is_refused(name: str):
    with pytest.raises(ParameterError, match="no parameter 'sharpness'"):
        DWI_HARMONIZERS.get(name).fit([brain_scan(6)], sharpness=2)


@pytest.mark.parametrize("name", [n for n in NAMES if not DWI_HARMONIZERS.get(n).needs_source])
def test_black_scan_is_refused(name: str):
    dark = brain_scan(6)
    dark = dark.with_array(np.where(np.arange(dark.n_volumes) == 3, dark.array, 0).astype(np.float32))
    fitted = DWI_HARMONIZERS.get(name).fit([brain_scan(6)], target_masks=[BRAIN])
    if name == "none":
        fitted.prepare(dark, BRAIN)
        return
    with pytest.raises(InputError, match="median of the unweighted brain"):
        fitted.prepare(dark, BRAIN)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "other"}, "no fitted diffusion harmonizer"),
        ({"version": 99}, "version 99"),
        ({"state": {}}, "has the keys"),
    ],
)
def test_foreign_states_are_refused(change: dict, message: str):
    values = DWI_HARMONIZERS.get("nyul").fit([brain_scan(6)]).to_dict()
    with pytest.raises(InputError, match=message):
        restore(values | change)


def test_b0_maps_bring_tissues_to_the_target(fitted_by_name: dict[str, FittedDwiHarmonizer], scan: DwiVolume):
    """Matching the whole histogram brings every tissue nearer to the target than one factor does."""
    tissue = labels(seed=9)
    errors = {}
    for name in ("global_scaling", "nyul", "b0_histogram"):
        b0 = harmonised(fitted_by_name[name], scan)[..., scan.is_b0].mean(axis=-1)
        means = [float(b0[tissue == number].mean()) for number in (1, 2, 3)]
        errors[name] = float(np.mean(np.abs(np.array(means) / np.array(TISSUES) - 1)))
    assert errors["nyul"] < 0.6 * errors["global_scaling"]
    assert errors["b0_histogram"] < 0.6 * errors["global_scaling"]
