"""Enhancement of one scan: the same function behind the panel, the command line and Python."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError, ResourceError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.backends import (
    BACKENDS,
    DEVICES,
    Backend,
    BackendOutOfMemory,
    choose_backend,
    is_out_of_memory,
)
from MRHarmonizationLib.inference.domain import check_output_grid, check_scan, domain_warnings
from MRHarmonizationLib.inference.model_provenance import model_provenance
from MRHarmonizationLib.inference.predictor import predict
from MRHarmonizationLib.inference.preparation import prepare
from MRHarmonizationLib.inference.provenance import Provenance
from MRHarmonizationLib.inference.strength import apply_strength, check_strength
from MRHarmonizationLib.inference.undo import make_residual
from MRHarmonizationLib.metrics.base import METRICS, Measurement, default_data_range
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.card import Card
from MRHarmonizationLib.weights.store import get_model

TASK = "enhance"
OUTPUT_SPACING_RANGE_MM = (0.3, 5.0)
MEASURED = ("noise", "sharpness")
"""Metrics that need no reference, measured before and after."""
MEASURED_BLOCK_VOXELS = 96
"""Edge of the central block they are measured in: enough for an estimate, a fraction of the network's time."""

_BASE_MEMORY_GB = 0.4
"""Python, the libraries and the network's weights."""
_ARRAYS_ON_OUTPUT_GRID = 6
"""float32 arrays of the output's size that live at the same time."""
_LEAST_ACTIVATION_GB = 0.2


@dataclass(frozen=True)
class EnhanceRequest:
    """What a user asks for; refuses wrong values when it is made.

    Attributes
    ----------
    model : str
        Id of a model card.
    strength : float
        How much of the model's change is applied, 0 (nothing) to 1.
    device : {'auto', 'cpu', 'cuda'}
    backend : {'auto', 'onnxruntime', 'torch'}
    output_spacing_mm : float, optional
        Isotropic spacing of the result; the model's own if omitted.
    keep_residual : bool
        Whether the result carries the residual that undoes the enhancement exactly.
    threads : int, optional
        CPU threads of the network; the backend's choice if omitted.
    max_memory_gb : float
        Memory the process should stay below, in 10⁹ bytes; batches and tiles are chosen by it. What the arrays of a
        large scan take by themselves cannot be avoided.
    measure : bool
        Whether noise and sharpness are measured before and after.

    Raises
    ------
    ParameterError
        If a value lies outside its range.
    """

    model: str = "lowfield"
    strength: float = 1.0
    device: str = "auto"
    backend: str = "auto"
    output_spacing_mm: float | None = None
    keep_residual: bool = False
    threads: int | None = None
    max_memory_gb: float = 2.0
    measure: bool = True

    def __post_init__(self) -> None:
        check_strength(self.strength)
        smallest, largest = OUTPUT_SPACING_RANGE_MM
        for name, value, choices in (("device", self.device, DEVICES), ("backend", self.backend, BACKENDS)):
            if value not in choices:
                raise ParameterError(f"{name} is '{value}'", f"choose one of {', '.join(choices)}")
        if self.output_spacing_mm is not None and not smallest <= self.output_spacing_mm <= largest:
            raise ParameterError(
                f"output spacing is {self.output_spacing_mm} mm, expected {smallest:g} to {largest:g} mm",
                "leave it out to get the model's own",
            )
        if self.threads is not None and self.threads < 1:
            raise ParameterError(f"threads is {self.threads}, expected at least 1", "leave it out for the default")
        if not self.max_memory_gb > 0:
            raise ParameterError(
                f"max_memory_gb is {self.max_memory_gb}, expected more than 0", "2 suffices for a head"
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the request as JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True)
class EnhanceResult:
    """What an enhancement gives.

    Attributes
    ----------
    volume : Volume
        float32, in the input's intensity range, on the input's axes at the output spacing.
    baseline : Volume
        float32, same grid: the resampled input, which strength 0 would give.
    residual : Volume or None
        int32, same grid: :func:`~MRHarmonizationLib.inference.undo.undo` restores ``baseline`` from it.
    provenance : Provenance
    measurements : tuple of Measurement
        Of the volume, with the baseline's value as ``detail['before']``.
    warnings : tuple of str
        Ways in which the scan lies outside the model's domain.
    """

    volume: Volume
    baseline: Volume
    residual: Volume | None
    provenance: Provenance
    measurements: tuple[Measurement, ...]
    warnings: tuple[str, ...]


