"""The training loop: one for every recipe, CPU or CUDA, resumable."""

from __future__ import annotations

import json
import logging
import math
import time
from collections import deque
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from MRHarmonizationLib.core.errors import OperationCancelled, ParameterError, ResourceError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.models import build_model
from MRHarmonizationLib.training.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    save_weights,
    stop_between_steps,
    trim_log,
)
from MRHarmonizationLib.training.losses import charbonnier, gradient_difference, structural_dissimilarity
from MRHarmonizationLib.training.optimiser import build_optimiser, cosine_rate
from MRHarmonizationLib.training.patches import SampleStream, draw_batch
from MRHarmonizationLib.training.recipe import CYCLE, RESTORE, Recipe
from MRHarmonizationLib.training.restore_samples import RestoreSample
from MRHarmonizationLib.training.restore_validation import RestoreValidationSet
from MRHarmonizationLib.training.samples import Sample
from MRHarmonizationLib.training.specialist_loss import specialist_loss
from MRHarmonizationLib.training.validation import ValidationSet
from MRHarmonizationLib.volumes.files import write_json_atomic

logger = logging.getLogger(__name__)

#: Steps between checkpoints and validations.
CHECKPOINT_STEPS, VALIDATION_STEPS = 100, 100


@dataclass
class TrainingState:
    """What a checkpoint holds: network, averaged network, optimiser, step and best validation gain."""

    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0
    best_gain_db: float = -math.inf

    def values(self) -> dict[str, Any]:
        """Return all that a run needs to go on as if it had never stopped."""
        return {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "best_gain_db": self.best_gain_db,
        }

    def save(self, path: Path, recipe: Recipe) -> None:
        """Write the checkpoint atomically."""
        save_checkpoint(path, recipe.digest, self.values())

    def load(self, path: Path, recipe: Recipe, device: torch.device) -> None:
        """Read a checkpoint; refuse one of another recipe."""
        self.restore(load_checkpoint(path, recipe.id, recipe.digest, device))

    def restore(self, values: dict[str, Any]) -> None:
        """Take over what :meth:`values` returned."""
        self.network.load_state_dict(values["network"])
        self.average.load_state_dict(values["average"])
        self.optimiser.load_state_dict(values["optimiser"])
        self.step, self.best_gain_db = int(values["step"]), float(values["best_gain_db"])

    def judged(self) -> dict[str, float]:
        """Return what the log should hold beside the loss; nothing where there is no adversary."""
        return {}

    def advance(
        self, rng: np.random.Generator, buffer: deque[Sample | RestoreSample], recipe: Recipe, device: torch.device
    ) -> float:
        """Draw a batch and do one step with it; return the loss."""
        return train_step(self, draw_batch(rng, buffer, recipe), recipe, device)


def choose_device(device: str) -> torch.device:
    """Return the torch device for 'auto', 'cpu' or 'cuda'; raise ParameterError if it is not there."""
    if device not in ("auto", "cpu", "cuda"):
        raise ParameterError(f"device '{device}' is unknown", "choose auto, cpu or cuda")
    if device == "cuda" and not torch.cuda.is_available():
        raise ParameterError("no CUDA device is available to torch", "use --device cpu")
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def learning_rate(step: int, recipe: Recipe) -> float:
    """Return the learning rate of a step: linear warm-up, then the decay of the recipe's schedule to 1 %."""
    o = recipe.optimisation
    if o.schedule == "linear" and step >= o.warmup_steps:
        left = (o.steps - step) / max(o.decay_share * o.steps, 1.0)
        return o.learning_rate * min(max(left, 0.01), 1.0)
    return cosine_rate(step, o.steps, o.warmup_steps, o.learning_rate)


