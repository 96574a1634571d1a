"""Similarity to a reference image, inside a mask and on a fixed data range."""

from __future__ import annotations

import math

import numpy as np

from MRHarmonizationLib.metrics.base import Outcome, Spacing, metric

#: Standard deviation in voxels of the SSIM window, as in the original paper.
SSIM_SIGMA_VOXELS = 1.5
#: Gaussian cut-off of scikit-image's SSIM, in standard deviations.
SSIM_TRUNCATE = 3.5
SSIM_RADIUS_VOXELS = int(SSIM_TRUNCATE * SSIM_SIGMA_VOXELS + 0.5)


@metric("psnr", "dB", "higher", perfect=math.inf, uses_data_range=True)
def psnr(image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing) -> Outcome:
    """Peak signal-to-noise ratio, 10·log10(range² / mean squared error inside the mask), in dB."""
    error = float(np.mean((image[mask] - reference[mask]) ** 2))
    value = math.inf if error == 0 else 10.0 * math.log10(data_range**2 / error)
    return value, {"mean_squared_error": error}


@metric("nrmse", "1", "lower", perfect=0.0, uses_data_range=True)
def nrmse(image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing) -> Outcome:
    """Root mean squared error inside the mask, divided by the data range."""
    return math.sqrt(float(np.mean((image[mask] - reference[mask]) ** 2))) / data_range, {}


@metric("mae", "1", "lower", perfect=0.0, uses_data_range=True)
def mae(image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing) -> Outcome:
    """Mean absolute error inside the mask, divided by the data range."""
    error = float(np.mean(np.abs(image[mask] - reference[mask])))
    return error / data_range, {"mean_absolute_error": error}


@metric("ssim", "1", "higher", perfect=1.0, uses_data_range=True)
def ssim(image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing) -> Outcome:
    """Structural similarity: mean over the mask of the three-dimensional SSIM map.

    Gaussian window, σ 1.5 voxels, cut at 3.5 σ (11 voxels); K1 .01, K2 .03. The map is that of the whole image
    (computed in the mask's bounding box with the window's radius around it, which gives the same values) and only then
    masked, so background neither flatters nor ruins the mean.

    Source: Wang et al., IEEE Trans. Image Process. 13:600 (2004), doi 10.1109/TIP.2003.819861; computed by
    ``skimage.metrics.structural_similarity``.
    """
    from skimage.metrics import structural_similarity

    box = _box_around(mask, SSIM_RADIUS_VOXELS)
    window = 2 * SSIM_RADIUS_VOXELS + 1
    # scikit-image refuses axes shorter than its window; mirrored ends, its own boundary rule, lengthen them.
    pads = [(SSIM_RADIUS_VOXELS, SSIM_RADIUS_VOXELS) if n < window else (0, 0) for n in mask[box].shape]
    _, similarity = structural_similarity(
        np.pad(image[box], pads, mode="symmetric"),
        np.pad(reference[box], pads, mode="symmetric"),
        data_range=data_range,
        gaussian_weights=True,
        sigma=SSIM_SIGMA_VOXELS,
        use_sample_covariance=False,
        full=True,
    )
    similarity = similarity[tuple(slice(a, similarity.shape[n] - b) for n, (a, b) in enumerate(pads))]
    return float(np.mean(similarity[mask[box]])), {"window": "gaussian", "sigma_voxels": SSIM_SIGMA_VOXELS}


@metric("correlation", "1", "higher", perfect=1.0)
def correlation(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Pearson correlation of the intensities inside the mask; 0 where one of them is constant."""
    a, b = image[mask] - image[mask].mean(), reference[mask] - reference[mask].mean()
    norm = math.sqrt(float(np.dot(a, a)) * float(np.dot(b, b)))
    return (float(np.dot(a, b)) / norm if norm > 0 else 0.0), {}


@metric("histogram_distance", "1", "lower", perfect=0.0, uses_data_range=True)
def histogram_distance(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Earth mover's (first Wasserstein) distance of the two intensity distributions, divided by the data range.

    The mean absolute difference of sorted intensities inside the mask: the average shift, in parts of the range, that
    turns one histogram into the other.
    """
    shift = float(np.mean(np.abs(np.sort(image[mask]) - np.sort(reference[mask]))))
    return shift / data_range, {}


def _box_around(mask: np.ndarray, margin: int) -> tuple[slice, ...]:
    """Return the slices of the mask's bounding box, grown by a margin and cut at the image."""
    box = []
    for axis in range(mask.ndim):
        others = tuple(n for n in range(mask.ndim) if n != axis)
        places = np.flatnonzero(mask.any(axis=others))
        box.append(slice(max(0, int(places[0]) - margin), min(mask.shape[axis], int(places[-1]) + margin + 1)))
    return tuple(box)
