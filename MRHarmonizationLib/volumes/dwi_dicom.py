"""Reading a DICOM diffusion series: classic, enhanced multi-frame, mosaic, of several vendors."""

from __future__ import annotations

import logging
import os
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.volumes import dwi_dicom_mosaic, dwi_dicom_weighting
from MRHarmonizationLib.volumes.dicom import choose_series
from MRHarmonizationLib.volumes.dicom_frames import (
    IMAGE_KEYWORDS,
    Frame,
    first_item,
    frames_of,
    is_mosaic,
    items_of,
    quiet_pydicom,
    read_object,
    stored_values,
    text_of,
    value_of,
)
from MRHarmonizationLib.volumes.dicom_private import PrivateTag, private_items, private_numbers, tags_to_read
from MRHarmonizationLib.volumes.dicom_stack import SAME_POSITION_MM, grid_of_frames, rescaled, sort_frames
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.dwi_dicom_weighting import Weighting, vendor_of, weighting_of
from MRHarmonizationLib.volumes.formats import common

if TYPE_CHECKING:
    from pydicom import Dataset

_log = logging.getLogger(__name__)

#: What of a scan is kept as metadata: DICOM keyword, functional group of enhanced objects, name. Nothing identifying.
_TEXTS = (
    ("Manufacturer", "", "manufacturer"),
    ("ManufacturerModelName", "", "model"),
    ("SeriesDescription", "", "series_description"),
)
_NUMBERS = (
    ("MagneticFieldStrength", "", "field_strength_t"),
    ("RepetitionTime", "MRTimingAndRelatedParametersSequence", "repetition_time_ms"),
    ("EchoTime", "", "echo_time_ms"),
    ("EffectiveEchoTime", "MREchoSequence", "echo_time_ms"),
)
#: Image axis of the phase encoding (which way along it, DICOM does not tell).
_PHASE_AXES = {"ROW": "i", "COL": "j", "COLUMN": "j"}

#: Philips' factor from stored values to signal, in classic objects and in the private group of enhanced ones.
_PHILIPS_SCALE = PrivateTag(0x2005, "Philips MR Imaging DD 001", 0x10, 0x0E, "FL")
_PHILIPS_GROUP = PrivateTag(0x2005, "Philips MR Imaging DD 005", 0x14, 0x0F, "SQ")

_PRIVATE = tuple(tags_to_read((*dwi_dicom_weighting.PRIVATE, *dwi_dicom_mosaic.PRIVATE, _PHILIPS_SCALE)))
_KEYWORDS = (
    *IMAGE_KEYWORDS,
    *dwi_dicom_weighting.KEYWORDS,
    "TemporalPositionIdentifier",
    *(keyword for keyword, _, _ in _TEXTS + _NUMBERS),
)

#: Vendors that leave the b-value out where it is 0.
_SILENT_B0 = ("canon", "ge")

#: Decimals to which b-values and directions of images of one volume agree.
_B_DECIMALS = 3
_DIRECTION_DECIMALS = 4

_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class _Image:
    """One slice of one volume: where it lies, how it is weighted, and its place in the order of the scan."""

    frame: Frame
    weighting: Weighting
    order: tuple[float, ...]
    instance: tuple[float, int]
    montage: Path | None


