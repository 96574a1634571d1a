"""Agreement of regional volumes: relative errors, the intraclass correlation, and tables of regions and subjects."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.brain_regions import LEAST_REFERENCE_MM3, REGIONS, relative_error_percent
from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.evaluation.agreement import COVERAGE, bland_altman, pearson


@dataclass(frozen=True)
class IntraclassCorrelation:
    """ICC(2,1): share of the variance of single measurements that is due to the subjects.

    Attributes
    ----------
    subjects, raters : int
    value : float
        At most 1; below 0 where subjects differ less than the errors would make them. NaN where nothing varies.
    low, high : float
        95 % confidence interval; NaN where the mean squares are 0.
    """

    subjects: int
    raters: int
    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary; NaN where a number is not defined."""
        return asdict(self)


def icc_2_1(ratings: np.ndarray | Sequence[Sequence[float]]) -> IntraclassCorrelation:
    """Return the intraclass correlation of single measurements, two-way random effects, absolute agreement.

    Parameters
    ----------
    ratings : array-like, shape (subjects, raters)
        At least two of each, any unit.

    Raises
    ------
    InputError
        Too few, not two-dimensional, or values that are not finite.

    Source
    ------
    Shrout & Fleiss, Psychol. Bull. 86:420 (1979), doi 10.1037/0033-2909.86.2.420, case 2; named ICC(A,1) with its
    interval in McGraw & Wong, Psychol. Methods 1:30 (1996), doi 10.1037/1082-989X.1.1.30.

    Examples
    --------
    >>> round(icc_2_1([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]).value, 2)
    0.29
    """
    from scipy import stats

    table = np.asarray(ratings, float)
    if table.ndim != 2 or min(table.shape) < 2:
        raise InputError(f"ratings have the shape {table.shape}", "give two or more subjects (rows) and raters")
    if not np.isfinite(table).all():
        raise InputError("some ratings are NaN or infinite", "leave those subjects out")
    n, k = table.shape
    rows, columns, whole = table.mean(axis=1), table.mean(axis=0), table.mean()
    between = k * float(((rows - whole) ** 2).sum()) / (n - 1)
    raters = n * float(((columns - whole) ** 2).sum()) / (k - 1)
    rest = table - rows[:, None] - columns[None, :] + whole
    error = float((rest**2).sum()) / ((n - 1) * (k - 1))
    total = between + (k - 1) * error + k * (raters - error) / n
    nan = float("nan")
    if not total > 0:
        return IntraclassCorrelation(n, k, nan, nan, nan)
    value = (between - error) / total
    low = high = nan
    if error > 0 and between > 0 and value < 1:
        a, b = k * value / (n * (1 - value)), 1 + k * value * (n - 1) / (n * (1 - value))
        spread = a * raters + b * error
        freedom = spread**2 / ((a * raters) ** 2 / (k - 1) + (b * error) ** 2 / ((n - 1) * (k - 1)))
        upper = float(stats.f.ppf(0.5 + COVERAGE / 2, n - 1, freedom))
        lower = float(stats.f.ppf(0.5 + COVERAGE / 2, freedom, n - 1))
        noise = k * raters + (k * n - k - n) * error
        low = n * (between - upper * error) / (upper * noise + n * between)
        high = n * (lower * between - error) / (noise + n * lower * between)
    return IntraclassCorrelation(n, k, float(value), float(low), float(high))


def region_errors(measured: Mapping[int, float], reference: Mapping[int, float]) -> dict[int, float]:
    """Return the relative volume error of every structure, %.

    Parameters
    ----------
    measured, reference : mapping
        FreeSurfer number → volume in mm³; all 32 structures.

    Returns
    -------
    dict
        FreeSurfer number → error; NaN where the reference is too small to judge.
    """
    return {r.number: relative_error_percent(measured[r.number], reference[r.number]) for r in REGIONS}


def mean_absolute_error(errors: Mapping[int, float]) -> float:
    """Return the mean of the absolute errors that are known; NaN where none is."""
    known = [abs(value) for value in errors.values() if math.isfinite(value)]
    return float(np.mean(known)) if known else float("nan")


def region_agreement(
    measured: Sequence[Mapping[int, float]], reference: Sequence[Mapping[int, float]]
) -> list[dict[str, Any]]:
    """Hold the volumes of a method against reference volumes, structure by structure.

    Parameters
    ----------
    measured, reference : sequence of mapping
        One per subject, in one order: FreeSurfer number → volume in mm³.

    Returns
    -------
    list of dict
        One per structure: ``number``, ``name``, ``subjects`` in which the reference is large enough, ``reference_mm3``
        and ``measured_mm3`` (means), ``error_percent`` (mean), ``absolute_error_percent`` (mean of the absolute
        errors), ``icc``, ``pearson``, ``bias_mm3``, ``lower_mm3``, ``upper_mm3`` (Bland–Altman); None where a number
        is not defined, as with one subject.

    Raises
    ------
    InputError
        Other numbers of subjects.
    """
    if len(measured) != len(reference):
        raise InputError(f"{len(measured)} measured and {len(reference)} reference subjects", "give one of each")
    rows = []
    for region in REGIONS:
        pairs = [
            (m[region.number], r[region.number])
            for m, r in zip(measured, reference, strict=True)
            if r[region.number] >= LEAST_REFERENCE_MM3
        ]
        mine, true = np.array([m for m, _ in pairs], float), np.array([r for _, r in pairs], float)
        errors = 100.0 * (mine - true) / true
        row: dict[str, Any] = {"number": region.number, "name": region.name, "subjects": len(pairs)}
        row["reference_mm3"] = _finite(true.mean()) if pairs else None
        row["measured_mm3"] = _finite(mine.mean()) if pairs else None
        row["error_percent"] = _finite(errors.mean()) if pairs else None
        row["absolute_error_percent"] = _finite(np.abs(errors).mean()) if pairs else None
        row.update(dict.fromkeys(("icc", "icc_low", "icc_high", "pearson", "bias_mm3", "lower_mm3", "upper_mm3")))
        if len(pairs) > 1:
            icc, limits = icc_2_1(np.stack([true, mine], axis=1)), bland_altman(true, mine)
            row.update(icc=_finite(icc.value), icc_low=_finite(icc.low), icc_high=_finite(icc.high))
            row["pearson"] = _finite(pearson(true, mine).r)
            row.update(bias_mm3=limits.bias, lower_mm3=limits.lower, upper_mm3=limits.upper)
        rows.append(row)
    return rows


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
