"""Agreement of two measurements of the same things: Bland–Altman limits and Pearson's correlation, with intervals."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from MRHarmonizationLib.core.errors import InputError

#: Share of the differences between the limits of agreement, and coverage of every confidence interval.
COVERAGE = 0.95


@dataclass(frozen=True)
class BlandAltman:
    """Mean difference and limits of agreement of paired measurements, in their unit.

    Attributes
    ----------
    pairs : int
    bias, bias_low, bias_high : float
        Mean of second minus first, and its 95 % confidence interval.
    deviation : float
        Standard deviation of the differences.
    lower, upper : float
        Limits of agreement: bias ± 1.96 standard deviations hold 95 % of normal differences.
    lower_low, lower_high, upper_low, upper_high : float
        95 % confidence intervals of the limits.
    slope, slope_p : float
        Change of the difference per unit of the mean, and the p value of there being none: a slope means that the
        limits do not hold over the whole range. NaN below three pairs or where all means are equal.
    """

    pairs: int
    bias: float
    bias_low: float
    bias_high: float
    deviation: float
    lower: float
    upper: float
    lower_low: float
    lower_high: float
    upper_low: float
    upper_high: float
    slope: float
    slope_p: float

    def to_dict(self) -> dict[str, float]:
        """Return a dictionary; NaN where a number is not defined."""
        return asdict(self)


@dataclass(frozen=True)
class Pearson:
    """Pearson's correlation.

    Attributes
    ----------
    pairs : int
    r, p : float
        Coefficient, and two-sided p value of there being no correlation. NaN where one side is constant.
    low, high : float
        95 % confidence interval (Fisher's z); NaN below four pairs.
    """

    pairs: int
    r: float
    p: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Return a dictionary; NaN where a number is not defined."""
        return asdict(self)


def bland_altman(first: np.ndarray, second: np.ndarray) -> BlandAltman:
    """Return bias and limits of agreement of second against first.

    Parameters
    ----------
    first, second : array-like, shape (N,)
        Paired measurements in one unit, N ≥ 2.

    Raises
    ------
    InputError
        Lengths differ, fewer than two pairs, or values that are not finite.

    Source
    ------
    Bland & Altman, Lancet 327:307 (1986), doi 10.1016/S0140-6736(86)90837-8; the standard error of a limit,
    s·√(1/n + 1.96²/(2(n − 1))), from Bland & Altman, Stat. Methods Med. Res. 8:135 (1999), doi
    10.1177/096228029900800204.

    Examples
    --------
    >>> agreement = bland_altman([1.0, 2.0, 3.0], [1.5, 2.5, 3.5])
    >>> agreement.bias, agreement.deviation
    (0.5, 0.0)
    """
    from scipy import stats

    a, b = _paired(first, second, 2)
    difference, mean, n = b - a, (a + b) / 2, a.size
    bias, deviation = float(difference.mean()), float(difference.std(ddof=1))
    width = float(stats.norm.ppf(0.5 + COVERAGE / 2))
    reach = float(stats.t.ppf(0.5 + COVERAGE / 2, n - 1))
    of_bias = reach * deviation / np.sqrt(n)
    of_limit = reach * deviation * np.sqrt(1 / n + width**2 / (2 * (n - 1)))
    lower, upper = bias - width * deviation, bias + width * deviation
    slope = slope_p = float("nan")
    if n > 2 and np.ptp(mean) > 0:
        line = stats.linregress(mean, difference)
        slope, slope_p = float(line.slope), float(line.pvalue)
    return BlandAltman(
        n,
        bias,
        float(bias - of_bias),
        float(bias + of_bias),
        deviation,
        lower,
        upper,
        float(lower - of_limit),
        float(lower + of_limit),
        float(upper - of_limit),
        float(upper + of_limit),
        slope,
        slope_p,
    )


def pearson(first: np.ndarray, second: np.ndarray) -> Pearson:
    """Return Pearson's correlation of paired measurements with its confidence interval.

    Parameters
    ----------
    first, second : array-like, shape (N,)
        N ≥ 2, any units.

    Raises
    ------
    InputError
        As :func:`bland_altman`.

    Source
    ------
    Interval by the z transform: Fisher, Biometrika 10:507 (1915), doi 10.1093/biomet/10.4.507.
    """
    from scipy import stats

    a, b = _paired(first, second, 2)
    nan = float("nan")
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return Pearson(a.size, nan, nan, nan, nan)
    found = stats.pearsonr(a, b)
    low = high = nan
    if a.size >= 4:
        low, high = (float(x) for x in found.confidence_interval(COVERAGE))
    return Pearson(a.size, float(found.statistic), float(found.pvalue), low, high)


def bland_altman_figure(
    first: np.ndarray, second: np.ndarray, quantity: str, unit: str = "", names: tuple[str, str] = ("first", "second")
) -> bytes:
    """Draw the differences over the means with bias, limits of agreement and their intervals, as PNG bytes.

    Parameters
    ----------
    first, second : array-like, shape (N,)
    quantity, unit : str
        What was measured, for the axes.
    names : two str
        Of the measurements.
    """
    from MRHarmonizationLib.evaluation.laboratory_figures import new_figure, png

    a, b = _paired(first, second, 2)
    found = bland_altman(a, b)
    figure = new_figure(6.5, 3.6)
    axes = figure.add_subplot()
    axes.scatter((a + b) / 2, b - a, s=16, color="#2f6fa7", alpha=0.8)
    bands = (
        (found.bias, found.bias_low, found.bias_high, "bias", "#2b2b2b"),
        (found.lower, found.lower_low, found.lower_high, "−1.96 SD", "#b4582d"),
        (found.upper, found.upper_low, found.upper_high, "+1.96 SD", "#b4582d"),
    )
    for value, low, high, label, colour in bands:
        axes.axhspan(low, high, color=colour, alpha=0.12, linewidth=0)
        axes.axhline(value, color=colour, linewidth=1.2)
        axes.annotate(
            f"{label} {value:.3g}", (1.01, value), xycoords=("axes fraction", "data"), va="center", fontsize=8
        )
    suffix = f" ({unit})" if unit else ""
    axes.set_xlabel(f"mean {quantity} of {names[0]} and {names[1]}{suffix}")
    axes.set_ylabel(f"{names[1]} − {names[0]}{suffix}")
    axes.spines[["top", "right"]].set_visible(False)
    return png(figure)


def _paired(first: np.ndarray, second: np.ndarray, fewest: int) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(first, float).reshape(-1), np.asarray(second, float).reshape(-1)
    if a.size != b.size:
        raise InputError(f"{a.size} first and {b.size} second measurements", "give one of each for every case")
    if a.size < fewest:
        raise InputError(f"{a.size} pairs of measurements, at least {fewest} are needed", "measure more cases")
    bad = int(np.count_nonzero(~(np.isfinite(a) & np.isfinite(b))))
    if bad:
        raise InputError(f"{bad} of {a.size} pairs hold NaN or infinite values", "leave those cases out")
    return a, b
