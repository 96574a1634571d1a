"""What MRHarmonizationDWILogic does: harmonisation of diffusion scans, and what can be done before and afterwards.

Names are those of the module's Python face, in Slicer's style.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from MRHarmonizationLib.slicer_adapter import dwi_sources
from MRHarmonizationLib.slicer_adapter.dependencies import (
    DependencyInstaller,
    SlicerDependencyInstaller,
    requirements_for,
    requirements_for_comparison,
)
from MRHarmonizationLib.slicer_adapter.dwi_choices import DwiMethod, list_methods
from MRHarmonizationLib.slicer_adapter.dwi_results import DwiResult, is_dwi_result, toggle_undo
from MRHarmonizationLib.slicer_adapter.dwi_sources import AnyPath
from MRHarmonizationLib.slicer_adapter.dwi_task import DwiTask, harmonize_node, make_job, packages_named
from MRHarmonizationLib.slicer_adapter.jobs import ProcessRunner, SubprocessRunner

OnProgress = Callable[[float, str], None]


class DwiOperations:
    """Harmonise diffusion scans from Python, with or without the panel.

    Parameters
    ----------
    runner, installer : ProcessRunner, DependencyInstaller
        What starts processes and installs packages; tests pass others.
    """

    def __init__(self, runner: ProcessRunner | None = None, installer: DependencyInstaller | None = None) -> None:
        self.runner = runner or SubprocessRunner()
        self.installer = installer or SlicerDependencyInstaller()
        self._results: dict[str, DwiResult] = {}

    def methods(self) -> list[DwiMethod]:
        """Return the methods that can be used: networks by their cards, then the classical ones; ``id``, ``title``."""
        return list_methods()

    def ensureDependencies(self, report: bool = False) -> None:
        """Install what is missing, after asking the user; raises DependencyError.

        Parameters
        ----------
        report : bool
            Also what the report needs.
        """
        needed = requirements_for()
        needed += [entry for entry in requirements_for_comparison() if report and entry not in needed]
        missing = self.installer.missing(needed)
        if missing:
            self.installer.install(missing)

    def loadDiffusion(self, path: AnyPath, bval: AnyPath | None = None, bvec: AnyPath | None = None) -> Any:
        """Load a diffusion scan from disk (NIfTI with its tables, NRRD, DICOM folder) and return its node."""
        return dwi_sources.load_diffusion(path, bval, bvec)

    def diffusionFromTables(self, sourceNode: Any, bval: AnyPath, bvec: AnyPath) -> Any:
        """Make a diffusion node of a sequence or a volume with several values per voxel, and of two text files."""
        return dwi_sources.diffusion_from_tables(sourceNode, bval, bvec)

    def process(
        self,
        dwiNode: Any,
        outputNode: Any = None,
        target: Any = "canonical",
        strength: float = 1.0,
        method: str | None = None,
        onProgress: OnProgress | None = None,
        **options: Any,
    ) -> Any:
        """Harmonise a diffusion scan in this process and wait for the result.

        Parameters
        ----------
        dwiNode : vtkMRMLDiffusionWeightedVolumeNode
            Not changed.
        outputNode : vtkMRMLDiffusionWeightedVolumeNode, optional
            Overwritten; a new node ``<scan>_<method>`` beside the scan if omitted. Its gradients are the scan's.
        target : str or vtkMRMLDiffusionWeightedVolumeNode
            What classical methods aim at: id of a shipped target, path of a target file, or another scan.
        strength : float
            0 to 1; reduced where diffusivity or anisotropy would change beyond the limits.
        method : str, optional
            One of the ids in ``methods()``; the first one if omitted.
        onProgress : callable(fraction: float, message: str), optional
            What it raises ends the work.
        **options
            fitted, noise, spacingMm, maskNode, segmentID, keepMaps, keepResidual: see ``start``.

        Returns
        -------
        vtkMRMLDiffusionWeightedVolumeNode
            ``result(node)`` tells its table, maps and warnings.

        Raises
        ------
        MRHarmonizationError
            With the problem and the remedy.
        """
        with packages_named():
            job = make_job(dwiNode, target=target, strength=strength, method=method, **options)
            return self.remember(harmonize_node(dwiNode, outputNode, job, onProgress)).node

    def start(
        self, dwiNode: Any, outputNode: Any = None, onProgress: OnProgress | None = None, **options: Any
    ) -> DwiTask:
        """Start harmonising in a process of its own and return the task at once; call its ``step()`` until it ended.

        Parameters
        ----------
        dwiNode, outputNode, onProgress
            As for ``process``.
        **options
            ``target``, ``strength``, ``method`` as for ``process``; ``fitted``: file of a fitted classical method;
            ``noise``: 'auto', 'none', 'floor' or 'denoise'; ``spacingMm`` of the result: a number, three, or 'target'
            (the scan's own if omitted); ``maskNode``, ``segmentID``: the brain; ``keepMaps``: also keep maps of b0,
            trace, FA and MD; ``keepResidual``: keep what undoes it; ``report``: also make the HTML page.
        """
        return DwiTask(dwiNode, outputNode, make_job(dwiNode, **options), self.runner, onProgress)

    def remember(self, result: DwiResult) -> DwiResult:
        """Keep a result's report, which is not saved with the scene, and return the result."""
        self._results[result.node.GetID()] = result
        return result

    def result(self, node: Any) -> DwiResult | None:
        """Return what belongs to a harmonised scan (table, rows, maps, warnings, report); None for any other node."""
        if not is_dwi_result(node):
            return None
        kept = self._results.get(node.GetID())
        return kept if kept is not None and kept.node is node else DwiResult(node)

    def undo(self, node: Any) -> None:
        """Put the scan before harmonisation into a result made with keepResidual; again: put the result back."""
        toggle_undo(node)

    def forget(self) -> None:
        """Free the memory held for reports."""
        self._results.clear()
