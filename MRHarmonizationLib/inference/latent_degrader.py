"""Make a good scan worse with a latent diffusion model: the same function behind the command line and Python.

Planes of acquisition are degraded one by one, each whole and from a seed of its own, so a plane comes out the same
whichever others are done, and in which order. How the scan is "measured" (colour and unevenness of the noise, ringing
of the blur) is drawn once for all planes. The model samples only what is added: out = scan + unit · residual.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from MRHarmonizationLib.core.checks import check_volume_array, looks_like_labels
from MRHarmonizationLib.core.diffusion_schedule import DiffusionSchedule, sample_ddim
from MRHarmonizationLib.core.errors import InputError, ModelNotFoundError, ParameterError, WeightsError
from MRHarmonizationLib.core.image_quality import SMALLEST_PLANE
from MRHarmonizationLib.core.intensity import IntensityScale
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.tiling import padded_size
from MRHarmonizationLib.inference.backends import BACKENDS, DEVICES, Backend, choose_backend
from MRHarmonizationLib.inference.domain import own_grid_warnings
from MRHarmonizationLib.inference.enhance import memory_guard
from MRHarmonizationLib.inference.latent_codec import LatentCodec
from MRHarmonizationLib.inference.latent_input import (
    BLUR,
    FACTOR,
    KINDS,
    TASK,
    TOLD,
    Acquisition,
    check_level,
    denoiser_input,
    guide,
    residual_unit,
    sample_acquisition,
    told_numbers,
)
from MRHarmonizationLib.inference.model_provenance import model_provenance
from MRHarmonizationLib.inference.provenance import Provenance
from MRHarmonizationLib.inference.restore_parts import slice_axis
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.card import Card
from MRHarmonizationLib.weights.store import FOLDERS_VARIABLE, get_model

PREFIX = "diffusion-"
"""What the command line puts before the kind, apart from the simulators of ``degradations/``."""
FEWEST_STEPS, MOST_STEPS = 5, 250
"""Limits of the sampler's steps; 25 to 50 are usual."""
_BATCH_PIXELS = 4 * 256 * 256
_ACQUISITION_STREAM, _NOISE_STREAM = 0, 1


@dataclass(frozen=True)
class LatentDegradeRequest:
    """What a user asks for; refuses wrong values when it is made.

    Attributes
    ----------
    kind : {'noise', 'blur'}
    level : float
        0 (the scan as it is) to 1. Noise: its deviation is 10 % of the intensity range (0 to the 99.5th percentile)
        times the level. Blur: the resolution falls from 1 to 3 pixels.
    seed : int
        The same seed gives the same voxels.
    steps : int
        Of the sampler.
    guidance : float
        How much more the model should follow the scan than its habits; 1 does not.
    model : str
        Id of the model card; ``degrader-<kind>`` if empty.
    device : {'auto', 'cpu', 'cuda'}
    backend : {'auto', 'onnxruntime', 'torch'}
    threads : int, optional
        CPU threads of the networks.
    ringing : float, optional
        Blur: 0 (a Gaussian point spread) to 1 (a sharp crop of k-space); drawn from the seed if omitted.

    Raises
    ------
    ParameterError
        If a value lies outside its range.
    """

    kind: str
    level: float
    seed: int = 0
    steps: int = 25
    guidance: float = 1.0
    model: str = ""
    device: str = "auto"
    backend: str = "auto"
    threads: int | None = None
    ringing: float | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ParameterError(f"kind of degrader is '{self.kind}'", f"choose one of {', '.join(KINDS)}")
        check_level(self.level)
        if self.ringing is not None and self.kind != BLUR:
            raise ParameterError(f"ringing is {self.ringing} for {self.kind}", "leave it out: only blur can ring")
        if self.ringing is not None and not 0.0 <= self.ringing <= 1.0:
            raise ParameterError(f"ringing is {self.ringing}, expected 0 to 1", "0 is a Gaussian, 1 a sharp crop")
        if self.seed < 0:
            raise ParameterError(f"seed is {self.seed}", "give 0 or more")
        if not FEWEST_STEPS <= self.steps <= MOST_STEPS:
            raise ParameterError(
                f"steps is {self.steps}, expected {FEWEST_STEPS} to {MOST_STEPS}", "25 to 50 are usual"
            )
        if not 0.0 <= self.guidance <= 5.0:
            raise ParameterError(f"guidance is {self.guidance}, expected 0 to 5", "leave it at 1")
        for name, value, choices in (("device", self.device, DEVICES), ("backend", self.backend, BACKENDS)):
            if value not in choices:
                raise ParameterError(f"{name} is '{value}'", f"choose one of {', '.join(choices)}")
        if self.threads is not None and self.threads < 1:
            raise ParameterError(f"threads is {self.threads}, expected at least 1", "leave it out for the default")

    @property
    def model_id(self) -> str:
        """Id of the model card."""
        return self.model or f"degrader-{self.kind}"

    def to_dict(self) -> dict[str, Any]:
        """Return the request as JSON-ready values."""
        return asdict(self) | {"model": self.model_id}


