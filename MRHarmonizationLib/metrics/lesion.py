"""What became of lesions: contrast retained, lesions kept, overlap of masks."""

from __future__ import annotations

import math

import numpy as np

from MRHarmonizationLib.metrics.base import MAD_OF_NORMAL, Outcome, Spacing, metric

#: Smallest lesion that is counted, mm³; smaller ones are a few voxels at most clinical spacings.
SMALLEST_LESION_MM3 = 30.0
#: The perilesional ring: from this far outside the lesion (partial volume left out) ...
RING_GAP_MM = 1.0
#: ... to this far.
RING_REACH_MM = 4.0
#: Share of its contrast that a lesion must keep, with its sign, to count as kept.
KEPT_FRACTION = 0.5
#: Lesions fainter than this share of the reference's range around them are not judged one by one.
FAINTEST_CONTRAST = 0.05
#: Ring tissue: ring voxels of the reference within this many robust deviations of the ring's median.
RING_DEVIATIONS = 1.5
NOTHING_TO_JUDGE = f"no lesion of {SMALLEST_LESION_MM3:g} mm³ with visible contrast to tissue around it"


@metric("lesion_contrast_retention", "1", "higher", operates_on="lesions", perfect=1.0)
def lesion_contrast_retention(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Lesion contrast of an image as a share of that of a reference (the image before processing).

    Contrast = mean of the lesion minus mean of its perilesional ring (1–4 mm outside, other lesions excluded, only ring
    voxels of one tissue: within 1.5 robust deviations of the ring's median in the reference). Lesions of at least
    30 mm³ are averaged by volume. 1 = all contrast kept, 0 = lesions gone, above 1 = enhanced.
    """
    lesions = find_lesions(mask, spacing)
    after = before = volume = 0.0
    for lesion in lesions:
        contrasts = lesion_contrast(lesion, image, reference)
        if contrasts is None:
            continue
        weight = float(np.count_nonzero(lesion.body))
        after, before, volume = after + weight * contrasts[0], before + weight * contrasts[1], volume + weight
    value = after / before if before else math.nan
    mean = {"contrast": after / volume, "contrast_reference": before / volume} if volume else {}
    reason = {} if before else {"reason": NOTHING_TO_JUDGE}
    return value, {"lesions": len(lesions), "smallest_lesion_mm3": SMALLEST_LESION_MM3, **mean, **reason}


@metric("lesions_kept", "1", "higher", operates_on="lesions", perfect=1.0)
def lesions_kept(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Share of visible lesions that keep the sign and at least half of their contrast in the reference.

    Lesions are connected components (26 neighbours) of at least 30 mm³; visible ones differ from their ring by at
    least 5 % of the reference's range near the lesions. ``detail`` counts them and lists each one's retention.
    """
    lesions = find_lesions(mask, spacing)
    near = np.zeros(mask.shape, bool)
    for lesion in lesions:
        near[lesion.box] |= lesion.ring | lesion.body
    visible_from = FAINTEST_CONTRAST * float(np.ptp(np.percentile(reference[near], (0.5, 99.5)))) if lesions else 0.0
    retentions: list[float] = []
    for lesion in lesions:
        contrasts = lesion_contrast(lesion, image, reference)
        if contrasts is not None and abs(contrasts[1]) > visible_from:
            retentions.append(contrasts[0] / contrasts[1])
    kept = sum(retention >= KEPT_FRACTION for retention in retentions)
    detail = {
        "lesions": len(lesions),
        "visible": len(retentions),
        "lost": len(retentions) - kept,
        "kept_fraction": KEPT_FRACTION,
        "smallest_lesion_mm3": SMALLEST_LESION_MM3,
        "retentions": [round(retention, 4) for retention in retentions],
    }
    if not retentions:
        return math.nan, {**detail, "reason": NOTHING_TO_JUDGE}
    return kept / len(retentions), detail


@metric("dice", "1", "higher", operates_on="labels", perfect=1.0)
def dice(image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing) -> Outcome:
    """Dice overlap of two binary label arrays inside the mask: 2·|A∩B| / (|A| + |B|); NaN where both are empty.

    Source: Dice, Ecology 26:297 (1945), doi 10.2307/1932409.
    """
    a, b = image[mask] != 0, reference[mask] != 0
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    overlap = int(np.count_nonzero(a & b))
    if not total:
        return math.nan, {"overlap_voxels": 0, "reason": "neither array has a labelled voxel inside the mask"}
    return 2.0 * overlap / total, {"overlap_voxels": overlap}


class Lesion:
    """One lesion and its ring, as boolean arrays inside a box of the image."""

    def __init__(self, box: tuple[slice, ...], body: np.ndarray, ring: np.ndarray) -> None:
        self.box, self.body, self.ring = box, body, ring


def find_lesions(mask: np.ndarray, spacing: Spacing) -> list[Lesion]:
    """Return the connected components of at least the smallest volume, each with its perilesional ring.

    Parameters
    ----------
    mask : bool ndarray, shape (K, J, I)
    spacing : three floats
        Along (i, j, k), mm.
    """
    from scipy import ndimage

    array_spacing = spacing[::-1]
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3, 3)))
    fewest = SMALLEST_LESION_MM3 / math.prod(spacing)
    margin = [math.ceil(RING_REACH_MM / s) + 1 for s in array_spacing]
    found = []
    for number, tight in enumerate(ndimage.find_objects(labels), start=1):
        box = tuple(
            slice(max(0, part.start - m), min(size, part.stop + m))
            for part, m, size in zip(tight, margin, mask.shape, strict=True)
        )
        body = labels[box] == number
        if np.count_nonzero(body) < fewest:
            continue
        distance = ndimage.distance_transform_edt(~body, sampling=array_spacing)
        ring = (distance > RING_GAP_MM) & (distance <= RING_REACH_MM) & ~mask[box]
        found.append(Lesion(box, body, ring))
    return found


def lesion_contrast(lesion: Lesion, image: np.ndarray, reference: np.ndarray) -> tuple[float, float] | None:
    """Return the lesion's contrast in image and reference, shape (K, J, I), or None where no ring tissue is left."""
    around = reference[lesion.box][lesion.ring]
    if around.size == 0:
        return None
    centre = np.median(around)
    deviation = np.median(np.abs(around - centre)) / MAD_OF_NORMAL
    same_tissue = np.abs(around - centre) <= RING_DEVIATIONS * deviation
    results = []
    for array in (image, reference):
        values = array[lesion.box]
        results.append(float(values[lesion.body].mean() - values[lesion.ring][same_tissue].mean()))
    return results[0], results[1]
