"""What is measured on one image of the low- to high-field protocol, beside the truth and the scan it was made from."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.degradations.lowfield import acquire
from MRHarmonizationLib.evaluation.cases import rounded
from MRHarmonizationLib.evaluation.lohires_cases import PreparedScan
from MRHarmonizationLib.evaluation.simulated_cohort import WHITE_MATTER
from MRHarmonizationLib.metrics.base import METRICS, default_data_range
from MRHarmonizationLib.metrics.lesion import KEPT_FRACTION, SMALLEST_LESION_MM3
from MRHarmonizationLib.volumes.volume import Volume

#: Full-reference metrics, and those of an image alone.
SCORES, ALONE = ("psnr", "ssim", "nrmse"), ("piqe",)
#: Axes of images in canonical order: array axis 0, 1, 2.
AXES = ("superior", "anterior", "right")
#: Planes with fewer judged voxels have no mean of their own.
FEWEST_IN_PLANE = 100
#: Where lesions may be invented: white matter this far from its border, and from lesions that are there.
ADDED_DEPTH_MM, ADDED_APART_MM = 3.0, 6.0


def image_scores(image: np.ndarray, prepared: PreparedScan, is_truth: bool = False) -> dict[str, Any]:
    """Return similarity to the truth and perceived quality in the subject's mask, on the truth's intensity range.

    Parameters
    ----------
    image : ndarray, shape of the truth
    prepared : PreparedScan
    is_truth : bool
        The image is the truth itself: similarities to it are left empty.

    Returns
    -------
    dict
        ``psnr`` (dB), ``ssim``, ``nrmse``, ``piqe``, ``data_range`` (.5 to 99.5 % of the truth in the mask),
        ``voxels``.
    """
    subject = prepared.subject
    truth, mask = subject.truth.array, subject.mask
    i, j, k = (float(s) for s in subject.truth.grid.spacing_mm)
    data_range = default_data_range(truth, mask)
    values: dict[str, Any] = {}
    for name in (*SCORES, *ALONE):
        if is_truth and name in SCORES:
            values[name] = ""
            continue
        reference = truth if name in SCORES else None
        found = METRICS.get(name)(image, reference, mask, data_range, (i, j, k), subject.mask_name)
        values[name] = rounded(found.value, 6)
    return values | {"data_range": rounded(data_range, 6), "voxels": int(np.count_nonzero(mask))}


def flicker(image: np.ndarray, prepared: PreparedScan) -> dict[str, float | None]:
    """Return whether neighbouring planes disagree, along each axis.

    Returns
    -------
    dict
        ``flicker_AXIS``: mean absolute second difference from plane to plane in the mask, relative to that of the
        truth; above 1 planes disagree more than those of the truth do, below 1 the image is smoother. ``step_AXIS``:
        mean absolute change from plane to plane of the plane's mean error, % of the truth's intensity range; it sees
        planes that are brighter than their neighbours, however smooth they are.
    """
    truth, mask = prepared.subject.truth.array, prepared.subject.mask
    data_range = default_data_range(truth, mask)
    values: dict[str, float | None] = {}
    for axis, name in enumerate(AXES):
        own, true = (second_difference(array, mask, axis) for array in (image, truth))
        values[f"flicker_{name}"] = rounded(own / true if true > 0 else math.nan)
        values[f"step_{name}"] = rounded(100 * plane_steps(image, truth, mask, axis) / data_range)
    return values


def second_difference(image: np.ndarray, mask: np.ndarray, axis: int) -> float:
    """Return the mean of |x[n−1] − 2·x[n] + x[n+1]| along an axis where all three voxels are in a mask; NaN if none."""
    if image.shape[axis] < 3:
        return math.nan
    values, inside = np.moveaxis(image.astype(np.float32), axis, 0), np.moveaxis(mask, axis, 0)
    where = inside[:-2] & inside[1:-1] & inside[2:]
    return float(np.abs(values[:-2] - 2 * values[1:-1] + values[2:])[where].mean()) if where.any() else math.nan


def plane_steps(image: np.ndarray, truth: np.ndarray, mask: np.ndarray, axis: int) -> float:
    """Return the mean absolute change of the planes' mean errors from plane to plane; NaN with fewer than two."""
    others = tuple(n for n in range(3) if n != axis)
    error = np.where(mask, image.astype(np.float64) - truth, 0.0).sum(axis=others)
    counts = mask.sum(axis=others)
    enough = counts >= FEWEST_IN_PLANE
    means = error / np.maximum(counts, 1)
    pairs = enough[1:] & enough[:-1]
    return float(np.abs(np.diff(means))[pairs].mean()) if pairs.any() else math.nan


