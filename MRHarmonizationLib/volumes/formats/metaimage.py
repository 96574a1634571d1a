"""MetaImage: .mha with the voxels inside, .mhd with the voxels beside it.

Read here rather than through SimpleITK because ITK 5.4 returns damaged compressed files without an error and prints
to the error stream. Source: https://itk.org/Wiki/ITK/MetaIO/Documentation.
"""

from __future__ import annotations

import math
import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from MRHarmonizationLib.volumes.formats import common
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

#: MetaImage element types of real numbers.
_DTYPES = {
    "MET_UCHAR": "uint8", "MET_CHAR": "int8", "MET_USHORT": "uint16", "MET_SHORT": "int16", "MET_UINT": "uint32",
    "MET_INT": "int32", "MET_ULONG": "uint32", "MET_LONG": "int32", "MET_ULONG_LONG": "uint64",
    "MET_LONG_LONG": "int64", "MET_FLOAT": "float32", "MET_DOUBLE": "float64",
}  # fmt: skip
_NAMES = {
    "uint8": "MET_UCHAR", "int8": "MET_CHAR", "uint16": "MET_USHORT", "int16": "MET_SHORT", "uint32": "MET_UINT",
    "int32": "MET_INT", "uint64": "MET_ULONG_LONG", "int64": "MET_LONG_LONG", "float32": "MET_FLOAT",
    "float64": "MET_DOUBLE",
}  # fmt: skip

#: The header's last line is looked for in this many bytes.
_LARGEST_HEADER_BYTES = 1 << 16

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read(path: Path) -> Volume:
    """Read one volume from a .mha or .mhd file.

    Raises
    ------
    InputError
        Not MetaImage, truncated, damaged, 4-D, several channels, zero spacing, sheared or non-finite geometry.
    ResourceError
        Too large for the memory.
    """
    common.file_size(path)
    with open(path, "rb") as stream:
        fields, header_end = _read_header(stream, path)
    shape, spacing = _shape_and_spacing(fields, path)
    dtype = _dtype(fields, path)
    grid = _grid(fields, shape, spacing, path)
    data_path, start = _locate(fields, header_end, path)
    array = _read_samples(data_path, start, fields, shape, dtype)
    return Volume(array, grid)


def encode(volume: Volume) -> bytes:
    """Return the bytes of a compressed .mha file. Metadata is not stored."""
    array = common.storable(volume.array, "MetaImage", tuple(_NAMES))
    lps = _LPS_TO_RAS @ volume.grid.affine
    samples = common.deflated(array)
    fields = {
        "ObjectType": "Image",
        "NDims": 3,
        "BinaryData": True,
        "BinaryDataByteOrderMSB": False,
        "CompressedData": True,
        "CompressedDataSize": len(samples),
        "TransformMatrix": _numbers((lps[:3, :3] / volume.grid.spacing_mm).T),
        "Offset": _numbers(lps[:3, 3]),
        "ElementSpacing": _numbers(volume.grid.spacing_mm),
        "DimSize": " ".join(str(n) for n in volume.grid.size_ijk),
        "ElementType": _NAMES[array.dtype.newbyteorder("=").name],
        "ElementDataFile": "LOCAL",
    }
    return "".join(f"{name} = {value}\n" for name, value in fields.items()).encode("ascii") + samples


def _numbers(values: np.ndarray) -> str:
    return " ".join(repr(float(value)) for value in (values + 0.0).ravel())


def _read_header(stream: BinaryIO, path: Path) -> tuple[dict[str, str], int]:
    """Return the header's fields and the byte after its last line."""
    fields: dict[str, str] = {}
    if not stream.read(_LARGEST_HEADER_BYTES).lstrip().startswith((b"ObjectType", b"NDims", b"Comment")):
        stream.seek(0)
        raise common.refusal(
            path,
            f"is not a MetaImage file but {common.describe_content(stream.read(132))}",
            "give the file the extension of its format",
        )
    stream.seek(0)
    while "ElementDataFile" not in fields:
        line = stream.readline(_LARGEST_HEADER_BYTES)
        if not line or stream.tell() > _LARGEST_HEADER_BYTES:
            raise common.damaged(path, "ends inside its header: no line 'ElementDataFile'")
        name, separator, value = line.decode("latin-1").partition("=")
        if separator:
            fields[name.strip()] = value.strip()
    return fields, stream.tell()


def _floats(fields: dict[str, str], names: tuple[str, ...], count: int, path: Path) -> list[float] | None:
    """Return the numbers of the first field present, None where none is."""
    name = next((name for name in names if name in fields), None)
    if name is None:
        return None
    try:
        values = [float(word) for word in fields[name].split()]
    except ValueError:
        values = []
    if len(values) != count:
        raise common.refusal(path, f"{name} = {fields[name]!r} is not {count} numbers", "correct the image header")
    return values


