"""From a head to where its structures are likely: box of the head, normalisation, looks at the brain.

A network is told where the middle of the brain is, and knows most where it sees the brain whole and in the middle. The
middle is guessed from the outline of the head first; each look at the tile around it tells it better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.brain_regions import CLASS_NUMBERS
from MRHarmonizationLib.core.errors import ResourceError, WeightsError
from MRHarmonizationLib.core.intensity import fit_intensity_scale
from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.tiling import padded_size
from MRHarmonizationLib.inference.backends import Backend, BackendOutOfMemory
from MRHarmonizationLib.inference.region_input import region_input
from MRHarmonizationLib.weights.card import InputContract, IntensityRule

LARGEST_TILE_MM = (160, 192, 160)
"""Size of a tile along S, A, R, at most: a brain fits in."""
MESSAGE = "Looking for the brain's structures"
SUM_TOLERANCE = 1e-2
"""How far the probabilities of a voxel may be from 1 together."""
BOX_MARGIN = 8
"""Air kept around the head, and surroundings around a brain, in mm."""
LARGEST_VALUE = 2.0
"""Normalised intensities are cut here (fat and vessels) and at 0."""
CROWN_MM = 78.0
"""Depth of the brain's middle below the top of a whole head: scalp and skull, and half a brain's height."""
UPPER_MM = 100.0
"""Height from the top of a head in which there is neither nose nor jaw."""
OUTLINE_SHARE = 0.02
"""Planes with less than this share of the largest plane's object are not part of a head's outline."""
STRAY_SHARE = 0.002
"""Share of the named voxels that may lie beyond either end of the brain, by error."""
MOST_LOOKS = 3
"""Looks at the brain, at most."""
NEAR_MM = 4.0
"""A middle that moves by no more than this is known."""

#: Part of an array.
Tile = tuple[slice, ...]


@dataclass(frozen=True)
class HeadBox:
    """The part of an array that a network looks at.

    Attributes
    ----------
    start : tuple of int
        First voxel (k, j, i) of the box in the array.
    shape : tuple of int
        Size inside the array.
    middle : tuple of float
        Where the brain's middle is guessed to be, in voxels (k, j, i) of the box.
    """

    start: tuple[int, ...]
    shape: tuple[int, ...]
    middle: tuple[float, ...]

    @property
    def slices(self) -> tuple[slice, ...]:
        """The box inside the array."""
        return tuple(slice(first, first + size) for first, size in zip(self.start, self.shape, strict=True))


def find_head(array: np.ndarray, stride: int, spacing_mm: float = 1.0) -> HeadBox:
    """Return the box around the imaged object with a margin of air, and a guess where the brain is.

    Parameters
    ----------
    array : ndarray, shape (K, J, I)
        Finite intensities, axes towards superior, anterior and right.
    stride : int
        The size is a multiple of it wherever the array reaches far enough.
    spacing_mm : float
        Of the voxels.
    """
    mask = foreground_mask(array)
    start, shape = [], []
    for axis, size in enumerate(array.shape):
        inside = np.flatnonzero(mask.any(axis=_others(axis)))
        first, last = max(0, int(inside[0]) - BOX_MARGIN), min(size, int(inside[-1]) + 1 + BOX_MARGIN)
        # Grown to whole strides where the scan has voxels, padded with air where it has none.
        wanted = padded_size(last - first, stride)
        first = max(0, min(first - (wanted - (last - first)) // 2, size - wanted))
        start.append(first)
        shape.append(min(wanted, size - first))
    guess = guess_middle(mask, spacing_mm)
    return HeadBox(tuple(start), tuple(shape), tuple(g - s for g, s in zip(guess, start, strict=True)))


def guess_middle(mask: np.ndarray, spacing_mm: float = 1.0) -> tuple[float, float, float]:
    """Return where the middle of the brain's box is likely to be, in voxels (K, J, I).

    Below the top of a head by half a brain and its covers, or halfway down a brain that was cut out of its head; amid
    the outline of what lies above nose and jaw.

    Parameters
    ----------
    mask : bool ndarray, shape (K, J, I)
        The head; axes towards superior, anterior and right. Not empty.
    spacing_mm : float
    """
    bottom, top = _outline(mask, 0)
    upper = mask[max(bottom, round(top - UPPER_MM / spacing_mm)) : top + 1]
    depth = min((top - bottom) / 2.0, CROWN_MM / spacing_mm)
    back, front = _outline(upper, 1)
    left, right = _outline(upper, 2)
    return top - depth, (back + front) / 2.0, (left + right) / 2.0


def normalise_head(array: np.ndarray, rule: IntensityRule | None = None) -> np.ndarray:
    """Return the intensities of a head as a network sees them: percentiles to 0 and 1, cut to [0, 2].

    Parameters
    ----------
    array : ndarray, shape (K, J, I)
        What the network sees of a head.
    rule : IntensityRule, optional
        From the model's card; 0.5 and 99.5 % if omitted.

    Returns
    -------
    ndarray, float32, same shape

    Raises
    ------
    InputError
        There is no contrast to normalise by.
    """
    rule = IntensityRule() if rule is None else rule
    mask = foreground_mask(array) if rule.foreground else None
    values = fit_intensity_scale(array, mask, rule.lower, rule.upper).normalise(array)
    return np.asarray(np.clip(values, 0.0, LARGEST_VALUE, out=values))


def likely_structures(
    head: np.ndarray,
    middle: Sequence[float],
    contract: InputContract,
    backend: Backend,
    progress: Progress,
) -> np.ndarray:
    """Return how likely each voxel of a head belongs to each structure.

    The tile around the brain's middle is looked at until the middle that follows from the answer stays; outside the
    last tile everything is background. A head in which no brain is found, or one that does not fit into a tile, is
    looked at whole.

    Parameters
    ----------
    head : ndarray, shape (K, J, I)
        Intensities in the box of a head, on the network's voxels.
    middle : three floats
        Where the brain's middle is guessed to be, in voxels (K, J, I).
    contract : InputContract
    backend : Backend
    progress : Progress
        Reported to, and checked for cancellation, after every look.

    Returns
    -------
    ndarray, shape (classes, K, J, I), float32

    Raises
    ------
    InputError
        There is no contrast to normalise by.
    ResourceError
        Memory runs out.
    WeightsError
        The network's answer is no probability per structure and voxel.
    OperationCancelled
    """
    seen = _Head(head, contract, backend)
    centre = tuple(float(value) for value in middle)
    tile = seen.tile_around(centre)
    likely = seen.look(tile, centre, progress.part(0.0, 0.3))
    near, margin = NEAR_MM / contract.spacing_mm, round(BOX_MARGIN / contract.spacing_mm)
    for number in range(1, MOST_LOOKS):
        box = brain_box(likely.argmax(axis=0))
        if box is None:
            break
        former, centre = centre, tuple((first + last) / 2.0 for first, last in box)
        tile = seen.tile_around(centre)
        if number > 1 and max(abs(new - old) for new, old in zip(centre, former, strict=True)) <= near:
            break
        likely = seen.look(tile, centre, progress.part(0.3 * number, 0.3 * number + 0.3))
    if tile == seen.whole or _is_inside(brain_box(likely.argmax(axis=0)), tile, seen.padded, margin):
        return likely
    return seen.look(seen.whole, centre, progress.part(0.9, 1.0))


class _Head:
    """A head that a network looks at, part by part."""

    def __init__(self, array: np.ndarray, contract: InputContract, backend: Backend) -> None:
        self.padded = tuple(padded_size(size, contract.stride) for size in array.shape)
        self.whole: Tile = tuple(slice(0, size) for size in self.padded)
        self._array, self._contract, self._backend = array, contract, backend

    def tile_around(self, centre: Sequence[float]) -> Tile:
        """Return the largest tile with a voxel in its middle, as far as the head reaches."""
        stride, tile = self._contract.stride, []
        for size, limit_mm, middle in zip(self.padded, LARGEST_TILE_MM, centre, strict=True):
            edge = min(size, max(stride, int(limit_mm / self._contract.spacing_mm) // stride * stride))
            start = min(max(0, round(middle - (edge - 1) / 2)), size - edge)
            tile.append(slice(start, start + edge))
        return tuple(tile)

    def look(self, tile: Tile, centre: Sequence[float], progress: Progress) -> np.ndarray:
        """Return the probabilities found in a tile, in an array of the head's shape."""
        progress.report(0.0, MESSAGE)
        seen = self._array[tile]  # ends where the head does; what is beyond is air
        values = np.zeros([part.stop - part.start for part in tile], np.float32)
        values[tuple(slice(size) for size in seen.shape)] = normalise_head(seen, self._contract.intensity)
        inside = [middle - part.start for middle, part in zip(centre, tile, strict=True)]
        found = self._run(region_input(values, inside, self._contract.spacing_mm)[None])
        likely = np.zeros((found.shape[0], *self.padded), np.float32)
        likely[0] = 1.0
        likely[(slice(None), *tile)] = found
        progress.report(1.0, MESSAGE)
        progress.check()
        return likely[(slice(None), *(slice(size) for size in self._array.shape))]

    def _run(self, block: np.ndarray) -> np.ndarray:
        try:
            answer = self._backend.run(block)
        except (BackendOutOfMemory, MemoryError) as error:
            size = " x ".join(map(str, block.shape[:1:-1]))
            raise ResourceError(
                f"memory ran out at {size} voxels",
                "close other programs, choose device 'cpu', or crop the scan to the head",
            ) from error
        remedy = "import the card and the weight file of the same model"
        wanted = (1, CLASS_NUMBERS.size, *block.shape[2:])
        if answer.shape != wanted:
            raise WeightsError(f"the network answered with the shape {answer.shape}, expected {wanted}", remedy)
        sums = answer.sum(axis=1)
        if not (answer.min() >= 0 and abs(float(sums.min()) - 1) < SUM_TOLERANCE > abs(float(sums.max()) - 1)):
            raise WeightsError(
                f"the network's probabilities sum to {float(sums.min()):.3g} to {float(sums.max()):.3g} in a voxel, "
                "expected 1",
                remedy,
            )
        return np.asarray(answer[0], np.float32)


