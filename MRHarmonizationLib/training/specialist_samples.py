"""Training samples of specialists: simulated acquisitions, acquired pairs and synthetic pairs, in stated shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from MRHarmonizationLib.core.intensity import fit_intensity_scale
from MRHarmonizationLib.degradations.coarse_matrix import CoarseMatrixParameters, measure_coarse, sample_coarse_matrix
from MRHarmonizationLib.degradations.encoding import apply_along
from MRHarmonizationLib.degradations.misalignment import misalign, sample_misalignment
from MRHarmonizationLib.degradations.noise_blur import (
    NoiseBlurParameters,
    add_noise,
    blur,
    noise_deviation,
    sample_noise_blur,
)
from MRHarmonizationLib.training.paired_samples import PreparedScan, load_all_prepared
from MRHarmonizationLib.training.recipe import Recipe, Source
from MRHarmonizationLib.training.restore_samples import (
    AIR,
    ESTIMATED_SHARE,
    MASKED_SHARE,
    NOISE_JITTER,
    RestoreSample,
    draw_truth,
    estimated_quality,
    is_thick,
)
from MRHarmonizationLib.training.samples import Anatomy, jittered_scale, load_sources
from MRHarmonizationLib.training.specialist_recipe import COMBINED, DETAIL, NOISE, SYNTHETIC, Specialist

#: Share of the scans of a denoiser that are blurred too: what is noise does not depend on how sharp the scan is.
BLURRED_SHARE = 0.3
#: Deviation, in voxels, of the Gaussian over which the noise of a pair whose scans lie on each other is measured.
NOISE_SIGMA_VOXELS = 6.0
#: Fewest voxels that the intensities of a pair are matched on.
FEWEST_MATCHED = 100


@dataclass(frozen=True)
class SpecialistSources:
    """What a specialist's samples are drawn from.

    Attributes
    ----------
    anatomies : tuple of Anatomy
        Of which acquisitions are simulated.
    acquired, synthetic : tuple of PreparedScan
        Pairs.
    """

    anatomies: tuple[Anatomy, ...] = ()
    acquired: tuple[PreparedScan, ...] = ()
    synthetic: tuple[PreparedScan, ...] = ()

    @classmethod
    def load(cls, recipe: Recipe, data: Path) -> SpecialistSources:
        """Read what the training set of a recipe wants.

        Raises
        ------
        InputError
            Files are missing or cannot be read.
        """
        specialist = specialist_of(recipe)
        anatomies: Sequence[Anatomy] = ()
        acquired: Sequence[PreparedScan] = ()
        if specialist.training_set != SYNTHETIC:
            if recipe.is_prepared:
                acquired = [matched(scan) for scan in load_all_prepared(recipe.sources, data)]
            else:
                anatomies = load_sources(recipe.sources, data)
        synthetic: Sequence[PreparedScan] = ()
        if specialist.synthetic_pairs:
            pairs = Source("pair", specialist.synthetic_pairs, 1.0)
            synthetic = load_all_prepared([pairs], Path(specialist.synthetic_folder))
        return cls(tuple(anatomies), tuple(acquired), tuple(synthetic))


def specialist_of(recipe: Recipe) -> Specialist:
    """Return the specialist of a recipe that has one."""
    assert recipe.specialist is not None
    return recipe.specialist


def draw_specialist_sample(rng: np.random.Generator, sources: SpecialistSources, recipe: Recipe) -> RestoreSample:
    """Draw one training sample; a function of the generator's state.

    Parameters
    ----------
    rng : numpy Generator
    sources : SpecialistSources
    recipe : Recipe
        With a specialist.
    """
    specialist = specialist_of(recipe)
    synthetic = specialist.training_set == SYNTHETIC or (
        specialist.training_set == COMBINED and rng.random() < specialist.synthetic_share
    )
    if synthetic:
        return draw_pair_sample(rng, sources.synthetic, recipe.block, specialist.part, aligned=True)
    if sources.acquired:
        return draw_pair_sample(rng, sources.acquired, recipe.block, specialist.part)
    return _simulated(rng, sources.anatomies, recipe.block, specialist)


def _simulated(
    rng: np.random.Generator, anatomies: Sequence[Anatomy], block: int, specialist: Specialist
) -> RestoreSample:
    truth, lesions, spacing_mm = draw_truth(rng, anatomies, block)
    if specialist.part == DETAIL and not is_thick(spacing_mm):  # planes of any direction
        axis = int(rng.integers(3))
        truth, lesions = (np.ascontiguousarray(np.moveaxis(part, axis, 0)) for part in (truth, lesions))
    shown = truth
    if specialist.misalign_mm:
        axes = (1, 2) if is_thick(spacing_mm) else (0, 1, 2)
        shown = misalign(truth, spacing_mm, sample_misalignment(rng, specialist.misalign_mm, axes))
    if specialist.part == DETAIL:
        return coarse_sample(rng, shown, truth, lesions, sample_coarse_matrix(rng))
    parameters = sample_noise_blur(rng, (1, 2) if is_thick(spacing_mm) else (0, 1, 2), 1.0 - BLURRED_SHARE)
    if parameters.noise_percent == 0:  # nothing to learn from
        parameters = replace(parameters, noise_percent=float(rng.uniform(1.0, 10.0)))
    air = shown <= AIR * float(np.percentile(shown, 99)) if rng.random() < MASKED_SHARE else None
    stack_axes = (0,) if is_thick(spacing_mm) else (0, 1, 2)
    return noisy_sample(rng, shown, truth, lesions, parameters, stack_axes, air)


def noisy_sample(
    rng: np.random.Generator | None,
    shown: np.ndarray,
    truth: np.ndarray,
    lesions: np.ndarray,
    parameters: NoiseBlurParameters,
    stack_axes: tuple[int, ...],
    air: np.ndarray | None = None,
) -> RestoreSample:
    """Return the sample of a denoiser; its target is as sharp as the scan.

    Parameters
    ----------
    rng : numpy Generator or None
        Jitters the normalisation and what the network is told; None tells it the estimates.
    shown, truth : ndarray, shape (S, A, B), float32
        What is scanned, and its high-quality partner: the same image, or the same head a little out of place.
    lesions : bool ndarray, same shape
    parameters : NoiseBlurParameters
    stack_axes : tuple of int
    air : bool ndarray, same shape, optional
        Voxels set to zero everywhere.
    """
    degraded = (parameters.resolution_voxels, parameters.profile, parameters.taper)
    clean = np.maximum(blur(shown, *degraded), 0.0)
    target = clean if shown is truth else np.maximum(blur(truth, *degraded), 0.0)
    span = float(np.ptp(np.percentile(shown, (0.5, 99.5)))) or 1.0
    deviation = noise_deviation(shown.shape, 0.01 * parameters.noise_percent * span, parameters.gain)
    image = add_noise(clean, deviation, parameters)
    if air is not None:
        clean, target, image = (np.asarray(np.where(air, 0, part), np.float32) for part in (clean, target, image))
    scale = fit_intensity_scale(image) if rng is None else jittered_scale(rng, image)
    image, clean, target = (scale.normalise(part) for part in (image, clean, target))
    if rng is None or rng.random() < ESTIMATED_SHARE:
        noise, resolution = estimated_quality(image, clean)
    else:
        noise = np.asarray(deviation * (float(np.exp(rng.normal(0.0, NOISE_JITTER))) / scale.scale), np.float32)
        resolution = estimated_quality(image, clean)[1]
    return _packed(image, target, target, noise, resolution, stack_axes, lesions)


def coarse_sample(
    rng: np.random.Generator | None,
    shown: np.ndarray,
    truth: np.ndarray,
    lesions: np.ndarray,
    parameters: CoarseMatrixParameters,
) -> RestoreSample:
    """Return the sample of a super-resolver: a coarse scan brought to the fine grid by cubic splines, and the truth.

    Parameters
    ----------
    rng : numpy Generator or None
        Jitters the normalisation.
    shown, truth : ndarray, shape (S, A, B), float32
        As for :func:`noisy_sample`.
    lesions : bool ndarray, same shape
    parameters : CoarseMatrixParameters
        Slices lie across the first axis.
    """
    image = measure_coarse(shown, parameters)
    for axis, size in enumerate(shown.shape):
        if image.shape[axis] != size:
            image = np.asarray(apply_along(image, _cubic_matrix(image.shape[axis], size), axis), np.float32)
    scale = fit_intensity_scale(image) if rng is None else jittered_scale(rng, image)
    image, target = scale.normalise(image), scale.normalise(truth)
    noise, resolution = estimated_quality(image)
    return _packed(image, image, target, noise, resolution, (0,), lesions)


@lru_cache(maxsize=64)
def _cubic_matrix(coarse: int, fine: int) -> np.ndarray:
    """Return the cubic spline interpolation of one axis with the same field of view, (fine, coarse) float32."""
    from scipy.ndimage import zoom

    # a spline is separable and linear: its response to unit points along one axis is all there is to know
    return np.asarray(zoom(np.eye(coarse), [fine / coarse, 1.0], order=3, mode="nearest", grid_mode=True), np.float32)


def matched(scan: PreparedScan) -> PreparedScan:
    """Return an acquired pair whose high-quality scan has the gain and offset of the low-quality one in the head.

    Two acquisitions have two gains: without this a network would learn to change brightness. Least squares on smooth
    images, so that noise does not count.
    """
    from scipy.ndimage import uniform_filter

    assert scan.low is not None
    assert scan.high is not None
    places = tuple(np.rint(scan.centres).astype(int).T)
    low, high = (uniform_filter(part.astype(np.float32), 5)[places] for part in (scan.low, scan.high))
    if low.size < FEWEST_MATCHED or np.ptp(high) == 0:
        return scan
    gain, offset = np.polyfit(high, low, 1)
    if not gain > 0:  # contrasts that do not match are not to be made to
        return scan
    return replace(scan, high=(scan.high.astype(np.float32) * gain + offset).astype(np.float16))


def draw_pair_sample(
    rng: np.random.Generator, scans: Sequence[PreparedScan], block: int, part: str, aligned: bool = False
) -> RestoreSample:
    """Draw a block of a pair; a function of the generator's state.

    Parameters
    ----------
    rng : numpy Generator
    scans : sequence of PreparedScan
        Pairs, thick axis first.
    block : int
        Edge in voxels; smaller where the pair is, and then filled up with its last voxels.
    part : {'noise', 'detail'}
    aligned : bool
        The scans lie on each other: their difference is the noise, and the network is told it in some samples, as it
        will be by those who know it.
    """
    scan = scans[int(rng.integers(len(scans)))]
    centre = scan.centres[rng.integers(len(scan.centres))]
    return pair_sample(rng, scan, centre, block, part, aligned)


def pair_sample(
    rng: np.random.Generator | None,
    scan: PreparedScan,
    centre: np.ndarray,
    block: int,
    part: str,
    aligned: bool = False,
) -> RestoreSample:
    """Return the block of a pair about a voxel; ``rng`` turns it over and jitters its intensities."""
    assert scan.low is not None
    assert scan.high is not None
    # slices are few in thick scans and are never filled up; planes are, for patches to be cut from them
    sizes = [min(block, scan.low.shape[0]), block, block]
    start = [int(np.clip(c - s // 2, 0, max(n - s, 0))) for c, s, n in zip(centre, sizes, scan.low.shape, strict=True)]
    window = tuple(slice(s, s + n) for s, n in zip(start, sizes, strict=True))
    low, high = (np.asarray(image[window], np.float32) for image in (scan.low, scan.high))
    widths = [(0, s - n) for s, n in zip(sizes, low.shape, strict=True)]
    low, high = (np.pad(image, widths, mode="edge") for image in (low, high))
    if rng is not None:
        flips = tuple(slice(None, None, int(rng.choice((-1, 1)))) for _ in range(3))
        low, high = low[flips], high[flips]
        scale = jittered_scale(rng, low)
        low, high = scale.normalise(low), scale.normalise(high)
    low, high = np.ascontiguousarray(low), np.ascontiguousarray(high)
    noise, resolution = estimated_quality(low, high if part == NOISE else None)
    if rng is not None and aligned and part == NOISE and rng.random() >= ESTIMATED_SHARE:
        noise = _measured_noise(low, high) * np.float32(np.exp(rng.normal(0.0, NOISE_JITTER)))
    isotropic = scan.condition.slice_spacing_mm < 1.5 * scan.condition.inplane_spacing_mm
    axes = (0, 1, 2) if part == NOISE and isotropic and sizes[0] == block else (0,)
    return _packed(low, high if part == NOISE else low, high, noise, resolution, axes, np.zeros(low.shape, bool))


def _measured_noise(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the deviation of the difference of two scans about every voxel, float32."""
    from scipy.ndimage import gaussian_filter

    return np.sqrt(gaussian_filter((low - high) ** 2, NOISE_SIGMA_VOXELS)).astype(np.float32)


def _packed(
    image: np.ndarray,
    blurred: np.ndarray,
    sharp: np.ndarray,
    noise: np.ndarray,
    resolution: float,
    stack_axes: tuple[int, ...],
    lesions: np.ndarray,
) -> RestoreSample:
    half = np.float16
    told = (noise.astype(half), max(resolution, 1.0))
    return RestoreSample(image.astype(half), blurred.astype(half), sharp.astype(half), *told, stack_axes, lesions)
