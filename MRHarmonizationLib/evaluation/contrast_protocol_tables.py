"""Tables of the contrast protocol, from its rows: means and spread over subjects, reductions, bars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from MRHarmonizationLib.evaluation.contrast_protocol import ContrastProtocol
from MRHarmonizationLib.evaluation.contrast_protocol_methods import CLASSICAL, LEARNED
from MRHarmonizationLib.evaluation.contrast_variation import RAW, TISSUES
from MRHarmonizationLib.evaluation.gaussian_mixture import variation

Row = Mapping[str, Any]
#: All contrasts, or all families, together.
ALL = "all"
SEEN_SET, HELD_OUT_SET = "seen", "held-out"
SETS = (ALL, SEEN_SET, HELD_OUT_SET)
#: What the tables show, and whether more is better; what is not is compared by ratio, the others by difference.
SCORES: Mapping[str, bool] = {
    "cv": False,
    "wasserstein": False,
    "psnr": True,
    "ssim": True,
    "dice": True,
    "volume_cv": False,
}
TITLES: Mapping[str, str] = {
    "cv": "CV of tissue means, %",
    "wasserstein": "Wasserstein, % of scale",
    "psnr": "PSNR, dB",
    "ssim": "SSIM",
    "dice": "class Dice",
    "volume_cv": "CV of class volumes, %",
}
DIGITS: Mapping[str, int] = {"cv": 1, "wasserstein": 2, "psnr": 2, "ssim": 3, "dice": 3, "volume_cv": 1}


def summarise(rows: Sequence[Row], protocol: ContrastProtocol) -> dict[str, Any]:
    """Return the tables and the verdicts.

    Parameters
    ----------
    rows : sequence of mapping
        From ``evaluate_contrast_case``, all cases; numbers may be text.
    protocol : ContrastProtocol

    Returns
    -------
    dict
        ``cells``: per group, contrast (and all) and set of families (all, seen, held-out), per method the mean and the
        SD over subjects of every score, and its change against raw images and against the classical method that is
        best in that score (reduction in % where less is better, difference otherwise; with the worst subject's), on
        the alterations on which both were run.
        ``bars``: what learned methods had to reach and did.
    """
    cells = []
    for group in protocol.groups:
        mine = [row for row in rows if row["group"] == group.id]
        contrasts = (ALL, *group.contrasts) if len(group.contrasts) > 1 else group.contrasts
        for contrast in contrasts:
            for families in SETS:
                chosen = [row for row in mine if contrast in (ALL, row["contrast"]) and _in_set(row, families)]
                if chosen:
                    place = {"group": group.id, "contrast": contrast, "set": families}
                    cells.append(place | _cell(chosen))
    return {"cells": cells, "bars": _bars(cells, protocol)}


def case_scores(rows: Sequence[Row]) -> dict[str, float]:
    """Return the scores of one method over the alterations of one case.

    ``cv`` and ``volume_cv``: standard deviation over mean of the tissue means and of the class volumes, averaged over
    the tissues, %; the others: means.
    """
    means = {name: np.array([float(row[f"mean_{name}"]) for row in rows]) for name in TISSUES}
    shares = {name: np.array([float(row[f"share_{name}"]) for row in rows]) for name in TISSUES}
    found = {f"cv_{name}": variation(values.tolist()) for name, values in means.items()}
    found["cv"] = float(np.mean(list(found.values())))
    found["volume_cv"] = float(np.mean([variation(values.tolist()) for values in shares.values()]))
    for name in ("wasserstein", "psnr", "ssim", "dice"):
        found[name] = float(np.mean([float(row[name]) for row in rows]))
    return found


def _in_set(row: Row, families: str) -> bool:
    held_out = str(row["held_out"]) == "True"
    return families == ALL or held_out == (families == HELD_OUT_SET)


def _cell(rows: Sequence[Row]) -> dict[str, Any]:
    kinds = {row["method"]: row["kind"] for row in rows}
    subjects = list(dict.fromkeys(row["subject"] for row in rows))
    table = {name: _by_subject([row for row in rows if row["method"] == name], subjects) for name in kinds}
    methods: dict[str, Any] = {}
    for name, columns in table.items():
        methods[name] = {"kind": kinds[name], "alterations": sum(row["method"] == name for row in rows)} | {
            score: {"mean": float(values.mean()), "sd": float(values.std(ddof=1)) if values.size > 1 else None}
            for score, values in columns.items()
        }
    classical = [name for name, kind in kinds.items() if kind == CLASSICAL]
    common = _Common(rows, subjects)
    for name in kinds:
        against: dict[str, Any] = {}
        for score, more in SCORES.items():
            if RAW in table:
                against[score] = {"raw": common.change(name, RAW, score, more)}
            if classical:
                best = _best(common, table, classical, score, more)
                compared = common.change(name, best, score, more)
                against.setdefault(score, {})["classical"] = compared | {"method": best}
        methods[name]["against"] = against
    cases = {row["case"] for row in rows}
    alterations = len({(row["case"], row["alteration"]) for row in rows})
    return {"subjects": len(subjects), "cases": len(cases), "alterations": alterations, "methods": methods}


def _by_subject(rows: Sequence[Row], subjects: Sequence[str]) -> dict[str, np.ndarray]:
    """Return score → one value per subject: the mean over its cases."""
    found: dict[str, list[float]] = {}
    for subject in subjects:
        cases: dict[str, list[Row]] = {}
        for row in rows:
            if row["subject"] == subject:
                cases.setdefault(row["case"], []).append(row)
        scores = [case_scores(case) for case in cases.values()]
        for name in scores[0]:
            found.setdefault(name, []).append(float(np.mean([entry[name] for entry in scores])))
    return {name: np.array(values) for name, values in found.items()}


class _Common:
    """Compares two methods on the alterations on which both were run: slow ones are run on a part of them."""

    def __init__(self, rows: Sequence[Row], subjects: Sequence[str]) -> None:
        self._subjects = subjects
        self._rows: dict[str, dict[tuple[str, str], Row]] = {}
        for row in rows:
            self._rows.setdefault(row["method"], {})[row["case"], str(row["alteration"])] = row
        self._known: dict[tuple[str, str], dict[str, np.ndarray]] = {}

    def change(self, own: str, other: str, score: str, more: bool) -> dict[str, float]:
        """Return how much better one method is than another; see :func:`_change`."""
        return _change(self._scores(own, other)[score], self._scores(other, own)[score], more)

    def _scores(self, method: str, other: str) -> dict[str, np.ndarray]:
        if (method, other) not in self._known:
            both = self._rows[method].keys() & self._rows[other].keys()
            chosen = [row for key, row in self._rows[method].items() if key in both]
            self._known[method, other] = _by_subject(chosen, self._subjects)
        return self._known[method, other]


def _best(
    common: _Common, table: Mapping[str, Mapping[str, np.ndarray]], names: Sequence[str], score: str, more: bool
) -> str:
    """Return the method that gains most over raw images; where there are none, that with the best mean."""
    if RAW in table:
        return max(names, key=lambda name: common.change(name, RAW, score, more)["change"])
    means = {name: float(table[name][score].mean()) for name in names}
    return max(means, key=lambda name: means[name] if more else -means[name])


def _change(own: np.ndarray, other: np.ndarray, more: bool) -> dict[str, float]:
    """Return the difference, or the reduction in %, of the means, and the least of the subjects'."""
    if more:
        return {"change": float(own.mean() - other.mean()), "worst": float((own - other).min())}
    floor = 1e-12
    return {
        "change": 100.0 * (1.0 - float(own.mean()) / max(float(other.mean()), floor)),
        "worst": float((100.0 * (1.0 - own / np.maximum(other, floor))).min()),
    }


def _bars(cells: Sequence[Mapping[str, Any]], protocol: ContrastProtocol) -> list[dict[str, Any]]:
    verdicts = []
    for cell in cells:
        group = protocol.group(cell["group"])
        bars = group.bars
        if len(group.contrasts) > 1 and cell["contrast"] != ALL:
            continue
        for name, scores in cell["methods"].items():
            if scores["kind"] != LEARNED:
                continue
            for bar, required in bars.items():
                score, other = {
                    "cv_vs_raw": ("cv", "raw"),
                    "cv_vs_classical": ("cv", "classical"),
                    "ssim_gain": ("ssim", "classical"),
                }[bar]
                found = scores["against"][score][other]
                verdicts.append(
                    {
                        "group": cell["group"],
                        "set": cell["set"],
                        "method": name,
                        "bar": bar,
                        "required": required,
                        "reached": found["change"],
                        "worst subject": found["worst"],
                        "against": found.get("method", RAW),
                        "met": bool(found["change"] >= required),
                    }
                )
    return verdicts


def score_rows(cell: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one flat row per method of a cell, for printing."""
    flat = []
    for name, scores in cell["methods"].items():
        row: dict[str, Any] = {"method": name, "kind": scores["kind"], "n": scores["alterations"]}
        for score, title in TITLES.items():
            row[title] = _mean_sd(scores[score], DIGITS[score])
        against = scores["against"]
        row["CV vs raw"] = _signed(against["cv"].get("raw"), -1, "%", 0)
        row["CV vs best classical"] = _signed(against["cv"].get("classical"), -1, "%", 0)
        row["SSIM vs best classical"] = _signed(against["ssim"].get("classical"), 1, "", 3)
        flat.append(row)
    return flat


def cell_title(cell: Mapping[str, Any]) -> str:
    """Return what a cell is about, in words."""
    return (
        f"{cell['group']}, contrast {cell['contrast']}, families {cell['set']}: {cell['subjects']} subjects, "
        f"{cell['alterations']} alterations"
    )


def markdown_tables(summary: Mapping[str, Any]) -> str:
    """Return the tables of all cells as Markdown."""
    parts = []
    for cell in summary["cells"]:
        rows = score_rows(cell)
        columns = list(rows[0])
        lines = [f"**{cell_title(cell)}**", "", "| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
        lines += ["| " + " | ".join(str(row[column]) for column in columns) + " |" for row in rows]
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _mean_sd(value: Mapping[str, float | None], digits: int) -> str:
    spread = "" if value["sd"] is None else f" ± {value['sd']:.{digits}f}"
    return f"{value['mean']:.{digits}f}{spread}"


def _signed(found: Mapping[str, Any] | None, sign: int, unit: str, digits: int) -> str:
    if found is None:
        return ""
    return f"{round(sign * found['change'], digits) + 0.0:+.{digits}f} {unit}".strip()  # no -0
