"""Tuning the classical methods, on subjects that are not tested on: the bar a model must clear is set fairly high."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.evaluation.cases import ORACLE, run_method
from MRHarmonizationLib.evaluation.lowfield_protocol import LowFieldProtocol
from MRHarmonizationLib.evaluation.subjects import align, simulate, tuning_subject
from MRHarmonizationLib.methods.base import METHODS
from MRHarmonizationLib.metrics.base import METRICS, default_data_range

#: What is best is decided by the mean of this metric.
CRITERION = "psnr"


def tune_task(protocol: LowFieldProtocol, data: str, subject_index: int, acquisition_id: str) -> list[dict[str, Any]]:
    """Return one row per method, candidate and SNR for one tuning subject and acquisition.

    Returns
    -------
    list of dict
        Keys: acquisition, subject, snr, method, parameters (JSON text), psnr.
    """
    entry, acquisition = protocol.tuning.subjects[subject_index], protocol.acquisition(acquisition_id)
    subject = align(tuning_subject(entry, protocol, Path(data)), acquisition)
    truth = subject.truth.array
    data_range = default_data_range(truth, subject.mask)
    rows = []
    for snr in protocol.snr:
        seed = protocol.derived_seed(f"tuning-{entry['path']}-{acquisition.id}-{snr:g}")
        scan, noise = simulate(subject, acquisition, snr, seed)
        for method, parameters in ((name, tried) for name in protocol.methods for tried in candidates(name)):
            output = run_method(method, scan, subject.truth.grid, parameters, noise).array
            reached = METRICS.get(CRITERION)(output, truth, subject.mask, data_range).value
            rows.append(
                {
                    "acquisition": acquisition.id,
                    "subject": entry["path"],
                    "snr": snr,
                    "method": method,
                    "parameters": json.dumps(parameters, sort_keys=True),
                    CRITERION: round(reached, 6),
                }
            )
    return rows


def candidates(method: str) -> Iterator[dict[str, Any]]:
    """Iterate over a method's parameter grid; where it estimates the noise, the true noise is tried as well."""
    entry = METHODS.get(method)
    for parameters in entry.candidates():
        yield parameters
        if "noise_deviation" in entry.defaults:
            yield {**parameters, "noise_deviation": ORACLE}


def best_parameters(rows: list[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Return acquisition → method → the candidate with the best mean PSNR over subjects and SNR.

    Parameters
    ----------
    rows : list of dict
        From :func:`tune_task`, of every subject and acquisition.
    """
    scores: Mapping[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in rows:
        scores[row["acquisition"], row["method"], row["parameters"]].append(float(row[CRITERION]))
    best: dict[str, dict[str, dict[str, Any]]] = {}
    reached: dict[tuple[str, str], float] = {}
    for (acquisition, method, parameters), values in scores.items():
        mean = float(np.mean(values))
        if mean > reached.get((acquisition, method), -np.inf):
            reached[acquisition, method] = mean
            best.setdefault(acquisition, {})[method] = json.loads(parameters)
    return best
