"""Single images of DICOM objects: where each lies, what it shows, and its stored values.

Classic objects hold one image per file, enhanced ones many with their attributes in functional groups.
Source: DICOM PS3.3 C.7.6.2 (image plane), C.7.6.16 (multi-frame functional groups), https://dicom.nema.org.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MRHarmonizationLib.volumes.formats import common

if TYPE_CHECKING:
    from pydicom import Dataset

_log = logging.getLogger(__name__)

_STANDARD_ERROR = 2

#: Image types of files that hold a whole volume as a montage of its slices (Siemens, United Imaging).
_MOSAIC_TYPES = ("MOSAIC", "VFRAME")

#: What tells apart images at one position: DICOM keyword, and the functional group it has in enhanced objects.
_LABELS = (
    ("DiffusionBValue", "MRDiffusionSequence"),
    ("EffectiveEchoTime", "MREchoSequence"),
    ("EchoTime", ""),
    ("TemporalPositionIdentifier", ""),
    ("TemporalPositionIndex", "FrameContentSequence"),
    ("AcquisitionNumber", ""),
    ("TriggerTime", ""),
    ("ImageType", ""),
    ("FrameType", "MRImageFrameTypeSequence"),
)

#: Transfer syntaxes that pydicom decodes by itself although compressed: RLE and deflated.
_PYDICOM_DECODES = ("1.2.840.10008.1.2.5", "1.2.840.10008.1.2.1.99")

#: Attributes that describe stored samples (PS3.3 C.7.6.3).
_PIXEL_KEYWORDS = (
    "SamplesPerPixel", "PhotometricInterpretation", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "NumberOfFrames",
)  # fmt: skip

#: Where an object can have its samples.
PIXEL_DATA = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

#: All that is needed of an object to place its images and to decode them.
IMAGE_KEYWORDS = (
    *_PIXEL_KEYWORDS, *PIXEL_DATA, "PerFrameFunctionalGroupsSequence",
    "SharedFunctionalGroupsSequence", "ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing",
    "SpacingBetweenSlices", "SliceThickness", "RescaleSlope", "RescaleIntercept",
    *(keyword for keyword, group in _LABELS),
)  # fmt: skip

#: Media storage class of a DICOMDIR, which holds no pixels.
_DICOM_DIRECTORY = "1.2.840.10008.1.3.10"

_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@dataclass(frozen=True)
class Frame:
    """One image in the patient's space.

    Attributes
    ----------
    path : Path
        File that holds it.
    index : int
        Which of the file's images.
    shape : (rows, columns)
    position_lps : ndarray, shape (3,)
        Centre of the first pixel, mm.
    row_direction, column_direction : ndarray, shape (3,)
        Unit vectors (LPS) of increasing column index and of increasing row index.
    pixel_spacing_mm : (between rows, between columns)
    slice_spacing_mm : float or None
        Stated distance between slices, else their thickness; used for a single slice only.
    slope, intercept : float
        Stored values to image values.
    labels : dict of str to str
        Contrast, diffusion weighting, time: what images at one position can differ in.
    """

    path: Path
    index: int
    shape: tuple[int, int]
    position_lps: np.ndarray
    row_direction: np.ndarray
    column_direction: np.ndarray
    pixel_spacing_mm: tuple[float, float]
    slice_spacing_mm: float | None
    slope: float
    intercept: float
    labels: dict[str, str]


def read_object(path: Path, keywords: Sequence[str], private: Sequence[int] = ()) -> Dataset:
    """Read some attributes of a DICOM object, and nothing after the last of them.

    Parameters
    ----------
    path : Path
    keywords : sequence of str
        DICOM keywords of the outermost level; sequences are read whole.
    private : sequence of int
        Tags without a keyword that are read too.

    Raises
    ------
    InputError
        The file is damaged.
    """
    from pydicom.datadict import tag_for_keyword
    from pydicom.filereader import read_partial

    tags = [tag for tag in map(tag_for_keyword, ("SpecificCharacterSet", *keywords)) if tag is not None]
    tags.extend(private)
    last = max(tags)
    passed: list[int] = []

    def stop(tag: int, *_: Any) -> bool:
        if tag > last:
            passed.append(tag)
        return bool(passed)

    with open(path, "rb") as stream:
        try:
            dataset = read_partial(stream, stop, specific_tags=tags)
        except OSError:
            raise
        except Exception as problem:  # pydicom lets struct, key, value and its own errors through for damaged files
            raise common.damaged(path, f"cannot be read as DICOM ({problem})") from problem
    # pydicom stops without a word where a file is cut; pixels that are cut are found when they are decoded.
    whole = any(name in dataset for name in PIXEL_DATA) if PIXEL_DATA[0] in keywords else bool(passed)
    if not whole and text_of(dataset.file_meta, "MediaStorageSOPClassUID") != _DICOM_DIRECTORY:
        raise common.damaged(path, "ends inside its DICOM header")
    return dataset


def value_of(dataset: Dataset | None, keyword: str) -> Any:
    """Return an attribute's value, None where it is absent or cannot be understood."""
    try:
        return None if dataset is None else dataset.get(keyword)
    except Exception as problem:  # pydicom converts a value when it is asked for, and each type fails in its own way
        _log.debug("%s cannot be understood: %s", keyword, problem)
        return None


