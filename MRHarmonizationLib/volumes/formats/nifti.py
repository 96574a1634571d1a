"""NIfTI-1 and NIfTI-2, single file, plain or gzip-compressed.

Read here rather than through SimpleITK because ITK 5.4 returns truncated files without an error, replaces a sheared
sform by the qform and writes directions it has made orthogonal. Source: NIfTI-1.1 (nifti1.h, R. W. Cox, 2007) and
NIfTI-2 (2011), https://nifti.nimh.nih.gov.
"""

from __future__ import annotations

import gzip
import logging
import math
import os
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from MRHarmonizationLib.core.errors import OutputError
from MRHarmonizationLib.volumes.formats import common
from MRHarmonizationLib.volumes.formats.quaternions import nearest_rotation, quaternion_of, rotation_of
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

_log = logging.getLogger(__name__)

_GZIP_MAGIC = b"\x1f\x8b"

#: Header fields used here: byte offset and struct format, for the 348-byte and the 540-byte header.
_FIELDS_1 = {
    "dim": (40, "8h"),
    "datatype": (70, "h"),
    "pixdim": (76, "8f"),
    "vox_offset": (108, "f"),
    "scl_slope": (112, "f"),
    "scl_inter": (116, "f"),
    "xyzt_units": (123, "B"),
    "descrip": (148, "80s"),
    "qform_code": (252, "h"),
    "sform_code": (254, "h"),
    "quatern": (256, "3f"),
    "qoffset": (268, "3f"),
    "srow": (280, "12f"),
}
_FIELDS_2 = {
    "datatype": (12, "h"),
    "dim": (16, "8q"),
    "pixdim": (104, "8d"),
    "vox_offset": (168, "q"),
    "scl_slope": (176, "d"),
    "scl_inter": (184, "d"),
    "descrip": (240, "80s"),
    "qform_code": (344, "i"),
    "sform_code": (348, "i"),
    "quatern": (352, "3d"),
    "qoffset": (376, "3d"),
    "srow": (400, "12d"),
    "xyzt_units": (500, "i"),
}
_HEADER_BYTES = {1: 348, 2: 540}
_MAGIC = {1: (344, b"n+1\0"), 2: (4, b"n+2\0\r\n\x1a\n")}

#: NIfTI datatype codes of real numbers.
_DTYPES = {
    2: "uint8", 4: "int16", 8: "int32", 16: "float32", 64: "float64",
    256: "int8", 512: "uint16", 768: "uint32", 1024: "int64", 1280: "uint64",
}  # fmt: skip
_CODES = {name: code for code, name in _DTYPES.items()}
#: Sample types that can be written.
SAMPLE_TYPES = tuple(_CODES)
#: Datatype codes of several values per voxel: number and kind.
_COMPOUND = {
    32: (2, "complex"), 1792: (2, "complex"), 2048: (2, "complex"), 128: (3, "RGB colour"), 2304: (4, "RGBA colour"),
}  # fmt: skip

#: Millimetres per unit of length, by the low three bits of xyzt_units (0: not stated, taken as mm).
_UNIT_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}

#: Largest size of an axis in a NIfTI-1 header (int16).
_LARGEST_SIZE_1 = 32767

#: sform and qform further apart than this at a corner of the image are reported, in mm.
_FORMS_DISAGREE_MM = 0.1