def read_dwi_series(source: str | os.PathLike[str], uid: str | None = None) -> DwiVolume:
    """Read one diffusion series of a folder, or of a file that holds it all.

    Volumes come in the order of the scan. Computed maps in the series (ADC, trace, isotropic) are left out, which the
    log tells. Values are rescaled; those of Philips to the signal the scanner measured, by its own factor, so that
    volumes with different display scaling fit together (Chenevert et al., Transl Oncol 2014, doi 10.1593/tlo.13811).

    Parameters
    ----------
    source : path-like
    uid : str, optional
        SeriesInstanceUID; may be left out where there is one series.

    Returns
    -------
    DwiVolume
        Named after the series description; the stored integers where nothing is rescaled, float32 otherwise.

    Raises
    ------
    InputError
        No series or several, no diffusion weighting told, missing slices, uneven or differing geometry, damaged files.
    """
    series = choose_series(source, uid)
    where = f"{os.fspath(source)} (series {series.uid})"
    with quiet_pydicom():
        objects = {path: read_object(path, _KEYWORDS, _PRIVATE) for path in series.files}
        images = [image for path, dataset in objects.items() for image in _images_of(dataset, path)]
        images = _acquired(_with_b_values(images, objects, where), where)
        volumes = [_sorted_volume(volume, where) for volume in _volumes(images, where)]
        grid = grid_of_frames([image.frame for image in volumes[0]], where)
        array = _assemble(volumes, objects, where)
        first = objects[series.files[0]]
        name, metadata = text_of(first, "SeriesDescription"), _metadata(first)
    directions = np.array([volume[0].weighting.direction for volume in volumes]) * _LPS
    b_values = np.array([volume[0].weighting.b_value for volume in volumes], float)
    try:
        return DwiVolume(array.transpose(1, 2, 3, 0), grid, b_values, directions, name, metadata)
    except InputError as problem:
        raise type(problem)(f"{where}: {problem.problem}", problem.remedy) from None


def _images_of(dataset: Dataset, path: Path) -> list[_Image]:
    montage = is_mosaic(dataset)
    frames = dwi_dicom_mosaic.mosaic_frames(dataset, path) if montage else frames_of(dataset, path)
    per_frame = items_of(dataset, "PerFrameFunctionalGroupsSequence")
    shared = first_item(dataset, "SharedFunctionalGroupsSequence")
    instance = float(value_of(dataset, "InstanceNumber") or 0)
    images = []
    for frame in frames:
        groups: list[Dataset | None] = [per_frame[frame.index], shared] if per_frame and not montage else []
        own = next(iter(private_items(groups[0], _PHILIPS_GROUP)), None) if groups else dataset
        if vendor_of(dataset) == "philips":
            frame = _measured_scale(frame, own)
        images.append(
            _Image(
                frame,
                weighting_of(dataset, groups, frame),
                _order(dataset, groups, own),
                (instance, frame.index),
                path if montage else None,
            )
        )
    return images


def _measured_scale(frame: Frame, own: Dataset | None) -> Frame:
    """Replace Philips' display scaling by its factor to measured signal: (stored · RS + RI) / (RS · SS)."""
    scale = private_numbers(own, _PHILIPS_SCALE)
    if scale is None or scale.size != 1 or not np.isfinite(scale[0]) or scale[0] <= 0:
        return frame
    return replace(frame, slope=1.0 / float(scale[0]), intercept=frame.intercept / (frame.slope * float(scale[0])))


def _order(dataset: Dataset, groups: list[Dataset | None], own: Dataset | None) -> tuple[float, ...]:
    """Return what tells volumes apart besides their weighting, most significant first."""
    content = first_item(groups[0], "FrameContentSequence") if groups else None
    philips = (
        private_numbers(own, tag)
        for tag in (dwi_dicom_weighting.PHILIPS_B_NUMBER, dwi_dicom_weighting.PHILIPS_DIRECTION_NUMBER)
    )
    numbers = [
        value_of(content, "TemporalPositionIndex") or value_of(dataset, "TemporalPositionIdentifier"),
        *(None if found is None or not found.size else found[0] for found in philips),
        value_of(dataset, "AcquisitionNumber"),
    ]
    return tuple(float(number) if isinstance(number, (int, float)) else 0.0 for number in numbers)


