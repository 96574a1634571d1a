"""Statistics of slices that come in subjects, held against SciPy."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.evaluation.subtle_statistics import cluster_bootstrap, clustered_agreement


def mean(values: np.ndarray) -> list[float]:
    return [float(values.mean())]


def test_clusters_of_one_are_the_plain_bootstrap_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    values = np.random.default_rng(1).gamma(2.0, 1.0, 40)
    mine = cluster_bootstrap([v[None] for v in values], mean, 4000, seed=3)[0]
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=4000, method="percentile", random_state=np.random.default_rng(4)
    ).confidence_interval
    assert mine == pytest.approx([theirs.low, theirs.high], abs=0.03)


def test_slices_that_repeat_each_other_do_not_narrow_the_interval():
    subjects = np.random.default_rng(2).normal(0, 1, 8)
    one = cluster_bootstrap([np.array([v]) for v in subjects], mean, 2000, 1)[0]
    many = cluster_bootstrap([np.full(50, v) for v in subjects], mean, 2000, 1)[0]
    assert many == pytest.approx(one)


def test_one_subject_has_no_interval_and_none_is_refused():
    assert np.isnan(cluster_bootstrap([np.arange(5.0)], mean, 10)).all()
    with pytest.raises(InputError, match="0 clusters"):
        cluster_bootstrap([], mean)


def test_agreement_is_that_of_scipy_and_covers_the_bias():
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(5)
    pairs = {}
    for name in "abcdef":
        first = rng.normal(0.9, 0.02, 20)
        pairs[name] = np.stack([first, first + 0.01 + rng.normal(0, 0.004) + rng.normal(0, 0.002, 20)], axis=1)
    found = clustered_agreement(pairs, 500, 1)
    whole = np.concatenate(list(pairs.values()))
    plain = stats.pearsonr(whole[:, 0], whole[:, 1])
    assert found.correlation.r == pytest.approx(plain.statistic)
    assert (found.correlation.low, found.correlation.high) == pytest.approx(tuple(plain.confidence_interval(0.95)))
    difference = whole[:, 1] - whole[:, 0]
    assert found.limits.bias == pytest.approx(difference.mean())
    assert found.limits.upper == pytest.approx(difference.mean() + 1.959964 * difference.std(ddof=1), rel=1e-5)
    assert found.bias_interval[0] < found.limits.bias < found.bias_interval[1]
    # subjects differ more than their slices: the honest interval is the wider one
    assert np.ptp(found.bias_interval) > 2 * (found.limits.bias_high - found.limits.bias_low)
    assert found.lower_interval[0] <= found.limits.lower <= found.lower_interval[1]
