"""Tables of the low-field evaluation, from its per-case rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from MRHarmonizationLib.evaluation.cases import CLASSICAL, MODEL, SCORES
from MRHarmonizationLib.evaluation.lowfield_protocol import LowFieldProtocol

#: All acquisitions of a group together.
ALL = "all"
Row = Mapping[str, Any]


def summarise(rows: Sequence[Row], protocol: LowFieldProtocol) -> dict[str, Any]:
    """Return the tables and the verdicts.

    Parameters
    ----------
    rows : sequence of mapping
        From ``evaluate_case``, all cases.
    protocol : LowFieldProtocol

    Returns
    -------
    dict
        ``cells``: per group and acquisition (and all of them) the mean and SD of every method and, per model and
        metric, the gain over the classical method with the best mean in the cell, the worst gain over the best
        classical method *of the same case*, and the Wilcoxon signed-rank p of the gains. ``bars``: required and
        reached gains. Cases of one subject are not independent: read p together with the number of subjects.
    """
    cells = []
    for group in protocol.groups:
        mine = [row for row in rows if row["group"] == group.id]
        for acquisition in (*(a.id for a in protocol.acquisitions), ALL):
            chosen = [row for row in mine if acquisition in (ALL, row["acquisition"])]
            if chosen:
                cells.append({"group": group.id, "acquisition": acquisition, **_cell(chosen)})
    return {"cells": cells, "bars": _bars(cells, protocol)}


def _cell(rows: Sequence[Row]) -> dict[str, Any]:
    cases = list(dict.fromkeys(row["case"] for row in rows))
    methods = {row["method"]: row["kind"] for row in rows}
    table = {name: {metric: _column(rows, cases, name, metric) for metric in SCORES} for name in methods}
    statistics = {
        name: {
            metric: {"mean": float(np.mean(values)), "sd": float(np.std(values, ddof=1)) if len(cases) > 1 else 0.0}
            for metric, values in columns.items()
        }
        for name, columns in table.items()
    }
    classical = [name for name, kind in methods.items() if kind == CLASSICAL]
    gains = {
        name: {metric: _gain(table, name, classical, metric, cases) for metric in SCORES}
        for name, kind in methods.items()
        if kind == MODEL and classical
    }
    subjects = len({row["subject"] for row in rows})
    return {"cases": len(cases), "subjects": subjects, "methods": statistics, "gains": gains}


def _column(rows: Sequence[Row], cases: Sequence[str], method: str, metric: str) -> np.ndarray:
    values = {row["case"]: float(row[metric]) for row in rows if row["method"] == method}
    return np.array([values[case] for case in cases])


def _gain(
    table: Mapping[str, Mapping[str, np.ndarray]],
    model: str,
    classical: Sequence[str],
    metric: str,
    cases: Sequence[str],
) -> dict[str, Any]:
    best = max(classical, key=lambda name: float(table[name][metric].mean()))
    gains = table[model][metric] - table[best][metric]
    of_each_case = table[model][metric] - np.max([table[name][metric] for name in classical], axis=0)
    worst = int(np.argmin(of_each_case))
    return {
        "best_classical": best,
        "mean": float(gains.mean()),
        "sd": float(gains.std(ddof=1)) if gains.size > 1 else 0.0,
        "worst": float(of_each_case[worst]),
        "worst_case": cases[worst],
        "wilcoxon_p": _wilcoxon(gains),
    }


def _wilcoxon(gains: np.ndarray) -> float | None:
    from scipy.stats import wilcoxon

    if gains.size < 2 or not np.any(gains):
        return None
    return float(wilcoxon(gains).pvalue)


def _bars(cells: Sequence[Mapping[str, Any]], protocol: LowFieldProtocol) -> list[dict[str, Any]]:
    verdicts = []
    for cell in cells:
        if cell["acquisition"] != ALL:
            continue
        for metric, required in protocol.group(cell["group"]).bars.items():
            for model, gains in cell["gains"].items():
                gain = gains[metric]
                verdicts.append(
                    {
                        "group": cell["group"],
                        "model": model,
                        "metric": metric,
                        "required": required,
                        "gain": gain["mean"],
                        "worst": gain["worst"],
                        "met": bool(gain["mean"] >= required and gain["worst"] > 0),
                    }
                )
    return verdicts


def score_rows(summary: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return one flat row per cell and method, for printing: means ± SD, and gains of models."""
    flat = []
    for cell in summary["cells"]:
        for name, scores in cell["methods"].items():
            gains = cell["gains"].get(name)
            row = {"group": cell["group"], "acquisition": cell["acquisition"], "cases": cell["cases"], "method": name}
            row["PSNR dB"] = f"{scores['psnr']['mean']:.2f} ± {scores['psnr']['sd']:.2f}"
            row["SSIM"] = f"{scores['ssim']['mean']:.3f} ± {scores['ssim']['sd']:.3f}"
            row["gain dB (worst)"] = f"{gains['psnr']['mean']:+.2f} ({gains['psnr']['worst']:+.2f})" if gains else ""
            row["gain SSIM (worst)"] = f"{gains['ssim']['mean']:+.3f} ({gains['ssim']['worst']:+.3f})" if gains else ""
            row["over"] = f"{gains['psnr']['best_classical']}, {gains['ssim']['best_classical']}" if gains else ""
            flat.append(row)
    return flat


def text_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return rows of equal keys as aligned lines of text, the keys first."""
    if not rows:
        return []
    columns = list(rows[0])
    cells = [columns] + [["–" if row[c] in ("", None) else str(row[c]) for c in columns] for row in rows]
    widths = [max(len(line[n]) for line in cells) for n in range(len(columns))]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
