"""Results in other units than their scan: what standardised nodes remember, how they are shown and held against it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from MRHarmonizationLib.inference.harmonize import TASK
from MRHarmonizationLib.inference.provenance import ATTRIBUTE_PREFIX
from MRHarmonizationLib.inference.restore import TASK as RESTORE_TASK
from MRHarmonizationLib.methods.case_profile import FULL_SCALE
from MRHarmonizationLib.methods.reference_group import ReferenceGroup
from MRHarmonizationLib.volumes.volume import Volume

#: Display range of standardised images, in units of the reference, the same for every scan: from air to a fifth above
#: full scale, so that the brightest hundredth can be told apart.
REFERENCE_RANGE = (0.0, 1.2 * FULL_SCALE)
#: Holds the reference's numbers; not under the prefix of the record, as it is too long for a reader.
GROUP_ATTRIBUTE = "MRHarmonizationGroup"
MASK_ROLE = "MRHarmonization.mask"
SEGMENT_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}mask_segment"
OPERATION_ATTRIBUTE = f"{ATTRIBUTE_PREFIX}operation"


def is_standardised(node: Any) -> bool:
    """Tell whether a node was made by a standardisation of contrast."""
    return node is not None and node.GetAttribute(OPERATION_ATTRIBUTE) == TASK


def is_restored(node: Any) -> bool:
    """Tell whether a node was made by denoising and sharpening."""
    return node is not None and node.GetAttribute(OPERATION_ATTRIBUTE) == RESTORE_TASK


def remember_reference(node: Any, group: ReferenceGroup, mask: Any = None, segment: str = "") -> None:
    """Let a result hold the numbers of its reference, and where it was measured; saved with the scene."""
    values = group.to_dict() | {"quality": []}
    node.SetAttribute(GROUP_ATTRIBUTE, json.dumps(values, separators=(",", ":")))
    node.SetNodeReferenceID(MASK_ROLE, None if mask is None else mask.GetID())
    if mask is not None:
        node.SetAttribute(SEGMENT_ATTRIBUTE, segment)


def group_of(node: Any) -> ReferenceGroup:
    """Return the reference a result was brought to; raises InputError where it was altered."""
    return ReferenceGroup.from_dict(json.loads(node.GetAttribute(GROUP_ATTRIBUTE) or "{}"))


def show_in_units(node: Any, scan: Any, share: float) -> None:
    """Give a standardised node the window that belongs to its units.

    Its values are a mixture ``(1 − share)·scan + share·reference``, so its window is the same mixture of the scan's and
    of :data:`REFERENCE_RANGE`.

    Parameters
    ----------
    node : vtkMRMLScalarVolumeNode
        A result; other nodes than standardised ones are left alone.
    scan : vtkMRMLScalarVolumeNode or None
        What it was made from; without it only whole shares can be shown.
    share : float
        Strength, 0 for an undone result.
    """
    if not is_standardised(node):
        return
    display = node.GetScalarVolumeDisplayNode()
    source = None if scan is None else scan.GetScalarVolumeDisplayNode()
    if display is None or (source is None and share < 1):
        return
    low, high = REFERENCE_RANGE
    if source is not None:
        window, level = source.GetWindow(), source.GetLevel()
        low = share * low + (1 - share) * (level - window / 2)
        high = share * high + (1 - share) * (level + window / 2)
    display.SetAutoWindowLevel(False)
    display.SetWindowLevel(high - low, (high + low) / 2)
    if share > 0:
        display.SetApplyThreshold(False)  # the scan's threshold is in its own units


def in_units_of(result: Volume, baseline: Volume) -> np.ndarray:
    """Return a baseline brought to the units of its result by the straight line that fits best (least squares).

    What remains of a difference is more than another scale.

    Parameters
    ----------
    result, baseline : Volume
        On one grid.

    Returns
    -------
    ndarray
        float32, shape (K, J, I).
    """
    x, y = baseline.array.astype(np.float64), result.array.astype(np.float64)
    mean_x, mean_y = float(x.mean()), float(y.mean())
    spread = float(np.mean((x - mean_x) ** 2))
    slope = float(np.mean((x - mean_x) * (y - mean_y))) / spread if spread > 0 else 0.0
    return (mean_y + slope * (x - mean_x)).astype(np.float32)
