"""How much a scan's tissues vary under alterations of contrast, before and after each harmoniser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.regions import inner_region
from MRHarmonizationLib.degradations.kspace_contrast import apply_kspace_contrast, sample_kspace_contrast
from MRHarmonizationLib.degradations.signal_equations import tissue_of
from MRHarmonizationLib.methods.harmonizers import HARMONIZERS
from MRHarmonizationLib.methods.reference_group import ReferenceGroup
from MRHarmonizationLib.volumes.volume import Volume

#: Images as they are after the alteration.
RAW = "raw"
#: Tissues whose means are followed.
TISSUES = ("white", "grey", "fluid")
#: FreeSurfer numbers that stand for the classes of an image without a label map, darkest first in a T1 image.
CLASS_LABELS = (4, 3, 2)


@dataclass(frozen=True)
class Variation:
    """Variation of one scan's tissue means under a set of alterations.

    Attributes
    ----------
    method : str
        Harmoniser, or 'raw'.
    coefficients : mapping of str to float
        Tissue → standard deviation of its mean over the alterations, in % of their average.
    alterations : int
    """

    method: str
    coefficients: Mapping[str, float]
    alterations: int

    @property
    def mean(self) -> float:
        """Mean coefficient of variation over the tissues, %."""
        return float(np.mean(list(self.coefficients.values())))


def tissue_variation(
    image: Volume,
    labels: np.ndarray,
    group: ReferenceGroup,
    alterations: int = 20,
    seed: int = 0,
    families: Sequence[str] | None = None,
    methods: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> list[Variation]:
    """Alter a scan many times, harmonise each, and measure how much the means of its tissues vary.

    Parameters
    ----------
    image : Volume
    labels : int ndarray, shape (K, J, I)
        FreeSurfer numbers; tissues are measured where they are, and gains of tissues are among the alterations.
    group : ReferenceGroup
        What the harmonisers are fitted to.
    alterations, seed : int
        Number of draws, and the seed from which they follow.
    families : sequence of str, optional
        Families that all take part in every draw; drawn when omitted.
    methods : sequence of str, optional
        Harmonisers; all without a network when omitted.
    progress : Progress, optional

    Returns
    -------
    list of Variation
        Raw first.

    Raises
    ------
    InputError
        The label map holds no brain tissue.
    """
    progress = progress or Progress()
    masks = {name: tissue_mask(labels, name) for name in TISSUES}
    masks = {name: mask for name, mask in masks.items() if mask.any()}
    if not masks:
        raise InputError("the label map holds no white, grey or fluid tissue", "use FreeSurfer numbers")
    names = methods or [name for name, entry in HARMONIZERS.items() if "model" not in entry.defaults]
    fitted: dict[str, Any] = {name: HARMONIZERS.get(name).fit(group) for name in names}
    means: dict[str, list[list[float]]] = {name: [] for name in (RAW, *fitted)}
    for number in range(alterations):
        rng = np.random.default_rng([seed, number])
        parameters = sample_kspace_contrast(rng, image, labels, None, families)
        altered = apply_kspace_contrast(image, parameters, labels)
        for name in means:
            progress.report(number / alterations, f"Alteration {number + 1} of {alterations}: {name}")
            array = altered.array if name == RAW else fitted[name].apply(altered).array
            means[name].append([float(array[mask].mean(dtype=np.float64)) for mask in masks.values()])
    progress.report(1.0, "Done")
    return [Variation(name, _coefficients(values, tuple(masks)), alterations) for name, values in means.items()]


def tissue_mask(labels: np.ndarray, tissue: str) -> np.ndarray:
    """Return where a label map has 'white', 'grey' or 'fluid' tissue, bool, same shape."""
    return np.isin(labels, [int(v) for v in np.unique(labels) if tissue_of(int(v)) == tissue])


def tissue_classes(image: Volume) -> np.ndarray:
    """Return three classes of intensity of a T1-like image as FreeSurfer numbers (4, 3, 2; 0 outside), int16.

    A stand-in for a label map: Otsu's thresholds in the inside of the object.
    """
    from skimage.filters import threshold_multiotsu

    inside = inner_region(image.array, image.grid.spacing_mm[::-1].tolist())
    classes = np.digitize(image.array, threshold_multiotsu(image.array[inside], len(CLASS_LABELS)))
    return np.where(inside, np.asarray(CLASS_LABELS)[classes], 0).astype(np.int16)


def _coefficients(values: Sequence[Sequence[float]], names: Sequence[str]) -> dict[str, float]:
    table = np.asarray(values)
    spread = table.std(axis=0) / np.maximum(np.abs(table.mean(axis=0)), 1e-12)
    return {name: 100.0 * float(value) for name, value in zip(names, spread, strict=True)}
