"""One case of the low-field evaluation: simulate the scan, run every method and model, measure each."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from MRHarmonizationLib.evaluation.figures import display_window, planes_figure
from MRHarmonizationLib.evaluation.lowfield_protocol import Case, LowFieldProtocol
from MRHarmonizationLib.evaluation.subjects import Subject, load_case_subject, simulate
from MRHarmonizationLib.inference.enhance import EnhanceRequest, enhance
from MRHarmonizationLib.methods.base import METHODS
from MRHarmonizationLib.metrics.base import METRICS, default_data_range
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

#: Full-reference metrics of the tables.
SCORES = ("psnr", "ssim")
#: Value of a tuned parameter that stands for the true noise of the case.
ORACLE = "oracle"
CLASSICAL, MODEL = "classical", "model"


def evaluate_case(
    case: Case, protocol: LowFieldProtocol, data: str, fingerprints: Mapping[str, str], picture: str | None = None
) -> list[dict[str, Any]]:
    """Return one row per classical method and model that is asked for.

    Parameters
    ----------
    case : Case
    protocol : LowFieldProtocol
        With the tuned parameters of the methods.
    data : str
        Folder of real scans.
    fingerprints : mapping
        Methods and models to run, and what is written into the row of each: rows of another run are told by it.
    picture : str, optional
        Where to write a picture of the case (PNG).

    Returns
    -------
    list of dict
        Keys: case, group, subject, contrast, acquisition, snr, method, kind, psnr, ssim, data_range, voxels, seconds,
        fingerprint.
    """
    subject = load_case_subject(case, protocol, Path(data))
    acquisition = protocol.acquisition(case.acquisition)
    scan, noise = simulate(subject, acquisition, case.snr, case.seed)
    tuned = protocol.tuning.parameters.get(case.acquisition, {})
    rows, outputs = [], {}
    for name, fingerprint in fingerprints.items():
        kind = MODEL if name in protocol.models else CLASSICAL
        started = time.perf_counter()
        if kind == MODEL:
            output = run_model(name, scan, subject.truth.grid)
        else:
            output = run_method(name, scan, subject.truth.grid, tuned.get(name, {}), noise)
        seconds = time.perf_counter() - started
        outputs[name] = output
        rows.append(
            {
                "case": case.id,
                "group": case.group,
                "subject": case.subject,
                "contrast": case.contrast,
                "acquisition": case.acquisition,
                "snr": case.snr,
                "method": name,
                "kind": kind,
                **score(output, subject),
                "seconds": round(seconds, 3),
                "fingerprint": fingerprint,
            }
        )
    if picture is not None:
        Path(picture).write_bytes(case_picture(scan, outputs, rows, subject))
    return rows


def run_method(name: str, scan: Volume, grid: Grid, parameters: Mapping[str, Any], noise: float) -> Volume:
    """Run a classical method; a parameter whose value is "oracle" gets the true noise deviation."""
    known = {key: noise if value == ORACLE else value for key, value in parameters.items()}
    return METHODS.get(name).apply(scan, grid, **known)


def run_model(name: str, scan: Volume, grid: Grid) -> Volume:
    """Run a model on one thread and bring its output to a grid (a shift by whole voxels where sizes were aligned)."""
    result = enhance(scan, EnhanceRequest(model=name, device="cpu", threads=1, measure=False))
    return resample(result.volume, grid, "cubic")


def score(output: Volume, subject: Subject) -> dict[str, Any]:
    """Return PSNR and SSIM in the subject's mask on the truth's data range."""
    data_range = default_data_range(subject.truth.array, subject.mask)
    values: dict[str, Any] = {}
    for name in SCORES:
        measured = METRICS.get(name)(
            output.array, subject.truth.array, subject.mask, data_range, mask_name=subject.mask_name
        )
        values[name] = round(measured.value, 6)
        values.update(data_range=round(data_range, 6), voxels=measured.voxels)
    return values


def rounded(value: float, digits: int = 5) -> float | None:
    """Return a number for tables and strict JSON: rounded, None where it is not finite."""
    return round(value, digits) if math.isfinite(value) else None


def case_picture(
    scan: Volume, outputs: Mapping[str, Volume], rows: Sequence[Mapping[str, Any]], subject: Subject
) -> bytes:
    """Draw scan | cubic | best classical | models | truth with their scores, as PNG bytes."""
    scores = {row["method"]: f"{row['psnr']:.2f} dB, {row['ssim']:.3f}" for row in rows}
    classical = [row for row in rows if row["kind"] == CLASSICAL]
    best = max(classical, key=lambda row: row["psnr"])["method"]
    shown = list(dict.fromkeys([name for name in ("cubic", best) if name in outputs]))
    shown += [row["method"] for row in rows if row["kind"] == MODEL]
    images = [("acquired", resample(scan, subject.truth.grid, "nearest"))]
    images += [(f"{name}\n{scores[name]}", outputs[name]) for name in shown]
    images.append(("truth", subject.truth))
    return planes_figure(images, display_window(subject.truth, subject.mask), subject.mask)
