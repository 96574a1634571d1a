"""From single DICOM images to one volume: order, check that they are one regular stack, place."""

from __future__ import annotations

import os
from collections import Counter

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.volumes.dicom_frames import Frame
from MRHarmonizationLib.volumes.formats import common
from MRHarmonizationLib.volumes.grid import Grid

#: Directions whose cosines differ by more than this belong to different stacks (DICOM writes six digits and more).
DIRECTION_TOLERANCE = 1e-4

#: Images nearer than this along the slice normal are at one position, in mm.
SAME_POSITION_MM = 0.01

#: A slice may lie this far from its place in a regular stack, in mm and as a fraction of the slice spacing.
PLACE_TOLERANCE_MM = 0.01
PLACE_TOLERANCE_FRACTION = 0.01

_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def sort_frames(frames: list[Frame], source: str | os.PathLike[str]) -> list[Frame]:
    """Return the images of one volume in order along the slice normal (row x column direction).

    Parameters
    ----------
    frames : list of Frame
        At least one.
    source : path-like
        The series, for messages.

    Raises
    ------
    InputError
        Different orientations or sizes, several images at one position (4-D), missing or unevenly spaced slices.
    """
    _check_same_plane(frames, source)
    normal = np.cross(frames[0].row_direction, frames[0].column_direction)
    ordered = sorted(frames, key=lambda frame: float(normal @ frame.position_lps))
    heights = np.array([normal @ frame.position_lps for frame in ordered])
    _check_one_volume(ordered, heights, source)
    if len(ordered) > 1:
        _check_regular(ordered, heights, source)
    return ordered


def grid_of_frames(ordered: list[Frame], source: str | os.PathLike[str]) -> Grid:
    """Return the RAS grid of images sorted by :func:`sort_frames`.

    Raises
    ------
    InputError
        Sheared slices (a tilted gantry), or a single slice that states neither spacing nor thickness.
    """
    first, last = ordered[0], ordered[-1]
    lps = np.eye(4)
    lps[:3, 0] = first.row_direction * first.pixel_spacing_mm[1]
    lps[:3, 1] = first.column_direction * first.pixel_spacing_mm[0]
    if len(ordered) > 1:
        lps[:3, 2] = (last.position_lps - first.position_lps) / (len(ordered) - 1)
    else:
        if first.slice_spacing_mm is None:
            raise common.refusal(
                source,
                "is one slice without SliceThickness or SpacingBetweenSlices",
                "choose a series of several slices",
            )
        lps[:3, 2] = np.cross(first.row_direction, first.column_direction) * first.slice_spacing_mm
    lps[:3, 3] = first.position_lps
    shape = (len(ordered), *first.shape)
    return common.make_grid(source, shape, _LPS_TO_RAS @ lps, "image orientation and slice positions")


def rescaled(planes: list[np.ndarray], ordered: list[Frame]) -> np.ndarray:
    """Return the values of a stack, shape (K, J, I).

    Parameters
    ----------
    planes : list of ndarray, each (J, I)
        Stored values of the images in order.
    ordered : list of Frame
        Their slopes and intercepts.

    Returns
    -------
    ndarray
        The stored type where nothing is rescaled, float32 otherwise (float64 for stored integers of 32 bits).
    """
    if all((frame.slope, frame.intercept) == (1.0, 0.0) for frame in ordered):
        return np.stack(planes)
    stack = np.empty((len(planes), *planes[0].shape), np.result_type(planes[0].dtype, np.float32))
    for target, plane, frame in zip(stack, planes, ordered, strict=True):
        target[...] = plane.astype(np.float64) * frame.slope + frame.intercept
    return stack


def _check_same_plane(frames: list[Frame], source: str | os.PathLike[str]) -> None:
    _check_parallel(frames, source)
    for name, values in (
        ("matrix sizes", Counter(frame.shape for frame in frames)),
        ("pixel spacings", Counter(tuple(round(mm, 4) for mm in frame.pixel_spacing_mm) for frame in frames)),
    ):
        if len(values) > 1:
            listed = ", ".join(f"{value} ({count} images)" for value, count in values.most_common())
            raise common.refusal(source, f"its images have different {name}: {listed}", "put them in separate folders")


def _check_parallel(frames: list[Frame], source: str | os.PathLike[str]) -> None:
    first = frames[0]
    directions = np.array([np.concatenate([frame.row_direction, frame.column_direction]) for frame in frames])
    reference = np.concatenate([first.row_direction, first.column_direction])
    if np.max(np.abs(directions - reference)) > DIRECTION_TOLERANCE:
        kinds = Counter(tuple(np.round(direction, 3).tolist()) for direction in directions)
        listed = "; ".join(f"{list(kind)} ({count} images)" for kind, count in kinds.most_common(4))
        raise common.refusal(
            source,
            f"its images have {len(kinds)} orientations, as a localizer has: {listed}",
            "choose a series of parallel slices",
        )


def _check_one_volume(ordered: list[Frame], heights: np.ndarray, source: str | os.PathLike[str]) -> None:
    starts = np.concatenate([[True], np.diff(heights) > SAME_POSITION_MM])
    counts = np.bincount(np.cumsum(starts) - 1)
    volumes = int(counts.max())
    if volumes == 1:
        return
    names = sorted({name for frame in ordered for name in frame.labels})
    differing = [name for name in names if len({frame.labels.get(name) for frame in ordered}) > 1]
    axes = f"{len(ordered)} images at {len(counts)} positions"
    raise common.several_volumes(
        source, volumes, axes + (f", differing in {', '.join(differing)}" if differing else "")
    )


def _check_regular(ordered: list[Frame], heights: np.ndarray, source: str | os.PathLike[str]) -> None:
    steps = np.diff(heights)
    step = float(np.median(steps))
    tolerance = PLACE_TOLERANCE_MM + PLACE_TOLERANCE_FRACTION * step
    if np.max(np.abs(steps - step)) > tolerance:
        raise _irregular(steps, float(np.min(steps)), tolerance, ordered, source)
    positions = np.array([frame.position_lps for frame in ordered])
    regular = np.linspace(positions[0], positions[-1], len(positions))
    astray = np.linalg.norm(positions - regular, axis=1)
    if np.max(astray) > tolerance:
        worst = int(np.argmax(astray))
        raise common.refusal(
            source,
            f"slice {worst + 1} of {len(ordered)} ({ordered[worst].path.name}) lies {astray[worst]:.2f} mm astray",
            "export the series again",
        )


def _irregular(
    steps: np.ndarray, least: float, tolerance: float, ordered: list[Frame], source: str | os.PathLike[str]
) -> InputError:
    """Return the error for uneven steps: slices missing where they are whole multiples of the least, else uneven."""
    multiples = np.rint(steps / least).astype(int)
    if np.all(np.abs(steps - multiples * least) <= tolerance * multiples):
        gaps = np.flatnonzero(multiples > 1)
        missing = int(np.sum(multiples[gaps] - 1))
        places = ", ".join(f"after slice {gap + 1} ({ordered[gap].path.name})" for gap in gaps[:3])
        more = f" and {len(gaps) - 3} more places" if len(gaps) > 3 else ""
        return common.refusal(
            source,
            f"{missing} of {len(ordered) + missing} slices are missing, {places}{more}",
            "export or copy the series again, complete",
        )
    return common.refusal(
        source,
        f"slices are unevenly spaced, between {steps.min():.2f} and {steps.max():.2f} mm apart",
        "choose a series with one slice spacing",
    )
