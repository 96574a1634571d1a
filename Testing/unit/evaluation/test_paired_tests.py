"""Paired tests against Student's own data, Holm's correction against a hand example."""

from __future__ import annotations

import math

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.evaluation.paired_tests import holm, paired_test

#: Additional hours of sleep by two drugs in ten patients: Student, Biometrika 6:1 (1908).
DRUG_1 = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
DRUG_2 = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]


def test_student_finds_what_he_found():
    found = paired_test(DRUG_2, DRUG_1)
    assert found.pairs == 10
    assert found.difference == pytest.approx(1.58)
    assert found.deviation == pytest.approx(1.23, abs=0.005)
    assert found.t_p == pytest.approx(0.002833, abs=1e-6)
    assert 0.003 < found.wilcoxon_p < 0.01


def test_few_pairs_have_no_rank_test_and_one_pair_no_test():
    few = paired_test([1.0, 2.0, 4.0, 3.0], [0.0, 0.5, 1.0, 2.5])
    assert math.isfinite(few.t_p)
    assert math.isnan(few.wilcoxon_p)
    one = paired_test([1.0], [0.5])
    assert (one.difference, math.isnan(one.deviation), math.isnan(one.t_p)) == (0.5, True, True)
    equal = paired_test([1.0, 2.0], [0.0, 1.0])
    assert math.isnan(equal.t_p), "equal differences have no spread to test against"


def test_unequal_and_broken_values_are_refused():
    with pytest.raises(InputError, match="one of each"):
        paired_test([1.0, 2.0], [1.0])
    with pytest.raises(InputError, match="NaN"):
        paired_test([1.0, math.nan], [1.0, 2.0])


def test_holm_by_hand():
    # ascending .005·4 = .02, .01·3 = .03, .03·2 = .06, and .04·1 may not fall below .06
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])


def test_holm_leaves_out_what_was_not_tested():
    found = holm([0.01, math.nan, 0.04])
    assert np.isnan(found[1])
    assert found[[0, 2]] == pytest.approx([0.02, 0.04])
    assert holm([]).size == 0
    assert np.isnan(holm([math.nan])).all()
    with pytest.raises(InputError, match="from 0 to 1"):
        holm([1.2])