@dataclass(frozen=True)
class LatentDegradeResult:
    """What a degrader gives.

    Attributes
    ----------
    volume : Volume
        float32, on the scan's grid.
    provenance : Provenance
    warnings : tuple of str
        Ways in which the scan lies outside the model's domain.
    acquisition : Acquisition
        How the degraded scan was "measured".
    """

    volume: Volume
    provenance: Provenance
    warnings: tuple[str, ...]
    acquisition: Acquisition


class LatentDegrader:
    """A denoiser and its autoencoder, ready to degrade planes.

    Parameters
    ----------
    card : Card
        Of a denoiser, see :func:`degrader_card`.
    request : LatentDegradeRequest
        Tells backend, device, threads, steps, guidance and level.

    Raises
    ------
    ModelNotFoundError, WeightsError
        The autoencoder is missing, or is not the one that the denoiser was trained with.
    """

    def __init__(self, card: Card, request: LatentDegradeRequest) -> None:
        extra = card.extra
        base = _card(str(extra["autoencoder"]["id"]), "autoencoder")
        if base.weights.sha256 != extra["autoencoder"]["sha256"]:
            raise WeightsError(
                f"autoencoder '{base.id}' in '{base.folder}' is not the one that '{card.id}' was trained with",
                "install the files that belong together",
            )
        self._request = request
        self._codec = LatentCodec(base, request.backend, request.device, request.threads)
        self.backend: Backend = choose_backend(card, request.backend, request.device, request.threads)
        self._scale = np.asarray(extra["code_scale"], np.float32)[:, None, None]
        self._schedule = DiffusionSchedule(**extra["schedule"])
        self._step = FACTOR * card.input.stride
        self._level_scale = float(extra["level_scale"])

    def degrade(
        self,
        planes: np.ndarray,
        numbers: list[int],
        total: int,
        acquisition: Acquisition,
        progress: Progress,
    ) -> np.ndarray:
        """Return degraded planes.

        Parameters
        ----------
        planes : ndarray, shape (N, A, B), float32
            Normalised.
        numbers : list of int
            Which of the scan's planes they are: each draws from a seed of its own.
        total : int
            How many planes the scan has.
        acquisition : Acquisition
        progress : Progress
            Checked for cancellation.
        """
        rows, columns = planes.shape[1:]
        padding = [(0, 0), *((0, padded_size(n, self._step) - n) for n in (rows, columns))]
        gains = np.stack([acquisition.gain_at((n + 0.5) / total, (rows, columns)) for n in numbers])
        level = self._request.level
        # filters see planes as they are: what padding mirrors must not change them
        guides = guide(planes, self._request.kind, level)
        given = (np.pad(part, padding, mode="symmetric") for part in (planes, guides, gains))
        condition = self._codec.condition(*given)
        shape = (self._codec.channels, *condition.shape[2:])
        noise = np.stack(
            [
                np.random.default_rng((self._request.seed, _NOISE_STREAM, n)).standard_normal(shape, np.float32)
                for n in numbers
            ]
        )
        velocity = self._velocity(condition, acquisition)
        codes = sample_ddim(velocity, noise, self._schedule, self._request.steps, progress)
        residual = self._codec.decode(codes * self._scale)[:, :rows, :columns]
        unit = residual_unit(planes, self._request.kind, level, self._level_scale)
        return np.asarray(planes + unit * residual, np.float32)

    def _velocity(self, condition: np.ndarray, acquisition: Acquisition) -> Callable[[np.ndarray, int], np.ndarray]:
        """Return the network as the sampler wants it; guidance leads away from its answer when told nothing."""
        guidance = self._request.guidance
        whole = np.array(told_numbers(0.0, self._request.level, acquisition), np.float32)

        def answer(noisy: np.ndarray, time: float, numbers: np.ndarray) -> np.ndarray:
            told = np.tile(numbers, (len(noisy), 1))
            told[:, 0] = time
            return self.backend.run(denoiser_input(noisy, condition, told))

        def velocity(noisy: np.ndarray, time: int) -> np.ndarray:
            share = time / (self._schedule.times - 1)
            found = answer(noisy, share, whole)
            if guidance == 1.0:
                return found
            free = answer(noisy, share, np.zeros(len(TOLD), np.float32))
            return np.asarray(free + np.float32(guidance) * (found - free), np.float32)

        return velocity


