"""Volumes of the 32 structures in the images of the low- to high-field protocol, as tables and a verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from MRHarmonizationLib.core.brain_regions import REGIONS
from MRHarmonizationLib.evaluation.lohires_cases import BASELINE
from MRHarmonizationLib.evaluation.lohires_methods import FOUNDATION, LABEL_MAP, NETWORK, TRUTH, Contest
from MRHarmonizationLib.evaluation.lohires_protocol import LohiresProtocol
from MRHarmonizationLib.evaluation.lohires_regions import dice_of, volumes_of
from MRHarmonizationLib.evaluation.lohires_tables import mean_sd, paired_rows, text
from MRHarmonizationLib.evaluation.morphometry import mean_absolute_error, region_agreement, region_errors

Row = Mapping[str, Any]
#: What the volumes are held against: the same segmentation of the truth, and the map the head was made of.
AGAINST = {"truth": TRUTH, "labels": LABEL_MAP}
#: Column of the tests.
ERROR = "volume_error_percent"
BAR = "volume_error_reduction_percent"


def case_scores(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return one row per case and method: mean absolute relative error against truth and label map, mean Dice.

    Parameters
    ----------
    rows : sequence of mapping
        From ``segment_task``; numbers may be text.
    """
    volumes = {(row["case"], row["method"]): volumes_of(row) for row in rows}
    found = []
    for row in rows:
        scores: dict[str, Any] = {"case": row["case"], "subject": row["subject"], "method": row["method"]}
        for name, method in AGAINST.items():
            reference = volumes.get((row["case"], method))
            own = row["method"] not in (method, LABEL_MAP)
            error = mean_absolute_error(region_errors(volumes_of(row), reference)) if own and reference else math.nan
            scores[f"error_{name}"] = error if math.isfinite(error) else ""
        dice = [value for value in dice_of(row).values() if math.isfinite(value)]
        scores["dice"] = float(np.mean(dice)) if dice else ""
        found.append(scores | {ERROR: scores["error_truth"]})
    return found


def summarise_regions(rows: Sequence[Row], protocol: LohiresProtocol, entered: Contest) -> dict[str, Any]:
    """Return the tables of morphometry.

    Returns
    -------
    dict
        ``methods``: per method mean and SD over subjects of the mean absolute relative error of its volumes against
        the segmented truth (``error_truth``) and the label map (``error_labels``), of the mean Dice with the label map
        (``dice``), ``reduction_percent`` of the first against the low-field image, and means over structures of ICC
        and Pearson's r; ``regions``: method → table of :func:`~.morphometry.region_agreement` against the truth;
        ``dice``: method → FreeSurfer number → mean over subjects; ``tests``; ``bars``.
    """
    per_case = case_scores(rows)
    names = list(dict.fromkeys(row["method"] for row in rows))
    averaged = {name: subject_volumes(rows, name) for name in names}
    methods: dict[str, Any] = {}
    for name in names:
        mine = [row for row in per_case if row["method"] == name]
        methods[name] = {
            c: mean_sd(list(_by_subject(mine, c).values())) for c in ("error_truth", "error_labels", "dice")
        }
    base = methods.get(BASELINE, {}).get("error_truth", {}).get("mean")
    regions = {}
    for name in names:
        own = methods[name]["error_truth"]["mean"]
        known = base and own is not None
        methods[name]["reduction_percent"] = 100.0 * (1.0 - own / base) if known else None
        if name not in AGAINST.values() and TRUTH in averaged:
            subjects = [subject for subject in averaged[name] if subject in averaged[TRUTH]]
            table = region_agreement([averaged[name][s] for s in subjects], [averaged[TRUTH][s] for s in subjects])
            regions[name] = table
            for column in ("icc", "pearson"):
                values = [row[column] for row in table if row[column] is not None]
                methods[name][column] = float(np.mean(values)) if values else None
    tests = paired_rows("heads", per_case, protocol, entered, (ERROR,))
    dice = {name: _mean_dice([row for row in rows if row["method"] == name]) for name in names if name != LABEL_MAP}
    return {
        "methods": methods,
        "regions": regions,
        "dice": dice,
        "tests": tests,
        "bars": _bars(methods, protocol, entered),
    }


