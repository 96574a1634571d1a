"""Training samples of prepared scans: blocks of real pairs, or of low- and high-field scans that are no pairs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.inference.preparation import Conditioning, conditioning, thick_axis_order
from MRHarmonizationLib.training.pair_manifest import HIGH, LOW, RECORD, SCAN, VALID
from MRHarmonizationLib.training.recipe import Source
from MRHarmonizationLib.training.samples import Sample
from MRHarmonizationLib.volumes.files import read_volume
from MRHarmonizationLib.volumes.grid import Grid, closest_axes
from MRHarmonizationLib.volumes.volume import Volume

#: Limits of the factor and shift by which both images of a block are moved together, normalised intensity.
JITTER_SCALE, JITTER_SHIFT = (0.7, 1.15), (-0.05, 0.05)
#: Scanner axis (0 R, 1 A, 2 S) along which low-field slices of unpaired scans are taken to lie: axial ones.
UNPAIRED_SLICES = 2
#: Largest edge of a validated block, and of what its edges are multiples so that every network takes it.
VALIDATION_BLOCK, SIZE_STEP = 128, 32


@dataclass(frozen=True)
class PreparedScan:
    """A prepared pair, or one prepared scan, thick axis first.

    Attributes
    ----------
    low, high : ndarray, shape (T, A, B), float16, or None
        Normalised; one of them is None for an unpaired scan.
    valid : ndarray, shape (T, A, B), bool
        Where the high-field scan is known.
    condition : Conditioning
    centres : ndarray, shape (N, 3)
        Voxels of the head, from which blocks are drawn.
    source : Source
    """

    low: np.ndarray | None
    high: np.ndarray | None
    valid: np.ndarray
    condition: Conditioning
    centres: np.ndarray
    source: Source


def load_prepared(folder: Path, source: Source) -> PreparedScan:
    """Read a pair or a scan that ``prepare-pairs`` wrote.

    Raises
    ------
    InputError
        Files are missing or cannot be read.
    """
    try:
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        acquired = Grid.from_dict(record["acquired_grid"])
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{folder / RECORD} cannot be used: {error}", "run `mrharmonize prepare-pairs` again"
        ) from error
    if source.kind == "pair":
        volumes = [read_volume(folder / name) for name in (LOW, HIGH, VALID)]
        order = thick_axis_order(acquired)
        low, high, valid = (np.ascontiguousarray(order.apply(volume.array)) for volume in volumes)
        condition = conditioning(acquired, volumes[0].grid)
        return _prepared(low, high, valid > 0, condition, source)
    volume = read_volume(folder / SCAN)
    if source.kind == "low":
        array = np.ascontiguousarray(thick_axis_order(acquired).apply(volume.array))
        return _prepared(array, None, np.ones(array.shape, bool), conditioning(acquired, volume.grid), source)
    array = np.ascontiguousarray(thick_axis_order(_sliced_along(volume, UNPAIRED_SLICES)).apply(volume.array))
    nothing = Conditioning(np.zeros(array.shape[0], np.float32), 1.0, 1.0)
    return _prepared(None, array, np.ones(array.shape, bool), nothing, source)


def _prepared(
    low: np.ndarray | None, high: np.ndarray | None, valid: np.ndarray, condition: Conditioning, source: Source
) -> PreparedScan:
    shown = high if low is None else low
    assert shown is not None
    centres = np.argwhere(foreground_mask(shown) & valid)
    if not len(centres):
        raise InputError(f"{source.files} show no head", "leave it out")
    picked = centres[np.random.default_rng(0).choice(len(centres), min(len(centres), 50_000), replace=False)]
    small = [None if a is None else a.astype(np.float16) for a in (low, high)]
    return PreparedScan(small[0], small[1], valid, condition, picked, source)


def _sliced_along(volume: Volume, scanner_axis: int) -> Grid:
    """Return the volume's grid as if its thick slices lay across a scanner axis."""
    axis = closest_axes(volume.grid.directions).index(scanner_axis)
    spacing = [1.0, 1.0, 1.0]
    spacing[axis] = 2.0
    return volume.grid.with_spacing(spacing)


