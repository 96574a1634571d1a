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
#: The map is computed in blocks of about this many voxels (some ten float64 arrays of that size live at once).
SSIM_BLOCK_VOXELS = 4_000_000


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

    Gaussian window, σ 1.5 voxels, cut at 3.5 σ (11 voxels); K1 .01, K2 .03. The map is that of the whole image and only
    then masked, so background neither flatters nor ruins the mean. It is computed block by block around the mask, with
    the window's radius as margin: the same values in bounded memory.

    Source: Wang et al., IEEE Trans. Image Process. 13:600 (2004), doi 10.1109/TIP.2003.819861; computed by
    ``skimage.metrics.structural_similarity``.
    """
    radius = SSIM_RADIUS_VOXELS
    slices, rows, columns = _bounding_box(mask)
    grown = tuple(slice(max(0, part.start - radius), part.stop + radius) for part in (rows, columns))
    step = max(1, SSIM_BLOCK_VOXELS // mask[0][grown].size)
    total = 0.0
    for start in range(slices.start, slices.stop, step):
        stop = min(start + step, slices.stop)
        first = max(0, start - radius)
        block = (slice(first, stop + radius), *grown)
        similarity = _ssim_map(image[block], reference[block], data_range)
        inside = mask[(slice(start, stop), *grown)]
        total += float(similarity[start - first : stop - first][inside].sum())
    return total / np.count_nonzero(mask), {"window": "gaussian", "sigma_voxels": SSIM_SIGMA_VOXELS}


def _ssim_map(image: np.ndarray, reference: np.ndarray, data_range: float) -> np.ndarray:
    """Return the SSIM map of a block, mirrored at its ends (scikit-image's own rule) however short it is."""
    from skimage.metrics import structural_similarity

    # scikit-image refuses axes shorter than its window; lengthened by mirroring, they give the same values.
    pads = [(SSIM_RADIUS_VOXELS,) * 2 if n < 2 * SSIM_RADIUS_VOXELS + 1 else (0, 0) for n in image.shape]
    _, similarity = structural_similarity(
        np.pad(image, pads, mode="symmetric"),
        np.pad(reference, pads, mode="symmetric"),
        data_range=data_range,
        gaussian_weights=True,
        sigma=SSIM_SIGMA_VOXELS,
        use_sample_covariance=False,
        full=True,
    )
    inner = tuple(slice(a, n - b) for (a, b), n in zip(pads, similarity.shape, strict=True))
    return np.asarray(similarity[inner])


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


def _bounding_box(mask: np.ndarray) -> tuple[slice, slice, slice]:
    """Return the slices of a mask's bounding box; the mask is not empty."""
    ends = []
    for axis in range(3):
        places = np.flatnonzero(mask.any(axis=tuple(n for n in range(3) if n != axis)))
        ends.append(slice(int(places[0]), int(places[-1]) + 1))
    return ends[0], ends[1], ends[2]
