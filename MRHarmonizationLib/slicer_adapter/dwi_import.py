"""Diffusion scans brought into the scene by the panel: from disk, or of a sequence or 4-D volume and its tables.

The widgets, by name: ``loadButton``; ``sourceSelector``, ``bvalPathEdit``, ``bvecPathEdit``, ``convertButton``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from MRHarmonizationLib.core.errors import MRHarmonizationError
from MRHarmonizationLib.slicer_adapter.dwi_sources import diffusion_from_tables, load_diffusion

LOADABLE = "Diffusion scans (*.nii.gz *.nii *.nrrd *.nhdr);;All files (*)"


class DwiImport:
    """Drives the buttons.

    Parameters
    ----------
    ui : object
        Holds the widgets as attributes.
    translate : callable(str) -> str
    on_loaded : callable(vtkMRMLDiffusionWeightedVolumeNode)
    on_error : callable(MRHarmonizationError)
    """

    def __init__(
        self,
        ui: Any,
        translate: Callable[[str], str],
        on_loaded: Callable[[Any], None],
        on_error: Callable[[MRHarmonizationError], None],
    ) -> None:
        self._ui, self._translate, self._on_loaded, self._on_error = ui, translate, on_loaded, on_error
        ui.loadButton.connect("clicked(bool)", self._on_load)
        ui.convertButton.connect("clicked(bool)", self._on_convert)
        ui.sourceSelector.connect("currentNodeChanged(vtkMRMLNode*)", self.update)
        for edit in (ui.bvalPathEdit, ui.bvecPathEdit):
            edit.connect("currentPathChanged(QString)", self.update)
        self.update()

    def update(self, *_: Any) -> None:
        """Enable the button when everything it needs is chosen."""
        ui = self._ui
        chosen = ui.sourceSelector.currentNode(), ui.bvalPathEdit.currentPath, ui.bvecPathEdit.currentPath
        ui.convertButton.enabled = all(chosen)

    def _on_load(self, *_: Any) -> None:
        import qt

        title = self._translate("Diffusion scan: NIfTI with .bval and .bvec beside it, or NRRD")
        path = qt.QFileDialog.getOpenFileName(self._ui.loadButton, title, "", LOADABLE)
        if path:
            self._take(lambda: load_diffusion(path))

    def _on_convert(self, *_: Any) -> None:
        ui = self._ui
        source, tables = ui.sourceSelector.currentNode(), (ui.bvalPathEdit.currentPath, ui.bvecPathEdit.currentPath)
        self._take(lambda: diffusion_from_tables(source, *tables))

    def _take(self, make: Callable[[], Any]) -> None:
        import slicer

        try:
            with slicer.util.WaitCursor():
                node = make()
        except MRHarmonizationError as error:
            self._on_error(error)
            return
        self._on_loaded(node)
