"""Tables of the low- to high-field protocol: means over subjects, paired tests, and the paper's claim in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.evaluation.cached_rows import number
from MRHarmonizationLib.evaluation.lohires_cases import BASELINE
from MRHarmonizationLib.evaluation.lohires_measures import AXES
from MRHarmonizationLib.evaluation.lohires_methods import CLASSICAL, FOUNDATION, NETWORK, Contest
from MRHarmonizationLib.evaluation.lohires_protocol import LohiresProtocol
from MRHarmonizationLib.evaluation.paired_tests import holm, paired_test

Row = Mapping[str, Any]
#: All groups together, in tests.
ALL = "all"
#: Scores that are tested: column → (title, digits, whether higher is better).
TESTED: Mapping[str, tuple[str, int, bool]] = {
    "psnr": ("PSNR dB", 2, True),
    "ssim": ("SSIM", 4, True),
    "nrmse": ("NRMSE", 4, False),
    "piqe": ("PIQE", 1, False),
}
#: Scores beside them.
FURTHER = (*(f"{what}_{axis}" for what in ("flicker", "step") for axis in AXES), "consistency", "seconds")
LESION_SUMS = ("lesions", "lost", "visible", "lost_visible", "added")
#: From this p on (after Holm's correction) a difference is not called one.
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Comparison:
    """Two methods that are tested against each other: what is asked is whether the first is better."""

    first: str
    second: str


def comparisons(protocol: LohiresProtocol, entered: Contest) -> list[Comparison]:
    """Return every method against the low-field image, and every network with an adversary against the plain one."""
    names = entered.of_kind(CLASSICAL, FOUNDATION, NETWORK)
    pairs = [Comparison(name, BASELINE) for name in names if name != BASELINE and BASELINE in names]
    plain = protocol.model_of(protocol.plain)
    networks = entered.of_kind(NETWORK)
    return pairs + [Comparison(name, plain) for name in networks if name != plain and plain in networks]


def subject_means(rows: Sequence[Row], column: str) -> dict[str, dict[str, float]]:
    """Return method → subject → mean over the subject's scans; scans without the number are left out."""
    values: dict[str, dict[str, list[float]]] = {}
    for row in rows:
        value = number(row, column)
        if value is not None:
            values.setdefault(row["method"], {}).setdefault(row["subject"], []).append(value)
    return {m: {s: float(np.mean(found)) for s, found in subjects.items()} for m, subjects in values.items()}


def summarise(rows: Sequence[Row], protocol: LohiresProtocol, entered: Contest) -> dict[str, Any]:
    """Return the tables of image quality.

    Parameters
    ----------
    rows : sequence of mapping
        From ``evaluate_method``, all cases; numbers may be text.
    protocol : LohiresProtocol
    entered : Contest

    Returns
    -------
    dict
        ``groups``: per group its subjects, scans, and per method its kind, the mean and SD over subjects of every
        score, and the sums of lesions. ``tests``: see :func:`paired_rows`, per group and over all subjects.
        ``claims``: the paper's claim, per group and score, in words.
    """
    groups, tests = [], []
    ids = list(dict.fromkeys(row["group"] for row in rows))
    for group in ids:
        mine = [row for row in rows if row["group"] == group]
        groups.append(_group(group, mine, protocol))
        tests += paired_rows(group, mine, protocol, entered)
    if len(ids) > 1:
        tests += paired_rows(ALL, rows, protocol, entered)
    claims = [claim for entry in groups for claim in _claims(entry, tests, protocol, entered)]
    return {"groups": groups, "tests": tests, "claims": claims}


def _group(group: str, rows: Sequence[Row], protocol: LohiresProtocol) -> dict[str, Any]:
    scores = {column: subject_means(rows, column) for column in (*TESTED, *FURTHER)}
    methods = {}
    for name, kind in {row["method"]: row["kind"] for row in rows}.items():
        mine = [row for row in rows if row["method"] == name]
        methods[name] = {
            "kind": kind,
            "scores": {column: mean_sd(list(found.get(name, {}).values())) for column, found in scores.items()},
            "lesions": {
                column: int(sum(values))
                if (values := [v for row in mine if (v := number(row, column)) is not None])
                else None
                for column in LESION_SUMS
            },
        }
    title = next(entry["title"] for entry in protocol.groups[protocol.contrast] if entry["id"] == group)
    subjects, scans = {row["subject"] for row in rows}, {row["case"] for row in rows}
    return {"group": group, "title": title, "subjects": len(subjects), "scans": len(scans), "methods": methods}


