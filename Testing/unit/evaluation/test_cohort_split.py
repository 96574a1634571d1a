"""Splits by subject: no subject on both sides, every scanner on both sides, the same for the same seed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.evaluation.cohort import Cohort, CohortImage
from MRHarmonizationLib.evaluation.cohort_split import Fold, split_cohort


def cohort_of(pattern, splits=None):
    """Build a cohort from subject → scanners."""
    images = [
        CohortImage(Path(f"{scanner}/{subject}"), subject, scanner, split=(splits or {}).get(subject, ""))
        for subject, scanners in pattern.items()
        for scanner in scanners
    ]
    return Cohort(tuple(images), Path("cohort.csv"))


CROSSED = cohort_of({f"s{n:02d}": "ABC" for n in range(12)})


def test_a_single_split_tests_on_the_share_asked_for():
    (fold,) = split_cohort(CROSSED, test_share=0.25)
    assert len(fold.test) == 3
    assert sorted((*fold.train, *fold.test)) == list(CROSSED.subjects)


def test_folds_test_everyone_once():
    folds = split_cohort(CROSSED, folds=4, seed=3)
    assert sorted(subject for fold in folds for subject in fold.test) == list(CROSSED.subjects)
    assert all(set(fold.train).isdisjoint(fold.test) for fold in folds)


def test_the_seed_decides():
    assert split_cohort(CROSSED, seed=5) == split_cohort(CROSSED, seed=5)
    assert len({split_cohort(CROSSED, seed=seed) for seed in range(6)}) > 1


def test_confounded_scanners_are_on_both_sides():
    cohort = cohort_of({f"{scanner}{n}": scanner for scanner in "ABCD" for n in range(2)})
    (fold,) = split_cohort(cohort)
    for part in (fold.train, fold.test):
        assert {subject[0] for subject in part} == set("ABCD")


@given(st.dictionaries(st.integers(0, 30), st.sets(st.sampled_from("ABC"), min_size=1), min_size=4), st.integers(0, 9))
def test_no_split_shares_a_subject_or_lacks_a_scanner(pattern, seed):
    cohort = cohort_of({f"s{n}": sorted(scanners) for n, scanners in pattern.items()})
    try:
        (fold,) = split_cohort(cohort, seed=seed)
    except InputError:
        assert min(len(cohort.subjects_on(scanner)) for scanner in cohort.scanners) < 3
        return
    assert not set(fold.train) & set(fold.test)
    for part in (fold.train, fold.test):
        assert {i.scanner for i in cohort.images if i.subject in part} == set(cohort.scanners)


def test_the_split_of_the_file_is_kept():
    splits = {f"s{n:02d}": "test" if n in (2, 7) else "train" for n in range(12)}
    (fold,) = split_cohort(cohort_of(dict.fromkeys(splits, "AB"), splits))
    assert fold.test == ("s02", "s07")


def test_a_file_with_gaps_or_folds_besides_is_refused():
    splits = {f"s{n}": "train" for n in range(3)} | {"s3": "test"}
    pattern = {f"s{n}": "AB" for n in range(5)}
    with pytest.raises(InputError, match="subject 's4' has no split"):
        split_cohort(cohort_of(pattern, splits))
    with pytest.raises(ParameterError, match="3 folds"):
        split_cohort(cohort_of(pattern, dict.fromkeys(pattern, "train")), folds=3)


def test_a_split_of_the_file_without_test_subjects_is_refused():
    pattern = {f"s{n}": "AB" for n in range(5)}
    with pytest.raises(InputError, match="5 training and 0 test subjects"):
        split_cohort(cohort_of(pattern, dict.fromkeys(pattern, "train")))


def test_a_scanner_without_test_subject_is_named():
    splits = {"s0": "train", "s1": "train", "s2": "test"}
    with pytest.raises(InputError, match="no test subject was seen on scanner 'B'"):
        split_cohort(cohort_of({"s0": "AB", "s1": "AB", "s2": "A"}, splits))


def test_a_fold_refuses_a_subject_on_both_sides():
    with pytest.raises(InputError, match="subject 'b' is in two splits"):
        Fold(("a", "b"), ("b", "c"))


@pytest.mark.parametrize(("values", "word"), [({"test_share": 1.0}, "share 1.0"), ({"folds": 0}, "folds is 0")])
def test_impossible_splits_are_refused(values, word):
    with pytest.raises(ParameterError, match=word):
        split_cohort(CROSSED, **values)


def test_more_folds_than_subjects_are_refused():
    with pytest.raises(InputError, match="13 folds .* 12 subjects"):
        split_cohort(CROSSED, folds=13)
