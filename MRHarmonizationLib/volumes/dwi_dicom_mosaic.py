"""DICOM images that hold a whole volume as a montage of its slices: Siemens mosaics, United Imaging grids.

Sources: nibabel, "Siemens mosaic", https://nipy.org/nibabel/dicom/dicom_mosaic.html; dcm2niix, folder UIH.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MRHarmonizationLib.volumes.dicom_frames import Frame, count_of, numbers_of, value_of
from MRHarmonizationLib.volumes.dicom_private import PrivateTag, private_items, private_numbers, private_value
from MRHarmonizationLib.volumes.dwi_dicom_weighting import SIEMENS_CSA, vendor_of
from MRHarmonizationLib.volumes.formats import common
from MRHarmonizationLib.volumes.siemens_csa import read_csa

if TYPE_CHECKING:
    from pydicom import Dataset

_UIH_COUNT = PrivateTag(0x0065, "Image Private Header", 0x10, 0x50, "DS")
_UIH_SLICES = PrivateTag(0x0065, "Image Private Header", 0x10, 0x51, "SQ")
_SIEMENS_COUNT = PrivateTag(0x0019, "SIEMENS MR HEADER", 0x10, 0x0A, "US")

#: Private attributes read from each montage.
PRIVATE = (_UIH_COUNT, _UIH_SLICES, _SIEMENS_COUNT)

#: A stated slice normal whose cosine with that of rows and columns differs by more than this from ±1 is refused.
_NORMAL_TOLERANCE = 1e-2


def mosaic_frames(dataset: Dataset, path: Path) -> list[Frame]:
    """Return where each slice of a montage lies, in the order of its tiles.

    Raises
    ------
    InputError
        Another vendor's montage, or one whose header does not fit its slices.
    """
    if vendor_of(dataset) == "uih":
        positions, tiles = _uih_layout(dataset, path)
    elif vendor_of(dataset) == "siemens":
        positions, tiles = _siemens_layout(dataset, path)
    else:
        raise common.refusal(
            path, "stores its slices as a montage of an unknown kind", "convert it to NIfTI first, with dcm2niix"
        )
    rows, columns = count_of(dataset, "Rows") // tiles[0], count_of(dataset, "Columns") // tiles[1]
    orientation, spacing = _plane(dataset, path)
    return [
        Frame(
            path=path,
            index=index,
            shape=(rows, columns),
            position_lps=position,
            row_direction=orientation[0],
            column_direction=orientation[1],
            pixel_spacing_mm=spacing,
            slice_spacing_mm=None,
            slope=_number(dataset, "RescaleSlope", 1.0),
            intercept=_number(dataset, "RescaleIntercept", 0.0),
            labels={},
        )
        for index, position in enumerate(positions)
    ]


def mosaic_slices(montage: np.ndarray, frames: list[Frame], path: Path) -> np.ndarray:
    """Cut a montage into its slices.

    Parameters
    ----------
    montage : ndarray, shape (rows, columns)
    frames : list of Frame
        From :func:`mosaic_frames`.
    path : Path
        For messages.

    Returns
    -------
    ndarray, shape (slices, rows, columns)

    Raises
    ------
    InputError
        The tiles after the last slice are not empty: there are more slices than the header says.
    """
    rows, columns = frames[0].shape
    tiles = montage.reshape(montage.shape[0] // rows, rows, montage.shape[1] // columns, columns)
    slices = tiles.swapaxes(1, 2).reshape(-1, rows, columns)
    beyond = slices[len(frames) :]
    if beyond.size and beyond.min() != beyond.max():
        raise common.refusal(
            path,
            f"its header tells of {len(frames)} slices, but the montage holds more",
            "export the series again, or convert it to NIfTI with dcm2niix",
        )
    return slices[: len(frames)]


def _uih_layout(dataset: Dataset, path: Path) -> tuple[list[np.ndarray], tuple[int, int]]:
    positions = [numbers_of(value_of(item, "ImagePositionPatient"), 3) for item in private_items(dataset, _UIH_SLICES)]
    stated = private_numbers(dataset, _UIH_COUNT)
    count = int(stated[0]) if stated is not None and stated.size else len(positions)
    placed = [position for position in positions if position is not None]
    if count < 1 or len(placed) != count:
        raise common.refusal(
            path, f"is a montage of {count} slices, of which {len(placed)} are placed", "export the series again"
        )
    columns = math.ceil(math.sqrt(count))
    return placed, _checked_tiles(dataset, path, (math.ceil(count / columns), columns), count)


def _siemens_layout(dataset: Dataset, path: Path) -> tuple[list[np.ndarray], tuple[int, int]]:
    header = private_value(dataset, SIEMENS_CSA)
    entries = read_csa(header) if isinstance(header, bytes) else {}
    stated = numbers_of(entries.get("NumberOfImagesInMosaic"), 1)
    if stated is None:
        found = private_numbers(dataset, _SIEMENS_COUNT)
        stated = found if found is not None and found.size else None
    if stated is None or stated[0] < 1:
        raise common.refusal(
            path, "is a montage that does not tell its number of slices", "export the series with its CSA header"
        )
    count = int(stated[0])
    side = math.ceil(math.sqrt(count))
    tiles = _checked_tiles(dataset, path, (side, side), count)
    (row, column), (between_rows, between_columns) = _plane(dataset, path)
    corner = numbers_of(value_of(dataset, "ImagePositionPatient"), 3)
    if corner is None:
        raise common.refusal(path, "has no usable ImagePositionPatient", "choose a series of slices")
    # The corner is told as if the whole montage were one slice around the same centre.
    rows, columns = count_of(dataset, "Rows"), count_of(dataset, "Columns")
    first = (
        corner
        + row * between_columns * (columns - columns // tiles[1]) / 2
        + column * between_rows * (rows - rows // tiles[0]) / 2
    )
    step = _slice_normal(entries, row, column, path) * _slice_step(dataset, path)
    return [first + index * step for index in range(count)], tiles


def _slice_normal(entries: dict[str, list[str]], row: np.ndarray, column: np.ndarray, path: Path) -> np.ndarray:
    """Return the direction in which slices follow each other: along the plane's normal or against it."""
    normal = np.cross(row, column)
    stated = numbers_of(entries.get("SliceNormalVector"), 3)
    if stated is None:
        raise common.refusal(
            path,
            "is a montage that does not tell in which direction its slices follow (no SliceNormalVector)",
            "export the series with its CSA header",
        )
    cosine = float(normal @ stated) / max(float(np.linalg.norm(stated)), 1e-12)
    if abs(abs(cosine) - 1) > _NORMAL_TOLERANCE:
        raise common.refusal(
            path, f"its slice normal {stated.tolist()} does not fit its rows and columns", "export the series again"
        )
    return np.asarray(normal * np.sign(cosine))