@dataclass(frozen=True)
class NiftiHeader:
    """The fields of a NIfTI header that say what the voxels are and where they lie, as stored.

    Attributes
    ----------
    version : {1, 2}
    byte_order : {'<', '>'}
    dim, pixdim : tuple of 8
    datatype : int
    vox_offset : float
        First voxel's byte.
    scl_slope, scl_inter : float
    xyzt_units, qform_code, sform_code : int
    quatern, qoffset : tuple of 3
    srow : tuple of 12
    descrip : bytes
    """

    version: int
    byte_order: str
    dim: tuple[int, ...]
    datatype: int
    pixdim: tuple[float, ...]
    vox_offset: float
    scl_slope: float
    scl_inter: float
    xyzt_units: int
    descrip: bytes
    qform_code: int
    sform_code: int
    quatern: tuple[float, ...]
    qoffset: tuple[float, ...]
    srow: tuple[float, ...]

    @property
    def unit_mm(self) -> float:
        """Millimetres per unit of length of the affine; undefined codes count as mm."""
        return _UNIT_MM.get(self.xyzt_units & 7, 1.0)

    @property
    def sform(self) -> np.ndarray:
        """The sform as a (4, 4) affine to RAS mm."""
        affine = np.eye(4)
        affine[:3] = np.array(self.srow, float).reshape(3, 4) * self.unit_mm
        return affine

    @property
    def qform(self) -> np.ndarray:
        """The qform as a (4, 4) affine to RAS mm (nifti1.h, method 2); NaN where the quaternion is not a rotation."""
        spacing = np.abs(np.array(self.pixdim[1:4], float))
        if self.pixdim[0] < 0:
            spacing[2] = -spacing[2]
        affine = np.eye(4)
        affine[:3, :3] = rotation_of(np.array(self.quatern, float)) * spacing * self.unit_mm
        affine[:3, 3] = np.array(self.qoffset, float) * self.unit_mm
        return affine

    @property
    def unplaced(self) -> np.ndarray:
        """The affine where neither form is set: axes taken as L, P, S from the origin, as ITK and Slicer do."""
        affine = np.eye(4)
        affine[:3, :3] = np.diag(np.abs(self.pixdim[1:4]) * np.array([-1, -1, 1])) * self.unit_mm
        return affine


def read(path: Path) -> Volume:
    """Read one volume from a .nii or .nii.gz file.

    The sform is used where its code is positive, else the qform (as nibabel, FSL, FreeSurfer and SPM do; ITK prefers
    the qform in some cases: files in which both disagree are reported in the log). ``scl_slope`` and ``scl_inter``
    are applied: the values are then float32, or float64 where float32 could not hold the stored integers.

    Raises
    ------
    InputError
        Not NIfTI, truncated, 4-D, complex, colour, zero spacing, sheared or non-finite affine.
    ResourceError
        Too large for the memory.
    """
    header, grid, array = read_samples(path, _shape)
    description = header.descrip.split(b"\0")[0].decode("latin-1").strip()
    return Volume(array, grid, metadata={"description": description} if description else {})


def read_samples(
    path: Path, shape_of: Callable[[NiftiHeader, Path], tuple[int, ...]]
) -> tuple[NiftiHeader, Grid, np.ndarray]:
    """Read the header, the grid and the scaled voxels of a file; refusals as :func:`read`.

    Parameters
    ----------
    path : Path
    shape_of : callable
        Says from the header which shape the voxels have, ending with (K, J, I), or refuses it.
    """
    size = common.file_size(path)
    with open(path, "rb") as file:
        compressed = file.read(2) == _GZIP_MAGIC
        file.seek(0)
        stream = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if compressed else file
        header = parse_header(_read_up_to(stream, _HEADER_BYTES[2], path), path)
        shape = shape_of(header, path)
        dtype = _dtype(header, path)
        grid = _grid(header, (shape[-3], shape[-2], shape[-1]), path)
        offset = _voxel_offset(header, path)
        if offset > size and not compressed:
            raise common.damaged(path, f"has {size} bytes, its first voxel is at byte {offset}")
        _seek(stream, offset, path)
        available = size * common.LARGEST_DEFLATE_RATIO if compressed else size - offset
        stored = common.read_values(stream, shape, dtype, path, available)
        if compressed:
            common.check_gzip_end(stream, path)
    return header, grid, _scaled(stored, header, path)


