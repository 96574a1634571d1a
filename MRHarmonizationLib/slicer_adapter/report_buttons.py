"""The two buttons below a result's table: save its report into a folder, or open it in the browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from MRHarmonizationLib.core.errors import MRHarmonizationError

#: Folder for reports that are looked at without being saved, in Slicer's own temporary folder.
VIEWED_REPORTS = "MRHarmonizationReports"


class Reported(Protocol):
    """A result that has, or had, a report."""

    def exportReport(self, folder: Path) -> Path:
        """Write the report into a folder and return its page; raises MRHarmonizationError."""
        ...


class ReportButtons:
    """Serves the widgets ``exportButton`` and ``openButton``.

    Parameters
    ----------
    ui : object
        Holds the widgets as attributes; their dynamic property ``help`` is the tooltip while there is a report.
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
        self._buttons = (ui.exportButton, ui.openButton)
        self._translate, self._say, self._on_error = translate, say, on_error
        self._result: Reported | None = None
        self._id = ""
        ui.exportButton.connect("clicked(bool)", self._on_export)
        ui.openButton.connect("clicked(bool)", self._on_open)

    def show(self, result: Reported | None, has_report: bool, node_id: str) -> None:
        """Enable the buttons for a result whose report is at hand; say why where it is not.

        Parameters
        ----------
        result : object or None
        has_report : bool
        node_id : str
            Of the node that holds the result: names the folder of a report that is only looked at.
        """
        self._result, self._id = result, node_id
        gone = self._translate("The report is not saved with the scene: press Apply to make it again.")
        for button in self._buttons:
            button.enabled = has_report
            button.toolTip = gone if result is not None and not has_report else button.property("help")

    def _on_export(self, *_: Any) -> None:
        import qt

        title = self._translate("Folder for the report")
        folder = qt.QFileDialog.getExistingDirectory(self._buttons[0], title)
        if folder:
            path = self._write(Path(folder))
            if path is not None:
                self._say(f"{self._translate('Saved')} {path}")

    def _on_open(self, *_: Any) -> None:
        import qt
        import slicer

        path = self._write(Path(slicer.app.temporaryPath) / VIEWED_REPORTS / self._id)
        if path is not None and not qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(path))):
            self._say(f"{self._translate('No browser could be started. The report is')} {path}")

    def _write(self, folder: Path) -> Path | None:
        assert self._result is not None
        try:
            return self._result.exportReport(folder)
        except MRHarmonizationError as error:
            self._on_error(error)
            return None
