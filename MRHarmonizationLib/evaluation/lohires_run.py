"""The evaluation of the low- to high-field networks: images, structures, tables, figures, report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import ModelNotFoundError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.evaluation.cached_rows import complete_rows
from MRHarmonizationLib.evaluation.lohires_figures import agreement_figures, montage_figures, score_figure
from MRHarmonizationLib.evaluation.lohires_methods import Contest, budget_words, contest, training_rows
from MRHarmonizationLib.evaluation.lohires_morphometry import agreement_csv_rows, summarise_regions
from MRHarmonizationLib.evaluation.lohires_page import lohires_page, text_lines
from MRHarmonizationLib.evaluation.lohires_protocol import LohiresProtocol
from MRHarmonizationLib.evaluation.lohires_regions import (
    Segmenter,
    choose_segmenter,
    missing_model_words,
    region_fingerprints,
    segment_task,
)
from MRHarmonizationLib.evaluation.lohires_rows import case_fingerprints, evaluate_method, is_kept
from MRHarmonizationLib.evaluation.lohires_tables import summarise
from MRHarmonizationLib.evaluation.lowfield_protocol import Case
from MRHarmonizationLib.evaluation.protocol import PROTOCOL_KINDS, EvaluationResult
from MRHarmonizationLib.evaluation.report import make_folder
from MRHarmonizationLib.evaluation.tasks import Task
from MRHarmonizationLib.volumes.atomic import write_bytes_atomic, write_csv, write_json_atomic, write_text_atomic

CASES_FILE, STRUCTURES_FILE, REGIONS_FILE = "cases.csv", "structures.csv", "regions.csv"
#: Share of the work until every image is there.
IMAGES_SHARE = 0.6


@PROTOCOL_KINDS.register("lohires")
def run_lohires(
    values: Mapping[str, Any],
    data: Path,
    out: Path,
    *,
    quick: bool,
    models: tuple[str, ...] | None,
    jobs: int,
    retune: bool,
    progress: Progress,
) -> EvaluationResult:
    """Run a low- to high-field protocol; see :func:`MRHarmonizationLib.evaluation.protocol.run_protocol`."""
    if retune:
        raise ParameterError(
            "protocol 'lohires' takes the tuned parameters of 'lowfield'", "tune there: evaluate lowfield --retune"
        )
    protocol = LohiresProtocol.from_dict(values, quick)
    entered = contest(protocol, models)
    cases = list(protocol.cases())
    segmenter, missing = _segmenter(protocol, cases, entered)
    for name in ("pictures", "images"):
        make_folder(out / name)
    wanted = {case.id: case_fingerprints(case, protocol, entered.methods) for case in cases}
    rows = _image_rows(protocol, data, out, cases, entered, wanted, jobs, progress.part(0.0, IMAGES_SHARE))
    structures: list[dict[str, Any]] = []
    if segmenter is not None:
        part = progress.part(IMAGES_SHARE, 0.97)
        structures = _structure_rows(protocol, data, out, cases, segmenter, wanted, jobs, part)
    summary = {
        "protocol": protocol.name,
        "version": protocol.version,
        "seed": protocol.seed,
        "contrast": protocol.contrast,
        "quick": quick,
        "weights": {method.name: method.weights for method in entered.methods if method.weights},
        "missing": dict(entered.missing),
        "training": training_rows(entered),
        "budget": budget_words(entered),
        **summarise(rows, protocol, entered),
        "morphometry": {"segmenter": segmenter.name, **summarise_regions(structures, protocol, entered)}
        if segmenter is not None and structures
        else {"missing": missing or "No whole heads take part in this protocol."},
    }
    progress.report(0.97, "Writing the report")
    done = _write(protocol, summary, rows, structures, cases, entered, data, out)
    progress.report(1.0, "done")
    return done


def _segmenter(protocol: LohiresProtocol, cases: Sequence[Case], entered: Contest) -> tuple[Segmenter | None, str]:
    """Return what finds the structures, or None and what the report says instead."""
    try:
        return choose_segmenter(protocol, cases, entered), ""
    except ModelNotFoundError as problem:
        return None, missing_model_words(problem, protocol.segmentation)


def _image_rows(
    protocol: LohiresProtocol,
    data: Path,
    out: Path,
    cases: Sequence[Case],
    entered: Contest,
    wanted: Mapping[str, Mapping[str, str]],
    jobs: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    by_id = {case.id: case for case in cases}

    def task(case: str, method: str, mark: str) -> Task:
        arguments = (by_id[case], protocol, str(data), str(out), entered.named(method), mark)
        return Task(f"{case} {method}", evaluate_method, arguments)

    return complete_rows(out / CASES_FILE, wanted, task, jobs, progress, lambda row: is_kept(row, protocol, out))


def _structure_rows(
    protocol: LohiresProtocol,
    data: Path,
    out: Path,
    cases: Sequence[Case],
    segmenter: Segmenter,
    images: Mapping[str, Mapping[str, str]],
    jobs: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    by_id = {case.id: case for case in cases}

    def task(case: str, method: str, mark: str) -> Task:
        arguments = (by_id[case], protocol, str(data), str(out), segmenter, method, mark)
        return Task(f"structures of {case} {method}", segment_task, arguments)

    return complete_rows(out / STRUCTURES_FILE, region_fingerprints(segmenter, images), task, jobs, progress)


def _write(
    protocol: LohiresProtocol,
    summary: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    structures: Sequence[Mapping[str, Any]],
    cases: Sequence[Case],
    entered: Contest,
    data: Path,
    out: Path,
) -> EvaluationResult:
    """Write tables, pictures and the page."""
    paths = {"report": out / "report.html", "csv": out / CASES_FILE, "json": out / "summary.json"}
    paths["pictures"] = out / "pictures"
    write_json_atomic(summary, paths["json"])
    if structures:
        paths["regions"] = out / REGIONS_FILE
        write_csv(agreement_csv_rows(summary["morphometry"]), paths["regions"])
    groups = list(dict.fromkeys(row["group"] for row in rows))
    drawn = {
        "scores": [
            (f"scores-{group}", f"{group}: one dot per subject", score_figure(mine, group))
            for group in groups
            if (mine := [row for row in rows if row["group"] == group])
        ],
        "volumes": agreement_figures(structures, protocol, entered) if structures else [],
    }
    shown = next((case for case in cases if case.snr == protocol.picture_snr and protocol.is_head(case)), None)
    drawn["montage"] = montage_figures(shown, protocol, str(data), out, entered) if shown is not None else []
    for figures in drawn.values():
        for stem, _, png in figures:
            write_bytes_atomic(png, paths["pictures"] / f"{stem}.png")
    pictures = {section: [(caption, png) for _, caption, png in figures] for section, figures in drawn.items()}
    write_text_atomic(lohires_page(protocol, summary, pictures), paths["report"])
    return EvaluationResult(protocol.name, summary, paths, tuple(text_lines(protocol, summary)))
