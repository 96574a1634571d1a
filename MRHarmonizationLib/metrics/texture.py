"""Texture of one image: four features of its grey-level co-occurrence, for numbers before and after."""

from __future__ import annotations

import math

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.texture import TextureSettings, glcm_texture
from MRHarmonizationLib.metrics.base import Outcome, Spacing, metric

#: One step in each of the 13 directions; 32 levels between each image's own percentiles inside the mask, so that the
#: scale of the intensities plays no part.
SETTINGS = TextureSettings()


@metric("glcm_contrast", "levels²", "none", needs_reference=False)
def glcm_contrast(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Mean squared difference of grey level between neighbouring voxels; noise and edges raise it, blur lowers it.

    Masked, 32 levels between the image's .5 and 99.5 % percentiles in the mask, mean over the directions of which the
    mask holds pairs (13 in a volume). NaN, with the reason in ``detail``, where the mask holds no two neighbours.

    Source: IBSI reference manual, arXiv:1612.07003, code ACUI.
    """
    return _feature("contrast", image, mask, spacing)


@metric("glcm_homogeneity", "1", "none", needs_reference=False)
def glcm_homogeneity(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Inverse difference moment of neighbouring voxels, 1 / (1 + d²): 1 where neighbours are equal; blur raises it.

    Levels, directions and exceptions are those of ``glcm_contrast``.

    Source: IBSI reference manual, arXiv:1612.07003, code WF0Z.
    """
    return _feature("homogeneity", image, mask, spacing)


@metric("glcm_correlation", "1", "none", needs_reference=False)
def glcm_correlation(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Correlation of the grey levels of neighbouring voxels: near 1 in smooth images, near 0 in white noise.

    Levels, directions and exceptions are those of ``glcm_contrast``; 1 for a constant image.

    Source: IBSI reference manual, arXiv:1612.07003, code NI2N.
    """
    return _feature("correlation", image, mask, spacing)


@metric("glcm_entropy", "bit", "none", needs_reference=False)
def glcm_entropy(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Joint entropy of the grey levels of neighbouring voxels, at most 10 bits: how unpredictable pairs are.

    Levels, directions and exceptions are those of ``glcm_contrast``.

    Source: IBSI reference manual, arXiv:1612.07003, code TU9B.
    """
    return _feature("joint_entropy", image, mask, spacing)


def _feature(name: str, image: np.ndarray, mask: np.ndarray, spacing: Spacing) -> Outcome:
    try:
        result = glcm_texture(image, mask, SETTINGS, spacing)
    except InputError as error:  # what is left after the checks every metric makes: no pairs, or no spread of values
        return math.nan, {"why": error.problem}
    lengths = [offset.length_mm for offset in result.offsets if offset.length_mm is not None]
    detail = {
        "merged": result.merged[name],
        "directions": len(result.offsets),
        "grey_levels": result.n_levels,
        "bin_width": float(result.edges[1] - result.edges[0]),
        "distance_voxels": 1,
        "shortest_mm": round(min(lengths), 3),
        "longest_mm": round(max(lengths), 3),
    }
    return result.features[name], detail | ({"notes": list(result.notes)} if result.notes else {})
