"""A harmoniser that knows anatomy: each structure of the brain gets the brightness it has in the reference.

The segmentation network says where structures are, in whatever contrast; how bright they are is measured in the scan
itself, near each place, and compared with the reference group's (see ``core/structure_tone``). The scan is never
resampled: brightness is changed at each voxel of its own grid.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from MRHarmonizationLib.core.brain_regions import CLASS_NUMBERS, REGION_BY_NUMBER
from MRHarmonizationLib.core.errors import InputError, ParameterError, WeightsError
from MRHarmonizationLib.core.local_tone import FEATURE_MM
from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.structure_tone import (
    CELL,
    SURELY_BACKGROUND,
    TISSUE_CLASSES,
    StructureBrightness,
    beyond_brain,
    interpolated,
    measure_structures,
    merge_sides,
    outer_curve,
    reversed_pairs,
    slopes,
    toned,
)
from MRHarmonizationLib.inference.backends import Backend, choose_backend
from MRHarmonizationLib.inference.region_head import find_head, likely_structures
from MRHarmonizationLib.inference.region_volumes import MM3_PER_ML
from MRHarmonizationLib.inference.segment import DEFAULT_MODEL, segmenter
from MRHarmonizationLib.inference.standardiser import coarse_image
from MRHarmonizationLib.methods.case_profile import FULL_SCALE, UPPER_PERCENTILE, measured_values
from MRHarmonizationLib.methods.harmonizers.base import FittedHarmonizer, harmonizer
from MRHarmonizationLib.methods.reference_group import ReferenceGroup
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.orientation import canonical_order
from MRHarmonizationLib.volumes.volume import Volume

METHOD = "structures"
#: Voxels on which structures are looked for, mm.
COARSE_MM = FEATURE_MM / 2
#: Less brain than this cannot tell a contrast.
LEAST_BRAIN_ML = 100.0
#: Share of a brain that lies in the imaged object: where it is smaller, the object is something else.
LEAST_FILLED = 0.8
#: Voxels worked on at a time; bounds the memory.
SLAB_VOXELS = 400_000
#: FreeSurfer number of each tissue: that of its left side.
TISSUE_NUMBERS: tuple[int, ...] = tuple(int(CLASS_NUMBERS[tissue]) for tissue in TISSUE_CLASSES)


@dataclass(frozen=True, eq=False)
class ScannedStructures:
    """Structures found in a scan.

    Attributes
    ----------
    brightness : StructureBrightness
        In the scan's units above air, on cells of the box.
    chances : float32 ndarray, shape (T, k, j, i)
        On 2 mm voxels of the box; axes towards superior, anterior, right.
    start_mm : tuple of three floats
        How far the box begins beyond the scan's first voxel edges along (k, j, i); negative before them.
    air, top : float
        Intensity of air, and the one that 1 % of the inside exceeds, in the scan's units.
    """

    brightness: StructureBrightness
    chances: np.ndarray
    start_mm: tuple[float, float, float]
    air: float
    top: float


@harmonizer(
    METHOD,
    "Structures of the brain",
    "Finds 32 structures in any contrast and gives each the brightness it has in the reference; heads and brains.",
    {"model": DEFAULT_MODEL},
)
@dataclass(frozen=True)
class StructureHarmonizer(FittedHarmonizer):
    """The brightness that structures are to have.

    Attributes
    ----------
    model, weights_sha256 : str
        Card of the segmentation network, and digest of its weights.
    numbers : tuple of int
        FreeSurfer numbers of structures (left side).
    targets : tuple of float
        Their brightness in the reference.
    top : float
        99th percentile of the reference.
    """

    model: str
    weights_sha256: str
    numbers: tuple[int, ...]
    targets: tuple[float, ...]
    top: float

    @classmethod
    def fit(cls, group: ReferenceGroup, model: str = DEFAULT_MODEL) -> StructureHarmonizer:
        """Take the brightness of structures from a group.

        Raises
        ------
        InputError
            The group was built without structures.
        ModelNotFoundError, WeightsError, ParameterError
            The network is missing or made for something else.
        """
        card = segmenter(model)
        if not group.structures:
            raise InputError(
                f"reference group '{group.id}' does not tell how bright structures of the brain are",
                "build it anew from heads with `mrharmonize reference build`, or choose another method",
            )
        numbers = tuple(sorted(int(number) for number in group.structures))
        targets = tuple(float(group.structures[str(number)]) for number in numbers)
        return cls(card.id, card.weights.sha256, numbers, targets, float(group.at_percentiles([UPPER_PERCENTILE])[0]))

    def map_array(self, volume: Volume, mask: np.ndarray | None) -> np.ndarray:
        """Return the new values; the mask only tells where air and the brightest tissue are measured."""
        return self.map_with_doubts(volume, mask)[0]

    def map_with_doubts(self, volume: Volume, mask: np.ndarray | None) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return the new values, and whether large tissues have another order of brightness than in the reference."""
        card = segmenter(self.model)
        if card.weights.sha256 != self.weights_sha256:
            raise WeightsError(
                f"segmentation '{self.model}' has other weights now ({card.weights.sha256[:12]}…) than when it was "
                f"fitted ({self.weights_sha256[:12]}…)",
                "fit it anew",
            )
        order = canonical_order(volume.grid)
        array = np.ascontiguousarray(order.apply(volume.array), np.float32)
        grid = order.apply_grid(volume.grid)
        scanned = scan_structures(volume, mask, self.model)
        targets = self._targets(scanned.brightness)
        doubts = tuple(
            f"{_name(one)} and {_name(other).lower()} have another order of brightness than in the reference: "
            "lesions between them in brightness may lose contrast; look at the original too"
            for one, other in reversed_pairs(scanned.brightness, targets)
        )
        return np.ascontiguousarray(order.undo(_toned(array, grid, scanned, targets, self.top))), doubts

    def _targets(self, found: StructureBrightness) -> np.ndarray:
        """Return what each tissue is to have, float64 (T,); a line through the others for those without reference."""
        known = dict(zip(self.numbers, self.targets, strict=True))
        targets = np.array([known.get(number, np.nan) for number in TISSUE_NUMBERS])
        both = ~np.isnan(targets) & ~np.isnan(found.levels)
        if np.count_nonzero(both) < 2:
            raise InputError(
                f"scan and reference share {np.count_nonzero(both)} structures, expected at least 2",
                "use a scan that shows more of the brain, or another method",
            )
        slope, offset = np.polyfit(found.levels[both], targets[both], 1)
        return np.where(np.isnan(targets), slope * found.levels + offset, targets)


