"""Splitting a cohort by subject: what a probe is trained on and tested on never shares one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.evaluation.cohort import Cohort, check_one_split_per_subject


@dataclass(frozen=True)
class Fold:
    """One training and one test part; refuses a subject in both.

    Attributes
    ----------
    train, test : tuple of str
        Subjects.

    Raises
    ------
    InputError
        A part is empty, or a subject is in both.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.train or not self.test:
            raise InputError(
                f"a split has {len(self.train)} training and {len(self.test)} test subjects",
                "give subjects to both parts",
            )
        check_one_split_per_subject([(s, "train") for s in self.train] + [(s, "test") for s in self.test])


def split_cohort(cohort: Cohort, test_share: float = 0.25, folds: int = 1, seed: int = 0) -> tuple[Fold, ...]:
    """Split the subjects of a cohort.

    Parameters
    ----------
    cohort : Cohort
        Where it assigns ``split`` to its images, that is the split, and ``folds`` must be 1.
    test_share : float
        Share of the subjects to be tested on, where ``folds`` is 1.
    folds : int
        1 for one split; from 2 on every subject is tested on once, by a probe trained on the other folds.
    seed : int

    Returns
    -------
    tuple of Fold
        Every training part has every scanner, and so have the test parts together.

    Raises
    ------
    InputError
        Too few subjects for that, or a subject in two splits.
    ParameterError
        ``test_share`` or ``folds`` out of range.
    """
    if not 0 < test_share < 1:
        raise ParameterError(f"test share {test_share} is not between 0 and 1", "0.25 tests on a quarter")
    if folds < 1:
        raise ParameterError(f"folds is {folds}, expected at least 1", "1 for a single split")
    assigned = {image.subject: image.split for image in cohort.images}
    check_one_split_per_subject((image.subject, image.split) for image in cohort.images)
    found: tuple[Fold, ...]
    if any(assigned.values()):
        found = (_assigned_fold(assigned, folds),)
    elif folds > len(cohort.subjects):
        raise InputError(
            f"{folds} folds were asked for, the cohort has {len(cohort.subjects)} subjects", "ask for fewer folds"
        )
    else:
        parts = _balanced_parts(cohort, max(2, round(1 / test_share)) if folds == 1 else folds, seed)
        tested = parts[:1] if folds == 1 else parts
        found = tuple(Fold(tuple(s for s in cohort.subjects if s not in part), part) for part in tested)
    _check_scanners(cohort, found)
    return found


def _assigned_fold(assigned: dict[str, str], folds: int) -> Fold:
    if folds != 1:
        raise ParameterError(
            f"{folds} folds were asked for, but the cohort file assigns the splits itself",
            "leave the folds out, or the column 'split'",
        )
    unassigned = sorted(subject for subject, split in assigned.items() if not split)
    if unassigned:
        raise InputError(f"subject '{unassigned[0]}' has no split although others have", "fill in the column 'split'")
    train, test = (tuple(sorted(s for s, split in assigned.items() if split == part)) for part in ("train", "test"))
    return Fold(train, test)


def _balanced_parts(cohort: Cohort, count: int, seed: int) -> list[tuple[str, ...]]:
    """Deal the subjects out so that every part gets about as many of each scanner; the rarest patterns first.

    The first part, which is the test part of a single split, first gets what shows it every scanner, as long as every
    scanner keeps a subject elsewhere.
    """
    rng = np.random.default_rng(seed)
    count = min(count, len(cohort.subjects))
    patterns = {s: frozenset(i.scanner for i in cohort.images if i.subject == s) for s in cohort.subjects}
    frequency = {pattern: list(patterns.values()).count(pattern) for pattern in patterns.values()}
    order = [cohort.subjects[n] for n in rng.permutation(len(cohort.subjects))]
    order.sort(key=lambda subject: frequency[patterns[subject]])
    sizes = {scanner: len(cohort.subjects_on(scanner)) for scanner in cohort.scanners}
    parts: list[list[str]] = [[] for _ in range(count)]
    held = {scanner: [0] * count for scanner in cohort.scanners}
    for wanted in (True, False):
        for subject in order if wanted else [s for s in order if not any(s in part for part in parts)]:
            mine = patterns[subject]
            if wanted:
                if all(held[s][0] for s in mine) or any(held[s][0] + 1 >= sizes[s] for s in mine):
                    continue
                best = 0
            else:  # the part that has the fewest of this subject's scanners; then the smallest; then the first
                best = min(range(count), key=lambda n: (sum(held[s][n] for s in mine), len(parts[n]), n))
            parts[best].append(subject)
            for scanner in mine:
                held[scanner][best] += 1
    return [tuple(sorted(part)) for part in parts]


def _check_scanners(cohort: Cohort, folds: Sequence[Fold]) -> None:
    """Refuse folds that do not train on every scanner, or together do not test on every one."""
    tested = {subject for fold in folds for subject in fold.test}
    for scanner in cohort.scanners:
        subjects = set(cohort.subjects_on(scanner))
        lacking = ["test"] if not subjects & tested else []
        lacking += ["training"] if any(not subjects & set(fold.train) for fold in folds) else []
        if lacking:
            raise InputError(
                f"no {lacking[0]} subject was seen on scanner '{scanner}' ({len(subjects)} subjects in all)",
                "add subjects of that scanner, ask for fewer folds, or change the splits",
            )
