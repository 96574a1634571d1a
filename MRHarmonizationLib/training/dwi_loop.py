"""Training of a diffusion network: scans are simulated, the tone is fitted, the filters are learned. CPU or CUDA."""

from __future__ import annotations

import json
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.guided_filters import PER_PASS
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.degradations.brain_tensors import DiffusionBrain
from MRHarmonizationLib.inference.dwi_network import (
    ATTENUATION_FACTOR,
    ATTENUATION_SHIFT,
    CHANNELS,
    PIXEL_SCALE,
    PIXEL_SHIFT,
    SLICE_SCALE,
    SLICE_SHIFT,
    tone_of,
)
from MRHarmonizationLib.models.dwi_filters import DwiFilters, filter_passes
from MRHarmonizationLib.training.checkpoint import load_checkpoint, save_checkpoint, save_weights, trim_log
from MRHarmonizationLib.training.dwi_recipe import DwiRecipe
from MRHarmonizationLib.training.dwi_samples import DwiSample, draw_dwi_sample, load_brain
from MRHarmonizationLib.training.dwi_tone import (
    VOLUME_WEIGHTS,
    contrast_of,
    fit_tone,
    known_gain,
    tone_error,
    white_attenuation,
)
from MRHarmonizationLib.training.loop import choose_device, update_average
from MRHarmonizationLib.training.losses import charbonnier, gradient_difference
from MRHarmonizationLib.training.optimiser import cosine_rate
from MRHarmonizationLib.training.stream import OrderedStream, leave_with_parent
from MRHarmonizationLib.volumes.files import write_json_atomic

logger = logging.getLogger(__name__)

#: Norm of a gradient beyond which a step is taken again in float32: bfloat16 can fail on the CPU.
LARGEST_NORM = 50.0
#: Stands apart the seeds of validation scans from those of training.
VALIDATION_SEED = 9

_worker: list[tuple[int, Sequence[DiffusionBrain]]] = []


@dataclass
class _Evened:
    """A sample with its contrast made canonical by the gain that is known in training; float16 arrays."""

    guide: np.ndarray
    volumes: np.ndarray
    truth: np.ndarray
    weight: np.ndarray
    numbers: tuple[float, float, float]

    @classmethod
    def of(cls, sample: DwiSample) -> _Evened:
        gain = known_gain(sample)
        slice_mm, pixel_mm = (float(v) for v in sample.spacing)
        numbers = (
            slice_mm / SLICE_SCALE - SLICE_SHIFT,
            pixel_mm / PIXEL_SCALE - PIXEL_SHIFT,
            ATTENUATION_FACTOR * (white_attenuation(sample) + ATTENUATION_SHIFT),
        )
        evened = [(image * gain).astype(np.float16) for image in (sample.guide, sample.volumes)]
        return cls(evened[0], evened[1], sample.truth, sample.weight, numbers)


@dataclass
class _State:
    """What a checkpoint holds."""

    network: DwiFilters
    average: DwiFilters
    optimiser: torch.optim.Optimizer
    step: int = 0

    def save(self, path: Path, recipe: DwiRecipe) -> None:
        values = {name: getattr(self, name).state_dict() for name in ("network", "average", "optimiser")}
        save_checkpoint(path, recipe.digest, {**values, "step": self.step})

    def load(self, path: Path, recipe: DwiRecipe, device: torch.device) -> None:
        values = load_checkpoint(path, recipe.id, recipe.digest, device)
        for name in ("network", "average", "optimiser"):
            getattr(self, name).load_state_dict(values[name])
        self.step = int(values["step"])


def build_filters(recipe: DwiRecipe) -> DwiFilters:
    """Return the recipe's network, untrained."""
    return DwiFilters(len(CHANNELS), recipe.passes * PER_PASS, **dict(recipe.architecture_parameters))


