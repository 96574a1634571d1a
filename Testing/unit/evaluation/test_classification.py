"""Scores against scikit-learn, intervals over subjects, McNemar's test against hand-worked numbers."""

from __future__ import annotations

import numpy as np
import pytest

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.evaluation.classification import (
    SCORES,
    bootstrap_scores,
    confusion_matrix,
    confusion_scores,
    mcnemar,
)


@pytest.mark.parametrize("classes", [2, 3, 7])
@pytest.mark.parametrize("skill", [0.0, 0.6, 1.0])
def test_scores_equal_those_of_scikit_learn(rng, classes, skill):
    metrics = pytest.importorskip("sklearn.metrics")
    truth = rng.integers(0, classes, 200)
    predicted = np.where(rng.random(200) < skill, truth, rng.integers(0, classes, 200))
    confusion = confusion_matrix(truth, predicted, classes)
    np.testing.assert_array_equal(confusion, metrics.confusion_matrix(truth, predicted, labels=range(classes)))
    found = confusion_scores(confusion)
    assert tuple(found) == SCORES
    assert found["accuracy"] == pytest.approx(metrics.accuracy_score(truth, predicted))
    for average in ("macro", "weighted"):
        expected = metrics.precision_recall_fscore_support(truth, predicted, average=average, zero_division=0)
        for name, value in zip(("precision", "recall", "f1"), expected[:3], strict=True):
            assert found[f"{name}_{average}"] == pytest.approx(value)


def test_classes_that_do_not_occur_do_not_count(rng):
    metrics = pytest.importorskip("sklearn.metrics")
    truth, predicted = np.array([0, 0, 2, 2]), np.array([0, 2, 2, 2])
    found = confusion_scores(confusion_matrix(truth, predicted, 5))
    assert found["f1_macro"] == pytest.approx(metrics.f1_score(truth, predicted, average="macro"))


def test_a_class_that_is_never_named_has_precision_zero():
    found = confusion_scores(np.array([[3, 0], [3, 0]]))
    assert found["precision_macro"] == pytest.approx(0.25)
    assert found["recall_weighted"] == found["accuracy"] == pytest.approx(0.5)


def test_intervals_hold_the_value_and_are_the_same_for_a_seed(rng):
    truth, subject = rng.integers(0, 3, 120), np.repeat(np.arange(12), 10)
    predicted = np.where(rng.random(120) < 0.7, truth, 0)
    once, again = (bootstrap_scores(truth, predicted, subject, 3, seed=4) for _ in range(2))
    assert once == again
    for interval in once.values():
        assert interval.low <= interval.value <= interval.high
        assert interval.high - interval.low > 0


def test_intervals_are_over_subjects_not_over_images():
    """Ten images each of two subjects, one always right and one always wrong, are two observations, not twenty."""
    truth, subject = np.zeros(20, int), np.repeat([0, 1], 10)
    predicted = np.repeat([0, 1], 10)
    interval = bootstrap_scores(truth, predicted, subject, 2)["accuracy"]
    assert (interval.low, interval.value, interval.high) == (0.0, 0.5, 1.0)


def test_nothing_to_score_is_refused():
    with pytest.raises(InputError, match="0 test images"):
        bootstrap_scores(np.zeros(0, int), np.zeros(0, int), np.zeros(0), 2)


def right_and_wrong(both, before, after, neither):
    first = np.repeat([True, True, False, False], [both, before, after, neither])
    second = np.repeat([True, False, True, False], [both, before, after, neither])
    return first, second


def test_mcnemar_exact_is_the_binomial_test_of_the_discordant_pairs():
    found = mcnemar(*right_and_wrong(50, 1, 9, 3))
    assert (found.only_before, found.only_after) == (1, 9)
    assert found.p == pytest.approx(2 * (1 + 10) / 2**10)


def test_mcnemar_with_many_pairs_is_the_corrected_chi_square():
    found = mcnemar(*right_and_wrong(100, 59, 6, 16))
    stats = pytest.importorskip("scipy.stats")
    assert found.p == pytest.approx(stats.chi2.sf((abs(59 - 6) - 1) ** 2 / 65, 1))


def test_mcnemar_without_a_difference_finds_none():
    assert mcnemar(*right_and_wrong(5, 0, 0, 5)).p == 1.0
    assert mcnemar(*right_and_wrong(5, 4, 4, 5)).p == pytest.approx(1.0)


def test_mcnemar_refuses_other_images():
    with pytest.raises(InputError, match="3 images before and 2 after"):
        mcnemar(np.ones(3, bool), np.ones(2, bool))
