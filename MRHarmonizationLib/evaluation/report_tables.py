"""What a comparison says, as table rows and sentences for a reader."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from MRHarmonizationLib.evaluation.html import format_value
from MRHarmonizationLib.inference.compare import ComparisonResult
from MRHarmonizationLib.inference.compare_regions import RegionComparison
from MRHarmonizationLib.metrics.base import METRICS, Measurement

DIRECTION = {"higher": "higher", "lower": "lower", "none": ""}
#: Words of metric names that are written in capitals.
NAMES = {"jensen": "Jensen", "shannon": "Shannon"}
ABBREVIATIONS = {"psnr", "ssim", "nrmse", "mae", "glcm", "ms", "cnr", "piqe", "mad", "brisque", "niqe", "psd"}
#: Numbers told in sentences at the top, where they were measured: with a reference, and of each image alone.
HEADLINES_WITH_REFERENCE = ("psnr", "ssim")
HEADLINES_ALONE = ("noise", "sharpness", "effective_resolution")
HEADLINES_WITHOUT_REFERENCE = ("ssim", "correlation")
#: Changes below this share of the larger value are called none.
NO_CHANGE = 0.005
#: Texture features shown in the report, and what each tells; ``texture.csv`` holds all of them.
SHOWN_FEATURES = {
    "contrast": "How strongly neighbours differ, large steps counting most; noise and edges raise it, blur lowers it.",
    "dissimilarity": "How much neighbours differ on average; like contrast, but large steps count less.",
    "homogeneity": "Near 1 where neighbours are almost equal; blur raises it.",
    "asm": "High where few pairs of grey levels make up most of the image: flat, uniform tissue or background.",
    "energy": "The same on a more even scale.",
    "correlation": "How well a voxel predicts its neighbour, 1 perfectly; noise lowers it, blur raises it.",
    "joint_entropy": "How many different pairs of grey levels there are; noise and rich detail raise it.",
    "cluster_shade": "Above 0 where bright pairs reach further from the mean than dark ones, below 0 the other way.",
    "cluster_prominence": "High where pairs lie far from the mean grey level: strong differences between tissues.",
    "imc1": "How much a voxel tells about its neighbour: 0 nothing, -1 everything.",
    "imc2": "The same from 0 to 1, higher for more complex texture.",
    "mcc": "The strongest dependence between neighbours, also where it is not along a line: 0 none, 1 complete.",
}


def readable(name: str) -> str:
    """Return a metric's or feature's name for a reader.

    >>> readable("glcm_contrast")
    'GLCM contrast'
    """
    return " ".join(word.upper() if word in ABBREVIATIONS else NAMES.get(word, word) for word in name.split("_"))


def meaning(name: str) -> str:
    """Return what a metric measures: the first paragraph of its documentation, in one line."""
    text = (METRICS.get(name).__doc__ or "").strip()
    return " ".join(text.split("\n\n")[0].split())


def headlines(result: ComparisonResult) -> list[str]:
    """Return the result in a few sentences."""
    sentences = []
    if result.reference is not None:
        for name in HEADLINES_WITH_REFERENCE:
            sentences += _change_sentence(result, name, "before_vs_reference", "after_vs_reference", " to reference")
    else:
        found = {m.name: m for m in result.measurements["after_vs_before"]}
        shown = [f"{readable(name)} {found[name].value:.3g}" for name in HEADLINES_WITHOUT_REFERENCE if name in found]
        if shown:
            sentences.append(f"After resembles before with {' and '.join(shown)} (1 = equal).")
    for name in HEADLINES_ALONE:
        sentences += _change_sentence(result, name, "before", "after", "")
    return sentences if result.regions is None else [*sentences, *_region_sentences(result.regions)]


def _region_sentences(regions: RegionComparison) -> list[str]:
    """Return how far the volumes of brain structures lie apart, in one sentence."""
    change, before, after = (
        regions.mean_absolute_percent(f"{column}_percent") for column in ("change", "before_error", "after_error")
    )
    if before is not None and after is not None:
        return [
            f"Brain structures differ in volume from the reference by {before:.1f} % before and by {after:.1f} % after "
            "(mean of the absolute differences)."
        ]
    if change is None:
        return []
    return [f"Brain structures change their volume by {change:.1f} % (mean of the absolute changes)."]


def region_rows(regions: RegionComparison) -> list[dict[str, Any]]:
    """Return one row per brain structure: volumes in ml, changes in %."""
    titles = {
        "region": "region",
        "before_ml": "before, ml",
        "after_ml": "after, ml",
        "reference_ml": "reference, ml",
        "change_percent": "change, %",
        "before_error_percent": "before vs. reference, %",
        "after_error_percent": "after vs. reference, %",
    }
    return [{title: row[key] for key, title in titles.items() if key in row} for row in regions.rows]


def _change_sentence(result: ComparisonResult, name: str, first: str, second: str, of_what: str) -> list[str]:
    """Return how one number changed, or nothing where it was not measured on both images."""
    before, after = (_found(result, key, name) for key in (first, second))
    if before is None or after is None:
        return []
    subject = readable(name)[0].upper() + readable(name)[1:] + of_what
    unit = f" {unit_text(after.unit)}".rstrip()
    truth = _found(result, "reference", name) if second == "after" else None
    verdict = verdict_of(before, after, truth)
    judged = f": {verdict}" if verdict else ""
    if truth is not None:
        judged = f"; the reference has {format_value(truth.value)}"
    if verdict == "same":
        return [f"{subject} stays at {format_value(after.value)}{unit}{judged if truth else ''}."]
    verb = "rises" if after.value > before.value else "falls"
    return [f"{subject} {verb} from {format_value(before.value)} to {format_value(after.value)}{unit}{judged}."]


def verdict_of(before: Measurement, after: Measurement, truth: Measurement | None = None) -> str:
    """Return what became of a number.

    Parameters
    ----------
    before, after : Measurement
    truth : Measurement, optional
        The same number of the reference.

    Returns
    -------
    str
        'same', or 'better' and 'worse' by the metric's own direction ('' where it has none). With the reference's own
        value 'nearer' and 'farther': less noise than the truth has is no gain, it is smoothing.
    """
    if math.isclose(before.value, after.value, rel_tol=NO_CHANGE):
        return "same"
    if truth is not None:
        return "nearer" if abs(after.value - truth.value) < abs(before.value - truth.value) else "farther"
    if after.better == "none":
        return ""
    return "better" if (after.value > before.value) == (after.better == "higher") else "worse"


def change_rows(result: ComparisonResult, first: str, second: str) -> list[dict[str, Any]]:
    """Return one row per metric: the value of one comparison, that of another, and what became of it."""
    befores = {m.name: m for m in result.measurements.get(first, [])}
    rows = []
    for after in result.measurements.get(second, []):
        before = befores.get(after.name)
        row: dict[str, Any] = {"measure": readable(after.name), "before": before.value if before else None}
        row["after"] = after.value
        truth = _found(result, "reference", after.name) if second == "after" else None
        if second == "after" and result.reference is not None:
            row["reference"] = truth.value if truth else None
        row["change"] = after.value - before.value if before else None
        row["unit"] = unit_text(after.unit)
        row["verdict"] = verdict_of(before, after, truth) if before else ""
        row["better if"] = DIRECTION[after.better]
        row["what it means"] = meaning(after.name)
        rows.append(row)
    return rows


def single_rows(result: ComparisonResult, key: str) -> list[dict[str, Any]]:
    """Return one row per metric of one comparison."""
    return [
        {
            "measure": readable(m.name),
            "value": m.value,
            "unit": unit_text(m.unit),
            "what it means": meaning(m.name),
        }
        for m in result.measurements[key]
    ]


def texture_rows(texture: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what the shortest displacements are, and the texture features at them: a row per feature.

    Parameters
    ----------
    texture : sequence of mapping
        Of :attr:`ComparisonResult.texture`.

    Returns
    -------
    where : dict
        ``directions`` and ``length_mm`` of the displacements; empty where there is no texture.
    rows : list of dict
        One column per image.
    """
    from MRHarmonizationLib.core.texture_features import FEATURES

    shortest = min((row["distance_mm"] for row in texture), default=0.0)
    nearest = [row for row in texture if row["distance_mm"] == shortest]
    images = list(dict.fromkeys(row["image"] for row in nearest))
    values = {(row["image"], row["feature"]): row["value"] for row in nearest}
    rows = []
    for feature, told in SHOWN_FEATURES.items() if nearest else ():
        row: dict[str, Any] = {"feature": readable(feature)}
        row |= {image: values[image, feature] for image in images}
        if {"before", "after"} <= set(images) and values["before", feature] != 0:
            share = 100.0 * (values["after", feature] / values["before", feature] - 1.0)
            row["change, %"] = round(share, 1) + 0.0  # no minus before a zero
        elif {"before", "after"} <= set(images):
            row["change, %"] = None
        row["what it means"] = f"{told} Definition: {FEATURES[feature]}."
        rows.append(row)
    where = {key: nearest[0][key] for key in ("directions", "length_mm")} if nearest else {}
    return where, rows


def unit_text(unit: str) -> str:
    """Return a unit for a reader: nothing for plain numbers."""
    return "" if unit == "1" else unit


def _found(result: ComparisonResult, key: str, name: str) -> Measurement | None:
    return next((m for m in result.measurements.get(key, []) if m.name == name), None)