def _with_b_values(images: list[_Image], objects: dict[Path, Dataset], where: str) -> list[_Image]:
    """Return images that all have a b-value: 0 for those of vendors that leave it out then."""
    silent = [image for image in images if image.weighting.b_value is None and not image.weighting.derived]
    if len(silent) == len([image for image in images if not image.weighting.derived]):
        raise common.refusal(
            where,
            "tells no b-values: it is not a diffusion series, or its diffusion attributes were removed",
            "choose a diffusion series, or convert it with dcm2niix and give bval and bvec files",
        )
    if silent and any(vendor_of(objects[image.frame.path]) not in _SILENT_B0 for image in silent):
        raise common.refusal(
            where,
            f"{len(silent)} of {len(images)} images tell no b-value (first: {silent[0].frame.path.name})",
            "put images that do not belong to the diffusion series in another folder, or export the series again",
        )
    return [
        replace(image, weighting=replace(image.weighting, b_value=0.0)) if image.weighting.b_value is None else image
        for image in images
    ]


def _acquired(images: list[_Image], where: str) -> list[_Image]:
    """Return the images that were acquired, not computed; the log tells what is left out."""
    derived = Counter(image.weighting.derived for image in images if image.weighting.derived)
    kept = [image for image in images if not image.weighting.derived]
    listed = ", ".join(f"{count} {kind}" for kind, count in derived.most_common())
    if not any((image.weighting.b_value or 0) > 0 for image in kept):
        raise common.refusal(
            where,
            f"holds no acquired, diffusion-weighted image with a direction (left out: {listed or 'none'})",
            "choose the original diffusion series, not maps computed from it",
        )
    if derived:
        _log.warning("%s: images that are not acquired magnitudes left out (%s)", where, listed)
    return kept


def _volumes(images: list[_Image], where: str) -> list[list[_Image]]:
    """Group images to volumes, in the order of the scan.

    A montage is a volume. Other images belong together if they are weighted alike; of several at one place the first
    belong to the first repetition, and so on.
    """
    groups: dict[Any, list[_Image]] = defaultdict(list)
    seen: Counter[Any] = Counter()
    normal = np.cross(images[0].frame.row_direction, images[0].frame.column_direction)
    places = _places(images, normal)
    for image, place in sorted(zip(images, places, strict=True), key=lambda pair: (pair[0].order, pair[0].instance)):
        if image.montage is not None:
            groups[image.montage].append(image)
            continue
        weighting = image.weighting
        direction = np.round(weighting.direction, _DIRECTION_DECIMALS) + 0.0
        key = (round(weighting.b_value or 0.0, _B_DECIMALS), *direction.tolist())
        groups[(*key, seen[(key, place)])].append(image)
        seen[(key, place)] += 1
    volumes = sorted(groups.values(), key=lambda volume: min((image.order, image.instance) for image in volume))
    _check_complete(volumes, where)
    return volumes


def _places(images: list[_Image], normal: np.ndarray) -> np.ndarray:
    """Return for each image the number of the place along the slice normal at which it lies."""
    heights = np.array([float(normal @ image.frame.position_lps) for image in images])
    order = np.argsort(heights, kind="stable")
    numbers = np.empty(len(images), int)
    numbers[order] = np.cumsum(np.concatenate([[0], np.diff(heights[order]) > SAME_POSITION_MM]))
    return numbers


def _check_complete(volumes: list[list[_Image]], where: str) -> None:
    sizes = Counter(len(volume) for volume in volumes)
    if len(sizes) == 1:
        return
    full = max(sizes)
    short = [volume for volume in volumes if len(volume) < full]
    first = short[0][0].weighting
    listed = ", ".join(str(len(volume)) for volume in short[:6]) + (", …" if len(short) > 6 else "")
    raise common.refusal(
        where,
        f"{len(short)} of {len(volumes)} volumes lack slices ({listed} of {full}; the first has b = "
        f"{first.b_value:g} s/mm², direction {np.round(first.direction, 3).tolist()})",
        "export or copy the series again, complete",
    )