def mean_sd(values: Sequence[float]) -> dict[str, float | None]:
    """Return ``mean`` and ``sd`` (N − 1); None where there are too few values."""
    known = np.array([value for value in values if math.isfinite(value)], float)
    return {
        "mean": float(known.mean()) if known.size else None,
        "sd": float(known.std(ddof=1)) if known.size > 1 else None,
    }


def paired_rows(
    group: str, rows: Sequence[Row], protocol: LohiresProtocol, entered: Contest, columns: Sequence[str] = tuple(TESTED)
) -> list[dict[str, Any]]:
    """Return paired tests over subjects, the p values of each score corrected for their number by Holm's method.

    Parameters
    ----------
    group : str
        For the rows.
    rows : sequence of mapping
        With ``method``, ``subject`` and the columns.
    protocol, entered
        Decide what is compared; see :func:`comparisons`.
    columns : sequence of str
        Scores; the tests of each are a family of their own.

    Returns
    -------
    list of dict
        group, score, first, second, subjects, difference (first − second), sd, t_p, t_holm, wilcoxon_p,
        wilcoxon_holm; None where a number is not defined.
    """
    found = []
    for column in columns:
        means = subject_means(rows, column)
        family = []
        for pair in comparisons(protocol, entered):
            one, other = means.get(pair.first, {}), means.get(pair.second, {})
            shared = [subject for subject in one if subject in other]
            if not shared:
                continue
            test = paired_test([one[s] for s in shared], [other[s] for s in shared])
            family.append((pair, test))
        for_t, for_w = (holm([getattr(test, key) for _, test in family]) for key in ("t_p", "wilcoxon_p"))
        for (pair, test), t, w in zip(family, for_t, for_w, strict=True):
            found.append(
                {
                    "group": group,
                    "score": column,
                    "first": pair.first,
                    "second": pair.second,
                    "subjects": test.pairs,
                    "difference": test.difference,
                    "sd": _finite(test.deviation),
                    "t_p": _finite(test.t_p),
                    "t_holm": _finite(t),
                    "wilcoxon_p": _finite(test.wilcoxon_p),
                    "wilcoxon_holm": _finite(w),
                }
            )
    return found


def _claims(
    group: Mapping[str, Any], tests: Sequence[Row], protocol: LohiresProtocol, entered: Contest
) -> list[dict[str, Any]]:
    """Return per score what becomes of "networks with an adversary beat the plain one, and the proposed is best"."""
    claims = []
    judged = {protocol.model_of(network) for network in protocol.networks}
    for column, (title, _, higher) in TESTED.items():
        means = {
            name: entry["scores"][column]["mean"]
            for name, entry in group["methods"].items()
            if name in judged and entry["scores"][column]["mean"] is not None
        }
        of_group = [test for test in tests if test["group"] == group["group"] and test["score"] == column]
        words = claim_words(means, higher, of_group, protocol)
        claims.append({"group": group["group"], "score": title, **words})
    return claims