def text_of(dataset: Dataset | None, keyword: str) -> str:
    """Return an attribute as text, '' where it is absent or cannot be understood."""
    value = value_of(dataset, keyword)
    return "" if value is None else str(value)


def count_of(dataset: Dataset, keyword: str, default: int = 1) -> int:
    """Return an attribute that is one positive number, the default where it is not."""
    value = value_of(dataset, keyword)
    return int(value) if isinstance(value, int) and value > 0 else default


def items_of(dataset: Dataset | None, keyword: str) -> list[Dataset]:
    """Return the items of a sequence attribute, none where it is absent or something else."""
    from pydicom.sequence import Sequence as DicomSequence

    value = value_of(dataset, keyword)
    return list(value) if isinstance(value, DicomSequence) else []


def first_item(dataset: Dataset | None, keyword: str) -> Dataset | None:
    """Return the first item of a sequence attribute, None where there is none."""
    return next(iter(items_of(dataset, keyword)), None)


def is_mosaic(dataset: Dataset) -> bool:
    """Tell whether an object holds a volume as a montage of its slices in one image."""
    return any(kind in _MOSAIC_TYPES for kind in _strings(value_of(dataset, "ImageType")))


def frames_of(dataset: Dataset, path: Path) -> list[Frame]:
    """Return the images of an object, in stored order.

    Raises
    ------
    InputError
        Colour, or an attribute that places the image is missing or impossible.
    """
    samples = count_of(dataset, "SamplesPerPixel")
    photometric = text_of(dataset, "PhotometricInterpretation") or "MONOCHROME2"
    if samples > 1 or not photometric.startswith("MONOCHROME"):
        raise common.several_values(path, max(samples, 3), f"colour, {photometric}")
    per_frame = items_of(dataset, "PerFrameFunctionalGroupsSequence")
    shared = first_item(dataset, "SharedFunctionalGroupsSequence")
    if per_frame:
        return [_frame(dataset, path, n, (item, shared)) for n, item in enumerate(per_frame)]
    count = count_of(dataset, "NumberOfFrames")
    if count > 1:
        raise common.refusal(
            path, f"holds {count} images without saying where each lies", "export it as classic or enhanced MR"
        )
    return [_frame(dataset, path, 0, (shared,))]


def stored_values(dataset: Dataset, path: Path) -> np.ndarray:
    """Return the samples of an object as stored, shape (frames, rows, columns), no rescaling.

    JPEG-compressed objects are decoded by SimpleITK (GDCM), all others by pydicom.

    Raises
    ------
    InputError
        Truncated, damaged or unsupported pixel data.
    """
    syntax = value_of(dataset.file_meta, "TransferSyntaxUID")
    try:
        if syntax is not None and syntax.is_compressed and syntax not in _PYDICOM_DECODES:
            array = _decoded_by_gdcm(dataset, str(syntax))
        else:
            array = dataset.pixel_array
    except (MemoryError, OSError):
        raise
    except Exception as problem:  # each decoder has its own errors
        name = getattr(syntax, "name", "no transfer syntax")
        reason = " ".join(str(problem).split())[:200]
        raise common.damaged(path, f"its pixels ({name}) cannot be read ({reason})") from problem
    return array.reshape((-1, count_of(dataset, "Rows"), count_of(dataset, "Columns")))


def _decoded_by_gdcm(dataset: Dataset, syntax: str) -> np.ndarray:
    """Decode through a copy that holds the pixels alone, so that GDCM neither rescales nor sorts."""
    import SimpleITK as sitk
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, generate_uid

    copy = Dataset()
    for keyword in (*_PIXEL_KEYWORDS, "PixelData"):
        if keyword in dataset:
            copy[keyword] = dataset[keyword]
    copy.SOPClassUID, copy.SOPInstanceUID = UID(_SECONDARY_CAPTURE), generate_uid()
    copy.file_meta = FileMetaDataset()
    copy.file_meta.MediaStorageSOPClassUID = copy.SOPClassUID
    copy.file_meta.MediaStorageSOPInstanceUID = copy.SOPInstanceUID
    copy.file_meta.TransferSyntaxUID = UID(syntax)
    with tempfile.TemporaryDirectory(prefix="mrh-dicom-") as folder:
        file = Path(folder) / "pixels.dcm"
        copy.save_as(file, enforce_file_format=True)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(file))
        with _quiet_gdcm():
            return np.asarray(sitk.GetArrayFromImage(reader.Execute()))


