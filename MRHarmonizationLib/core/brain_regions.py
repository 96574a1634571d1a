"""The 32 structures of the brain whose volumes are measured, and how their numbers become classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from MRHarmonizationLib.core.errors import InputError

#: Class and FreeSurfer number of everything that is no structure of the brain.
BACKGROUND = 0
#: Against a structure smaller than this, nothing is said in percent: relative errors of a few voxels say nothing.
LEAST_REFERENCE_MM3 = 20.0

#: Structures of both sides: name → FreeSurfer numbers (left, right).
_PAIRED = {
    "cerebral white matter": (2, 41),
    "cerebral cortex": (3, 42),
    "lateral ventricle": (4, 43),
    "inferior lateral ventricle": (5, 44),
    "cerebellar white matter": (7, 46),
    "cerebellar cortex": (8, 47),
    "thalamus": (10, 49),
    "caudate": (11, 50),
    "putamen": (12, 51),
    "pallidum": (13, 52),
    "hippocampus": (17, 53),
    "amygdala": (18, 54),
    "accumbens area": (26, 58),
    "ventral diencephalon": (28, 60),
}
#: Structures in the middle.
_SINGLE = {"Third ventricle": 14, "Fourth ventricle": 15, "Brain stem": 16, "Cerebrospinal fluid": 24}


@dataclass(frozen=True)
class BrainRegion:
    """One structure.

    Attributes
    ----------
    number : int
        FreeSurfer number.
    name : str
        For people, for example 'Left hippocampus'.
    side : {'left', 'right', ''}
    class_index : int
        1 to 32, in ascending order of the numbers; what a network answers.
    mirror : int
        Class of the same structure of the other side; its own in the middle.
    """

    number: int
    name: str
    side: str
    class_index: int
    mirror: int


def _regions() -> tuple[BrainRegion, ...]:
    named = {number: (name, "") for name, number in _SINGLE.items()}
    other = {number: number for number in _SINGLE.values()}
    for name, (left, right) in _PAIRED.items():
        named[left], named[right] = (f"Left {name}", "left"), (f"Right {name}", "right")
        other[left], other[right] = right, left
    places = {number: place for place, number in enumerate(sorted(named), start=1)}
    return tuple(BrainRegion(n, *named[n], places[n], places[other[n]]) for n in sorted(named))


REGIONS: tuple[BrainRegion, ...] = _regions()
"""The 32 structures in ascending order of their FreeSurfer numbers."""

REGION_BY_NUMBER: Mapping[int, BrainRegion] = MappingProxyType({region.number: region for region in REGIONS})
"""The same by FreeSurfer number."""

CLASS_NUMBERS = np.array([BACKGROUND, *(region.number for region in REGIONS)], np.int16)
"""FreeSurfer number of each class, shape (33,)."""
CLASS_NUMBERS.flags.writeable = False

MIRRORED_CLASSES = np.array([BACKGROUND, *(region.mirror for region in REGIONS)], np.uint8)
"""Class of each class in an image whose left and right are exchanged, shape (33,)."""
MIRRORED_CLASSES.flags.writeable = False

_CLASS_OF = np.zeros(int(CLASS_NUMBERS.max()) + 1, np.uint8)
_CLASS_OF[CLASS_NUMBERS] = np.arange(CLASS_NUMBERS.size)


def classes_of(labels: np.ndarray) -> np.ndarray:
    """Return the classes of FreeSurfer numbers.

    Parameters
    ----------
    labels : ndarray of int, any shape

    Returns
    -------
    uint8 ndarray, same shape
        0 for numbers that are none of the 32 structures.

    Raises
    ------
    InputError
        The labels are no whole numbers.

    Examples
    --------
    >>> classes_of(np.array([0, 2, 60, 1000, -1]))
    array([ 0,  1, 32,  0,  0], dtype=uint8)
    """
    values = np.asarray(labels)
    if values.dtype.kind not in "iub":
        raise InputError(f"labels are of type {values.dtype}", "give whole numbers, rounded if need be")
    known = (values >= 0) & (values < _CLASS_OF.size)
    return np.asarray(np.where(known, _CLASS_OF[np.where(known, values, 0)], 0), np.uint8)


def numbers_of(classes: np.ndarray) -> np.ndarray:
    """Return the FreeSurfer numbers (int16) of classes 0 to 32; raise InputError for others."""
    values = np.asarray(classes)
    if values.size and (int(values.min()) < 0 or int(values.max()) >= CLASS_NUMBERS.size):
        raise InputError(f"classes reach from {values.min()} to {values.max()}", f"give 0 to {CLASS_NUMBERS.size - 1}")
    return np.asarray(CLASS_NUMBERS[values])


def relative_error_percent(measured_mm3: float, reference_mm3: float) -> float:
    """Return 100·(measured − reference)/reference; NaN where the reference is below :data:`LEAST_REFERENCE_MM3`."""
    if reference_mm3 < LEAST_REFERENCE_MM3:
        return float("nan")
    return 100.0 * (measured_mm3 - reference_mm3) / reference_mm3


def region_volumes_mm3(labels: np.ndarray, voxel_mm3: float) -> dict[int, float]:
    """Return the volume of every structure.

    Parameters
    ----------
    labels : ndarray of int, any shape
        FreeSurfer numbers.
    voxel_mm3 : float
        Volume of a voxel.

    Returns
    -------
    dict
        FreeSurfer number → volume in mm³; all 32, 0 where a structure is absent.
    """
    counts = np.bincount(classes_of(labels).ravel(), minlength=CLASS_NUMBERS.size)
    return {region.number: float(counts[region.class_index] * voxel_mm3) for region in REGIONS}


def dice_per_region(first: np.ndarray, second: np.ndarray) -> dict[int, float]:
    """Return the Dice overlap of every structure in two label maps.

    Parameters
    ----------
    first, second : ndarrays of int, one shape
        FreeSurfer numbers.

    Returns
    -------
    dict
        FreeSurfer number → 2·|A∩B| / (|A| + |B|); nan where both lack the structure.

    Raises
    ------
    InputError
        The shapes differ.
    """
    if np.shape(first) != np.shape(second):
        raise InputError(f"label maps have the shapes {np.shape(first)} and {np.shape(second)}", "resample one of them")
    a, b = classes_of(first).ravel(), classes_of(second).ravel()
    size = CLASS_NUMBERS.size
    sums = np.bincount(a, minlength=size) + np.bincount(b, minlength=size)
    both = np.bincount(a[a == b], minlength=size)
    with np.errstate(invalid="ignore"):
        dice = 2.0 * both / sums
    return {region.number: float(dice[region.class_index]) for region in REGIONS}
