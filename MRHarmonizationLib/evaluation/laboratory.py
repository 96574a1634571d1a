"""The batch-effect laboratory: whether scanners can be told apart, before and after harmonisation.

Order of events: slices of the raw images, and of what each harmonizer makes of them → a probe trained on raw images of
some subjects, tested on others → the same probe on harmonised images (frozen) → a control with shuffled labels → probes
trained on harmonised images (retrained) → tables, figures, report.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib import __version__
from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.cohort import Cohort
from MRHarmonizationLib.evaluation.cohort_split import Fold, split_cohort
from MRHarmonizationLib.evaluation.harmonizers import Contrast, Enhancement, Harmonizer, make_harmonizer
from MRHarmonizationLib.evaluation.laboratory_runs import (
    FROZEN,
    RAW,
    RETRAINED,
    SHUFFLED,
    Bench,
    Trial,
    keep_trial,
    kept_trial,
    score_trial,
    shuffled_scanners,
)
from MRHarmonizationLib.evaluation.laboratory_sets import ImageSet, collect_set, digest_of
from MRHarmonizationLib.evaluation.lesion_overlap import overlap_summary
from MRHarmonizationLib.evaluation.probe_settings import ProbeSettings
from MRHarmonizationLib.evaluation.probe_slices import describe_sizes
from MRHarmonizationLib.evaluation.probes import PROBES
from MRHarmonizationLib.evaluation.report import make_folder
from MRHarmonizationLib.weights.store import get_model

#: With fewer test subjects than this, intervals over subjects are too narrow to be trusted.
FEW_TEST_SUBJECTS = 5
#: Share of the progress that harmonising takes; the rest is for the probes.
HARMONISING_SHARE = 0.4


@dataclass(frozen=True)
class LaboratoryPlan:
    """What is held to the probe, and how.

    Attributes
    ----------
    harmonizers : tuple of str
        Names; see ``harmonizer_names``.
    probes : tuple of str
        Names of registered probes; the first is the one of the tables.
    settings : ProbeSettings
    reference : str
        Scanner that fitted methods make the others look like; the first by name where empty.
    parameters : mapping of str to mapping
        Of classical upsampling methods, by name.
    extra : mapping of str to Harmonizer
        Further harmonizers that have no name of their own, such as a simulation's perfect one.
    jobs : int
        Processes that harmonise.

    Raises
    ------
    ParameterError
        Unknown probe, or a name twice.
    """

    harmonizers: tuple[str, ...] = ()
    probes: tuple[str, ...] = ("resnet50",)
    settings: ProbeSettings = field(default_factory=ProbeSettings)
    reference: str = ""
    parameters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    extra: Mapping[str, Harmonizer] = field(default_factory=dict)
    jobs: int = 1

    def __post_init__(self) -> None:
        for probe in self.probes:
            PROBES.get(probe)
        names = [*self.harmonizers, *self.extra]
        if not self.probes or len({*names}) != len(names) or RAW in names:
            raise ParameterError(
                f"probes {', '.join(self.probes) or 'none'}, harmonizers {', '.join(names) or 'none'}",
                "name one probe or more, and each harmonizer once",
            )


@dataclass(frozen=True, eq=False)
class LaboratoryResult:
    """What the laboratory found.

    Attributes
    ----------
    cohort : Cohort
    plan : LaboratoryPlan
    folds : tuple of Fold
    sets : mapping of str to ImageSet
        'raw' first, then every harmonizer.
    trials : tuple of Trial
    rows : tuple of dict
        Scores of each trial; see ``score_trial``.
    lesions : mapping of str to dict
        Overlap of lesions before and after, by harmonizer; empty without lesion masks.
    notes : tuple of str
        What a reader should mind.
    """

    cohort: Cohort
    plan: LaboratoryPlan
    folds: tuple[Fold, ...]
    sets: Mapping[str, ImageSet]
    trials: tuple[Trial, ...]
    rows: tuple[dict[str, Any], ...]
    lesions: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...]

    def row(self, images: str, mode: str, probe: str | None = None) -> dict[str, Any]:
        """Return the scores of one trial, of the first probe by default."""
        wanted = (probe or self.plan.probes[0], images, mode)
        return next(row for row in self.rows if (row["probe"], row["images"], row["mode"]) == wanted)

    def trial(self, images: str, mode: str, probe: str | None = None) -> Trial:
        """Return one trial, of the first probe by default."""
        wanted = (probe or self.plan.probes[0], images, mode)
        return next(trial for trial in self.trials if (trial.probe, trial.images, trial.mode) == wanted)


def run_laboratory(
    cohort: Cohort, plan: LaboratoryPlan, out: str | Path, progress: Progress | None = None
) -> LaboratoryResult:
    """Hold harmonizers to the scanner probe.

    Parameters
    ----------
    cohort : Cohort
    plan : LaboratoryPlan
    out : path
        Made if needed. ``slices`` and ``trials`` below it keep what is done, so that an interrupted run goes on where
        it stopped; ``write_laboratory`` adds tables and report.
    progress : Progress, optional

    Returns
    -------
    LaboratoryResult
        The same for the same cohort, plan and machine.

    Raises
    ------
    InputError
        The cohort cannot be split by subject, or an image cannot be used.
    ParameterError, ModelNotFoundError, WeightsError, DependencyError
        A probe or harmonizer is unknown or not usable here.
    OperationCancelled
    """
    progress = progress or Progress()
    settings = plan.settings
    folds = split_cohort(cohort, settings.test_share, settings.folds, settings.seed)
    harmonizers = _harmonizers(cohort, plan, folds)
    folder = Path(out)
    sets = _collect(cohort, plan, harmonizers, make_folder(folder / "slices"), progress.part(0.0, HARMONISING_SHARE))
    trials, rows = _try(
        cohort, plan, folds, sets, make_folder(folder / "trials"), progress.part(HARMONISING_SHARE, 1.0)
    )
    lesions = {name: found for name, s in sets.items() if (found := overlap_summary(s.lesions)) is not None}
    size_note = describe_sizes(sets[RAW].grids, settings)
    notes = [*cohort.warnings, *([size_note] if size_note else []), *_control_notes(rows)]
    notes += _weak_probe_notes(rows, plan.probes)
    tested = len({subject for fold in folds for subject in fold.test})
    if tested < FEW_TEST_SUBJECTS:
        notes.append(f"only {tested} test subjects: the intervals are narrower than they should be; try more folds")
    return LaboratoryResult(cohort, plan, folds, sets, trials, rows, lesions, tuple(notes))


def _harmonizers(cohort: Cohort, plan: LaboratoryPlan, folds: tuple[Fold, ...]) -> dict[str, Harmonizer]:
    """Return every harmonizer; methods that are fitted see no subject that is tested on (with folds: by any)."""
    scanner = plan.reference or cohort.scanners[0]
    if scanner not in cohort.scanners:
        raise ParameterError(
            f"reference scanner '{scanner}' is not in the cohort", f"choose one of: {', '.join(cohort.scanners)}"
        )
    tested = {subject for fold in folds for subject in fold.test}
    of_scanner = [image for image in cohort.images if image.scanner == scanner]
    references = [image for image in of_scanner if image.subject not in tested] or of_scanner
    threads = 1 if plan.jobs > 1 else None
    made: dict[str, Harmonizer] = {
        name: make_harmonizer(name, cohort.images, references, plan.parameters.get(name), threads)
        for name in plan.harmonizers
    }
    return made | dict(plan.extra)


def _identity(name: str, plan: LaboratoryPlan, harmonizer: Harmonizer | None) -> dict[str, Any]:
    """Return what tells this harmonizer from another of the same name."""
    values: dict[str, Any] = {"parameters": dict(plan.parameters.get(name, {}))}
    if isinstance(harmonizer, Contrast):
        values["state"] = harmonizer.fitted.digest()
    elif isinstance(harmonizer, Enhancement):
        values["weights"] = get_model(name).weights.sha256
    elif name in plan.extra:
        values["harmonizer"] = repr(plan.extra[name])
    return values


def _collect(
    cohort: Cohort, plan: LaboratoryPlan, harmonizers: Mapping[str, Harmonizer], store: Path, progress: Progress
) -> dict[str, ImageSet]:
    sets = {}
    todo: list[tuple[str, Harmonizer | None]] = [(RAW, None), *harmonizers.items()]
    for number, (name, harmonizer) in enumerate(todo):
        part = progress.part(number / len(todo), (number + 1) / len(todo))
        identity = _identity(name, plan, harmonizer)
        sets[name] = collect_set(name, cohort, harmonizer, plan.settings, store, identity, plan.jobs, part)
    return sets


def _try(
    cohort: Cohort,
    plan: LaboratoryPlan,
    folds: tuple[Fold, ...],
    sets: Mapping[str, ImageSet],
    store: Path,
    progress: Progress,
) -> tuple[tuple[Trial, ...], tuple[dict[str, Any], ...]]:
    """Run every trial of every probe; frozen trials right after the training on raw images that they rest on."""
    trials, rows = [], []
    names = [name for name in sets if name != RAW]
    for position, probe in enumerate(plan.probes):
        part = progress.part(position / len(plan.probes), (position + 1) / len(plan.probes))
        bench = Bench(probe, folds, len(cohort.scanners), plan.settings)
        found = _trials_of(bench, sets, names, store, part)
        before = found[0]
        for trial in found:
            compared = before if trial.mode in (FROZEN, RETRAINED) else None
            row = score_trial(trial, sets[trial.images].slices, bench, compared)
            if trial.mode in (FROZEN, RETRAINED):
                row["seconds"] = sets[trial.images].seconds
            rows.append(row)
        trials += found
    return tuple(trials), tuple(rows)


def _trials_of(
    bench: Bench, sets: Mapping[str, ImageSet], names: list[str], store: Path, progress: Progress
) -> list[Trial]:
    raw = sets[RAW].slices
    shuffled = shuffled_scanners(raw, bench.settings.seed)
    steps = 2 + len(names)
    fitted: list[Any] = []  # of the raw images: trained once, and only if a trial needs it

    def on_raw(part: Progress) -> list[Any]:
        if not fitted:
            fitted.extend(bench.train(raw, 0, part))
        return fitted

    def trial(number: int, images: str, mode: str) -> Trial:
        part = progress.part(number / steps, (number + 1) / steps)
        slices = sets[images].slices if mode != SHUFFLED else shuffled
        path = store / f"{bench.probe}-{images}-{mode}.npz"
        state = [__version__, bench.probe, bench.settings.to_dict(), bench.classes, mode, images]
        state += [[fold.train, fold.test] for fold in bench.folds]
        state += [_checksum(slices), _checksum(raw) if mode == FROZEN else ""]
        fingerprint = digest_of(state)
        empty = Trial(bench.probe, images, mode, *[np.zeros(0)] * 4)
        known = kept_trial(empty, path, fingerprint)
        if known is None:
            # another seed for every training: a retrained probe on unchanged images must not be the same network
            offset = zlib.crc32(f"{images} {mode}".encode())
            probes = on_raw(part) if mode in (RAW, FROZEN) else bench.train(slices, offset, part)
            known = bench.test(probes, slices, images, mode)
            keep_trial(known, path, fingerprint)
        part.report(1.0, f"{bench.probe}: {images}, {mode}")
        return known

    found = [trial(0, RAW, RAW)]
    found += [trial(0, name, FROZEN) for name in names]
    found.append(trial(1, RAW, SHUFFLED))
    found += [trial(2 + number, name, RETRAINED) for number, name in enumerate(names)]
    return found


def _checksum(slices: Any) -> str:
    import hashlib

    state = hashlib.sha256(np.ascontiguousarray(slices.pixels).tobytes())
    state.update(np.ascontiguousarray(slices.scanner).tobytes())
    return state.hexdigest()


def _weak_probe_notes(rows: tuple[dict[str, Any], ...], probes: tuple[str, ...]) -> list[str]:
    """Return where the first probe finds clearly less than another one: what one probe sees is there to be seen."""
    notes = []
    retrained = {(row["images"], row["probe"]): row for row in rows if row["mode"] == RETRAINED}
    for (images, probe), row in retrained.items():
        first = retrained[images, probes[0]]
        if row["accuracy_low"] > first["accuracy_high"]:
            notes.append(
                f"{images}: {probe}, retrained, tells more scanners apart ({row['accuracy']:.2f}) than {probes[0]} "
                f"({first['accuracy']:.2f}), which has learned too little here: believe the higher figure"
            )
    return notes


def _control_notes(rows: tuple[dict[str, Any], ...]) -> list[str]:
    """Return what the controls say against the figures: labels that leak, raw images that cannot be told apart."""
    notes = []
    for row in rows:
        if row["mode"] == SHUFFLED and row["accuracy_low"] > row["chance"]:
            notes.append(
                f"the control with shuffled labels reaches {row['accuracy']:.2f} ({row['probe']}; chance "
                f"{row['chance']:.2f}): test images resemble training images more than they should, or the test part "
                "is small"
            )
        if row["mode"] == RAW and row["accuracy_low"] <= row["chance"]:
            notes.append(
                f"{row['probe']} cannot tell the scanners apart on the raw images either ({row['accuracy']:.2f}, "
                f"chance {row['chance']:.2f}): its figures say nothing about harmonisation"
            )
    return notes
