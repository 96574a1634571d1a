"""The trained harmoniser of diffusion scans: one gain from tissue contrast, then one spatial filter, for all volumes.

    b0, weighted mean, MD, FA → tissues → contrast described by numbers → tone and shading → gain
    gained b0 and weighted mean → network → weights of linear filters (only on the canonical voxels)

Neither depends on the number or order of volumes. On the scan's own voxels only the gain is used: sharpening belongs to
the voxels it was learned on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from MRHarmonizationLib.core.diffusion_tone import FEATURES, TERMS, ScanContrast, measure_contrast
from MRHarmonizationLib.core.errors import InputError, ModelNotFoundError, ParameterError, WeightsError
from MRHarmonizationLib.core.guided_filters import PER_PASS, apply_passes
from MRHarmonizationLib.core.tiling import padded_size, plan_tiles, reflected_indices
from MRHarmonizationLib.inference.backends import Backend, choose_backend
from MRHarmonizationLib.inference.dwi_measures import can_fit_tensor, measure_maps, regions_of
from MRHarmonizationLib.inference.dwi_request import TARGET_SPACING, output_grid
from MRHarmonizationLib.methods.dwi_harmonizers.base import (
    DWI_HARMONIZERS,
    FittedDwiHarmonizer,
    Origin,
    dwi_harmonizer,
)
from MRHarmonizationLib.methods.dwi_target import DwiTarget
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.orientation import AxisOrder, canonical_order
from MRHarmonizationLib.weights.card import Card
from MRHarmonizationLib.weights.store import get_model, list_models

#: Task of the cards, layout of their input, and name of the harmoniser.
TASK, LAYOUT, NETWORK = "harmonize-dwi", "diffusion", "network"
#: Voxels of the scan around the brain that the network sees, and edge of a tile where the brain is larger.
MARGIN, TILE = 8, 160
#: Share by which voxels may differ from the canonical ones for the filters to be used.
SPACING_TOLERANCE = 0.1
#: Spacings are handed over as s / scale − shift, log attenuation as factor · (a + shift).
SLICE_SCALE, SLICE_SHIFT, PIXEL_SCALE, PIXEL_SHIFT, ATTENUATION_FACTOR, ATTENUATION_SHIFT = 5.0, 0.6, 2.0, 1.0, 2.0, 0.8
#: Channels of the network's input.
CHANNELS = ("unweighted", "weighted", "slice_spacing", "pixel_spacing", "attenuation")


@dataclass(frozen=True, eq=False)
class NetworkOperator:
    """Gain, then filters; the same for every volume.

    Attributes
    ----------
    gain : float32 ndarray, shape (K, J, I)
    weights : float32 ndarray, shape (passes · PER_PASS, …), or None
        Of the filters, in ``box`` of the reordered axes; None: the gain alone.
    order : AxisOrder
    box : tuple of slice
    notes : tuple of str
        What the user should know.
    """

    gain: np.ndarray
    weights: np.ndarray | None
    order: AxisOrder
    box: tuple[slice, ...]
    notes: tuple[str, ...]

    def apply(self, image: np.ndarray, index: int) -> np.ndarray:
        """Return the volume times the gain, filtered."""
        gained = np.asarray(image * self.gain, np.float32)
        if self.weights is None:
            return gained
        turned = np.ascontiguousarray(self.order.apply(gained))
        turned[self.box] = np.maximum(apply_passes(turned[self.box], self.weights), 0.0)
        return np.ascontiguousarray(self.order.undo(turned))


@dwi_harmonizer(
    NETWORK,
    "Trained network",
    "tissues, told apart by diffusion, get the target's contrast by one gain; on its voxels, one filter sharpens all",
    defaults={"model": ""},
)
@dataclass(frozen=True, eq=False)
class NetworkHarmonizer(FittedDwiHarmonizer):
    """A trained harmoniser.

    Attributes
    ----------
    model, weights_sha256 : str
        Card and digest of the weights.
    """

    model: str
    weights_sha256: str

    @classmethod
    def fit(cls, target: DwiTarget, model: str = "") -> NetworkHarmonizer:
        """Choose the network for a target.

        Raises
        ------
        ModelNotFoundError
            None is installed.
        ParameterError
            It was trained for another target.
        """
        card = get_model(model) if model else find_network(target.id)
        trained = str(settings_of(card)["target"])
        if trained != target.id:
            raise ParameterError(
                f"model '{card.id}' was trained for target '{trained}', not '{target.id}'",
                f"choose target '{trained}', or a method that can be fitted to any target",
            )
        return cls(card.id, card.weights.sha256)

    def origin(self) -> Origin:
        """Return the model's card and the digest of its weights."""
        return Origin(self.model, get_model(self.model).version, f"sha256:{self.weights_sha256}", "onnxruntime")

    def prepare(self, dwi: DwiVolume, mask: np.ndarray, acquired: Grid | None = None) -> NetworkOperator:
        """Describe the scan and ask the network.

        Raises
        ------
        InputError
            Fewer directions than a tensor needs, or a tissue cannot be found.
        WeightsError
            The model is another one than when it was fitted.
        """
        card = get_model(self.model)
        if card.weights.sha256 != self.weights_sha256:
            raise WeightsError(f"model '{self.model}' has other weights now than when it was fitted", "fit it anew")
        return prepare_network(dwi, mask, acquired or dwi.grid, card)


