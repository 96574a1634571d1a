"""What makes the answer of a segmentation doubtful: no whole brain, structures missing, a field of view that cuts."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from MRHarmonizationLib.core.brain_regions import BACKGROUND, REGIONS, classes_of, numbers_of
from MRHarmonizationLib.inference.region_volumes import MM3_PER_ML, named

PLAUSIBLE_ML = (450.0, 2400.0)
"""All structures together, from the brain of a newborn to one larger than adults have, fluid included."""
LIKE_SIDES = 0.6
"""Below this ratio of the smaller hemisphere to the larger one the halves of a brain look unlike."""
HEMISPHERES = {"left": (2, 3), "right": (41, 42)}
"""White matter and cortex of the cerebrum, by side."""
CUT_AREA_MM2 = 50.0
"""Area at an end of the scan from which a structure counts as cut by it."""
ENDS = (("lower", "upper"), ("back", "front"), ("left", "right"))
"""First and last plane of the axes S, A, R."""


def region_doubts(labels: np.ndarray, volumes_mm3: Mapping[int, float], voxel_mm3: float) -> tuple[str, ...]:
    """Return one sentence for each way in which labels look unlike those of a whole brain.

    Parameters
    ----------
    labels : ndarray of int, shape (K, J, I)
        FreeSurfer numbers on isotropic voxels, axes towards S, A, R, over the whole field of view.
    volumes_mm3 : mapping of int to float
        Volumes of the structures.
    voxel_mm3 : float
        Volume of a voxel.
    """
    total_ml = sum(volumes_mm3.values()) / MM3_PER_ML
    if total_ml == 0:
        return ("no structure of the brain was found: the image looks unlike a head",)
    found = []
    if not PLAUSIBLE_ML[0] <= total_ml <= PLAUSIBLE_ML[1]:
        found.append(
            f"{total_ml:.0f} ml of brain were found, {PLAUSIBLE_ML[0]:.0f} to {PLAUSIBLE_ML[1]:.0f} ml are plausible: "
            "the image looks unlike a whole head, or its voxel size is wrong"
        )
    missing = [region.number for region in REGIONS if volumes_mm3[region.number] == 0]
    if missing:
        found.append(f"not found: {named(missing)}")
    left, right = (sum(volumes_mm3[number] for number in numbers) for numbers in HEMISPHERES.values())
    if min(left, right) < LIKE_SIDES * max(left, right):
        found.append(
            f"the left cerebrum has {left / MM3_PER_ML:.0f} ml, the right one {right / MM3_PER_ML:.0f} ml: "
            "look at the label map before you trust the volumes"
        )
    return (*found, *_cuts(labels, voxel_mm3))


def _cuts(labels: np.ndarray, voxel_mm3: float) -> list[str]:
    """Return a sentence if structures touch ends of the scan; specks apart from the brain are no part of it."""
    classes = _in_one_piece(classes_of(labels))
    area_mm2 = voxel_mm3 ** (2 / 3)
    cut: set[int] = set()
    where = []
    for axis, ends in enumerate(ENDS):
        for plane, end in zip((0, -1), ends, strict=True):
            numbers, counts = np.unique(numbers_of(np.take(classes, plane, axis=axis)), return_counts=True)
            found = zip(numbers.tolist(), counts.tolist(), strict=True)
            touching = {n for n, count in found if n != BACKGROUND and count * area_mm2 >= CUT_AREA_MM2}
            if touching:
                cut |= touching
                where.append(end)
    if not where:
        return []
    return [f"the field of view ends inside the brain ({', '.join(where)} end); too small: {named(sorted(cut))}"]


def _in_one_piece(classes: np.ndarray) -> np.ndarray:
    """Return the classes of the largest connected part, 0 elsewhere."""
    from scipy.ndimage import label

    parts, count = label(classes > BACKGROUND)
    if count < 2:
        return classes
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.where(parts == sizes.argmax(), classes, BACKGROUND)
