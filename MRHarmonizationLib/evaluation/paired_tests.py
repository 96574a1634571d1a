"""Comparing two methods on the same subjects: paired tests, and the correction for making many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError

#: Fewest pairs of a signed-rank test: with five the smallest two-sided p there can be is .0625.
FEWEST_FOR_WILCOXON = 6


@dataclass(frozen=True)
class PairedTest:
    """Difference of two methods over subjects.

    Attributes
    ----------
    pairs : int
    difference, deviation : float
        Mean and standard deviation (N − 1) of first minus second; the deviation is NaN for one pair.
    t_p : float
        Two-sided p of the paired t test; NaN where it is not defined: one pair, or equal differences.
    wilcoxon_p : float
        Two-sided p of Wilcoxon's signed-rank test; NaN below :data:`FEWEST_FOR_WILCOXON` pairs.
    """

    pairs: int
    difference: float
    deviation: float
    t_p: float
    wilcoxon_p: float

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary; NaN where a number is not defined."""
        return asdict(self)


def paired_test(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> PairedTest:
    """Compare two methods, subject by subject.

    Parameters
    ----------
    first, second : shape (N,)
        One value per subject, in one order.

    Raises
    ------
    InputError
        Lengths differ, no pair, or values that are not finite.

    Source
    ------
    Student, Biometrika 6:1 (1908), doi 10.1093/biomet/6.1.1; Wilcoxon, Biometrics Bull. 1:80 (1945), doi
    10.2307/3001968.
    """
    from scipy import stats

    a, b = np.asarray(first, float), np.asarray(second, float)
    if a.shape != b.shape or a.ndim != 1 or a.size < 1:
        raise InputError(f"values of shape {a.shape} and {b.shape}", "give one of each method for every subject")
    if not np.isfinite(a).all() or not np.isfinite(b).all():
        raise InputError("some values are NaN or infinite", "leave those subjects out")
    difference = a - b
    t_p = wilcoxon_p = deviation = float("nan")
    if a.size > 1:
        deviation = float(difference.std(ddof=1))
        if np.ptp(difference) > 0:
            t_p = float(stats.ttest_rel(a, b).pvalue)
    if a.size >= FEWEST_FOR_WILCOXON and np.any(difference):
        wilcoxon_p = float(stats.wilcoxon(difference).pvalue)
    return PairedTest(int(a.size), float(difference.mean()), deviation, t_p, wilcoxon_p)


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Return p values adjusted for their number by Holm's step-down method.

    In ascending order the i-th of m values is multiplied by m − i + 1; each is at least as large as the one before it,
    and at most 1. Values that are NaN are no tests: they stay NaN and do not count.

    Parameters
    ----------
    p_values : shape (M,)

    Returns
    -------
    ndarray, shape (M,)

    Raises
    ------
    InputError
        A value below 0 or above 1.

    Source
    ------
    Holm, Scand. J. Stat. 6:65 (1979), https://www.jstor.org/stable/4615733.

    Examples
    --------
    >>> holm([0.01, 0.04, 0.03]).round(3).tolist()
    [0.03, 0.06, 0.06]
    """
    values = np.asarray(p_values, float)
    known = np.flatnonzero(~np.isnan(values))
    if np.any(values[known] < 0) or np.any(values[known] > 1):
        raise InputError(f"p values {values.tolist()}", "give values from 0 to 1")
    order = known[np.argsort(values[known], kind="stable")]
    adjusted = np.full(values.shape, np.nan)
    factors = np.arange(order.size, 0, -1)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(values[order] * factors)) if order.size else []
    return adjusted
