"""Pictures of volumes and curves as PNG bytes: orthogonal planes, differences, plots (no display needed)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from MRHarmonizationLib.core.errors import DependencyError, GridMismatchError
from MRHarmonizationLib.inference.curves import Curve
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
#: Longest side of a single plane's picture, pixels.
TILE_PIXELS = 512
#: Logarithmic axes that span less than this factor have their numbers written in full.
SHORT_LOG_RANGE = 30.0
#: Series of at most this many points show each of them.
MARKED_POINTS = 20
#: Share of a category that bars fill.
BAR_SHARE = 0.8
#: Colours of the roles of a curve's series, told apart by colour-blind readers too.
ROLE_COLOURS = {
    "before": "#c25400",
    "after": "#0067a8",
    "reference": "#00734f",
    "ratio": "#7a3f9d",
    "limit": "#6b7885",
}
#: Dashes of series that share a role, in their order.
DASHES = ("-", "--", "-.", ":")


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


def plane_tiles(
    volume: Volume, window: tuple[float, float], mask: np.ndarray | None = None, colours: str = "gray"
) -> dict[str, bytes]:
    """Draw three orthogonal planes of a volume, each as a picture of its own without frame.

    Parameters
    ----------
    volume : Volume
    window : (low, high)
        Values of the first and the last colour, image units.
    mask : bool ndarray, shape (K, J, I), optional
        As in :func:`planes_figure`.
    colours : str
        Name of a matplotlib colour map.

    Returns
    -------
    dict of str to bytes
        PNG by the name of the plane; square pixels, at most 512 on a side. Radiological view, head up; the face looks
        to the left of the sagittal plane.
    """
    from PIL import Image

    palette = _colour_map(colours)
    centre = _centre_index(volume, mask)
    tiles = {}
    for row, name in enumerate(PLANE_NAMES):
        plane, aspect, _ = _plane(volume, centre, row)
        shares = np.clip((plane[::-1].astype(np.float32) - window[0]) / (window[1] - window[0]), 0, 1)
        levels = palette[np.round(shares * (len(palette) - 1)).astype(np.uint8)]
        rows, columns = plane.shape
        height, width = rows * max(aspect, 1.0), columns * max(1.0 / aspect, 1.0)
        shrink = min(1.0, TILE_PIXELS / max(height, width))
        size = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        # the box filter repeats voxels when it enlarges and averages them when it reduces
        picture = Image.fromarray(np.ascontiguousarray(levels)).resize(size, Image.Resampling.BOX)
        stream = io.BytesIO()
        picture.save(stream, format="png", optimize=True)
        tiles[name] = stream.getvalue()
    return tiles


def curve_figure(curve: Curve) -> bytes:
    """Draw a curve with labelled axes and a legend as PNG bytes."""
    figure = _figure(6.4, 4.6 if curve.x_names else 3.4)
    axes = figure.add_subplot()
    drawn: dict[str, int] = {}
    for place, series in enumerate(curve.series):
        number = drawn[series.role] = drawn.get(series.role, -1) + 1
        dash = ":" if series.role == "limit" else DASHES[number % len(DASHES)]
        marker = "o" if series.x.size <= MARKED_POINTS and series.role != "limit" else None
        if curve.drawn == "bars":
            width = BAR_SHARE / len(curve.series)
            beside = series.x + width * (place - (len(curve.series) - 1) / 2)
            axes.bar(beside, series.y, width, color=ROLE_COLOURS[series.role], label=series.name)
            continue
        if curve.drawn == "points":
            dash, marker = "none", "o"
        axes.plot(
            series.x,
            series.y,
            linestyle=dash,
            color=ROLE_COLOURS[series.role],
            label=series.name,
            linewidth=1.4,
            marker=marker,
            markersize=4,
        )
    axes.set_xscale("log" if curve.x_log else "linear")
    axes.set_yscale("log" if curve.y_log else "linear")
    _plain_ticks(axes.xaxis, curve.x_log)
    _plain_ticks(axes.yaxis, curve.y_log)
    if curve.x_names:
        axes.set_xticks(range(1, len(curve.x_names) + 1), curve.x_names, rotation=90, fontsize=7)
        axes.grid(axis="y", linewidth=0.4)
    if curve.drawn == "bars":
        axes.axhline(0.0, color="black", linewidth=0.8)
    axes.set_xlabel(curve.x_title)
    axes.set_ylabel(curve.y_title)
    axes.legend(frameon=False, fontsize=8)
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


def _plain_ticks(axis: Any, log: bool) -> None:
    """Write the numbers of a short logarithmic axis in full: 0.5, 1, 2 rather than powers of ten."""
    low, high = axis.get_view_interval()
    if log and high / low < SHORT_LOG_RANGE:
        from matplotlib.ticker import FormatStrFormatter

        axis.set_major_formatter(FormatStrFormatter("%g"))
        axis.set_minor_formatter(FormatStrFormatter("%g"))


def _colour_map(name: str) -> np.ndarray:
    """Return a colour map as uint8: shape (256,) for grey, (256, 3) otherwise."""
    if name == "gray":
        return np.arange(256, dtype=np.uint8)
    try:
        from matplotlib import colormaps
    except ImportError as missing:
        raise _no_matplotlib() from missing
    return np.asarray(np.round(255 * colormaps[name](np.arange(256))[:, :3]), np.uint8)


def _no_matplotlib() -> DependencyError:
    return DependencyError("reports need matplotlib, which is not installed", "run: pip install matplotlib")


def _figure(width_inch: float, height_inch: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError as missing:
        raise _no_matplotlib() from missing
    return Figure(figsize=(width_inch, height_inch), dpi=DOTS_PER_INCH, layout="constrained")


def _png(figure: Figure) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()
