"""One trial of a probe: train on some subjects, classify others; raw, frozen, retrained, or with shuffled labels."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.classification import bootstrap_scores, confusion_matrix, mcnemar
from MRHarmonizationLib.evaluation.cohort_split import Fold
from MRHarmonizationLib.evaluation.mixing import mixing_scores
from MRHarmonizationLib.evaluation.probe_settings import ProbeSettings
from MRHarmonizationLib.evaluation.probe_slices import SliceSet, fit_set_scale, normalise_each
from MRHarmonizationLib.evaluation.probes import PROBES, FittedProbe, ProbeOutput
from MRHarmonizationLib.volumes.atomic import write_bytes_atomic

RAW, SHUFFLED, FROZEN, RETRAINED = "raw", "shuffled", "frozen", "retrained"
#: What each mode is, for reports.
MODES = {
    RAW: "trained and tested on the raw images",
    SHUFFLED: "trained and tested on the raw images with the scanners' names dealt out at random: must end at chance, "
    "or images of one subject have leaked from training into test",
    FROZEN: "trained on the raw images, tested on the harmonised ones: shows that they look different, not that the "
    "scanners cannot be told apart",
    RETRAINED: "trained and tested on the harmonised images: shows whether the scanners can still be told apart",
}


@dataclass(frozen=True, eq=False)
class Trial:
    """What a probe said about the test slices of one image set.

    Attributes
    ----------
    probe, images, mode : str
        Name of the probe, of the image set, and one of :data:`MODES`.
    index : int ndarray, shape (N,)
        Positions of the test slices in the set, fold after fold.
    truth, predicted : int ndarray, shape (N,)
    probability : ndarray, shape (N, C)
    features : ndarray, shape (M, F)
        Of the test slices of the first fold: features of different networks cannot be mixed.
    """

    probe: str
    images: str
    mode: str
    index: np.ndarray
    truth: np.ndarray
    probability: np.ndarray
    features: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """Most probable class, int, shape (N,)."""
        return np.asarray(self.probability.argmax(axis=1))

    @property
    def right(self) -> np.ndarray:
        """Whether the prediction is right, bool, shape (N,)."""
        return np.asarray(self.predicted == self.truth)


@dataclass(frozen=True)
class Bench:
    """The settings of a set of trials with one probe.

    Attributes
    ----------
    probe : str
    folds : tuple of Fold
    classes : int
    settings : ProbeSettings
    """

    probe: str
    folds: tuple[Fold, ...]
    classes: int
    settings: ProbeSettings

    def train(self, slices: SliceSet, offset: int, progress: Progress) -> list[FittedProbe]:
        """Train one probe per fold; ``offset`` is added to the seed."""
        fitted = []
        for number, fold in enumerate(self.folds):
            chosen = slices.of_subjects(fold.train)
            pixels = self.prepared(slices, fold)[chosen]
            part = progress.part(number / len(self.folds), (number + 1) / len(self.folds))
            seed = self.settings.seed + offset
            learn = PROBES.get(self.probe)
            fitted.append(learn(pixels, slices.scanner[chosen], self.classes, self.settings, seed, part))
        return fitted

    def test(self, fitted: Sequence[FittedProbe], slices: SliceSet, images: str, mode: str) -> Trial:
        """Classify the test slices of every fold with that fold's probe."""
        positions = [slices.of_subjects(fold.test) for fold in self.folds]
        said: list[ProbeOutput] = [
            probe(self.prepared(slices, fold)[chosen])
            for probe, fold, chosen in zip(fitted, self.folds, positions, strict=True)
        ]
        index = np.concatenate(positions)
        probability = np.concatenate([output.probabilities for output in said])
        return Trial(self.probe, images, mode, index, slices.scanner[index], probability, said[0].features)

    def prepared(self, slices: SliceSet, fold: Fold) -> np.ndarray:
        """Return all slices on a scale of about 0 to 1; a scale of the whole set is fitted on the training subjects."""
        if self.settings.normalisation == "image":
            return normalise_each(slices.pixels, slices.image)
        return fit_set_scale(slices.pixels[slices.of_subjects(fold.train)]).normalise(slices.pixels)


def shuffled_scanners(slices: SliceSet, seed: int) -> SliceSet:
    """Return the slices with the scanners dealt out anew among the images; slices of one image stay together."""
    images, first = np.unique(slices.image, return_index=True)
    dealt = np.random.default_rng(seed).permutation(slices.scanner[first])
    return slices.with_scanner(dealt[np.searchsorted(images, slices.image)])


def score_trial(trial: Trial, slices: SliceSet, bench: Bench, before: Trial | None = None) -> dict[str, Any]:
    """Return the scores of a trial as one flat, JSON-ready row.

    Parameters
    ----------
    trial : Trial
    slices : SliceSet
        The set it was made on.
    bench : Bench
    before : Trial, optional
        On the raw images, for McNemar's test on the same slices.

    Returns
    -------
    dict
        Scores with the limits of the accuracy's interval, accuracy of whole images (mean probability of their
        slices), McNemar's counts and p, silhouette and acceptance of the features, confusion matrix.
    """
    settings = bench.settings
    subject = slices.subject[trial.index]
    found = bootstrap_scores(trial.truth, trial.predicted, subject, bench.classes, settings.seed, settings.draws)
    row: dict[str, Any] = {
        "probe": trial.probe,
        "images": trial.images,
        "mode": trial.mode,
        "subjects": int(np.unique(subject).size),
        "slices": int(trial.truth.size),
        "chance": chance_level(trial.truth),
    }
    for name, interval in found.items():
        row[name] = interval.value
        if name in ("accuracy", "f1_macro"):
            row |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    row["accuracy_images"] = image_accuracy(trial, slices)
    test = mcnemar(before.right, trial.right).to_dict() if before is not None else {}
    row |= {f"mcnemar_{key}": test.get(key) for key in ("only_before", "only_after", "p")}
    mixing = mixing_scores(trial.features, trial.truth[: len(trial.features)])
    row |= {"silhouette": mixing.silhouette, "acceptance": mixing.acceptance, "neighbours": mixing.neighbours}
    row["confusion"] = confusion_matrix(trial.truth, trial.predicted, bench.classes).tolist()
    return row


def chance_level(truth: np.ndarray) -> float:
    """Return the share of the most frequent class: what guessing one scanner always would reach."""
    return float(np.bincount(truth).max() / truth.size)


def image_accuracy(trial: Trial, slices: SliceSet) -> float:
    """Return the share of whole images that are told right by the mean probability of their slices."""
    image = slices.image[trial.index]
    right = []
    for number in np.unique(image):
        mine = image == number
        right.append(trial.probability[mine].mean(axis=0).argmax() == trial.truth[mine][0])
    return float(np.mean(right))


def keep_trial(trial: Trial, path: Path, fingerprint: str) -> None:
    """Write a trial into a file, whole or not at all."""
    stream = io.BytesIO()
    arrays = {name: getattr(trial, name) for name in ("index", "truth", "probability", "features")}
    np.savez(stream, fingerprint=np.array(fingerprint), **arrays)
    write_bytes_atomic(stream.getvalue(), path)


def kept_trial(empty: Trial, path: Path, fingerprint: str) -> Trial | None:
    """Return the trial a file holds, with the names of ``empty``; None unless it was made in just the same way."""
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            if str(stored["fingerprint"]) != fingerprint:
                return None
            arrays = {name: stored[name] for name in ("index", "truth", "probability", "features")}
    except (OSError, ValueError, KeyError):  # a file of another make: do the work again
        return None
    return replace(empty, **arrays)
