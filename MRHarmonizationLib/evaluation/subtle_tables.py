"""Tables of the specialists' protocol: scores, agreement of trainings, paired tests, and what was required."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from MRHarmonizationLib.evaluation.cached_rows import number
from MRHarmonizationLib.evaluation.paired_tests import holm, paired_test
from MRHarmonizationLib.evaluation.subtle_protocol import (
    ACQUIRED,
    CLASSICAL,
    COARSE,
    COMBINED,
    DETAIL,
    DISTILLED,
    NAIVE,
    NOISE,
    SYNTHETIC,
    SubtleProtocol,
)
from MRHarmonizationLib.evaluation.subtle_statistics import clustered_agreement

#: Trainings whose SSIM is held against each other, and those compared by paired tests: (first, second).
AGREED = ((ACQUIRED, SYNTHETIC), (ACQUIRED, COMBINED))
TESTED = (*AGREED, (NAIVE, DISTILLED), (NAIVE, SYNTHETIC))
#: Scores of the paired tests, and which way is better.
TESTED_SCORES = {"piqe": "lower", "maniqa": "higher", "ssim": "higher"}

Rows = Sequence[Mapping[str, Any]]


def values_of(rows: Iterable[Mapping[str, Any]], score: str) -> dict[tuple[str, int], float]:
    """Return (case, slice) → score, where the score was taken."""
    found = {(str(row["case"]), int(row["slice"])): number(row, score) for row in rows}
    return {place: value for place, value in found.items() if value is not None}


def of_task(rows: Rows, protocol: SubtleProtocol, task: str) -> list[Mapping[str, Any]]:
    """Return the rows of a task."""
    return [row for row in rows if protocol.scans[row["scan"]] == task]


def subject_means(rows: Iterable[Mapping[str, Any]], score: str) -> dict[str, float]:
    """Return person → mean over that person's images of the mean over slices."""
    images: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        value = number(row, score)
        if value is not None:
            images.setdefault(str(row["person"]), {}).setdefault(str(row["case"]), []).append(value)
    return {person: float(np.mean([np.mean(v) for v in cases.values()])) for person, cases in images.items()}


def score_rows(rows: Rows) -> list[dict[str, Any]]:
    """Return one row per scan and method: means over persons, gain in dB over the scan as it is, and the worst."""
    table = []
    for scan in dict.fromkeys(row["scan"] for row in rows):
        mine = [row for row in rows if row["scan"] == scan]
        base = subject_means([row for row in mine if row["method"] in ("input", "cubic")], "psnr")
        for method in dict.fromkeys(row["method"] for row in mine):
            those = [row for row in mine if row["method"] == method]
            means = {score: subject_means(those, score) for score in ("psnr", "ssim", "piqe", "maniqa")}
            gains = [means["psnr"][person] - base[person] for person in means["psnr"] if person in base]
            table.append(
                {
                    "scan": scan,
                    "method": method,
                    "subjects": len(means["psnr"]),
                    "slices": len(those),
                    "psnr": _mean(means["psnr"], 2),
                    "gain_db": round(float(np.mean(gains)), 2) if gains else "",
                    "worst_gain_db": round(float(np.min(gains)), 2) if gains else "",
                    "ssim": _mean(means["ssim"], 4),
                    "piqe": _mean(means["piqe"], 2),
                    "maniqa": _mean(means["maniqa"], 4),
                    "seconds": round(float(np.mean([float(row["seconds"]) for row in those])), 2),
                }
            )
    return table


def _mean(values: Mapping[str, float], digits: int) -> Any:
    return round(float(np.mean(list(values.values()))), digits) if values else ""


def slice_pairs(rows: Rows, first: str, second: str, score: str) -> dict[str, np.ndarray]:
    """Return person → (N, 2) values of two methods on the same slices; empty where one of them was not judged."""
    one, two = (values_of([row for row in rows if row["method"] == name], score) for name in (first, second))
    persons = {str(row["case"]): str(row["person"]) for row in rows}
    shared: dict[str, list[tuple[float, float]]] = {}
    for place in one:
        if place in two:
            shared.setdefault(persons[place[0]], []).append((one[place], two[place]))
    return {person: np.array(pairs) for person, pairs in shared.items()}


def agreement_rows(rows: Rows, protocol: SubtleProtocol) -> list[dict[str, Any]]:
    """Return the agreement of SSIM, slice by slice, of every two trainings of each task: over all its scans."""
    table = []
    for task in (NOISE, DETAIL):
        for first, second in AGREED:
            pairs = slice_pairs(of_task(rows, protocol, task), first, second, "ssim")
            if sum(len(values) for values in pairs.values()) < 2:
                continue
            found = clustered_agreement(pairs, protocol.draws, protocol.derived_seed(f"{task}{first}{second}"))
            limits, correlation = found.limits, found.correlation
            table.append(
                {
                    "task": task,
                    "first": first,
                    "second": second,
                    "subjects": found.subjects,
                    "slices": found.slices,
                    "r": round(correlation.r, 4),
                    "r_slices": _interval(correlation.low, correlation.high),
                    "r_subjects": _interval(*found.r_interval),
                    "bias": round(limits.bias, 5),
                    "bias_subjects": _interval(*found.bias_interval),
                    "lower": round(limits.lower, 5),
                    "lower_subjects": _interval(*found.lower_interval),
                    "upper": round(limits.upper, 5),
                    "upper_subjects": _interval(*found.upper_interval),
                }
            )
    return table