def _sorted_volume(volume: list[_Image], where: str) -> list[_Image]:
    by_frame = {id(image.frame): image for image in volume}
    return [by_frame[id(frame)] for frame in sort_frames([image.frame for image in volume], where)]


def _assemble(volumes: list[list[_Image]], objects: dict[Path, Dataset], where: str) -> np.ndarray:
    """Return the values, shape (N, K, J, I), volume by volume."""
    reference = np.array([image.frame.position_lps for image in volumes[0]])
    users = Counter(image.frame.path for volume in volumes for image in volume)
    planes_of: dict[Path, np.ndarray] = {}
    series: list[np.ndarray] = []
    for number, volume in enumerate(volumes):
        _check_same_place(volume, volumes[0], reference, number, where)
        planes = []
        for image in volume:
            path = image.frame.path
            if path not in planes_of:
                planes_of[path] = _planes(objects[path], volume, image, path)
            planes.append(_plane(planes_of[path], image.frame))
            users[path] -= 1
            if not users[path]:
                del planes_of[path]
        series.append(rescaled(planes, [image.frame for image in volume]))
    _check_empty_slices(series, where)
    return np.stack(series).astype(np.result_type(*{values.dtype for values in series}), copy=False)


def _check_same_place(
    volume: list[_Image], first: list[_Image], reference: np.ndarray, number: int, where: str
) -> None:
    positions = np.array([image.frame.position_lps for image in volume])
    same_plane = volume[0].frame.shape == first[0].frame.shape and np.allclose(
        [volume[0].frame.row_direction, volume[0].frame.column_direction],
        [first[0].frame.row_direction, first[0].frame.column_direction],
        atol=1e-4,
    )
    if positions.shape != reference.shape or not same_plane or np.max(np.abs(positions - reference)) > 0.1:
        raise common.refusal(
            where,
            f"volume {number} does not lie where volume 0 lies",
            "put scans of different position in separate folders",
        )


def _planes(dataset: Dataset, volume: list[_Image], image: _Image, path: Path) -> np.ndarray:
    stored = stored_values(dataset, path)
    if image.montage is None:
        return stored
    frames = sorted((other.frame for other in volume), key=lambda frame: frame.index)
    return dwi_dicom_mosaic.mosaic_slices(stored[0], frames, path)


def _plane(planes: np.ndarray, frame: Frame) -> np.ndarray:
    if frame.index >= len(planes):
        raise common.damaged(frame.path, f"holds {len(planes)} images, its header describes {frame.index + 1} or more")
    return np.asarray(planes[frame.index])


def _check_empty_slices(series: list[np.ndarray], where: str) -> None:
    """Refuse volumes that have an empty slice where others have an image: a slice was lost."""
    filled = np.array([[plane.min() != plane.max() for plane in values] for values in series])
    lost = np.argwhere(~filled & np.any(filled, axis=0))
    if lost.size:
        volume, place = lost[0].tolist()
        raise common.refusal(
            where,
            f"slice {place} of volume {volume} is empty, in other volumes it is not ({len(lost)} such slices)",
            "export or copy the series again, complete",
        )


def _metadata(dataset: Dataset) -> dict[str, str | float]:
    shared = first_item(dataset, "SharedFunctionalGroupsSequence")
    metadata: dict[str, str | float] = {}
    for keyword, _, name in _TEXTS:
        if text := text_of(dataset, keyword):
            metadata[name] = text
    for keyword, group, name in _NUMBERS:
        value = value_of(first_item(shared, group), keyword) if group else None
        value = value_of(dataset, keyword) if value is None else value
        if isinstance(value, (int, float)):
            metadata[name] = float(value)
    geometry = first_item(shared, "MRFOVGeometrySequence")
    phase = text_of(geometry, "InPlanePhaseEncodingDirection") or text_of(dataset, "InPlanePhaseEncodingDirection")
    if axis := _PHASE_AXES.get(phase.upper()):
        metadata["phase_encoding"] = axis
    return metadata