@contextlib.contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keep back pydicom's warnings about odd but harmless values, which come when a value is first asked for."""
    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


@contextlib.contextmanager
def _quiet_gdcm() -> Iterator[None]:
    """Keep ITK's warnings, and what the JPEG libraries inside GDCM print, off the error stream; it goes to the log."""
    import SimpleITK as sitk

    shown = sitk.ProcessObject.GetGlobalWarningDisplay()
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    with tempfile.TemporaryFile() as kept:
        sys.stderr.flush()
        stream = os.dup(_STANDARD_ERROR)
        os.dup2(kept.fileno(), _STANDARD_ERROR)
        try:
            yield
        finally:
            os.dup2(stream, _STANDARD_ERROR)
            os.close(stream)
            sitk.ProcessObject.SetGlobalWarningDisplay(shown)
            kept.seek(0)
            if printed := kept.read().decode(errors="replace").strip():
                _log.debug("GDCM: %s", printed)


def _frame(dataset: Dataset, path: Path, index: int, groups: tuple[Any, ...]) -> Frame:
    where = path if len(groups) == 1 else Path(f"{path} (image {index + 1})")
    orientation = _required(dataset, groups, "ImageOrientationPatient", "PlaneOrientationSequence", 6, where)
    position = _required(dataset, groups, "ImagePositionPatient", "PlanePositionSequence", 3, where)
    spacing = _required(dataset, groups, "PixelSpacing", "PixelMeasuresSequence", 2, where)
    row, column = orientation[:3], orientation[3:]
    if min(spacing) <= 0:
        raise common.refusal(where, f"PixelSpacing is {spacing.tolist()} mm", "correct the spacing in the image header")
    if min(np.linalg.norm(row), np.linalg.norm(column)) < 1e-3:
        raise common.refusal(where, f"ImageOrientationPatient is {orientation.tolist()}", "correct the image header")
    transformation = "PixelValueTransformationSequence"
    slope = _scale(_find(dataset, groups, "RescaleSlope", transformation), 1.0)
    intercept = _scale(_find(dataset, groups, "RescaleIntercept", transformation), 0.0)
    if not (np.isfinite(slope) and np.isfinite(intercept) and slope != 0):
        raise common.refusal(where, f"rescale slope {slope}, intercept {intercept}", "correct the image header")
    labels = {keyword: _find(dataset, groups, keyword, group) for keyword, group in _LABELS}
    return Frame(
        path=path,
        index=index,
        shape=(count_of(dataset, "Rows"), count_of(dataset, "Columns")),
        position_lps=position,
        row_direction=row / np.linalg.norm(row),
        column_direction=column / np.linalg.norm(column),
        pixel_spacing_mm=(float(spacing[0]), float(spacing[1])),
        slice_spacing_mm=_slice_spacing(dataset, groups),
        slope=slope,
        intercept=intercept,
        labels={keyword: "/".join(_strings(value)) for keyword, value in labels.items() if value is not None},
    )


def _find(dataset: Dataset, groups: tuple[Any, ...], keyword: str, group: str) -> Any:
    """Return an attribute: of the image's own functional group, else the shared one, else the object; or None."""
    for item in groups if group else ():
        value = value_of(first_item(item, group), keyword)
        if value is not None:
            return value
    return value_of(dataset, keyword)


def _required(
    dataset: Dataset, groups: tuple[Any, ...], keyword: str, group: str, count: int, where: Path
) -> np.ndarray:
    values = numbers_of(_find(dataset, groups, keyword, group), count)
    if values is None:
        raise common.refusal(
            where, f"has no usable {keyword}: it does not say where it lies", "choose a series of slices"
        )
    return values


def numbers_of(value: Any, count: int) -> np.ndarray | None:
    """Return finite numbers as float64 (count,), None where there are none or not as many."""
    try:
        numbers = np.array([float(number) for number in value], float)
    except (TypeError, ValueError):
        return None
    return numbers if numbers.shape == (count,) and np.all(np.isfinite(numbers)) else None


def _scale(value: Any, default: float) -> float:
    try:
        return default if value is None else float(value)
    except (TypeError, ValueError):
        return float("nan")


def _slice_spacing(dataset: Dataset, groups: tuple[Any, ...]) -> float | None:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        spacing = abs(_scale(_find(dataset, groups, keyword, "PixelMeasuresSequence"), 0.0))
        if np.isfinite(spacing) and spacing > 0:
            return spacing
    return None


def _strings(value: Any) -> list[str]:
    if value is None:
        return []
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        return [str(value)]
    return [str(item) for item in value]
