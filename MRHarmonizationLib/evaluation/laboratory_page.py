"""Writing the laboratory's result down: tables, figures, and one HTML report that needs nothing else."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from MRHarmonizationLib import __version__
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.html import HtmlPage
from MRHarmonizationLib.evaluation.laboratory import LaboratoryResult
from MRHarmonizationLib.evaluation.laboratory_figures import (
    accuracy_figure,
    confusion_figure,
    examples_figure,
    tsne_figure,
)
from MRHarmonizationLib.evaluation.laboratory_runs import MODES
from MRHarmonizationLib.evaluation.laboratory_tables import (
    comparison_rows,
    lesion_rows,
    mixing_rows,
    prediction_rows,
    probe_rows,
    score_columns,
    verdicts,
)
from MRHarmonizationLib.evaluation.lesion_overlap import THRESHOLD_RULE
from MRHarmonizationLib.evaluation.report import make_folder, write_csv
from MRHarmonizationLib.volumes.atomic import write_bytes_atomic, write_json_atomic, write_text_atomic

SCORE_NOTE = (
    "Accuracy: share of test slices whose scanner is named right. Precision, recall and F1 are means over scanners "
    "weighted by their number of slices (macro averages are in scores.csv). Intervals: bootstrap over test subjects. "
    "Whole images: the mean probability of an image's slices decides. McNemar's test compares the same slices before "
    "and after; it takes slices for independent, which slices of one head are not, so its p values are too small."
)
MIXING_NOTE = (
    "Of the probe's features of the test slices. Silhouette: 1 where every scanner is a cluster of its own, 0 or less "
    "where scanners overlap. Mixed: share of slices whose nearest neighbours come from all scanners in proportion "
    "(kBET's acceptance rate), 1 well mixed, 0 separated."
)


@dataclass(frozen=True)
class LaboratoryPaths:
    """The files of a laboratory's result."""

    report: Path
    scores: Path
    predictions: Path
    lesions: Path
    summary: Path
    figures: Path

    def to_dict(self) -> dict[str, Path]:
        """Return the paths by name."""
        return dict(vars(self))


