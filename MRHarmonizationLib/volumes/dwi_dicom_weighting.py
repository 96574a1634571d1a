"""What a DICOM image says of its diffusion weighting: b-value and direction, by vendor.

Sources: DICOM PS3.3 C.8.13.5.9 (MR diffusion); the vendors' private attributes as dcm2niix documents them (folders
Siemens, Philips, GE, UIH and Canon of https://github.com/rordenlab/dcm2niix).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from MRHarmonizationLib.volumes.dicom_frames import Frame, first_item, text_of, value_of
from MRHarmonizationLib.volumes.dicom_private import PrivateTag, private_numbers, private_value
from MRHarmonizationLib.volumes.formats import common
from MRHarmonizationLib.volumes.gradients import B0_LIMIT_S_PER_MM2
from MRHarmonizationLib.volumes.siemens_csa import read_csa

if TYPE_CHECKING:
    from pydicom import Dataset

#: Public attributes read from each file.
KEYWORDS = (
    "Manufacturer", "ImageType", "ComplexImageComponent", "InstanceNumber", "ImageComments",
    "InPlanePhaseEncodingDirection", "DiffusionBValue", "DiffusionDirectionality", "DiffusionGradientOrientation",
)  # fmt: skip

_UIH, _PHILIPS = "Image Private Header", "Philips MR Imaging DD 001"
UIH_B_VALUE = PrivateTag(0x0065, _UIH, 0x10, 0x09, "FD")
UIH_DIRECTION = PrivateTag(0x0065, _UIH, 0x10, 0x37, "FD")
PHILIPS_B_VALUE = PrivateTag(0x2001, "Philips Imaging DD 001", 0x10, 0x03, "FL")
PHILIPS_DIRECTION = tuple(PrivateTag(0x2005, _PHILIPS, 0x10, element, "FL") for element in (0xB0, 0xB1, 0xB2))
PHILIPS_B_NUMBER = PrivateTag(0x2005, "Philips MR Imaging DD 005", 0x14, 0x12, "IS")
PHILIPS_DIRECTION_NUMBER = PrivateTag(0x2005, "Philips MR Imaging DD 005", 0x14, 0x13, "IS")
SIEMENS_B_VALUE = PrivateTag(0x0019, "SIEMENS MR HEADER", 0x10, 0x0C, "IS")
SIEMENS_DIRECTION = PrivateTag(0x0019, "SIEMENS MR HEADER", 0x10, 0x0E, "FD")
SIEMENS_CSA = PrivateTag(0x0029, "SIEMENS CSA HEADER", 0x10, 0x10, "OB")
GE_B_VALUE = PrivateTag(0x0043, "GEMS_PARM_01", 0x10, 0x39, "IS")
GE_DIRECTION = tuple(PrivateTag(0x0019, "GEMS_ACQU_01", 0x10, element, "DS") for element in (0xBB, 0xBC, 0xBD))
GE_DIRECTION_COUNT = PrivateTag(0x0019, "GEMS_ACQU_01", 0x10, 0xE0, "DS")

PRIVATE = (
    UIH_B_VALUE, UIH_DIRECTION, PHILIPS_B_VALUE, *PHILIPS_DIRECTION, PHILIPS_B_NUMBER, PHILIPS_DIRECTION_NUMBER,
    SIEMENS_B_VALUE, SIEMENS_DIRECTION, SIEMENS_CSA, GE_B_VALUE, *GE_DIRECTION, GE_DIRECTION_COUNT,
)  # fmt: skip

#: Words in ImageType or FrameType of maps computed from a diffusion series.
_DERIVED_TYPES = (
    "ADC", "EADC", "DADC", "ADC_UNSPECIFIED", "TRACE", "TRACEW", "TRACE_UNSPECIFIED", "ISOTROPIC", "FA", "AXDC", "AVDC",
    "TENSOR", "TENSOR_B0", "COLFA", "EXP", "CALC_BVALUE", "DIFFUSION_ANISO", "DIFFUSION_ATTNTD",
)  # fmt: skip

#: Words of images that are not magnitudes.
_OTHER_COMPONENTS = {"P": "phase", "PHASE": "phase", "R": "real", "REAL": "real", "I": "imaginary",
                     "IMAGINARY": "imaginary"}  # fmt: skip

#: GE adds this to b-values to say that the table was the user's (dcm2niix issue 602).
_GE_B_BIAS = 1_000_000_000

#: GE tells weaker weighting by directions of these lengths, and rounds b-values to 5 s/mm² (dcm2niix issue 163).
_GE_SCALED_LENGTHS = (0.03, 0.97)
_GE_B_STEP = 5

#: Directions shorter than this are none.
_NO_DIRECTION = 1e-6


@dataclass(frozen=True)
class Weighting:
    """How one image is weighted.

    Attributes
    ----------
    b_value : float or None
        s/mm²; None where the image does not say.
    direction : ndarray, shape (3,)
        In the patient's frame (LPS); zeros where there is none.
    derived : str
        What kind of computed or non-magnitude image it is; '' for a plain one.
    """

    b_value: float | None
    direction: np.ndarray
    derived: str = ""


def vendor_of(dataset: Dataset) -> str:
    """Return 'siemens', 'philips', 'ge', 'uih', 'canon' or ''."""
    name = text_of(dataset, "Manufacturer").upper()
    for vendor, words in (
        ("siemens", ("SIEMENS",)),
        ("philips", ("PHILIPS",)),
        ("uih", ("UIH", "UNITED IMAGING")),
        ("canon", ("CANON", "TOSHIBA")),
        ("ge", ("GE MEDICAL", "GE HEALTHCARE", "GEMS")),
    ):
        if any(word in name for word in words):
            return vendor
    return "ge" if name.split() == ["GE"] else ""


def weighting_of(dataset: Dataset, groups: Sequence[Dataset | None], frame: Frame) -> Weighting:
    """Return the weighting of one image.

    Parameters
    ----------
    dataset : Dataset
        The object, read with :data:`KEYWORDS` and :data:`PRIVATE`.
    groups : sequence of Dataset or None
        Functional groups of the image in an enhanced object, its own first; empty for classic objects.
    frame : Frame
        Where the image lies.

    Raises
    ------
    InputError
        GE with phase encoding along rows, whose directions nobody has validated.
    """
    derived = _kind_of(dataset, groups)
    vendor = vendor_of(dataset)
    reader = {"uih": _uih, "siemens": _siemens, "ge": _ge, "philips": _philips, "canon": _canon}.get(vendor)
    found = _public(dataset, groups)
    if reader is not None and (vendor in ("uih", "siemens") or found.b_value is None or not np.any(found.direction)):
        found = _preferred(reader(dataset, frame), found, private_first=vendor in ("uih", "siemens"))
    if not derived and not np.any(found.direction) and (found.b_value or 0.0) > B0_LIMIT_S_PER_MM2:
        derived = found.derived or "trace"
    return Weighting(found.b_value, found.direction, derived or found.derived)


def _preferred(private: Weighting, public: Weighting, private_first: bool) -> Weighting:
    first, second = (private, public) if private_first else (public, private)
    b_value = second.b_value if first.b_value is None else first.b_value
    chosen = first if np.any(first.direction) else second
    return Weighting(b_value, chosen.direction, private.derived or public.derived)


def _kind_of(dataset: Dataset, groups: Sequence[Dataset | None]) -> str:
    """Say what kind of map an image is by its type, '' for a plain magnitude image."""
    words = [str(word).upper() for word in _listed(value_of(dataset, "ImageType"))]
    component = text_of(dataset, "ComplexImageComponent").upper()
    for group in groups:
        kind = first_item(group, "MRImageFrameTypeSequence")
        words += [str(word).upper() for word in _listed(value_of(kind, "FrameType"))]
        component = text_of(kind, "ComplexImageComponent").upper() or component
    for word in words[2:]:
        if word in _DERIVED_TYPES:
            return word.lower()
        if word in _OTHER_COMPONENTS:
            return _OTHER_COMPONENTS[word]
    return _OTHER_COMPONENTS.get(component, "")


def _public(dataset: Dataset, groups: Sequence[Dataset | None]) -> Weighting:
    sources: list[Dataset | None] = [dataset]
    for group in reversed(groups):
        sources.insert(0, first_item(group, "MRDiffusionSequence"))
    b_value = direction = None
    directionality = ""
    for source in sources:
        directionality = directionality or text_of(source, "DiffusionDirectionality").upper()
        if b_value is None:
            b_value = _single(value_of(source, "DiffusionBValue"))
        if direction is None:
            nested = first_item(source, "DiffusionGradientDirectionSequence")
            direction = _vector(value_of(nested, "DiffusionGradientOrientation"))
            if direction is None:
                direction = _vector(value_of(source, "DiffusionGradientOrientation"))
    if directionality in ("NONE", "ISOTROPIC"):
        direction = None
    derived = "isotropic" if directionality == "ISOTROPIC" and (b_value or 0) > B0_LIMIT_S_PER_MM2 else ""
    return Weighting(b_value, np.zeros(3) if direction is None else direction, derived=derived)


def _uih(dataset: Dataset, frame: Frame) -> Weighting:
    """United Imaging tells directions along rows, columns and their normal."""
    b_value, direction = private_numbers(dataset, UIH_B_VALUE), _vector(private_numbers(dataset, UIH_DIRECTION))
    return Weighting(_single(b_value), np.zeros(3) if direction is None else _from_image(direction, frame))


def _philips(dataset: Dataset, _: Frame) -> Weighting:
    parts = [_single(private_numbers(dataset, tag)) for tag in PHILIPS_DIRECTION]
    direction = _vector(parts) if None not in parts else None
    return Weighting(
        _single(private_numbers(dataset, PHILIPS_B_VALUE)), np.zeros(3) if direction is None else direction
    )


def _siemens(dataset: Dataset, _: Frame) -> Weighting:
    header = private_value(dataset, SIEMENS_CSA)
    entries = read_csa(header) if isinstance(header, bytes) else {}
    b_value = _single(entries.get("B_value"))
    direction = _vector(entries.get("DiffusionGradientDirection"))
    if b_value is None:
        b_value = _single(private_numbers(dataset, SIEMENS_B_VALUE))
    if direction is None:
        direction = _vector(private_numbers(dataset, SIEMENS_DIRECTION))
    return Weighting(b_value, np.zeros(3) if direction is None else direction)


def _canon(dataset: Dataset, frame: Frame) -> Weighting:
    """Older Canon software writes ``b=1500(0.445,0.000,0.895)`` as a comment, along rows, columns and normal."""
    number = r"\s*(-?[\d.]+(?:e-?\d+)?)\s*"
    match = re.search(rf"b={number}\({number},{number},{number}\)", text_of(dataset, "ImageComments"), re.IGNORECASE)
    if match is None:
        return Weighting(None, np.zeros(3))
    direction = _vector(match.groups()[1:])
    return Weighting(_single([match[1]]), np.zeros(3) if direction is None else _from_image(direction, frame))


def _ge(dataset: Dataset, frame: Frame) -> Weighting:
    """GE tells directions along frequency, phase and slice, and weaker weighting by shorter vectors."""
    b_value = _single(private_numbers(dataset, GE_B_VALUE))
    parts = [_single(private_numbers(dataset, tag)) for tag in GE_DIRECTION]
    told = _vector(parts) if None not in parts else None
    if b_value is None or told is None:
        return Weighting(b_value, np.zeros(3))
    b_value %= _GE_B_BIAS
    length = float(np.linalg.norm(told))
    if length < _NO_DIRECTION:
        tensor = (_single(private_numbers(dataset, GE_DIRECTION_COUNT)) or 0) > 0
        return Weighting(0.0 if tensor else b_value, np.zeros(3), derived="" if tensor else "trace")
    if _GE_SCALED_LENGTHS[0] < length < _GE_SCALED_LENGTHS[1]:
        b_value = max(_GE_B_STEP, round(b_value * length**2 / _GE_B_STEP) * _GE_B_STEP)
    return Weighting(float(b_value), _ge_direction(dataset, told / length, frame))


def _ge_direction(dataset: Dataset, told: np.ndarray, frame: Frame) -> np.ndarray:
    """Turn (frequency, phase, slice) into LPS: the slice axis runs against the normal of rows and columns.

    In coronal images the phase axis is reversed too (dcm2niix, ``geCorrectBvecs``).
    """
    phase = text_of(dataset, "InPlanePhaseEncodingDirection").upper()
    if not phase.startswith("COL"):
        raise common.refusal(
            frame.path,
            f"is of a GE scanner with phase encoding along '{phase}'; its directions are known for COL only",
            "convert it with dcm2niix, check the directions, and give bval and bvec files",
        )
    normal = np.cross(frame.row_direction, frame.column_direction)
    coronal = int(np.argmax(np.abs(normal))) == 1
    signs = np.array([1.0, -1.0 if coronal else 1.0, -1.0])
    return _from_image(told * signs, frame)


def _from_image(direction: np.ndarray, frame: Frame) -> np.ndarray:
    normal = np.cross(frame.row_direction, frame.column_direction)
    return np.asarray(np.stack([frame.row_direction, frame.column_direction, normal], axis=1) @ direction)


def _listed(value: Any) -> list[Any]:
    return [] if value is None else [value] if isinstance(value, str) else list(value)


def _single(value: Any) -> float | None:
    """Return the first number of a value, None where there is none or it is not finite or negative."""
    try:
        number = float(value if isinstance(value, (int, float)) else value[0])
    except (TypeError, ValueError, IndexError):
        return None
    return number if np.isfinite(number) else None


def _vector(value: Any) -> np.ndarray | None:
    """Return three finite numbers, None where there are none."""
    try:
        numbers = np.array([float(part) for part in value])
    except (TypeError, ValueError):
        return None
    return numbers if numbers.shape == (3,) and bool(np.all(np.isfinite(numbers))) else None