def loss_of(
    correction: torch.Tensor, inputs: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, recipe: Recipe
) -> torch.Tensor:
    """Return the training loss of a predicted correction; of predicted noise and detail for the task 'restore'."""
    o = recipe.optimisation
    if recipe.task == RESTORE:
        image = inputs[:, recipe.planes // 2 : recipe.planes // 2 + 1]
        if recipe.specialist is not None:
            return specialist_loss(correction.float(), image, target, weight, recipe)
        return _restore_loss(correction.float(), image, target, weight, recipe)
    centre = recipe.planes // 2 if recipe.layout == "planes-2.5d" else 0
    prediction = inputs[:, centre : centre + 1] + correction.float()
    loss = charbonnier(prediction, target, o.charbonnier_epsilon, weight)
    if o.gradient_weight:
        loss = loss + o.gradient_weight * gradient_difference(prediction, target, o.charbonnier_epsilon)
    if o.ssim_weight:
        loss = loss + o.ssim_weight * structural_dissimilarity(prediction, target)
    return loss


def _restore_loss(
    parts: torch.Tensor, image: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, recipe: Recipe
) -> torch.Tensor:
    """Return the loss of each of the two outputs, and of the fully restored image."""
    o = recipe.optimisation
    blurred, sharp = target[:, :1], target[:, 1:]
    clean = image - parts[:, :1]
    restored = clean + parts[:, 1:]
    loss = charbonnier(clean, blurred, o.charbonnier_epsilon, weight)
    loss = loss + charbonnier(parts[:, 1:], sharp - blurred, o.charbonnier_epsilon, weight)
    loss = loss + charbonnier(restored, sharp, o.charbonnier_epsilon, weight)
    if o.gradient_weight:
        loss = loss + o.gradient_weight * gradient_difference(restored, sharp, o.charbonnier_epsilon)
    if o.ssim_weight:
        loss = loss + o.ssim_weight * structural_dissimilarity(restored, sharp)
    return loss


def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move the averaged weights towards the current ones; a young average follows faster."""
    keep = min(decay, (1.0 + step) / (10.0 + step))
    with torch.no_grad():
        for mean, value in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(value, 1.0 - keep)


def build_state(recipe: Recipe, device: torch.device) -> TrainingState:
    """Return the untrained state of a recipe, its weights drawn with the recipe's seed."""
    torch.manual_seed(recipe.seed)
    network = build_model(recipe.architecture, recipe.architecture_parameters).to(device)
    average = build_model(recipe.architecture, recipe.architecture_parameters).to(device)
    average.load_state_dict(network.state_dict())
    layout: Any = torch.channels_last if recipe.layout == "planes-2.5d" else torch.channels_last_3d
    network.to(memory_format=layout)  # type: ignore[call-overload]
    o = recipe.optimisation
    optimiser = build_optimiser(o.optimiser, network, o.learning_rate, o.weight_decay)
    if recipe.adversary is not None:
        from MRHarmonizationLib.training.adversarial import AdversarialState

        return AdversarialState(network, average, optimiser, **AdversarialState.judges_of(recipe, device))
    if recipe.specialist is not None and recipe.specialist.teacher:
        from MRHarmonizationLib.training.distillation import DistilledState

        return DistilledState(network, average, optimiser, teacher=DistilledState.teacher_of(recipe, device))
    return TrainingState(network, average, optimiser)


def train_step(
    state: TrainingState, batch: tuple[np.ndarray, np.ndarray, np.ndarray], recipe: Recipe, device: torch.device
) -> float:
    """Do one optimiser step on a batch; return the loss."""
    layout: Any = torch.channels_last if recipe.layout == "planes-2.5d" else torch.channels_last_3d
    inputs = torch.from_numpy(batch[0]).to(device).contiguous(memory_format=layout)
    target, weight = (torch.from_numpy(part).to(device) for part in batch[1:])
    for group in state.optimiser.param_groups:
        group["lr"] = learning_rate(state.step, recipe)
    with torch.autocast(device.type, torch.bfloat16):
        correction = state.network(inputs)
    loss = loss_of(correction, inputs, target, weight, recipe)
    state.optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(state.network.parameters(), recipe.optimisation.gradient_clip)
    state.optimiser.step()
    state.step += 1
    update_average(state.average, state.network, recipe.optimisation.ema_decay, state.step)
    return float(loss.detach())


def drawn_before(step: int, recipe: Recipe) -> int:
    """Return how many samples a run has drawn before a step; its buffer holds the last of them."""
    o = recipe.optimisation
    return min(o.buffer, max(o.batch // 2, 1)) + math.ceil(step / o.refresh_steps)


def train(
    recipe: Recipe,
    data: Path,
    out: Path,
    device: str = "auto",
    steps: int | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Train a recipe; continue where ``out/checkpoint.pt`` stopped.

    Parameters
    ----------
    recipe : Recipe
    data : Path
        Folder the recipe's files are relative to.
    out : Path
        Receives ``checkpoint.pt``, ``best.pt`` (averaged weights of the best validation; the
        latest where nothing is learned from pairs) and ``log.jsonl``.
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
    """
    progress = progress or Progress()
    out.mkdir(parents=True, exist_ok=True)
    where = choose_device(device)
    state = build_state(recipe, where)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.is_file():
        state.load(checkpoint, recipe, where)
        trim_log(out / "log.jsonl", state.step)
    last = min(steps or recipe.optimisation.steps, recipe.optimisation.steps)
    progress.report(0.0, "loading the validation images")
    validation = (RestoreValidationSet if recipe.task == RESTORE else ValidationSet).build(recipe, data)
    first_sample = max(drawn_before(state.step, recipe) - recipe.optimisation.buffer, 0)
    stream = SampleStream(recipe, data, first_sample, workers)
    try:
        with stop_between_steps(progress):
            _run(state, recipe, iter(stream), validation, out, last, where, progress)
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
    if not (out / "best.pt").is_file():
        _validate(state, validation, recipe, out)
    return out / "best.pt"


def _run(
    state: TrainingState,
    recipe: Recipe,
    stream: Any,
    validation: ValidationSet | RestoreValidationSet,
    out: Path,
    last: int,
    device: torch.device,
    progress: Progress,
) -> None:
    o = recipe.optimisation
    buffer: deque[Sample | RestoreSample] = deque(maxlen=o.buffer)
    known = min(drawn_before(state.step, recipe), o.buffer)
    while len(buffer) < known:
        buffer.append(next(stream))
        progress.report(state.step / o.steps, f"simulating the first scans ({len(buffer)} of {known})")
    mean_loss, started = 0.0, time.monotonic()
    first = state.step
    while state.step < last:
        progress.check()
        if state.step % o.refresh_steps == 0:
            buffer.append(next(stream))
        rng = np.random.default_rng((recipe.seed, 1, state.step))
        loss = state.advance(rng, buffer, recipe, device)
        mean_loss = loss if state.step == first + 1 else 0.98 * mean_loss + 0.02 * loss
        if state.step % VALIDATION_STEPS == 0 or state.step == last:
            _validate(state, validation, recipe, out, mean_loss, time.monotonic() - started)
        if state.step % CHECKPOINT_STEPS == 0 or state.step == last:
            state.save(out / "checkpoint.pt", recipe)
        if state.step % 20 == 0:  # last, for it may end the run: whatever belongs to the step is done by then
            pace = (time.monotonic() - started) / (state.step - first)
            progress.report(
                state.step / o.steps, f"step {state.step} of {last}, loss {mean_loss:.4f}, {pace:.2f} s per step"
            )


def _validate(
    state: TrainingState,
    validation: ValidationSet | RestoreValidationSet,
    recipe: Recipe,
    out: Path,
    loss: float = math.nan,
    seconds: float = 0.0,
) -> None:
    scores = validation.score(state.average)
    gain = float(np.mean([s["gain_db"] for s in scores.values()])) if scores else state.best_gain_db
    line = {
        "step": state.step,
        "loss": round(loss, 5) if math.isfinite(loss) else None,
        "seconds": round(seconds, 1),
        "mean_gain_db": round(gain, 3) if scores else None,
        "scores": scores,
        **state.judged(),
    }
    with (out / "log.jsonl").open("a") as log:
        log.write(json.dumps(line) + "\n")
    logger.info("step %d: validation gain %.3f dB", state.step, gain)
    # A cycle learns without pairs; pairs that chose its weights would choose those that change nothing.
    unpaired = not scores or (recipe.adversary is not None and recipe.adversary.mode == CYCLE)
    if gain > state.best_gain_db or unpaired:
        state.best_gain_db = gain
        save_weights(out / "best.pt", state.average)
        write_json_atomic(line | {"recipe": recipe.digest}, out / "best.json")
