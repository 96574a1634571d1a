"""A harmonisation from diffusion node to diffusion node: in a process of its own, or in this one."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from MRHarmonizationLib.core.errors import DependencyError, InputError, ParameterError
from MRHarmonizationLib.inference.harmonize_dwi import HarmonizeDwiRequest
from MRHarmonizationLib.slicer_adapter.dwi_choices import list_methods
from MRHarmonizationLib.slicer_adapter.dwi_nodes import check_dwi_node, dwi_from_node
from MRHarmonizationLib.slicer_adapter.dwi_results import DwiResult, store_dwi_harmonization
from MRHarmonizationLib.slicer_adapter.dwi_run import DwiHarmonization, DwiJob, DwiRun, make_harmonization
from MRHarmonizationLib.slicer_adapter.jobs import ProcessRunner
from MRHarmonizationLib.slicer_adapter.masks import mask_volume
from MRHarmonizationLib.slicer_adapter.node_task import NodeTask, temporary_folder
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

REMOVED = "the scan was removed while it was harmonised"


def make_job(
    scan: Any,
    target: Any = "canonical",
    strength: float = 1.0,
    method: str | None = None,
    fitted: str | None = None,
    noise: str = "auto",
    spacingMm: Any = None,
    maskNode: Any = None,
    segmentID: str | None = None,
    keepMaps: bool = False,
    keepResidual: bool = False,
    report: bool = False,
) -> DwiJob:
    """Read nodes and plain values into what a run needs; the nodes are not changed.

    Parameters
    ----------
    scan : vtkMRMLDiffusionWeightedVolumeNode
    target : str or vtkMRMLDiffusionWeightedVolumeNode
        Id of a shipped target, path of a target's file, or a scan whose contrast is wanted.
    strength : float
    method : str, optional
        Id as :func:`~MRHarmonizationLib.slicer_adapter.dwi_choices.list_methods` gives it; the first one if omitted.
    fitted : path, optional
        File of a fitted classical method.
    noise : {'auto', 'none', 'floor', 'denoise'}
    spacingMm : float, three floats, 'target' or None
    maskNode : vtkMRMLNode, optional
        Segmentation, label map or volume that is 0 outside the brain.
    segmentID : str, optional
        Part of it; all of it if omitted.
    keepMaps, keepResidual, report : bool

    Raises
    ------
    InputError, ParameterError, GridError
        What keeps the scan from being harmonised, or is wrong with a choice.
    """
    check_dwi_node(scan)
    chosen = chosen_method(method)
    of_scan = target is not None and not isinstance(target, str) and hasattr(target, "GetImageData")
    request = HarmonizeDwiRequest(
        method=chosen.id,
        fitted=fitted or None,
        target=HarmonizeDwiRequest.target if of_scan or target is None else str(target),
        strength=strength,
        noise=noise,
        spacing_mm=spacingMm,
        keep_residual=keepResidual,
    )
    statistics = None
    if of_scan and chosen.uses_target:
        if target is scan:
            raise ParameterError(f"'{scan.GetName()}' is both scan and target", "choose another target scan")
        from MRHarmonizationLib.methods.dwi_target import target_of_scans

        statistics = target_of_scans([dwi_from_node(target)], name=target.GetName() or "scan")
    dwi = dwi_from_node(scan)
    mask = None if maskNode is None else brain_volume(maskNode, segmentID, scan, dwi.grid)
    return DwiJob(dwi, request, mask, statistics, keepMaps, report)


@contextlib.contextmanager
def packages_named() -> Iterator[None]:
    """Turn a missing Python package into an error that says what to do: scripts run in Slicer's own process."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise DependencyError(
            f"the Python package '{error.name}' is not installed", "call ensureDependencies() of the logic"
        ) from error


def chosen_method(wanted: str | None) -> Any:
    """Return a method by its id, the first one for None; raises ParameterError naming the choices."""
    methods = list_methods()
    if wanted is None:
        return methods[0]
    for entry in methods:
        if entry.id == wanted:
            return entry
    raise ParameterError(f"unknown method '{wanted}'", f"choose one of: {', '.join(entry.id for entry in methods)}")