def consistency(image: Volume, prepared: PreparedScan) -> float:
    """Return ‖degrade(image) − scan‖ over ‖degrade(truth) − scan‖ in the scan's foreground: 1 is as the truth.

    ``degrade`` is the acquisition that made the scan, without its noise, so that the truth differs from the scan by
    the noise alone. Well above 1 the image cannot be what was scanned; below 1 it holds on to the scan's noise.
    """
    scan = prepared.scan.array
    mask = foreground_mask(scan)
    mine, best = (
        float(np.mean((acquire(volume, prepared.silent).array.astype(np.float64) - scan)[mask] ** 2))
        for volume in (image, prepared.subject.truth)
    )
    return float(np.sqrt(mine / best)) if best > 0 else math.nan


def lesion_counts(image: Volume, prepared: PreparedScan) -> dict[str, Any]:
    """Return what became of the drawn lesions, and how many were invented; empty texts where none were drawn.

    Returns
    -------
    dict
        ``lesions`` drawn; ``lost``: less than half of their true contrast is left, or its sign is another;
        ``visible`` in the low-field image, and ``lost_visible``: less than half of the contrast there is left;
        ``added``: see :func:`added_lesions`.
    """
    if prepared.lesions is None or prepared.labels is None or not prepared.lesions.any():
        return dict.fromkeys(("lesions", "lost", "visible", "lost_visible", "added"), "")
    truth = prepared.subject.truth
    i, j, k = (float(s) for s in truth.grid.spacing_mm)
    metric = METRICS.get("lesions_kept")
    of_truth, of_scan = (
        metric(image.array, other.array, prepared.lesions, spacing_mm=(i, j, k), mask_name="lesions").detail
        for other in (truth, prepared.cubic)
    )
    return {
        "lesions": of_truth["visible"],
        "lost": of_truth["lost"],
        "visible": of_scan["visible"],
        "lost_visible": of_scan["lost"],
        "added": added_lesions(image, prepared),
    }


def added_lesions(image: Volume, prepared: PreparedScan) -> int:
    """Return the number of spots in healthy white matter that the image has and the truth has not, bright or dark.

    A spot is a connected set (26 neighbours) of at least 30 mm³ in white matter, 3 mm inside its border and 6 mm from
    drawn lesions, where image minus truth (each without its median there) exceeds half of the median contrast of the
    drawn lesions.
    """
    from scipy import ndimage

    if prepared.labels is None or prepared.lesions is None:
        return 0
    truth = prepared.subject.truth
    spacing = truth.grid.spacing_mm[::-1]
    white = np.isin(prepared.labels, WHITE_MATTER)
    where = ndimage.distance_transform_edt(white, sampling=spacing) > ADDED_DEPTH_MM
    where &= ndimage.distance_transform_edt(~prepared.lesions, sampling=spacing) > ADDED_APART_MM
    if not where.any():
        return 0
    level = float(np.median(truth.array[where]))
    drawn = truth.array[prepared.lesions & white]
    contrast = abs(float(np.median(drawn)) - level) if drawn.size else level
    excess = image.array.astype(np.float64) - float(np.median(image.array[where])) - (truth.array - level)
    fewest = SMALLEST_LESION_MM3 / truth.grid.voxel_volume_mm3
    count = 0
    for sign in (1, -1):
        labels, _ = ndimage.label(where & (sign * excess > KEPT_FRACTION * contrast), structure=np.ones((3, 3, 3)))
        count += int(np.count_nonzero(np.bincount(labels.reshape(-1))[1:] >= fewest))
    return count
