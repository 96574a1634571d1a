"""What alterations of contrast look like: slices above, the logarithm of their spectra below."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from MRHarmonizationLib.core.errors import DependencyError, OutputError, ParameterError
from MRHarmonizationLib.degradations.base import DEGRADATIONS
from MRHarmonizationLib.volumes.atomic import check_output_path, write_bytes_atomic
from MRHarmonizationLib.volumes.orientation import to_canonical
from MRHarmonizationLib.volumes.volume import Volume

if TYPE_CHECKING:
    from MRHarmonizationLib.inference.file_operations import DegradedFiles

#: Alterations drawn beside the one that was asked for, so that the picture shows the range.
FURTHER_DRAWS = 4
#: Decades below the strongest sample that the spectra show.
DECADES = 5.0
#: Percentiles of a slice that become black and white.
WINDOW_PERCENTILES = (0.5, 99.7)
DOTS_PER_INCH = 110


def further_alterations(
    volume: Volume, kind: str, seed: int, companions: dict[str, Volume], count: int = FURTHER_DRAWS
) -> list[tuple[str, Volume]]:
    """Return (title, altered volume) of the seeds that follow one.

    Parameters
    ----------
    volume : Volume
    kind : str
        Name in the registry of degradations.
    seed : int
        The first further seed is ``seed + 1``.
    companions : dict of str to Volume
        Label map and donor, where the kind takes them.
    count : int
    """
    degradation = DEGRADATIONS.get(kind)
    found = []
    for further in range(seed + 1, seed + 1 + count):
        parameters = degradation.sample(np.random.default_rng(further), volume, **companions)
        found.append((f"seed {further}", degradation.apply(volume, parameters, **companions)))
    return found


def alteration_figure(images: Sequence[tuple[str, Volume]]) -> bytes:
    """Draw the middle slice of each volume and, below, the logarithm of the slice's spectrum.

    Parameters
    ----------
    images : sequence of (title, Volume)
        One column each.

    Returns
    -------
    bytes
        PNG. Each slice in its own window, all spectra on one scale of five decades; radiological view.

    Raises
    ------
    ParameterError
        No image.
    DependencyError
        matplotlib is missing.
    """
    if not images:
        raise ParameterError("no image to draw", "give one or more")
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError as error:
        raise DependencyError("matplotlib is not installed; pictures need it", "pip install matplotlib") from error
    slices = [_middle_slice(volume) for _, volume in images]
    spectra = [_log_spectrum(plane) for plane, _ in slices]
    top = max(float(spectrum.max()) for spectrum in spectra)
    rows, columns = slices[0][0].shape
    tall = min(max(rows * slices[0][1] / columns, 0.3), 2.5)
    figure = Figure(figsize=(1.9 * len(images), 1.9 * tall + 2.2), dpi=DOTS_PER_INCH, layout="constrained")
    grid = figure.add_gridspec(2, len(images), height_ratios=(tall, 1.0))
    for column, ((title, _), (plane, aspect), spectrum) in enumerate(zip(images, slices, spectra, strict=True)):
        above, below = figure.add_subplot(grid[0, column]), figure.add_subplot(grid[1, column])
        black, white = np.percentile(plane, WINDOW_PERCENTILES)
        above.imshow(plane, cmap="gray", vmin=black, vmax=max(white, black + 1e-6), aspect=aspect, origin="lower")
        below.imshow(spectrum, cmap="magma", vmin=top - DECADES, vmax=top, aspect="auto", origin="lower")
        above.set_title(title, fontsize=8)
        for axes in (above, below):
            axes.set_xticks([])
            axes.set_yticks([])
        below.set_box_aspect(1.0)
        if column == 0:
            above.set_ylabel("image", fontsize=8)
            below.set_ylabel("log amplitude", fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def check_preview_path(path: str | os.PathLike[str]) -> Path:
    """Make sure, before any work, that a picture can be written; raises OutputError."""
    if not os.fspath(path).lower().endswith(".png"):
        raise OutputError(f"picture {os.fspath(path)} does not end with .png", "name a .png file")
    return check_output_path(path)


def write_preview(path: str | os.PathLike[str], done: DegradedFiles, kind: str) -> Path:
    """Write the picture of a scan, its alteration and, where the seed is known, of four further draws.

    Parameters
    ----------
    path : path-like
        A ``.png`` file.
    done : DegradedFiles
        What ``degrade_file`` returned.
    kind : str
        Name in the registry of degradations.

    Raises
    ------
    OutputError
        The picture cannot be written there.
    """
    target = check_preview_path(path)
    title = "this one" if done.seed is None else f"seed {done.seed}"
    shown = [("original", done.source), (title, done.volume)]
    if done.seed is not None:
        shown += further_alterations(done.source, kind, done.seed, done.companions)
    return write_bytes_atomic(alteration_figure(shown), target)


def _middle_slice(volume: Volume) -> tuple[np.ndarray, float]:
    """Return the middle slice across the thickest axis (axial for cubes) and the aspect of its pixels."""
    canonical, _ = to_canonical(volume)
    axis = 2 - canonical.grid.thick_axis
    plane = np.take(canonical.array, canonical.array.shape[axis] // 2, axis).astype(np.float32)
    spacing = np.delete(canonical.grid.spacing_mm[::-1], axis)
    radiological = plane[:, ::-1] if axis != 2 else plane
    return radiological, float(spacing[0] / spacing[1])


def _log_spectrum(plane: np.ndarray) -> np.ndarray:
    amplitude = np.abs(np.fft.fftshift(np.fft.fft2(plane)))
    return np.asarray(np.log10(np.maximum(amplitude, max(float(amplitude.max()), 1e-30) * 1e-9)))
