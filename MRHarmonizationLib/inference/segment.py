"""Structures of the brain in one scan of any contrast: the same function behind the command line, Python and compare.

The network works at 1 mm in the anatomical frame; the labels come back to the scan's own voxels by nearest neighbour,
and volumes are measured where the network answered, not on a coarser grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np

from MRHarmonizationLib.core.brain_regions import numbers_of, region_volumes_mm3
from MRHarmonizationLib.core.errors import ParameterError, WeightsError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.backends import BACKENDS, DEVICES, Backend, choose_backend
from MRHarmonizationLib.inference.domain import check_output_grid, check_scan, own_grid_warnings
from MRHarmonizationLib.inference.enhance import memory_guard
from MRHarmonizationLib.inference.model_provenance import model_provenance
from MRHarmonizationLib.inference.preparation import thick_axis_order
from MRHarmonizationLib.inference.provenance import Provenance
from MRHarmonizationLib.inference.region_doubts import region_doubts
from MRHarmonizationLib.inference.region_head import find_head, name_head
from MRHarmonizationLib.inference.region_input import CHANNELS
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.orientation import to_canonical
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.card import Card
from MRHarmonizationLib.weights.store import get_model

TASK, LAYOUT = "segment", "head-labels"
DEFAULT_MODEL = "brain-regions"
_BASE_MEMORY_GB, _ARRAYS, _LEAST_ACTIVATION_GB = 0.4, 4, 0.3
_ASIDE_MM = 1e-3
"""A voxel of the scan midway between two of the network's takes the one further right, anterior, superior: its place is
looked up this far to that side, so that rounding in a header cannot decide."""


@dataclass(frozen=True)
class SegmentRequest:
    """What a user asks for; refuses wrong values when it is made.

    Attributes
    ----------
    volume : Volume
        A head in any contrast, orientation and spacing; not changed.
    model : str
        Id of a model card of the task ``segment``.
    device : {'auto', 'cpu', 'cuda'}
    backend : {'auto', 'onnxruntime', 'torch'}
    threads : int, optional
        CPU threads of the network; the backend's choice if omitted.
    max_memory_gb : float
        Memory the process should stay below, in 10⁹ bytes; tiles are chosen by it.

    Raises
    ------
    ParameterError
        If a value lies outside its range.
    """

    volume: Volume
    model: str = DEFAULT_MODEL
    device: str = "auto"
    backend: str = "auto"
    threads: int | None = None
    max_memory_gb: float = 2.0

    def __post_init__(self) -> None:
        for name, value, choices in (("device", self.device, DEVICES), ("backend", self.backend, BACKENDS)):
            if value not in choices:
                raise ParameterError(f"{name} is '{value}'", f"choose one of {', '.join(choices)}")
        if self.threads is not None and self.threads < 1:
            raise ParameterError(f"threads is {self.threads}, expected at least 1", "leave it out for the default")
        if not self.max_memory_gb > 0:
            raise ParameterError(
                f"max_memory_gb is {self.max_memory_gb}, expected more than 0", "2 suffices for a head"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the request without its voxels as JSON-ready values."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "volume"}


@dataclass(frozen=True)
class SegmentResult:
    """What a segmentation gives.

    Attributes
    ----------
    labels : Volume
        int16 FreeSurfer numbers on the grid of the scan.
    volumes_mm3 : mapping of int to float
        Volume of every structure by its number, 0 where it was not found; measured on the network's 1 mm grid.
    warnings : tuple of str
        Ways in which the scan lies outside the model's domain, or its answer looks unlike a whole brain.
    provenance : Provenance
    """

    labels: Volume
    volumes_mm3: Mapping[int, float]
    warnings: tuple[str, ...]
    provenance: Provenance


def segment(request: SegmentRequest, progress: Progress | None = None) -> SegmentResult:
    """Find the 32 structures of the brain in a scan and measure their volumes.

    Parameters
    ----------
    request : SegmentRequest
    progress : Progress, optional
        Reported to, and checked for cancellation, between tiles.

    Returns
    -------
    SegmentResult

    Raises
    ------
    InputError
        If the volume is no scan: not finite, constant, a single slice, a label map.
    ModelNotFoundError, WeightsError
        If the model is unknown, or its weight file is missing or altered.
    DependencyError
        If a package the model needs is missing.
    ResourceError
        If memory runs out even with the smallest tiles.
    OperationCancelled
        If ``progress`` was cancelled.
    """
    progress = progress or Progress()
    volume = request.volume
    check_scan(volume)
    card = segmenter(request.model)
    check_output_grid(volume.grid.isotropic(card.input.spacing_mm))
    progress.report(0.0, "Preparing the scan")
    with memory_guard():
        backend = choose_backend(card, request.backend, request.device, request.threads)
        # Anatomical order first: all that follows is the same however the scan is stored.
        canonical, _ = to_canonical(volume)
        scan = resample(canonical, canonical.grid.isotropic(card.input.spacing_mm), card.input.interpolation)
        numbers = numbers_of(_classes(scan.array, card, backend, request, progress.part(0.1, 0.93)))
        progress.report(0.94, "Measuring volumes")
        volumes = region_volumes_mm3(numbers, scan.grid.voxel_volume_mm3)
        slice_axis = 2 - thick_axis_order(volume.grid).permutation[0]
        warnings = (
            *own_grid_warnings(volume.grid, card.domain, slice_axis),
            *region_doubts(numbers, volumes, scan.grid.voxel_volume_mm3),
        )
        array = on_grid(scan.with_array(numbers), volume.grid)
        provenance = model_provenance(TASK, card, backend, request.to_dict(), volume, array, warnings)
    metadata = {**volume.metadata, **provenance.to_attributes()}
    name = f"{volume.name}_{card.id}" if volume.name else card.id
    progress.report(1.0, "Done")
    return SegmentResult(Volume(array, volume.grid, name, metadata), MappingProxyType(volumes), warnings, provenance)


def segmenter(model: str = DEFAULT_MODEL) -> Card:
    """Return the card of a segmentation network.

    Raises
    ------
    ModelNotFoundError, WeightsError
        No such model, or its card is malformed.
    ParameterError
        The model is made for something else.
    """
    card = get_model(model)
    if card.task != TASK or card.input.layout != LAYOUT:
        raise ParameterError(f"model '{card.id}' is made for '{card.task}', not for '{TASK}'", "choose another model")
    if card.input.channels not in (CHANNELS, CHANNELS[:1]):
        raise WeightsError(
            f"model '{card.id}' wants the channels {', '.join(card.input.channels)}; known are {', '.join(CHANNELS)}",
            "update MRHarmonization",
        )
    return card


def on_grid(labels: Volume, grid: Grid) -> np.ndarray:
    """Return labels on another grid by nearest neighbour, 0 outside their field of view, int16 (K, J, I)."""
    affine = grid.affine.copy()
    affine[:3, 3] += labels.grid.directions.sum(axis=1) * _ASIDE_MM
    return np.asarray(resample(labels, Grid(grid.shape, affine), "nearest", fill=0.0).array)


def _classes(
    array: np.ndarray, card: Card, backend: Backend, request: SegmentRequest, progress: Progress
) -> np.ndarray:
    """Return the class of every voxel of a head at 1 mm, uint8 (K, J, I); nothing outside the box of the head."""
    box = find_head(array, card.input.stride, card.input.spacing_mm)
    arrays_gb = _ARRAYS * array.size * 4 / 1e9
    budget_gb = max(_LEAST_ACTIVATION_GB, request.max_memory_gb - _BASE_MEMORY_GB - arrays_gb)
    classes = np.zeros(array.shape, np.uint8)
    classes[box.slices] = name_head(array[box.slices], box.middle, card.input, backend, progress, int(budget_gb * 1e9))
    return classes
