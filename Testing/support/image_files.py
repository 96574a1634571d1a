"""Image files written by hand, good and bad, so that readers are not tested with their own writers."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path

import nibabel as nib
import numpy as np


def nifti(
    path: Path,
    array: np.ndarray | None = None,
    sform: np.ndarray | None = None,
    qform: np.ndarray | None = None,
    codes: tuple[int, int] = (1, 0),
    zooms: tuple[float, ...] | None = None,
    version: int = 1,
    byte_order: str = "<",
    **fields: object,
) -> Path:
    """Write a NIfTI file with nibabel; ``codes`` are (sform, qform), ``array`` is in (I, J, K, ...) order."""
    if array is None:
        array = np.arange(60, dtype=np.int16).reshape(5, 4, 3)
    header = (nib.Nifti1Header if version == 1 else nib.Nifti2Header)(endianness=byte_order)
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    if zooms is not None:
        header.set_zooms(zooms)
    affine = np.diag([2.0, 2.0, 3.0, 1.0]) if sform is None else sform
    header.set_qform(np.diag([2.0, 2.0, 3.0, 1.0]) if qform is None else qform, code=1)
    header.set_sform(affine, code=1)
    header["sform_code"], header["qform_code"] = codes
    header["vox_offset"] = 352 if version == 1 else 544
    header["scl_slope"], header["scl_inter"] = 1, 0
    header["xyzt_units"] = 2
    for name, value in fields.items():
        header[name] = value
    magic = (b"n+1", b"n+2\0\r\n\x1a\n")[version - 1]
    header["magic"] = magic
    samples = array.astype(array.dtype.newbyteorder(byte_order)).tobytes(order="F")
    content = header.binaryblock + b"\0\0\0\0" + samples
    path.write_bytes(gzip.compress(content) if path.name.endswith(".gz") else content)
    return path


def set_bytes(path: Path, offset: int, code: str, *values: float) -> Path:
    """Overwrite a field of an uncompressed file."""
    content = bytearray(path.read_bytes())
    struct.pack_into(code, content, offset, *values)
    path.write_bytes(content)
    return path


def cut(path: Path, keep: float | int) -> Path:
    """Shorten a file to a fraction (float) or to a number of bytes, negative ones taken off its end."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * keep) if isinstance(keep, float) else keep])
    return path


NRRD = {
    "type": "short",
    "dimension": "3",
    "space": "left-posterior-superior",
    "sizes": "5 4 3",
    "space directions": "(2,0,0) (0,2,0) (0,0,3)",
    "kinds": "domain domain domain",
    "endian": "little",
    "encoding": "raw",
    "space origin": "(1,2,3)",
}

MHA = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "1 0 0 0 1 0 0 0 1",
    "Offset": "1 2 3",
    "ElementSpacing": "2 2 3",
    "DimSize": "5 4 3",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}

SAMPLES = np.arange(60, dtype="<i2").tobytes()


def nrrd(path: Path, samples: bytes = SAMPLES, extra: str = "", **changes: str | None) -> Path:
    """Write an NRRD file; a field changed to None is left out (``space_directions`` names 'space directions')."""
    fields = NRRD | {name.replace("_", " "): value for name, value in changes.items()}
    fields = {name: fields.pop(name) for name in ("space dimension",) if name in fields} | fields  # must come early
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    path.write_bytes(("NRRD0005\n" + "\n".join(lines) + "\n" + extra + "\n").encode() + samples)
    return path


def mha(path: Path, samples: bytes = SAMPLES, **changes: str | None) -> Path:
    """Write a MetaImage file; a field changed to None is left out."""
    fields = {name: value for name, value in (MHA | changes).items() if value is not None}
    last = fields.pop("ElementDataFile", None)
    lines = [f"{name} = {value}\n" for name, value in fields.items()]
    if last is not None:
        lines.append(f"ElementDataFile = {last}\n")
    path.write_bytes("".join(lines).encode() + samples)
    return path
