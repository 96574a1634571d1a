"""Validation of a specialist during training: fixed scans, aligned with their truth, of anatomy not trained on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from MRHarmonizationLib.degradations.coarse_matrix import CoarseMatrixParameters
from MRHarmonizationLib.degradations.noise_blur import NoiseBlurParameters
from MRHarmonizationLib.training.paired_samples import load_prepared
from MRHarmonizationLib.training.recipe import Recipe
from MRHarmonizationLib.training.restore_samples import RestoreSample
from MRHarmonizationLib.training.samples import load_sources
from MRHarmonizationLib.training.specialist_recipe import NOISE
from MRHarmonizationLib.training.specialist_samples import (
    coarse_sample,
    matched,
    noisy_sample,
    pair_sample,
    specialist_of,
)

#: Fixed degradations of each task.
NOISY = {f"noise_{level}": NoiseBlurParameters(noise_percent=level, seed=level) for level in (3, 6, 10)}
COARSE = {
    "half_matrix": CoarseMatrixParameters(taper=0.3, seed=1),
    "half_matrix_sharp": CoarseMatrixParameters(taper=0.0, seed=2),
}
#: Edge of the validated block of a pair in voxels, and its part that counts as head, of its brightest percentile.
PAIR_BLOCK, HEAD_SHARE = 96, 0.15


def specialist_cases(recipe: Recipe, data: Path) -> dict[str, tuple[RestoreSample, np.ndarray]]:
    """Return name → (sample, mask of the head), as :class:`RestoreValidationSet` holds them.

    Pairs that a user gave are validated on theirs; there are none where all subjects are trained on.
    """
    part = specialist_of(recipe).part
    if recipe.is_prepared:
        return _pair_cases(recipe, data, part)
    from MRHarmonizationLib.training.restore_validation import middle_block

    cases = {}
    names = [Path(f).name.split(".")[0] for s in recipe.validation for f in s.files]
    for name, anatomy in zip(names, load_sources(recipe.validation, data), strict=True):
        truth, mask = middle_block(anatomy)
        nothing = np.zeros(truth.shape, bool)
        if part == NOISE:
            for key, noisy in NOISY.items():
                cases[f"{name}/{key}"] = (noisy_sample(None, truth, truth, nothing, noisy, (0,)), mask)
        else:
            for key, coarse in COARSE.items():
                cases[f"{name}/{key}"] = (coarse_sample(None, truth, truth, nothing, coarse), mask)
    return cases


def _pair_cases(recipe: Recipe, data: Path, part: str) -> dict[str, tuple[RestoreSample, np.ndarray]]:
    cases = {}
    for source in recipe.validation:
        for folder in source.files:
            scan = matched(load_prepared(data / folder, source))
            sample = pair_sample(None, scan, np.median(scan.centres, axis=0), PAIR_BLOCK, part)
            sharp = sample.sharp.astype(np.float32)
            mask = sharp > HEAD_SHARE * float(np.percentile(sharp, 99))
            if mask.any():
                cases[Path(folder).name] = (sample, mask)
    return cases
