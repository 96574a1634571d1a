"""What harmonisation did to diffusivity and anisotropy, in the panel: the table, the notes, the report.

The widgets, by name: ``measuresTable``, ``notesLabel``, ``exportButton``, ``openButton``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.slicer_adapter import texts
from MRHarmonizationLib.slicer_adapter.dwi_results import DwiResult
from MRHarmonizationLib.slicer_adapter.dwi_rows import ShownLine, TissueRow

#: Folder for reports that are looked at without being saved, in Slicer's own temporary folder.
VIEWED_REPORTS = "MRHarmonizationReports"
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
        self._ui, self._translate, self._say, self._on_error = ui, translate, say, on_error
        self._result: DwiResult | None = None
        self._filled: tuple[Any, ...] = ()
        self._set_up_table()
        ui.exportButton.connect("clicked(bool)", self._on_export)
        ui.openButton.connect("clicked(bool)", self._on_open)

    def show(self, result: DwiResult | None) -> None:
        """Show a result, or nothing."""
        self._result = result
        table = None if result is None else result.table
        filled = () if result is None or table is None else (table, table.GetMTime(), result.node.GetMTime())
        if filled != self._filled or not filled:
            self._filled = filled
            self._fill(result)
        has_report = result is not None and bool(result.files)
        for button in (self._ui.exportButton, self._ui.openButton):
            button.enabled = has_report
            gone = self._translate("The report is not saved with the scene: press Apply to make it again.")
            button.toolTip = gone if result is not None and not has_report else button.property("help")

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

    def _on_export(self, *_: Any) -> None:
        import qt

        title = self._translate("Folder for the report")
        folder = qt.QFileDialog.getExistingDirectory(self._ui.exportButton, title)
        if folder:
            path = self._write(Path(folder))
            if path is not None:
                self._say(f"{self._translate('Saved')} {path}")

    def _on_open(self, *_: Any) -> None:
        import qt
        import slicer

        assert self._result is not None
        path = self._write(Path(slicer.app.temporaryPath) / VIEWED_REPORTS / self._result.node.GetID())
        if path is not None and not qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path))):
            self._say(f"{self._translate('No browser could be started. The report is')} {path}")

    def _write(self, folder: Path) -> Path | None:
        assert self._result is not None
        try:
            return self._result.exportReport(folder)
        except MRHarmonizationError as error:
            self._on_error(error)
            return None


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
    if not math.isnan(result.strength):
        lines.append(translate("Strength used: {value:.2f}.").format(value=result.strength))
    lines += [f"⚠ {texts.sentence(warning)}" for warning in result.warnings]
    return "\n".join(lines)
