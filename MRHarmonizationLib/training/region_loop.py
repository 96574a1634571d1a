"""Training of the segmentation of the brain. CPU or CUDA, resumable."""

from __future__ import annotations

import json
import logging
import math
import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from MRHarmonizationLib.core.brain_regions import CLASS_NUMBERS, dice_per_region, numbers_of
from MRHarmonizationLib.core.errors import OperationCancelled, ResourceError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.models.region_unet import CELL, RegionUNet, space_to_depth
from MRHarmonizationLib.training.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    save_weights,
    stop_between_steps,
    trim_log,
)
from MRHarmonizationLib.training.loop import choose_device, update_average
from MRHarmonizationLib.training.optimiser import build_optimiser, cosine_rate
from MRHarmonizationLib.training.recipe import Source
from MRHarmonizationLib.training.region_recipe import RegionRecipe
from MRHarmonizationLib.training.region_samples import RegionSample, draw_region_sample
from MRHarmonizationLib.training.samples import Anatomy, load_sources
from MRHarmonizationLib.training.stream import OrderedStream, leave_with_parent

logger = logging.getLogger(__name__)

#: A class that fills :data:`COMMON` of a part of a head is looked at in this share of its cells, rarer ones in more,
#: with the root of the ratio; no class in fewer than the last.
COMMON, COMMON_SHARE, LEAST_SHARE = 0.06, 0.1, 0.04
#: Share of the cells with more than one class that are looked at.
BORDER_SHARE = 0.3
#: Norm of a gradient beyond which a step is taken again in float32: bfloat16 can fail on the CPU.
LARGEST_NORM = 1e3
#: Samples that are drawn before the first step.
FIRST_SAMPLES = 8
#: Samples of a validation, of the first size of the recipe; their seed stands apart from that of training.
VALIDATION_SAMPLES, VALIDATION_SEED = 8, 9

_worker: list[tuple[RegionRecipe, list[Anatomy]]] = []


@dataclass
class _State:
    """What a checkpoint holds."""

    network: RegionUNet
    average: RegionUNet
    optimiser: torch.optim.Optimizer
    step: int = 0
    best_dice: float = -math.inf

    def save(self, path: Path, recipe: RegionRecipe) -> None:
        values = {name: getattr(self, name).state_dict() for name in ("network", "average", "optimiser")}
        save_checkpoint(path, recipe.digest, {**values, "step": self.step, "best_dice": self.best_dice})

    def load(self, path: Path, recipe: RegionRecipe, device: torch.device) -> None:
        values = load_checkpoint(path, recipe.id, recipe.digest, device)
        for name in ("network", "average", "optimiser"):
            getattr(self, name).load_state_dict(values[name])
        self.step, self.best_dice = int(values["step"]), float(values["best_dice"])


def build_region_network(recipe: RegionRecipe) -> RegionUNet:
    """Return the recipe's network, untrained."""
    return RegionUNet(**{"classes": CLASS_NUMBERS.size, **recipe.architecture_parameters})


