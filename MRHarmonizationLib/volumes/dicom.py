"""Reading a DICOM series, classic or enhanced multi-frame, as one volume (pydicom)."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.volumes.dicom_frames import (
    IMAGE_KEYWORDS,
    Frame,
    count_of,
    first_item,
    frames_of,
    is_mosaic,
    quiet_pydicom,
    read_object,
    stored_values,
    text_of,
    value_of,
)
from MRHarmonizationLib.volumes.dicom_stack import grid_of_frames, rescaled, sort_frames
from MRHarmonizationLib.volumes.formats import common
from MRHarmonizationLib.volumes.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

_log = logging.getLogger(__name__)

_PREAMBLE_BYTES = 128

#: Attributes read from every file of a folder.
_SCANNED = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "SeriesDescription", "Modality", "ImageType",
    "Rows", "Columns", "NumberOfFrames", "ImageOrientationPatient",
)  # fmt: skip

#: Objects with rows and columns that are no scans: segmentations, doses, presentation.
_NO_SCANS = ("SEG", "RTDOSE", "RTIMAGE", "PR", "SR", "KO", "DOC", "REG")

#: Secondary capture (screenshots and the like): its SOP class and those below it.
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"

#: What of a scan is kept as metadata: DICOM keyword, functional group of enhanced objects, name. Nothing identifying.
_TEXTS = (
    ("Modality", "", "modality"),
    ("SeriesDescription", "", "series_description"),
    ("ScanningSequence", "", "scanning_sequence"),
)
_NUMBERS = (
    ("MagneticFieldStrength", "", "magnetic_field_strength_t"),
    ("RepetitionTime", "MRTimingAndRelatedParametersSequence", "repetition_time_ms"),
    ("EchoTime", "", "echo_time_ms"),
    ("EffectiveEchoTime", "MREchoSequence", "echo_time_ms"),
    ("InversionTime", "", "inversion_time_ms"),
    ("FlipAngle", "MRTimingAndRelatedParametersSequence", "flip_angle_deg"),
)

#: At most this many series are listed in a message.
_LISTED_SERIES = 12


@dataclass(frozen=True)
class SeriesInfo:
    """One image series of a folder.

    Attributes
    ----------
    uid : str
        SeriesInstanceUID.
    number : int or None
        SeriesNumber.
    description : str
        SeriesDescription.
    modality : str
    n_images : int
        Images in all files (an enhanced file holds many).
    files : tuple of Path
        In order of their paths, each object once.
    """

    uid: str
    number: int | None
    description: str
    modality: str
    n_images: int
    files: tuple[Path, ...]

    @property
    def n_files(self) -> int:
        """Number of files."""
        return len(self.files)

    def __str__(self) -> str:
        number = "" if self.number is None else f"{self.number} "
        return f"{number}'{self.description}' ({self.modality}, {self.n_images} images, {self.uid})"


def looks_like_dicom(path: str | os.PathLike[str]) -> bool:
    """Tell by its preamble whether a file is DICOM (PS3.10, 7.1)."""
    with open(path, "rb") as stream:
        return stream.read(_PREAMBLE_BYTES + 4)[_PREAMBLE_BYTES:] == b"DICM"


def list_series(folder: str | os.PathLike[str]) -> list[SeriesInfo]:
    """List the image series below a folder, by series number; files that are no scans are passed over.

    Parameters
    ----------
    folder : path-like
        Searched with all folders below it.

    Raises
    ------
    InputError
        The folder is missing, or a DICOM file is damaged.
    """
    root = Path(folder).expanduser()
    if not root.is_dir():
        raise common.refusal(root, "is not a folder", "give the folder that holds the DICOM files")
    with quiet_pydicom():
        found = [_series_info(uid, files) for uid, files in _scans_below(root).items()]
    return sorted(found, key=lambda series: (series.number is None, series.number or 0, series.uid))


def read_series(folder: str | os.PathLike[str], uid: str | None = None) -> Volume:
    """Read one series of a folder as a volume.

    Slices are ordered by position, not by number or name. Geometry follows the positions of the slices (LPS of the
    file becomes RAS). Stored values are rescaled by each image's own slope and intercept.

    Parameters
    ----------
    folder : path-like
    uid : str, optional
        SeriesInstanceUID; may be left out where the folder holds one series.

    Returns
    -------
    Volume
        Named after the series description; the stored integers where nothing is rescaled, float32 otherwise.

    Raises
    ------
    InputError
        No series, several without ``uid``, an unknown ``uid``, several volumes (4-D), a montage, missing or uneven
        slices, several orientations, colour, damaged files.
    """
    series = _choose(list_series(folder), uid, folder)
    with quiet_pydicom():
        return _read_files(series.files, f"{os.fspath(folder)} (series {series.uid})")


def choose_series(source: str | os.PathLike[str], uid: str | None = None) -> SeriesInfo:
    """Return the one series of a folder, or of a file that holds a whole volume or more.

    Parameters
    ----------
    source : path-like
    uid : str, optional
        SeriesInstanceUID; may be left out where there is one series.

    Raises
    ------
    InputError
        No series, several without ``uid``, an unknown ``uid``; a file that is not DICOM or is one slice of a series.
    """
    path = Path(source).expanduser()
    if not path.is_file():
        return _choose(list_series(path), uid, source)
    with quiet_pydicom():
        return _choose([_series_of_file(path)], uid, source)


def read_file(path: str | os.PathLike[str], uid: str | None = None) -> Volume:
    """Read one enhanced multi-frame DICOM file as a volume; see :func:`read_series`.

    Parameters
    ----------
    path : path-like
    uid : str, optional
        The SeriesInstanceUID the file must have.

    Raises
    ------
    InputError
        As :func:`read_series`; also a classic file, which is one slice of a series.
    """
    with quiet_pydicom():
        series = _choose([_series_of_file(Path(path))], uid, path)
        return _read_files(series.files, os.fspath(path))


def _series_of_file(source: Path) -> SeriesInfo:
    common.file_size(source)
    if not looks_like_dicom(source):
        with open(source, "rb") as stream:
            content = common.describe_content(stream.read(_PREAMBLE_BYTES + 4))
        raise common.refusal(source, f"is not a DICOM file but {content}", "give the file the extension of its format")
    dataset = read_object(source, _SCANNED)
    if not _is_scan(dataset):
        kind = getattr(value_of(dataset, "SOPClassUID"), "name", "of unknown kind")
        raise common.refusal(source, f"is a DICOM object without a placed image ({kind})", "choose an image series")
    if not count_of(dataset, "NumberOfFrames", default=0) and not is_mosaic(dataset):
        raise common.refusal(source, "is one slice of a DICOM series", "give the folder that holds all its slices")
    return _series_info(text_of(dataset, "SeriesInstanceUID"), [(source, dataset)])


def _scans_below(root: Path) -> dict[str, list[tuple[Path, Dataset]]]:
    """Return the files that hold scans and their scanned attributes, by series, each object once."""
    members: dict[str, list[tuple[Path, Dataset]]] = {}
    seen: set[str] = set()
    for path in _files_below(root):
        if not looks_like_dicom(path):
            continue
        dataset = read_object(path, _SCANNED)
        instance = text_of(dataset, "SOPInstanceUID") or str(path)
        if not _is_scan(dataset) or instance in seen:
            _log.debug("%s passed over: %s", path, "a copy" if instance in seen else "not a scan")
            continue
        seen.add(instance)
        members.setdefault(text_of(dataset, "SeriesInstanceUID"), []).append((path, dataset))
    return members


def _files_below(root: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(root):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.is_file():
                yield path


def _is_scan(dataset: Dataset) -> bool:
    """Tell whether an object holds images that can have a place in the patient."""
    is_image = all(count_of(dataset, size, default=0) for size in ("Rows", "Columns"))
    if not is_image or text_of(dataset, "Modality") in _NO_SCANS:
        return False
    capture = text_of(dataset, "SOPClassUID").startswith(_SECONDARY_CAPTURE)
    many = count_of(dataset, "NumberOfFrames", default=0) > 0
    return value_of(dataset, "ImageOrientationPatient") is not None or (many and not capture)


def _series_info(uid: str, files: list[tuple[Path, Dataset]]) -> SeriesInfo:
    first = files[0][1]
    number = value_of(first, "SeriesNumber")
    return SeriesInfo(
        uid=uid,
        number=int(number) if isinstance(number, int) else None,
        description=text_of(first, "SeriesDescription"),
        modality=text_of(first, "Modality"),
        n_images=sum(count_of(dataset, "NumberOfFrames") for _, dataset in files),
        files=tuple(path for path, _ in files),
    )


def _choose(found: list[SeriesInfo], uid: str | None, folder: str | os.PathLike[str]) -> SeriesInfo:
    if not found:
        raise common.refusal(
            folder,
            "holds no DICOM images with a position in space",
            "give a folder with a DICOM series, or an image file",
        )
    fitting = found if uid is None else [series for series in found if series.uid == uid]
    if len(fitting) == 1:
        return fitting[0]
    listed = "; ".join(str(series) for series in found[:_LISTED_SERIES])
    more = f"; and {len(found) - _LISTED_SERIES} more" if len(found) > _LISTED_SERIES else ""
    if uid is None:
        raise common.refusal(
            folder, f"holds {len(found)} DICOM series: {listed}{more}", "pass the UID of one of them as series_uid"
        )
    raise common.refusal(folder, f"holds no series {uid}; it has {listed}{more}", "pass one of these as series_uid")


def _read_files(files: tuple[Path, ...], source: str) -> Volume:
    keywords = (*IMAGE_KEYWORDS, *(keyword for keyword, _, _ in _TEXTS + _NUMBERS))
    objects = {path: read_object(path, keywords) for path in files}
    mosaics = sum(is_mosaic(dataset) for dataset in objects.values())
    if mosaics:
        raise _mosaic_error(mosaics, source)
    frames = [frame for path, dataset in objects.items() for frame in frames_of(dataset, path)]
    ordered = sort_frames(frames, source)
    grid = grid_of_frames(ordered, source)
    values = {path: stored_values(dataset, path) for path, dataset in objects.items()}
    planes = [_plane(values[frame.path], frame) for frame in ordered]
    first = objects[ordered[0].path]
    return Volume(rescaled(planes, ordered), grid, text_of(first, "SeriesDescription"), _metadata(first))


def _plane(values: np.ndarray, frame: Frame) -> np.ndarray:
    if frame.index >= len(values):
        raise common.damaged(frame.path, f"holds {len(values)} images, its header describes {frame.index + 1} or more")
    return np.asarray(values[frame.index])


def _mosaic_error(count: int, source: str) -> InputError:
    if count > 1:
        return common.several_volumes(source, count, f"{count} files, each the montage of a whole volume")
    return common.refusal(
        source, "stores its slices as a montage in one image", "convert it to NIfTI first, for example with dcm2niix"
    )


def _metadata(dataset: Dataset) -> dict[str, str]:
    shared = first_item(dataset, "SharedFunctionalGroupsSequence")
    metadata: dict[str, str] = {}
    for keyword, group, name in _TEXTS + _NUMBERS:
        value = value_of(first_item(shared, group), keyword) if group else None
        value = value_of(dataset, keyword) if value is None else value
        if (keyword, group, name) in _NUMBERS and not isinstance(value, (int, float)):
            continue
        if value not in (None, ""):
            metadata[name] = str(value) if isinstance(value, (str, int, float)) else "/".join(map(str, value))
    return metadata