def _interval(low: float, high: float) -> str:
    return "" if not np.isfinite(low) or not np.isfinite(high) else f"{low:.4g} to {high:.4g}"


def paired_rows(rows: Rows, protocol: SubtleProtocol) -> list[dict[str, Any]]:
    """Return paired tests of two trainings: over persons, and over slices as the paper made them.

    p values over persons are corrected together for their number (Holm); slices of one head are not independent, and
    their p values too small.
    """
    table: list[dict[str, Any]] = []
    for task in (NOISE, DETAIL):
        mine = of_task(rows, protocol, task)
        for first, second in TESTED:
            for score, better in TESTED_SCORES.items():
                pairs = slice_pairs(mine, first, second, score)
                if not pairs:
                    continue
                persons = np.array([values.mean(axis=0) for values in pairs.values()])
                slices = np.concatenate(list(pairs.values()))
                clustered, plain = (paired_test(v[:, 1], v[:, 0]) for v in (persons, slices))
                table.append(
                    {
                        "task": task,
                        "first": first,
                        "second": second,
                        "score": f"{score} ({better} is better)",
                        "median_first": round(float(np.median(slices[:, 0])), 4),
                        "median_second": round(float(np.median(slices[:, 1])), 4),
                        "difference": round(clustered.difference, 4),
                        "subjects": clustered.pairs,
                        "t_p": clustered.t_p,
                        "wilcoxon_p": clustered.wilcoxon_p,
                        "slices": plain.pairs,
                        "t_p_slices": plain.t_p,
                        "wilcoxon_p_slices": plain.wilcoxon_p,
                    }
                )
    for name in ("t_p", "wilcoxon_p"):
        for row, adjusted in zip(table, holm([row[name] for row in table]) if table else [], strict=True):
            row[f"{name}_holm"] = float(adjusted)
    return [{key: _rounded(value) for key, value in row.items()} for row in table]


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    return "" if not np.isfinite(value) else float(f"{value:.4g}")


def verdicts(rows: Rows, protocol: SubtleProtocol) -> list[dict[str, Any]]:
    """Return what was required, what was reached, and whether that suffices; only of what was judged."""
    found: list[dict[str, Any]] = []
    for scan, task in protocol.scans.items():
        mine = [row for row in rows if row["scan"] == scan]
        psnr = {m: subject_means([r for r in mine if r["method"] == m], "psnr") for m in _methods(mine)}
        found += _specialist_verdicts(scan, task, psnr, protocol)
    for task in (NOISE, DETAIL):
        pairs = slice_pairs(of_task(rows, protocol, task), ACQUIRED, SYNTHETIC, "ssim")
        if pairs:
            persons = np.array([values.mean(axis=0) for values in pairs.values()])
            gap = float(abs((persons[:, 1] - persons[:, 0]).mean()))
            most = protocol.bars.get("synthetic_within_ssim")
            found.append(_verdict(task, "SSIM between synthetic- and acquired-trained", gap, most, at_most=True))
    return found


def _specialist_verdicts(
    scan: str, task: str, psnr: Mapping[str, Mapping[str, float]], protocol: SubtleProtocol
) -> list[dict[str, Any]]:
    bars, found = protocol.bars, []

    def gain(first: str, second: str) -> float:
        return float(np.mean([psnr[first][p] - psnr[second][p] for p in psnr[first] if p in psnr[second]]))

    if ACQUIRED in psnr:
        if "input" in psnr:
            over = gain(ACQUIRED, "input")
            found.append(_verdict(scan, "dB over the input", over, bars.get("denoise_over_input_db")))
        rivals = [name for name in CLASSICAL[task] if name in psnr and name != "input"]
        if rivals:
            best = min(rivals, key=lambda name: gain(ACQUIRED, name))
            bar = "super_resolve_over_interpolation_db" if scan == COARSE else "denoise_over_classical_db"
            found.append(_verdict(scan, f"dB over {best}", gain(ACQUIRED, best), bars.get(bar)))
        if protocol.general in psnr:
            lead = gain(ACQUIRED, protocol.general)
            most = bars.get("general_within_db")
            found.append(_verdict(scan, f"dB of the specialist over {protocol.general}", lead, most, at_most=True))
    if NAIVE in psnr:
        routes = [name for name in (DISTILLED, SYNTHETIC) if name in psnr]
        for name in routes:
            found.append(_verdict(scan, f"dB of {name} over naive, misaligned pairs", gain(name, NAIVE), None))
        if routes:
            best = max(routes, key=lambda name: gain(name, NAIVE))
            text = "dB of the better of them over naive, misaligned pairs"
            found.append(_verdict(scan, text, gain(best, NAIVE), 0.0, strictly=True))
    return found


def _methods(rows: Rows) -> list[str]:
    return list(dict.fromkeys(str(row["method"]) for row in rows))


def _verdict(
    scan: str, what: str, value: float, required: float | None, at_most: bool = False, strictly: bool = False
) -> dict[str, Any]:
    met: Any = ""
    if required is not None:
        met = bool(value <= required if at_most else value > required if strictly else value >= required)
    wanted = (
        "" if required is None else f"{'at most' if at_most else 'more than' if strictly else 'at least'} {required:g}"
    )
    return {"scan": scan, "what": what, "value": round(value, 4), "required": wanted, "met": met}