def _shape_and_spacing(fields: dict[str, str], path: Path) -> tuple[tuple[int, int, int], list[float]]:
    try:
        sizes = [int(word) for word in fields["DimSize"].split()]
        rank = int(fields.get("NDims", len(sizes)))
    except (KeyError, ValueError):
        raise common.refusal(path, f"DimSize = {fields.get('DimSize')!r} is not a size", "correct the header") from None
    if len(sizes) != rank or not 2 <= rank <= 7 or min(sizes) < 1:
        raise common.refusal(path, f"DimSize = {fields['DimSize']!r} is not {rank} sizes", "correct the image header")
    volumes = math.prod(sizes[3:])
    if volumes > 1:
        raise common.several_volumes(path, volumes, f"DimSize {fields['DimSize']}")
    spacing = _floats(fields, ("ElementSpacing", "ElementSize"), rank, path) or [1.0] * rank
    if any(not math.isfinite(mm) or mm == 0 for mm in spacing[:3]):
        raise common.refusal(
            path, f"voxel spacing is {tuple(spacing[:3])} mm", "correct the spacing in the image header"
        )
    sizes, spacing = [*sizes, 1][:3], [*spacing, 1.0][:3]
    return (sizes[2], sizes[1], sizes[0]), spacing


def _dtype(fields: dict[str, str], path: Path) -> np.dtype:
    slope = _floats(fields, ("ElementToIntensityFunctionSlope",), 1, path) or [1.0]
    inter = _floats(fields, ("ElementToIntensityFunctionOffset",), 1, path) or [0.0]
    if (slope, inter) != ([1.0], [0.0]):
        raise common.refusal(
            path,
            f"asks for an intensity scaling (slope {slope[0]}, offset {inter[0]})",
            "save the scaled values as float",
        )
    channels = fields.get("ElementNumberOfChannels", "1")
    if channels != "1":
        raise common.several_values(path, int(channels) if channels.isdigit() else 0, "ElementNumberOfChannels")
    name = fields.get("ElementType", "")
    if name not in _DTYPES:
        raise common.refusal(path, f"ElementType {name!r} is not supported", f"expected one of {', '.join(_DTYPES)}")
    big = _flag(fields, "BinaryDataByteOrderMSB") or _flag(fields, "ElementByteOrderMSB")
    return np.dtype(_DTYPES[name]).newbyteorder(">" if big else "<")


def _flag(fields: dict[str, str], name: str, default: bool = False) -> bool:
    return fields[name][:1] in ("T", "t", "1") if name in fields else default


def _grid(fields: dict[str, str], shape: tuple[int, int, int], spacing: list[float], path: Path) -> Grid:
    rank = len(fields["DimSize"].split())
    matrix = _floats(fields, ("TransformMatrix", "Rotation", "Orientation"), rank * rank, path)
    offset = _floats(fields, ("Offset", "Position", "Origin"), rank, path)
    lps, used = np.eye(4), min(rank, 3)
    if matrix is not None:
        lps[:used, :used] = np.array(matrix).reshape(rank, rank).T[:used, :used]
    lps[:3, :3] *= spacing
    if offset is not None:
        lps[:used, 3] = offset[:used]
    return common.make_grid(path, shape, _LPS_TO_RAS @ lps, "TransformMatrix, ElementSpacing and Offset")


def _locate(fields: dict[str, str], header_end: int, path: Path) -> tuple[Path, int]:
    """Return the file that holds the voxels and the byte where they start (-1: counted from its end)."""
    name = fields["ElementDataFile"]
    if name.upper() == "LOCAL":
        return path, header_end
    data_path = path.parent / name
    if name.startswith("LIST") or "%" in name or not data_path.is_file():
        raise common.refusal(path, f"its voxels are in '{name}', which is not one file beside it", "save it as .mha")
    skipped = fields.get("HeaderSize", "0")
    if not skipped.lstrip("-").isdigit():
        raise common.refusal(path, f"HeaderSize = {skipped!r} is not a number", "correct the image header")
    return data_path, int(skipped)


def _read_samples(
    data_path: Path, start: int, fields: dict[str, str], shape: tuple[int, int, int], dtype: np.dtype
) -> np.ndarray:
    if not _flag(fields, "BinaryData", default=True):
        raise common.refusal(data_path, "stores its voxels as text", "save the image with BinaryData = True")
    size = common.file_size(data_path)
    needed = math.prod(shape) * dtype.itemsize
    with open(data_path, "rb") as file:
        if not _flag(fields, "CompressedData"):
            file.seek(size - needed if start < 0 and size >= needed else max(start, 0), os.SEEK_SET)
            return common.read_values(file, shape, dtype, data_path, size - file.tell())
        file.seek(max(start, 0))
        if needed > (size - start) * common.LARGEST_DEFLATE_RATIO:
            raise common.damaged(data_path, f"{size - start} compressed bytes cannot hold {needed} bytes of voxels")
        inflate = zlib.decompressobj(wbits=47)  # zlib or gzip wrapper, as MetaIO
        try:
            samples = inflate.decompress(file.read(), needed + 1)
        except zlib.error as problem:
            raise common.damaged(data_path, f"its compressed voxels cannot be read ({problem})") from None
    if len(samples) != needed or not inflate.eof:
        raise common.damaged(data_path, f"holds {len(samples)} bytes of voxels, the header promises {needed}")
    return np.frombuffer(samples, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)
