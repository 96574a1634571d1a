"""How texture is measured: grey-level bins, directions and distances; and turning intensities into levels."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.intensity import LOWER_PERCENTILE, UPPER_PERCENTILE, fit_intensity_scale

Offset = tuple[int, int, int]
#: One of each pair of opposite neighbours in three dimensions, as steps along (k, j, i).
DIRECTIONS_13: tuple[Offset, ...] = tuple(
    (k, j, i) for k in (0, 1) for j in (-1, 0, 1) for i in (-1, 0, 1) if (k, j, i) > (0, 0, 0)
)
#: The four of them inside a slice.
DIRECTIONS_4: tuple[Offset, ...] = tuple(d for d in DIRECTIONS_13 if d[0] == 0)
#: Default bin width as a share of the normalised range: 32 levels.
NORMALISED_BIN_WIDTH = 1.0 / 32.0
#: More levels than this make matrices that are large, slow and nearly empty.
MOST_LEVELS = 1024


@dataclass(frozen=True)
class TextureSettings:
    """Everything a texture value depends on besides image and mask.

    By default each image is first brought to one scale (its .5 and 99.5 % percentiles inside the mask become 0 and 1)
    and then cut into bins of fixed width 1/32: values from scanners with different units stay comparable, and fixed
    widths are more reproducible than fixed counts. What lies beyond the range falls into the first and last bin.

    Attributes
    ----------
    bin_width : float, optional
        Width of a grey-level bin: in normalised units ('robust'), or in image units ('none'). 1/32 with 'robust' when
        neither width nor count is given.
    bin_count : int, optional
        Number of equal bins between the ends of the range, instead of a width.
    intensity_range : (low, high), optional
        Ends of the binned range, in the units of ``bin_width``; (0, 1) for 'robust'; for 'none' the extremes inside the
        mask (for a bin width: the multiple of it at or below the minimum, so that all images share their bin edges).
    normalisation : {'robust', 'none'}
    distances : tuple of float
        Whole numbers of voxels (Chebyshev distance), or lengths in mm.
    distance_unit : {'voxel', 'mm'}
    directions : tuple of (k, j, i)
        Steps of -1, 0 or 1 along slices, rows and columns.
    symmetric : bool
        Count each pair both ways, as IBSI asks.

    Raises
    ------
    ParameterError
        Values outside these rules.

    Source
    ------
    IBSI reference manual, arXiv:1612.07003, sections 2.7 and 3.6; fixed bin width: Duron et al., PLoS One 14:e0213459
    (2019), doi 10.1371/journal.pone.0213459.
    """

    bin_width: float | None = None
    bin_count: int | None = None
    intensity_range: tuple[float, float] | None = None
    normalisation: Literal["robust", "none"] = "robust"
    distances: tuple[float, ...] = (1,)
    distance_unit: Literal["voxel", "mm"] = "voxel"
    directions: tuple[Offset, ...] = DIRECTIONS_13
    symmetric: bool = True

    def __post_init__(self) -> None:
        for name in ("distances", "directions"):
            object.__setattr__(self, name, _as_tuple(getattr(self, name), name))
        object.__setattr__(self, "directions", tuple(_checked_direction(d) for d in self.directions))
        self._check_bins()
        self._check_distances()

    def _check_bins(self) -> None:
        if self.normalisation not in ("robust", "none"):
            raise ParameterError(f"normalisation is {self.normalisation!r}", "choose 'robust' or 'none'")
        if self.bin_width is not None and self.bin_count is not None:
            raise ParameterError(
                f"both bin_width {self.bin_width:g} and bin_count {self.bin_count} are given", "give one of them"
            )
        if self.bin_width is None and self.bin_count is None and self.normalisation == "none":
            raise ParameterError(
                "without normalisation the grey-level bins have no default",
                "give bin_width in image units, or bin_count",
            )
        if self.bin_width is not None and not (math.isfinite(self.bin_width) and self.bin_width > 0):
            raise ParameterError(f"bin_width {self.bin_width} is not positive", "give a width above 0")
        if self.bin_count is not None and not (_is_whole(self.bin_count) and 1 <= self.bin_count <= MOST_LEVELS):
            raise ParameterError(
                f"bin_count is {self.bin_count}; expected a whole number from 1 to {MOST_LEVELS}", "32 is usual"
            )
        if self.intensity_range is not None:
            low, high = self.intensity_range
            if not (math.isfinite(low) and math.isfinite(high) and low < high):
                raise ParameterError(f"intensity_range ({low}, {high}) is empty", "give (low, high) with low < high")

    def _check_distances(self) -> None:
        if self.distance_unit not in ("voxel", "mm"):
            raise ParameterError(f"distance_unit is {self.distance_unit!r}", "choose 'voxel' or 'mm'")
        for distance in self.distances:
            if not (math.isfinite(distance) and distance > 0):
                raise ParameterError(f"distance {distance} is not positive", "give distances above 0")
            if self.distance_unit == "voxel" and not _is_whole(distance):
                raise ParameterError(
                    f"distance {distance} is no whole number of voxels", "round it, or choose distance_unit='mm'"
                )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)


@dataclass(frozen=True)
class PairOffset:
    """One displacement between the two voxels of a pair.

    Attributes
    ----------
    direction : (k, j, i)
        As asked for.
    distance : float
        As asked for, in the settings' unit.
    voxels : (k, j, i)
        What was used.
    length_mm : float or None
        Its length; None where the spacing is not known.
    """

    direction: Offset
    distance: float
    voxels: Offset
    length_mm: float | None


@dataclass(frozen=True)
class Discretised:
    """Grey levels of an image.

    Attributes
    ----------
    levels : ndarray of uint16, shape (K, J, I)
        1 … ``n_levels`` inside the mask, 0 outside.
    n_levels : int
    edges : ndarray of float64, shape (n_levels + 1,)
        Bin edges in image units; the first and the last bin also hold what lies beyond them.
    notes : tuple of str
        What a reader must know about the result.
    """

    levels: np.ndarray
    n_levels: int
    edges: np.ndarray
    notes: tuple[str, ...] = ()


def pair_offsets(
    settings: TextureSettings, spacing_mm: tuple[float, float, float] | None = None
) -> tuple[tuple[PairOffset, ...], tuple[str, ...]]:
    """Return the voxel displacements that settings mean on a grid.

    A distance in voxels is the number of steps along a direction. A distance in mm is the length of the displacement
    along a direction of the physical axes, rounded to the nearest voxel; displacements that round to none, or to one
    that is there already (either way round where pairs count both ways), are left out.

    Parameters
    ----------
    settings : TextureSettings
    spacing_mm : three floats, optional
        Voxel spacing along (i, j, k), the order of ``Grid.spacing_mm``; needed for distances in mm.

    Returns
    -------
    offsets : tuple of PairOffset
    notes : tuple of str
        What was left out, in words; empty where nothing was.

    Raises
    ------
    ParameterError
        Spacing missing or not positive, or every distance rounds to zero voxels.
    """
    if spacing_mm is None and settings.distance_unit == "mm":
        raise ParameterError("distances are in mm, but the voxel spacing is not known", "pass spacing_mm=(i, j, k)")
    steps = None if spacing_mm is None else tuple(float(s) for s in spacing_mm)[::-1]
    if steps is not None and (len(steps) != 3 or not all(math.isfinite(s) and s > 0 for s in steps)):
        raise ParameterError(f"spacing {spacing_mm} mm is not three positive numbers", "give spacing along i, j, k")
    asked = len(settings.distances) * len(settings.directions)
    offsets: list[PairOffset] = []
    taken: set[Offset] = set()
    vanished = repeated = 0
    for distance in settings.distances:
        for direction in settings.directions:
            voxels = _displacement(direction, distance, steps if settings.distance_unit == "mm" else None)
            if voxels == (0, 0, 0):
                vanished += 1
                continue
            if voxels in taken:
                repeated += 1
                continue
            taken.add(voxels)
            if settings.symmetric:
                taken.add((-voxels[0], -voxels[1], -voxels[2]))
            length = None if steps is None else math.hypot(*(v * s for v, s in zip(voxels, steps, strict=True)))
            offsets.append(PairOffset(direction, distance, voxels, length))
    if not offsets:
        assert steps is not None  # a whole number of voxels never vanishes
        size = " x ".join(f"{step:g}" for step in steps[::-1])
        raise ParameterError(
            f"distances {settings.distances} mm are below half a voxel of {size} mm in all {asked} displacements",
            f"give a distance of at least {min(steps):g} mm, or choose distance_unit='voxel'",
        )
    notes = (
        (
            f"{len(offsets)} of {asked} displacements were used: {vanished} round to no voxel, "
            f"{repeated} to one already taken",
        )
        if vanished or repeated
        else ()
    )
    return tuple(offsets), notes


def discretise(image: np.ndarray, mask: np.ndarray | None, settings: TextureSettings) -> Discretised:
    """Turn intensities inside a mask into grey levels.

    Parameters
    ----------
    image : ndarray, shape (K, J, I)
        Real intensities, finite inside the mask; not changed.
    mask : ndarray, shape (K, J, I), optional
        Nonzero where to measure; every voxel when omitted.
    settings : TextureSettings

    Returns
    -------
    Discretised
        A constant image gives level 1 everywhere, and a note that says so.

    Raises
    ------
    InputError
        Wrong shapes or types, empty mask, NaN or infinite values inside the mask, no spread to normalise by.
    ParameterError
        The bin width makes more than 1024 levels.
    """
    inside = checked_mask(image, mask)
    values = image[inside].astype(np.float64)
    bad = int(values.size - np.count_nonzero(np.isfinite(values)))
    if bad:
        raise InputError(
            f"the image has {bad} of {values.size} values inside the mask that are NaN or infinite",
            "replace them, or leave them out of the mask",
        )
    low, high = float(values.min()), float(values.max())
    notes: tuple[str, ...] = ()
    offset, scale = 0.0, 1.0
    if low == high:
        notes = (f"the image is constant inside the mask ({low:g}): one grey level, no texture; correlation is 1",)
        offset = low if settings.normalisation == "robust" else 0.0
    elif settings.normalisation == "robust":
        offset, scale = _robust_scale(values, low, high)
    start, width, n_levels = _bins(settings, (low - offset) / scale, (high - offset) / scale)
    start, width = offset + scale * start, scale * width
    values -= start
    values /= width
    np.floor(values, out=values)
    np.clip(values, 0, n_levels - 1, out=values)
    values += 1
    levels = np.zeros(image.shape, np.uint16)
    levels[inside] = values
    return Discretised(levels, n_levels, start + width * np.arange(n_levels + 1), notes)


def checked_mask(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """Return the boolean mask of an image after checking both.

    Parameters
    ----------
    image : ndarray, shape (K, J, I)
    mask : ndarray, shape (K, J, I), optional
        Nonzero inside; every voxel when omitted.

    Returns
    -------
    bool ndarray, shape (K, J, I)
        The mask itself where it is boolean.

    Raises
    ------
    InputError
        Not three-dimensional, not real numbers, shapes that differ, NaN in the mask, no voxel inside.
    """
    if image.ndim != 3:
        raise InputError(
            f"image has {image.ndim} dimensions, shape {image.shape}; expected (K, J, I)",
            "pass one volume; a picture as image[None]",
        )
    if image.dtype.kind not in "fiub":
        raise InputError(f"image has values of type {image.dtype}; expected real numbers", "use the magnitude image")
    if mask is None:
        inside = np.ones(image.shape, bool)
    else:
        if mask.shape != image.shape:
            raise InputError(f"mask shape {mask.shape} differs from the image's {image.shape}", "resample the mask")
        if mask.dtype.kind not in "fiub" or (mask.dtype.kind == "f" and np.isnan(mask).any()):
            raise InputError(f"mask of type {mask.dtype} holds values that are no numbers", "use 0 outside, 1 inside")
        inside = mask if mask.dtype == bool else np.asarray(mask != 0)
    if not inside.any():
        raise InputError(f"the mask of {inside.size} voxels is empty", "choose a mask with at least one voxel")
    return inside


def _robust_scale(values: np.ndarray, low: float, high: float) -> tuple[float, float]:
    try:
        fitted = fit_intensity_scale(values)
    except InputError as error:
        raise InputError(
            f"{LOWER_PERCENTILE} and {UPPER_PERCENTILE} % percentiles inside the mask are equal although values run "
            f"from {low:g} to {high:g}",
            "choose another mask, or normalisation='none' with a bin_width in image units",
        ) from error
    return fitted.offset, fitted.scale


def _bins(settings: TextureSettings, low: float, high: float) -> tuple[float, float, int]:
    """Return start, width and number of the bins, in normalised units; ``low`` and ``high`` are the data's extremes."""
    limits = settings.intensity_range or ((0.0, 1.0) if settings.normalisation == "robust" else None)
    if settings.bin_count is not None:
        start, stop = limits or (low, high)
        return start, ((stop - start) or 1.0) / settings.bin_count, settings.bin_count
    width = NORMALISED_BIN_WIDTH if settings.bin_width is None else settings.bin_width
    if limits is None:
        start = math.floor(low / width) * width
        count = math.floor((high - start) / width) + 1
    else:
        start = limits[0]
        count = max(1, math.ceil((limits[1] - start) / width - 1e-9))
    if count > MOST_LEVELS:
        raise ParameterError(
            f"bin_width {width:g} makes {count} grey levels; at most {MOST_LEVELS} are possible",
            f"give a bin_width of at least {width * count / MOST_LEVELS:.3g}, a narrower intensity_range, or bin_count",
        )
    return start, width, count


