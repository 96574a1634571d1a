"""What harmonisation did to diffusivity and anisotropy, in the panel: the table, the notes, the report.

The widgets, by name: ``measuresTable``, ``notesLabel``, ``exportButton``, ``openButton``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.slicer_adapter import texts
from MRHarmonizationLib.slicer_adapter.dwi_results import DwiResult
from MRHarmonizationLib.slicer_adapter.dwi_rows import ShownLine, TissueRow
from MRHarmonizationLib.slicer_adapter.report_buttons import ReportButtons

HEADINGS = ("MD in 10⁻³ mm²/s", "Before", "After", "Change")


class DwiTable:
    """Shows one result at a time.

    Parameters
    ----------
    ui : object
        Holds the widgets as attributes.
    translate : callable(str) -> str
    say : callable(str)
        Tells the user what was done.
    on_error : callable(MRHarmonizationError)
    """

    def __init__(
        self,
        ui: Any,
        translate: Callable[[str], str],
        say: Callable[[str], None],
        on_error: Callable[[MRHarmonizationError], None],
    ) -> None:
        self._ui, self._translate = ui, translate
        self._result: DwiResult | None = None
        self._filled: tuple[Any, ...] = ()
        self._set_up_table()
        self._report = ReportButtons(ui, translate, say, on_error)

    def show(self, result: DwiResult | None) -> None:
        """Show a result, or nothing."""
        self._result = result
        table = None if result is None else result.table
        filled = () if result is None or table is None else (table, table.GetMTime(), result.node.GetMTime())
        if filled != self._filled or not filled:
            self._filled = filled
            self._fill(result)
        has_report = result is not None and bool(result.files)
        self._report.show(result, has_report, "" if result is None else result.node.GetID())

    # -- how it works
    def _set_up_table(self) -> None:
        import qt

        table = self._ui.measuresTable
        table.setColumnCount(len(HEADINGS))
        table.setHorizontalHeaderLabels([self._translate(text) for text in HEADINGS])
        header = table.horizontalHeader()
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        for column in range(1, len(HEADINGS)):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)

    def _fill(self, result: DwiResult | None) -> None:
        import qt

        table = self._ui.measuresTable
        rows = result.rows if result is not None else []
        lines = [(row, line) for row in rows for line in row.lines()]
        table.setRowCount(len(lines))
        for number, (row, line) in enumerate(lines):
            for column, text in enumerate(line.cells):
                item = qt.QTableWidgetItem(text)
                item.setToolTip(limit_text(row, line))
                if column == len(HEADINGS) - 1 and line.limit:
                    item.setForeground(qt.QBrush(qt.QColor(texts.GOOD if line.holds else texts.BAD)))
                table.setItem(number, column, item)
        table.visible = bool(rows)
        self._ui.notesLabel.text = "" if result is None else notes_text(result, self._translate)


def limit_text(row: TissueRow, line: ShownLine) -> str:
    """Return where a line was measured, and how far it may change.

    Examples
    --------
    >>> row = TissueRow("brain", 4200, 9e-4, 9e-4, 0.2, 0.2, 2.0, 0.01)
    >>> limit_text(row, row.lines()[1])
    'Mean of 4,200 voxels; may change by 0.01.'
    """
    demanded = f"may change by {line.limit}" if line.limit else "not limited"
    return f"Mean of {row.voxels:,} voxels; {demanded}."


def notes_text(result: DwiResult, translate: Callable[[str], str]) -> str:
    """Return how strong a result is, and its warnings, each on a line of its own."""
    lines = []
    if result.spatialStrength < result.strength:
        text = translate("Strength used: {value:.2f}, of it for sharpening: {spatial:.2f}.")
        lines.append(text.format(value=result.strength, spatial=result.spatialStrength))
    elif not math.isnan(result.strength):
        lines.append(translate("Strength used: {value:.2f}.").format(value=result.strength))
    lines += [f"⚠ {texts.sentence(warning)}" for warning in result.warnings]
    return "\n".join(lines)
