"""Statistics of slices that come in subjects: slices of one head resemble each other and are no independent cases."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.evaluation.agreement import COVERAGE, BlandAltman, Pearson, bland_altman, pearson

#: Fewest clusters of a bootstrap.
FEWEST_CLUSTERS = 2


def cluster_bootstrap(
    clusters: Sequence[np.ndarray],
    statistic: Callable[[np.ndarray], Sequence[float]],
    draws: int = 2000,
    seed: int = 0,
) -> np.ndarray:
    """Return percentile intervals of statistics when whole clusters are drawn with replacement.

    With few clusters the intervals are too narrow; nothing but more subjects helps.

    Parameters
    ----------
    clusters : sequence of ndarray, shape (N_c, …)
        Values of each subject; drawn ones are laid end to end.
    statistic : callable
        Values of all drawn clusters (ΣN_c, …) → S numbers; draws in which one is not finite are left out for it.
    draws : int
    seed : int

    Returns
    -------
    ndarray, shape (S, 2)
        Bounds of 95 %; NaN below two clusters.

    Raises
    ------
    InputError
        No cluster, or an empty one.

    Source
    ------
    Field & Welsh, J. R. Stat. Soc. B 69:369 (2007), doi 10.1111/j.1467-9868.2007.00593.x, the randomised cluster
    bootstrap.
    """
    values = [np.asarray(cluster, float) for cluster in clusters]
    if not values or any(not len(cluster) for cluster in values):
        raise InputError(f"{len(values)} clusters, of which some are empty", "give at least one value of each subject")
    width = len(statistic(np.concatenate(values)))
    if len(values) < FEWEST_CLUSTERS:
        return np.full((width, 2), np.nan)
    rng = np.random.default_rng(seed)
    found = np.empty((draws, width))
    for number in range(draws):
        chosen = rng.integers(len(values), size=len(values))
        found[number] = statistic(np.concatenate([values[n] for n in chosen]))
    found[~np.isfinite(found)] = np.nan
    known = np.isfinite(found).any(axis=0)
    bounds = np.full((width, 2), np.nan)
    tail = 50.0 * (1.0 - COVERAGE)
    bounds[known] = np.nanpercentile(found[:, known], [tail, 100.0 - tail], axis=0).T
    return bounds


@dataclass(frozen=True)
class ClusteredAgreement:
    """Agreement of two methods over slices, with intervals over subjects.

    Attributes
    ----------
    slices, subjects : int
    correlation : Pearson
        Over slices, as if they were independent.
    limits : BlandAltman
        Of second minus first, over slices, as if they were independent.
    r_interval, bias_interval, lower_interval, upper_interval : tuple of two floats
        95 % by the cluster bootstrap: of Pearson's r, the bias, and the limits of agreement.
    """

    slices: int
    subjects: int
    correlation: Pearson
    limits: BlandAltman
    r_interval: tuple[float, float]
    bias_interval: tuple[float, float]
    lower_interval: tuple[float, float]
    upper_interval: tuple[float, float]

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary; NaN where a number is not defined."""
        return asdict(self)


def clustered_agreement(pairs: Mapping[str, np.ndarray], draws: int = 2000, seed: int = 0) -> ClusteredAgreement:
    """Return the agreement of two methods.

    Parameters
    ----------
    pairs : mapping of str to ndarray, shape (N, 2)
        Subject → values of first and second method, slice by slice.
    draws, seed : int
        Of the bootstrap.

    Raises
    ------
    InputError
        Fewer than two slices, or values that are not finite.

    Source
    ------
    Bland–Altman with several measurements of each subject: Bland & Altman, J. Biopharm. Stat. 17:571 (2007), doi
    10.1080/10543400701329422; here the limits' spread over subjects comes from :func:`cluster_bootstrap`.
    """
    clusters = [np.asarray(values, float) for values in pairs.values()]
    whole = np.concatenate(clusters)

    def statistic(values: np.ndarray) -> list[float]:
        difference = values[:, 1] - values[:, 0]
        bias, reach = float(difference.mean()), 1.959964 * float(difference.std(ddof=1))
        spread = np.ptp(values, axis=0)
        r = float(np.corrcoef(values.T)[0, 1]) if np.all(spread > 0) else float("nan")
        return [r, bias, bias - reach, bias + reach]

    limits, correlation = bland_altman(whole[:, 0], whole[:, 1]), pearson(whole[:, 0], whole[:, 1])
    bounds = [(float(low), float(high)) for low, high in cluster_bootstrap(clusters, statistic, draws, seed)]
    return ClusteredAgreement(len(whole), len(clusters), correlation, limits, *bounds)
