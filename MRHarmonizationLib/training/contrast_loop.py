"""Training of a standardiser: CPU or CUDA, resumable, with early stopping."""

from __future__ import annotations

import json
import logging
import math
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.local_tone import FEATURES, detail_bands, local_features
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.models.tone_grid import ToneGrid, apply_to_bands
from MRHarmonizationLib.training.checkpoint import load_checkpoint, save_checkpoint, save_weights
from MRHarmonizationLib.training.contrast_recipe import ContrastRecipe
from MRHarmonizationLib.training.contrast_samples import (
    BOX_MM,
    TISSUES,
    ContrastSample,
    Drawing,
    Head,
    draw_contrast_sample,
    head_of_labels,
    matched_to_landmarks,
)
from MRHarmonizationLib.training.loop import choose_device, update_average
from MRHarmonizationLib.training.losses import charbonnier, gradient_difference
from MRHarmonizationLib.training.optimiser import cosine_rate
from MRHarmonizationLib.training.stream import OrderedStream, leave_with_parent
from MRHarmonizationLib.volumes.files import write_json_atomic
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

logger = logging.getLogger(__name__)

#: Voxels at which the loss is taken: every other along each axis, which costs an eighth and tells as much, for the
#: coefficients lie 8 mm apart. Training moves them by one voxel at random; their places are then off by at most 1 mm.
EVERY_OTHER = (slice(None, None, 2),) * 3
EVERY = (slice(None),) * 3
#: Cells along an axis from which on bfloat16 is used: in smaller images its convolutions on the CPU can return garbage.
LEAST_CELLS = 32

_worker: list[tuple[int, Sequence[Head], Drawing]] = []


@dataclass
class _State:
    """What a checkpoint holds."""

    network: ToneGrid
    average: ToneGrid
    optimiser: torch.optim.Optimizer
    step: int = 0
    best: float = math.inf
    since_best: int = 0

    def save(self, path: Path, recipe: ContrastRecipe) -> None:
        values = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "best": self.best,
            "since_best": self.since_best,
        }
        save_checkpoint(path, recipe.digest, values)

    def load(self, path: Path, recipe: ContrastRecipe, device: torch.device) -> None:
        values = load_checkpoint(path, recipe.id, recipe.digest, device)
        self.network.load_state_dict(values["network"])
        self.average.load_state_dict(values["average"])
        self.optimiser.load_state_dict(values["optimiser"])
        self.step, self.best, self.since_best = values["step"], values["best"], values["since_best"]


def build_tone_grid(recipe: ContrastRecipe) -> ToneGrid:
    """Return the recipe's network, untrained."""
    return ToneGrid(FEATURES + len(recipe.contrasts), **dict(recipe.architecture_parameters))


