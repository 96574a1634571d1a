"""Teaching the gain: from a scan's contrast in numbers to the tone that makes it canonical, by ridge regression."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter

from MRHarmonizationLib.core.diffusion_tone import (
    BRIGHTNESS,
    DIFFUSIVITY,
    FEATURES,
    LEAST_BRIGHTNESS,
    TERMS,
    ScanContrast,
    measure_contrast,
    tone_terms,
)
from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.training.dwi_samples import REST, DwiSample

#: How much the judged volumes count: b = 0, and weighted ones, which are darker.
VOLUME_WEIGHTS = np.array([1.0, 2.0, 2.0], np.float32)
#: Ridge relative to the mean of the diagonal.
RIDGE = 1e-3
#: Every other voxel is used for fits: an eighth, which tells as much.
EVERY_OTHER = (slice(None, None, 2),) * 3
#: Largest ratio that is taken for a gain, and deviation of the smooth shading, in every other voxel.
LARGEST_RATIO, SHADING_SIGMA = 10.0, 6.0
#: Brightness squared at which a voxel counts half.
HALF_WEIGHT = 1.0
#: Features beyond what was seen are clipped to it, widened by this share of their range.
WIDENED = 0.1


def wanted_gain(sample: DwiSample) -> tuple[np.ndarray, np.ndarray]:
    """Return the log gain that makes the judged volumes canonical, voxel by voxel, and how far it can be trusted.

    Parameters
    ----------
    sample : DwiSample

    Returns
    -------
    log_gain, trust : float32 ndarrays, shape (K, J, I)
    """
    weights = VOLUME_WEIGHTS[:, None, None, None]
    volumes, contrast = sample.volumes.astype(np.float32), sample.contrast.astype(np.float32)
    power = (weights * volumes * volumes).sum(axis=0)
    ratio = (weights * volumes * contrast).sum(axis=0) / np.maximum(power, 1e-3)
    bright = (sample.weight.astype(np.float32) > 0.5 * (1.0 + REST)) & (sample.guide[0] > LEAST_BRIGHTNESS)
    log_gain = np.log(np.clip(ratio, 1.0 / LARGEST_RATIO, LARGEST_RATIO))
    return log_gain.astype(np.float32), (bright * power / (power + HALF_WEIGHT)).astype(np.float32)


def contrast_of(sample: DwiSample) -> ScanContrast:
    """Describe a sample as a scan is described; raises InputError where a tissue is missing."""
    part = (..., *EVERY_OTHER)
    guide = sample.guide[part].astype(np.float32)
    slice_mm, pixel_mm = (float(v) for v in sample.spacing)
    brain = sample.weight[part] > 0.5 * (1.0 + REST)
    return measure_contrast(guide[0], guide[1], sample.white[part], sample.grey[part], brain, slice_mm, pixel_mm)


def fit_tone(samples: Iterable[DwiSample], ridge: float = RIDGE) -> dict[str, Any]:
    """Learn the tone.

    Parameters
    ----------
    samples : iterable of DwiSample
        Taken one after the other; those that lack a tissue are left out.
    ridge : float

    Returns
    -------
    dict
        ``features``, their ``mean``, ``deviation``, ``lowest``, ``highest``; ``matrix`` (1 + features, TERMS).

    Raises
    ------
    InputError
        Fewer usable samples than features.
    """
    rows, grams, sides = [], [], []
    for sample in samples:
        try:
            contrast = contrast_of(sample)
        except InputError:
            continue
        log_gain, trust = (image[EVERY_OTHER] for image in wanted_gain(sample))
        gain = log_gain + contrast.shading + math.log(contrast.white)
        level = float(np.median(sample.contrast[0][EVERY_OTHER][sample.white[EVERY_OTHER]].astype(np.float32)))
        where = contrast.brain
        terms, share = contrast.terms[:, where].astype(float), trust[where].astype(float)
        total = share.sum()
        grams.append((terms * share) @ terms.T / total)
        sides.append((terms * share) @ (gain[where] - math.log(level)).astype(float) / total)
        rows.append(contrast.features)
    if len(rows) <= len(FEATURES):
        raise InputError(f"{len(rows)} samples for {len(FEATURES)} features", "draw more samples")
    features = np.array(rows)
    mean, deviation = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
    inputs = np.concatenate([np.ones((len(rows), 1)), (features - mean) / deviation], axis=1)
    size = inputs.shape[1] * TERMS
    normal, right = np.zeros((size, size)), np.zeros(size)
    for row, gram, side in zip(inputs, grams, sides, strict=True):
        normal += np.kron(np.outer(row, row), gram)
        right += np.kron(row, side)
    held = np.r_[np.zeros(TERMS), np.ones(size - TERMS)] * np.mean(np.diag(normal)) * ridge
    matrix = np.linalg.solve(normal + np.diag(held), right).reshape(inputs.shape[1], TERMS)
    low, high = features.min(axis=0), features.max(axis=0)
    return {
        "features": list(FEATURES),
        "mean": _rounded(mean),
        "deviation": _rounded(deviation),
        "lowest": _rounded(low - WIDENED * (high - low)),
        "highest": _rounded(high + WIDENED * (high - low)),
        "matrix": [_rounded(row) for row in matrix],
        "samples": len(rows),
    }


def tone_error(sample: DwiSample, log_gain: np.ndarray) -> float:
    """Return the mean error of a log gain, trusted voxels, every other one; white matter of both aside."""
    wanted, trust = (image[EVERY_OTHER] for image in wanted_gain(sample))
    difference = wanted - log_gain
    middle = float(np.median(difference[sample.white[EVERY_OTHER]]))
    return float((trust * np.abs(difference - middle)).sum() / trust.sum())


def known_gain(sample: DwiSample) -> np.ndarray:
    """Return the gain that is known in training: the best tone and a smooth shading, without the scan's noise.

    Parameters
    ----------
    sample : DwiSample

    Returns
    -------
    float32 ndarray, shape (K, J, I)
    """
    wanted, trust = wanted_gain(sample)
    guide = sample.guide.astype(np.float32)
    bright = np.clip(np.log(np.maximum(guide[0], 1e-3)), *BRIGHTNESS)
    attenuation = white_attenuation(sample)
    dark = np.maximum(np.log(np.maximum(guide[1], 1e-3)), attenuation - 2.5)
    terms = tone_terms(bright, np.clip((bright - dark) / -attenuation - 1.0, *DIFFUSIVITY))
    part = (..., *EVERY_OTHER)
    small, aim, share = terms[part], wanted[EVERY_OTHER], trust[EVERY_OTHER]
    where = share > 0
    root = np.sqrt(share[where])
    shading, coefficients = np.zeros_like(aim), np.zeros(TERMS)
    spread = np.maximum(gaussian_filter(share, SHADING_SIGMA), 1e-3)
    for _ in range(5):
        left = small[:, where].T * root[:, None]
        coefficients = np.linalg.lstsq(left, (aim - shading)[where] * root, rcond=None)[0]
        rest = np.clip(aim - np.tensordot(coefficients, small, (0, 0)), -0.7, 0.7) * share
        shading = gaussian_filter(rest, SHADING_SIGMA) / spread
    whole = shading
    for axis in range(3):
        whole = np.repeat(whole, 2, axis=axis)
    whole = whole[tuple(slice(n) for n in wanted.shape)]
    return np.exp(np.clip(np.tensordot(coefficients, terms, (0, 0)) + whole, -1.5, 1.5)).astype(np.float32)


def white_attenuation(sample: DwiSample) -> float:
    """Return log mean weighted by mean b = 0 signal in white matter."""
    if not sample.white.any():
        return -0.8
    weighted = float(np.median(sample.guide[1][sample.white].astype(np.float32)))
    return min(math.log(max(weighted, 1e-3)), -0.05)


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{float(v):.6g}") for v in values]
