"""Training a classifier of slices, for scanner probes: short, seeded, CPU or CUDA."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from MRHarmonizationLib.core.errors import ResourceError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.models import build_model
from MRHarmonizationLib.training.loop import choose_device

#: Slices are moved by up to this many pixels and mirrored at random, so that no probe learns where anatomy lies.
SHIFT_PIXELS = 4
WEIGHT_DECAY, GRADIENT_CLIP = 1e-2, 5.0
#: Part of the steps in which the learning rate rises.
WARM_UP = 0.25
#: Batches per epoch, at least: small cohorts get smaller batches, else a network would hardly be trained at all.
FEWEST_BATCHES = 8
#: Pixels per forward pass when the statistics of batch normalisation are settled; 1 GB in a ResNet-50.
SETTLING_PIXELS = 4_000_000
#: Slices per forward pass when predicting.
PREDICTION_BATCH = 128


@dataclass(frozen=True)
class ClassifierPlan:
    """How a classifier is trained.

    Attributes
    ----------
    architecture : str
        Name in the registry of networks; takes ``classes`` and has ``features`` and ``fc``.
    classes, epochs, batch, seed : int
    learning_rate : float
        Largest one: it rises over the first quarter of the steps and falls along a cosine after.
    device : {'auto', 'cpu', 'cuda'}
    """

    architecture: str
    classes: int
    epochs: int
    batch: int = 32
    seed: int = 0
    learning_rate: float = 1e-3
    device: str = "auto"


@dataclass(frozen=True)
class TrainedClassifier:
    """A trained network, ready to classify slices.

    Attributes
    ----------
    network : nn.Module
    device : torch.device
    losses : tuple of float
        Mean training loss of each epoch.
    """

    network: nn.Module
    device: torch.device
    losses: tuple[float, ...]

    def predict(self, pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return class probabilities (N, C) and features before the classifier (N, F) of slices (N, H, W)."""
        probabilities, features = [], []
        with torch.inference_mode():
            for start in range(0, len(pixels), PREDICTION_BATCH):
                part = _tensor(pixels[start : start + PREDICTION_BATCH], self.device)
                with torch.autocast(self.device.type, torch.bfloat16):
                    found = self.network.features(part)  # type: ignore[operator]
                found = found.float()
                logits = self.network.fc(found)  # type: ignore[operator]
                probabilities.append(functional.softmax(logits, dim=1).cpu().numpy())
                features.append(found.cpu().numpy())
        return np.concatenate(probabilities), np.concatenate(features)


def train_classifier(
    pixels: np.ndarray, labels: np.ndarray, plan: ClassifierPlan, progress: Progress | None = None
) -> TrainedClassifier:
    """Train a classifier from random weights.

    Parameters
    ----------
    pixels : ndarray, float32, shape (N, H, W)
        Slices on a scale of about 0 to 1; not changed.
    labels : int ndarray, shape (N,)
        Classes 0 … ``plan.classes`` − 1.
    plan : ClassifierPlan
        The same plan gives the same network on the same machine with the same number of threads.
    progress : Progress, optional
        Asked for cancellation before every step.

    Returns
    -------
    TrainedClassifier

    Raises
    ------
    ParameterError
        Unknown architecture, or CUDA asked for and not there.
    ResourceError
        Memory of the device is exhausted.
    OperationCancelled
    """
    progress = progress or Progress()
    device = choose_device(plan.device)
    # the caller's random numbers stay as they were
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(plan.seed)
        network = build_model(plan.architecture, {"classes": plan.classes}).to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        try:
            losses = _fit(network, pixels, labels, plan, device, progress)
        except torch.OutOfMemoryError as error:
            raise ResourceError(f"memory of {device} ran out", "ask for a smaller --batch or --size") from error
    network.eval()
    return TrainedClassifier(network, device, tuple(losses))


def _fit(
    network: nn.Module,
    pixels: np.ndarray,
    labels: np.ndarray,
    plan: ClassifierPlan,
    device: torch.device,
    progress: Progress,
) -> list[float]:
    rng = np.random.default_rng(plan.seed)
    counts = np.bincount(labels, minlength=plan.classes)
    weight = torch.tensor(counts.sum() / np.maximum(counts, 1) / plan.classes, dtype=torch.float32, device=device)
    batches = max(round(len(pixels) / plan.batch), min(FEWEST_BATCHES, len(pixels) // 2), 1)
    optimiser = torch.optim.AdamW(network.parameters(), plan.learning_rate, weight_decay=WEIGHT_DECAY)
    steps = plan.epochs * batches
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate_factor(step, steps))
    network.train()
    losses = []
    for epoch in range(plan.epochs):
        total = 0.0
        # parts of nearly equal size: batch normalisation must not meet a single slice
        for number, part in enumerate(np.array_split(rng.permutation(len(pixels)), batches)):
            progress.report((epoch + number / batches) / plan.epochs, f"epoch {epoch + 1} of {plan.epochs}")
            inputs = _tensor(augment(pixels[part], rng), device)
            target = torch.from_numpy(labels[part].astype(np.int64)).to(device)
            with torch.autocast(device.type, torch.bfloat16):
                logits = network(inputs)
            loss = functional.cross_entropy(logits.float(), target, weight=weight)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), GRADIENT_CLIP)
            optimiser.step()
            schedule.step()
            total += float(loss.detach()) * len(part)
        losses.append(total / len(pixels))
    _settle_statistics(network, pixels[rng.permutation(len(pixels))], device)
    return losses


def _settle_statistics(network: nn.Module, pixels: np.ndarray, device: torch.device) -> None:
    """Set the means and variances of batch normalisation to those of the training slices under the final weights.

    Running averages lag behind the weights, and averages over small batches do not fit together in a deep network: a
    ResNet-50 that named 61 % of its training slices right in batches of 32 fell to 22 % with averages over such
    batches, and reached 68 % with the statistics of all slices at once. So the parts are as large as memory allows.
    Source: Wu & Johnson (2021), arXiv 2105.07576, section 3.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None  # a plain mean over what follows
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        for part in np.array_split(pixels, max(1, round(pixels.size / SETTLING_PIXELS))):
            network(_tensor(part, device))


def rate_factor(step: int, steps: int) -> float:
    """Return the learning rate of a step as a share of the largest: up linearly, then down along a cosine to 0."""
    rising = max(1, round(WARM_UP * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, (step + 1 - rising) / max(1, steps - rising))))


def augment(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return slices (N, H, W), each moved by a few whole pixels and mirrored left to right at random."""
    result = np.empty(pixels.shape, np.float32)
    height, width = pixels.shape[1:]
    for n, plane in enumerate(np.pad(pixels, ((0, 0), (SHIFT_PIXELS,) * 2, (SHIFT_PIXELS,) * 2), mode="edge")):
        down, across = rng.integers(0, 2 * SHIFT_PIXELS + 1, 2)
        cut = plane[down : down + height, across : across + width]
        result[n] = cut[:, ::-1] if rng.random() < 0.5 else cut
    return result


def _tensor(pixels: np.ndarray, device: torch.device) -> torch.Tensor:
    values = torch.from_numpy(np.array(pixels, np.float32)[:, None]).to(device)
    return values.contiguous(memory_format=torch.channels_last)