def write_laboratory(
    result: LaboratoryResult,
    out: str | Path,
    title: str = "Batch-effect laboratory",
    remarks: Sequence[str] = (),
    bars: Sequence[Mapping[str, Any]] = (),
    provenance: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> tuple[LaboratoryPaths, dict[str, Any]]:
    """Write ``report.html``, ``scores.csv``, ``predictions.csv``, ``lesions.csv``, ``summary.json`` and figures.

    Parameters
    ----------
    result : LaboratoryResult
    out : path
        Made if needed.
    title : str
    remarks : sequence of str
        Paragraphs under the title: what was simulated, what to keep in mind.
    bars : sequence of mapping
        What a protocol required and what was reached; a table of the report.
    provenance : mapping, optional
        Added to the settings in report and summary.
    progress : Progress, optional

    Returns
    -------
    paths : LaboratoryPaths
    summary : dict
        As in ``summary.json``.
    """
    progress = progress or Progress()
    folder = make_folder(out)
    figures = make_folder(folder / "figures")
    paths = LaboratoryPaths(
        folder / "report.html",
        folder / "scores.csv",
        folder / "predictions.csv",
        folder / "lesions.csv",
        folder / "summary.json",
        figures,
    )
    pictures = _pictures(result, progress)
    for name, (picture, _) in pictures.items():
        write_bytes_atomic(picture, figures / f"{name}.png")
    summary = {**_summary(result, provenance or {}), "bars": [dict(bar) for bar in bars]}
    write_csv(score_columns(result.rows), paths.scores)
    write_csv(prediction_rows(result), paths.predictions)
    write_csv([row for images in result.sets.values() for row in images.lesions], paths.lesions)
    write_json_atomic(summary, paths.summary)
    page = laboratory_page(result, title, remarks, summary, pictures)
    write_text_atomic(page, paths.report)
    progress.report(1.0, "done")
    return paths, summary


def laboratory_page(
    result: LaboratoryResult,
    title: str,
    remarks: Sequence[str],
    summary: Mapping[str, Any],
    pictures: Mapping[str, tuple[bytes, str]],
) -> str:
    """Return the report as one self-contained page; see :func:`write_laboratory`."""
    cohort, main = result.cohort, result.plan.probes[0]
    page = HtmlPage(
        title,
        f"{len(cohort.images)} images of {len(cohort.subjects)} subjects on {len(cohort.scanners)} scanners; tested on "
        f"{len({s for fold in result.folds for s in fold.test})} subjects that the probe was not trained on.",
    )
    for remark in remarks:
        page.paragraph(remark)
    for note in result.notes:
        page.paragraph(note, note=True)
    page.heading("What was found")
    for sentence in summary["verdicts"]:
        page.paragraph(sentence)
    page.table(summary["bars"])
    page.heading("Can the scanners be told apart?")
    for mode, meaning in MODES.items():
        page.paragraph(f"{mode.capitalize()}: {meaning}.")
    page.table(comparison_rows(result))
    page.paragraph(SCORE_NOTE)
    for name in [name for name in pictures if name.startswith("accuracy")]:
        page.picture(*pictures[name])
    if len(result.plan.probes) > 1:
        page.heading("Other probes")
        page.paragraph("Accuracy on the raw images, and of each probe retrained on each set of harmonised images.")
        page.table(probe_rows(result))
    page.heading("Do the scanners mix?")
    page.paragraph(MIXING_NOTE)
    page.table(mixing_rows(result))
    page.picture(*pictures[f"tsne-{main}"])
    page.heading("Which scanners are confused?")
    page.picture(*pictures[f"confusion-{main}"])
    if result.lesions:
        page.heading("Are the lesions still there?")
        page.paragraph(THRESHOLD_RULE)
        page.table(lesion_rows(result))
    page.heading("What the probe saw")
    page.picture(*pictures["examples"])
    page.heading("How it was done")
    page.table([{"key": key, "value": str(value)} for key, value in summary["settings"].items()])
    for number, fold in enumerate(result.folds, start=1):
        page.paragraph(f"Fold {number}, tested on: {', '.join(fold.test)}. Trained on: {', '.join(fold.train)}.")
    return page.render()


def _pictures(result: LaboratoryResult, progress: Progress) -> dict[str, tuple[bytes, str]]:
    main = result.plan.probes[0]
    pictures = {
        f"accuracy-{probe}": (accuracy_figure(result, probe), f"Accuracy of the probe {probe}.")
        for probe in result.plan.probes
    }
    progress.report(0.2, "figures")
    pictures[f"confusion-{main}"] = (
        confusion_figure(result, main),
        "Confusion matrices: each row shows as which scanner the test slices of one scanner were named.",
    )
    progress.report(0.4, "t-SNE maps")
    pictures[f"tsne-{main}"] = (
        tsne_figure(result, main),
        "t-SNE maps of the probe's features, one dot per test slice, coloured by scanner. Distances between clusters "
        "in such a map mean little; whether colours mix does.",
    )
    pictures["examples"] = (
        examples_figure(result),
        "One slice of a test subject on every scanner; every row on its own intensity scale.",
    )
    return pictures


def _summary(result: LaboratoryResult, provenance: Mapping[str, Any]) -> dict[str, Any]:
    plan = result.plan
    settings = {
        **plan.settings.to_dict(),
        "probes": list(plan.probes),
        "harmonizers": [name for name in result.sets if name != "raw"],
        "reference": plan.reference or result.cohort.scanners[0],
        "parameters": {name: dict(values) for name, values in plan.parameters.items()},
        "cohort": str(result.cohort.source),
        "library_version": __version__,
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        **provenance,
    }
    return {
        "verdicts": verdicts(result),
        "notes": list(result.notes),
        "scanners": list(result.cohort.scanners),
        "rows": [dict(row) for row in result.rows],
        "lesions": {name: dict(found) for name, found in result.lesions.items()},
        "settings": settings,
        "folds": [{"train": list(fold.train), "test": list(fold.test)} for fold in result.folds],
    }
