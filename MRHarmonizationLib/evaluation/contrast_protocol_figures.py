"""Pictures of the contrast protocol: alterations and what each method makes of them; where lesions are drawn."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import DependencyError
from MRHarmonizationLib.evaluation.figures import display_window
from MRHarmonizationLib.metrics.lesion import find_lesions
from MRHarmonizationLib.volumes.orientation import to_canonical
from MRHarmonizationLib.volumes.volume import Volume

DOTS_PER_INCH = 100
#: Side of one picture, inch.
SIDE_INCH = 1.55


@dataclass(frozen=True, eq=False)
class Sample:
    """One row of pictures.

    Attributes
    ----------
    title : str
    altered : Volume
    outputs : tuple of (method, Volume, SSIM)
    """

    title: str
    altered: Volume
    outputs: tuple[tuple[str, Volume, float], ...]


def samples_figure(reference: Volume, samples: Sequence[Sample], mask: np.ndarray) -> bytes:
    """Draw one axial plane of the unaltered image and, row by row, of what methods make of its alterations.

    Parameters
    ----------
    reference : Volume
    samples : sequence of Sample
        All with the same methods.
    mask : bool ndarray, shape (K, J, I)
        The plane is where it is largest; its bright end is white.

    Returns
    -------
    bytes
        PNG; one window throughout, that of the unaltered image, the SSIM below each output. Radiological view.

    Raises
    ------
    DependencyError
        matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise DependencyError("pictures need matplotlib, which is not installed", "pip install matplotlib") from missing
    low, high = display_window(reference, mask)
    place = _fullest_plane(reference.with_array(mask.astype(np.uint8)))
    names = [name for name, _, _ in samples[0].outputs]
    columns = len(names) + 1
    plane = axial_plane(reference, place)
    tall = plane.shape[0] / plane.shape[1] * _aspect(reference)
    figure = Figure(
        figsize=(SIDE_INCH * columns, (SIDE_INCH * tall + 0.3) * len(samples)), dpi=DOTS_PER_INCH, layout="constrained"
    )
    axes = np.atleast_2d(figure.subplots(len(samples), columns))
    for row, sample in enumerate(samples):
        shown = [("unaltered", reference, math.nan), *sample.outputs]
        for place_in_row, (name, volume, score) in zip(axes[row], shown, strict=True):
            place_in_row.imshow(
                axial_plane(volume, place), cmap="gray", vmin=low, vmax=high, aspect=_aspect(volume), origin="lower"
            )
            place_in_row.set_xticks([])
            place_in_row.set_yticks([])
            place_in_row.set_xlabel("" if math.isnan(score) else f"SSIM {score:.3f}", fontsize=7)
            if row == 0:
                place_in_row.set_title(name, fontsize=8)
        axes[row][0].set_ylabel(sample.title, fontsize=9)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def largest_lesion(marked: np.ndarray, spacing_mm: Sequence[float]) -> np.ndarray:
    """Return the mask of the largest lesion of a mask, or the mask itself where all are too small to count.

    Parameters
    ----------
    marked : bool ndarray, shape (K, J, I)
    spacing_mm : three floats
        Along (i, j, k).
    """
    i, j, k = (float(s) for s in spacing_mm)
    lesions = find_lesions(marked, (i, j, k))
    if not lesions:
        return marked
    largest = max(lesions, key=lambda lesion: int(lesion.body.sum()))
    centre = np.zeros(marked.shape, bool)
    centre[largest.box] = largest.body
    return centre


def axial_plane(volume: Volume, place: int) -> np.ndarray:
    """Return an axial plane, rows upwards, the patient's right on the left."""
    return np.asarray(to_canonical(volume)[0].array[place, :, ::-1], np.float32)


def _aspect(volume: Volume) -> float:
    right, anterior, _ = to_canonical(volume)[0].grid.spacing_mm
    return float(anterior / right)


def _fullest_plane(mask: Volume) -> int:
    """Return the index of the axial plane with most of a mask."""
    return int(np.argmax(to_canonical(mask)[0].array.astype(bool).sum(axis=(1, 2))))
