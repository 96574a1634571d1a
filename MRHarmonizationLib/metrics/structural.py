"""Structural similarity to a reference: three- and two-dimensional, Gaussian and uniform window, multi-scale."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from MRHarmonizationLib.metrics.base import Outcome, Spacing, metric

#: Standard deviation in voxels of the Gaussian window, as in the original paper.
SSIM_SIGMA_VOXELS = 1.5
#: Gaussian cut-off of scikit-image's SSIM, in standard deviations.
SSIM_TRUNCATE = 3.5
SSIM_RADIUS_VOXELS = int(SSIM_TRUNCATE * SSIM_SIGMA_VOXELS + 0.5)
#: Width in voxels of the uniform window, scikit-image's default.
UNIFORM_WIDTH_VOXELS = 7
#: The map is computed in blocks of about this many voxels (some ten float64 arrays of that size live at once).
SSIM_BLOCK_VOXELS = 4_000_000
#: Constants of the original paper: shares of the data range that steady the two ratios.
K1, K2 = 0.01, 0.03
#: Weight of each scale in MS-SSIM, finest first.
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)

_GAUSSIAN = {"gaussian_weights": True, "sigma": SSIM_SIGMA_VOXELS, "use_sample_covariance": False}
_UNIFORM = {"win_size": UNIFORM_WIDTH_VOXELS}


@metric("ssim", "1", "higher", perfect=1.0, uses_data_range=True)
def ssim(image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing) -> Outcome:
    """Structural similarity: mean over the mask of the three-dimensional SSIM map.

    Gaussian window, σ 1.5 voxels, cut at 3.5 σ (11 voxels); K1 .01, K2 .03. The map is that of the whole image and only
    then masked, so background neither flatters nor ruins the mean. It is computed block by block around the mask, with
    the window's radius as margin: the same values in bounded memory.

    Source: Wang et al., IEEE Trans. Image Process. 13:600 (2004), doi 10.1109/TIP.2003.819861; computed by
    ``skimage.metrics.structural_similarity``.
    """
    value = _mean_over_mask(image, reference, mask, data_range, SSIM_RADIUS_VOXELS, _GAUSSIAN)
    return value, {"window": "gaussian", "sigma_voxels": SSIM_SIGMA_VOXELS}


@metric("ssim_uniform", "1", "higher", perfect=1.0, uses_data_range=True, on_request=True)
def ssim_uniform(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Structural similarity with a uniform window of 7 x 7 x 7 voxels, otherwise as ``ssim``.

    For comparison with studies that used scikit-image's defaults (sample covariance). Noisier than with the Gaussian
    window; the two must not be compared with one another.

    Source: as ``ssim``.
    """
    value = _mean_over_mask(image, reference, mask, data_range, UNIFORM_WIDTH_VOXELS // 2, _UNIFORM)
    return value, {"window": "uniform", "width_voxels": UNIFORM_WIDTH_VOXELS}


@metric("ssim_2d", "1", "higher", perfect=1.0, uses_data_range=True, on_request=True)
def ssim_2d(image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing) -> Outcome:
    """Structural similarity of each slice (i, j plane) by itself, mean over the mask's voxels of all slices.

    Gaussian window of 11 x 11 voxels, as most published numbers. Blind to jumps between slices.

    Source: as ``ssim``.
    """
    total = 0.0
    _, rows, columns = _bounding_box(mask)
    radius = SSIM_RADIUS_VOXELS
    part = tuple(slice(max(0, side.start - radius), side.stop + radius) for side in (rows, columns))
    for number in np.flatnonzero(mask.any(axis=(1, 2))):
        similarity = _ssim_map(image[number][part], reference[number][part], data_range, radius, _GAUSSIAN)
        total += float(similarity[mask[number][part]].sum())
    detail = {"window": "gaussian", "sigma_voxels": SSIM_SIGMA_VOXELS, "plane": "ij"}
    return total / np.count_nonzero(mask), detail


@metric("ms_ssim", "1", "higher", perfect=1.0, uses_data_range=True, on_request=True)
def ms_ssim(image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing) -> Outcome:
    """Multi-scale structural similarity inside the bounding box of the mask, three-dimensional.

    Contrast and structure are compared at five scales, each half as fine (means of 2 x 2 x 2 voxels), luminance at the
    coarsest, and multiplied with the weights of the paper. Gaussian window as for ``ssim``. As in the paper windows
    that reach beyond the box are left out. Axes shorter than 22 voxels are not halved further; where no axis can be,
    the remaining scales are dropped and the weights renormalised. Means are over the mask (at coarser scales: voxels
    at least half inside). ``detail`` has the mean of every scale.

    Source: Wang et al., Asilomar Conf. Signals Syst. Comput. 2003, doi 10.1109/ACSSC.2003.1292216.
    """
    box = _bounding_box(mask)
    first, second, inside = image[box], reference[box], mask[box]
    width = 2 * SSIM_RADIUS_VOXELS + 1
    contrasts: list[float] = []
    similarities: list[float] = []
    while True:
        similarity, contrast = _similarity_terms(first, second, data_range)
        counted = inside & _whole_windows(inside.shape)
        counted = counted if counted.any() else inside
        similarities.append(float(similarity[counted].mean()))
        contrasts.append(float(contrast[counted].mean()))
        axes = [axis for axis in range(3) if inside.shape[axis] >= 2 * width]
        if len(contrasts) == len(SCALE_WEIGHTS) or not axes:
            break
        coarse = _halved(inside.astype(np.float64), axes) >= 0.5
        if not coarse.any():
            break
        first, second, inside = _halved(first, axes), _halved(second, axes), coarse
    scales = len(contrasts)
    weights = np.array(SCALE_WEIGHTS[:scales]) / sum(SCALE_WEIGHTS[:scales])
    terms = [*contrasts[:-1], similarities[-1]]
    # A negative mean has no real power; it counts as no similarity at all.
    value = math.prod(max(term, 0.0) ** float(weight) for term, weight in zip(terms, weights, strict=True))
    return value, {"window": "gaussian", "sigma_voxels": SSIM_SIGMA_VOXELS, "scales": scales, "terms": terms}


def _mean_over_mask(
    image: np.ndarray,
    reference: np.ndarray,
    mask: np.ndarray,
    data_range: float,
    radius: int,
    window: dict[str, Any],
) -> float:
    """Return the mean over the mask of the whole image's SSIM map, computed block by block."""
    slices, rows, columns = _bounding_box(mask)
    grown = tuple(slice(max(0, part.start - radius), part.stop + radius) for part in (rows, columns))
    step = max(1, SSIM_BLOCK_VOXELS // mask[0][grown].size)
    total = 0.0
    for start in range(slices.start, slices.stop, step):
        stop = min(start + step, slices.stop)
        first = max(0, start - radius)
        block = (slice(first, stop + radius), *grown)
        similarity = _ssim_map(image[block], reference[block], data_range, radius, window)
        inside = mask[(slice(start, stop), *grown)]
        total += float(similarity[start - first : stop - first][inside].sum())
    return total / np.count_nonzero(mask)


def _ssim_map(
    image: np.ndarray, reference: np.ndarray, data_range: float, radius: int, window: dict[str, Any]
) -> np.ndarray:
    """Return the SSIM map of a block, mirrored at its ends (scikit-image's own rule) however short it is."""
    from skimage.metrics import structural_similarity

    # scikit-image refuses axes shorter than its window; lengthened by mirroring, they give the same values.
    pads = [(radius,) * 2 if n < 2 * radius + 1 else (0, 0) for n in image.shape]
    _, similarity = structural_similarity(
        np.pad(image, pads, mode="symmetric"),
        np.pad(reference, pads, mode="symmetric"),
        data_range=data_range,
        full=True,
        K1=K1,
        K2=K2,
        **window,
    )
    inner = tuple(slice(a, n - b) for (a, b), n in zip(pads, similarity.shape, strict=True))
    return np.asarray(similarity[inner])


def _similarity_terms(image: np.ndarray, reference: np.ndarray, data_range: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the maps of the whole SSIM and of its contrast-and-structure term."""
    from scipy import ndimage

    sigma = [SSIM_SIGMA_VOXELS if n > 1 else 0.0 for n in image.shape]

    def smooth(array: np.ndarray) -> np.ndarray:
        return np.asarray(ndimage.gaussian_filter(array, sigma, truncate=SSIM_TRUNCATE))

    mean_a, mean_b = smooth(image), smooth(reference)
    products = mean_a * mean_b
    squares = mean_a**2 + mean_b**2
    steady = (K2 * data_range) ** 2
    contrast = 2.0 * (smooth(image * reference) - products) + steady
    contrast /= smooth(image**2 + reference**2) - squares + steady
    steady = (K1 * data_range) ** 2
    return contrast * (2.0 * products + steady) / (squares + steady), contrast


def _whole_windows(shape: tuple[int, ...]) -> np.ndarray:
    """Return where the window lies inside an array of this shape; axes shorter than it do not count."""
    radius = SSIM_RADIUS_VOXELS
    inner = np.zeros(shape, bool)
    inner[tuple(slice(radius, n - radius) if n > 2 * radius else slice(None) for n in shape)] = True
    return inner


def _halved(array: np.ndarray, axes: list[int]) -> np.ndarray:
    """Return means of pairs of voxels along axes; a last odd voxel is dropped."""
    for axis in axes:
        even = np.moveaxis(array, axis, 0)
        pairs = even.shape[0] // 2
        array = np.moveaxis(0.5 * (even[0 : 2 * pairs : 2] + even[1 : 2 * pairs : 2]), 0, axis)
    return array


def _bounding_box(mask: np.ndarray) -> tuple[slice, slice, slice]:
    """Return the slices of a mask's bounding box; the mask is not empty."""
    ends = []
    for axis in range(3):
        places = np.flatnonzero(mask.any(axis=tuple(n for n in range(3) if n != axis)))
        ends.append(slice(int(places[0]), int(places[-1]) + 1))
    return ends[0], ends[1], ends[2]
