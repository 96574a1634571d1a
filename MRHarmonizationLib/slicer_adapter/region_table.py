"""Volumes of brain structures as a table node, and as lines of the panel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from MRHarmonizationLib.slicer_adapter.metric_rows import number_text
from MRHarmonizationLib.slicer_adapter.plots import set_columns

#: Columns of the table node by the keys of the rows in ``compare.json``, in their order.
TITLES: Mapping[str, str] = {
    "region": "structure",
    "number": "FreeSurfer number",
    "side": "side",
    "before_ml": "before (ml)",
    "after_ml": "after (ml)",
    "reference_ml": "reference (ml)",
    "change_percent": "change (%)",
    "before_error_percent": "before against reference (%)",
    "after_error_percent": "after against reference (%)",
}
TEXTS, WHOLE = ("region", "side"), ("number",)


def fill_regions_table(table: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write volumes into a table node: one row per structure, numbers as numbers, NaN where there is none.

    Parameters
    ----------
    table : vtkMRMLTableNode
        Its former columns are replaced.
    rows : sequence of mapping
        As ``compare.json`` holds them under ``regions``.
    """
    kept = [key for key in TITLES if rows and key in rows[0]]
    columns: dict[str, list[Any]] = {}
    for key in kept:
        values = [row[key] for row in rows]
        if key not in (*TEXTS, *WHOLE):
            values = [math.nan if value is None else float(value) for value in values]
        columns[TITLES[key]] = values
    set_columns(table, columns)
    table.SetUseColumnTitleAsColumnHeader(True)


def read_regions_table(table: Any) -> list[dict[str, Any]]:
    """Return the rows of a table that :func:`fill_regions_table` has written, NaN where there is no number."""
    if table is None or table.GetColumnIndex(TITLES["before_ml"]) < 0:
        return []
    kept = [key for key, title in TITLES.items() if table.GetColumnIndex(title) >= 0]

    def value(row: int, key: str) -> Any:
        if key in TEXTS:
            return str(table.GetCellText(row, table.GetColumnIndex(TITLES[key])))
        number = float(table.GetTable().GetValueByName(row, TITLES[key]).ToDouble())
        return int(number) if key in WHOLE else number

    return [{key: value(row, key) for key in kept} for row in range(table.GetNumberOfRows())]


def is_nearer(row: Mapping[str, Any]) -> bool | None:
    """Tell whether a structure's volume is nearer to the reference's after than before; None where nobody knows."""
    before, after = (abs(row.get(f"{role}_error_percent", math.nan)) for role in ("before", "after"))
    return None if math.isnan(before) or math.isnan(after) or before == after else after < before


def region_help(row: Mapping[str, Any]) -> str:
    """Return what is known of a structure beside its volumes before and after."""
    told = [f"FreeSurfer number {row['number']}."]
    if not math.isnan(row["change_percent"]):
        told.append(f"After is {row['change_percent']:+.1f} % against before.")
    if not math.isnan(row.get("reference_ml", math.nan)):
        told.append(f"The reference has {number_text(row['reference_ml'])} ml.")
    return " ".join(told)
