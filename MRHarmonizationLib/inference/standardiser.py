"""A network as a harmoniser: it looks at the scan coarsely, and changes its contrast smoothly from place to place.

The scan itself is never resampled: the network tells weights of detail and tone curves every 8 mm, which are
interpolated at each voxel of the scan's own grid (see ``core/local_tone``).
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ModelNotFoundError, ParameterError, WeightsError
from MRHarmonizationLib.core.local_tone import (
    BAND_SIGMAS_MM,
    COEFFICIENTS,
    FEATURE_MM,
    GRID_MM,
    apply_coefficients,
    detail_bands,
    local_features,
)
from MRHarmonizationLib.inference.backends import Backend, choose_backend
from MRHarmonizationLib.methods.case_profile import FULL_SCALE
from MRHarmonizationLib.methods.harmonizers.base import HARMONIZERS, FittedHarmonizer, harmonizer, restore
from MRHarmonizationLib.methods.harmonizers.landmarks import LANDMARKS, Nyul
from MRHarmonizationLib.methods.reference_group import ReferenceGroup
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.orientation import canonical_order
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.card import Card
from MRHarmonizationLib.weights.store import get_model, list_models

#: Task of the cards, and name of the harmoniser.
TASK, NETWORK = "standardise", "network"
#: Layout of the cards' input.
LAYOUT = "whole-head"
#: Method that takes the network's look to a reference group it was not trained for.
FURTHER = "nyul"
#: Voxels worked on at a time; bounds the memory.
SLAB_VOXELS = 6_000_000
#: Reach of the Gaussians of ``detail_bands``, mm.
REACH_MM = 3.0 * sum(
    math.sqrt(wide**2 - narrow**2) for wide, narrow in zip(BAND_SIGMAS_MM, (0.0, *BAND_SIGMAS_MM[:-1]), strict=True)
)


@harmonizer(
    NETWORK,
    "Standardiser network",
    "A trained network evens out contrast, shading and sharpness from place to place; T1, T2 and FLAIR heads.",
    {"model": ""},
)
@dataclass(frozen=True)
class NetworkStandardiser(FittedHarmonizer):
    """A standardiser network and the look it is to give.

    Attributes
    ----------
    model, weights_sha256 : str
        Card and digest of the weights.
    contrast : str
        Which of the looks the network knows.
    reference : str
        Id of the reference group.
    further_state : str
        JSON of the fitted method that takes the network's look to the group's, where the network was not trained for
        the group; else empty.
    """

    model: str
    weights_sha256: str
    contrast: str
    reference: str
    further_state: str = ""

    @classmethod
    def fit(cls, group: ReferenceGroup, model: str = "") -> NetworkStandardiser:
        """Choose the network for a group.

        Parameters
        ----------
        group : ReferenceGroup
        model : str
            Id of a card; by default the one trained for this group, else one that knows its contrast.

        Raises
        ------
        ModelNotFoundError
            No network for this contrast.
        """
        card = get_model(model) if model else find_standardiser(group)
        looks = looks_of(card)
        if not looks.get(group.contrast):
            known = ", ".join(contrast for contrast, taught in looks.items() if taught)
            raise ModelNotFoundError(
                f"standardiser '{card.id}' knows {known}, not '{group.contrast}' (reference '{group.id}')",
                "choose a reference of these contrasts, another method, or train one: `mrharmonize train contrast`",
            )
        state = ""
        if looks[group.contrast] != group.id:
            state = json.dumps(HARMONIZERS.get(FURTHER).fit(group).to_dict(), sort_keys=True)
        return cls(card.id, card.weights.sha256, group.contrast, group.id, state)

    def map_array(self, volume: Volume, mask: np.ndarray | None) -> np.ndarray:
        """Return the new values; the mask plays no part: the network was taught with whole heads and brains."""
        card = get_model(self.model)
        if card.weights.sha256 != self.weights_sha256:
            raise WeightsError(
                f"standardiser '{self.model}' has other weights now ({card.weights.sha256[:12]}…) than when it was "
                f"fitted ({self.weights_sha256[:12]}…)",
                "fit it anew",
            )
        result = standardise(volume, card, self.contrast)
        if self.further_state:
            fitted = restore(json.loads(self.further_state))
            result = fitted.map_array(volume.with_array(result), mask)
        return result


def find_standardiser(group: ReferenceGroup) -> Card:
    """Return the card of the network for a group: trained for it, else one that knows its contrast.

    Raises
    ------
    ModelNotFoundError
        There is none.
    """
    cards = list_models(TASK)
    for card in cards:
        if group.id in looks_of(card).values():
            return card
    for card in cards:
        if looks_of(card).get(group.contrast):
            return card
    raise ModelNotFoundError(
        f"there is no standardiser network for contrast '{group.contrast}' (reference '{group.id}')",
        "choose another method, or train one: `mrharmonize train contrast --reference`",
    )


def looks_of(card: Card) -> dict[str, str]:
    """Return the contrasts of a card's input channels, in order, with the reference group whose look each was taught.

    The group is '' for a contrast that was not taught.

    Raises
    ------
    WeightsError
        The card is none of a standardiser.
    """
    looks = card.extra.get("references")
    if card.task != TASK or not isinstance(looks, dict) or not looks:
        raise WeightsError(f"card '{card.id}' is not that of a standardiser", f"choose a card of task '{TASK}'")
    return {str(contrast): str(group) for contrast, group in looks.items()}


def standardise(volume: Volume, card: Card, contrast: str, backend: Backend | None = None) -> np.ndarray:
    """Give a scan the look that a network knows.

    Parameters
    ----------
    volume : Volume
        Finite; any grid.
    card : Card
    contrast : str
        One of the card's looks.
    backend : Backend, optional
        Opened from the card when omitted.

    Returns
    -------
    float32 ndarray, shape (K, J, I)
        On the scan's grid, 0 air to 1000.

    Raises
    ------
    InputError
        Values that are not finite, a constant image.
    ParameterError
        A contrast the card does not know.
    """
    looks = list(looks_of(card))
    if contrast not in looks:
        raise ParameterError(f"standardiser '{card.id}' does not know contrast '{contrast}'", f"use {', '.join(looks)}")
    matched = Nyul(LANDMARKS, _landmarks(card, contrast)).map_array(volume, None)
    order = canonical_order(volume.grid)
    grid = order.apply_grid(volume.grid)
    array = np.ascontiguousarray(order.apply(matched / np.float32(FULL_SCALE)), np.float32)
    image, corner_mm = coarse_image(array, grid)
    coefficients = _run(backend or _backend(card.id, card.weights.sha256), image, looks, contrast)
    result = np.empty(array.shape, np.float32)
    for block, wide, inner in _slabs(array.shape, grid):
        bands = detail_bands(array[wide], grid.spacing_mm[::-1].tolist())
        dense = coefficients_at(coefficients, grid, corner_mm, block)
        result[block] = apply_coefficients([band[inner] for band in bands], list(dense))
    return np.ascontiguousarray(order.undo(result * np.float32(FULL_SCALE)))


def coarse_image(array: np.ndarray, grid: Grid) -> tuple[np.ndarray, np.ndarray]:
    """Return the scan at 2 mm along its own axes, in a box that the network can halve four times.

    Parameters
    ----------
    array : float32 ndarray, shape (K, J, I)
        Normalised; on ``grid``.
    grid : Grid

    Returns
    -------
    image : float32 ndarray
        Sizes are multiples of 16; what lies beyond the scan is air (0).
    corner_mm : ndarray, shape (3,)
        How far the box begins before the scan's first voxel edges, along the array axes; zero or more.
    """
    from scipy.ndimage import gaussian_filter, map_coordinates

    half = FEATURE_MM / 2
    spacing = grid.spacing_mm[::-1]
    extent = np.array(array.shape) * spacing
    sizes = np.maximum(np.ceil(extent / half / 16).astype(int), 1) * 16
    corner = (sizes * half - extent) / 2
    # what is finer than the cells is averaged, not skipped
    sigmas = [math.sqrt(max(half**2 - s**2, 0.0) / 12.0) / s for s in spacing]
    smooth = gaussian_filter(array, sigmas, mode="nearest", truncate=3.0)
    places, inside = [], []
    for axis in range(3):
        mm = (np.arange(sizes[axis]) + 0.5) * half - corner[axis]
        places.append(np.clip(mm / spacing[axis] - 0.5, 0, array.shape[axis] - 1))
        inside.append((mm >= 0) & (mm <= extent[axis]))
    mesh = np.meshgrid(*places, indexing="ij")
    image = map_coordinates(smooth, mesh, order=1, mode="nearest", output=np.float32)
    keep = inside[0][:, None, None] & inside[1][None, :, None] & inside[2][None, None, :]
    return np.where(keep, image, np.float32(0.0)), corner


def coefficients_at(
    coefficients: np.ndarray, grid: Grid, corner_mm: np.ndarray, block: tuple[slice, slice, slice]
) -> np.ndarray:
    """Interpolate coefficients linearly at the voxels of a block of the scan.

    Parameters
    ----------
    coefficients : float32 ndarray, shape (COEFFICIENTS, k, j, i)
        At 8 mm, from ``corner_mm`` before the scan's first voxel edges on.
    grid : Grid
    corner_mm : ndarray, shape (3,)
    block : three slices
        Of the scan's array axes.

    Returns
    -------
    float32 ndarray, shape (COEFFICIENTS, K, J, I) of the block
    """
    dense = coefficients
    spacing = grid.spacing_mm[::-1]
    for axis in (2, 1, 0):  # the axis that grows the array least is expanded last
        voxels = np.arange(*block[axis].indices(grid.shape[axis]))
        place = ((voxels + 0.5) * spacing[axis] + corner_mm[axis]) / GRID_MM - 0.5
        count = coefficients.shape[1 + axis]
        lower = np.clip(np.floor(place).astype(int), 0, max(count - 2, 0))
        share = np.clip(place - lower, 0.0, 1.0) if count > 1 else np.zeros(len(voxels))
        matrix = np.zeros((len(voxels), count), np.float32)
        rows = np.arange(len(voxels))
        matrix[rows, lower] = 1.0 - share
        if count > 1:
            matrix[rows, lower + 1] += share
        dense = np.moveaxis(np.tensordot(matrix, dense, axes=(1, 1 + axis)), 0, 1 + axis)
    return np.ascontiguousarray(dense, np.float32)


def _run(backend: Backend, image: np.ndarray, looks: Sequence[str], contrast: str) -> np.ndarray:
    features = local_features(image)
    planes = np.zeros((len(looks), *features.shape[1:]), np.float32)
    planes[list(looks).index(contrast)] = 1.0
    found = backend.run(np.ascontiguousarray(np.concatenate([features, planes])[None]))[0]
    if found.shape[0] != COEFFICIENTS or not np.all(np.isfinite(found)):
        raise WeightsError(
            f"the standardiser returned {found.shape[0]} channels, expected {COEFFICIENTS} finite ones",
            "install unaltered weights",
        )
    return np.asarray(found, np.float32)


def _landmarks(card: Card, contrast: str) -> tuple[float, ...]:
    found = dict(card.extra.get("landmarks", {})).get(contrast, ())
    if len(found) != len(LANDMARKS):
        raise WeightsError(
            f"card '{card.id}' has {len(found)} landmarks for '{contrast}', expected {len(LANDMARKS)}",
            "install the card that belongs to the weights",
        )
    return tuple(float(v) for v in found)


@lru_cache(maxsize=2)
def _backend(model: str, sha256: str) -> Backend:
    return choose_backend(get_model(model))


def _slabs(shape: tuple[int, ...], grid: Grid) -> list[tuple[Any, Any, Any]]:
    """Return (block, block with what its Gaussians reach, the block within it) along the first axis."""
    thick = max(1, SLAB_VOXELS // max(shape[1] * shape[2], 1))
    halo = int(np.ceil(REACH_MM / float(grid.spacing_mm[2]))) + 4
    found = []
    for start in range(0, shape[0], thick):
        stop = min(start + thick, shape[0])
        low, high = max(start - halo, 0), min(stop + halo, shape[0])
        rest = (slice(0, shape[1]), slice(0, shape[2]))
        found.append(
            (
                (slice(start, stop), *rest),
                (slice(low, high), *rest),
                (slice(start - low, stop - low), slice(None), slice(None)),
            )
        )
    return found