def _name(tissue: int) -> str:
    """Return what a tissue is called, without its side."""
    return REGION_BY_NUMBER[TISSUE_NUMBERS[tissue]].name.removeprefix("Left ").capitalize()


def structure_levels(volume: Volume, model: str = DEFAULT_MODEL) -> dict[str, float]:
    """Return how bright the structures of the brain are in a scan: for a reference group.

    Parameters
    ----------
    volume : Volume
    model : str

    Returns
    -------
    dict
        FreeSurfer number (left side, as text) → brightness from 0 (air) to 1000 (99th percentile of the inside).

    Raises
    ------
    InputError
        No brain is found, or the scan cannot be measured.
    """
    scanned = scan_structures(volume, None, model)
    factor = FULL_SCALE / (scanned.top - scanned.air)
    levels = dict(zip(TISSUE_NUMBERS, scanned.brightness.levels, strict=True))
    return {str(number): float(level * factor) for number, level in levels.items() if not np.isnan(level)}


def mean_levels(levels: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the means over the cases that show each structure."""
    numbers = sorted({number for case in levels for number in case}, key=int)
    return {n: round(float(np.mean([case[n] for case in levels if n in case])), 3) for n in numbers}


def scan_structures(volume: Volume, mask: np.ndarray | None = None, model: str = DEFAULT_MODEL) -> ScannedStructures:
    """Find the structures of the brain in a scan, and how bright they are.

    Parameters
    ----------
    volume : Volume
        A head or a brain in any contrast and orientation.
    mask : ndarray, shape (K, J, I), optional
        Where air and the brightest tissue are measured; the object's inside when omitted.
    model : str
        Card of a segmentation network.

    Raises
    ------
    InputError
        Values that are not finite, a constant image, no brain.
    """
    card = segmenter(model)
    if card.input.spacing_mm != COARSE_MM:
        raise ParameterError(
            f"model '{model}' works on voxels of {card.input.spacing_mm:g} mm, expected {COARSE_MM:g} mm",
            "choose another model",
        )
    # in anatomical order, so that nothing depends on how the scan is stored
    order = canonical_order(volume.grid)
    grid = order.apply_grid(volume.grid)
    canonical = Volume(np.ascontiguousarray(order.apply(volume.array)), grid, volume.name)
    measured = measured_values(canonical, None if mask is None else order.apply(mask))
    air, top = float(measured.scale.offset), float(measured.scale.offset + measured.scale.scale)
    coarse, corner_mm = coarse_image(canonical.array.astype(np.float32) - np.float32(air), grid)
    box = find_head(coarse, card.input.stride, COARSE_MM)
    head = coarse[box.slices]
    likely = likely_structures(head, box.middle, card.input, _backend(card.id, card.weights.sha256), Progress())
    chances = merge_sides(likely)
    _check_brain(head, chances[0], volume.name)
    k, j, i = (float(first * COARSE_MM - corner) for first, corner in zip(box.start, corner_mm, strict=True))
    return ScannedStructures(measure_structures(head, chances), chances, (k, j, i), air, top)


def _check_brain(head: np.ndarray, background: np.ndarray, name: str) -> None:
    """Refuse what hardly shows a brain, or something else in which a network that knows only heads sees one."""
    brain = background < 0.5
    brain_ml = np.count_nonzero(brain) * COARSE_MM**3 / MM3_PER_ML
    if brain_ml < LEAST_BRAIN_ML:
        raise InputError(
            f"'{name}' shows {brain_ml:.0f} ml of brain, expected at least {LEAST_BRAIN_ML:.0f} ml",
            "choose a head, or another method",
        )
    filled = float(np.mean(foreground_mask(head)[brain]))
    if filled < LEAST_FILLED:
        raise InputError(
            f"'{name}' shows no brain: only {100 * filled:.0f} % of what looks like one is not air",
            "choose a head, or another method",
        )


def _toned(array: np.ndarray, grid: Grid, scanned: ScannedStructures, targets: np.ndarray, top: float) -> np.ndarray:
    """Return the new values of a scan in canonical order, float32, slab by slab."""
    found = scanned.brightness
    tops = (scanned.top - scanned.air, top)
    slope = slopes(found, targets, tops)
    curve = outer_curve(found, targets, 0.0, tops)
    result = np.empty(array.shape, np.float32)
    thick = max(1, SLAB_VOXELS // max(array.shape[1] * array.shape[2], 1))
    places = [
        ((np.arange(size) + 0.5) * spacing - start) / COARSE_MM - 0.5
        for size, spacing, start in zip(array.shape, grid.spacing_mm[::-1], scanned.start_mm, strict=True)
    ]
    cells = [(place + 0.5) / CELL - 0.5 for place in places]
    for start in range(0, array.shape[0], thick):
        part = slice(start, start + thick)
        voxels, blocks = [places[0][part], *places[1:]], [cells[0][part], *cells[1:]]
        values = (array[part] - np.float32(scanned.air)).ravel()
        background = interpolated(scanned.chances[0], voxels).ravel()
        shading = interpolated(found.shading, blocks).ravel()
        new = beyond_brain(values, shading, curve)
        brain = np.flatnonzero(background < SURELY_BACKGROUND)
        if brain.size:
            chances = np.stack([interpolated(chance, voxels).ravel()[brain] for chance in scanned.chances])
            fields = np.stack([interpolated(field, blocks).ravel()[brain] for field in found.fields])
            new[brain] = toned(
                values[brain],
                chances,
                fields,
                interpolated(slope, blocks).ravel()[brain],
                shading[brain],
                found,
                targets,
                curve,
            )
        result[part] = new.reshape(array[part].shape)
    return result


@lru_cache(maxsize=1)
def _backend(model: str, sha256: str) -> Backend:
    return choose_backend(segmenter(model))