def _displacement(direction: Offset, distance: float, steps_mm: tuple[float, ...] | None) -> Offset:
    """Return the voxel displacement of a distance: in whole steps, or in mm on voxels of the given (k, j, i) steps."""
    if steps_mm is None:
        k, j, i = (int(distance) * step for step in direction)
    else:
        length = distance / math.hypot(*direction)
        k, j, i = (round(length * d / s) for d, s in zip(direction, steps_mm, strict=True))
    return k, j, i


def _as_tuple(value: Any, name: str) -> tuple[Any, ...]:
    result = tuple(value) if isinstance(value, (tuple, list, np.ndarray)) else ()
    if not result:
        raise ParameterError(f"{name} is {value!r}; expected at least one in a tuple", f"give {name} as a tuple")
    return result


def _checked_direction(direction: Any) -> Offset:
    entries = _as_tuple(direction, "direction")
    if len(entries) != 3 or any(step not in (-1, 0, 1) for step in entries) or not any(entries):
        raise ParameterError(
            f"direction {direction} is not three steps of -1, 0 or 1 along (k, j, i)", "take some of DIRECTIONS_13"
        )
    return int(entries[0]), int(entries[1]), int(entries[2])


def _is_whole(number: float) -> bool:
    return isinstance(number, (int, float, np.integer, np.floating)) and float(number).is_integer()
