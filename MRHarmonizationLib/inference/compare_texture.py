"""Texture of the images of a comparison: co-occurrence features over distance in mm, and maps of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.compare_inputs import Subjects
from MRHarmonizationLib.inference.compare_spectrum import ROLES
from MRHarmonizationLib.inference.curves import Curve, Role, Series

if TYPE_CHECKING:
    from MRHarmonizationLib.core.texture import Discretised, PairOffset
    from MRHarmonizationLib.volumes.grid import Grid
    from MRHarmonizationLib.volumes.volume import Volume

#: Distances at which pairs of voxels are looked at, in units of 1 mm (of the finest spacing where that is larger).
DISTANCES = (1.0, 2.0, 3.0, 4.0, 6.0, 8.0)
#: Features drawn over distance: id of the curve, title, what it tells.
DRAWN_FEATURES: Mapping[str, tuple[str, str, str]] = {
    "contrast": (
        "glcm_contrast",
        "Texture: contrast",
        "Mean squared difference of grey levels between two voxels so far apart. Noise and detail raise it at short "
        "distances, blur lowers it.",
    ),
    "homogeneity": (
        "glcm_homogeneity",
        "Texture: homogeneity",
        "Near 1 where neighbours have almost equal grey levels. Blur raises it, noise and detail lower it.",
    ),
    "correlation": (
        "glcm_correlation",
        "Texture: correlation",
        "How well a voxel predicts one so far away: 1 perfectly, 0 not at all. Noise lowers it at once, structure lets "
        "it fall slowly.",
    ),
    "joint_entropy": (
        "glcm_entropy",
        "Texture: entropy",
        "How many different pairs of grey levels there are. Noise and rich detail raise it, smoothing lowers it.",
    ),
}
#: Units of features that are not plain numbers.
FEATURE_UNITS = {"joint_entropy": "bit", "contrast": "levels²"}


@dataclass(frozen=True, eq=False)
class TextureOverDistance:
    """Texture features of all images.

    Attributes
    ----------
    curves : tuple of Curve
        One per feature of :data:`DRAWN_FEATURES`.
    rows : tuple of dict
        image, feature, distance_mm (as asked for), length_mm (mean length of the displacements used), directions
        (their number), value (their mean).
    """

    curves: tuple[Curve, ...]
    rows: tuple[dict[str, Any], ...]


def texture_over_distance(subjects: Subjects, notes: list[str], progress: Progress) -> TextureOverDistance:
    """Measure every texture feature of every image at several distances, averaged over 13 directions.

    Each image is scaled by its own .5 and 99.5 % percentiles inside the mask and cut into 32 grey levels, so that gain
    does not count as texture; the histogram shows gain.

    Parameters
    ----------
    subjects : Subjects
    notes : list of str
        What could not be measured is added.
    progress : Progress
    """
    from MRHarmonizationLib.core.texture import TextureSettings, discretise
    from MRHarmonizationLib.core.texture_matrices import bounding_box

    rows: list[dict[str, Any]] = []
    roles = [role for role in ROLES if role in subjects.images and role not in subjects.constant]
    if not roles:
        return TextureOverDistance((), ())
    steps = _displacements(subjects.images["after"].grid)
    box = bounding_box(subjects.mask)
    for number, role in enumerate(roles):
        try:
            grey = discretise(subjects.images[role].array[box], subjects.mask[box], TextureSettings())
        except InputError as problem:
            notes.append(f"the texture of {role} was left out: {problem.problem}")
            continue
        for step, (distance, offsets) in enumerate(steps):
            progress.report((number + step / len(steps)) / len(roles), f"texture of {role} at {distance:g} mm")
            rows += _features(role, grey, subjects.mask[box], distance, offsets)
    if roles and not rows:
        notes.append("texture was left out: no two voxels of the mask are neighbours")
    return TextureOverDistance(tuple(_curves(rows)), tuple(rows))


def _displacements(grid: Grid) -> list[tuple[float, list[PairOffset]]]:
    """Return for each distance in mm the displacements of 13 directions; distances that repeat another's are left out.

    Directions in which a distance is less than half a voxel (across thick slices) begin at a larger distance.
    """
    from MRHarmonizationLib.core.texture import TextureSettings, pair_offsets

    i, j, k = (float(value) for value in grid.spacing_mm)
    unit = max(1.0, min(i, j, k))
    found: list[tuple[float, list[PairOffset]]] = []
    seen: set[frozenset[tuple[int, int, int]]] = set()
    for factor in DISTANCES:
        settings = TextureSettings(distances=(factor * unit,), distance_unit="mm")
        offsets, _ = pair_offsets(settings, (i, j, k))
        taken = frozenset(offset.voxels for offset in offsets)
        if taken not in seen:
            seen.add(taken)
            found.append((factor * unit, list(offsets)))
    return found


def _features(
    role: str, grey: Discretised, mask: np.ndarray, distance: float, offsets: Sequence[PairOffset]
) -> list[dict[str, Any]]:
    """Return one row per feature at one distance; none where the mask has no such pair."""
    from MRHarmonizationLib.core.texture import cooccurrence_matrices, texture_features

    voxels = [offset.voxels for offset in offsets]
    counts = cooccurrence_matrices(grey.levels, mask, grey.n_levels, voxels, normalised=False)
    used = counts.sum(axis=(1, 2)) > 0
    if not used.any():
        return []
    lengths = [offset.length_mm or 0.0 for offset, kept in zip(offsets, used, strict=True) if kept]
    common = {"distance_mm": distance, "length_mm": float(np.mean(lengths)), "directions": len(lengths)}
    return [
        {"image": role, "feature": name, **common, "value": float(values.mean())}
        for name, values in texture_features(counts[used]).items()
    ]


def _curves(rows: Sequence[Mapping[str, Any]]) -> list[Curve]:
    curves = []
    for feature, (curve_id, title, sentence) in DRAWN_FEATURES.items():
        series = []
        for role in ROLES:
            own = [row for row in rows if row["image"] == role and row["feature"] == feature]
            if own:
                x, y = ([row[key] for row in own] for key in ("length_mm", "value"))
                series.append(_sorted_series(role, x, y))
        if series:
            curves.append(
                Curve(
                    id=curve_id,
                    title=title,
                    sentence=sentence,
                    x_label="mean distance of the two voxels",
                    x_unit="mm",
                    x_log=False,
                    y_label=feature.replace("_", " "),
                    y_unit=FEATURE_UNITS.get(feature, "1"),
                    y_log=False,
                    series=tuple(series),
                )
            )
    return curves


def _sorted_series(role: Role, x: Sequence[float], y: Sequence[float]) -> Series:
    order = np.argsort(x, kind="stable")
    return Series(role, role, np.asarray(x)[order], np.asarray(y)[order])


def check_maps(features: Sequence[str], window: int) -> None:
    """Refuse map features and windows that cannot be, before any work is done.

    Raises
    ------
    ParameterError
    """
    if not features:
        return
    from MRHarmonizationLib.core.texture_maps import LONGEST_WINDOW, MAP_FEATURES

    for feature in features:
        if feature not in MAP_FEATURES:
            raise ParameterError(f"there is no map of '{feature}'", f"choose of: {', '.join(MAP_FEATURES)}")
    if not 3 <= window <= LONGEST_WINDOW or window % 2 == 0:
        raise ParameterError(f"window {window} is not an odd number from 3 to {LONGEST_WINDOW}", "use 5, for example")


def feature_maps(subjects: Subjects, features: Sequence[str], window: int, progress: Progress) -> dict[str, Volume]:
    """Return maps of texture features in a window around every voxel of the mask.

    Parameters
    ----------
    subjects : Subjects
    features : sequence of str
        Names in ``MRHarmonizationLib.core.texture.MAP_FEATURES``.
    window : int
        Side of the window, voxels.
    progress : Progress

    Returns
    -------
    dict of str to Volume
        float32 on the grid of the images, by ``<before|after|reference>_<feature>``; 0 outside the mask.
    """
    from MRHarmonizationLib.core.texture import TextureSettings, texture_maps

    wanted = list(dict.fromkeys(features))
    found: dict[str, Volume] = {}
    if not wanted:
        return found
    roles = [role for role in ROLES if role in subjects.images and role not in subjects.constant]
    for number, role in enumerate(roles):
        part = progress.part(number / len(roles), (number + 1) / len(roles))
        part.report(0.0, f"feature maps of {role}")
        volume = subjects.images[role]
        maps = texture_maps(volume.array, subjects.mask, wanted, window, TextureSettings(), part)
        for feature, values in maps.items():
            name = f"{role}_{feature}"
            found[name] = volume.with_array(values, name)
    return found
