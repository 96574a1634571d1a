"""LinearRISH: scales per shell and order, in a common space, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.diffusion_scan import brain_scan, labels

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.methods.dwi_harmonizers.base import (
    DWI_HARMONIZERS,
    FittedDwiHarmonizer,
    load_dwi_harmonizer,
    save_dwi_harmonizer,
)
from MRHarmonizationLib.methods.dwi_target import load_target
from MRHarmonizationLib.volumes.dwi import DwiVolume

BRAIN = labels() > 0
RISH = DWI_HARMONIZERS.get("linear_rish")


def weaker(scan: DwiVolume, share: float) -> DwiVolume:
    """The same scan with its weighted volumes times ``share``, as a scanner of other gain between shells gives it."""
    factors = np.where(scan.is_b0, 1.0, share).astype(np.float32)
    return scan.with_array(scan.array * factors)


@pytest.fixture(scope="module")
def fitted() -> FittedDwiHarmonizer:
    target = [brain_scan(30, seed=seed) for seed in range(2)]
    return RISH.fit(target, [weaker(brain_scan(30, seed=seed), 0.8) for seed in range(2)])


def applied(fitted: FittedDwiHarmonizer, scan: DwiVolume) -> np.ndarray:
    operator = fitted.prepare(scan, BRAIN)
    return np.stack([operator.apply(scan.array[..., n], n) for n in range(scan.n_volumes)], axis=-1)


def test_shells_are_brought_to_the_target(fitted: FittedDwiHarmonizer):
    truth = brain_scan(30, seed=0)
    source = weaker(truth, 0.8)
    found = applied(fitted, source)
    inside = labels() == 1
    before = np.abs(source.array - truth.array)[inside].mean()
    assert np.abs(found - truth.array)[inside].mean() < 0.2 * before


def test_scales_are_those_of_the_groups(fitted: FittedDwiHarmonizer):
    centre = tuple(n // 2 for n in fitted.template.shape)
    assert fitted.b0_scale[centre] == pytest.approx(1.0, abs=0.02)
    assert fitted.order == 4
    for scale in fitted.shell_scales[0]:
        assert np.median(scale) == pytest.approx(1 / 0.8, rel=0.05)


def test_other_directions_than_those_it_was_fitted_with(fitted: FittedDwiHarmonizer):
    truth = brain_scan(20, seed=0)
    found = applied(fitted, weaker(truth, 0.8))
    inside = labels() == 1
    assert found[inside].mean() == pytest.approx(truth.array[inside].mean(), rel=0.05)


def test_altered_arrays_are_refused(fitted: FittedDwiHarmonizer, tmp_path: Path):
    _, arrays = save_dwi_harmonizer(fitted, tmp_path / "fit.json")
    with np.load(arrays) as stored:
        values = dict(stored)
    values["b0_scale"] = values["b0_scale"] * 2
    np.savez_compressed(arrays, **values)
    with pytest.raises(InputError, match="'b0_scale' of harmonizer 'linear_rish' was altered"):
        load_dwi_harmonizer(tmp_path / "fit.json")
    arrays.unlink()
    with pytest.raises(InputError, match=r"fit\.json"):
        load_dwi_harmonizer(tmp_path / "fit.json")


def test_shells_must_agree(fitted: FittedDwiHarmonizer):
    with pytest.raises(InputError, match="b = 2000 s/mm², expected 1000"):
        fitted.prepare(brain_scan(15, b_values=(2000.0,)), BRAIN)


def test_few_directions_are_refused(fitted: FittedDwiHarmonizer):
    with pytest.raises(InputError, match="too few directions for harmonics of order 4"):
        fitted.prepare(brain_scan(8), BRAIN)


def test_statistics_or_a_missing_group_are_refused():
    with pytest.raises(ParameterError, match="statistics of the target"):
        RISH.fit(load_target("canonical"))
    with pytest.raises(ParameterError, match="no source scan"):
        RISH.fit([brain_scan(15)])
    with pytest.raises(ParameterError, match="max_order 3"):
        RISH.fit([brain_scan(15)], [brain_scan(15)], max_order=3)
