"""Locally smooth changes of contrast: what a few numbers per 8 mm of space can do to an image, and nothing more.

The image is split into bands of detail, recombined with weights that vary smoothly in space, and passed through a tone
curve that varies smoothly in space. Every voxel's new value depends on its own bands alone: no structure can appear
that the image does not hold, and borders stay where they are.

Source: the idea of coefficients on a coarse grid is that of Gharbi et al., Deep Bilateral Learning, ACM Trans. Graph.
36:118 (2017), doi 10.1145/3072959.3073592.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError

#: Standard deviations, mm, of the Gaussians between which the bands lie; the last band is what is smoother.
BAND_SIGMAS_MM = (1.0, 2.0, 4.0, 8.0)
BANDS = len(BAND_SIGMAS_MM) + 1
#: Knots of the tone curves: equally spaced intensities from 0 to the last; beyond it the last slope goes on.
KNOTS, LAST_KNOT = 13, 1.5
COEFFICIENTS = BANDS + KNOTS
#: Spacing of the grid of coefficients, and of the image of features that a network sees, mm.
GRID_MM, FEATURE_MM = 8.0, 4.0
#: Centres of the soft histogram's bins; features beside it: mean, deviation.
BIN_CENTRES = tuple(float(c) for c in np.linspace(0.0, 1.4, 8))
FEATURES = len(BIN_CENTRES) + 2


def detail_bands(array: np.ndarray, spacing_kji_mm: Sequence[float]) -> list[np.ndarray]:
    """Split an image into bands of detail whose sum it is, the finest first.

    Parameters
    ----------
    array : ndarray, shape (K, J, I), real
    spacing_kji_mm : three floats

    Returns
    -------
    list of five float32 ndarrays, shape (K, J, I)
    """
    from scipy.ndimage import gaussian_filter

    bands = []
    rest = array.astype(np.float32)
    reached = 0.0
    for sigma in BAND_SIGMAS_MM:
        further = float(np.sqrt(sigma**2 - reached**2))  # a Gaussian of a Gaussian
        widths = [further / float(s) if n > 1 else 0.0 for s, n in zip(spacing_kji_mm, rest.shape, strict=True)]
        smooth = gaussian_filter(rest, widths, mode="nearest", truncate=3.0)
        bands.append(rest - smooth)
        rest, reached = smooth, sigma
    return [*bands, rest]


def local_features(array: np.ndarray) -> np.ndarray:
    """Describe an image block by block: a soft histogram, the mean and the deviation.

    Parameters
    ----------
    array : ndarray, shape (2K, 2J, 2I)
        Normalised intensities (0 air, about 1 the brightest tissue) at half of :data:`FEATURE_MM`; even sizes.

    Returns
    -------
    float32 ndarray, shape (FEATURES, K, J, I)

    Raises
    ------
    ParameterError
        An odd size.
    """
    if any(n % 2 for n in array.shape):
        raise ParameterError(f"image of shape {array.shape}", "pad it to even sizes")
    k, j, i = (n // 2 for n in array.shape)
    cells = np.ascontiguousarray(array.reshape(k, 2, j, 2, i, 2).transpose(1, 3, 5, 0, 2, 4), np.float32)
    cells = cells.reshape(8, k, j, i)
    step = np.float32(BIN_CENTRES[1] - BIN_CENTRES[0])
    features = np.empty((FEATURES, k, j, i), np.float32)
    clipped = np.clip(cells, BIN_CENTRES[0], BIN_CENTRES[-1])
    for n, centre in enumerate(BIN_CENTRES):
        features[n] = np.maximum(1.0 - np.abs(clipped - np.float32(centre)) / step, 0.0).mean(axis=0)
    features[-2] = clipped.mean(axis=0)
    features[-1] = 4.0 * clipped.std(axis=0)
    return features


def identity_coefficients(shape: Sequence[int]) -> np.ndarray:
    """Return the coefficients that change nothing, float32, shape (COEFFICIENTS, k, j, i)."""
    ones = np.concatenate([np.ones(BANDS), np.linspace(0.0, LAST_KNOT, KNOTS)]).astype(np.float32)
    return np.broadcast_to(ones[:, None, None, None], (COEFFICIENTS, *shape)).copy()


def apply_coefficients(bands: Sequence[np.ndarray], coefficients: Sequence[np.ndarray]) -> np.ndarray:
    """Recombine bands and apply the tone curve, voxel by voxel.

    Parameters
    ----------
    bands : sequence of ndarrays
        Of :func:`detail_bands`, one shape.
    coefficients : sequence of :data:`COEFFICIENTS` float32 ndarrays
        At every voxel: weights of the bands, then the curve's values at its knots.

    Returns
    -------
    float32 ndarray, the shape of a band
    """
    mixed = bands[0] * coefficients[0]
    for band, weight in zip(bands[1:], coefficients[1:BANDS], strict=True):
        mixed += band * weight
    place = mixed * np.float32((KNOTS - 1) / LAST_KNOT)
    lower = np.clip(np.floor(place), 0, KNOTS - 2).astype(np.int8)
    share = place - lower
    result = np.zeros(mixed.shape, np.float32)
    for knot in range(KNOTS - 1):
        chosen = lower == knot
        if chosen.any():
            low, high = coefficients[BANDS + knot][chosen], coefficients[BANDS + knot + 1][chosen]
            result[chosen] = low + share[chosen] * (high - low)
    return result
