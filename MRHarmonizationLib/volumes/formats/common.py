"""What the readers and writers of all formats share: refusals, exact reading, sample types."""

from __future__ import annotations

import io
import math
import os
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO

import numpy as np

from MRHarmonizationLib.core.errors import GridError, InputError, OutputError, ResourceError
from MRHarmonizationLib.volumes.grid import Grid

#: DEFLATE effort: float images hardly shrink, and level 9 makes them one percent smaller than this one.
COMPRESSION_LEVEL = 3

#: DEFLATE cannot shrink data by more than this factor (zlib documentation, "Maximum Compression Factor").
LARGEST_DEFLATE_RATIO = 1032

#: First bytes of files that are mistaken for images, or for another image format.
_CONTENTS = (
    (b"NRRD", "an NRRD file"),
    (b"\x1f\x8b", "a gzip-compressed file"),
    (b"ObjectType", "a MetaImage file"),
    (b"\x5c\x01\x00\x00", "a NIfTI-1 or ANALYZE file"),
    (b"\x00\x00\x01\x5c", "a NIfTI-1 or ANALYZE file"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"PK\x03\x04", "a ZIP archive"),
    (b"<", "a web page or XML, perhaps a failed download"),
    (b"version https://git-lfs", "a Git LFS pointer: the image itself was not downloaded"),
)


def refusal(path: str | os.PathLike[str], problem: str, remedy: str) -> InputError:
    """Return the error that a file cannot be used, led by its path."""
    return InputError(f"{os.fspath(path)}: {problem}", remedy)


def damaged(path: str | os.PathLike[str], problem: str) -> InputError:
    """Return the error that a file is cut short or altered."""
    return refusal(path, problem, "the file is truncated or damaged: copy or download it again")


def several_volumes(path: str | os.PathLike[str], count: int, axes: str) -> InputError:
    """Return the error that a file holds a series of volumes."""
    return refusal(
        path,
        f"is 4-D ({axes}): it holds {count} volumes, expected one",
        "choose one volume of the series and save it as its own file",
    )


def single_volume(path: str | os.PathLike[str], axes: str) -> InputError:
    """Return the error that a file holds one volume where a diffusion series is needed."""
    return refusal(
        path,
        f"is 3-D ({axes}): it holds one volume, expected a diffusion series of several",
        "choose the 4-D file of the series",
    )


def several_values(path: str | os.PathLike[str], count: int, kind: str) -> InputError:
    """Return the error that a file holds colours, vectors or complex numbers."""
    return refusal(
        path,
        f"holds {count} values per voxel ({kind}), expected one real number",
        "extract one component, for example the magnitude, or one volume of a diffusion series",
    )


def describe_content(head: bytes) -> str:
    """Say what the first bytes of a file are, as far as they tell."""
    if len(head) >= 132 and head[128:132] == b"DICM":
        return "a DICOM file"
    for start, name in _CONTENTS:
        if head.startswith(start):
            return name
    return f"something else (it starts with {head[:8]!r})"


def file_size(path: Path) -> int:
    """Return the size of a non-empty file in bytes; raise InputError for an empty one."""
    size = path.stat().st_size
    if size == 0:
        raise damaged(path, "is empty (0 bytes)")
    return size


def make_grid(path: str | os.PathLike[str], shape: tuple[int, int, int], affine: np.ndarray, source: str) -> Grid:
    """Return the grid of a file's (K, J, I) shape and RAS affine; refusals name the file and the header field."""
    try:
        return Grid(shape, affine)
    except GridError as problem:
        raise GridError(f"{os.fspath(path)}: {source}: {problem.problem}", problem.remedy) from None


def read_values(
    stream: BinaryIO, shape: tuple[int, ...], dtype: np.dtype, path: str | os.PathLike[str], available: int
) -> np.ndarray:
    """Read exactly the voxels of a volume.

    Parameters
    ----------
    stream : binary stream
        Placed at the first voxel; may decompress.
    shape : tuple of int
    dtype : dtype
        Of the stored samples, with their byte order.
    path : path-like
        For messages.
    available : int
        An upper bound of what the stream can deliver in bytes: absurd sizes in a header are refused before memory is
        asked for.

    Returns
    -------
    ndarray, shape (K, J, I), native byte order

    Raises
    ------
    InputError
        Fewer bytes than voxels, or damaged compression.
    ResourceError
        The volume does not fit in memory.
    """
    needed = math.prod(shape) * dtype.itemsize
    if needed > available:
        raise damaged(path, f"at most {available} bytes of voxels are left, the header promises {needed}")
    try:
        array = np.empty(shape, dtype)
    except MemoryError:
        raise ResourceError(
            f"{os.fspath(path)}: {needed / 2**30:.1f} GiB of voxels do not fit in memory", "close other programs"
        ) from None
    buffer = array.reshape(-1).view(np.uint8).data
    done = 0
    try:
        while done < needed:
            count = stream.readinto(buffer[done:])  # type: ignore[attr-defined]
            if not count:
                raise damaged(path, f"ends after {done} of {needed} bytes of voxels")
            done += count
    except (EOFError, zlib.error, OSError) as problem:
        raise damaged(path, f"cannot be read after {done} of {needed} bytes of voxels ({problem})") from None
    return array.astype(dtype.newbyteorder("="), copy=False)


def check_gzip_end(stream: BinaryIO, path: Path) -> None:
    """Read to the end of the stream: only there gzip compares its checksum."""
    try:
        while stream.read(io.DEFAULT_BUFFER_SIZE * 16):
            pass
    except (EOFError, zlib.error, OSError) as problem:
        raise damaged(path, f"fails its checksum ({problem})") from None


def storable(array: np.ndarray, format_name: str, supported: tuple[str, ...]) -> np.ndarray:
    """Return the array in a sample type a format can hold, without loss, little-endian and contiguous.

    bool becomes uint8 and float16 float32.

    Raises
    ------
    OutputError
        Any other type the format does not hold.
    """
    widened = {"bool": "uint8", "float16": "float32"}.get(array.dtype.name, array.dtype.name)
    if widened not in supported:
        raise OutputError(
            f"{format_name} cannot hold samples of type {array.dtype.name}",
            f"convert to one of {', '.join(supported)}",
        )
    return np.ascontiguousarray(array, dtype=np.dtype(widened).newbyteorder("<"))


def deflated(array: np.ndarray, prefix: bytes = b"", gzip_wrapper: bool = False) -> bytes:
    """Return the compressed bytes of a prefix and an array's samples, in a zlib or a gzip wrapper."""
    return deflated_parts([array], prefix, gzip_wrapper)


def deflated_parts(arrays: Iterable[np.ndarray], prefix: bytes = b"", gzip_wrapper: bool = False) -> bytes:
    """Return the compressed bytes of a prefix and of several arrays' samples, one after the other."""
    deflate = zlib.compressobj(COMPRESSION_LEVEL, wbits=31 if gzip_wrapper else 15)
    parts = [deflate.compress(prefix)]
    parts.extend(deflate.compress(array.reshape(-1).view(np.uint8).data) for array in arrays)
    return b"".join((*parts, deflate.flush()))
