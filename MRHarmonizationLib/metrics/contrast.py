"""Contrast against noise: between tissues, and of lesions."""

from __future__ import annotations

import math

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.metrics.base import RANGE_PERCENTILES, Outcome, Spacing, metric
from MRHarmonizationLib.metrics.lesion import SMALLEST_LESION_MM3, find_lesions, lesion_contrast
from MRHarmonizationLib.metrics.no_reference import noise_deviations

#: Intensity classes told apart without a segmentation.
CLASSES = 3


@metric("cnr", "1", "higher", needs_reference=False)
def contrast_to_noise(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Contrast-to-noise ratio of the two largest tissues: difference of their means over the noise deviation.

    Tissues are the three intensity classes of Otsu's method inside the mask (between the .5 and 99.5 % percentiles);
    in a brain the two largest are usually grey and white matter. Noise as in ``noise``. Infinite without noise.

    Source: Liao et al., J. Inf. Sci. Eng. 17:713 (2001), for the classes.
    """
    from skimage.filters import threshold_multiotsu

    values = np.clip(image[mask], *np.percentile(image[mask], RANGE_PERCENTILES))
    try:
        thresholds = threshold_multiotsu(values, classes=CLASSES)
    except ValueError as error:
        raise InputError(
            f"the {values.size} voxels inside the mask do not fall into {CLASSES} intensity classes "
            f"(values {values.min():g} to {values.max():g})",
            "choose an image or a mask that shows several tissues",
        ) from error
    classes = np.digitize(values, thresholds)
    sizes = np.bincount(classes, minlength=CLASSES)
    larger = np.sort(np.argsort(sizes)[-2:])
    darker, brighter = (float(values[classes == number].mean()) for number in larger)
    deviation = max(noise_deviations(image, mask).values(), default=math.nan)
    detail = {"darker_mean": darker, "brighter_mean": brighter, "noise_deviation": deviation}
    return _over(abs(brighter - darker), deviation), detail


@metric("lesion_cnr", "1", "higher", needs_reference=False, operates_on="lesions")
def lesion_contrast_to_noise(
    image: np.ndarray, reference: np.ndarray, mask: np.ndarray, data_range: float, spacing: Spacing
) -> Outcome:
    """Contrast-to-noise ratio of the lesions: absolute contrast with the perilesional ring over the noise deviation.

    Contrast as in ``lesion_contrast_retention``, averaged by volume over lesions of at least 30 mm³; noise of the
    lesions and their rings. NaN, with the reason, where no lesion has a ring.
    """
    near = np.zeros(mask.shape, bool)
    total = volume = 0.0
    lesions = find_lesions(mask, spacing)
    for lesion in lesions:
        contrasts = lesion_contrast(lesion, image, reference)
        if contrasts is not None:
            weight = float(np.count_nonzero(lesion.body))
            total, volume = total + weight * abs(contrasts[0]), volume + weight
            near[lesion.box] |= lesion.ring | lesion.body
    if not volume:
        return math.nan, {"reason": f"no lesion of {SMALLEST_LESION_MM3:g} mm³ with tissue around it"}
    deviation = max(noise_deviations(image, near).values(), default=math.nan)
    detail = {"lesions": len(lesions), "contrast": total / volume, "noise_deviation": deviation}
    return _over(total / volume, deviation), detail


def _over(contrast: float, deviation: float) -> float:
    if deviation > 0:
        return contrast / deviation
    return math.nan if math.isnan(deviation) else math.copysign(math.inf, contrast) if contrast else 0.0