def train_dwi(
    recipe: DwiRecipe,
    data: Path,
    out: Path,
    device: str = "auto",
    workers: int = 1,
    progress: Progress | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Train a diffusion network; go on where ``out`` stopped.

    Parameters
    ----------
    recipe : DwiRecipe
    data : Path
        Folder the recipe's label maps are relative to.
    out : Path
        Receives the simulated scans (some 25 MB each), ``tone.json``, ``checkpoint.pt``, ``best.pt``, ``log.jsonl``.
    device : {'auto', 'cpu', 'cuda'}
    workers : int
        Background processes that simulate scans.
    progress : Progress, optional

    Returns
    -------
    (Path, dict)
        Averaged weights, and the tone.

    Raises
    ------
    InputError
        Files are missing.
    """
    progress = progress or Progress()
    out.mkdir(parents=True, exist_ok=True)
    where = choose_device(device)
    state = _build_state(recipe, where)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.is_file():
        state.load(checkpoint, recipe, where)
        trim_log(out / "log.jsonl", state.step)
    training = simulate_set(
        data, recipe.labels, out, (recipe.seed, recipe.samples), out / "samples", workers, progress.part(0.0, 0.3)
    )
    held = simulate_set(
        data,
        recipe.validation_labels,
        out,
        (recipe.seed + VALIDATION_SEED, recipe.validation_samples),
        out / "validation",
        workers,
        progress.part(0.3, 0.33),
    )
    progress.report(0.33, "fitting the tone")
    tone = fit_tone(DwiSample.load(path) for path in training)
    tone["error"], tone["error_before"] = _tone_errors(held, tone)
    write_json_atomic(tone, out / "tone.json")
    _run(state, recipe, training, held, out, where, progress.part(0.35, 1.0))
    return out / "best.pt", tone


def simulate_set(
    data: Path,
    labels: Sequence[str],
    out: Path,
    draw: tuple[int, int],
    folder: Path,
    workers: int,
    progress: Progress,
) -> list[Path]:
    """Simulate the scans of a set that are not there yet, and return the files.

    Parameters
    ----------
    data, labels
        Folder and label maps.
    out : Path
        Keeps the brains.
    draw : (int, int)
        Seed and number of scans.
    folder : Path
        Of the scans.
    workers : int
    progress : Progress

    Raises
    ------
    InputError
        Label maps are missing.
    """
    missing = [name for name in labels if not (data / name).is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} label maps are not below {data}: {missing[:3]} …", "give the data folder with --data"
        )
    seed, count = draw
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number:04d}.npz" for number in range(count)]
    first = next((n for n, path in enumerate(paths) if not path.is_file()), count)
    if first == count:
        return paths
    arguments = (seed, [data / name for name in labels], out / "brains")
    stream: OrderedStream[DwiSample] = OrderedStream(_work, _start_worker, arguments, first, workers)
    try:
        for number, sample in zip(range(first, count), stream, strict=False):
            sample.save(paths[number])
            progress.report((number + 1) / count, f"simulated scan {number + 1} of {count}")
    finally:
        stream.close()
    return paths


def _start_worker(seed: int, paths: Sequence[Path], cache: Path) -> None:
    leave_with_parent()
    torch.set_num_threads(1)
    _worker[:] = [(seed, [load_brain(path, number + 1, cache) for number, path in enumerate(paths)])]


def _work(number: int) -> DwiSample:
    seed, brains = _worker[0]
    return draw_dwi_sample(np.random.default_rng((seed, number)), brains)


def _tone_errors(paths: Sequence[Path], tone: dict[str, Any]) -> tuple[float, float]:
    """Return the mean error of the log gain on held-out scans, with the tone and without any gain."""
    rows = []
    for path in paths:
        sample = DwiSample.load(path)
        contrast = contrast_of(sample)
        coefficients, _ = tone_of(contrast, tone)
        rows.append(
            (tone_error(sample, np.log(contrast.gain(coefficients))), tone_error(sample, 0.0 * contrast.shading))
        )
    after, before = np.mean(rows, axis=0)
    return round(float(after), 5), round(float(before), 5)


def _build_state(recipe: DwiRecipe, device: torch.device) -> _State:
    torch.manual_seed(recipe.seed)
    network, average = build_filters(recipe).to(device), build_filters(recipe).to(device)
    average.load_state_dict(network.state_dict())
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    o = recipe.optimisation
    optimiser = torch.optim.AdamW(network.parameters(), lr=o.learning_rate, weight_decay=o.weight_decay)
    return _State(network, average, optimiser)


def _run(
    state: _State,
    recipe: DwiRecipe,
    training: Sequence[Path],
    held: Sequence[Path],
    out: Path,
    device: torch.device,
    progress: Progress,
) -> None:
    o = recipe.optimisation
    scans = [_Evened.of(DwiSample.load(path)) for path in training]
    validation = [_Evened.of(DwiSample.load(path)) for path in held]
    inside = [np.argwhere(scan.weight[::4, ::4, ::4] > 0.5) * 4 for scan in scans]
    started, first, mean = time.monotonic(), state.step, math.nan
    while state.step < o.steps:
        progress.check()
        rng = np.random.default_rng((recipe.seed, 2, state.step))
        chosen = [int(rng.integers(len(scans))) for _ in range(o.batch)]
        crops = [_crop(rng, scans[n], inside[n], o.crop) for n in chosen]
        share = _step(state, crops, recipe, device)
        mean = share if math.isnan(mean) else 0.98 * mean + 0.02 * share
        if state.step % 20 == 0:
            pace = (time.monotonic() - started) / (state.step - first)
            progress.report(
                state.step / o.steps,
                f"step {state.step} of {o.steps}, loss {mean:.4f} of doing nothing, {pace:.2f} s each",
            )
        if state.step % o.validation_steps == 0 or state.step == o.steps:
            _validate(state, recipe, validation, out, device, mean, time.monotonic() - started)
            save_weights(out / "best.pt", state.average)
            state.save(out / "checkpoint.pt", recipe)
    progress.report(1.0, "done")


def _crop(
    rng: np.random.Generator, scan: _Evened, inside: np.ndarray, size: tuple[int, int, int]
) -> tuple[list[np.ndarray], tuple[float, float, float]]:
    """Return guide, volumes, truth and weight of a part of a scan, mirrored at random within slices."""
    shape = scan.weight.shape
    size = (min(size[0], shape[0]), min(size[1], shape[1]), min(size[2], shape[2]))
    centre = inside[int(rng.integers(len(inside)))] if len(inside) else np.array(shape) // 2
    start = [int(np.clip(centre[a] - size[a] // 2 + rng.integers(-8, 9), 0, shape[a] - size[a])) for a in range(3)]
    box: tuple[Any, ...] = (..., *(slice(a, a + n) for a, n in zip(start, size, strict=True)))
    rows, columns = (1 if rng.random() < 0.5 else -1 for _ in range(2))
    parts = []
    for image in (scan.guide, scan.volumes, scan.truth, scan.weight):
        parts.append(np.ascontiguousarray(image[box][..., ::rows, ::columns], np.float32))
    return parts, scan.numbers


def _inputs(guide: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    """Return what ``inference/dwi_network.network_input`` does, for tensors (N, 2, K, J, I) and (N, 3)."""
    planes = numbers[:, :, None, None, None].expand(-1, -1, *guide.shape[2:])
    return torch.cat((torch.log1p(2.0 * guide.clamp_min(0.0)), planes), 1)


def _error(images: torch.Tensor, truth: torch.Tensor, weight: torch.Tensor, recipe: DwiRecipe) -> torch.Tensor:
    o = recipe.optimisation
    share = torch.from_numpy(VOLUME_WEIGHTS).to(images.device)[None, :, None, None, None] * weight[:, None]
    root = share.sqrt()
    edges = gradient_difference(images * root, truth * root, o.charbonnier_epsilon)
    return charbonnier(images, truth, o.charbonnier_epsilon, share) + o.gradient_weight * edges


def _step(
    state: _State,
    crops: Sequence[tuple[list[np.ndarray], tuple[float, float, float]]],
    recipe: DwiRecipe,
    device: torch.device,
) -> float:
    """Take one step; return the loss as a part of that of doing nothing."""
    o = recipe.optimisation
    for group in state.optimiser.param_groups:
        group["lr"] = cosine_rate(state.step, o.steps, o.warmup_steps, o.learning_rate)
    guide, volumes, truth, weight = (
        torch.from_numpy(np.stack([parts[k] for parts, _ in crops])).to(device) for k in range(4)
    )
    inputs = _inputs(guide, torch.tensor([numbers for _, numbers in crops], device=device))
    for reduced in (True, False):
        with torch.autocast(device.type, torch.bfloat16, enabled=reduced):
            weights = state.network(inputs)
        loss = _error(filter_passes(volumes, weights.float()), truth, weight, recipe)
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(state.network.parameters(), o.gradient_clip))
        if math.isfinite(norm) and norm < LARGEST_NORM:
            break
    if math.isfinite(norm):
        state.optimiser.step()
    state.step += 1
    update_average(state.average, state.network, o.ema_decay, state.step)
    return float(loss.detach() / _error(volumes, truth, weight, recipe))


def _validate(
    state: _State,
    recipe: DwiRecipe,
    validation: Sequence[_Evened],
    out: Path,
    device: torch.device,
    loss: float,
    seconds: float,
) -> None:
    rows = []
    state.average.eval()
    levels = 2 ** (len(list(state.average.down)))
    with torch.no_grad():
        for scan in validation:
            box: tuple[Any, ...] = (..., *(slice(0, n // levels * levels) for n in scan.weight.shape))
            guide, volumes, truth, weight = (
                torch.from_numpy(image[box].astype(np.float32))[None].to(device)
                for image in (scan.guide, scan.volumes, scan.truth, scan.weight)
            )
            with torch.autocast(device.type, torch.bfloat16):
                weights = state.average(_inputs(guide, torch.tensor([scan.numbers], device=device)))
            sharp = filter_passes(volumes, weights.float())
            bright = weight > 0.5
            rows.append([_decibel(volumes, truth, bright), _decibel(sharp, truth, bright)])
    before, after = np.mean(np.array(rows), axis=0)
    line = {
        "step": state.step,
        "loss": round(loss, 5),
        "seconds": round(seconds, 1),
        "psnr_b0_before": round(float(before[0]), 3),
        "psnr_b0": round(float(after[0]), 3),
        "psnr_weighted_before": round(float(before[1]), 3),
        "psnr_weighted": round(float(after[1]), 3),
    }
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
    logger.info("step %d: %s", state.step, line)


def _decibel(images: torch.Tensor, truth: torch.Tensor, where: torch.Tensor) -> list[float]:
    """Return PSNR (white matter at b = 0 is 1) of b = 0 and of the first weighted volume."""
    square = (images - truth) ** 2
    return [float(-10.0 * torch.log10(square[:, n][where].mean())) for n in (0, 1)]