def draw_prepared(rng: np.random.Generator, scans: Sequence[PreparedScan], block: int) -> Sample:
    """Draw a sample: a block of a pair, or a low-field block and, from elsewhere, a high-field one.

    Parameters
    ----------
    rng : numpy Generator
        The sample is a function of its state.
    scans : sequence of PreparedScan
        Pairs; or low- and high-field scans.
    block : int
        Edge in voxels of 1 mm.
    """
    lows = [scan for scan in scans if scan.low is not None]
    scan = lows[int(rng.integers(len(lows)))]
    image, where = _cut(rng, scan, scan.low, block)
    if scan.high is not None:
        target, valid = (_at(array, where, block) for array in (scan.high, scan.valid))
    else:
        highs = [other for other in scans if other.high is not None]
        other = highs[int(rng.integers(len(highs)))]
        target, _ = _cut(rng, other, other.high, block)
        valid = np.ones(target.shape, bool)
    rows = np.clip(np.arange(where[0], where[0] + block), 0, scan.condition.slice_distance_mm.size - 1)
    distance = scan.condition.slice_distance_mm[rows]
    flips = tuple(slice(None, None, int(rng.choice((-1, 1)))) for _ in range(3))
    factor, shift = float(rng.uniform(*JITTER_SCALE)), float(rng.uniform(*JITTER_SHIFT))

    def placed(array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array[flips] * np.float32(factor) + np.float32(shift)).astype(np.float16)

    return Sample(
        image=placed(image),
        target=placed(target),
        condition=scan.condition._replace(slice_distance_mm=distance[flips[0]]),
        stack_axes=(1, 2),
        lesions=np.zeros(image.shape, bool),
        valid=np.ascontiguousarray(valid[flips]),
    )


def _cut(
    rng: np.random.Generator, scan: PreparedScan, array: np.ndarray | None, block: int
) -> tuple[np.ndarray, list[int]]:
    """Return a block about a voxel of the head, and where it starts."""
    assert array is not None
    centre = scan.centres[rng.integers(len(scan.centres))]
    start = [int(np.clip(c - block // 2, 0, max(n - block, 0))) for c, n in zip(centre, array.shape, strict=True)]
    return _at(array, start, block), start


def _at(array: np.ndarray, start: Sequence[int], block: int) -> np.ndarray:
    return _block(array, start, (block,) * 3)


def _block(array: np.ndarray, start: Sequence[int], size: Sequence[int]) -> np.ndarray:
    """Return a block; beyond the ends of the array masks are False and images continue with their last voxel."""
    cut = array[tuple(slice(s, s + n) for s, n in zip(start, size, strict=True))]
    widths = [(0, wanted - n) for wanted, n in zip(size, cut.shape, strict=True)]
    if not any(width for _, width in widths):
        return cut
    return np.pad(cut, widths) if array.dtype == bool else np.pad(cut, widths, mode="edge")


def load_all_prepared(sources: Sequence[Source], data: Path) -> list[PreparedScan]:
    """Read every pair and scan of the sources below the folder of ``prepare-pairs``."""
    return [load_prepared(data / folder, source) for source in sources for folder in source.files]


def validation_cases(sources: Sequence[Source], data: Path) -> dict[str, tuple[Sample, np.ndarray]]:
    """Return blocks about the middle of validation pairs, and where they are scored: name → (Sample, mask)."""
    cases = {}
    for source in sources:
        for folder in source.files:
            scan = load_prepared(data / folder, source)
            assert scan.low is not None
            assert scan.high is not None
            size = [min(VALIDATION_BLOCK, max(n // SIZE_STEP, 1) * SIZE_STEP) for n in scan.low.shape]
            middle = np.median(scan.centres, axis=0)
            start = [
                int(np.clip(c - s // 2, 0, max(n - s, 0))) for c, s, n in zip(middle, size, scan.low.shape, strict=True)
            ]
            head = foreground_mask(scan.low) & scan.valid
            image, target, mask = (_block(array, start, size) for array in (scan.low, scan.high, head))
            rows = np.clip(np.arange(start[0], start[0] + size[0]), 0, scan.low.shape[0] - 1)
            condition = scan.condition._replace(slice_distance_mm=scan.condition.slice_distance_mm[rows])
            if mask.any():
                cases[Path(folder).name] = (Sample(image, target, condition, (1, 2), np.zeros(mask.shape, bool)), mask)
    return cases
