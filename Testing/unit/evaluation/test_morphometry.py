"""Agreement of volumes against a published table, and what happens with small or missing structures."""

from __future__ import annotations

import math

import numpy as np
import pytest

from MRHarmonizationLib.core.brain_regions import LEAST_REFERENCE_MM3, REGIONS
from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.evaluation.morphometry import (
    icc_2_1,
    mean_absolute_error,
    region_agreement,
    region_errors,
)

#: Six subjects by four judges: Shrout & Fleiss, Psychol. Bull. 86:420 (1979), table 2.
JUDGED = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def volumes(scale: float = 1.0, **changes: float) -> dict[int, float]:
    found = {region.number: 1000.0 * scale for region in REGIONS}
    return found | {int(key[1:]): value for key, value in changes.items()}


def test_icc_is_that_of_shrout_and_fleiss():
    found = icc_2_1(JUDGED)
    assert (found.subjects, found.raters) == (6, 4)
    assert found.value == pytest.approx(0.29, abs=0.005)
    # interval of the same table in R's psych::ICC
    assert found.low == pytest.approx(0.019, abs=0.001)
    assert found.high == pytest.approx(0.76, abs=0.005)


def test_icc_sees_a_shift_that_correlation_does_not():
    true = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert icc_2_1(np.stack([true, true], axis=1)).value == pytest.approx(1.0)
    shifted = icc_2_1(np.stack([true, true + 2], axis=1))
    # mean squares: rows 5, columns 10, error 0 → 5/(5 + 2·10/5)
    assert shifted.value == pytest.approx(5 / 9)
    assert math.isnan(icc_2_1(np.ones((3, 2))).value)


@pytest.mark.parametrize("table", [[[1, 2]], [1, 2, 3], [[1, 2], [3, math.nan]]])
def test_icc_refuses_what_it_cannot_judge(table):
    with pytest.raises(InputError, match="subjects"):
        icc_2_1(table)


def test_errors_are_relative_and_small_structures_left_out():
    reference = volumes(n17=LEAST_REFERENCE_MM3 / 2)
    errors = region_errors(volumes(1.1, n17=500.0, n2=800.0), reference)
    assert errors[2] == pytest.approx(-20)
    assert errors[3] == pytest.approx(10)
    assert math.isnan(errors[17])
    assert mean_absolute_error(errors) == pytest.approx((30 * 10 + 20) / 31)
    assert math.isnan(mean_absolute_error({17: math.nan}))


def test_agreement_of_every_structure():
    true = [volumes(scale) for scale in (0.8, 1.0, 1.3)]
    table = region_agreement([volumes(1.1 * scale) for scale in (0.8, 1.0, 1.3)], true)
    assert [row["number"] for row in table] == [region.number for region in REGIONS]
    row = table[0]
    assert row["error_percent"] == pytest.approx(10)
    assert row["pearson"] == pytest.approx(1.0)
    assert 0.5 < row["icc"] < 1
    assert row["bias_mm3"] == pytest.approx(100 * 3.1 / 3)
    assert row["lower_mm3"] < row["bias_mm3"] < row["upper_mm3"]


def test_one_subject_and_an_absent_structure_have_no_agreement():
    table = {row["number"]: row for row in region_agreement([volumes(n17=0.0)], [volumes(n53=0.0)])}
    assert table[17]["error_percent"] == pytest.approx(-100), "a lost structure is wholly wrong"
    assert table[17]["icc"] is None
    assert (table[53]["subjects"], table[53]["error_percent"]) == (0, None)
    with pytest.raises(InputError, match="one of each"):
        region_agreement([volumes()], [])
