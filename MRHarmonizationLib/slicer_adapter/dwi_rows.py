"""Diffusivity and anisotropy per tissue before and after harmonisation, as rows of one table. No Slicer, no Qt."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from MRHarmonizationLib.core.diffusion_masks import TISSUES

#: Diffusivity is shown in 10⁻³ mm²/s.
MD_SHOWN_PER_MM2_PER_S = 1000.0


@dataclass(frozen=True)
class ShownLine:
    """One line of a table.

    Attributes
    ----------
    cells : tuple of str
        Tissue and measure, before, after, change.
    limit : str
        How far the measure may change; '' where nothing is demanded.
    holds : bool
        Whether the change is within the limit.
    """

    cells: tuple[str, ...]
    limit: str
    holds: bool


@dataclass(frozen=True)
class TissueRow:
    """Mean diffusivity and anisotropy of one tissue.

    Attributes
    ----------
    tissue : str
        Such as 'white matter'.
    voxels : int
    md_before, md_after : float
        Mean diffusivity, mm²/s; without a tensor the apparent diffusion coefficient.
    fa_before, fa_after : float
        Fractional anisotropy; NaN where no tensor can be fitted.
    md_limit_percent, fa_limit : float
        Largest changes allowed; NaN where nothing is demanded.
    """

    tissue: str
    voxels: int
    md_before: float
    md_after: float
    fa_before: float = math.nan
    fa_after: float = math.nan
    md_limit_percent: float = math.nan
    fa_limit: float = math.nan

    @property
    def title(self) -> str:
        """The tissue's name as people write it."""
        return self.tissue.capitalize()

    @property
    def md_change_percent(self) -> float:
        """Change of the diffusivity, % of before; NaN where there was none."""
        return 100.0 * (self.md_after / self.md_before - 1.0) if self.md_before else math.nan

    @property
    def fa_change(self) -> float:
        """Change of the anisotropy."""
        return self.fa_after - self.fa_before

    @property
    def md_holds(self) -> bool:
        """Whether the diffusivity's change is within its limit."""
        return not abs(self.md_change_percent) > self.md_limit_percent

    @property
    def fa_holds(self) -> bool:
        """Whether the anisotropy's change is within its limit."""
        return not abs(self.fa_change) > self.fa_limit

    def lines(self) -> tuple[ShownLine, ShownLine]:
        """Return what a table shows: a line of the diffusivity, in 10⁻³ mm²/s, and one of the anisotropy.

        Examples
        --------
        >>> for line in TissueRow("white matter", 9, 8e-4, 8.08e-4, 0.45, 0.447).lines():
        ...     print(*line.cells)
        White matter MD 0.800 0.808 +1.0 %
        White matter FA 0.450 0.447 −0.003
        """
        md = [_plain(MD_SHOWN_PER_MM2_PER_S * value) for value in (self.md_before, self.md_after)]
        fa = [_plain(value) for value in (self.fa_before, self.fa_after)]
        percent, change = _signed(self.md_change_percent, 1, " %"), _signed(self.fa_change, 3)
        md_limit = "" if math.isnan(self.md_limit_percent) else f"{self.md_limit_percent:g} %"
        fa_limit = "" if math.isnan(self.fa_limit) else f"{self.fa_limit:g}"
        return (
            ShownLine((f"{self.title} MD", *md, percent), md_limit, self.md_holds),
            ShownLine((f"{self.title} FA", *fa, change), fa_limit, self.fa_holds),
        )


def tissue_rows(table: Iterable[Mapping[str, Any]]) -> list[TissueRow]:
    """Return one row per tissue from a table as the library tells it, in the order of tissues.

    Parameters
    ----------
    table : iterable of mapping
        One per tissue and measure: ``TissueChange.to_dict()``.
    """
    found: dict[str, dict[str, Any]] = {}
    for entry in table:
        row = found.setdefault(str(entry["tissue"]), {"voxels": int(entry["voxels"])})
        name, limit = ("fa", "fa_limit") if entry["measure"] == "FA" else ("md", "md_limit_percent")
        row[f"{name}_before"], row[f"{name}_after"] = float(entry["before"]), float(entry["after"])
        row[limit] = math.nan if entry.get("limit") is None else float(entry["limit"])
    rows = [TissueRow(tissue, **values) for tissue, values in found.items()]
    return sorted(rows, key=lambda row: TISSUES.index(row.tissue) if row.tissue in TISSUES else len(TISSUES))


def _plain(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _signed(value: float, digits: int, unit: str = "") -> str:
    """Return a number with its sign; a rounded zero has none."""
    if math.isnan(value):
        return "–"
    text = f"{abs(value):.{digits}f}"
    sign = "" if float(text) == 0 else ("+" if value > 0 else "−")
    return f"{sign}{text}{unit}"
