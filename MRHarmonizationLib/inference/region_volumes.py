"""Volumes of brain structures from a label map, whoever drew it, and their table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from MRHarmonizationLib.core.brain_regions import REGION_BY_NUMBER, REGIONS, BrainRegion, classes_of, region_volumes_mm3
from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.volumes.volume import Volume

MM3_PER_ML = 1000.0
LARGEST_NUMBER = 20_000
"""Beyond every number in FreeSurfer's table."""
PARCELS = {
    (1000, 2000): 3,
    (2000, 3000): 42,
    (3000, 4000): 2,
    (4000, 5000): 41,
    (5001, 5002): 2,
    (5002, 5003): 41,
    (11100, 11200): 3,
    (12100, 12200): 42,
    (13100, 13200): 2,
    (14100, 14200): 41,
}
"""Ranges of parcels of cortex and white matter (aparc+aseg, wmparc, a2009s), and the structure they are parts of."""


def whole_labels(labels: Volume, name: str = "label map") -> tuple[np.ndarray, bool]:
    """Return the numbers of a label map, parcels joined into their structures.

    Parameters
    ----------
    labels : Volume
        FreeSurfer numbers, stored as whole or as real numbers.
    name : str
        How the label map is called in a message.

    Returns
    -------
    numbers : ndarray, int32, shape (K, J, I)
    joined : bool
        Whether there were parcels.

    Raises
    ------
    InputError
        Values that are no whole numbers, or none of the 32 structures.
    """
    array = labels.array
    with np.errstate(invalid="ignore"):
        whole = array.dtype.kind in "iub" or bool(np.all(np.mod(array, 1) == 0))
    if not whole or array.size == 0 or array.min() < -LARGEST_NUMBER or array.max() > LARGEST_NUMBER:
        raise InputError(
            f"{name} holds values that are no FreeSurfer numbers", "give a label map, not an image or a probability"
        )
    numbers = array.astype(np.int32)
    joined = False
    for (first, behind), structure in PARCELS.items():
        parcels = (numbers >= first) & (numbers < behind)
        if parcels.any():
            numbers[parcels] = structure
            joined = True
    if not classes_of(numbers).any():
        found = np.unique(numbers)
        listed = ", ".join(str(number) for number in found[found != 0][:8]) or "nothing but 0"
        raise InputError(
            f"{name} holds none of the 32 brain structures, but {listed}",
            "give FreeSurfer numbers, for example 17 for the left hippocampus (aseg, SynthSeg)",
        )
    return numbers, joined


def label_volumes_mm3(labels: Volume, name: str = "label map") -> dict[int, float]:
    """Return the volume of every structure in a label map on its own grid.

    Parameters
    ----------
    labels : Volume
        FreeSurfer numbers; parcels of the cortex and the white matter count as these.
    name : str
        How the label map is called in a message.

    Returns
    -------
    dict
        FreeSurfer number → volume in mm³; all 32, 0 where a structure is absent.

    Raises
    ------
    InputError
        As :func:`whole_labels`.
    """
    return region_volumes_mm3(whole_labels(labels, name)[0], labels.grid.voxel_volume_mm3)


def in_pairs() -> Iterator[BrainRegion]:
    """Yield the 32 structures, each left one followed by its right one."""
    for region in REGIONS:
        if region.side == "right":
            continue
        yield region
        if region.side == "left":
            yield REGIONS[region.mirror - 1]


def volume_rows(volumes_mm3: Mapping[int, float]) -> list[dict[str, Any]]:
    """Return the table of one scan's volumes: region, number, side, volume_ml; pairs below each other."""
    return [
        {
            "region": region.name,
            "number": region.number,
            "side": region.side,
            "volume_ml": round(float(volumes_mm3[region.number]) / MM3_PER_ML, 4),
        }
        for region in in_pairs()
    ]


def named(numbers: Sequence[int], most: int = 6) -> str:
    """Return the names of structures for a sentence, the first few of many.

    >>> named([17, 53])
    'left hippocampus, right hippocampus'
    """
    names = [REGION_BY_NUMBER[number].name for number in numbers]
    shown = ", ".join(name[:1].lower() + name[1:] for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
