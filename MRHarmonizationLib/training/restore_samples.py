"""Training samples of the adjustable restorer: a sharp image, its blurred and its noisy version, all on one grid."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.image_quality import estimate_noise, estimate_resolution, local_noise
from MRHarmonizationLib.core.intensity import fit_intensity_scale
from MRHarmonizationLib.degradations.noise_blur import (
    NoiseBlurParameters,
    add_noise,
    blur,
    noise_deviation,
    sample_noise_blur,
)
from MRHarmonizationLib.inference.preparation import plane_stacks
from MRHarmonizationLib.inference.restore_input import restore_channels
from MRHarmonizationLib.training.recipe import Recipe
from MRHarmonizationLib.training.samples import Anatomy, draw_anatomy, draw_object, jittered_scale

#: Range of voxel sizes in mm.
VOXEL_MM = (0.8, 1.35)
#: Share of label and image blocks that get thick slices, and how many voxels are averaged into one.
THICK_SHARE, THICKNESS = 0.35, (2, 6)
#: Share of samples whose air is set to zero, as scanners and brain extraction do, and the level that counts as air.
MASKED_SHARE, AIR = 0.2, 0.04
#: Share of samples that are described by the estimates rather than the truth, and the error of the latter (of the log).
ESTIMATED_SHARE, NOISE_JITTER, RESOLUTION_JITTER = 0.6, 0.12, 0.06
#: Fewest slices of a sample.
FEWEST_SLICES = 5
#: Largest factor on the texture of label images, and that of images to be judged: tissue free of noise is smoother
#: than the generator draws it, and texture that looks like noise teaches to keep noise.
MOST_TEXTURE, TEXTURE = 0.6, 0.3


@dataclass(frozen=True)
class RestoreSample:
    """One simulated scan, slices first, normalised by its own percentiles.

    Attributes
    ----------
    image, blurred, sharp : ndarray, shape (S, A, B), float16
        Scan, the same without noise, the same without noise and blur.
    noise : ndarray, shape (S, A, B), float16
        Deviation of the noise that the network is told.
    resolution : float
        Resolution in voxels that the network is told.
    stack_axes : tuple of int
        Axes along which planes may be stacked.
    lesions : ndarray, shape (S, A, B), bool
    """

    image: np.ndarray
    blurred: np.ndarray
    sharp: np.ndarray
    noise: np.ndarray
    resolution: float
    stack_axes: tuple[int, ...]
    lesions: np.ndarray


def draw_restore_sample(rng: np.random.Generator, anatomies: Sequence[Anatomy], block: int) -> RestoreSample:
    """Draw one training sample; a function of the generator's state.

    Parameters
    ----------
    rng : numpy Generator
    anatomies : sequence of Anatomy
    block : int
        Edge in voxels.
    """
    truth, lesions, spacing_mm = draw_truth(rng, anatomies, block)
    thick = is_thick(spacing_mm)
    parameters = sample_noise_blur(rng, (1, 2) if thick else (0, 1, 2))
    masked = truth <= AIR * float(np.percentile(truth, 99)) if rng.random() < MASKED_SHARE else None
    return degraded_sample(rng, truth, lesions, parameters, (0,) if thick else (0, 1, 2), masked)


def is_thick(spacing_mm: tuple[float, float, float]) -> bool:
    """Tell whether slices are thicker than pixels: planes may then be stacked along the first axis only."""
    return spacing_mm[0] > spacing_mm[1]


def draw_truth(
    rng: np.random.Generator, anatomies: Sequence[Anatomy], block: int
) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Draw a block of anatomy as an ideal scan would show it, slices first.

    Parameters
    ----------
    rng : numpy Generator
    anatomies : sequence of Anatomy
    block : int
        Edge in voxels.

    Returns
    -------
    truth, lesions : ndarray, shape (S, A, B)
        float32, not negative; bool.
    spacing_mm : tuple of three floats
        Of the slices, and twice of the pixels.
    """
    while True:
        anatomy = draw_anatomy(rng, anatomies)
        voxel_mm, texture = float(rng.uniform(*VOXEL_MM)), float(rng.uniform(0.0, MOST_TEXTURE))
        truth, lesions = draw_object(rng, anatomy, block, voxel_mm, texture)
        if np.percentile(truth, 90) > np.percentile(truth, 5):  # not a block of air
            break
    flat = anatomy.source.in_plane_only
    count = 1
    if flat or rng.random() < THICK_SHARE:
        count = 3 if flat else min(int(rng.integers(THICKNESS[0], THICKNESS[1] + 1)), block // FEWEST_SLICES)
        truth, lesions = _averaged(truth, count), _averaged(lesions.astype(np.float32), count) > 0.25
    flips = tuple(slice(None, None, int(rng.choice((-1, 1)))) for _ in range(3))
    truth, lesions = np.ascontiguousarray(truth[flips]), np.ascontiguousarray(lesions[flips])
    return truth, lesions, (count * voxel_mm, voxel_mm, voxel_mm)


def degraded_sample(
    rng: np.random.Generator | None,
    truth: np.ndarray,
    lesions: np.ndarray,
    parameters: NoiseBlurParameters,
    stack_axes: tuple[int, ...],
    masked: np.ndarray | None = None,
) -> RestoreSample:
    """Return the sample of a sharp image and its degradation.

    Parameters
    ----------
    rng : numpy Generator or None
        Jitters the normalisation and what the network is told; None tells it the estimates.
    truth : ndarray, shape (S, A, B), float32
        Not negative.
    lesions : bool ndarray, same shape
    parameters : NoiseBlurParameters
    stack_axes : tuple of int
    masked : bool ndarray, same shape, optional
        Voxels set to zero everywhere.
    """
    span = float(np.ptp(np.percentile(truth, (0.5, 99.5)))) or 1.0
    blurred = np.maximum(blur(truth, parameters.resolution_voxels, parameters.profile, parameters.taper), 0.0)
    deviation = noise_deviation(truth.shape, 0.01 * parameters.noise_percent * span, parameters.gain)
    image = add_noise(blurred, deviation, parameters) if parameters.noise_percent > 0 else blurred
    if masked is not None:
        truth, blurred, image = (np.asarray(np.where(masked, 0, part), np.float32) for part in (truth, blurred, image))
    scale = fit_intensity_scale(image) if rng is None else jittered_scale(rng, image)
    image, blurred, truth = (scale.normalise(part) for part in (image, blurred, truth))
    if rng is None or rng.random() < ESTIMATED_SHARE:
        told_noise, told_resolution = estimated_quality(image, blurred)
    else:
        jitter = float(np.exp(rng.normal(0.0, NOISE_JITTER)))
        told_noise = np.asarray(deviation * (jitter / scale.scale), np.float32)
        _, first, second = parameters.resolution_voxels
        told_resolution = float(np.sqrt(first * second) * np.exp(rng.normal(0.0, RESOLUTION_JITTER)))
    half = np.float16
    return RestoreSample(
        image.astype(half),
        blurred.astype(half),
        truth.astype(half),
        told_noise.astype(half),
        max(told_resolution, 1.0),
        stack_axes,
        lesions,
    )


def estimated_quality(image: np.ndarray, noise_free: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """Return what the network is told of a normalised scan: deviation of the added noise, and resolution in voxels.

    Parameters
    ----------
    image : ndarray, shape (S, A, B), float32
    noise_free : ndarray, same shape, optional
        The scan before noise was added; all that looks like noise counts as added where it is omitted.

    Returns
    -------
    noise : ndarray, shape (S, A, B), float32
    resolution : float
    """
    level = estimate_noise(image)
    share = 1.0 if noise_free is None else _added_share(level.sigma, noise_free)
    noise = local_noise(image, level) * np.float32(share)
    return noise, estimate_resolution(image, level.sigma)


def _added_share(estimate: float, noise_free: np.ndarray) -> float:
    """Return the share of an estimate that is added noise: real scans have noise of their own, and texture.

    What the network is told is the noise to be taken away; a truth that keeps noise would teach it to leave some.
    """
    own = estimate_noise(noise_free).sigma
    return float(np.sqrt(max(1.0 - (own / estimate) ** 2, 0.0))) if estimate > 0 else 0.0


def cut_restore_patch(
    rng: np.random.Generator, sample: RestoreSample, recipe: Recipe
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut one patch.

    Returns
    -------
    inputs, target, weight : ndarray, float32
        (planes + 2, patch, patch); (2, patch, patch): blurred and sharp truth; (1, patch, patch).
    """
    size, planes = recipe.optimisation.patch, recipe.planes
    axis = int(rng.choice(sample.stack_axes))
    index = int(rng.integers(sample.image.shape[axis]))
    shape = [n for a, n in enumerate(sample.image.shape) if a != axis]
    start = [int(rng.integers(n - size + 1)) for n in shape]
    window = tuple(slice(s, s + size) for s in start)

    def plane(array: np.ndarray) -> np.ndarray:
        return np.asarray(np.take(array, index, axis)[window], np.float32)

    cut = np.moveaxis(sample.image, axis, 2)[window]
    stack = plane_stacks(cut, 2, [index], planes)[0]
    inputs = np.concatenate([stack, restore_channels(plane(sample.noise), sample.resolution)])
    target = np.stack([plane(sample.blurred), plane(sample.sharp)])
    weight = np.where(plane(sample.lesions) > 0, recipe.optimisation.lesion_weight, 1.0).astype(np.float32)[None]
    if rng.random() < 0.5:
        inputs, target, weight = (np.swapaxes(part, 1, 2) for part in (inputs, target, weight))
    flips = tuple(1 + a for a in range(2) if rng.random() < 0.5)
    return np.flip(inputs, flips), np.flip(target, flips), np.flip(weight, flips)


def _averaged(array: np.ndarray, count: int) -> np.ndarray:
    """Return means of ``count`` slices each."""
    whole = array.shape[0] // count * count
    return np.asarray(array[:whole].reshape(-1, count, *array.shape[1:]).mean(axis=1), array.dtype)
