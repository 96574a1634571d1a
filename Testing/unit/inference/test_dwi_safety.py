"""The largest strength that keeps MD and FA, and the measures it is judged by."""

from __future__ import annotations

import numpy as np
import pytest
from support.diffusion_scan import GREY, brain_scan, labels

from MRHarmonizationLib.inference.dwi_measures import (
    ChangeLimits,
    exceeded,
    measure_maps,
    regions_of,
    tissue_changes,
)
from MRHarmonizationLib.inference.dwi_safety import MARGIN, SafetySample
from MRHarmonizationLib.volumes.dwi import DwiVolume

LIMITS = ChangeLimits(2.0, 0.01)
BRAIN = labels() > 0


def damaged(scan: DwiVolume, share: float) -> DwiVolume:
    """Weighted volumes times ``share``: adds −ln(share) / b to every diffusivity."""
    return scan.with_array(scan.array * np.where(scan.is_b0, 1.0, share).astype(np.float32))


def sampled(before: DwiVolume, after: DwiVolume) -> SafetySample:
    regions = regions_of(measure_maps(before, BRAIN), BRAIN)
    sample = SafetySample.of(regions, before.n_volumes)
    for n in range(before.n_volumes):
        sample.record(n, before.array[..., n], after.array[..., n])
    return sample


def test_share_is_where_the_limit_is_reached():
    before = brain_scan(15)
    share = sampled(before, damaged(before, 0.8)).largest_share(before, ChangeLimits(2.0, 1.0))
    white = regions_of(measure_maps(before, BRAIN), BRAIN)["white matter"]
    md = float(measure_maps(before, BRAIN).md.array[white].mean())
    wanted = (1 - np.exp(-1000 * 0.02 * MARGIN * md)) / 0.2  # white matter's MD is the lowest, so it decides
    assert share == pytest.approx(wanted, abs=0.003)


def test_harmless_change_may_be_made_in_full():
    before = brain_scan(15)
    louder = before.with_array(before.array * np.float32(3))
    assert sampled(before, louder).largest_share(before, LIMITS) > 0.99


def test_sample_does_not_grow_with_the_volumes():
    regions = {"white matter": np.ones((40, 80, 80), bool), "brain": np.ones((40, 80, 80), bool)}
    few, many = (SafetySample.of(regions, volumes) for volumes in (20, 200))
    assert many.before.size <= 1.1 * few.before.size
    assert many.sizes["brain"] == 40 * 80 * 80


def test_rows_tell_the_change_and_its_limit():
    before = brain_scan(15)
    maps = [measure_maps(scan, BRAIN) for scan in (before, damaged(before, 0.9))]
    rows = {(row.tissue, row.measure): row for row in tissue_changes(*maps, regions_of(maps[0], BRAIN), LIMITS)}
    grey = rows["grey matter", "MD"]
    assert grey.change == pytest.approx(-np.log(0.9) / 1000, rel=0.02)
    assert grey.change_percent == pytest.approx(100 * grey.change / GREY, rel=0.05)
    assert grey.limit is None
    assert grey.holds
    assert {(row.tissue, row.measure) for row in exceeded(list(rows.values()))} >= {
        ("white matter", "MD"),
        ("white matter", "FA"),
        ("brain", "MD"),
    }
    assert rows["white matter", "FA"].change_percent is None


def test_trace_is_the_geometric_mean_of_the_weighted_volumes():
    before = brain_scan(6)
    inside = labels() == 1
    wanted = np.exp(np.log(before.array[inside][:, ~before.is_b0]).mean(axis=1))
    np.testing.assert_allclose(measure_maps(before, BRAIN).trace.array[inside], wanted, rtol=1e-5)