def brain_box(classes: np.ndarray) -> list[tuple[int, int]] | None:
    """Return the first and the last voxel of a brain along (K, J, I), a stray rest left out; None without a brain.

    Parameters
    ----------
    classes : ndarray, shape (K, J, I)
        0 is background.
    """
    box = []
    for axis in range(3):
        counts = np.count_nonzero(classes, axis=_others(axis))
        if not counts.any():
            return None
        shares = np.cumsum(counts) / counts.sum()
        first = int(np.searchsorted(shares, STRAY_SHARE, side="right"))
        box.append((first, int(np.searchsorted(shares, 1.0 - STRAY_SHARE))))
    return box


def _is_inside(box: list[tuple[int, int]] | None, tile: Tile, shape: Sequence[int], margin: int) -> bool:
    """Tell whether a brain keeps a margin to the faces of a tile that are not those of the head."""
    if box is None:
        return False
    return all(
        (part.start == 0 or first - part.start >= margin) and (part.stop == size or part.stop - 1 - last >= margin)
        for (first, last), part, size in zip(box, tile, shape, strict=True)
    )


def _outline(mask: np.ndarray, axis: int) -> tuple[int, int]:
    """Return the first and the last plane of an object, thin ends left out."""
    counts = np.count_nonzero(mask, axis=_others(axis))
    inside = np.flatnonzero(counts > OUTLINE_SHARE * counts.max())
    return int(inside[0]), int(inside[-1])


def _others(axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(3) if other != axis)
