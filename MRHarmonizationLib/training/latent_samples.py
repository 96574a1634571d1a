"""Training pairs of the latent degraders: a good plane and its degraded version, from physics or from real scans."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.degradations.coil_array import interpolated
from MRHarmonizationLib.degradations.noise_blur import blur
from MRHarmonizationLib.degradations.receiver_noise import noisy_plane, sample_window
from MRHarmonizationLib.inference.latent_input import (
    BLUR,
    EXPONENTS,
    LEAST_LEVEL,
    NOISE,
    SCALES,
    Acquisition,
    blur_acquisition,
    guide,
    noise_acquisition,
    plane_resolution,
    residual_unit,
    sample_gain,
    sample_point_spread,
)
from MRHarmonizationLib.training.paired_samples import PreparedScan, draw_prepared
from MRHarmonizationLib.training.samples import Anatomy, draw_anatomy, draw_object

#: Range of voxel sizes in mm, largest factor on the texture of label images, range of the normalisation's factor.
VOXEL_MM, MOST_TEXTURE, SCALE_JITTER = (0.8, 1.35), 0.5, (0.9, 1.4)
#: Share of blocks that are turned into thick slices, and how many voxels are averaged.
THICK_SHARE, THICKNESS = 0.3, (2, 5)
#: Share of blocks whose air is exactly zero, as scanners and brain extraction leave it, and what counts as air.
MASKED_SHARE, AIR = 0.2, 0.04
#: Pixels around a patch that are degraded with it, so that its ends are as its middle.
MARGIN = 8
#: Field of view in pixels that a patch is a part of.
FIELD_OF_VIEW = (160, 280)


@dataclass(frozen=True, eq=False)
class CleanBlock:
    """Planes of good quality, slices first.

    Attributes
    ----------
    planes : ndarray, shape (S, A, B), float16
        Normalised, not negative.
    stack_axes : tuple of int
        Axes across which planes may be cut.
    gain : ndarray, shape (s, a, b), or None
        Coarse map of the relative deviation of noise over the field of view.
    degraded : ndarray, shape (S, A, B), float16, or None
        The real scan of lower quality, of a prepared pair.
    """

    planes: np.ndarray
    stack_axes: tuple[int, ...]
    gain: np.ndarray | None = None
    degraded: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class LatentPair:
    """A plane, what degrading adds to it, and what is known of the degradation.

    Attributes
    ----------
    image, degraded : ndarray, shape (P, P), float32
        Normalised.
    residual : ndarray, shape (P, P), float32
        (degraded − image) / unit.
    guide : ndarray, shape (P, P), float32
        See :func:`~MRHarmonizationLib.inference.latent_input.guide`.
    gain : ndarray, shape (P, P), float32
        Relative deviation of the noise.
    level : float
    acquisition : Acquisition
    """

    image: np.ndarray
    degraded: np.ndarray
    residual: np.ndarray
    guide: np.ndarray
    gain: np.ndarray
    level: float
    acquisition: Acquisition


def draw_clean_block(rng: np.random.Generator, anatomies: Sequence[Anatomy], block: int) -> CleanBlock:
    """Draw planes of good quality; a function of the generator's state."""
    while True:
        anatomy = draw_anatomy(rng, anatomies)
        voxel_mm, texture = float(rng.uniform(*VOXEL_MM)), float(rng.uniform(0.0, MOST_TEXTURE))
        truth, _ = draw_object(rng, anatomy, block, voxel_mm, texture)
        top = float(np.percentile(truth, 99.5))
        if np.percentile(truth, 90) > np.percentile(truth, 5) and top > 0:
            break
    flat = anatomy.source.in_plane_only
    if not flat and rng.random() < THICK_SHARE:
        count = int(rng.integers(THICKNESS[0], THICKNESS[1] + 1))
        whole = truth.shape[0] // count * count
        truth, flat = truth[:whole].reshape(-1, count, *truth.shape[1:]).mean(axis=1), True
    truth = truth / np.float32(top * rng.uniform(*SCALE_JITTER))
    if rng.random() < MASKED_SHARE:
        truth = np.where(truth <= AIR, 0.0, truth)
    return CleanBlock(np.maximum(truth, 0.0).astype(np.float16), (0,) if flat else (0, 1, 2), sample_gain(rng))


def draw_real_block(rng: np.random.Generator, scans: Sequence[PreparedScan], block: int) -> CleanBlock:
    """Draw a block of a prepared pair: the good scan and the real one of lower quality."""
    sample = draw_prepared(rng, scans, block)
    good, bad = (part.astype(np.float16) for part in (sample.target, sample.image))
    return CleanBlock(good, (0,), None, bad)


