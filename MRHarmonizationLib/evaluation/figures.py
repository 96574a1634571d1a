"""Pictures of volumes as PNG bytes: orthogonal planes, differences, histograms (matplotlib, no display needed)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from MRHarmonizationLib.core.errors import DependencyError, GridMismatchError
from MRHarmonizationLib.volumes.grid import same_grid
from MRHarmonizationLib.volumes.orientation import to_canonical
from MRHarmonizationLib.volumes.volume import Volume

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Intensity percentiles of the window: black in the whole image, white inside the mask.
BLACK_PERCENTILE, WHITE_PERCENTILE = 0.5, 99.8
#: Difference pictures span plus and minus this share of the window.
DIFFERENCE_SHARE = 0.25
DOTS_PER_INCH = 100
PLANE_NAMES = ("axial", "coronal", "sagittal")
HISTOGRAM_BINS = 128


def display_window(volume: Volume, mask: np.ndarray | None = None) -> tuple[float, float]:
    """Return (black, white) of a volume: .5 % of all voxels and 99.8 % inside the mask, shape (K, J, I)."""
    inside = volume.array if mask is None else volume.array[mask]
    black = float(np.percentile(volume.array, BLACK_PERCENTILE))
    white = float(np.percentile(inside, WHITE_PERCENTILE))
    return black, white if white > black else black + 1.0


def planes_figure(
    images: Sequence[tuple[str, Volume]],
    window: tuple[float, float],
    mask: np.ndarray | None = None,
    difference: tuple[str, Volume, Volume] | None = None,
    outline: np.ndarray | None = None,
) -> bytes:
    """Draw three orthogonal planes of several volumes side by side, all in one window.

    Parameters
    ----------
    images : sequence of (title, Volume)
        All on one grid; one column each.
    window : (black, white)
        Image units.
    mask : bool ndarray, shape (K, J, I), optional
        The planes cross at its centre; at the centre of the volume when omitted.
    difference : (title, minuend, subtrahend), optional
        One more column, red positive, blue negative, within a quarter of the window.
    outline : bool ndarray, shape (K, J, I), optional
        Drawn as a thin line on every plane.

    Returns
    -------
    bytes
        PNG. Radiological view: the patient's right is on the left of axial and coronal planes.

    Raises
    ------
    GridMismatchError
        The volumes lie on different grids.
    """
    grid = images[0][1].grid
    columns = [(title, volume, window, "gray") for title, volume in images]
    if difference is not None:
        title, minuend, subtrahend = difference
        half = DIFFERENCE_SHARE * (window[1] - window[0])
        change = minuend.with_array(minuend.array.astype(np.float32) - subtrahend.array)
        columns.append((f"{title} (±{half:.3g})", change, (-half, half), "RdBu_r"))
    for title, volume, _, _ in columns:
        if not same_grid(volume.grid, grid):
            raise GridMismatchError(f"'{title}' lies on another grid than '{images[0][0]}'", "resample it first")
    centre = _centre_index(columns[0][1], mask)
    heights = [_plane(columns[0][1], centre, row)[2] for row in range(3)]
    figure = _figure(2.7 * len(columns), 2.7 * sum(heights) + 0.35)
    grid_spec = figure.add_gridspec(3, len(columns), height_ratios=heights, wspace=0.02, hspace=0.02)
    for column, (title, volume, (low, high), colours) in enumerate(columns):
        for row in range(3):
            plane, aspect, _ = _plane(volume, centre, row)
            axes = figure.add_subplot(grid_spec[row, column])
            axes.imshow(
                plane, cmap=colours, vmin=low, vmax=high, aspect=aspect, origin="lower", interpolation="nearest"
            )
            if outline is not None:
                edge = _plane(volume.with_array(outline.astype(np.uint8)), centre, row)[0]
                axes.contour(edge, [0.5], colors="#ffc400", linewidths=0.8)
            axes.set_xticks([])
            axes.set_yticks([])
            if row == 0:
                axes.set_title(title, fontsize=10)
            if column == 0:
                axes.set_ylabel(PLANE_NAMES[row], fontsize=9)
    return _png(figure)


def histogram_figure(images: Sequence[tuple[str, np.ndarray]], window: tuple[float, float]) -> bytes:
    """Draw the intensity distributions of several sets of voxels (1-D arrays, image units) as PNG bytes."""
    figure = _figure(6.5, 3.0)
    axes = figure.add_subplot()
    edges = np.linspace(window[0], window[1], HISTOGRAM_BINS + 1)
    for title, values in images:
        counts, _ = np.histogram(values, edges)
        axes.step(edges[:-1], counts / max(1, values.size), where="post", label=title, linewidth=1.3)
    axes.set_xlabel("intensity (image units)")
    axes.set_ylabel("share of voxels")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return _png(figure)


def _centre_index(volume: Volume, mask: np.ndarray | None) -> tuple[int, int, int]:
    """Return the canonical (k, j, i) index at which the planes cross."""
    if mask is None or not mask.any():
        k, j, i = to_canonical(volume)[0].array.shape
        return k // 2, j // 2, i // 2
    placed = to_canonical(volume.with_array(mask.astype(np.uint8)))[0].array
    k, j, i = (
        int(np.median(np.flatnonzero(placed.any(axis=tuple(other for other in range(3) if other != axis)))))
        for axis in range(3)
    )
    return k, j, i


def _plane(volume: Volume, centre: tuple[int, int, int], row: int) -> tuple[np.ndarray, float, float]:
    """Return a plane for display, its pixel aspect and its height over its width; rows run upwards."""
    canonical = to_canonical(volume)[0]
    right, anterior, superior = canonical.grid.spacing_mm
    plane = (canonical.array[centre[0]], canonical.array[:, centre[1]], canonical.array[:, :, centre[2]])[row]
    down, across = ((anterior, right), (superior, right), (superior, anterior))[row]
    rows, columns = plane.shape
    return plane[:, ::-1], float(down / across), float(max(0.12, rows * down / (columns * across)))


def _figure(width_inch: float, height_inch: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise DependencyError(
            "reports need matplotlib, which is not installed", "run: pip install matplotlib"
        ) from missing
    return Figure(figsize=(width_inch, height_inch), dpi=DOTS_PER_INCH, layout="constrained")


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