def parse_header(data: bytes, path: str | os.PathLike[str]) -> NiftiHeader:
    """Read the header from the first 540 bytes of a file (348 are enough for NIfTI-1).

    Raises
    ------
    InputError
        Not a NIfTI file, or a pair of .hdr and .img.
    """
    for version, order in ((1, "<"), (1, ">"), (2, "<"), (2, ">")):
        if data[:4] == struct.pack(f"{order}i", _HEADER_BYTES[version]):
            break
    else:
        raise common.refusal(
            path,
            f"is not a NIfTI file but {common.describe_content(data)}",
            "give the file the extension of its format",
        )
    if len(data) < _HEADER_BYTES[version]:
        raise common.damaged(path, f"has {len(data)} bytes, a NIfTI header has {_HEADER_BYTES[version]}")
    start, magic = _MAGIC[version]
    found = data[start : start + len(magic)]
    if found != magic:
        raise common.refusal(
            path,
            f"is not a single-file NIfTI (magic {found!r}, expected {magic!r}): an ANALYZE file or a .hdr/.img pair",
            "convert it to .nii.gz",
        )
    values: dict[str, Any] = {}
    for name, (start, code) in (_FIELDS_1 if version == 1 else _FIELDS_2).items():
        unpacked = struct.unpack_from(order + code, data, start)
        values[name] = unpacked if len(unpacked) > 1 else unpacked[0]
    return NiftiHeader(version=version, byte_order=order, **values)


def encode(volume: Volume, compress: bool) -> bytes:
    """Return the bytes of a NIfTI-1 file: sform exact to float32, qform the nearest rotation, both "scanner".

    Volumes with axes longer than 32767 voxels are refused with OutputError. Metadata is not stored.
    """
    array = common.storable(volume.array, "NIfTI", SAMPLE_TYPES)
    header = encode_header(volume.grid, array.dtype)
    if compress:
        return common.deflated(array, prefix=header, gzip_wrapper=True)
    return header + array.tobytes()


def encode_header(grid: Grid, dtype: np.dtype, volumes: int = 1) -> bytes:
    """Return the 352 bytes before the voxels: sform exact to float32, qform the nearest rotation, both "scanner".

    Parameters
    ----------
    grid : Grid
    dtype : dtype
        Little-endian, of one of the supported types.
    volumes : int
        Number of volumes; more than one make the file 4-D.

    Raises
    ------
    OutputError
        An axis longer than 32767.
    """
    size = grid.size_ijk
    if max(*size, volumes) > _LARGEST_SIZE_1:
        raise OutputError(
            f"NIfTI-1 cannot hold {size} voxels x {volumes} (at most {_LARGEST_SIZE_1} per axis)", "write .nrrd"
        )
    rotation, handedness = nearest_rotation(grid.directions)
    values: dict[str, tuple[Any, ...]] = {
        "dim": (3 if volumes == 1 else 4, *size, volumes, 1, 1, 1),
        "datatype": (_CODES[dtype.newbyteorder("=").name],),
        "pixdim": (handedness, *grid.spacing_mm, 1.0, 0.0, 0.0, 0.0),
        "vox_offset": (352.0,),
        "scl_slope": (1.0,),
        "scl_inter": (0.0,),
        "xyzt_units": (2,),
        "descrip": (b"",),
        "qform_code": (1,),
        "sform_code": (1,),
        "quatern": tuple(quaternion_of(rotation)),
        "qoffset": tuple(grid.origin_ras),
        "srow": tuple(grid.affine[:3].ravel()),
    }
    header = bytearray(352)
    struct.pack_into("<i", header, 0, _HEADER_BYTES[1])
    for name, (start, code) in _FIELDS_1.items():
        struct.pack_into(f"<{code}", header, start, *values[name])
    struct.pack_into("<h", header, 72, dtype.itemsize * 8)
    struct.pack_into("4s", header, _MAGIC[1][0], _MAGIC[1][1])
    return bytes(header)


def _read_up_to(stream: BinaryIO, count: int, path: Path) -> bytes:
    try:
        return stream.read(count)
    except (EOFError, zlib.error, OSError) as problem:
        raise common.damaged(path, f"cannot be decompressed ({problem})") from None


