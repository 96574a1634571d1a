"""Reading and writing volumes: NIfTI, NRRD, MetaImage, and DICOM for reading."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from MRHarmonizationLib.core.errors import InputError, OutputError, ParameterError, ResourceError
from MRHarmonizationLib.volumes import dicom
from MRHarmonizationLib.volumes.atomic import (
    check_output_path,
    digest_file,
    write_bytes_atomic,
    write_json_atomic,
    write_text_atomic,
)
from MRHarmonizationLib.volumes.formats import common, metaimage, nifti, nrrd
from MRHarmonizationLib.volumes.volume import Volume

__all__ = [
    "READABLE",
    "WRITABLE",
    "check_output_path",
    "check_volume_output",
    "digest_file",
    "read_volume",
    "volume_stem",
    "write_bytes_atomic",
    "write_json_atomic",
    "write_text_atomic",
    "write_volume",
]

_READERS: dict[str, Callable[[Path], Volume]] = {
    ".nii": nifti.read,
    ".nii.gz": nifti.read,
    ".nrrd": nrrd.read,
    ".nhdr": nrrd.read,
    ".mha": metaimage.read,
    ".mhd": metaimage.read,
    ".dcm": dicom.read_file,
    ".ima": dicom.read_file,
}
_ENCODERS: dict[str, Callable[[Volume], bytes]] = {
    ".nii": lambda volume: nifti.encode(volume, compress=False),
    ".nii.gz": lambda volume: nifti.encode(volume, compress=True),
    ".nrrd": nrrd.encode,
    ".mha": metaimage.encode,
}

#: File name endings that can be read (folders are read as DICOM) and written.
READABLE: tuple[str, ...] = tuple(_READERS)
WRITABLE: tuple[str, ...] = tuple(_ENCODERS)


def read_volume(path: str | os.PathLike[str], series_uid: str | None = None) -> Volume:
    """Read one three-dimensional image.

    Parameters
    ----------
    path : path-like
        A .nii, .nii.gz, .nrrd, .nhdr, .mha, .mhd or DICOM file, or a folder with a DICOM series.
    series_uid : str, optional
        Which DICOM series of the folder.

    Returns
    -------
    Volume
        With its stored sample type where the file has no intensity scaling, float32 or float64 otherwise. Named
        after the file, or the DICOM series description.

    Raises
    ------
    InputError
        Whatever keeps the file from being one real three-dimensional image with a known geometry; the message names
        the value and the remedy.
    ParameterError
        ``series_uid`` given for a file that is not DICOM.
    ResourceError
        Too large for the memory.
    """
    source = Path(path).expanduser()
    try:
        mode = source.stat().st_mode
        if stat.S_ISDIR(mode):
            volume = dicom.read_series(source, series_uid)
        elif not stat.S_ISREG(mode):
            raise common.refusal(source, "is a device or a pipe, not a file", "give an image file or a DICOM folder")
        elif (reader := _reader_for(source)) is dicom.read_file:
            volume = dicom.read_file(source, series_uid)
        elif series_uid is not None:
            raise ParameterError(f"series_uid {series_uid} given, but {source} is not DICOM", "leave series_uid out")
        else:
            volume = reader(source)
    except MemoryError:
        raise ResourceError(f"{source}: the image does not fit in memory", "close other programs") from None
    except (InputError, ParameterError):
        raise
    except FileNotFoundError:
        raise common.refusal(source, "does not exist", "check the path") from None
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise common.refusal(source, f"cannot be read ({reason})", "check the path and its permissions") from problem
    return replace(volume, name=volume.name or volume_stem(source))


def write_volume(volume: Volume, path: str | os.PathLike[str], overwrite: bool = True) -> Path:
    """Write a volume to a file that appears under its name only when it is complete.

    Geometry is stored in double precision in .nrrd and .mha, in float32 in NIfTI. bool is stored as uint8 and
    float16 as float32, everything else as it is. Metadata is kept in .nrrd only.

    Parameters
    ----------
    volume : Volume
    path : path-like
        Ends with .nii.gz, .nii, .nrrd or .mha.
    overwrite : bool
        Whether an existing file may be replaced.

    Returns
    -------
    Path
        The absolute path written.

    Raises
    ------
    OutputError
        Unsupported extension or sample type, or the file cannot be written.
    """
    target = check_volume_output(path, overwrite=overwrite)
    return write_bytes_atomic(_ENCODERS[_ending(target, WRITABLE)](volume), target, overwrite)


def check_volume_output(path: str | os.PathLike[str], bytes_needed: int = 0, overwrite: bool = True) -> Path:
    """Make sure, before any work, that :func:`write_volume` can write here; see :func:`check_output_path`.

    Raises
    ------
    OutputError
        As :func:`check_output_path`, and for an extension that cannot be written.
    """
    for name in (Path(path), Path(path).expanduser().resolve()):  # a link must not hide another extension
        if not _ending(name, WRITABLE):
            raise OutputError(
                f"output {name} does not end with a supported extension", f"use one of {', '.join(WRITABLE)}"
            )
    return check_output_path(path, bytes_needed, overwrite)


def volume_stem(path: str | os.PathLike[str]) -> str:
    """Return a file's name without folder and without its image extension ('scan' for 'a/scan.nii.gz')."""
    name = Path(path).name
    return name[: len(name) - len(_ending(Path(path), READABLE))]


def _ending(path: Path, endings: tuple[str, ...]) -> str:
    """Return the ending of a path among those given, the longest, or ''."""
    name = path.name.lower()
    fitting = [ending for ending in endings if name.endswith(ending) and len(name) > len(ending)]
    return max(fitting, key=len, default="")


def _reader_for(path: Path) -> Callable[[Path], Volume]:
    ending = _ending(path, READABLE)
    if ending:
        return _READERS[ending]
    common.file_size(path)
    if dicom.looks_like_dicom(path):
        return dicom.read_file
    raise common.refusal(
        path,
        f"'{path.suffix or path.name}' is not the extension of a supported image",
        f"use one of {', '.join(READABLE)}, or a folder with a DICOM series",
    )
