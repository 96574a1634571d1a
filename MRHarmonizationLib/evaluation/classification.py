"""How well scanners are told apart: scores from confusion matrices, intervals over subjects, McNemar's test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import InputError

#: Scores of :func:`confusion_scores`, the main one first.
SCORES = (
    "accuracy",
    "precision_macro",
    "recall_macro",
    "f1_macro",
    "precision_weighted",
    "recall_weighted",
    "f1_weighted",
)
#: Bootstrap draws, and what share of them an interval covers.
DRAWS, COVERAGE = 2000, 0.95
#: McNemar's test is exact up to this many discordant pairs, a χ² with continuity correction above.
EXACT_PAIRS = 25


def confusion_matrix(truth: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """Return counts, shape (classes, classes): rows are the true class, columns the predicted one.

    Parameters
    ----------
    truth, predicted : int ndarray, shape (N,)
        Classes 0 … ``classes`` − 1.
    classes : int
    """
    flat = np.bincount(np.asarray(truth) * classes + np.asarray(predicted), minlength=classes * classes)
    return np.asarray(flat.reshape(classes, classes))


def confusion_scores(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return accuracy and the macro and weighted averages of precision, recall and F1.

    Parameters
    ----------
    confusion : ndarray, shape (…, C, C)
        Rows true, columns predicted; leading axes are separate matrices.

    Returns
    -------
    dict of str to ndarray, shape (…)
        See :data:`SCORES`. Macro averages are over the classes that occur (true or predicted), weighted ones by the
        number of true images; precision of a class that is never predicted counts as 0 (as scikit-learn's
        ``zero_division=0``).
    """
    counts = np.asarray(confusion, float)
    hit = np.diagonal(counts, axis1=-2, axis2=-1)
    true, predicted = counts.sum(-1), counts.sum(-2)
    total = np.maximum(true.sum(-1), 1)
    precision = hit / np.maximum(predicted, 1)
    recall = hit / np.maximum(true, 1)
    f1 = 2 * hit / np.maximum(true + predicted, 1)
    occurs = (true + predicted) > 0
    scores = {"accuracy": hit.sum(-1) / total}
    for name, values in (("precision", precision), ("recall", recall), ("f1", f1)):
        scores[f"{name}_macro"] = (values * occurs).sum(-1) / np.maximum(occurs.sum(-1), 1)
        scores[f"{name}_weighted"] = (values * true).sum(-1) / total
    return {name: scores[name] for name in SCORES}


@dataclass(frozen=True)
class Interval:
    """A value and its confidence interval."""

    value: float
    low: float
    high: float


def bootstrap_scores(
    truth: np.ndarray, predicted: np.ndarray, subject: np.ndarray, classes: int, seed: int = 0, draws: int = DRAWS
) -> dict[str, Interval]:
    """Return every score with its 95 % percentile interval, subjects drawn with replacement.

    Images of one subject resemble each other; drawing images would make the intervals far too narrow.

    Parameters
    ----------
    truth, predicted : int ndarray, shape (N,)
    subject : ndarray, shape (N,)
        To whom each image belongs.
    classes, seed, draws : int

    Raises
    ------
    InputError
        There is nothing to score.
    """
    names, index = np.unique(subject, return_inverse=True)
    if not names.size:
        raise InputError("there are 0 test images to score", "give test subjects")
    own = np.stack([confusion_matrix(truth[index == n], predicted[index == n], classes) for n in range(names.size)])
    rng = np.random.default_rng(seed)
    times = rng.multinomial(names.size, np.full(names.size, 1 / names.size), size=draws)
    drawn = confusion_scores(np.tensordot(times, own, axes=1))
    found = {name: float(value) for name, value in confusion_scores(own.sum(0)).items()}
    tails = (50 * (1 - COVERAGE), 100 - 50 * (1 - COVERAGE))
    limits = {name: np.percentile(values, tails) for name, values in drawn.items()}
    return {name: Interval(found[name], float(limits[name][0]), float(limits[name][1])) for name in SCORES}


@dataclass(frozen=True)
class McNemar:
    """McNemar's test of two classifications of the same images.

    Attributes
    ----------
    only_before, only_after : int
        Images that only the first, only the second classification got right.
    p : float
        Two-sided; exact binomial up to 25 such images, χ² with continuity correction above.
    """

    only_before: int
    only_after: int
    p: float

    def to_dict(self) -> Mapping[str, float]:
        """Return a JSON-ready dictionary."""
        return {"only_before": self.only_before, "only_after": self.only_after, "p": self.p}


def mcnemar(right_before: np.ndarray, right_after: np.ndarray) -> McNemar:
    """Test whether one of two classifications of the same images is right more often.

    Parameters
    ----------
    right_before, right_after : bool ndarray, shape (N,)
        The test takes images for independent. Slices of one subject are not: read p as a lower bound.

    Returns
    -------
    McNemar

    Source
    ------
    McNemar, Psychometrika 12:153 (1947), doi 10.1007/BF02295996; Edwards, Psychometrika 13:185 (1948), doi
    10.1007/BF02289261 (continuity correction).
    """
    from scipy import stats

    first, second = np.asarray(right_before, bool), np.asarray(right_after, bool)
    if first.shape != second.shape:
        raise InputError(f"{first.size} images before and {second.size} after", "compare the same images")
    b, c = int(np.count_nonzero(first & ~second)), int(np.count_nonzero(~first & second))
    if b + c == 0:
        p = 1.0
    elif b + c <= EXACT_PAIRS:
        p = float(stats.binomtest(b, b + c, 0.5).pvalue)
    else:
        p = float(stats.chi2.sf((abs(b - c) - 1) ** 2 / (b + c), 1))
    return McNemar(b, c, p)
