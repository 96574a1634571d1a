"""Measurements of a comparison as rows of one table: before and after side by side. No Slicer, no Qt."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: What the rows are about, in the order they are shown; ``held_against`` of a row is one of the keys.
SECTIONS = {
    "reference": "Held against the reference",
    "": "Each image by itself",
    "before": "After, held against before",
}
#: Where the two columns of a section come from in ``compare.json``; None: that column is empty.
_SOURCES: dict[str, tuple[str | None, str]] = {
    "reference": ("before_vs_reference", "after_vs_reference"),
    "": ("before", "after"),
    "before": (None, "after_vs_before"),
}
_CAPITALS = {"psnr", "ssim", "nrmse", "mae", "rmse", "glcm", "psd", "cnr", "snr", "mad", "piqe"}
_TITLES = {"ms_ssim": "MS-SSIM", "jensen_shannon": "Jensen–Shannon distance"}
_ARROWS = {"higher": "↑", "lower": "↓", "none": ""}


@dataclass(frozen=True)
class MetricRow:
    """One metric, before and after.

    Attributes
    ----------
    name, unit : str
        As in the registry of metrics; "1" for a plain number.
    held_against : {'reference', '', 'before'}
        What the images were compared with; '' for a number of one image.
    before, after : float
        NaN where there is no such number.
    better : {'higher', 'lower', 'none'}
    voxels : int
    """

    name: str
    unit: str
    held_against: str
    before: float
    after: float
    better: str
    voxels: int

    @property
    def improved(self) -> bool | None:
        """Whether after is better than before; None where that cannot be said."""
        known = not (math.isnan(self.before) or math.isnan(self.after)) and self.before != self.after
        if not known or self.better not in ("higher", "lower"):
            return None
        return (self.after > self.before) == (self.better == "higher")

    @property
    def title(self) -> str:
        """Name, unit and better direction as people write them.

        >>> MetricRow("ms_ssim", "1", "reference", 0.9, 0.95, "higher", 8).title
        'MS-SSIM ↑'
        >>> MetricRow("noise", "%", "", 3.0, 2.0, "lower", 8).title
        'Noise (%) ↓'
        """
        unit = "" if self.unit in ("", "1") else f" ({self.unit})"
        return f"{metric_title(self.name)}{unit} {_ARROWS.get(self.better, '')}".strip()


def metric_rows(measurements: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[MetricRow]:
    """Return the rows of a table.

    Parameters
    ----------
    measurements : mapping of str to sequence of mapping
        As ``compare.json`` holds them under that name.

    Returns
    -------
    list of MetricRow
        In the order of :data:`SECTIONS`; a metric that only one of two images has keeps NaN for the other.
    """
    rows = []
    for held_against, sources in _SOURCES.items():
        first, second = ({m["name"]: m for m in measurements.get(key or "", ())} for key in sources)
        for name in dict.fromkeys([*second, *first]):
            said = second.get(name) or first[name]
            before, after = (float(group[name]["value"]) if name in group else math.nan for group in (first, second))
            rows.append(MetricRow(name, said["unit"], held_against, before, after, said["better"], int(said["voxels"])))
    return rows


def metric_title(name: str) -> str:
    """Return the name of a metric as people write it.

    >>> metric_title("mutual_information"), metric_title("psnr")
    ('Mutual information', 'PSNR')
    """
    if name in _TITLES:
        return _TITLES[name]
    words = [word.upper() if word in _CAPITALS else word for word in name.split("_")]
    text = " ".join(words)
    return text[:1].upper() + text[1:]


def number_text(value: float) -> str:
    """Return a number with four significant digits; '–' where there is none.

    >>> number_text(0.98765), number_text(float("nan")), number_text(float("inf")), number_text(123456.0)
    ('0.9876', '–', '∞', '123456')
    """
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    return f"{value:.0f}" if abs(value) >= 10_000 else f"{value:.4g}"