def cut_pair(
    rng: np.random.Generator, block: CleanBlock, kind: str, size: int, level: float | None = None
) -> LatentPair:
    """Cut a patch of a plane and degrade it.

    Parameters
    ----------
    rng : numpy Generator
        The pair is a function of its state.
    block : CleanBlock
    kind : {'noise', 'blur'}
    size : int
        Edge P of the patch.
    level : float, optional
        Drawn if omitted; of real pairs it is measured.
    """
    axis = int(rng.choice(block.stack_axes))
    index = int(rng.integers(block.planes.shape[axis]))
    plane = np.take(block.planes, index, axis).astype(np.float32)
    start = [int(rng.integers(max(n - size, 0) + 1)) for n in plane.shape]
    turned = bool(rng.random() < 0.5)
    if block.degraded is not None:
        window = tuple(slice(s, s + size) for s in start)
        pair = _real_pair(plane[window], np.take(block.degraded, index, axis).astype(np.float32)[window], kind)
        return _turned(pair) if turned else pair
    if turned:
        plane, start = np.ascontiguousarray(plane.T), start[::-1]
    if rng.random() < 0.5:
        plane, start = plane[::-1], [max(plane.shape[0] - size, 0) - start[0], start[1]]
    level = float(rng.uniform(LEAST_LEVEL, 1.0)) if level is None else level
    low = [max(s - MARGIN, 0) for s in start]
    wide = plane[tuple(slice(a, s + size + MARGIN) for a, s in zip(low, start, strict=True))]
    inner = tuple(slice(s - a, s - a + size) for a, s in zip(low, start, strict=True))
    gain = _gain_patch(rng, block.gain, (wide.shape[0], wide.shape[1]))
    degraded, acquisition = degrade_plane(rng, np.ascontiguousarray(wide), kind, level, gain)
    unit = residual_unit(wide[None], kind, level, SCALES[kind])[0]
    led = guide(wide[None], kind, level)[0]
    return _pair(wide[inner], degraded[inner], unit[inner], led[inner], gain[inner], level, acquisition)


def degrade_plane(
    rng: np.random.Generator, plane: np.ndarray, kind: str, level: float, gain: np.ndarray
) -> tuple[np.ndarray, Acquisition]:
    """Degrade a normalised plane with the simulator; return it, float32, and how it was measured.

    Parameters
    ----------
    rng : numpy Generator
    plane : ndarray, shape (A, B), float32
        Not negative.
    kind : {'noise', 'blur'}
    level : float
    gain : ndarray, shape (A, B)
        Relative deviation of the noise.
    """
    if kind == NOISE:
        window = sample_window(rng)
        noisy = noisy_plane(rng, plane, np.float32(SCALES[NOISE] * level) * gain, window)
        return noisy, noise_acquisition(window)
    profile, taper, unevenness = sample_point_spread(rng)
    rows, columns = plane_resolution(level, unevenness)
    blurred = np.abs(blur(plane[None], (1.0, rows, columns), profile, taper)[0])
    return np.asarray(blurred, np.float32), blur_acquisition(profile, taper, unevenness)


def _gain_patch(rng: np.random.Generator, gain: np.ndarray | None, shape: tuple[int, int]) -> np.ndarray:
    """Return the relative deviation of a patch that lies anywhere in a field of view, float32."""
    if gain is None:
        return np.ones(shape, np.float32)
    places = [np.array([rng.random()])]
    for size in shape:
        field = max(int(rng.integers(*FIELD_OF_VIEW)), size)
        first = int(rng.integers(field - size + 1))
        places.append((first + np.arange(size) + 0.5) / field)
    return interpolated(gain, places)[0]


def _real_pair(image: np.ndarray, degraded: np.ndarray, kind: str) -> LatentPair:
    """Return a pair of real planes; the level is that of which the residual would have its usual strength."""
    whole = residual_unit(image[None], kind, 1.0, SCALES[kind])[0]
    strength = float(np.std((degraded - image) / whole))
    level = float(np.clip(strength ** (1.0 / EXPONENTS[kind]), LEAST_LEVEL, 1.0))
    unit = residual_unit(image[None], kind, level, SCALES[kind])[0]
    unknown = Acquisition(0.0, 0.0, None, known=False)
    led = guide(image[None], kind, level)[0]
    return _pair(image, degraded, unit, led, np.ones(image.shape, np.float32), level, unknown)


def _pair(
    image: np.ndarray,
    degraded: np.ndarray,
    unit: np.ndarray,
    led: np.ndarray,
    gain: np.ndarray,
    level: float,
    acquisition: Acquisition,
) -> LatentPair:
    residual = (degraded - image) / unit
    parts = [np.array(part, np.float32) for part in (image, degraded, residual, led, gain)]
    return LatentPair(parts[0], parts[1], parts[2], parts[3], parts[4], level, acquisition)


def _turned(pair: LatentPair) -> LatentPair:
    parts = (pair.image, pair.degraded, pair.residual, pair.guide, pair.gain)
    image, degraded, residual, led, gain = (np.ascontiguousarray(part.T) for part in parts)
    return LatentPair(image, degraded, residual, led, gain, pair.level, pair.acquisition)


def autoencoder_planes(rng: np.random.Generator, block: CleanBlock, size: int) -> list[np.ndarray]:
    """Return planes that the autoencoder must carry: a good one, a noisy and a blurred one, and both residuals."""
    noisy, blurred = (cut_pair(rng, block, kind, size) for kind in (NOISE, BLUR))
    return [noisy.image, noisy.degraded, blurred.degraded, noisy.residual, blurred.residual]