def degrade_scan(
    volume: Volume, request: LatentDegradeRequest, progress: Progress | None = None
) -> LatentDegradeResult:
    """Degrade a scan with a latent diffusion model.

    Parameters
    ----------
    volume : Volume
        A good scan: any contrast, orientation and spacing; a single slice or a volume; not changed.
    request : LatentDegradeRequest
    progress : Progress, optional
        Reported to, and checked for cancellation, between planes.

    Returns
    -------
    LatentDegradeResult

    Raises
    ------
    InputError
        If the volume is no scan: not finite, constant, a label map, or planes smaller than 16 x 16 voxels.
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
    axis = 2 - slice_axis(volume.grid)
    _check(volume, axis)
    card = degrader_card(request)
    warnings = tuple(own_grid_warnings(volume.grid, card.domain, slice_axis(volume.grid)))
    rng = np.random.default_rng((request.seed, _ACQUISITION_STREAM))
    acquisition = sample_acquisition(rng, request.kind)
    if request.ringing is not None:
        acquisition = replace(acquisition, first=request.ringing)
    with memory_guard():
        degrader = LatentDegrader(card, request)
        array = volume.array.astype(np.float32)
        if request.level > 0.0:
            scale = magnitude_scale(array, card.input.intensity.upper)
            planes = np.moveaxis(scale.normalise(array), axis, 0)
            result = np.empty(planes.shape, np.float32)
            for chosen in _batches(planes.shape):
                progress.report(chosen[0] / len(planes), f"plane {chosen[0] + 1} of {len(planes)}")
                result[chosen] = degrader.degrade(planes[chosen], chosen, len(planes), acquisition, progress)
            degraded = scale.restore(np.ascontiguousarray(np.moveaxis(result, 0, axis)))
            array = np.maximum(degraded, 0.0) if array.min() >= 0.0 else degraded
        drawn = {"first": acquisition.first, "second": acquisition.second, "even": acquisition.gain is None}
        parameters = request.to_dict() | {"kind": PREFIX + request.kind, "acquisition": drawn}
        provenance = model_provenance(TASK, card, degrader.backend, parameters, volume, array, warnings)
    metadata = {**volume.metadata, **provenance.to_attributes()}
    name = f"{volume.name}_{request.kind}" if volume.name else request.kind
    progress.report(1.0, "Done")
    return LatentDegradeResult(Volume(array, volume.grid, name, metadata), provenance, warnings, acquisition)


def magnitude_scale(array: np.ndarray, upper_percentile: float) -> IntensityScale:
    """Return the scale that maps 0 (or the minimum, if that is below) to 0 and a high percentile to 1.

    Receiver noise is one-sided where there is no signal, so the zero of a magnitude image must stay zero.
    """
    low, high = min(0.0, float(array.min())), float(np.percentile(array, upper_percentile))
    if not high > low:
        raise InputError(
            f"the {upper_percentile:g}th percentile of the image is {high:g}, not above {low:g}",
            "choose an image with anatomy in the field of view",
        )
    return IntensityScale(low, high - low)


def degrader_card(request: LatentDegradeRequest) -> Card:
    """Return the card of the degrader that a request names.

    Raises
    ------
    ModelNotFoundError
        There is none; the message says how to train one.
    ParameterError
        The model is made for something else.
    """
    card = _card(request.model_id, request.kind)
    if card.task != TASK or card.extra.get("degrader") != request.kind:
        made_for = card.extra.get("degrader", card.task)
        raise ParameterError(
            f"model '{card.id}' is made for '{made_for}', not to add {request.kind}", f"use degrader-{request.kind}"
        )
    return card


def _card(model_id: str, recipe: str) -> Card:
    try:
        return get_model(model_id)
    except ModelNotFoundError as error:
        raise ModelNotFoundError(
            error.problem,
            f"train it with `mrharmonize train degrader-{recipe} --out DIR` and name DIR in {FOLDERS_VARIABLE}",
        ) from error


def _check(volume: Volume, axis: int) -> None:
    name = f"image '{volume.name}'" if volume.name else "image"
    check_volume_array(volume.array, name, single_slice=True)
    if looks_like_labels(volume.array):
        raise InputError(f"{name} looks like a label map, not like a scan", "choose the scan it was drawn on")
    rows, columns = (n for n_axis, n in enumerate(volume.array.shape) if n_axis != axis)
    if min(rows, columns) < SMALLEST_PLANE:
        raise InputError(
            f"{name} has planes of {columns} x {rows} voxels",
            f"give an image of at least {SMALLEST_PLANE} x {SMALLEST_PLANE} voxels",
        )


def _batches(shape: tuple[int, ...]) -> Iterator[list[int]]:
    size = max(1, _BATCH_PIXELS // (shape[1] * shape[2]))
    for start in range(0, shape[0], size):
        yield list(range(start, min(start + size, shape[0])))
