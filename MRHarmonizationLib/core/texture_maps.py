"""Maps of texture: the features of a small window around every voxel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.texture_features import FEATURES
from MRHarmonizationLib.core.texture_matrices import bounding_box
from MRHarmonizationLib.core.texture_settings import (
    Offset,
    PairOffset,
    TextureSettings,
    checked_mask,
    discretise,
    pair_offsets,
)
from MRHarmonizationLib.core.texture_windows import (
    HISTOGRAM_FEATURES,
    MOMENT_FEATURES,
    histogram_features,
    moment_features,
    pair_field,
)

#: Features that can be mapped: all but mcc, which needs an eigenvalue problem per voxel and direction.
MAP_FEATURES: tuple[str, ...] = tuple(name for name in FEATURES if name in MOMENT_FEATURES | HISTOGRAM_FEATURES)
#: Voxels worked on at a time; some twenty float64 arrays of that size live at once.
BLOCK_VOXELS = 500_000
#: Longest window edge: beyond it a value is hardly local, and sorting its pairs slow.
LONGEST_WINDOW = 31


def texture_maps(
    image: np.ndarray,
    mask: np.ndarray | None,
    features: Sequence[str],
    window: int | tuple[int, int, int] = 5,
    settings: TextureSettings | None = None,
    progress: Progress | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
    outside: float = 0.0,
) -> dict[str, np.ndarray]:
    """Measure texture in a window around every voxel of a mask.

    Grey levels are those of the whole image inside the mask. A pair counts where both voxels lie in the window and in
    the mask; a voxel's value is the mean over the displacements that have a pair there, as in pyradiomics' voxel-based
    mode. Means over pairs are sums over boxes, whose cost does not depend on the window; entropies sort the window's
    pairs. Memory is bounded: the volume is worked through in blocks of slices.

    Parameters
    ----------
    image : ndarray, shape (K, J, I)
        Real intensities, finite inside the mask; not changed.
    mask : ndarray, shape (K, J, I), optional
        Nonzero where to measure; every voxel when omitted.
    features : sequence of str
        Some of :data:`MAP_FEATURES`.
    window : int or (k, j, i)
        Odd edge lengths in voxels, 3 to 31 (1 along an axis keeps the window flat).
    settings : TextureSettings, optional
        Pairs must count both ways.
    progress : Progress, optional
        Reports each block and direction; can cancel.
    spacing_mm : three floats, optional
        Voxel spacing along (i, j, k); needed for distances in mm.
    outside : float
        Value outside the mask, and of voxels inside that have no partner in the mask within their window.

    Returns
    -------
    dict of str to ndarray of float32, shape (K, J, I)
        Finite throughout if ``outside`` is.

    Raises
    ------
    InputError
        As :func:`~MRHarmonizationLib.core.texture.glcm_texture`.
    ParameterError
        Unknown feature, impossible window, pairs counted one way only, displacements longer than the window.
    OperationCancelled
        Through ``progress``.
    """
    settings = settings or TextureSettings()
    progress = progress or Progress()
    names = _checked_features(features)
    edges = _checked_window(window)
    if not settings.symmetric:
        raise ParameterError("maps are made of pairs that count both ways", "choose symmetric=True")
    offsets, _ = pair_offsets(settings, spacing_mm)
    offsets = _fitting(offsets, edges, settings)
    inside = checked_mask(image, mask)
    grey = discretise(image, inside, settings)
    box = bounding_box(inside)
    radius = tuple(edge // 2 for edge in edges)
    levels = np.pad(grey.levels[box], [(r, r) for r in radius])
    maps = {name: np.full(image.shape, outside, np.float32) for name in names}
    centres_inside = inside[box]
    depth = max(1, BLOCK_VOXELS // levels[0].size)
    starts = range(0, len(centres_inside), depth)
    for number, start in enumerate(starts):
        stop = min(start + depth, len(centres_inside))
        part = progress.part(number / len(starts), (number + 1) / len(starts))
        block = _block(
            levels[start : stop + 2 * radius[0]],
            centres_inside[start:stop],
            frozenset(names),
            offsets,
            edges,
            grey.n_levels,
            part,
        )
        for name, (values, measured) in block.items():
            target = maps[name][box][start:stop]
            target[measured] = values[measured]
    progress.report(1.0, "texture maps are ready")
    return maps


def _block(
    levels: np.ndarray,
    centres: np.ndarray,
    wanted: frozenset[str],
    offsets: tuple[PairOffset, ...],
    window: Offset,
    n_levels: int,
    progress: Progress,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return each feature of a block of centres, and where it was measured; ``levels`` has half a window around it."""
    progress.check()
    total = {name: np.zeros(centres.shape) for name in wanted}
    directions = np.zeros(centres.shape)
    places = np.nonzero(centres)
    for number, offset in enumerate(offsets):
        field = pair_field(levels, offset.voxels, window, n_levels)
        if field is None or not places[0].size:
            continue
        moments, pairs = moment_features(field, wanted & MOMENT_FEATURES)
        # Windows without a pair must add nothing: constants of the formulas are not 0 there.
        some = pairs > 0
        directions += some
        for name, values in moments.items():
            total[name] += values * some
        if wanted & HISTOGRAM_FEATURES:
            histograms, _ = histogram_features(field, wanted & HISTOGRAM_FEATURES, places, progress.check)
            for name, values in histograms.items():
                total[name][places] += values
        progress.report((number + 1) / len(offsets), "measuring texture")
    measured = centres & (directions > 0)
    directions = np.maximum(directions, 1)
    return {name: (values / directions, measured) for name, values in total.items()}


def _checked_features(features: Sequence[str]) -> tuple[str, ...]:
    names = [features] if isinstance(features, str) else list(features)
    unknown = [name for name in names if name not in MAP_FEATURES]
    if unknown or not names:
        raise ParameterError(
            f"no map can be made of {', '.join(map(repr, unknown)) or 'no feature'}",
            f"choose among {', '.join(MAP_FEATURES)}",
        )
    return tuple(dict.fromkeys(names))


def _checked_window(window: int | tuple[int, int, int]) -> Offset:
    edges = (window,) * 3 if isinstance(window, (int, np.integer)) else tuple(window)
    if (
        len(edges) != 3
        or any(int(e) != e or e % 2 == 0 or not 1 <= e <= LONGEST_WINDOW for e in edges)
        or max(edges) < 3
    ):
        raise ParameterError(f"window {window} is not odd edge lengths from 3 to {LONGEST_WINDOW} voxels", "5 is usual")
    return int(edges[0]), int(edges[1]), int(edges[2])


def _fitting(offsets: tuple[PairOffset, ...], window: Offset, settings: TextureSettings) -> tuple[PairOffset, ...]:
    """Return the displacements that fit into a window."""
    kept = tuple(o for o in offsets if all(abs(s) < edge for s, edge in zip(o.voxels, window, strict=True)))
    if not kept:
        raise ParameterError(
            f"no displacement of distances {settings.distances} {settings.distance_unit} fits into a window of "
            f"{' x '.join(map(str, window))} voxels (k, j, i)",
            "choose a larger window or a shorter distance",
        )
    return kept
