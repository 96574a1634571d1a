"""The scans of a folder: image files, and folders that hold a DICOM series."""

from __future__ import annotations

import os
from pathlib import Path

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.volumes.files import READABLE

#: Endings of single DICOM files: a folder of them is one scan, not many.
DICOM_ENDINGS = (".dcm", ".ima")


def image_files(folder: str | os.PathLike[str]) -> list[Path]:
    """Return the image files (no DICOM) that lie in a folder, sorted by name; hidden files are left out."""
    endings = tuple(ending for ending in READABLE if ending not in DICOM_ENDINGS)
    found = [path for path in Path(folder).iterdir() if path.is_file() and not path.name.startswith(".")]
    return sorted(path for path in found if path.name.lower().endswith(endings))


def holds_several_scans(folder: str | os.PathLike[str]) -> bool:
    """Tell whether a path is a folder of scans: it holds image files, or only folders; else it is one DICOM series."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        return False
    if image_files(path):
        return True
    entries = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    return bool(entries) and all(entry.is_dir() for entry in entries)


def list_scans(folder: str | os.PathLike[str]) -> list[Path]:
    """Return what :func:`~MRHarmonizationLib.volumes.files.read_volume` is to read, one path per scan, sorted.

    Parameters
    ----------
    folder : path-like
        Image files directly in it; and each of its folders that holds files, as a DICOM series.

    Raises
    ------
    InputError
        No such folder, or nothing in it.
    """
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise InputError(f"{path} is not a folder", "give a folder with scans")
    series = [
        entry
        for entry in path.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and any(inner.is_file() for inner in entry.iterdir())
    ]
    found = sorted([*image_files(path), *series])
    if not found:
        raise InputError(
            f"folder {path} holds no scans", f"put image files ({', '.join(READABLE[:4])} …) or DICOM folders into it"
        )
    return found