def subject_volumes(rows: Sequence[Row], method: str) -> dict[str, dict[int, float]]:
    """Return subject → FreeSurfer number → mean volume over the subject's scans, mm³."""
    found: dict[str, list[dict[int, float]]] = {}
    for row in rows:
        if row["method"] == method:
            found.setdefault(row["subject"], []).append(volumes_of(row))
    return {
        subject: {r.number: float(np.mean([scan[r.number] for scan in scans])) for r in REGIONS}
        for subject, scans in found.items()
    }


def method_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the methods as flat rows of text."""
    flat = []
    for name, entry in summary["methods"].items():
        reduction, icc, r = entry["reduction_percent"], entry.get("icc"), entry.get("pearson")
        judged = name not in AGAINST.values()
        flat.append(
            {
                "method": name,
                "error, %": text(entry["error_truth"], 1),
                "fall, %": "" if reduction is None or not judged or name == BASELINE else f"{reduction:+.0f}",
                "mean ICC(2,1)": "" if icc is None else f"{icc:.2f}",
                "mean r": "" if r is None else f"{r:.2f}",
                "error to label map, %": text(entry["error_labels"], 1),
                "Dice with label map": text(entry["dice"], 3) if name != LABEL_MAP else "",
            }
        )
    return flat


def region_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the structures as flat rows: mean relative error of every method, %, and its mean absolute value."""
    tables = summary["regions"]
    if not tables:
        return []
    flat = []
    for place, region in enumerate(REGIONS):
        first = next(iter(tables.values()))[place]
        volume = first["reference_mm3"]
        row: dict[str, Any] = {"structure": region.name, "truth, ml": "" if volume is None else f"{volume / 1000:.2f}"}
        for name, table in tables.items():
            mean, absolute = table[place]["error_percent"], table[place]["absolute_error_percent"]
            row[name] = "" if mean is None else f"{mean:+.1f} ({absolute:.1f})"
        flat.append(row)
    return flat


def agreement_rows(summary: Mapping[str, Any], method: str) -> list[dict[str, Any]]:
    """Return the structures as flat rows: agreement of one method's volumes with those of the truth."""
    flat = []
    for row in summary["regions"][method]:
        icc, low, high = (row[key] for key in ("icc", "icc_low", "icc_high"))
        interval = "" if low is None or high is None else f" ({low:.2f} to {high:.2f})"
        limits = row["bias_mm3"], row["lower_mm3"], row["upper_mm3"]
        known = None not in limits
        flat.append(
            {
                "structure": row["name"],
                "subjects": row["subjects"],
                "error, %": "" if row["error_percent"] is None else f"{row['error_percent']:+.1f}",
                "ICC(2,1), 95 %": "" if icc is None else f"{icc:.2f}{interval}",
                "r": "" if row["pearson"] is None else f"{row['pearson']:.2f}",
                "bias, ml": f"{limits[0] / 1000:+.2f}" if known else "",
                "limits of agreement, ml": f"{limits[1] / 1000:+.2f} to {limits[2] / 1000:+.2f}" if known else "",
            }
        )
    return flat


def agreement_csv_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return every method and structure with all its numbers, for a CSV."""
    return [
        {"method": name, **row, "dice": summary["dice"].get(name, {}).get(row["number"])}
        for name, table in summary["regions"].items()
        for row in table
    ]


def _bars(methods: Mapping[str, Any], protocol: LohiresProtocol, entered: Contest) -> list[dict[str, Any]]:
    required = protocol.bars.get(BAR)
    if required is None:
        return []
    judged = [name for name in entered.of_kind(FOUNDATION, NETWORK) if name in methods]
    return [
        {
            "method": name,
            "bar": "fall of the mean absolute relative error of volumes, %",
            "required": required,
            "reached": (reached := methods[name]["reduction_percent"]),
            "met": bool(reached is not None and reached >= required),
        }
        for name in judged
    ]


def _by_subject(rows: Sequence[Row], column: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for row in rows:
        if row[column] != "":
            found.setdefault(row["subject"], []).append(float(row[column]))
    return {subject: float(np.mean(values)) for subject, values in found.items()}


def _mean_dice(rows: Sequence[Row]) -> dict[int, float | None]:
    values = [dice_of(row) for row in rows]
    found: dict[int, float | None] = {}
    for region in REGIONS:
        known = [dice[region.number] for dice in values if math.isfinite(dice[region.number])]
        found[region.number] = float(np.mean(known)) if known else None
    return found
