"""Tables of the travelling-subject protocol, from its rows: means and spread over brains, reductions, bars."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from MRHarmonizationLib.evaluation.dwi_protocol import DwiProtocol
from MRHarmonizationLib.evaluation.dwi_protocol_cases import TISSUES
from MRHarmonizationLib.evaluation.dwi_protocol_measures import IMAGES, SHELLS
from MRHarmonizationLib.evaluation.dwi_protocol_methods import CLASSICAL, CONTROL, CORRECTED, LEARNED, RAW
from MRHarmonizationLib.evaluation.gaussian_mixture import variation

Row = Mapping[str, Any]
#: Variations: the images, and the trace among scanners that share a b-value.
VARIATIONS = (*IMAGES, "shell")
#: Variations that are held to the bar: those that are not different by the b-value already.
JUDGED_VARIATIONS = ("b0", "shell", "referred")
ERRORS = ("fa_error_white", "fa_error_brain", "md_error_white", "md_error_brain")
SIMILARITIES = tuple(f"{name}_{shell}" for name in ("psnr", "ssim") for shell in SHELLS)
LESION_SUMS = ("lesions", "visible", "lost", "flipped", "visible_kept", "lost_kept")


def summarise(rows: Sequence[Row], protocol: DwiProtocol) -> dict[str, Any]:
    """Return the tables and the verdicts.

    Parameters
    ----------
    rows : sequence of mapping
        From ``evaluate_dwi_case``, all cases; numbers may be text.
    protocol : DwiProtocol

    Returns
    -------
    dict
        ``methods``: per method its kind, how many scans it ``refused`` or did at less than full ``strength``, and per
        score the mean and the SD over brains. ``reduction``: per method how much less its tissue means vary than those
        of raw images, as they are and scaled by their own median, %. ``best``: score → the baseline that is best in
        it. ``bars``: what learned methods had to reach and did.
    """
    kinds = {str(row["method"]): str(row["kind"]) for row in rows}
    subjects = list(dict.fromkeys(row["subject"] for row in rows))
    methods: dict[str, Any] = {}
    for name, kind in kinds.items():
        mine = [row for row in rows if row["method"] == name]
        by_subject = [subject_scores([row for row in mine if row["subject"] == s], protocol) for s in subjects]
        methods[name] = {
            "kind": kind,
            "scans": len(mine),
            "refused": sum(bool(row["refused"]) for row in mine),
            "reduced": sum(_number(row["strength"]) not in (None, 1.0) and not row["refused"] for row in mine)
            if name != RAW
            else 0,
            "gradients_kept": all(str(row["gradients_kept"]) in ("True", "") for row in mine),
            "scores": _mean_sd_of(by_subject),
        }
    summary: dict[str, Any] = {"subjects": len(subjects), "methods": methods}
    if RAW in methods:
        summary["reduction"] = {name: _reductions(entry, methods[RAW]) for name, entry in methods.items()}
    summary["best"] = _best(methods)
    summary["bars"] = [
        verdict for name, kind in kinds.items() if kind == LEARNED for verdict in _bars(name, summary, protocol)
    ]
    return summary


def subject_scores(rows: Sequence[Row], protocol: DwiProtocol) -> dict[str, float | None]:
    """Return the scores of one method over the scanners of one brain.

    Variations are standard deviation over mean of the tissue means between scanners, averaged over the tissues, %;
    with ``_scaled`` of images divided by their own median in the brain. ``shell`` is that of the trace among scanners
    with the same b-value. Numbers of lesions are summed over scanners, kinds and images; all else is averaged.
    """
    found: dict[str, float | None] = {}
    for ending in ("", "_scaled"):
        for image in IMAGES:
            found[f"cv_{image}{ending}"] = _variation(rows, image, bool(ending))
            for tissue in TISSUES:
                found[f"cv_{image}_{tissue}{ending}"] = _variation(rows, image, bool(ending), (tissue,))
        shells = [[row for row in rows if int(row["shell"]) == b] for b in sorted({int(row["shell"]) for row in rows})]
        shared = [_variation(group, "trace", bool(ending)) for group in shells if len(group) > 1]
        found[f"cv_shell{ending}"] = _mean(shared)
    for name in (*SIMILARITIES, *(f"{name}_scaled" for name in SIMILARITIES), *ERRORS):
        found[name] = _mean(_number(row[name]) for row in rows)
    for name in ("fa_bias_white", "md_bias_white", "strength"):
        found[name] = _mean(_number(row[name]) for row in rows)
    found["brain_found"] = min((v for row in rows if (v := _number(row["brain_found"])) is not None), default=None)
    for name in ("md_change_percent", "fa_change"):
        found[name] = max((v for row in rows if (v := _number(row[name])) is not None), default=None)
    pairs = [(kind, image) for kind, images in protocol.lesion_images.items() for image in images]
    for kind, image in pairs:
        for name in ("dice", "dice_kept"):
            found[f"{kind}_{image}_{name}"] = _mean(_number(row[f"{kind}_{image}_{name}"]) for row in rows)
    for name in ("dice", "dice_kept"):
        found[name] = _mean(found[f"{kind}_{image}_{name}"] for kind, image in pairs)
    for name in LESION_SUMS if pairs else ():
        values = [_number(row[f"{kind}_{image}_{name}"]) for row in rows for kind, image in pairs]
        found[name] = float(sum(v for v in values if v is not None))
    return found


def _variation(rows: Sequence[Row], image: str, scaled: bool, tissues: Sequence[str] = tuple(TISSUES)) -> float | None:
    values = []
    for tissue in tissues:
        means = [float(row[f"{image}_{tissue}"]) / (float(row[f"median_{image}"]) if scaled else 1.0) for row in rows]
        values.append(variation(means))
    return _mean(v if math.isfinite(v) else None for v in values)


def _reductions(entry: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, float | None]:
    """Return the fall of every variation against raw images and scaled raw images, %."""
    found: dict[str, float | None] = {}
    for name in VARIATIONS:
        for ending in ("", "_scaled"):
            own, other = entry["scores"][f"cv_{name}"]["mean"], raw["scores"][f"cv_{name}{ending}"]["mean"]
            known = own is not None and other is not None and other > 0
            found[f"{name}{ending}"] = 100.0 * (1.0 - own / other) if known else None
    return found


def stricter(reductions: Mapping[str, float | None], image: str) -> float | None:
    """Return the smaller of the two reductions of an image, None where one is missing."""
    pair = [reductions[image], reductions[f"{image}_scaled"]]
    return None if None in pair else min(v for v in pair if v is not None)


def _best(methods: Mapping[str, Any]) -> dict[str, str]:
    """Return score → best baseline: in canonical units classical methods, else the noise-corrected and raw scan too."""
    found = {}
    for score in (*SIMILARITIES, *(f"{name}_scaled" for name in SIMILARITIES), *ERRORS, "dice"):
        more = score not in ERRORS
        values = {
            name: entry["scores"][score]["mean"]
            for name, entry in methods.items()
            if entry["kind"] in (CONTROL, CLASSICAL) and entry["scores"].get(score, {}).get("mean") is not None
        }
        if values:
            found[score] = (max if more else min)(values, key=values.__getitem__)
    return found


def _bars(name: str, summary: Mapping[str, Any], protocol: DwiProtocol) -> list[dict[str, Any]]:
    """Return the verdicts on one learned method."""
    methods, bars, best = summary["methods"], protocol.bars, summary["best"]
    scores = {key: value["mean"] for key, value in methods[name]["scores"].items()}
    verdicts: list[dict[str, Any]] = []

    def judge(what: str, required: float, reached: float | None, against: str, at_least: bool = True) -> None:
        met = reached is not None and (reached >= required if at_least else reached <= required)
        verdicts.append(
            {
                "method": name,
                "bar": what,
                "required": required,
                "reached": reached,
                "against": against,
                "met": bool(met),
            }
        )

    if "cv_vs_raw" in bars and "reduction" in summary:
        for image in JUDGED_VARIATIONS:
            reached = stricter(summary["reduction"][name], image)
            judge(f"fall of CV, {image}, %", bars["cv_vs_raw"], reached, "raw, the stricter of both")
    for score in (*SIMILARITIES, *(f"{entry}_scaled" for entry in SIMILARITIES)):
        key = f"{score.split('_')[0]}_gain"
        if key in bars and score in best:
            other = methods[best[score]]["scores"][score]["mean"]
            judge(f"gain, {score}", bars[key], None if scores[score] is None else scores[score] - other, best[score])
    for score in ERRORS:
        if score in best:
            judge(score, methods[best[score]]["scores"][score]["mean"], scores[score], best[score], at_least=False)
    if "lesion_dice" in bars and protocol.lesion_images:
        for kind, images in protocol.lesion_images.items():
            for image in images:
                judge(f"Dice, {kind}, {image}", bars["lesion_dice"], scores[f"{kind}_{image}_dice"], "canonical scan")
        judge("lesions with another sign", 0.0, scores["flipped"], "canonical scan", at_least=False)
    for key, score in (("md_percent", "md_change_percent"), ("fa", "fa_change")):
        if key in bars:
            worst = methods[name]["scores"][score]["worst"]
            judge(f"largest {score}", bars[key], worst, CORRECTED, at_least=False)
    judge("scans refused", 0.0, float(methods[name]["refused"]), "", at_least=False)
    return verdicts


def _mean_sd_of(by_subject: Sequence[Mapping[str, float | None]]) -> dict[str, dict[str, float | None]]:
    found = {}
    for name in by_subject[0]:
        values = np.array([v for entry in by_subject if (v := entry[name]) is not None], np.float64)
        found[name] = {
            "mean": float(values.mean()) if values.size else None,
            "sd": float(values.std(ddof=1)) if values.size > 1 else None,
            "worst": float(values.max()) if values.size else None,
        }
    return found


def _mean(values: Iterable[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _number(value: Any) -> float | None:
    return None if value in ("", None) else float(value)
