"""The laboratory's result as tables and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from MRHarmonizationLib.evaluation.laboratory import LaboratoryResult
from MRHarmonizationLib.evaluation.laboratory_runs import FROZEN, RAW, RETRAINED, SHUFFLED

#: Averages of the comparison table: those of the publication (weighted by the number of images; recall is then the
#: accuracy) under their names there.
PUBLISHED = {
    "accuracy": "accuracy",
    "precision": "precision_weighted",
    "recall": "recall_weighted",
    "F1": "f1_weighted",
}


def score_columns(rows: tuple[dict[str, Any], ...]) -> list[dict[str, Any]]:
    """Return the rows for ``scores.csv``: without confusion matrices, the same columns everywhere."""
    return [
        {
            **{key: value for key, value in row.items() if key not in ("confusion", "seconds")},
            "seconds": row.get("seconds"),
        }
        for row in rows
    ]


def comparison_rows(result: LaboratoryResult, probe: str | None = None) -> list[dict[str, str]]:
    """Return before → frozen → retrained, one row per harmonizer, as text: the table of the publication, completed."""
    raw = result.row(RAW, RAW, probe)
    shuffled = result.row(RAW, SHUFFLED, probe)
    rows = [
        _comparison("raw images", raw, None),
        _comparison("raw images, shuffled labels (control)", shuffled, None),
    ]
    for name in result.sets:
        if name != RAW:
            rows.append(_comparison(name, result.row(name, FROZEN, probe), result.row(name, RETRAINED, probe)))
    return rows


def brief_rows(result: LaboratoryResult, probe: str | None = None) -> list[dict[str, str]]:
    """Return the columns of :func:`comparison_rows` that fit a terminal."""
    columns = (
        "images",
        "accuracy, frozen",
        "F1, frozen",
        "retrained",
        "95 % interval",
        "F1, retrained",
        "whole images",
    )
    return [{name: row[name] for name in columns} for row in comparison_rows(result, probe)]


def _comparison(name: str, frozen: Mapping[str, Any], retrained: Mapping[str, Any] | None) -> dict[str, str]:
    row = {"images": name}
    for title, key in PUBLISHED.items():
        row[f"{title}, frozen"] = f"{frozen[key]:.3f}"
    row["retrained"] = "" if retrained is None else f"{retrained['accuracy']:.3f}"
    interval = retrained or frozen
    row["95 % interval"] = f"{interval['accuracy_low']:.2f} to {interval['accuracy_high']:.2f}"
    row["F1, retrained"] = "" if retrained is None else f"{retrained['f1_weighted']:.3f}"
    row["whole images"] = f"{interval['accuracy_images']:.3f}"
    row["McNemar p, frozen"] = _p(frozen["mcnemar_p"])
    row["McNemar p, retrained"] = "" if retrained is None else _p(retrained["mcnemar_p"])
    return row


def mixing_rows(result: LaboratoryResult, probe: str | None = None) -> list[dict[str, str]]:
    """Return silhouette and acceptance of every trial's features, one row per image set, as text."""
    rows = []
    for name in result.sets:
        modes = (RAW, SHUFFLED) if name == RAW else (FROZEN, RETRAINED)
        first, second = (result.row(name, mode, probe) for mode in modes)
        rows.append(
            {
                "images": name,
                "silhouette, frozen": f"{first['silhouette']:.3f}",
                "mixed, frozen": f"{first['acceptance']:.3f}",
                "silhouette, retrained": "" if name == RAW else f"{second['silhouette']:.3f}",
                "mixed, retrained": "" if name == RAW else f"{second['acceptance']:.3f}",
            }
        )
    return rows


def lesion_rows(result: LaboratoryResult) -> list[dict[str, Any]]:
    """Return overlap of lesions before and after, one row per harmonizer."""
    return [
        {
            "images": name,
            "lesions": found["lesions"],
            "Dice before with marking": round(found["dice_before"], 3),
            "Dice after with marking": round(found["dice_after"], 3),
            "Dice before with after": round(found["dice_between"], 3),
            "least": round(found["dice_between_least"], 3),
            "volume change mm³ (limits)": (_limits(found) if "volume_bias_mm3" in found else ""),
            "volume r": f"{found['volume_r']:.3f}" if "volume_r" in found else "",
        }
        for name, found in result.lesions.items()
    ]


def _limits(found: Mapping[str, float]) -> str:
    bias, lower, upper = (found[f"volume_{name}_mm3"] for name in ("bias", "lower", "upper"))
    return f"{bias:+.0f} ({lower:+.0f} to {upper:+.0f})"


def probe_rows(result: LaboratoryResult) -> list[dict[str, str]]:
    """Return the retrained accuracy by every probe, one row per image set, as text."""
    rows = []
    for name in result.sets:
        row = {"images": name}
        for probe in result.plan.probes:
            found = result.row(name, RAW if name == RAW else RETRAINED, probe)
            row[probe] = f"{found['accuracy']:.3f} [{found['accuracy_low']:.2f}, {found['accuracy_high']:.2f}]"
        rows.append(row)
    return rows


def verdicts(result: LaboratoryResult) -> list[str]:
    """Return what the figures of the first probe mean, in sentences."""
    raw = result.row(RAW, RAW)
    sentences = [
        f"On the raw images the probe names the right scanner for {raw['accuracy']:.1%} of the test slices "
        f"({raw['accuracy_low']:.1%} to {raw['accuracy_high']:.1%}; guessing: {raw['chance']:.1%})."
    ]
    for name in result.sets:
        if name == RAW:
            continue
        frozen, again = result.row(name, FROZEN), result.row(name, RETRAINED)
        if again["accuracy_low"] <= again["chance"] + 1e-9:
            end = "the scanners cannot be told apart any more, as far as this probe sees"
        elif again["accuracy_high"] < raw["accuracy_low"]:
            end = "the scanners are harder to tell apart, but not mixed"
        else:
            end = "the scanners are told apart as well as before"
        sentences.append(
            f"{name}: {frozen['accuracy']:.1%} by the frozen probe, {again['accuracy']:.1%} retrained "
            f"({again['accuracy_low']:.1%} to {again['accuracy_high']:.1%}): {end}."
        )
    return sentences


def prediction_rows(result: LaboratoryResult) -> list[dict[str, Any]]:
    """Return one row per trial and test slice, for ``predictions.csv``."""
    rows = []
    scanners = result.cohort.scanners
    for trial in result.trials:
        slices = result.sets[trial.images].slices
        number = trial.index % result.plan.settings.slices
        for position, index in enumerate(trial.index):
            image = result.cohort.images[int(slices.image[index])]
            rows.append(
                {
                    "probe": trial.probe,
                    "images": trial.images,
                    "mode": trial.mode,
                    "path": str(image.path),
                    "subject": image.subject,
                    "slice": int(number[position]),
                    "scanner": scanners[int(trial.truth[position])],
                    "predicted": scanners[int(trial.predicted[position])],
                    "probability": round(float(trial.probability[position].max()), 4),
                }
            )
    return rows


def _p(value: float | None) -> str:
    return "" if value is None else ("< 0.001" if value < 0.001 else f"{value:.3f}")