def enhance(volume: Volume, request: EnhanceRequest | None = None, progress: Progress | None = None) -> EnhanceResult:
    """Enhance a scan.

    Parameters
    ----------
    volume : Volume
        Any orientation and spacing; not changed.
    request : EnhanceRequest, optional
        Defaults throughout if omitted.
    progress : Progress, optional
        Reported to, and checked for cancellation, between tiles.

    Returns
    -------
    EnhanceResult

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
    request, progress = request or EnhanceRequest(), progress or Progress()
    check_scan(volume)
    card = _model(request.model)
    network_grid = volume.grid.isotropic(card.input.spacing_mm)
    output_grid = volume.grid.isotropic(request.output_spacing_mm or card.input.spacing_mm)
    check_output_grid(network_grid)
    check_output_grid(output_grid)
    warnings = domain_warnings(volume.grid, output_grid, card.domain)

    progress.report(0.0, "Preparing the scan")
    with memory_guard():
        backend = choose_backend(card, request.backend, request.device, request.threads)
        scan = resample(volume, network_grid, card.input.interpolation)
        progress.report(0.05, "Preparing the scan")
        change = _proposed_change(scan, volume.grid, card, backend, request, progress.part(0.1, 0.9))
        baseline, change = _on_output_grid(volume, scan, change, output_grid, card.input.interpolation)
        enhanced = apply_strength(baseline.array, change, request.strength)
        del change
        progress.report(0.92, "Completing the result")
        return _completed(volume, baseline, enhanced, request, card, backend, warnings)


def _model(model_id: str) -> Card:
    card = get_model(model_id)
    if card.task != TASK:
        raise ParameterError(f"model '{card.id}' is made for '{card.task}', not for '{TASK}'", "choose another model")
    return card


def _proposed_change(
    scan: Volume, input_grid: Grid, card: Card, backend: Backend, request: EnhanceRequest, progress: Progress
) -> np.ndarray:
    """Return f(x) − x for a resampled scan, float32 ``[K, J, I]`` in the scan's units."""
    if request.strength == 0.0:
        return np.zeros(scan.array.shape, np.float32)
    prepared = prepare(scan, input_grid, card.input.intensity)
    arrays_gb = _ARRAYS_ON_OUTPUT_GRID * scan.array.nbytes / 1e9
    budget_gb = max(_LEAST_ACTIVATION_GB, request.max_memory_gb - _BASE_MEMORY_GB - arrays_gb)
    change = predict(
        prepared.array,
        prepared.condition,
        card.input,
        backend,
        progress,
        activation_budget_bytes=int(budget_gb * 1e9),
    )
    if not card.output.residual:
        change -= prepared.array
    change *= np.float32(prepared.scale.scale)
    return np.ascontiguousarray(prepared.order.undo(change))


def _on_output_grid(
    volume: Volume, scan: Volume, change: np.ndarray, grid: Grid, interpolation: str
) -> tuple[Volume, np.ndarray]:
    """Return the baseline and the change on the grid asked for; the network itself always works on its own grid."""
    if same_grid(scan.grid, grid):
        return scan, change
    moved = resample(scan.with_array(change), grid, "linear", fill=0.0)
    return resample(volume, grid, interpolation), moved.array


def _completed(
    volume: Volume,
    baseline: Volume,
    enhanced: np.ndarray,
    request: EnhanceRequest,
    card: Card,
    backend: Backend,
    warnings: tuple[str, ...],
) -> EnhanceResult:
    provenance = model_provenance(TASK, card, backend, request.to_dict(), volume, enhanced, warnings)
    metadata = {**volume.metadata, **provenance.to_attributes()}
    output = Volume(enhanced, baseline.grid, f"{volume.name}_{card.id}" if volume.name else card.id, metadata)
    return EnhanceResult(
        volume=output,
        baseline=baseline,
        residual=make_residual(baseline, output) if request.keep_residual else None,
        provenance=provenance,
        measurements=measured_change(baseline, output) if request.measure else (),
        warnings=warnings,
    )


def measured_change(baseline: Volume, output: Volume) -> tuple[Measurement, ...]:
    """Return noise and sharpness of the output, in a central block, on the intensity range of the baseline."""
    block = tuple(_middle(size, MEASURED_BLOCK_VOXELS) for size in baseline.grid.shape)
    before, after = baseline.array[block], output.array[block]
    i, j, k = (float(value) for value in output.grid.spacing_mm)
    if np.ptp(before) == 0:
        return ()
    data_range = default_data_range(before)
    found = []
    for name in MEASURED:
        first = METRICS.get(name)(before, data_range=data_range, spacing_mm=(i, j, k))
        second = METRICS.get(name)(after, data_range=data_range, spacing_mm=(i, j, k))
        detail = {**second.detail, "before": first.value}
        found.append(replace(second, mask="central block", detail=detail))
    return tuple(found)


def _middle(size: int, wanted: int) -> slice:
    start = max(0, (size - wanted) // 2)
    return slice(start, start + wanted)


@contextmanager
def memory_guard() -> Iterator[None]:
    """Turn exhausted memory anywhere in the flow into an error with a remedy."""
    try:
        yield
    except (MemoryError, BackendOutOfMemory, RuntimeError) as error:  # SimpleITK raises RuntimeError
        if not is_out_of_memory(error):
            raise
        raise ResourceError(
            f"memory ran out ({error})", "close other programs, choose a larger output spacing, or crop the scan"
        ) from error
