"""Noise and sharpness estimated from one image alone."""

from __future__ import annotations

import math

import numpy as np

from MRHarmonizationLib.metrics.base import MAD_OF_NORMAL, Outcome, Spacing, metric

#: Second-difference kernel; its product with itself along two axes is blind to planes and straight edges.
SECOND_DIFFERENCE = np.array([1.0, -2.0, 1.0])
#: High-pass filter of the Daubechies wavelet with two vanishing moments, of unit energy.
DAUBECHIES_2_HIGH_PASS = np.array([1 - 3**0.5, -(3 - 3**0.5), 3 + 3**0.5, -(1 + 3**0.5)]) / (4 * 2**0.5)
#: Gaussian standard deviation, mm, that keeps voxel noise out of the gradients.
GRADIENT_SIGMA_MM = 0.7
#: Share of the mask's steepest voxels that count as edges.
EDGE_SHARE = 0.1


@metric("noise", "% of range", "lower", needs_reference=False, uses_data_range=True)
def noise(image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing) -> Outcome:
    """Noise standard deviation, in percent of the image's own intensity range.

    Median absolute deviation of a two-axis second difference inside the mask, divided by the kernel's gain and the
    normal distribution's MAD. Taken in the three plane orientations; the largest is reported, because interpolation
    along a thick axis hides the noise of the other two. White noise is assumed: correlated noise is underestimated.

    Source: Immerkær, Comput. Vis. Image Underst. 64:300 (1996), doi 10.1006/cviu.1996.0060, with the median of
    Donoho, IEEE Trans. Inf. Theory 41:613 (1995), doi 10.1109/18.382009.
    """
    deviations = noise_deviations(image, mask)
    largest = max(deviations.values(), default=math.nan)
    return 100.0 * largest / data_range, {"deviation": largest, **deviations}


@metric("noise_wavelet", "% of range", "lower", needs_reference=False, uses_data_range=True, on_request=True)
def noise_wavelet(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Noise standard deviation from the finest diagonal wavelet coefficients, in percent of the intensity range.

    Median absolute coefficient of the Daubechies wavelet of order 2 (high-pass along two axes, every shift) inside the
    mask, divided by the normal distribution's MAD; in the three plane orientations, the largest reported, as for
    ``noise``. Structure raises it more, correlated noise lowers it less than ``noise``.

    Source: Donoho and Johnstone, Biometrika 81:425 (1994), doi 10.1093/biomet/81.3.425.
    """
    deviations = _plane_deviations(image, mask, DAUBECHIES_2_HIGH_PASS)
    largest = max(deviations.values(), default=math.nan)
    return 100.0 * largest / data_range, {"deviation": largest, **deviations}


def noise_deviations(image: np.ndarray, mask: np.ndarray) -> dict[str, float]:
    """Return the noise deviation estimated in each plane orientation; see :data:`noise`.

    Parameters
    ----------
    image : ndarray, float64, shape (K, J, I)
    mask : bool ndarray, shape (K, J, I)

    Returns
    -------
    dict of str to float
        Image units; without orientations in which an axis has fewer than three voxels.
    """
    return _plane_deviations(image, mask, SECOND_DIFFERENCE)


def _plane_deviations(image: np.ndarray, mask: np.ndarray, kernel: np.ndarray) -> dict[str, float]:
    """Return the robust deviation behind a zero-sum kernel applied along both axes of each plane orientation."""
    from scipy import ndimage

    gain = float(np.sum(kernel**2))  # of the two-axis kernel, on the deviation of white noise
    deviations: dict[str, float] = {}
    for name, axes in (("plane_ij", (2, 1)), ("plane_ik", (2, 0)), ("plane_jk", (1, 0))):
        if any(image.shape[axis] < kernel.size for axis in axes):
            continue
        filtered = image
        for axis in axes:
            filtered = ndimage.correlate1d(filtered, kernel, axis=axis, mode="reflect")
        deviations[name] = float(np.median(np.abs(filtered[mask]))) / (MAD_OF_NORMAL * gain)
    return deviations


@metric("sharpness", "1/mm", "higher", needs_reference=False, uses_data_range=True)
def sharpness(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Steepness of edges: mean gradient of the steepest tenth of the mask, in intensity ranges per mm.

    Gradients are those of the image smoothed by a Gaussian of .7 mm, which keeps voxel noise out. ``detail`` holds the
    root mean square along i, j and k at the same voxels: the along-slice one tells thick slices from thin.
    """
    from scipy import ndimage

    array_spacing = spacing[::-1]
    components = []
    for axis in range(3):
        if image.shape[axis] < 2:
            components.append(np.zeros_like(image))
            continue
        order = [1 if n == axis else 0 for n in range(3)]
        sigma = [GRADIENT_SIGMA_MM / s for s in array_spacing]
        components.append(ndimage.gaussian_filter(image, sigma, order=order, mode="nearest") / array_spacing[axis])
    squares = np.stack([component[mask] ** 2 for component in components])
    magnitude = np.sqrt(squares.sum(axis=0))
    steepest = magnitude >= np.quantile(magnitude, 1.0 - EDGE_SHARE)
    along_k, along_j, along_i = np.sqrt(squares[:, steepest].mean(axis=1)) / data_range
    detail = {"along_i": float(along_i), "along_j": float(along_j), "along_k": float(along_k)}
    return float(magnitude[steepest].mean()) / data_range, detail