def find_network(target: str) -> Card:
    """Return the card of the network for a target; raises ModelNotFoundError."""
    for card in list_models(TASK):
        if card.extra.get("target") == target:
            return card
    raise ModelNotFoundError(
        f"no network for diffusion scans and target '{target}' is installed",
        f"choose another method: {', '.join(n for n in DWI_HARMONIZERS.names() if n != NETWORK)}",
    )


def settings_of(card: Card) -> Mapping[str, Any]:
    """Return what a card says beside the usual: target, unit, tone; raises WeightsError if it is none of a network."""
    tone = card.extra.get("tone")
    if card.task != TASK or not isinstance(tone, dict) or list(tone.get("features", ())) != list(FEATURES):
        raise WeightsError(f"card '{card.id}' is not that of a diffusion network", f"choose a card of task '{TASK}'")
    return card.extra


def prepare_network(
    dwi: DwiVolume, mask: np.ndarray, acquired: Grid, card: Card, backend: Backend | None = None
) -> NetworkOperator:
    """Return what a network does to one scan.

    Parameters
    ----------
    dwi : DwiVolume
        Without noise, on the grid of the result.
    mask : bool ndarray, shape (K, J, I)
    acquired : Grid
        Of the scan before it was resampled.
    card : Card
    backend : Backend, optional
        Opened from the card when omitted.

    Raises
    ------
    InputError
        See :meth:`NetworkHarmonizer.prepare`.
    """
    if not can_fit_tensor(dwi):
        raise InputError(
            f"'{dwi.name}' has too few directions for a tensor, by which the network tells tissues apart",
            "choose global_scaling",
        )
    settings = settings_of(card)
    slice_mm, pixel_mm = acquired_voxel(acquired)
    contrast, guides = describe_scan(dwi, mask, slice_mm, pixel_mm)
    coefficients, notes = tone_of(contrast, settings["tone"])
    gain = contrast.gain(coefficients)
    order = canonical_order(dwi.grid)
    why = filters_refused(dwi.grid, order)
    unit = np.float32(float(settings["unit"]))
    if why:
        return NetworkOperator(gain * unit, None, order, (), (*notes, why))
    numbers = (
        slice_mm / SLICE_SCALE - SLICE_SHIFT,
        pixel_mm / PIXEL_SCALE - PIXEL_SHIFT,
        ATTENUATION_FACTOR * (contrast.features[FEATURES.index("white_attenuation")] + ATTENUATION_SHIFT),
    )
    box = _brain_box(order.apply(mask))
    turned = [np.ascontiguousarray(order.apply(guide * gain))[box] for guide in guides]
    weights = run_filters(backend or _backend(card.id, card.weights.sha256), network_input(turned, numbers), card)
    return NetworkOperator(gain * unit, weights, order, box, notes)


def acquired_voxel(grid: Grid) -> tuple[float, float]:
    """Return slice spacing and mean pixel spacing of a scan as acquired, mm."""
    spacing = grid.spacing_mm
    thick = grid.thick_axis
    return float(spacing[thick]), float(np.mean(np.delete(spacing, thick)))


def describe_scan(
    dwi: DwiVolume, mask: np.ndarray, slice_mm: float, pixel_mm: float
) -> tuple[ScanContrast, tuple[np.ndarray, np.ndarray]]:
    """Return the contrast of a scan, and its mean unweighted and mean weighted image (float32, K, J, I)."""
    maps = measure_maps(dwi, mask)
    regions = regions_of(maps, mask)
    weighted = np.zeros(dwi.grid.shape, np.float64)
    indices = np.flatnonzero(~dwi.is_b0)
    for n in indices:
        weighted += dwi.array[..., n]
    guides = np.asarray(maps.b0.array, np.float32), (weighted / len(indices)).astype(np.float32)
    contrast = measure_contrast(
        *guides, regions["white matter"], regions["grey matter"], np.asarray(mask, bool), slice_mm, pixel_mm
    )
    return contrast, guides


