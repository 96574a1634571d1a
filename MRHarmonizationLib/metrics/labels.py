"""Agreement of two binary label arrays beyond overlap: volume, and lesion by lesion."""

from __future__ import annotations

import math

import numpy as np

from MRHarmonizationLib.metrics.base import Outcome, Spacing, metric
from MRHarmonizationLib.metrics.lesion import SMALLEST_LESION_MM3


@metric("volume_difference", "%", "lower", operates_on="labels", perfect=0.0)
def volume_difference(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Absolute difference of the labelled volumes inside the mask, in percent of the reference's volume.

    ``detail`` has both volumes and the difference with its sign. NaN, with the reason, where the reference has none.
    """
    voxel_mm3 = math.prod(spacing)
    volume = voxel_mm3 * int(np.count_nonzero(image[mask]))
    true_volume = voxel_mm3 * int(np.count_nonzero(reference[mask]))
    detail = {"volume_mm3": volume, "reference_volume_mm3": true_volume, "difference_mm3": volume - true_volume}
    if not true_volume:
        return math.nan, {**detail, "reason": "the reference has no labelled voxel inside the mask"}
    return 100.0 * abs(volume - true_volume) / true_volume, detail


@metric("lesion_detection", "1", "higher", operates_on="labels", perfect=1.0)
def lesion_detection(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Lesion-wise F1: lesions found and true ones, each counted once whatever its size.

    Lesions are connected components (26 neighbours) of at least 30 mm³ inside the mask. One of the reference is found
    when any labelled voxel of the image touches it; one of the image is false when it touches no labelled voxel of the
    reference. ``detail`` has sensitivity, precision and the counts. NaN, with the reason, where neither has a lesion.

    Source: lesion-wise true positive rate and false positive rate as in Carass et al., NeuroImage 148:77 (2017), doi
    10.1016/j.neuroimage.2016.12.064.
    """
    found, true = image.astype(bool) & mask, reference.astype(bool) & mask
    hit, all_true = _touched(true, found, spacing)
    confirmed, all_found = _touched(found, true, spacing)
    sensitivity = hit / all_true if all_true else math.nan
    precision = confirmed / all_found if all_found else math.nan
    detail = {
        "sensitivity": sensitivity,
        "precision": precision,
        "lesions": all_true,
        "found": hit,
        "missed": all_true - hit,
        "false": all_found - confirmed,
        "smallest_lesion_mm3": SMALLEST_LESION_MM3,
    }
    if not all_true and not all_found:
        return math.nan, {**detail, "reason": f"neither has a lesion of {SMALLEST_LESION_MM3:g} mm³ inside the mask"}
    if not all_true or not all_found:
        return 0.0, detail
    total = sensitivity + precision
    return (2.0 * sensitivity * precision / total if total else 0.0), detail


def _touched(labels: np.ndarray, others: np.ndarray, spacing: Spacing) -> tuple[int, int]:
    """Return how many components of at least the smallest volume touch ``others``, and how many there are."""
    from scipy import ndimage

    numbers, count = ndimage.label(labels, structure=np.ones((3, 3, 3)))
    sizes = np.bincount(numbers.reshape(-1), minlength=count + 1)
    large = sizes * math.prod(spacing) >= SMALLEST_LESION_MM3
    large[0] = False
    touched = np.zeros(count + 1, bool)
    touched[numbers[others]] = True
    return int(np.count_nonzero(large & touched)), int(np.count_nonzero(large))
