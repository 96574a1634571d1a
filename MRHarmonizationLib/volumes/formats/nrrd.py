"""NRRD: .nrrd with the voxels inside, .nhdr with the voxels beside it; raw and gzip encodings.

Read here rather than through SimpleITK because NrrdIO does not compare gzip's checksum: altered voxels come back
without an error. Source: http://teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import gzip
import itertools
import math
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np

from MRHarmonizationLib.core.errors import OutputError
from MRHarmonizationLib.volumes.formats import common
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

#: The first name of each sample type is the one written.
_TYPES = {
    "uint8": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "int8": ("signed char", "int8", "int8_t"),
    "uint16": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "int16": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "uint32": ("uint", "unsigned int", "uint32", "uint32_t"),
    "int32": ("int", "signed int", "int32", "int32_t"),
    "uint64": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "int64": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "float32": ("float",),
    "float64": ("double",),
}
#: Sample types that can be written.
SAMPLE_TYPES = tuple(_TYPES)
_DTYPES = {name: dtype for dtype, names in _TYPES.items() for name in names}

#: Kinds of axes along which lie positions, not values of one voxel or points in time.
_SPATIAL_KINDS = ("domain", "space", "???", "none")
#: Kinds of axes along which whole volumes follow each other.
_SERIES_KINDS = ("time", "list")

#: Signs that turn each named space into RAS; those not named here are taken as LPS, as ITK does.
_TO_RAS: dict[str, tuple[int, int, int]] = {
    "right-anterior-superior": (1, 1, 1), "ras": (1, 1, 1),
    "left-anterior-superior": (-1, 1, 1), "las": (-1, 1, 1),
}  # fmt: skip
_LPS_TO_RAS = (-1, -1, 1)

#: Longest header (a diffusion header of a thousand directions has a tenth of it).
_LARGEST_HEADER_BYTES = 1 << 20

_Fields = dict[str, str]


def read(path: Path) -> Volume:
    """Read one volume from a .nrrd or .nhdr file; its key:=value pairs become metadata.

    Raises
    ------
    InputError
        Not NRRD, truncated, damaged, 4-D, vectors, colour, zero spacing, sheared or non-finite geometry.
    ResourceError
        Too large for the memory.
    """
    content = read_samples(path, _spatial_axes)
    return Volume(content.array, content.grid, metadata=content.metadata)


def read_metadata(path: Path) -> dict[str, str]:
    """Return the key:=value pairs of a file without reading its voxels.

    Raises
    ------
    InputError
        Not NRRD, or its header is cut short.
    """
    common.file_size(path)
    with open(path, "rb") as stream:
        return _read_header(stream, path)[1]


@dataclass(frozen=True)
class NrrdContent:
    """What an NRRD file holds.

    Attributes
    ----------
    fields : dict of str to str
        Header fields, names in lower case.
    metadata : dict of str to str
        Key:=value pairs.
    grid : Grid
    array : ndarray
        Voxels, the axes asked for, slowest first.
    """

    fields: dict[str, str]
    metadata: dict[str, str]
    grid: Grid
    array: np.ndarray


def read_samples(path: Path, axes_of: Callable[[_Fields, Path], list[int]]) -> NrrdContent:
    """Read header, grid and voxels of a file; refusals as :func:`read`.

    Parameters
    ----------
    path : Path
    axes_of : callable
        Says from the header fields which axes of the file are i, j, k and, if there is one, the volumes; or refuses
        them. All others have one entry.
    """
    common.file_size(path)
    with open(path, "rb") as stream:
        fields, metadata, header_end = _read_header(stream, path)
    axes = axes_of(fields, path)
    sizes = axis_sizes(fields, path)
    affine = np.diag([*to_ras_signs(fields), 1]) @ _affine(fields, axes[:3], path)
    grid = common.make_grid(path, (sizes[axes[2]], sizes[axes[1]], sizes[axes[0]]), affine, "space directions")
    dtype = _dtype(fields, path)
    data_path = _data_path(fields, path)
    stored = _read_samples(data_path, header_end if data_path == path else 0, fields, tuple(sizes[::-1]), dtype)
    single = [axis for axis in range(len(sizes)) if axis not in axes]
    ordered = stored.transpose([len(sizes) - 1 - axis for axis in (*single, *axes[::-1])])
    return NrrdContent(fields, metadata, grid, ordered[(0,) * len(single)])


def encode(volume: Volume) -> bytes:
    """Return the bytes of a gzip-compressed .nrrd file, geometry exact, metadata as key:=value pairs.

    Raises
    ------
    OutputError
        A metadata key that NRRD cannot hold, or an unsupported sample type.
    """
    array = common.storable(volume.array, "NRRD", SAMPLE_TYPES)
    return encode_header(volume.grid, array.dtype, volume.metadata) + common.deflated(array, gzip_wrapper=True)


def encode_header(grid: Grid, dtype: np.dtype, metadata: Mapping[str, str], volumes: int = 0) -> bytes:
    """Return the header of a gzip-compressed, little-endian file in LPS, empty line included.

    Parameters
    ----------
    grid : Grid
    dtype : dtype
    metadata : mapping of str to str
        Written as key:=value pairs.
    volumes : int
        Number of volumes along a fourth, slowest axis; 0 for a three-dimensional file. Directions of a series are in
        the file's space (its measurement frame is the identity).
    """
    lps = np.diag([*_LPS_TO_RAS, 1]) @ grid.affine + 0.0
    series = volumes > 0
    lines = [
        "NRRD0005",
        f"type: {_TYPES[dtype.newbyteorder('=').name][0]}",
        f"dimension: {4 if series else 3}",
        "space: left-posterior-superior",
        f"sizes: {' '.join(str(n) for n in (*grid.size_ijk, *([volumes] if series else [])))}",
        f"space directions: {' '.join(_vector_text(column) for column in lps[:3, :3].T)}{' none' if series else ''}",
        f"kinds: domain domain domain{' list' if series else ''}",
        "endian: little",
        "encoding: gzip",
        f"space origin: {_vector_text(lps[:3, 3])}",
        *(["measurement frame: (1,0,0) (0,1,0) (0,0,1)"] if series else []),
        *(_key_value(key, value) for key, value in metadata.items()),
    ]
    return ("\n".join(lines) + "\n\n").encode("utf-8")


def _vector_text(values: np.ndarray) -> str:
    return f"({','.join(repr(float(value)) for value in values)})"


def _key_value(key: str, value: str) -> str:
    if not re.fullmatch(r"[^#\s:]([^\r\n:]|:(?![= ]))*(?<!:)", key):
        raise OutputError(f"metadata key {key!r} cannot be stored in NRRD", "rename it")
    escaped = str(value).replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "")
    return f"{key}:={escaped}"


def _read_header(stream: BinaryIO, path: Path) -> tuple[_Fields, dict[str, str], int]:
    """Return fields (names in lower case), key:=value pairs, and the byte after the header."""
    if stream.read(4) != b"NRRD":
        stream.seek(0)
        raise common.refusal(
            path,
            f"is not an NRRD file but {common.describe_content(stream.read(132))}",
            "give the file the extension of its format",
        )
    stream.readline(_LARGEST_HEADER_BYTES)
    fields: _Fields = {}
    metadata: dict[str, str] = {}
    while stream.tell() < _LARGEST_HEADER_BYTES:
        line = stream.readline(_LARGEST_HEADER_BYTES)
        text = line.decode("utf-8", errors="replace").rstrip("\r\n")
        # The header ends with an empty line, or with the file where the voxels are in another one.
        if not text and (line or "data file" in fields or "datafile" in fields):
            return fields, metadata, stream.tell()
        if not line:
            break
        field = re.match(r"([^#].*?)(:=|: )(.*)", text)
        if field is None:
            continue
        if field[2] == ":=":
            metadata[field[1]] = re.sub(r"\\(.)", lambda m: "\n" if m[1] == "n" else m[1], field[3])
        else:
            fields[field[1].strip().lower()] = field[3].strip()
    raise common.damaged(path, "ends inside its header")


def axis_sizes(fields: _Fields, path: Path) -> list[int]:
    """Return the size of each axis, fastest first."""
    name = "sizes"
    try:
        values = [int(word) for word in fields[name].split()]
    except (KeyError, ValueError):
        values = []
    if not values or min(values) < 1 or len(values) != _rank(fields):
        raise common.refusal(
            path,
            f"{name}: {fields.get(name)!r} does not fit dimension: {fields.get('dimension')!r}",
            "correct the header",
        )
    return values


def _rank(fields: _Fields) -> int:
    text = fields.get("dimension", "")
    return int(text) if text.isdigit() else 0


def axis_directions(fields: _Fields, path: Path) -> list[list[float] | None]:
    """Return the vector of each axis, None where it is not in space."""
    rank = _rank(fields)
    if "space directions" in fields:
        words = re.findall(r"\([^)]*\)|\S+", fields["space directions"])
        vectors = [None if word.lower() == "none" else vector_of(word) for word in words]
    else:
        words = fields.get("spacings", " ".join(["1"] * rank)).split()
        kinds = fields.get("kinds", " ".join(["domain"] * rank)).lower().split()
        units = itertools.cycle(np.eye(3).tolist())
        vectors = [
            [_number(word) * unit for unit in next(units)] if kind in _SPATIAL_KINDS else None
            for word, kind in zip(words, kinds, strict=False)
        ]
    if len(vectors) != rank:
        raise common.refusal(
            path, f"describes {len(vectors)} axes ({' '.join(words)}) of {rank}", "correct the image header"
        )
    for word, vector in zip(words, vectors, strict=True):
        if vector is not None and not (math.isfinite(math.hypot(*vector)) and math.hypot(*vector) > 0):
            raise common.refusal(
                path, f"spacing of axis {words.index(word)} is {word}: zero or not finite", "correct the image header"
            )
    return vectors


def _spatial_axes(fields: _Fields, path: Path) -> list[int]:
    """Return the three axes in space, fastest first; all others must have one entry."""
    sizes = axis_sizes(fields, path)
    axes = [axis for axis, vector in enumerate(axis_directions(fields, path)) if vector is not None]
    kinds = fields.get("kinds", "").lower().split()
    axes, beyond = axes[:3], axes[3:]
    for axis, size in enumerate(sizes):
        if axis in axes or size == 1:
            continue
        kind = kinds[axis] if axis < len(kinds) else "none"
        if axis in beyond or kind in _SERIES_KINDS or (kind in _SPATIAL_KINDS and axis > 0):
            raise common.several_volumes(path, size, f"sizes {' x '.join(map(str, sizes))}, axis of kind {kind}")
        raise common.several_values(path, size, f"axis of kind {kind}")
    if len(axes) < 3:
        raise common.refusal(
            path, f"has {len(axes)} axes in space (sizes {fields['sizes']}), expected 3", "choose a volume of slices"
        )
    return axes


def _affine(fields: _Fields, axes: list[int], path: Path) -> np.ndarray:
    directions = axis_directions(fields, path)
    affine = np.eye(4)
    if any(len(directions[axis] or ()) != 3 for axis in axes):
        raise common.refusal(
            path,
            f"space directions {fields['space directions']} are not of three coordinates",
            "correct the image header",
        )
    affine[:3, :3] = np.array([directions[axis] for axis in axes]).T
    for name in ("axis mins", "axismins"):
        if name in fields and "space origin" not in fields:
            raise common.refusal(path, f"is placed by {name}: {fields[name]}", "save it with a space origin")
    origin = vector_of(fields.get("space origin", "(0,0,0)"))
    if len(origin) != 3 or not all(math.isfinite(value) for value in origin):
        raise common.refusal(path, f"space origin is {fields.get('space origin')}", "correct the image header")
    affine[:3, 3] = origin
    return affine


def to_ras_signs(fields: _Fields) -> tuple[int, int, int]:
    """Return the signs that turn coordinates of the file's space into RAS."""
    return _TO_RAS.get(fields.get("space", "").lower(), _LPS_TO_RAS)


