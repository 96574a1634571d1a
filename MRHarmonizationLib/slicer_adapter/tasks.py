"""A run from scan to result node: started, looked at from Qt's event loop or waited for, stored when it has ended."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, TypeVar

import numpy as np

from MRHarmonizationLib.core.checks import looks_like_labels
from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.inference.domain import check_scan
from MRHarmonizationLib.inference.enhance import EnhanceRequest
from MRHarmonizationLib.inference.harmonize import HarmonizeRequest
from MRHarmonizationLib.inference.restore import RestoreRequest, check_restorable
from MRHarmonizationLib.slicer_adapter import records
from MRHarmonizationLib.slicer_adapter.enhance_run import Enhancement, EnhanceRun
from MRHarmonizationLib.slicer_adapter.jobs import ProcessRunner
from MRHarmonizationLib.slicer_adapter.masks import mask_volume
from MRHarmonizationLib.slicer_adapter.node_task import NodeTask, temporary_folder
from MRHarmonizationLib.slicer_adapter.nodes import grid_of_node, volume_from_node
from MRHarmonizationLib.slicer_adapter.process_run import ProcessRun
from MRHarmonizationLib.slicer_adapter.restore_run import RestoreRun
from MRHarmonizationLib.slicer_adapter.results import store_enhancement
from MRHarmonizationLib.slicer_adapter.standardise_run import Standardisation, StandardiseRun
from MRHarmonizationLib.slicer_adapter.units import remember_reference
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

Made = TypeVar("Made", bound=Enhancement)


class ScanTask(NodeTask[Made], abc.ABC, Generic[Made]):
    """A started run that makes a result node of a scan node.

    Parameters
    ----------
    input_node : vtkMRMLScalarVolumeNode
        Read once, now; never changed.
    output_node : vtkMRMLScalarVolumeNode or None
        Changed only when the run has succeeded; None: a new node ``<input>_<name>`` is made then.
    name : str
    start : callable(Volume) -> ProcessRun
        Checks the scan and starts the process.

    Attributes
    ----------
    input_node, output_node : vtkMRMLScalarVolumeNode
        The output is None until there is one.
    warnings : tuple of str

    Raises
    ------
    InputError
        The input is no scan.
    ParameterError
        The output is the input.
    Other errors of the library
        From ``start``.
    """

    def __init__(
        self, input_node: Any, output_node: Any, name: str, start: Callable[[Volume], ProcessRun[Made]]
    ) -> None:
        if input_node is not None and output_node is input_node:
            raise ParameterError("the result cannot replace its input", "choose another result volume")
        volume = volume_from_node(input_node)
        self.input_node, self.output_node, self._name = input_node, output_node, name
        self.warnings: tuple[str, ...] = ()
        super().__init__(start(volume))

    @property
    def input_nodes(self) -> tuple[Any, ...]:
        """The scan."""
        return (self.input_node,)

    @property
    def product(self) -> Any:
        """The output node."""
        return self.output_node

    def _store(self, outcome: Made) -> None:
        if self.input_node.GetScene() is None:
            raise InputError("the scan was removed while it was worked on", "load it and press Apply again")
        if self.output_node is None or self.output_node.GetScene() is None:
            self.output_node = records.new_volume_node(f"{self.input_node.GetName()}_{self._name}", self.input_node)
        done = replace(outcome, provenance=replace(outcome.provenance, input_name=self.input_node.GetName()))
        store_enhancement(done, self.input_node, self.output_node)
        self.warnings = done.warnings


class EnhanceTask(ScanTask[Enhancement]):
    """A started enhancement of a node; raises as :class:`ScanTask`, and OutputError without room for its files.

    Parameters
    ----------
    input_node, output_node
        See :class:`ScanTask`; a new output is called ``<input>_<model>``.
    request : EnhanceRequest
    runner : ProcessRunner
    on_progress : callable(fraction: float, message: str), optional
    """

    def __init__(
        self,
        input_node: Any,
        output_node: Any,
        request: EnhanceRequest,
        runner: ProcessRunner,
        on_progress: Callable[[float, str], None] | None = None,
    ) -> None:
        def start(volume: Volume) -> EnhanceRun:
            check_scan(volume)
            return EnhanceRun(volume, request, runner, on_progress, temporary_folder())

        self.request = request
        super().__init__(input_node, output_node, request.model, start)


class RestoreTask(ScanTask[Enhancement]):
    """A started denoising and sharpening of a node; raises as :class:`EnhanceTask`.

    Parameters
    ----------
    input_node, output_node
        See :class:`ScanTask`; a new output is called ``<input>_<model>``.
    request : RestoreRequest
    runner : ProcessRunner
    on_progress : callable(fraction: float, message: str), optional
    """

    def __init__(
        self,
        input_node: Any,
        output_node: Any,
        request: RestoreRequest,
        runner: ProcessRunner,
        on_progress: Callable[[float, str], None] | None = None,
    ) -> None:
        def start(volume: Volume) -> RestoreRun:
            check_restorable(volume)
            return RestoreRun(volume, request, runner, on_progress, temporary_folder())

        self.request = request
        super().__init__(input_node, output_node, request.model, start)


class StandardiseTask(ScanTask[Standardisation]):
    """A started standardisation of a node's contrast; raises as :class:`ScanTask`.

    Parameters
    ----------
    input_node, output_node
        See :class:`ScanTask`; a new output is called ``<input>_<method>``.
    request : HarmonizeRequest
    runner : ProcessRunner
    on_progress : callable(fraction: float, message: str), optional
    mask : vtkMRMLSegmentationNode, vtkMRMLLabelMapVolumeNode, vtkMRMLScalarVolumeNode or None
        Where intensities are measured; the object's inside if None.
    segment : str
        Part of the mask, as :func:`~MRHarmonizationLib.slicer_adapter.masks.parts_of` names it; '' for the whole.

    Raises
    ------
    InputError
        The scan is a label map, the mask empty or beside the scan, the reference no group.
    GridMismatchError
        A transform that is not linear lies between scan and mask.
    OutputError
        There is no room for the temporary files.
    """

    def __init__(
        self,
        input_node: Any,
        output_node: Any,
        request: HarmonizeRequest,
        runner: ProcessRunner,
        on_progress: Callable[[float, str], None] | None = None,
        mask: Any = None,
        segment: str = "",
    ) -> None:
        def start(volume: Volume) -> StandardiseRun:
            if looks_like_labels(volume.array):
                raise InputError(
                    f"'{volume.name}' looks like a label map, not like a scan", "choose the scan it was drawn on"
                )
            region = None if mask is None else mask_on_grid_of(input_node, mask, segment)
            return StandardiseRun(volume, request, region, runner, on_progress, temporary_folder())

        self.request, self.mask, self.segment = request, mask, segment
        super().__init__(input_node, output_node, request.method, start)

    def _store(self, outcome: Standardisation) -> None:
        super()._store(outcome)
        mask = self.mask if self.mask is not None and self.mask.GetScene() is not None else None
        remember_reference(self.output_node, outcome.group, mask, self.segment)


def mask_on_grid_of(node: Any, mask: Any, segment: str = "") -> Volume:
    """Return a mask on the voxels of a volume node, uint8.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode
    mask, segment
        As for :class:`StandardiseTask`.

    Raises
    ------
    InputError
        It is empty, or has no voxel inside the volume.
    GridMismatchError
        A transform that is not linear lies between both.
    """
    region = resample(mask_volume(mask, segment, node), grid_of_node(node), "nearest", fill=0)
    if not np.any(region.array):
        raise InputError(f"the mask '{region.name}' lies beside '{node.GetName()}'", "choose another mask, or none")
    return region
