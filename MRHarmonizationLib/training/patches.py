"""Batches of patches cut from a buffer of samples that a background pool keeps fresh."""

from __future__ import annotations

from collections import deque
from pathlib import Path

import numpy as np

from MRHarmonizationLib.inference.preparation import conditioning_channels, plane_stacks
from MRHarmonizationLib.training.paired_samples import PreparedScan, draw_prepared, load_all_prepared
from MRHarmonizationLib.training.recipe import RESTORE, Recipe
from MRHarmonizationLib.training.restore_samples import RestoreSample, cut_restore_patch, draw_restore_sample
from MRHarmonizationLib.training.samples import Anatomy, Sample, draw_sample, load_sources
from MRHarmonizationLib.training.specialist_samples import SpecialistSources, draw_specialist_sample
from MRHarmonizationLib.training.stream import OrderedStream, leave_with_parent

_worker_anatomies: list[Anatomy] = []
_worker_prepared: list[PreparedScan] = []
_worker_specialist: list[SpecialistSources] = []
_worker_recipe: list[Recipe] = []


def _start_worker(recipe: Recipe, data: Path) -> None:
    import SimpleITK as sitk

    leave_with_parent()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    _worker_recipe[:] = [recipe]
    if recipe.specialist is not None:
        _worker_specialist[:] = [SpecialistSources.load(recipe, data)]
    elif recipe.is_prepared:
        _worker_prepared[:] = load_all_prepared(recipe.sources, data)
    else:
        _worker_anatomies[:] = load_sources(recipe.sources, data)


def _work(number: int) -> Sample | RestoreSample:
    recipe = _worker_recipe[0]
    rng = np.random.default_rng((recipe.seed, number))
    if recipe.specialist is not None:
        return draw_specialist_sample(rng, _worker_specialist[0], recipe)
    if recipe.is_prepared:
        return draw_prepared(rng, _worker_prepared, recipe.block)
    if recipe.task == RESTORE:
        return draw_restore_sample(rng, _worker_anatomies, recipe.block)
    return draw_sample(rng, _worker_anatomies, recipe.block, float(recipe.degradation.get("general", 0.3)))


class SampleStream(OrderedStream[Sample | RestoreSample]):
    """Samples number ``first``, ``first + 1``, … of a recipe, drawn ahead of use in background processes.

    Parameters
    ----------
    recipe : Recipe
    data : Path
        Data folder.
    first : int
        Number of the first sample, for resuming.
    workers : int
        Background processes.
    """

    def __init__(self, recipe: Recipe, data: Path, first: int, workers: int = 1) -> None:
        super().__init__(_work, _start_worker, (recipe, data), first, workers)


def cut_patch(rng: np.random.Generator, sample: Sample, recipe: Recipe) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut one patch.

    Returns
    -------
    inputs, target, weight : ndarray, float32
        (planes + 3, patch, patch), (1, patch, patch) and (1, patch, patch), or the same with three axes; the weight is
        what each voxel counts in the loss.
    """
    size = recipe.optimisation.patch
    flat = recipe.layout == "planes-2.5d"
    axis, index = 0, 0
    if flat:
        axis = int(rng.choice(sample.stack_axes))
        index = int(rng.integers(sample.image.shape[axis]))
        stack = plane_stacks(sample.image, axis, [index], recipe.planes)[0]
        truth = np.take(sample.target, index, axis=axis).astype(np.float32)[None]
        lesions = np.take(sample.lesions, index, axis=axis)[None]
    else:
        stack, truth, lesions = sample.image[None], sample.target[None], sample.lesions[None]
    start = [int(rng.integers(n - size + 1)) for n in truth.shape[1:]]
    block = (slice(None), *(slice(s, s + size) for s in start))
    condition = sample.condition._replace(slice_distance_mm=sample.condition.slice_distance_mm[block[1]])
    channels = conditioning_channels(condition, truth[block].shape[2:])
    inputs = np.concatenate([stack[block].astype(np.float32), channels])
    patch = truth[block].astype(np.float32)
    weight = np.where(lesions[block], recipe.optimisation.lesion_weight, 1.0).astype(np.float32)
    if sample.valid is not None:
        weight *= np.take(sample.valid, index, axis=axis)[None][block] if flat else sample.valid[None][block]
    flips = tuple(1 + a for a in range(truth.ndim - 1) if rng.random() < 0.5)
    return np.flip(inputs, flips), np.flip(patch, flips), np.flip(weight, flips)


def draw_batch(
    rng: np.random.Generator, buffer: deque[Sample | RestoreSample], recipe: Recipe
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut a batch of patches from different samples of the buffer.

    Returns
    -------
    inputs, target, weight : ndarray, float32
        (N, C, …), (N, 1, …) and (N, 1, …); see :func:`cut_patch`; the target has two channels for the task 'restore',
        see :func:`~MRHarmonizationLib.training.restore_samples.cut_restore_patch`.
    """
    chosen = rng.choice(len(buffer), recipe.optimisation.batch, replace=len(buffer) < recipe.optimisation.batch)
    pairs = [_cut(rng, buffer[int(n)], recipe) for n in chosen]
    inputs, target, weight = (np.stack(parts) for parts in zip(*pairs, strict=True))
    return inputs, target, weight


def _cut(
    rng: np.random.Generator, sample: Sample | RestoreSample, recipe: Recipe
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if isinstance(sample, RestoreSample):
        return cut_restore_patch(rng, sample, recipe)
    return cut_patch(rng, sample, recipe)