def train_regions(
    recipe: RegionRecipe,
    data: Path,
    out: Path,
    device: str = "auto",
    steps: int | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Train the segmentation; go on where ``out/checkpoint.pt`` stopped.

    Parameters
    ----------
    recipe : RegionRecipe
    data : Path
        Folder the recipe's label maps are relative to.
    out : Path
        Receives ``checkpoint.pt``, ``best.pt`` (averaged weights of the best validation) and ``log.jsonl``.
    device : {'auto', 'cpu', 'cuda'}
    steps : int, optional
        Stop after this step (the learning-rate schedule is the recipe's); all of them by default.
    workers : int
        Background processes that simulate scans.
    progress : Progress, optional

    Returns
    -------
    Path
        ``best.pt``.

    Raises
    ------
    InputError
        Label maps are missing.
    OperationCancelled
        Stopped by the user; a checkpoint was written.
    """
    progress = progress or Progress()
    out.mkdir(parents=True, exist_ok=True)
    where = choose_device(device)
    state = _build_state(recipe, where)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.is_file():
        state.load(checkpoint, recipe, where)
        trim_log(out / "log.jsonl", state.step)
    o = recipe.optimisation
    last = min(steps or o.steps, o.steps)
    progress.report(0.0, "simulating the validation scans")
    validation = _validation_samples(recipe, data)
    first = max(_drawn_before(state.step, recipe) - o.buffer, 0)
    stream: OrderedStream[RegionSample] = OrderedStream(_work, _start_worker, (recipe, data), first, workers)
    try:
        with stop_between_steps(progress):
            _run(state, recipe, stream, validation, out, last, where, progress)
    except OperationCancelled:
        if state.step:
            state.save(checkpoint, recipe)  # raised between two steps: nothing of the run is lost
        raise
    except BrokenProcessPool as error:
        raise ResourceError(
            "the processes that simulate scans ended", "close other programs, then go on with --resume"
        ) from error
    finally:
        stream.close()
    return out / "best.pt"


def _start_worker(recipe: RegionRecipe, data: Path) -> None:
    import SimpleITK as sitk

    leave_with_parent()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    _worker[:] = [(recipe, load_sources([Source("labels", recipe.labels, 1.0)], data))]


def _work(number: int) -> RegionSample:
    recipe, anatomies = _worker[0]
    rng = np.random.default_rng((recipe.seed, number))
    shapes = recipe.optimisation.shapes
    shares = np.array([share for _, share in shapes])
    shape = shapes[int(rng.choice(len(shapes), p=shares / shares.sum()))][0]
    return draw_region_sample(rng, anatomies, shape, recipe.general)


def _validation_samples(recipe: RegionRecipe, data: Path) -> list[RegionSample]:
    anatomies = load_sources([Source("labels", recipe.validation_labels, 1.0)], data)
    seeds = [(recipe.seed + VALIDATION_SEED, number) for number in range(VALIDATION_SAMPLES)]
    shape = recipe.optimisation.shapes[0][0]
    return [draw_region_sample(np.random.default_rng(seed), anatomies, shape, recipe.general) for seed in seeds]


def _drawn_before(step: int, recipe: RegionRecipe) -> int:
    """Return how many samples a run has drawn before a step; its buffer holds the last of them."""
    o = recipe.optimisation
    return min(o.buffer, FIRST_SAMPLES) + math.ceil(step / o.refresh_steps)


def _build_state(recipe: RegionRecipe, device: torch.device) -> _State:
    torch.manual_seed(recipe.seed)
    network, average = build_region_network(recipe).to(device), build_region_network(recipe).to(device)
    average.load_state_dict(network.state_dict())
    network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    o = recipe.optimisation
    return _State(network, average, build_optimiser(o.optimiser, network, o.learning_rate, o.weight_decay))


def _run(
    state: _State,
    recipe: RegionRecipe,
    stream: OrderedStream[RegionSample],
    validation: Sequence[RegionSample],
    out: Path,
    last: int,
    device: torch.device,
    progress: Progress,
) -> None:
    o = recipe.optimisation
    buffer: deque[RegionSample] = deque(maxlen=o.buffer)
    samples = iter(stream)
    known = min(_drawn_before(state.step, recipe), o.buffer)
    while len(buffer) < known:
        buffer.append(next(samples))
    mean, started, first = math.nan, time.monotonic(), state.step
    while state.step < last:
        progress.check()
        if state.step % o.refresh_steps == 0:
            buffer.append(next(samples))
        rng = np.random.default_rng((recipe.seed, 1, state.step))
        # the newest sample is always seen, the others of the buffer by chance
        fresh = state.step % o.refresh_steps == 0
        sample = buffer[-1] if fresh else buffer[int(rng.integers(len(buffer)))]
        loss = region_step(state.network, state.optimiser, sample, rng, state.step, recipe, device)
        state.step += 1
        update_average(state.average, state.network, o.ema_decay, state.step)
        mean = loss if math.isnan(mean) else 0.98 * mean + 0.02 * loss
        if state.step % o.validation_steps == 0 or state.step == last:
            _validate(state, recipe, validation, out, mean, time.monotonic() - started)
            state.save(out / "checkpoint.pt", recipe)
        if state.step % 20 == 0:
            pace = (time.monotonic() - started) / (state.step - first)
            progress.report(state.step / o.steps, f"step {state.step} of {last}, loss {mean:.3f}, {pace:.2f} s each")


def chosen_cells(rng: np.random.Generator, classes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Choose the cells of a head that a step looks at: all of small structures, few of large ones.

    Parameters
    ----------
    rng : numpy Generator
    classes : uint8 ndarray, shape (M, 8)
        Classes of the voxels of all cells.

    Returns
    -------
    (ndarray of int, shape (C,); ndarray, shape (C,), float32)
        Cells, and the probability with which each was chosen.
    """
    shares = np.bincount(classes.ravel(), minlength=CLASS_NUMBERS.size) / classes.size
    wanted = np.clip(COMMON_SHARE * np.sqrt(COMMON / np.maximum(shares, 1e-9)), LEAST_SHARE, 1.0)
    probability = wanted[classes].max(axis=1)
    border = classes.max(axis=1) != classes.min(axis=1)
    probability[border] = np.maximum(probability[border], BORDER_SHARE)
    cells = np.flatnonzero(rng.random(probability.size) < probability)
    return cells, probability[cells].astype(np.float32)


def region_loss(
    logits: torch.Tensor, classes: torch.Tensor, probability: torch.Tensor, dice_weight: float
) -> torch.Tensor:
    """Return cross-entropy plus weighted overlap loss of chosen cells.

    In the cross-entropy a structure counts as the root of its volume: else the smallest, some hundred of millions of
    voxels, are never found. The overlap keeps them from growing too large.

    Parameters
    ----------
    logits : Tensor, shape (C, 8, classes)
    classes : Tensor of int64, shape (C, 8)
    probability : Tensor, shape (C,)
        With which each cell was chosen.
    dice_weight : float

    Notes
    -----
    Source of the overlap loss: Milletari et al., 3DV 2016, doi 10.1109/3DV.2016.79.
    """
    count = logits.shape[-1]
    log_probability = torch.log_softmax(logits, -1)
    flat = classes.reshape(-1)
    odds = (1.0 / probability)[:, None].expand(-1, CELL).reshape(-1)
    entropy = -log_probability.gather(-1, classes[..., None]).reshape(-1)
    zeros = torch.zeros(count, device=logits.device)
    truth = zeros.index_add(0, flat, odds)
    present = truth > 0
    by_class = zeros.index_add(0, flat, entropy * odds)[present] / truth[present]
    importance = truth[present].sqrt()
    loss = (by_class * importance).sum() / importance.sum()
    inside = present & (torch.arange(count, device=logits.device) > 0)
    if dice_weight == 0 or not bool(inside.any()):
        return loss
    predicted = log_probability.exp()
    sums = torch.einsum("cvk,c->k", predicted, 1.0 / probability)
    both = zeros.index_add(0, flat, predicted.gather(-1, classes[..., None]).reshape(-1) * odds)
    dice = (2.0 * both / (sums + truth))[inside]
    return loss + dice_weight * (1.0 - dice.mean())


def region_step(
    network: RegionUNet,
    optimiser: torch.optim.Optimizer,
    sample: RegionSample,
    rng: np.random.Generator,
    step: int,
    recipe: RegionRecipe,
    device: torch.device,
) -> float:
    """Do one step on one head; return the loss."""
    o = recipe.optimisation
    for group in optimiser.param_groups:
        group["lr"] = cosine_rate(step, o.steps, o.warmup_steps, o.learning_rate)
    image = torch.from_numpy(sample.network_input())[None].to(device)
    cells = space_to_depth(torch.from_numpy(sample.classes)[None, None])[0].reshape(CELL, -1).T.contiguous()
    chosen, probability = chosen_cells(rng, cells.numpy())
    where = torch.from_numpy(chosen)
    truth, odds = cells[where].long().to(device), torch.from_numpy(probability).to(device)
    norm = math.inf
    for reduced in (True, False):
        with torch.autocast(device.type, torch.bfloat16, enabled=reduced):
            known = network.cells(image)[0]
            flat = known.permute(1, 2, 3, 0).reshape(-1, known.shape[0]).index_select(0, where.to(device))
            logits = network.logits(flat)
        loss = region_loss(logits.float(), truth, odds, o.dice_weight)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = float(nn.utils.clip_grad_norm_(network.parameters(), o.gradient_clip))
        if math.isfinite(norm) and norm < LARGEST_NORM:
            break
    if math.isfinite(norm):
        optimiser.step()
    return float(loss.detach())


def _validate(
    state: _State,
    recipe: RegionRecipe,
    validation: Sequence[RegionSample],
    out: Path,
    loss: float,
    seconds: float,
) -> None:
    device = next(state.average.parameters()).device
    rows: list[dict[int, float]] = []
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
        for sample in validation:
            image = torch.from_numpy(sample.network_input())[None].to(device)
            found = state.average(image)[0].argmax(0).cpu().numpy()
            rows.append(dice_per_region(numbers_of(found), numbers_of(sample.classes)))
    means = [float(np.nanmean(list(row.values()))) for row in rows]
    dice = float(np.mean(means))
    line: dict[str, Any] = {
        "step": state.step,
        "loss": round(loss, 5),
        "seconds": round(seconds, 1),
        "dice": round(dice, 4),
        "scans": [round(value, 4) for value in means],
    }
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
    logger.info("step %d: %s", state.step, line)
    if dice > state.best_dice:
        state.best_dice = dice
        save_weights(out / "best.pt", state.average)
