"""Likeness of two images without a common intensity scale: joint and single histograms."""

from __future__ import annotations

import math

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.metrics.base import RANGE_PERCENTILES, Outcome, Spacing, metric

#: Bins along each axis of a joint histogram; more would leave bins of a few voxels at the size of a head.
JOINT_BINS = 64
#: Bins of a single histogram: 64 across the data range and half as many to either side.
HISTOGRAM_BINS, BINS_PER_RANGE = 128, 64


@metric("mutual_information", "bit", "higher")
def mutual_information(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Bits that the image's intensity tells about the reference's at the same voxel; blind to any change of contrast.

    Joint histogram of 64 x 64 bins inside the mask, each image between its own .5 and 99.5 % percentiles (values
    beyond in the end bins). An image compared with itself reaches its entropy; 0 = unrelated. Few voxels bias it
    upwards.

    Source: Maes et al., IEEE Trans. Med. Imaging 16:187 (1997), doi 10.1109/42.563664.
    """
    entropies = _entropies(image[mask], reference[mask])
    image_bits, reference_bits, joint_bits = entropies
    detail = {"entropy": image_bits, "reference_entropy": reference_bits, "joint_entropy": joint_bits}
    return image_bits + reference_bits - joint_bits, {**detail, "bins": JOINT_BINS}


@metric("normalised_mutual_information", "1", "higher", perfect=2.0)
def normalised_mutual_information(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Sum of the two entropies over the joint entropy: 1 = unrelated, 2 = each tells the other exactly.

    Histogram as for ``mutual_information``.

    Source: Studholme et al., Pattern Recognit. 32:71 (1999), doi 10.1016/S0031-3203(98)00091-0.
    """
    image_bits, reference_bits, joint_bits = _entropies(image[mask], reference[mask])
    return (image_bits + reference_bits) / joint_bits, {"bins": JOINT_BINS}


@metric("jensen_shannon", "1", "lower", perfect=0.0, uses_data_range=True)
def jensen_shannon(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Jensen-Shannon distance (root of the divergence to base 2) of the two histograms: 0 = equal, 1 = disjoint.

    128 bins, each a 64th of the data range wide, from half a range below the reference's .5 % percentile inside the
    mask to half a range above its data range, and two for what lies beyond. Unlike ``histogram_distance`` it does not
    grow with how far intensities have moved.

    Source: Endres and Schindelin, IEEE Trans. Inf. Theory 49:1858 (2003), doi 10.1109/TIT.2003.813506; computed by
    ``scipy.spatial.distance.jensenshannon``.
    """
    from scipy.spatial.distance import jensenshannon

    low = float(np.percentile(reference[mask], RANGE_PERCENTILES[0]))
    inner = low + data_range * (np.arange(HISTOGRAM_BINS + 1) / BINS_PER_RANGE - 0.5)
    first, second = (_histogram(array[mask], inner) for array in (image, reference))
    # Equal histograms can leave a divergence of -1e-17, whose root is not a number.
    distance = 0.0 if np.array_equal(first, second) else float(jensenshannon(first, second, base=2.0))
    return distance, {"bins": HISTOGRAM_BINS + 2}


def _histogram(values: np.ndarray, inner_edges: np.ndarray) -> np.ndarray:
    """Return counts between the edges, with all lower and all higher values in a bin of their own at either end."""
    counts, _ = np.histogram(values, inner_edges)
    below = np.count_nonzero(values < inner_edges[0])
    return np.concatenate([[below], counts, [values.size - below - counts.sum()]])


def _entropies(image: np.ndarray, reference: np.ndarray) -> tuple[float, float, float]:
    """Return the entropies in bits of the image, of the reference and of both together."""
    first, second = _bin_numbers(image, "the image"), _bin_numbers(reference, "the reference")
    joint = np.bincount(first * JOINT_BINS + second, minlength=JOINT_BINS**2).reshape(JOINT_BINS, JOINT_BINS)
    joint = joint / joint.sum()
    return _bits(joint.sum(axis=1)), _bits(joint.sum(axis=0)), _bits(joint)


def _bin_numbers(values: np.ndarray, name: str) -> np.ndarray:
    low, high = np.percentile(values, RANGE_PERCENTILES)
    if not high > low:
        raise InputError(
            f"{name} is constant inside the mask (about {low:g}): it shares no information",
            "choose an image or a mask with anatomy",
        )
    scaled = np.clip((values - low) * (JOINT_BINS / (high - low)), 0, JOINT_BINS - 1)
    return np.asarray(scaled.astype(np.intp))


def _bits(shares: np.ndarray) -> float:
    filled = shares[shares > 0]
    return max(0.0, -math.fsum((filled * np.log2(filled)).ravel()))
