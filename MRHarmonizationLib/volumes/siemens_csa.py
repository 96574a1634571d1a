"""Siemens' CSA header: the scanner's own record inside a DICOM attribute.

Source: nibabel, "Siemens format DICOM with CSA header", https://nipy.org/nibabel/dicom/siemens_csa.html.
"""

from __future__ import annotations

import struct

#: First bytes of the newer layout (CSA2); the older (CSA1) starts with the number of entries.
_CSA2 = b"SV10"

#: Bytes of an entry's head: name, multiplicity, representation, type, number of items, a check value.
_ENTRY = struct.Struct("<64si4s3i")

#: Bytes of an item's head: four numbers, of which the second (CSA2) or the first (CSA1) is its length.
_ITEM = struct.Struct("<4i")

_MOST_ENTRIES = 1024
_MOST_ITEMS = 1 << 16


def read_csa(data: bytes) -> dict[str, list[str]]:
    """Return the entries of a CSA header that hold something.

    Parameters
    ----------
    data : bytes
        Value of (0029,xx10) or (0029,xx20).

    Returns
    -------
    dict of str to list of str
        Texts of each entry. Empty if the bytes are no CSA header; what follows a damaged entry is left out.
    """
    modern = data[:4] == _CSA2
    position = 8 if modern else 0
    entries: dict[str, list[str]] = {}
    try:
        (count,) = struct.unpack_from("<I", data, position)
        if not 0 < count <= _MOST_ENTRIES:
            return {}
        position += 8
        correction = None
        for _ in range(count):
            name, _, _, _, n_items, _ = _ENTRY.unpack_from(data, position)
            position += _ENTRY.size
            if correction is None and not modern:
                correction = n_items  # CSA1 tells lengths relative to the first entry's number of items
            if not 0 <= n_items <= _MOST_ITEMS:
                break
            texts, position = _read_items(data, position, n_items, None if modern else correction)
            if texts:
                entries[name.split(b"\0")[0].decode("latin-1")] = texts
    except (struct.error, ValueError):
        pass
    return entries


def _read_items(data: bytes, position: int, count: int, correction: int | None) -> tuple[list[str], int]:
    texts = []
    for _ in range(count):
        head = _ITEM.unpack_from(data, position)
        position += _ITEM.size
        length = head[1] if correction is None else head[0] - correction
        if not 0 <= length <= len(data) - position:
            if correction is None:
                raise ValueError(f"item of {length} bytes")
            break  # CSA1: no more items in this entry
        text = data[position : position + length].split(b"\0")[0].decode("latin-1").strip()
        if text:
            texts.append(text)
        position += (length + 3) // 4 * 4
    return texts, position
