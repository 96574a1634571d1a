"""Training of the latent degraders: the autoencoder, then a denoiser in its codes. CPU or CUDA, resumable."""

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
from torch.nn import functional

from MRHarmonizationLib.core.errors import OperationCancelled, ResourceError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.latent_codec import LatentCodec
from MRHarmonizationLib.inference.latent_input import denoiser_input, told_numbers, unfold
from MRHarmonizationLib.models import build_model
from MRHarmonizationLib.training.checkpoint import (
    load_checkpoint,
    save_checkpoint,
    save_weights,
    stop_between_steps,
    trim_log,
)
from MRHarmonizationLib.training.latent_recipe import AUTOENCODER, LatentRecipe
from MRHarmonizationLib.training.latent_samples import (
    CleanBlock,
    LatentPair,
    autoencoder_planes,
    cut_pair,
    draw_clean_block,
    draw_real_block,
)
from MRHarmonizationLib.training.loop import choose_device, update_average
from MRHarmonizationLib.training.optimiser import build_optimiser, cosine_rate
from MRHarmonizationLib.training.paired_samples import PreparedScan, load_all_prepared
from MRHarmonizationLib.training.recipe import Source
from MRHarmonizationLib.training.samples import Anatomy, load_sources
from MRHarmonizationLib.training.stream import OrderedStream, leave_with_parent

logger = logging.getLogger(__name__)

#: Patches of a validation, blocks they are cut from, and what sets their seed apart from that of training.
VALIDATION_PATCHES, VALIDATION_BLOCKS, VALIDATION_SEED = 48, 8, 9
#: Blocks drawn before the first step.
FIRST_BLOCKS = 16
#: Smallest deviation of a channel of the codes relative to the largest: what never varies must not be blown up.
LEAST_SCALE = 1e-3

_worker: list[tuple[LatentRecipe, list[Any]]] = []


@dataclass
class _State:
    """What a checkpoint holds."""

    network: nn.Module
    average: nn.Module
    optimiser: torch.optim.Optimizer
    step: int = 0
    best_loss: float = math.inf

    def save(self, path: Path, recipe: LatentRecipe) -> None:
        values = {name: getattr(self, name).state_dict() for name in ("network", "average", "optimiser")}
        save_checkpoint(path, recipe.digest, {**values, "step": self.step, "best_loss": self.best_loss})

    def load(self, path: Path, recipe: LatentRecipe, device: torch.device) -> None:
        values = load_checkpoint(path, recipe.id, recipe.digest, device)
        for name in ("network", "average", "optimiser"):
            getattr(self, name).load_state_dict(values[name])
        self.step, self.best_loss = int(values["step"]), float(values["best_loss"])


@dataclass(frozen=True)
class _Batch:
    """What one step sees of a denoiser: codes, what goes with them, and what is told, the time aside."""

    codes: np.ndarray
    condition: np.ndarray
    told: np.ndarray