def claim_words(
    means: Mapping[str, float], higher: bool, tests: Sequence[Row], protocol: LohiresProtocol
) -> dict[str, str]:
    """Return the order of the networks by one score, and the two parts of the claim judged.

    Parameters
    ----------
    means : mapping
        Network → mean over subjects.
    higher : bool
        More is better.
    tests : sequence of mapping
        From :func:`paired_rows`, of this score and group.
    protocol : LohiresProtocol

    Returns
    -------
    dict
        ``order``, best first; ``gans_beat_unet``: 'confirmed' where every network with an adversary has a better mean
        than the plain one and every difference has a corrected p below .05, 'in the means only', 'refuted', or 'not
        judged' where a network is missing; ``lohiresgan_is_best``: the same for the proposed network's place.
    """
    order = sorted(means, key=means.__getitem__, reverse=higher)
    plain, proposed = protocol.model_of(protocol.plain), protocol.model_of(protocol.proposed)
    wanted = {protocol.model_of(network) for network in protocol.networks}
    words = {"order": ", ".join(f"{n} {means[n]:.4g}" for n in order), "gans_beat_unet": "not judged"}
    words["lohiresgan_is_best"] = "not judged"
    if not wanted <= set(means):
        return words
    sign = 1 if higher else -1
    rivals = [name for name in order if name != plain]
    better = [sign * (means[name] - means[plain]) > 0 for name in rivals]
    against = [test for test in tests if test["second"] == plain and test["first"] in rivals]
    clear = bool(against) and all(
        (test["t_holm"] or 0.0) < SIGNIFICANT and test["t_holm"] is not None for test in against
    )
    if all(better):
        words["gans_beat_unet"] = "confirmed" if clear else "in the means only"
    else:
        words["gans_beat_unet"] = f"refuted: {sum(better)} of {len(rivals)} have the better mean"
    if order[0] == proposed:
        words["lohiresgan_is_best"] = "confirmed in the means"
    else:
        words["lohiresgan_is_best"] = f"refuted: {order[0]} is best, {proposed} is number {order.index(proposed) + 1}"
    return words


def score_rows(summary: Mapping[str, Any], group: str) -> list[dict[str, Any]]:
    """Return image quality of one group as flat rows of text, one per method."""
    flat = []
    for name, entry in _methods(summary, group).items():
        row: dict[str, Any] = {"method": name, "kind": entry["kind"]}
        row |= {title: text(entry["scores"][column], digits) for column, (title, digits, _) in TESTED.items()}
        flat.append(row | {"seconds": text(entry["scores"]["seconds"], 0)})
    return flat


def safety_rows(summary: Mapping[str, Any], group: str) -> list[dict[str, Any]]:
    """Return flicker, consistency and lesions of one group as flat rows of text, one per method."""
    flat = []
    for name, entry in _methods(summary, group).items():
        scores, counts = entry["scores"], entry["lesions"]
        row: dict[str, Any] = {"method": name}
        row |= {f"flicker, {axis}": text(scores[f"flicker_{axis}"], 2) for axis in AXES}
        row |= {f"step %, {axis}": text(scores[f"step_{axis}"], 2) for axis in AXES}
        row["consistency"] = text(scores["consistency"], 2)
        if counts["lesions"] is not None:
            row["lost of all"] = f"{counts['lost']} of {counts['lesions']}"
            row["lost of visible"] = f"{counts['lost_visible']} of {counts['visible']}"
            row["added"] = counts["added"]
        flat.append(row)
    return flat


def paired_table(tests: Sequence[Row]) -> list[dict[str, Any]]:
    """Return paired tests as flat rows of text, titles in place of columns."""
    flat = []
    for test in tests:
        title, digits, _ = TESTED.get(test["score"], (test["score"], 3, False))
        spread = "" if test["sd"] is None else f" ± {test['sd']:.{digits}f}"
        flat.append(
            {
                "group": test["group"],
                "score": title,
                "first": test["first"],
                "against": test["second"],
                "subjects": test["subjects"],
                "difference": f"{test['difference']:+.{digits}f}{spread}",
                **{f"{name}": _p(test[key]) for key, name in _P_TITLES.items()},
            }
        )
    return flat


_P_TITLES = {"t_p": "t test p", "t_holm": "t, Holm", "wilcoxon_p": "Wilcoxon p", "wilcoxon_holm": "Wilcoxon, Holm"}


def text(value: Mapping[str, float | None], digits: int) -> str:
    """Return mean ± SD as text, '' where there is no mean."""
    if value["mean"] is None:
        return ""
    spread = "" if value["sd"] is None else f" ± {value['sd']:.{digits}f}"
    return f"{value['mean']:.{digits}f}{spread}"


def _methods(summary: Mapping[str, Any], group: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(entry["methods"] for entry in summary["groups"] if entry["group"] == group)
    return found


def _p(value: float | None) -> str:
    if value is None:
        return ""
    return "< .001" if value < 0.001 else f"{value:.3f}".lstrip("0") if value < 1 else "1"


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
