"""What MRHarmonizationCompareLogic does: comparisons, and the volumes that are derived from two images.

Names are those of the module's Python face, in Slicer's style.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from MRHarmonizationLib.slicer_adapter import comparisons, dependencies, derived
from MRHarmonizationLib.slicer_adapter.compare_choices import map_features, why_no_regions
from MRHarmonizationLib.slicer_adapter.compare_task import CompareTask
from MRHarmonizationLib.slicer_adapter.jobs import ProcessRunner, SubprocessRunner


class CompareOperations:
    """Compare volumes from Python, with or without the panel.

    Parameters
    ----------
    runner, installer : ProcessRunner, DependencyInstaller
        What starts processes and installs packages; tests pass others.
    """

    def __init__(
        self, runner: ProcessRunner | None = None, installer: dependencies.DependencyInstaller | None = None
    ) -> None:
        self.runner = runner or SubprocessRunner()
        self.installer = installer or dependencies.SlicerDependencyInstaller()
        self._comparisons: dict[str, comparisons.StoredComparison] = {}

    def mapFeatures(self) -> list[str]:
        """Return the texture features there are maps of."""
        return map_features()

    def whyNoRegions(self) -> str:
        """Return why brain structures cannot be found by the network, '' where they can."""
        return why_no_regions()

    def ensureDependencies(self, brainRegions: bool = False) -> None:
        """Install what is missing, after asking the user; raises DependencyError."""
        missing = self.installer.missing(dependencies.requirements_for_comparison(brainRegions))
        if missing:
            self.installer.install(missing)

    def process(
        self,
        beforeNode: Any,
        afterNode: Any,
        referenceNode: Any = None,
        maskNode: Any = None,
        segmentID: str | int | None = None,
        **options: Any,
    ) -> comparisons.StoredComparison:
        """Compare two volumes and wait for the result.

        Parameters
        ----------
        beforeNode, afterNode : vtkMRMLScalarVolumeNode
            Not changed. Everything is measured on the grid of after; the others are resampled where they lie on
            another one, and the result's notes say so.
        referenceNode : vtkMRMLScalarVolumeNode, optional
            The truth.
        maskNode : vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode or vtkMRMLScalarVolumeNode, optional
            Where to measure; the head found in before if omitted.
        segmentID : str, optional
            Segment of the segmentation, or label of the label map; all of it if omitted.
        **options
            features, window, extraMetrics, brainRegions, segmentations, tableNode, onProgress: see ``start``.

        Returns
        -------
        StoredComparison
            ``table``, ``charts``, ``maps``, ``rows``, ``regions``, ``notes``, ``value(metric)``,
            ``exportReport(folder)``.

        Raises
        ------
        MRHarmonizationError
            With the problem and the remedy.
        """
        return self.remember(self.start(beforeNode, afterNode, referenceNode, maskNode, segmentID, **options).wait())

    def start(
        self,
        beforeNode: Any,
        afterNode: Any,
        referenceNode: Any = None,
        maskNode: Any = None,
        segmentID: str | int | None = None,
        features: Sequence[str] = (),
        window: int = 5,
        extraMetrics: Sequence[str] = (),
        brainRegions: bool = False,
        segmentations: Sequence[Any] = (),
        tableNode: Any = None,
        onProgress: Callable[[float, str], None] | None = None,
    ) -> CompareTask:
        """Start a comparison and return the task at once; call its ``step()`` until it has ended.

        ``features`` are mapped in windows of ``window`` voxels; ``brainRegions`` measures the volumes of 32 structures
        that a network finds, or those in ``segmentations``, label map nodes (FreeSurfer numbers) of before, after and
        the reference; ``tableNode`` is an earlier comparison to overwrite.
        """
        return CompareTask(
            beforeNode,
            afterNode,
            self.runner,
            reference=referenceNode,
            mask=maskNode,
            segment="" if segmentID is None else str(segmentID),
            features=features,
            window=window,
            extra_metrics=extraMetrics,
            regions=brainRegions and not segmentations,
            segmentations=segmentations,
            table=tableNode,
            on_progress=onProgress,
        )

    def remember(self, stored: comparisons.StoredComparison) -> comparisons.StoredComparison:
        """Keep a comparison's report, which is not saved with the scene, and return the comparison."""
        self._comparisons[stored.table.GetID()] = stored
        return stored

    def comparison(self, tableNode: Any) -> comparisons.StoredComparison | None:
        """Return the comparison a table node holds; None where it holds none."""
        if not comparisons.is_comparison(tableNode):
            return None
        kept = self._comparisons.get(tableNode.GetID())
        return kept if kept is not None and kept.table is tableNode else comparisons.StoredComparison(tableNode)

    def difference(self, beforeNode: Any, afterNode: Any) -> Any:
        """Make or update the volume after − before; returns its node."""
        return derived.make_derived(derived.DIFFERENCE, beforeNode, afterNode)

    def checkerboard(self, beforeNode: Any, afterNode: Any, squareMm: float = derived.DEFAULT_SQUARE_MM) -> Any:
        """Make or update the volume of both in alternate cubes; returns its node."""
        return derived.make_derived(derived.CHECKERBOARD, beforeNode, afterNode, squareMm)

    def forget(self) -> None:
        """Free the memory held for reports."""
        self._comparisons.clear()