def train_latent(
    recipe: LatentRecipe,
    data: Path,
    out: Path,
    codec: LatentCodec | None = None,
    device: str = "auto",
    steps: int | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> Path:
    """Train one network of a degrader; go on where ``out/checkpoint.pt`` stopped.

    Parameters
    ----------
    recipe : LatentRecipe
    data : Path
        Folder the recipe's files are relative to.
    out : Path
        Receives ``checkpoint.pt``, ``best.pt`` (averaged weights of the best validation) and ``log.jsonl``.
    codec : LatentCodec, optional
        The trained autoencoder, for a denoiser.
    device : {'auto', 'cpu', 'cuda'}
    steps : int, optional
        Stop after this step (the learning-rate schedule is the recipe's); all of them by default.
    workers : int
        Background processes that draw anatomy.
    progress : Progress, optional

    Returns
    -------
    Path
        ``best.pt``.

    Raises
    ------
    InputError
        Images are missing.
    OperationCancelled
        Stopped by the user; a checkpoint was written.
    """
    progress = progress or Progress()
    out.mkdir(parents=True, exist_ok=True)
    where, o = choose_device(device), recipe.optimisation
    progress.report(0.0, "drawing the validation planes")
    validation = _validation(recipe, data, codec)
    state = _build_state(recipe, where, validation)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.is_file():
        state.load(checkpoint, recipe, where)
        trim_log(out / "log.jsonl", state.step)
    last = min(steps or o.steps, o.steps)
    first = max(_drawn_before(state.step, recipe) - o.buffer, 0)
    stream: OrderedStream[CleanBlock] = OrderedStream(_work, _start_worker, (recipe, data), first, workers)
    try:
        with stop_between_steps(progress):
            _run(state, recipe, codec, stream, validation, out, last, where, progress)
    except OperationCancelled:
        if state.step:
            state.save(checkpoint, recipe)  # raised between two steps: nothing of the run is lost
        raise
    except BrokenProcessPool as error:
        raise ResourceError("the processes that draw anatomy ended", "go on with --resume") from error
    finally:
        stream.close()
    return out / "best.pt"


def load_scans(sources: Sequence[Source], data: Path, prepared: bool) -> list[Any]:
    """Return anatomies, or prepared pairs."""
    return load_all_prepared(sources, data) if prepared else load_sources(sources, data)


def draw_block(
    rng: np.random.Generator, scans: Sequence[Anatomy] | Sequence[PreparedScan], recipe: LatentRecipe
) -> CleanBlock:
    """Draw a block of good planes; from prepared pairs, with the real planes of lower quality."""
    draw: Any = draw_real_block if recipe.is_prepared else draw_clean_block
    block: CleanBlock = draw(rng, scans, recipe.block)
    return block


def _start_worker(recipe: LatentRecipe, data: Path) -> None:
    import SimpleITK as sitk

    leave_with_parent()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    _worker[:] = [(recipe, load_scans(recipe.sources, data, recipe.is_prepared))]


def _work(number: int) -> CleanBlock:
    recipe, scans = _worker[0]
    return draw_block(np.random.default_rng((recipe.seed, number)), scans, recipe)


def _drawn_before(step: int, recipe: LatentRecipe) -> int:
    """Return how many blocks a run has drawn before a step; its buffer holds the last of them."""
    o = recipe.optimisation
    return min(o.buffer, FIRST_BLOCKS) + math.ceil(step / o.refresh_steps)


def _validation(recipe: LatentRecipe, data: Path, codec: LatentCodec | None) -> Any:
    """Return fixed planes (autoencoder), or a fixed batch (denoiser)."""
    scans = load_scans(recipe.validation, data, recipe.is_prepared)
    seed, size = recipe.seed + VALIDATION_SEED, recipe.optimisation.patch
    blocks = [draw_block(np.random.default_rng((seed, n)), scans, recipe) for n in range(VALIDATION_BLOCKS)]
    rngs = [np.random.default_rng((seed, 1000 + n)) for n in range(VALIDATION_PATCHES)]
    chosen = [blocks[n % len(blocks)] for n in range(VALIDATION_PATCHES)]
    if recipe.stage == AUTOENCODER:
        planes = [autoencoder_planes(rng, block, size) for rng, block in zip(rngs, chosen, strict=True)]
        return unfold(np.concatenate([np.stack(some) for some in planes]))
    assert codec is not None, "a denoiser is trained in the codes of an autoencoder"
    return _encoded([cut_pair(rng, b, recipe.stage, size) for rng, b in zip(rngs, chosen, strict=True)], codec)


def _encoded(pairs: Sequence[LatentPair], codec: LatentCodec) -> _Batch:
    """Return the codes of pairs; the first of the numbers told, the time, is still 0."""
    images, residuals, guides, gains = (
        np.stack([getattr(pair, name) for pair in pairs]) for name in ("image", "residual", "guide", "gain")
    )
    told = np.array([told_numbers(0.0, pair.level, pair.acquisition) for pair in pairs], np.float32)
    return _Batch(codec.encode(residuals), codec.condition(images, guides, gains), told)


def _build_state(recipe: LatentRecipe, device: torch.device, validation: Any) -> _State:
    torch.manual_seed(recipe.seed)
    network, average = (build_model(recipe.architecture, recipe.architecture_parameters) for _ in range(2))
    if recipe.stage != AUTOENCODER:
        deviation = validation.codes.std(axis=(0, 2, 3))
        scale = torch.from_numpy(np.maximum(deviation, LEAST_SCALE * deviation.max()).astype(np.float32))
        network.scale.copy_(scale)  # type: ignore[operator]
    average.load_state_dict(network.state_dict())
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    average.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    o = recipe.optimisation
    return _State(network, average, build_optimiser(o.optimiser, network, o.learning_rate, o.weight_decay))


def _run(
    state: _State,
    recipe: LatentRecipe,
    codec: LatentCodec | None,
    stream: OrderedStream[CleanBlock],
    validation: Any,
    out: Path,
    last: int,
    device: torch.device,
    progress: Progress,
) -> None:
    o = recipe.optimisation
    buffer: deque[CleanBlock] = deque(maxlen=o.buffer)
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
        chosen = [buffer[int(n)] for n in rng.integers(len(buffer), size=o.batch)]
        for group in state.optimiser.param_groups:
            group["lr"] = cosine_rate(state.step, o.steps, o.warmup_steps, o.learning_rate)
        loss = _loss(state.network, rng, chosen, recipe, codec, device)
        state.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(state.network.parameters(), o.gradient_clip)
        state.optimiser.step()
        state.step += 1
        update_average(state.average, state.network, o.ema_decay, state.step)
        value = float(loss.detach())
        mean = value if math.isnan(mean) else 0.98 * mean + 0.02 * value
        if state.step % o.validation_steps == 0 or state.step == last:
            _validate(state, recipe, validation, out, mean, time.monotonic() - started)
            state.save(out / "checkpoint.pt", recipe)
        if state.step % 20 == 0:
            pace = (time.monotonic() - started) / (state.step - first)
            progress.report(state.step / o.steps, f"step {state.step} of {last}, loss {mean:.4f}, {pace:.2f} s each")


def _loss(
    network: nn.Module,
    rng: np.random.Generator,
    blocks: Sequence[CleanBlock],
    recipe: LatentRecipe,
    codec: LatentCodec | None,
    device: torch.device,
) -> torch.Tensor:
    o = recipe.optimisation
    if codec is None:
        planes = [autoencoder_planes(rng, block, o.patch) for block in blocks]
        cells = torch.from_numpy(unfold(np.concatenate([np.stack(some) for some in planes]))).to(device)
        shape = (cells.shape[0], int(recipe.architecture_parameters["channels"]), *cells.shape[2:])
        spread = torch.from_numpy(rng.standard_normal(shape, np.float32))
        return autoencoder_loss(network, cells, spread.to(device), o.kl_weight)
    batch = _encoded([cut_pair(rng, block, recipe.stage, o.patch) for block in blocks], codec)
    told = batch.told.copy()
    count = len(told)
    told[rng.random(count) < o.acquisition_dropout, 2:5] = 0.0
    nothing = rng.random(count) < o.dropout
    times = rng.integers(recipe.schedule.times, size=count)
    told[:, 0] = times / (recipe.schedule.times - 1)
    told[nothing, 1:] = 0.0
    return denoiser_loss(network, _Batch(batch.codes, batch.condition, told), times, rng, recipe, device)


def autoencoder_loss(network: nn.Module, cells: torch.Tensor, spread: torch.Tensor, kl_weight: float) -> torch.Tensor:
    """Return squared error plus weighted divergence from the standard normal, per element.

    Parameters
    ----------
    network : KLAutoencoder
    cells : Tensor, shape (N, 16, h, w)
        Unfolded planes.
    spread : Tensor, shape (N, channels, h, w)
        Standard normal, with which codes are drawn.
    kl_weight : float
    """
    with torch.autocast(cells.device.type, torch.bfloat16):
        mean, spread_log = network.encoder(cells).float().chunk(2, dim=1)  # type: ignore[operator]
    mean, spread_log = network.posterior(cells, mean, spread_log)  # type: ignore[operator]
    code = mean + torch.exp(0.5 * spread_log) * spread
    with torch.autocast(cells.device.type, torch.bfloat16):
        correction = network.decoder(code).float()  # type: ignore[operator]
    decoded = network.synthesis(code) + correction  # type: ignore[operator]
    divergence = 0.5 * (mean**2 + torch.exp(spread_log) - 1.0 - spread_log).mean()
    return functional.mse_loss(decoded, cells) + kl_weight * divergence


def denoiser_loss(
    network: nn.Module,
    batch: _Batch,
    times: np.ndarray,
    rng: np.random.Generator,
    recipe: LatentRecipe,
    device: torch.device,
) -> torch.Tensor:
    """Return the mean squared error of the velocity."""
    scale = network.scale.cpu().numpy()[:, None, None]  # type: ignore[operator]
    clean = batch.codes / scale
    noise = rng.standard_normal(clean.shape, np.float32)
    mixed, velocity = recipe.schedule.mixed(clean, noise, times)
    inputs = torch.from_numpy(denoiser_input(mixed, batch.condition, batch.told)).to(device)
    with torch.autocast(device.type, torch.bfloat16):
        found = network(inputs.contiguous(memory_format=torch.channels_last))
    return functional.mse_loss(found.float(), torch.from_numpy(velocity).to(device))


def _validate(state: _State, recipe: LatentRecipe, validation: Any, out: Path, loss: float, seconds: float) -> None:
    device = next(state.average.parameters()).device
    extra: dict[str, Any] = {}
    with torch.inference_mode():
        if recipe.stage == AUTOENCODER:
            cells = torch.from_numpy(validation).to(device)
            mean, spread = state.average.encode(cells)  # type: ignore[operator]
            lost = ((state.average.decode(mean) - cells) ** 2).mean(dim=(1, 2, 3))  # type: ignore[operator]
            names = ("image", "noisy", "blurred", "noise_residual", "blur_residual")
            extra = {name: float(lost[n :: len(names)].mean()) for n, name in enumerate(names)}
            divergence = float(0.5 * (mean**2 + torch.exp(spread) - 1.0 - spread).mean())
            extra["divergence"] = divergence
            score = float(lost.mean()) + recipe.optimisation.kl_weight * divergence
        else:
            rng = np.random.default_rng(recipe.seed + VALIDATION_SEED)
            count = len(validation.codes)
            times = np.round((np.arange(count) + 0.5) / count * recipe.schedule.times).astype(int)
            told = validation.told.copy()
            told[:, 0] = times / (recipe.schedule.times - 1)
            batch = _Batch(validation.codes, validation.condition, told)
            score = float(denoiser_loss(state.average, batch, times, rng, recipe, device))
    line = {"step": state.step, "loss": round(loss, 6), "seconds": round(seconds, 1), "validation_loss": score, **extra}
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
    logger.info("step %d: %s", state.step, line)
    if score < state.best_loss:
        state.best_loss = score
        save_weights(out / "best.pt", state.average)