def brain_volume(mask: Any, segment: str | None, scan: Any, grid: Any) -> Volume:
    """Return a mask node as a volume on a scan's grid, uint8, 1 inside; raises InputError if nothing is left of it."""
    own = mask_volume(mask, segment or "", scan)
    placed = resample(own, grid, "nearest", fill=0)
    if not placed.array.any():
        raise InputError(f"the mask '{own.name}' does not overlap the scan", "choose another mask, or none")
    return placed


class DwiTask(NodeTask[DwiHarmonization]):
    """A started harmonisation of a node.

    Parameters
    ----------
    scan : vtkMRMLDiffusionWeightedVolumeNode
        What ``job`` was read from; never changed.
    node : vtkMRMLDiffusionWeightedVolumeNode or None
        Changed only when the harmonisation has succeeded; None: a new node ``<scan>_<method>`` is made then.
    job : DwiJob
    runner : ProcessRunner
    on_progress : callable(fraction: float, message: str), optional

    Attributes
    ----------
    scan : vtkMRMLDiffusionWeightedVolumeNode
    result : DwiResult or None
        When it has succeeded.

    Raises
    ------
    ParameterError
        The output is the scan.
    OutputError
        There is no room for the temporary files.
    """

    def __init__(
        self,
        scan: Any,
        node: Any,
        job: DwiJob,
        runner: ProcessRunner,
        on_progress: Callable[[float, str], None] | None = None,
    ) -> None:
        check_output(scan, node)
        self.scan, self.node, self._job = scan, node, job
        self.result: DwiResult | None = None
        super().__init__(DwiRun(job, runner, on_progress, temporary_folder()))

    @property
    def input_nodes(self) -> tuple[Any, ...]:
        """The scan."""
        return (self.scan,)

    @property
    def product(self) -> DwiResult | None:
        """The stored result."""
        return self.result

    def _store(self, outcome: DwiHarmonization) -> None:
        self.result = _stored(outcome, self.scan, self._job, self.node)


def harmonize_node(
    scan: Any, node: Any, job: DwiJob, on_progress: Callable[[float, str], None] | None = None
) -> DwiResult:
    """Harmonise a node in this process and store the result.

    Parameters
    ----------
    scan, node, job, on_progress
        As for :class:`DwiTask`.

    Raises
    ------
    MRHarmonizationError
        As :func:`~MRHarmonizationLib.inference.harmonize_dwi.harmonize_dwi`.
    """
    from MRHarmonizationLib.core.progress import Progress
    from MRHarmonizationLib.inference.harmonize_dwi import harmonize_dwi
    from MRHarmonizationLib.methods.dwi_harmonizers import DWI_HARMONIZERS

    check_output(scan, node)
    fitted = None if job.target is None else DWI_HARMONIZERS.get(job.request.method).fit(job.target)
    started = time.monotonic()
    found = harmonize_dwi(job.dwi, job.request, job.mask, Progress(on_progress), fitted)
    return _stored(make_harmonization(found, job.maps, time.monotonic() - started), scan, job, node)


def check_output(scan: Any, node: Any) -> None:
    """Refuse an output that is the input, or no diffusion volume; raises ParameterError."""
    if node is None:
        return
    if node is scan:
        raise ParameterError("the result cannot replace its scan", "choose another result volume")
    if not node.IsA("vtkMRMLDiffusionWeightedVolumeNode"):
        raise ParameterError(
            f"'{node.GetName()}' ({node.GetClassName()}) cannot hold the result", "choose a diffusion-weighted volume"
        )


def _stored(outcome: DwiHarmonization, scan: Any, job: DwiJob, node: Any) -> DwiResult:
    if scan.GetScene() is None:
        raise InputError(REMOVED, "load it and press Apply again")
    parameters = dict(outcome.provenance.parameters)
    if job.target is not None:
        parameters["target"] = f"scan '{job.target.id}'"  # not the path of a file that is gone
    record = replace(outcome.provenance, input_name=scan.GetName(), parameters=parameters)
    return store_dwi_harmonization(replace(outcome, provenance=record), scan, job.dwi, node)