def train_contrast(
    recipe: ContrastRecipe,
    data: Path,
    out: Path,
    scans: Sequence[Head] = (),
    start: Path | None = None,
    device: str = "auto",
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Train a standardiser; continue where ``out/checkpoint.pt`` stopped.

    Parameters
    ----------
    recipe : ContrastRecipe
    data : Path
        Folder the recipe's label maps are relative to.
    out : Path
        Receives ``checkpoint.pt``, ``best.pt`` (averaged weights of the best validation) and ``log.jsonl``.
    scans : sequence of Head
        Real scans in the reference look; every fourth, if there are four, is kept for validation.
    start : Path, optional
        Weights to begin with, of the same network.
    device : {'auto', 'cpu', 'cuda'}
    workers : int
        Background processes that draw heads.
    progress : Progress, optional

    Returns
    -------
    Path
        ``best.pt``.

    Raises
    ------
    InputError
        Files are missing, or there is nothing to train on.
    """
    progress = progress or Progress()
    out.mkdir(parents=True, exist_ok=True)
    where = choose_device(device)
    state = _build_state(recipe, where, start)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.is_file():
        state.load(checkpoint, recipe, where)
    kept = list(scans[::4]) if len(scans) >= 4 else []
    trained = [head for head in scans if not any(head is other for other in kept)]
    paths = _present(data, recipe.labels)
    if not paths and not trained:
        raise InputError("there is nothing to train on", "give label maps or scans")
    drawing = Drawing(tuple(recipe.contrasts), tuple(recipe.held_out), dict(recipe.landmarks), recipe.box)
    progress.report(0.0, "drawing the validation heads")
    validation = _validation(recipe, data, kept, drawing)
    first = state.step // recipe.optimisation.refresh_steps
    stream: OrderedStream[ContrastSample] = OrderedStream(
        _work, _start_worker, (recipe.seed, paths, trained, drawing), first, workers
    )
    try:
        _run(state, recipe, stream, drawing, validation, out, where, progress)
    finally:
        stream.close()
    return out / "best.pt"


def _present(data: Path, files: Sequence[str]) -> list[Path]:
    missing = [name for name in files if not (data / name).is_file()]
    if missing:
        raise InputError(
            f"{len(missing)} label maps are not below {data}: {missing[:3]} …", "give the data folder with --data"
        )
    return [data / name for name in files]


def _build_state(recipe: ContrastRecipe, device: torch.device, start: Path | None) -> _State:
    torch.manual_seed(recipe.seed)
    network, average = build_tone_grid(recipe).to(device), build_tone_grid(recipe).to(device)
    if start is not None:
        network.load_state_dict(torch.load(start, map_location=device, weights_only=True))
    average.load_state_dict(network.state_dict())
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    o = recipe.optimisation
    optimiser = torch.optim.AdamW(network.parameters(), lr=o.learning_rate, weight_decay=o.weight_decay)
    return _State(network, average, optimiser)


def _start_worker(seed: int, paths: Sequence[Path], scans: Sequence[Head], drawing: Drawing) -> None:
    leave_with_parent()
    torch.set_num_threads(1)
    _worker[:] = [(seed, [*(head_of_labels(path) for path in paths), *scans], drawing)]


def _work(number: int) -> ContrastSample:
    seed, heads, drawing = _worker[0]
    return draw_contrast_sample(np.random.default_rng((seed, number)), heads, drawing)


def _validation(recipe: ContrastRecipe, data: Path, scans: Sequence[Head], drawing: Drawing) -> list[ContrastSample]:
    heads = [*(head_of_labels(path) for path in _present(data, recipe.validation_labels)), *scans]
    if not heads:
        raise InputError("no head is left for validation", "give at least four scans, or label maps")
    number = recipe.optimisation.validation_heads
    return [draw_contrast_sample(np.random.default_rng((recipe.seed, 9, n)), heads, drawing) for n in range(number)]


def network_input(features: np.ndarray, contrast: str, contrasts: Sequence[str]) -> np.ndarray:
    """Return the network's input, float32, shape (1, FEATURES + contrasts, k, j, i): features, then one-hot planes."""
    planes = np.zeros((len(contrasts), *features.shape[1:]), np.float32)
    planes[list(contrasts).index(contrast)] = 1.0
    return np.concatenate([features.astype(np.float32), planes])[None]


def _predict(
    network: nn.Module,
    sample: ContrastSample,
    recipe: ContrastRecipe,
    device: torch.device,
    picked: tuple[slice, ...] = EVERY_OTHER,
    reduced: bool = True,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the standardised image and its target at the picked voxels, (1, 1, K, J, I)."""
    inputs = torch.from_numpy(network_input(sample.features, sample.contrast, recipe.contrasts)).to(device)
    inputs = inputs.contiguous(memory_format=torch.channels_last_3d)
    bands = torch.from_numpy(sample.bands[(slice(None), *picked)].astype(np.float32))[None].to(device)
    reduced = reduced and min(sample.features.shape[1:]) >= LEAST_CELLS
    with torch.autocast(device.type, torch.bfloat16, enabled=reduced):
        coefficients = network(inputs)
    target = torch.from_numpy(sample.target[picked].astype(np.float32))[None, None].to(device)
    return apply_to_bands(bands, coefficients.float()), target


def tissue_error(result: torch.Tensor, target: torch.Tensor, tissues: torch.Tensor) -> torch.Tensor:
    """Return the mean absolute error of the means of :data:`TISSUES`; 0 where there are none."""
    errors = []
    for n in range(len(TISSUES)):
        chosen = tissues == n + 1
        if int(chosen.sum()) > 100:
            errors.append((result[chosen].mean() - target[chosen].mean()).abs())
    return torch.stack(errors).mean() if errors else result.new_zeros(())


def _loss(
    result: torch.Tensor,
    target: torch.Tensor,
    sample: ContrastSample,
    recipe: ContrastRecipe,
    picked: tuple[slice, ...],
) -> torch.Tensor:
    o = recipe.optimisation
    weight = torch.from_numpy(sample.weight[picked].astype(np.float32))[None, None].to(result.device)
    loss = charbonnier(result, target, o.charbonnier_epsilon, weight / weight.mean())
    loss = loss + o.gradient_weight * gradient_difference(result, target, o.charbonnier_epsilon)
    tissues = torch.from_numpy(np.ascontiguousarray(sample.tissues[picked]))[None, None].to(result.device)
    return loss + o.tissue_weight * tissue_error(result, target, tissues)


def _run(
    state: _State,
    recipe: ContrastRecipe,
    stream: OrderedStream[ContrastSample],
    drawing: Drawing,
    validation: Sequence[ContrastSample],
    out: Path,
    device: torch.device,
    progress: Progress,
) -> None:
    o = recipe.optimisation
    buffer: deque[ContrastSample] = deque(maxlen=o.buffer)
    samples = iter(stream)
    while len(buffer) < min(8, o.buffer):
        buffer.append(next(samples))
        progress.report(0.0, f"drawing the first heads ({len(buffer)})")
    mean, started, first = 0.0, time.monotonic(), state.step
    while state.step < o.steps and state.since_best < o.patience:
        if state.step % o.refresh_steps == 0:
            buffer.append(next(samples))
        rng = np.random.default_rng((recipe.seed, 1, state.step))
        sample = buffer[int(rng.integers(len(buffer)))]
        offsets = rng.integers(2, size=3)
        picked = tuple(slice(int(offset), None, 2) for offset in offsets)
        loss = _step(state, sample, recipe, device, picked)
        mean = loss if state.step == first + 1 else 0.98 * mean + 0.02 * loss
        if rng.random() < o.replay:
            with torch.no_grad():
                result, _ = _predict(state.network, sample, recipe, device, EVERY)
            buffer.append(_replayed(result[0, 0].float().cpu().numpy(), sample, drawing))
        if state.step % 20 == 0:
            pace = (time.monotonic() - started) / (state.step - first)
            progress.report(state.step / o.steps, f"step {state.step} of {o.steps}, loss {mean:.4f}, {pace:.2f} s each")
        if state.step % o.validation_steps == 0 or state.step == o.steps:
            _validate(state, validation, recipe, out, device, mean, time.monotonic() - started)
            state.save(out / "checkpoint.pt", recipe)
    if not (out / "best.pt").is_file():
        _validate(state, validation, recipe, out, device, mean, time.monotonic() - started)
    progress.report(1.0, "done" if state.step >= o.steps else f"stopped at step {state.step}: no longer better")


def _step(
    state: _State,
    sample: ContrastSample,
    recipe: ContrastRecipe,
    device: torch.device,
    picked: tuple[slice, ...],
) -> float:
    o = recipe.optimisation
    for group in state.optimiser.param_groups:
        group["lr"] = cosine_rate(state.step, o.steps, o.warmup_steps, o.learning_rate)
    for reduced in (True, False):
        result, target = _predict(state.network, sample, recipe, device, picked, reduced)
        loss = _loss(result, target, sample, recipe, picked)
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(state.network.parameters(), o.gradient_clip)
        if torch.isfinite(norm):  # bfloat16 convolutions of very small images can fail on the CPU
            break
    state.optimiser.step()
    state.step += 1
    update_average(state.average, state.network, recipe.optimisation.ema_decay, state.step)
    return float(loss.detach())


def _replayed(result: np.ndarray, sample: ContrastSample, drawing: Drawing) -> ContrastSample:
    """Return a sample whose input is a result of the network, and whose target is what that result aimed at."""
    grid = Grid.from_parts(sample.target.shape, spacing_mm=(BOX_MM,) * 3)
    try:
        image = matched_to_landmarks(Volume(np.clip(result, 0.0, 3.0), grid), drawing.landmarks_of(sample.contrast))
    except InputError:  # nothing left to see
        return sample
    bands = np.stack(detail_bands(image, (BOX_MM,) * 3)).astype(np.float16)
    return replace(sample, features=local_features(image).astype(np.float16), bands=bands)


def _validate(
    state: _State,
    validation: Sequence[ContrastSample],
    recipe: ContrastRecipe,
    out: Path,
    device: torch.device,
    loss: float,
    seconds: float,
) -> None:
    rows = []
    state.average.eval()
    with torch.no_grad():
        for sample in validation:
            result, target = _predict(state.average, sample, recipe, device)
            tissues = torch.from_numpy(np.ascontiguousarray(sample.tissues[EVERY_OTHER]))[None, None].to(device)
            inside = (tissues > 0) if bool((tissues > 0).any()) else target > 0.05
            bands = sample.bands[(slice(None), *EVERY_OTHER)].astype(np.float32)
            before = torch.from_numpy(bands).to(device).sum(dim=0)[None, None]
            rows.append(
                [
                    float(functional.l1_loss(result[inside], target[inside])),
                    float(functional.l1_loss(before[inside], target[inside])),
                    float(tissue_error(result, target, tissues)),
                    float(tissue_error(before, target, tissues)),
                ]
            )
    means: list[Any] = np.mean(rows, axis=0).tolist()
    score = means[0] + means[2]
    line = {
        "step": state.step,
        "loss": round(loss, 5),
        "seconds": round(seconds, 1),
        "error": round(means[0], 5),
        "error_before": round(means[1], 5),
        "tissue_error": round(means[2], 5),
        "tissue_error_before": round(means[3], 5),
    }
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
    logger.info("step %d: error %.4f of %.4f", state.step, means[0], means[1])
    state.since_best += 1
    if score < state.best:
        state.best, state.since_best = score, 0
        save_weights(out / "best.pt", state.average)
        write_json_atomic(line | {"recipe": recipe.digest}, out / "best.json")