def vector_of(word: str) -> list[float]:
    """Return the numbers of a vector such as '(1,0,0)', NaN for what is none."""
    return [_number(part) for part in word.strip("()").split(",")]


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return math.nan


def _dtype(fields: _Fields, path: Path) -> np.dtype:
    name = fields.get("type", "")
    if name not in _DTYPES:
        raise common.refusal(path, f"type {name!r} is not supported", f"expected one of {', '.join(_TYPES)}")
    dtype = np.dtype(_DTYPES[name])
    endian = fields.get("endian", "").lower()
    if endian not in ("little", "big") and dtype.itemsize > 1:
        raise common.refusal(path, f"endian {endian!r} does not say the byte order", "expected little or big")
    return dtype.newbyteorder(">" if endian == "big" else "<")


def _data_path(fields: _Fields, path: Path) -> Path:
    name = fields.get("data file", fields.get("datafile"))
    if name is None:
        return path
    data_path = path.parent / name
    if name.startswith("LIST") or "%" in name or not data_path.is_file():
        raise common.refusal(path, f"its voxels are in '{name}', which is not one file beside it", "save it as .nrrd")
    return data_path


def _skip(fields: _Fields, name: str, path: Path) -> int:
    value = _number(fields.get(name, fields.get(name.replace(" ", ""), "0")))
    if not (value.is_integer() and -1 <= value < 2**40):
        raise common.refusal(path, f"{name} is {fields.get(name)!r}", "correct the image header")
    return int(value)


def _read_samples(path: Path, start: int, fields: _Fields, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    encoding = fields.get("encoding", "").lower()
    if encoding not in ("raw", "gzip", "gz"):
        raise common.refusal(path, f"encoding {encoding!r} is not supported", "save it with encoding gzip or raw")
    skipped_bytes, skipped_lines = (_skip(fields, name, path) for name in ("byte skip", "line skip"))
    size = common.file_size(path)
    needed = math.prod(shape) * dtype.itemsize
    with open(path, "rb") as file:
        file.seek(start)
        for _ in range(skipped_lines):
            file.readline()
        if encoding == "raw":
            place = size - needed if skipped_bytes == -1 else file.tell() + skipped_bytes
            file.seek(max(place, 0), os.SEEK_SET)
            return common.read_values(file, shape, dtype, path, size - file.tell())
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=file))
        array = common.read_values(stream, shape, dtype, path, (size - start) * common.LARGEST_DEFLATE_RATIO)
        common.check_gzip_end(stream, path)
        return array