def _slice_step(dataset: Dataset, path: Path) -> float:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        step = abs(_number(dataset, keyword, 0.0))
        if np.isfinite(step) and step > 0:
            return step
    raise common.refusal(path, "tells no spacing between its slices", "export the series again")


def _checked_tiles(dataset: Dataset, path: Path, tiles: tuple[int, int], count: int) -> tuple[int, int]:
    rows, columns = count_of(dataset, "Rows"), count_of(dataset, "Columns")
    if rows % tiles[0] or columns % tiles[1]:
        raise common.refusal(
            path,
            f"is a montage of {rows} x {columns} pixels, which {count} slices do not divide evenly into "
            f"{tiles[0]} x {tiles[1]} tiles",
            "export the series again",
        )
    return tiles


def _plane(dataset: Dataset, path: Path) -> tuple[tuple[np.ndarray, np.ndarray], tuple[float, float]]:
    orientation = numbers_of(value_of(dataset, "ImageOrientationPatient"), 6)
    spacing = numbers_of(value_of(dataset, "PixelSpacing"), 2)
    if orientation is None or spacing is None or spacing.min() <= 0:
        raise common.refusal(path, "has no usable ImageOrientationPatient and PixelSpacing", "correct the image header")
    row, column = orientation[:3], orientation[3:]
    return (row / np.linalg.norm(row), column / np.linalg.norm(column)), (float(spacing[0]), float(spacing[1]))


def _number(dataset: Dataset, keyword: str, default: float) -> float:
    value = value_of(dataset, keyword)
    try:
        return default if value is None else float(value)
    except (TypeError, ValueError):
        return float("nan")