def tone_of(contrast: ScanContrast, tone: Mapping[str, Any]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return the coefficients of the tone, and a warning where the scan is unlike those that taught it.

    Parameters
    ----------
    contrast : ScanContrast
    tone : mapping
        ``mean``, ``deviation``, ``lowest``, ``highest`` of the features, ``matrix`` (1 + features, TERMS).

    Raises
    ------
    WeightsError
        The numbers do not fit together.
    """
    count = len(FEATURES)
    mean, deviation, lowest, highest = (
        np.asarray(tone.get(k, ()), float) for k in ("mean", "deviation", "lowest", "highest")
    )
    matrix = np.asarray(tone.get("matrix", ()), float)
    if matrix.shape != (1 + count, TERMS) or not all(v.shape == (count,) for v in (mean, deviation, lowest, highest)):
        raise WeightsError(f"the tone of the card has a matrix of shape {matrix.shape}", "install an unaltered card")
    outside = [
        f"{name.replace('_', ' ')} {value:.2f} (taught: {low:.2f} to {high:.2f})"
        for name, value, low, high in zip(FEATURES, contrast.features, lowest, highest, strict=True)
        if not low <= value <= high
    ]
    values = (np.clip(contrast.features, lowest, highest) - mean) / deviation
    notes = () if not outside else (f"the scan is unlike those the network was taught with: {'; '.join(outside)}",)
    return np.concatenate([[1.0], values]) @ matrix, notes


def filters_refused(grid: Grid, order: AxisOrder) -> str:
    """Return why a grid is not sharpened; '' where it is: canonical voxels, slices across the body's axis."""
    wanted = np.sort(output_grid(grid, TARGET_SPACING).spacing_mm)
    spacing = np.sort(grid.spacing_mm)
    if np.any(np.abs(spacing / wanted - 1.0) > SPACING_TOLERANCE):
        return "the scan's own voxels are kept, so nothing was sharpened: choose the target's voxels for that"
    if order.apply_grid(grid).thick_axis != 2:
        return "slices are not axial: the contrast was harmonised, nothing was sharpened"
    return ""


def network_input(guides: Sequence[np.ndarray], numbers: Sequence[float]) -> np.ndarray:
    """Return the network's input, float32, shape (len(CHANNELS), K, J, I).

    Parameters
    ----------
    guides : two float32 ndarrays, shape (K, J, I)
        Mean unweighted and mean weighted image with the canonical contrast; white matter is 1.
    numbers : three floats
        As :data:`CHANNELS`.
    """
    images = [np.log1p(2.0 * np.maximum(guide, 0.0)) for guide in guides]
    return np.stack([*images, *(np.full(guides[0].shape, number) for number in numbers)]).astype(np.float32)


def run_filters(backend: Backend, inputs: np.ndarray, card: Card) -> np.ndarray:
    """Return the weights of the filters, float32, shape (passes · PER_PASS, K, J, I), in tiles where it is large.

    Raises
    ------
    WeightsError
        The network returns something else.
    """
    shape = inputs.shape[1:]
    padded = [padded_size(n, card.input.stride) for n in shape]
    places = [reflected_indices(n, whole) for n, whole in zip(shape, padded, strict=True)]
    image = inputs[np.ix_(np.arange(len(inputs)), *places)]
    tiles = plan_tiles(padded, (TILE,) * 3, card.input.halo, card.input.stride)
    joined: np.ndarray | None = None
    for tile in tiles:
        part = np.ascontiguousarray(image[(slice(None), *tile.slices)][None])
        found = np.asarray(backend.run(part)[0], np.float32)
        fits = found.ndim == 4 and len(found) % PER_PASS == 0 and found.shape[1:] == part.shape[2:]
        if not fits or not np.all(np.isfinite(found)):
            raise WeightsError(
                f"the diffusion network returned shape {found.shape}, or values that are not finite",
                "install unaltered weights",
            )
        if joined is None:
            joined = np.zeros((len(found), *padded), np.float32)
        tile.add_to(joined, found)
    assert joined is not None
    return np.ascontiguousarray(joined[(slice(None), *(slice(n) for n in shape))])


def _brain_box(mask: np.ndarray) -> tuple[slice, ...]:
    """Return the box of a mask with a margin, clipped to the array."""
    places = np.argwhere(mask)
    low, high = places.min(axis=0), places.max(axis=0) + 1
    return tuple(
        slice(max(int(a) - MARGIN, 0), min(int(b) + MARGIN, n)) for a, b, n in zip(low, high, mask.shape, strict=True)
    )


@lru_cache(maxsize=2)
def _backend(model: str, sha256: str) -> Backend:
    return choose_backend(get_model(model))
