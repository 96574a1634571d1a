"""Private attributes of DICOM objects: found by their creator, decoded whatever the file says of their type.

Source: DICOM PS3.5, 7.8 (private data elements).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pydicom import Dataset

_log = logging.getLogger(__name__)

#: Blocks of 256 attributes that creators of a group can own; scanners use the first few.
_BLOCKS = range(0x10, 0x20)

#: Numpy types of value representations, little-endian, for attributes that a file declares as unknown (UN).
_BINARY = {"FD": "<f8", "FL": "<f4", "US": "<u2", "SS": "<i2", "UL": "<u4", "SL": "<i4"}


@dataclass(frozen=True)
class PrivateTag:
    """One private attribute.

    Attributes
    ----------
    group : int
    creator : str
        Who owns the block it lies in.
    block : int
        The block it lies in where no creator is written, as some anonymisers leave it.
    element : int
        Its place in the block.
    kind : str
        Value representation.
    """

    group: int
    creator: str
    block: int
    element: int
    kind: str


def tags_to_read(wanted: Iterable[PrivateTag]) -> list[int]:
    """Return all tags under which the attributes and their creators can lie."""
    wanted = list(wanted)
    creators = {(tag.group << 16) + block for tag in wanted for block in _BLOCKS}
    places = {(tag.group << 16) + (block << 8) + tag.element for tag in wanted for block in _BLOCKS}
    return sorted(creators | places)


def private_value(dataset: Dataset | None, tag: PrivateTag) -> Any:
    """Return the value of a private attribute as the file gives it, None where it is absent."""
    if dataset is None:
        return None
    places = {block: (tag.group << 16) + block for block in _BLOCKS}
    written = [block for block, place in places.items() if place in dataset]
    owned = [block for block in written if str(dataset[places[block]].value).strip().upper() == tag.creator.upper()]
    if not owned and tag.block not in written:
        owned = [tag.block]
    for block in owned:
        element = dataset.get((tag.group << 16) + (block << 8) + tag.element)
        if element is not None and element.value not in (None, ""):
            return element.value
    return None


def private_numbers(dataset: Dataset | None, tag: PrivateTag) -> np.ndarray | None:
    """Return the numbers of a private attribute, float64 (n,), None where it is absent or holds something else."""
    value = private_value(dataset, tag)
    if value is None:
        return None
    try:
        if isinstance(value, bytes) and tag.kind in _BINARY:
            return np.frombuffer(value, _BINARY[tag.kind]).astype(np.float64)
        if isinstance(value, bytes):
            value = value.decode("ascii").strip("\0 ")
        parts = value.split("\\") if isinstance(value, str) else np.atleast_1d(np.asarray(value, object))
        return np.array([float(part) for part in parts])
    except (TypeError, ValueError):
        return None


def private_items(dataset: Dataset | None, tag: PrivateTag) -> list[Dataset]:
    """Return the items of a private sequence, none where it is absent or something else."""
    from pydicom.sequence import Sequence
    from pydicom.values import convert_SQ

    value = private_value(dataset, tag)
    if isinstance(value, bytes):  # implicit VR: the file does not say that it is a sequence
        try:
            value = convert_SQ(value, True, True)
        except Exception as problem:  # pydicom lets struct, key and its own errors through for other bytes
            _log.debug("(%04x,%02x%02x) is not a sequence: %s", tag.group, tag.block, tag.element, problem)
    return list(value) if isinstance(value, Sequence) else []
