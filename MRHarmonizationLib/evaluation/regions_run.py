"""The evaluation of the brain's 32 structures: images of unseen label maps, segmented, held against the maps."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.brain_regions import REGIONS, dice_per_region, region_volumes_mm3
from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.degradations.label_images import BRAIN_LABELS, render_label_image, sample_label_image
from MRHarmonizationLib.evaluation.cached_rows import complete_rows
from MRHarmonizationLib.evaluation.cases import rounded, run_method
from MRHarmonizationLib.evaluation.lohires_cases import BASELINE, head_labels
from MRHarmonizationLib.evaluation.lohires_protocol import HeadBox
from MRHarmonizationLib.evaluation.lohires_tables import mean_sd
from MRHarmonizationLib.evaluation.morphometry import mean_absolute_error, region_errors
from MRHarmonizationLib.evaluation.protocol import PROTOCOL_KINDS, EvaluationResult
from MRHarmonizationLib.evaluation.regions_page import dice_figure, regions_page, text_lines
from MRHarmonizationLib.evaluation.regions_protocol import RegionCase, RegionsProtocol
from MRHarmonizationLib.evaluation.subjects import Subject, align, simulate
from MRHarmonizationLib.evaluation.tasks import Task
from MRHarmonizationLib.volumes.atomic import write_bytes_atomic, write_json_atomic, write_text_atomic
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.store import get_model

ROWS_FILE = "cases.csv"


@PROTOCOL_KINDS.register("regions")
def run_regions(
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
    """Run a protocol of structures; see :func:`MRHarmonizationLib.evaluation.protocol.run_protocol`."""
    if retune:
        raise ParameterError("protocol 'regions' has nothing to tune", "leave out --retune")
    protocol = RegionsProtocol.from_dict(values, quick)
    if models is not None:
        if len(models) != 1:
            raise ParameterError(f"{len(models)} models were named", "protocol 'regions' judges one at a time")
        protocol = replace(protocol, model=models[0])
    weights = get_model(protocol.model).weights.sha256
    cases = {case.id: case for case in protocol.cases()}
    wanted = {case.id: {protocol.model: _fingerprint(case, protocol, weights)} for case in cases.values()}

    def task(case: str, method: str, mark: str) -> Task:
        return Task(case, evaluate_regions_case, (cases[case], protocol, str(data), mark))

    rows = complete_rows(out / ROWS_FILE, wanted, task, jobs, progress.part(0.0, 0.98))
    summary = {
        "protocol": protocol.name,
        "version": protocol.version,
        "seed": protocol.seed,
        "quick": quick,
        "model": protocol.model,
        "weights": weights,
        "sets": [set_summary(rows, protocol, entry.id) for entry in protocol.sets],
    }
    paths = {"report": out / "report.html", "csv": out / ROWS_FILE, "json": out / "summary.json"}
    paths["picture"] = out / "dice.png"
    picture = dice_figure(summary)
    write_json_atomic(summary, paths["json"])
    write_bytes_atomic(picture, paths["picture"])
    write_text_atomic(regions_page(protocol, summary, picture), paths["report"])
    progress.report(1.0, "done")
    return EvaluationResult(protocol.name, summary, paths, tuple(text_lines(summary)))


def evaluate_regions_case(
    case: RegionCase, protocol: RegionsProtocol, data: str, fingerprint: str
) -> list[dict[str, Any]]:
    """Make one image, segment it, and hold it against its label map.

    Returns
    -------
    list of dict
        The one row. ``mean_dice`` over the structures that are in the map or the segmentation,
        ``volume_error_percent`` (mean absolute relative error), ``dice_NUMBER`` of every structure (an empty text
        where neither has it), seconds.
    """
    from MRHarmonizationLib.inference.segment import SegmentRequest, segment

    image, labels = region_image(case, protocol, data)
    started = time.perf_counter()
    found = segment(SegmentRequest(image, protocol.model, device="cpu", threads=1)).labels.array
    seconds = time.perf_counter() - started
    dice = {number: rounded(value) for number, value in dice_per_region(found, labels).items()}
    voxel = image.grid.voxel_volume_mm3
    errors = region_errors(region_volumes_mm3(found, voxel), region_volumes_mm3(labels, voxel))
    known = [value for value in dice.values() if value is not None]
    row = {
        "case": case.id,
        "method": protocol.model,
        **{key: value for key, value in asdict(case).items() if key != "id"},
        "mean_dice": rounded(float(np.mean(known))) if known else "",
        "volume_error_percent": rounded(mean_absolute_error(errors)),
        **{f"dice_{r.number}": "" if dice[r.number] is None else dice[r.number] for r in REGIONS},
        "seconds": round(seconds, 2),
        "fingerprint": fingerprint,
    }
    return [row]


def region_image(case: RegionCase, protocol: RegionsProtocol, data: str) -> tuple[Volume, np.ndarray]:
    """Return the image that is segmented, at 1 mm, and the label map on its voxels.

    A simulated scan is brought to 1 mm by cubic interpolation, as segmentation itself does with coarse scans.
    """
    subject, labels = _rendered(data, case.subject, protocol.head, case.contrast, case.image_seed)
    if not case.acquisition:
        return subject.truth, labels
    acquisition = protocol.acquisition(case.acquisition)
    subject = align(subject, acquisition)
    k, j, i = subject.truth.array.shape  # cut at the far ends alone
    scan, noise = simulate(subject, acquisition, case.snr, case.noise_seed)
    return run_method(BASELINE, scan, subject.truth.grid, {}, noise), labels[:k, :j, :i]


@lru_cache(maxsize=1)
def _rendered(data: str, path: str, head: HeadBox, contrast: str, seed: int) -> tuple[Subject, np.ndarray]:
    labels = head_labels(data, path, head)
    parameters = sample_label_image(np.random.default_rng(seed), labels.array, contrast)
    truth = labels.with_array(render_label_image(labels.array, parameters))
    return Subject(truth, np.isin(labels.array, BRAIN_LABELS), "32 brain structures"), labels.array


def set_summary(rows: Sequence[Mapping[str, Any]], protocol: RegionsProtocol, set_id: str) -> dict[str, Any]:
    """Return the figures of one set: mean and SD over subjects, each the mean of its images.

    Returns
    -------
    dict
        ``id``, ``title``, ``subjects``, ``images``; ``mean_dice`` and ``volume_error_percent`` (mean, sd);
        ``regions``: per structure its number, name, mean, sd; ``bar`` and whether it is ``met`` (None without a bar).
    """
    entry = next(one for one in protocol.sets if one.id == set_id)
    mine = [row for row in rows if row["set"] == set_id]
    columns = ("mean_dice", "volume_error_percent", *(f"dice_{r.number}" for r in REGIONS))
    found = {column: mean_sd(_subject_means(mine, column)) for column in columns}
    reached = found["mean_dice"]["mean"]
    return {
        "id": set_id,
        "title": entry.title,
        "subjects": len({row["subject"] for row in mine}),
        "images": len(mine),
        "mean_dice": found["mean_dice"],
        "volume_error_percent": found["volume_error_percent"],
        "regions": [{"number": r.number, "name": r.name, **found[f"dice_{r.number}"]} for r in REGIONS],
        "bar": entry.bar,
        "met": None if entry.bar is None else bool(reached is not None and reached >= entry.bar),
    }


def _subject_means(rows: Sequence[Mapping[str, Any]], column: str) -> list[float]:
    values: dict[str, list[float]] = {}
    for row in rows:
        if row[column] not in ("", None):
            values.setdefault(row["subject"], []).append(float(row[column]))
    return [value for found in values.values() if math.isfinite(value := float(np.mean(found)))]


def _fingerprint(case: RegionCase, protocol: RegionsProtocol, weights: str) -> str:
    acquisition = asdict(protocol.acquisition(case.acquisition)) if case.acquisition else {}
    state = [protocol.version, asdict(case), asdict(protocol.head), acquisition, protocol.model, weights]
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]
