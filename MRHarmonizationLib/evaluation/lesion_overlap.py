"""Are lesions still where they were? One threshold rule, applied alike before and after harmonisation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.metrics.lesion import RING_GAP_MM, RING_REACH_MM, SMALLEST_LESION_MM3
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

#: The rule, for reports.
THRESHOLD_RULE = (
    "A lesion is what lies on its side of the threshold halfway between the median of the marked lesion and the median "
    f"of its ring ({RING_GAP_MM:g} to {RING_REACH_MM:g} mm outside), within that reach; both medians are taken from "
    f"the image itself. Lesions below {SMALLEST_LESION_MM3:g} mm³ are left out."
)


def lesion_overlap(before: Volume, after: Volume, lesions: Volume) -> list[dict[str, Any]]:
    """Segment every marked lesion in an image before and after harmonisation by one rule, and compare.

    Parameters
    ----------
    before, after : Volume
        The same scan on any grids; interpolated on the mask's.
    lesions : Volume
        Nonzero in lesions.

    Returns
    -------
    list of dict
        One per lesion: ``volume_mm3`` as marked; ``dice_before`` and ``dice_after`` with the marking; ``dice_between``
        of the two segmentations; ``volume_before_mm3`` and ``volume_after_mm3``.

    Raises
    ------
    InputError
        The mask is empty, or lies elsewhere.
    """
    from scipy import ndimage

    marked = lesions.array != 0
    if not marked.any():
        raise InputError(f"lesion mask '{lesions.name}' is empty", "leave the cell empty where there is no lesion")
    images = [resample(volume, lesions.grid, "cubic").array for volume in (before, after)]
    spacing = lesions.grid.spacing_mm[::-1]
    voxel = lesions.grid.voxel_volume_mm3
    labels, _ = ndimage.label(marked, structure=np.ones((3, 3, 3)))
    margin = [math.ceil(RING_REACH_MM / s) + 1 for s in spacing]
    found = []
    for number, tight in enumerate(ndimage.find_objects(labels), start=1):
        box = tuple(
            slice(max(0, part.start - m), min(size, part.stop + m))
            for part, m, size in zip(tight, margin, marked.shape, strict=True)
        )
        body = labels[box] == number
        volume = float(np.count_nonzero(body)) * voxel
        if volume < SMALLEST_LESION_MM3:
            continue
        distance = ndimage.distance_transform_edt(~body, sampling=spacing)
        near = (distance <= RING_REACH_MM) & (body | ~marked[box])
        ring = near & (distance > RING_GAP_MM)
        if not ring.any():
            continue
        first, second = (segment_lesion(image[box], body, ring, near) for image in images)
        found.append(
            {
                "volume_mm3": volume,
                "dice_before": dice(first, body),
                "dice_after": dice(second, body),
                "dice_between": dice(first, second),
                "volume_before_mm3": float(np.count_nonzero(first)) * voxel,
                "volume_after_mm3": float(np.count_nonzero(second)) * voxel,
            }
        )
    return found


def segment_lesion(image: np.ndarray, body: np.ndarray, ring: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Return the voxels near a lesion that lie on its side of the halfway threshold; see :data:`THRESHOLD_RULE`.

    Parameters
    ----------
    image : ndarray, shape (K, J, I)
    body, ring, near : bool ndarray, shape (K, J, I)
        The marked lesion, its ring, and where its segmentation may lie.

    Returns
    -------
    bool ndarray, shape (K, J, I)
    """
    inside, outside = float(np.median(image[body])), float(np.median(image[ring]))
    half = (inside + outside) / 2
    return np.asarray(near & (image > half if inside > outside else image < half))


def dice(first: np.ndarray, second: np.ndarray) -> float:
    """Return the Dice overlap of two boolean arrays; 1 where both are empty."""
    total = np.count_nonzero(first) + np.count_nonzero(second)
    return 2 * float(np.count_nonzero(first & second)) / total if total else 1.0


def overlap_summary(rows: Sequence[dict[str, Any]]) -> dict[str, float] | None:
    """Return the means of the rows of :func:`lesion_overlap` and the agreement of the volumes; None without rows.

    Agreement needs four lesions of different volumes; its keys are absent otherwise.
    """
    from MRHarmonizationLib.evaluation.agreement import bland_altman, pearson

    if not rows:
        return None
    mean = {name: float(np.mean([row[name] for row in rows])) for name in rows[0] if name.startswith("dice")}
    summary = {"lesions": len(rows), **mean, "dice_between_least": float(min(row["dice_between"] for row in rows))}
    before, after = (np.array([row[f"volume_{when}_mm3"] for row in rows]) for when in ("before", "after"))
    if len(rows) < 4 or np.ptp(before) == 0 or np.ptp(after) == 0:
        return summary
    limits, correlation = bland_altman(before, after), pearson(before, after)
    return {
        **summary,
        "volume_bias_mm3": limits.bias,
        "volume_lower_mm3": limits.lower,
        "volume_upper_mm3": limits.upper,
        "volume_r": correlation.r,
        "volume_r_low": correlation.low,
        "volume_r_high": correlation.high,
    }
