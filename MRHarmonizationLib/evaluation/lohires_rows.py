"""One image of the low- to high-field protocol: made by one method of one case, measured, kept for segmentation."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.evaluation.cases import rounded, run_method, run_model
from MRHarmonizationLib.evaluation.lohires_cases import PreparedScan, ProtocolKey, prepared_scan
from MRHarmonizationLib.evaluation.lohires_measures import consistency, flicker, image_scores, lesion_counts
from MRHarmonizationLib.evaluation.lohires_methods import CLASSICAL, REFERENCE, LohiresMethod
from MRHarmonizationLib.evaluation.lohires_protocol import LohiresProtocol
from MRHarmonizationLib.evaluation.lowfield_protocol import Case
from MRHarmonizationLib.volumes.files import write_volume
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume


def case_fingerprints(case: Case, protocol: LohiresProtocol, methods: tuple[LohiresMethod, ...]) -> dict[str, str]:
    """Return a short digest per method of what decides its row: subject, scan, parameters or weights."""
    group, acquisition = protocol.group_of(case), protocol.acquisition_of(case)
    tuned = protocol.scans().tuning.parameters.get(case.acquisition, {})
    shared = [
        protocol.version,
        protocol.seed,
        asdict(case),
        dict(acquisition.parameters),
        acquisition.slice_direction,
        group.extend_to_mm,
        asdict(protocol.head) if group.kind == "labels" else None,
        dict(protocol.lesions) if group.kind == "labels" else None,
    ]
    digests = {}
    for method in methods:
        decides = dict(tuned.get(method.name, {})) if method.kind == CLASSICAL else method.weights
        state = [*shared, method.name, method.kind, decides]
        digests[method.name] = hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16]
    return digests


def image_path(out: Path | str, case: str, method: str) -> Path:
    """Return where the image of a method is kept."""
    return Path(out) / "images" / case / f"{method}.nii.gz"


def evaluate_method(
    case: Case, protocol: LohiresProtocol, data: str, out: str, method: LohiresMethod, fingerprint: str
) -> list[dict[str, Any]]:
    """Run one method on one case; whole heads are kept as images, rounded to whole numbers.

    Parameters
    ----------
    case : Case
    protocol : LohiresProtocol
    data, out : str
        Folders of the subjects, and of the report.
    method : LohiresMethod
    fingerprint : str
        Written into the row: rows of another run are told by it.

    Returns
    -------
    list of dict
        The one row; see :mod:`~MRHarmonizationLib.evaluation.lohires_measures` for its scores. ``consistency``: 1 for
        an image as consistent with the scan as the truth is.
    """
    prepared = prepared_scan(case, ProtocolKey(protocol), data)
    started = time.perf_counter()
    image = _image(case, protocol, method, prepared)
    seconds = time.perf_counter() - started
    row = {
        "case": case.id,
        "group": case.group,
        "subject": case.subject,
        "contrast": protocol.contrast,
        "acquisition": case.acquisition,
        "snr": case.snr,
        "method": method.name,
        "kind": method.kind,
        **image_scores(image.array, prepared, method.kind == REFERENCE),
        **flicker(image.array, prepared),
        "consistency": rounded(consistency(image, prepared)),
        **lesion_counts(image, prepared),
        "seconds": round(seconds, 2),
        "fingerprint": fingerprint,
    }
    if protocol.is_head(case):
        path = image_path(out, case.id, method.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = np.clip(np.rint(image.array), -32768, 32767).astype(np.int16)
        write_volume(Volume(whole, image.grid, method.name), path)
    return [row]


def is_kept(row: Mapping[str, Any], protocol: LohiresProtocol, out: Path) -> bool:
    """Tell whether the image that belongs to a finished row is still there, where one is kept."""
    heads = {group["id"] for group in protocol.groups[protocol.contrast] if group["kind"] == "labels"}
    return row["group"] not in heads or image_path(out, row["case"], row["method"]).is_file()


def _image(case: Case, protocol: LohiresProtocol, method: LohiresMethod, prepared: PreparedScan) -> Volume:
    truth = prepared.subject.truth
    if method.kind == REFERENCE:
        return truth
    if method.kind == CLASSICAL:
        tuned = protocol.scans().tuning.parameters.get(case.acquisition, {})
        return run_method(method.name, prepared.scan, truth.grid, tuned.get(method.name, {}), prepared.noise)
    image = run_model(method.name, prepared.scan, truth.grid)
    if not np.isfinite(image.array).all():
        bad = int(np.count_nonzero(~np.isfinite(image.array)))
        raise InputError(f"model '{method.name}' gave {bad} values that are NaN or infinite", "train or import it anew")
    return resample(image, truth.grid) if image.array.shape != truth.array.shape else image
