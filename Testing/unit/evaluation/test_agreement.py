"""Agreement helpers against the published example and the formulas."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.evaluation.agreement import bland_altman, bland_altman_figure, pearson

# Peak expiratory flow (l/min) by a large and a mini Wright meter: Bland & Altman, Lancet 327:307 (1986), table 1.
LARGE = np.array([494, 395, 516, 434, 476, 557, 413, 442, 650, 433, 417, 656, 267, 478, 178, 423, 427])
MINI = np.array([512, 430, 520, 428, 500, 600, 364, 380, 658, 445, 432, 626, 260, 477, 259, 350, 451])


def test_the_published_example_is_reproduced():
    found = bland_altman(MINI, LARGE)
    assert found.pairs == 17
    assert found.bias == pytest.approx(-2.1, abs=0.05)
    assert found.deviation == pytest.approx(38.8, abs=0.05)
    # the paper rounds 1.96 to 2
    assert found.bias - 2 * found.deviation == pytest.approx(-79.7, abs=0.1)
    assert found.bias + 2 * found.deviation == pytest.approx(75.5, abs=0.1)
    assert (found.bias_low, found.bias_high) == pytest.approx((-22.0, 17.8), abs=0.1)
    # its standard error of a limit is √(3 s²/n); the later, exact form used here is a little smaller
    half = (found.lower_high - found.lower_low) / 2
    assert half == pytest.approx(2.12 * np.sqrt(3 * 38.8**2 / 17), rel=0.02)
    assert found.upper_high - found.upper == pytest.approx(half)


def test_limits_hold_their_share_of_normal_differences():
    rng = np.random.default_rng(0)
    a = rng.normal(100, 20, 20_000)
    b = a + rng.normal(3, 5, a.size)
    found = bland_altman(a, b)
    inside = np.mean((b - a > found.lower) & (b - a < found.upper))
    assert inside == pytest.approx(0.95, abs=0.005)
    assert found.bias_low < 3 < found.bias_high


def test_a_difference_that_grows_is_found():
    a = np.linspace(10, 100, 50)
    found = bland_altman(a, 1.2 * a)
    assert found.slope == pytest.approx(0.2 / 1.1)
    assert found.slope_p < 1e-6


def test_equal_measurements_agree_perfectly():
    found = bland_altman([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])
    assert (found.bias, found.lower, found.upper, found.lower_low) == (0, 0, 0, 0)
    correlation = pearson([1.0, 2.0, 3.0, 4.0], [1.0, 2.0, 3.0, 4.0])
    assert correlation.r == pytest.approx(1.0)


def test_pearson_is_that_of_scipy_with_fishers_interval():
    stats = pytest.importorskip("scipy.stats")
    found = pearson(LARGE, MINI)
    assert found.r == pytest.approx(0.94, abs=0.005)  # as in the paper
    assert found.p == pytest.approx(stats.pearsonr(LARGE, MINI).pvalue)
    z, reach = np.arctanh(found.r), 1.959964 / np.sqrt(17 - 3)
    assert (found.low, found.high) == pytest.approx((np.tanh(z - reach), np.tanh(z + reach)), rel=1e-5)


def test_what_is_not_defined_is_nan_not_wrong():
    constant = pearson([1.0, 2.0, 3.0], [5.0, 5.0, 5.0])
    assert all(np.isnan(value) for value in (constant.r, constant.p, constant.low, constant.high))
    three = pearson([1.0, 2.0, 3.0], [1.0, 2.5, 2.9])
    assert np.isfinite(three.r)
    assert np.isnan(three.low)
    assert np.isnan(bland_altman([1.0, 2.0], [2.0, 4.0]).slope)


@pytest.mark.parametrize("function", [bland_altman, pearson])
def test_bad_pairs_are_refused(function):
    with pytest.raises(InputError, match="3 first and 2 second"):
        function([1, 2, 3], [1, 2])
    with pytest.raises(InputError, match="1 pairs"):
        function([1], [1])
    with pytest.raises(InputError, match="1 of 3 pairs hold NaN"):
        function([1, np.nan, 3], [1, 2, 3])


def test_the_figure_is_a_png_and_records_are_json_ready():
    picture = bland_altman_figure(LARGE, MINI, "peak flow", "l/min", ("large", "mini"))
    assert picture.startswith(b"\x89PNG")
    assert bland_altman(LARGE, MINI).to_dict()["pairs"] == pearson(LARGE, MINI).to_dict()["pairs"] == 17
