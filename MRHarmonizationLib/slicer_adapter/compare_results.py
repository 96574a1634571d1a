"""What a comparison has found, in the panel: curves, measurements, notes, the report.

The widgets, by name: ``curveComboBox``, ``curveLabel``, ``measuresTable``, ``notesLabel``, ``exportButton``,
``openButton``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.slicer_adapter import plots, texts
from MRHarmonizationLib.slicer_adapter.compare_run import REPORT
from MRHarmonizationLib.slicer_adapter.comparisons import StoredComparison
from MRHarmonizationLib.slicer_adapter.metric_rows import SECTIONS, MetricRow, number_text
from MRHarmonizationLib.slicer_adapter.region_table import is_nearer, region_help
from MRHarmonizationLib.slicer_adapter.report_buttons import ReportButtons


class CompareResults:
    """Shows one comparison at a time.

    Parameters
    ----------
    ui : object
        Holds the widgets as attributes.
    translate : callable(str) -> str
    say : callable(str)
        Tells the user what was done.
    on_error : callable(MRHarmonizationError)
    on_curve : callable(str)
        Called with the id of the curve the user chooses.
    """

    def __init__(
        self,
        ui: Any,
        translate: Callable[[str], str],
        say: Callable[[str], None],
        on_error: Callable[[MRHarmonizationError], None],
        on_curve: Callable[[str], None],
    ) -> None:
        self._ui, self._translate, self._on_curve = ui, translate, on_curve
        self._stored: StoredComparison | None = None
        self._filled: tuple[Any, ...] = ()
        self._set_up_table()
        ui.curveComboBox.connect("currentIndexChanged(int)", self._on_curve_chosen)
        self._report = ReportButtons(ui, translate, say, on_error)

    def show(self, stored: StoredComparison | None, curve: str) -> Any:
        """Show a comparison, or nothing, and return the chart of the chosen curve (the first one otherwise).

        Parameters
        ----------
        stored : StoredComparison or None
        curve : str
            Id of the curve to choose.

        Returns
        -------
        vtkMRMLPlotChartNode or None
        """
        self._stored = stored
        filled = () if stored is None else (stored.table, stored.table.GetMTime())
        if filled != self._filled or stored is None:
            self._filled = filled
            self._fill_table(stored.rows if stored is not None else [])
            self._fill_regions(stored.regions if stored is not None else [])
            self._ui.notesLabel.text = self._notes(stored)
        has_report = stored is not None and REPORT in stored.files
        self._report.show(stored, has_report, "" if stored is None else stored.table.GetID())
        return self._fill_curves(stored, curve)

    # -- how it works
    def _fill_curves(self, stored: StoredComparison | None, curve: str) -> Any:
        combo, charts = self._ui.curveComboBox, stored.charts if stored is not None else {}
        combo.blockSignals(True)
        combo.clear()
        for id_, chart in charts.items():
            combo.addItem(chart.GetTitle(), id_)
        combo.currentIndex = max(0, combo.findData(curve)) if charts else -1
        combo.blockSignals(False)
        combo.enabled = bool(charts)
        chosen = charts.get(combo.itemData(combo.currentIndex)) if charts else None
        later = self._translate("The curves appear when the images have been compared.")
        self._ui.curveLabel.text = later if chosen is None else chosen.GetAttribute(plots.SENTENCE_ATTRIBUTE) or ""
        return chosen

    def _fill_table(self, rows: list[MetricRow]) -> None:
        table = self._ui.measuresTable
        table.setRowCount(0)
        for held_against, heading in SECTIONS.items():
            own = [row for row in rows if row.held_against == held_against]
            if not own:
                continue
            self._add_heading(heading)
            for row in own:
                cells = (row.title, number_text(row.before), number_text(row.after))
                self._add_line(cells, texts.metric_help(row), row.improved)
        table.visible = bool(rows)

    def _fill_regions(self, rows: list[dict[str, Any]]) -> None:
        """Add the volumes of brain structures below the measurements."""
        if rows:
            self._add_heading("Brain regions (ml)")
        for row in rows:
            cells = (row["region"], number_text(row["before_ml"]), number_text(row["after_ml"]))
            self._add_line(cells, region_help(row), is_nearer(row))

    def _add_heading(self, text: str) -> None:
        import qt

        line, table = self._new_line(), self._ui.measuresTable
        title = qt.QTableWidgetItem(self._translate(text))
        font = title.font()
        font.setBold(True)
        title.setFont(font)
        table.setItem(line, 0, title)
        table.setSpan(line, 0, 1, 3)

    def _set_up_table(self) -> None:
        import qt

        table = self._ui.measuresTable
        table.setColumnCount(3)
        table.setHorizontalHeaderLabels([self._translate(text) for text in ("Metric", "Before", "After")])
        table.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        for column in (1, 2):
            table.horizontalHeader().setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)

    def _add_line(self, cells: tuple[str, str, str], help_text: str, improved: bool | None) -> None:
        import qt

        line, table = self._new_line(), self._ui.measuresTable
        for column, text in enumerate(cells):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(help_text)
            if column == 2 and improved is not None:
                item.setForeground(qt.QBrush(qt.QColor(texts.GOOD if improved else texts.BAD)))
            table.setItem(line, column, item)

    def _new_line(self) -> int:
        line = int(self._ui.measuresTable.rowCount)
        self._ui.measuresTable.setRowCount(line + 1)
        return line

    def _notes(self, stored: StoredComparison | None) -> str:
        if stored is None:
            return ""
        measured = [f"measured in {stored.measured_in}"] if stored.measured_in else []
        return "\n".join(f"• {texts.sentence(note)}" for note in (*measured, *stored.notes))

    def _on_curve_chosen(self, index: int) -> None:
        if index >= 0:
            self._on_curve(self._ui.curveComboBox.itemData(index))
