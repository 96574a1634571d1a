"""Texture of a masked volume: grey-level co-occurrence in any of 13 directions, at distances in voxels or mm."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.texture_features import FEATURES, texture_features
from MRHarmonizationLib.core.texture_maps import MAP_FEATURES, texture_maps
from MRHarmonizationLib.core.texture_matrices import cooccurrence_matrices
from MRHarmonizationLib.core.texture_settings import (
    DIRECTIONS_4,
    DIRECTIONS_13,
    Discretised,
    PairOffset,
    TextureSettings,
    checked_mask,
    discretise,
    pair_offsets,
)

__all__ = [
    "DIRECTIONS_4",
    "DIRECTIONS_13",
    "FEATURES",
    "MAP_FEATURES",
    "Discretised",
    "PairOffset",
    "TextureResult",
    "TextureSettings",
    "cooccurrence_matrices",
    "discretise",
    "glcm_texture",
    "pair_offsets",
    "texture_features",
    "texture_maps",
]


@dataclass(frozen=True)
class TextureResult:
    """Texture features of one image, and everything needed to read them.

    Attributes
    ----------
    features : dict of str to float
        Mean over the displacements (IBSI's "3D averaged" for the 13 directions).
    merged : dict of str to float
        Of the sum of all matrices ("3D merged").
    per_direction : dict of str to ndarray, shape (D,)
        Of each displacement.
    matrices : ndarray of float64, shape (D, n_levels, n_levels)
        Share of pairs; row and column 0 belong to level 1.
    offsets : tuple of PairOffset, length D
        Displacements that had pairs.
    pairs : ndarray of int64, shape (D,)
        Pairs of voxels, each counted once.
    n_levels : int
    edges : ndarray, shape (n_levels + 1,)
        Of the grey-level bins, in image units.
    voxels : int
        Inside the mask.
    settings : TextureSettings
    notes : tuple of str
        Displacements left out, a constant image.
    """

    features: dict[str, float]
    merged: dict[str, float]
    per_direction: dict[str, np.ndarray]
    matrices: np.ndarray
    offsets: tuple[PairOffset, ...]
    pairs: np.ndarray
    n_levels: int
    edges: np.ndarray
    voxels: int
    settings: TextureSettings
    notes: tuple[str, ...] = ()

    def by_distance(self) -> dict[float, dict[str, float]]:
        """Return, for each distance asked for that had pairs, the features averaged over its displacements."""
        asked = np.array([offset.distance for offset in self.offsets])
        return {
            float(distance): {
                name: float(values[asked == distance].mean()) for name, values in self.per_direction.items()
            }
            for distance in dict.fromkeys(asked.tolist())
        }

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary without the matrices."""
        return {
            "features": dict(self.features),
            "merged": dict(self.merged),
            "per_direction": {name: values.tolist() for name, values in self.per_direction.items()},
            "offsets": [
                {
                    "direction": list(o.direction),
                    "distance": o.distance,
                    "voxels": list(o.voxels),
                    "length_mm": o.length_mm,
                }
                for o in self.offsets
            ],
            "pairs": self.pairs.tolist(),
            "n_levels": self.n_levels,
            "edges": [float(self.edges[0]), float(self.edges[-1])],
            "voxels": self.voxels,
            "settings": self.settings.to_dict(),
            "notes": list(self.notes),
        }


def glcm_texture(
    image: np.ndarray,
    mask: np.ndarray | None = None,
    settings: TextureSettings | None = None,
    spacing_mm: tuple[float, float, float] | None = None,
) -> TextureResult:
    """Measure the texture of an image inside a mask.

    Parameters
    ----------
    image : ndarray, shape (K, J, I)
        Real intensities, finite inside the mask; not changed.
    mask : ndarray, shape (K, J, I), optional
        Nonzero where to measure, of any number type; every voxel when omitted.
    settings : TextureSettings, optional
        Bins, distances, directions; see its defaults.
    spacing_mm : three floats, optional
        Voxel spacing along (i, j, k), the order of ``Grid.spacing_mm``; needed for distances in mm.

    Returns
    -------
    TextureResult

    Raises
    ------
    InputError
        Wrong shapes or types, empty mask, NaN or infinite values inside it, no pair of voxels at any displacement.
    ParameterError
        More than 1024 grey levels, distances in mm without spacing or below half a voxel.

    Examples
    --------
    >>> stripes = np.tile([0.0, 1.0], (4, 4, 3))
    >>> settings = TextureSettings(bin_count=2, normalisation="none", directions=((0, 0, 1), (0, 1, 0)))
    >>> result = glcm_texture(stripes, settings=settings)
    >>> result.per_direction["contrast"].tolist()
    [1.0, 0.0]
    """
    settings = settings or TextureSettings()
    inside = checked_mask(image, mask)
    offsets, notes = pair_offsets(settings, spacing_mm)
    grey = discretise(image, inside, settings)
    counts = cooccurrence_matrices(
        grey.levels, inside, grey.n_levels, [offset.voxels for offset in offsets], settings.symmetric, normalised=False
    )
    totals = counts.sum(axis=(1, 2))
    used = totals > 0
    if not used.any():
        raise InputError(
            f"no two of the {np.count_nonzero(inside)} voxels in the mask lie at any of the {len(offsets)} "
            f"displacements (distances {settings.distances} {settings.distance_unit})",
            "choose a larger mask or a shorter distance",
        )
    if not used.all():
        without = [offset.voxels for offset, kept in zip(offsets, used, strict=True) if not kept]
        notes = (*notes, f"no pair of voxels at displacement (k, j, i) {', '.join(map(str, without))}: left out")
    counts, totals = counts[used], totals[used]
    per_direction = texture_features(counts)
    merged = texture_features(counts.sum(axis=0, keepdims=True))
    return TextureResult(
        features={name: float(values.mean()) for name, values in per_direction.items()},
        merged={name: float(values[0]) for name, values in merged.items()},
        per_direction=per_direction,
        matrices=counts / totals[:, None, None],
        offsets=tuple(offset for offset, kept in zip(offsets, used, strict=True) if kept),
        pairs=np.asarray(totals / (2 if settings.symmetric else 1)).astype(np.int64),
        n_levels=grey.n_levels,
        edges=grey.edges,
        voxels=int(np.count_nonzero(inside)),
        settings=settings,
        notes=(*grey.notes, *notes),
    )
