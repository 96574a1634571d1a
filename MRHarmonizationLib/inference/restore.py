"""Denoise and sharpen on a scan's own grid: the same function behind the panel, the command line and Python.

A network splits a scan x into noise n, image, and detail e that blur took away; the result is y = x − d·n + s·e. It is
linear in both sliders, so 0 and 0 give the scan bit for bit, each slider works one way only, and moving a slider needs
no network.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.checks import check_volume_array, looks_like_labels
from MRHarmonizationLib.core.errors import InputError, ModelNotFoundError, ParameterError
from MRHarmonizationLib.core.image_quality import COARSEST_RESOLUTION, SMALLEST_PLANE
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.backends import BACKENDS, DEVICES, Backend, choose_backend
from MRHarmonizationLib.inference.domain import own_grid_warnings
from MRHarmonizationLib.inference.enhance import measured_change, memory_guard
from MRHarmonizationLib.inference.model_provenance import model_provenance
from MRHarmonizationLib.inference.provenance import Provenance
from MRHarmonizationLib.inference.restore_parts import Expert, Parts, Quality, assess, slice_axis, split
from MRHarmonizationLib.inference.undo import make_residual
from MRHarmonizationLib.metrics.base import Measurement
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.card import Card
from MRHarmonizationLib.weights.store import get_model

TASK = "restore"
CHANNELS = ("noise", "detail")
"""Output channels of a restorer, in order."""
LARGEST_NOISE_PERCENT = 50.0
"""Largest noise level that can be stated."""
DEFAULT_DENOISE, DEFAULT_SHARPEN = 0.8, 0.3
FINER = (1, 2)
"""How many times finer the planes may be made before a restorer sees them."""


@dataclass(frozen=True)
class RestoreRequest:
    """What a user asks for; refuses wrong values when it is made.

    Attributes
    ----------
    denoise, sharpen : float
        Shares of the noise taken away and of the missing detail given back, 0 to 1.
    noise_level : float, optional
        Standard deviation of the noise in percent of the intensity range; estimated from the scan if omitted.
    blur_level : float, optional
        Resolution of the scan in pixels, 1 (as sharp as the grid can be) to 4; estimated from the scan if omitted.
    finer : {1, 2}
        2 first brings the planes of acquisition to twice their matrix, by cubic splines: what a super-resolver expects.
        The result then has that grid, and undoing gives the interpolated scan.
    interpolated : bool
        The scanner has interpolated the planes from half their matrix (``finer`` says so itself). Detail then comes
        from the model that the card names for such planes, if it names one.
    model : str
        Id of a model card of the task ``restore``.
    device : {'auto', 'cpu', 'cuda'}
    backend : {'auto', 'onnxruntime', 'torch'}
    keep_residual : bool
        Whether the result carries the residual that undoes the restoration exactly.
    threads : int, optional
        CPU threads of the network; the backend's choice if omitted.
    max_memory_gb : float
        Memory the process should stay below, in 10⁹ bytes.
    measure : bool
        Whether noise and sharpness are measured before and after.

    Raises
    ------
    ParameterError
        If a value lies outside its range.
    """

    denoise: float = DEFAULT_DENOISE
    sharpen: float = DEFAULT_SHARPEN
    noise_level: float | None = None
    blur_level: float | None = None
    finer: int = 1
    interpolated: bool = False
    model: str = "restore-any"
    device: str = "auto"
    backend: str = "auto"
    keep_residual: bool = False
    threads: int | None = None
    max_memory_gb: float = 2.0
    measure: bool = True

    def __post_init__(self) -> None:
        for name in ("denoise", "sharpen"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ParameterError(f"{name} is {getattr(self, name)}, expected 0 to 1", "0 changes nothing")
        if self.noise_level is not None and not 0.0 <= self.noise_level <= LARGEST_NOISE_PERCENT:
            raise ParameterError(
                f"noise level is {self.noise_level} %, expected 0 to {LARGEST_NOISE_PERCENT:g}",
                "leave it out to have it estimated",
            )
        if self.blur_level is not None and not 1.0 <= self.blur_level <= COARSEST_RESOLUTION:
            raise ParameterError(
                f"blur level is {self.blur_level} pixels, expected 1 to {COARSEST_RESOLUTION:g}",
                "leave it out to have it estimated",
            )
        if self.finer not in FINER:
            raise ParameterError(f"finer is {self.finer}", "give 1 for the scan's own grid, or 2")
        for name, value, choices in (("device", self.device, DEVICES), ("backend", self.backend, BACKENDS)):
            if value not in choices:
                raise ParameterError(f"{name} is '{value}'", f"choose one of {', '.join(choices)}")
        if self.threads is not None and self.threads < 1:
            raise ParameterError(f"threads is {self.threads}, expected at least 1", "leave it out for the default")
        if not self.max_memory_gb > 0:
            raise ParameterError(f"max_memory_gb is {self.max_memory_gb}, expected more than 0", "2 suffices")

    def to_dict(self) -> dict[str, Any]:
        """Return the request as JSON-ready values."""
        return asdict(self)


@dataclass(frozen=True)
class RestoreResult:
    """What a restoration gives.

    Attributes
    ----------
    volume : Volume
        float32, in the scan's intensity range, on the scan's grid.
    baseline : Volume
        float32, same grid: the scan, which strengths of 0 give.
    residual : Volume or None
        int32, same grid: :func:`~MRHarmonizationLib.inference.undo.undo` restores ``baseline`` from it.
    provenance : Provenance
    measurements : tuple of Measurement
        Of the volume, with the baseline's value as ``detail['before']``.
    warnings : tuple of str
        Ways in which the scan lies outside the model's domain.
    quality : Quality
        Noise and resolution of the scan, as estimated and as the network was told.
    """

    volume: Volume
    baseline: Volume
    residual: Volume | None
    provenance: Provenance
    measurements: tuple[Measurement, ...]
    warnings: tuple[str, ...]
    quality: Quality


def restore(volume: Volume, request: RestoreRequest | None = None, progress: Progress | None = None) -> RestoreResult:
    """Take noise from a scan and give detail back, each by the share asked for.

    Parameters
    ----------
    volume : Volume
        Any contrast, orientation and spacing; a single slice or a volume; not changed.
    request : RestoreRequest, optional
        Defaults throughout if omitted.
    progress : Progress, optional
        Reported to, and checked for cancellation, between planes.

    Returns
    -------
    RestoreResult

    Raises
    ------
    InputError
        If the volume is no scan: not finite, constant, a label map, or planes smaller than 16 x 16 voxels.
    ModelNotFoundError, WeightsError
        If the model is unknown, or its weight file is missing or altered.
    DependencyError
        If a package the model needs is missing.
    ResourceError
        If memory runs out even with the smallest tiles.
    OperationCancelled
        If ``progress`` was cancelled.
    """
    request, progress = request or RestoreRequest(), progress or Progress()
    check_restorable(volume)
    card = restorer(request.model)
    warnings = list(own_grid_warnings(volume.grid, card.domain, slice_axis(volume.grid)))
    progress.report(0.0, "Measuring the scan")
    with memory_guard():
        scan, volume = volume, finer_planes(volume, request.finer)
        backend = choose_backend(card, request.backend, request.device, request.threads)
        quality = assess(volume, card, request.noise_level, request.blur_level)
        expert = None
        if (request.interpolated or request.finer > 1) and request.sharpen > 0.0:
            try:
                expert = expert_for(volume, card, request.noise_level, backend, request.threads)
            except ModelNotFoundError:
                warnings.append(f"the model '{card.input.interpolated}' for interpolated planes is not installed")
        warnings += quality.doubts()
        baseline = volume.with_array(volume.array.astype(np.float32))
        parts = _parts(baseline, quality, card, backend, request, progress.part(0.05, 0.92), expert)
        array = blend(baseline.array, parts, request.denoise, request.sharpen)
        del parts
        progress.report(0.93, "Completing the result")
        result = _completed(scan, baseline, array, request, card, backend, quality, tuple(warnings), expert)
    progress.report(1.0, "Done")
    return result


def expert_for(
    volume: Volume, card: Card, noise_percent: float | None, backend: Backend, threads: int | None = None
) -> Expert | None:
    """Return the restorer that a card names for planes interpolated from half their matrix; None where it names none.

    Raises
    ------
    ModelNotFoundError
        It is not installed.
    """
    if not card.input.interpolated:
        return None
    other = restorer(card.input.interpolated)
    runs = choose_backend(other, backend.name, backend.device, threads)
    return Expert(other, assess(volume, other, noise_percent), runs)


def finer_planes(volume: Volume, factor: int) -> Volume:
    """Return a scan with planes of acquisition of ``factor`` times the matrix, by cubic splines; itself for 1."""
    if factor == 1:
        return volume
    across, spacing = slice_axis(volume.grid), [float(s) for s in volume.grid.spacing_mm]
    fine = [s if axis == across else s / factor for axis, s in enumerate(spacing)]
    return resample(volume, volume.grid.with_spacing(fine), "cubic")


def check_restorable(volume: Volume) -> None:
    """Refuse what is no scan, or too small; raises InputError."""
    name = f"image '{volume.name}'" if volume.name else "image"
    check_volume_array(volume.array, name, single_slice=True)
    if looks_like_labels(volume.array):
        raise InputError(f"{name} looks like a label map, not like a scan", "choose the scan it was drawn on")
    across = 2 - slice_axis(volume.grid)
    rows, columns = (n for axis, n in enumerate(volume.array.shape) if axis != across)
    if min(rows, columns) < SMALLEST_PLANE:
        raise InputError(
            f"{name} has planes of {columns} x {rows} voxels",
            f"give an image of at least {SMALLEST_PLANE} x {SMALLEST_PLANE} voxels",
        )


def restorer(model: str) -> Card:
    """Return the card of a restorer.

    Raises
    ------
    ModelNotFoundError, WeightsError
        No such model, or its card is malformed.
    ParameterError
        The model is made for something else.
    """
    card = get_model(model)
    if card.task != TASK or card.output.channels != CHANNELS:
        raise ParameterError(f"model '{card.id}' is made for '{card.task}', not for '{TASK}'", "choose another model")
    return card


def blend(image: np.ndarray, parts: Parts, denoise: float, sharpen: float) -> np.ndarray:
    """Return ``image − denoise · noise + sharpen · detail``, float32, same shape.

    Parameters
    ----------
    image : numpy.ndarray
        float32; not changed.
    parts : Parts
        Same shape and units.
    denoise, sharpen : float
        In [0, 1]; a strength of 0 leaves its part out, so that two of 0 return the image bit for bit.

    Examples
    --------
    >>> x = np.float32([[10.0, 20.0]])
    >>> blend(x, Parts(np.float32([[2.0, -2.0]]), np.float32([[0.0, 4.0]])), 1.0, 0.5)
    array([[ 8., 24.]], dtype=float32)
    """
    result = np.array(image, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):
        if denoise > 0.0:
            result -= np.float32(denoise) * parts.noise
        if sharpen > 0.0:
            result += np.float32(sharpen) * parts.detail
    finite = np.isfinite(result)
    if not finite.all():
        np.copyto(result, image, where=~finite)
    return result


def _parts(
    baseline: Volume,
    quality: Quality,
    card: Card,
    backend: Backend,
    request: RestoreRequest,
    progress: Progress,
    expert: Expert | None,
) -> Parts:
    if request.denoise == 0.0 and request.sharpen == 0.0:
        nothing = np.zeros(baseline.array.shape, np.float32)
        return Parts(nothing, nothing)
    return split(baseline, quality, card, backend, progress, request.max_memory_gb, expert)


def _completed(
    volume: Volume,
    baseline: Volume,
    array: np.ndarray,
    request: RestoreRequest,
    card: Card,
    backend: Backend,
    quality: Quality,
    warnings: tuple[str, ...],
    expert: Expert | None,
) -> RestoreResult:
    said = request.to_dict() | quality.to_dict()
    if expert is not None:
        said |= {"detail_model": expert.card.id, "detail_weights_sha256": expert.card.weights.sha256}
    provenance = model_provenance(TASK, card, backend, said, volume, array, warnings)
    metadata = {**volume.metadata, **provenance.to_attributes()}
    output = Volume(array, baseline.grid, f"{volume.name}_{card.id}" if volume.name else card.id, metadata)
    return RestoreResult(
        volume=output,
        baseline=baseline,
        residual=make_residual(baseline, output) if request.keep_residual else None,
        provenance=provenance,
        measurements=measured_change(baseline, output) if request.measure else (),
        warnings=warnings,
        quality=quality,
    )