def _seek(stream: BinaryIO, offset: int, path: Path) -> None:
    """Go to a byte; a compressed stream that ends before it is noticed when the voxels are read."""
    try:
        stream.seek(offset)
    except (EOFError, zlib.error, OSError) as problem:
        raise common.damaged(path, f"cannot be decompressed ({problem})") from None


def _shape(header: NiftiHeader, path: Path) -> tuple[int, int, int]:
    rank, sizes = header.dim[0], header.dim[1:]
    if not 1 <= rank <= 7 or min(sizes[: max(rank, 1)]) < 1:
        raise common.refusal(path, f"dim {list(header.dim)} is not a valid size", "correct the image header")
    used = [*sizes[:rank], *([1] * (7 - rank))]
    volumes, vectors = used[3], math.prod(used[4:])
    text = " x ".join(str(n) for n in sizes[:rank])
    if vectors > 1:
        raise common.several_values(path, vectors, f"vectors, dim {text}")
    if volumes > 1:
        raise common.several_volumes(path, volumes, f"dim {text}")
    return used[2], used[1], used[0]


def _dtype(header: NiftiHeader, path: Path) -> np.dtype:
    if header.datatype in _COMPOUND:
        count, kind = _COMPOUND[header.datatype]
        raise common.several_values(path, count, f"{kind}, NIfTI datatype {header.datatype}")
    if header.datatype not in _DTYPES:
        raise common.refusal(
            path,
            f"NIfTI datatype {header.datatype} is not supported; expected one of {sorted(_DTYPES)}",
            "save the image as float32 or int16",
        )
    return np.dtype(header.byte_order + np.dtype(_DTYPES[header.datatype]).str[1:])


def _voxel_offset(header: NiftiHeader, path: Path) -> int:
    offset, least = header.vox_offset, _HEADER_BYTES[header.version] + 4
    if not math.isfinite(offset) or offset < least or offset != int(offset):
        raise common.damaged(path, f"vox_offset {offset} is not a byte position after the header ({least} or more)")
    return int(offset)


def _grid(header: NiftiHeader, shape: tuple[int, int, int], path: Path) -> Grid:
    spacing = header.pixdim[1:4]
    if any(not math.isfinite(mm) or mm == 0 for mm in spacing):
        raise common.refusal(
            path, f"pixdim gives a voxel spacing of {spacing} mm", "correct the spacing in the image header"
        )
    if header.sform_code > 0:
        grid = common.make_grid(path, shape, header.sform, "sform")
        if header.qform_code > 0:
            _report_disagreement(header, grid, path)
        return grid
    if header.qform_code > 0:
        return common.make_grid(path, shape, header.qform, "qform")
    _log.warning("%s does not say where it lies (sform and qform codes are 0); axes are taken as L, P, S", path)
    return common.make_grid(path, shape, header.unplaced, "pixdim")


def _report_disagreement(header: NiftiHeader, grid: Grid, path: Path) -> None:
    qform = header.qform
    if not np.all(np.isfinite(qform)):
        return
    corners = grid.ras_to_ijk(grid.corners_ras())
    distance = float(np.max(np.abs(corners @ qform[:3, :3].T + qform[:3, 3] - grid.corners_ras())))
    if distance > _FORMS_DISAGREE_MM:
        _log.warning(
            "%s: sform and qform place the image up to %.1f mm apart; the sform is used (Slicer may use the other)",
            path,
            distance,
        )


def _scaled(stored: np.ndarray, header: NiftiHeader, path: Path) -> np.ndarray:
    slope, inter = float(header.scl_slope), float(header.scl_inter)
    if not math.isfinite(slope) or slope == 0 or (slope, inter) == (1.0, 0.0):
        return stored  # nifti1.h: a slope of 0 means that no scaling is stored
    if not math.isfinite(inter):
        raise common.refusal(path, f"scl_inter is {inter} with scl_slope {slope}", "correct the image header")
    scaled = np.empty(stored.shape, np.result_type(stored.dtype, np.float32))
    for plane, source in zip(scaled, stored, strict=True):
        plane[...] = source.astype(np.float64) * slope + inter
    return scaled
