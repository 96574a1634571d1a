"""Structures of the brain in one scan of any contrast: the same function behind the command line, Python and compare.

A network says where structures are likely, on coarse voxels in the anatomical frame; the brightness of the 1 mm voxels
of this very scan draws their borders. The labels come back to the scan's own voxels by nearest neighbour, and volumes
are measured at 1 mm, not on a coarser grid.
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
from MRHarmonizationLib.core.region_mixture import candidates_from, name_by_brightness
from MRHarmonizationLib.inference.backends import BACKENDS, DEVICES, Backend, choose_backend
from MRHarmonizationLib.inference.domain import check_output_grid, check_scan, own_grid_warnings
from MRHarmonizationLib.inference.enhance import memory_guard
from MRHarmonizationLib.inference.model_provenance import model_provenance
from MRHarmonizationLib.inference.preparation import thick_axis_order
from MRHarmonizationLib.inference.provenance import Provenance
from MRHarmonizationLib.inference.region_doubts import region_doubts
from MRHarmonizationLib.inference.region_head import find_head, likely_structures
from MRHarmonizationLib.inference.region_input import CHANNELS
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.orientation import to_canonical
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.card import Card
from MRHarmonizationLib.weights.store import get_model

TASK, LAYOUT = "segment", "head-labels"
DEFAULT_MODEL = "brain-regions"
FINE_MM = 1.0
"""Voxels on which structures are named and measured."""
MESSAGE = "Naming the structures"
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
    refine : bool
        Whether the brightness of voxels in this scan draws the borders; else the network alone does, on 2 mm.

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
    refine: bool = True

    def __post_init__(self) -> None:
        for name, value, choices in (("device", self.device, DEVICES), ("backend", self.backend, BACKENDS)):
            if value not in choices:
                raise ParameterError(f"{name} is '{value}'", f"choose one of {', '.join(choices)}")
        if self.threads is not None and self.threads < 1:
            raise ParameterError(f"threads is {self.threads}, expected at least 1", "leave it out for the default")

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
        Volume of every structure by its number, 0 where it was not found; measured on a 1 mm grid.
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
        Reported to, and checked for cancellation.

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
        If memory runs out.
    OperationCancelled
        If ``progress`` was cancelled.
    """
    progress = progress or Progress()
    volume = request.volume
    check_scan(volume)
    card = segmenter(request.model)
    check_output_grid(volume.grid.isotropic(FINE_MM))
    progress.report(0.0, "Preparing the scan")
    with memory_guard():
        backend = choose_backend(card, request.backend, request.device, request.threads)
        # Anatomical order first: all that follows is the same however the scan is stored.
        canonical, _ = to_canonical(volume)
        scan = resample(canonical, canonical.grid.isotropic(FINE_MM), card.input.interpolation)
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
    factor = card.input.spacing_mm / FINE_MM
    if factor < 1 or abs(factor - round(factor)) > 1e-6:
        raise WeightsError(
            f"model '{card.id}' works on voxels of {card.input.spacing_mm:g} mm, expected a multiple of {FINE_MM:g} mm",
            "update MRHarmonization",
        )
    if card.input.channels != CHANNELS:
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
    factor = round(card.input.spacing_mm / FINE_MM)
    box = find_head(array, card.input.stride * factor)
    head = _in_whole_cells(array[box.slices].astype(np.float32), factor)
    coarse = head
    for axis in range(3):
        coarse = coarse.reshape(*coarse.shape[:axis], -1, factor, *coarse.shape[axis + 1 :]).mean(axis=axis + 1)
    middle = [(place + 0.5) / factor - 0.5 for place in box.middle]
    likely = likely_structures(coarse, middle, card.input, backend, progress.part(0.0, 0.3))
    named = head_named(head, likely, factor, request.refine, progress.part(0.3, 1.0))
    classes = np.zeros(array.shape, np.uint8)
    classes[box.slices] = named[tuple(slice(size) for size in box.shape)]
    return classes


def head_named(head: np.ndarray, likely: np.ndarray, factor: int, refine: bool, progress: Progress) -> np.ndarray:
    """Return the class of every voxel, from where structures are likely and, to refine it, how bright voxels are.

    Parameters
    ----------
    head : ndarray, shape (factor·K, factor·J, factor·I)
    likely : ndarray, shape (classes, K, J, I)
    factor : int
    refine : bool
    progress : Progress

    Returns
    -------
    uint8 ndarray, shape of ``head``
    """
    progress.report(0.0, MESSAGE)
    candidates = candidates_from(likely, factor)

    def check(share: float) -> None:
        progress.report(0.1 + 0.9 * share, MESSAGE)
        progress.check()

    if refine:
        return name_by_brightness(head, candidates, check)
    labels = np.zeros(head.size, np.uint8)
    best = np.argmax(candidates.chances, axis=0)
    labels[candidates.places] = candidates.classes[best, np.arange(best.size)]
    return labels.reshape(head.shape)


def _in_whole_cells(array: np.ndarray, factor: int) -> np.ndarray:
    """Return an array grown at its far ends, by its last voxels, until its sizes are multiples of a factor."""
    return np.pad(array, [(0, -size % factor) for size in array.shape], mode="edge")
