"""Curves of a comparison that need no texture: the histogram, and power spectra over physical frequency."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.inference.compare_inputs import Subjects
from MRHarmonizationLib.inference.curves import Curve, Role, Series
from MRHarmonizationLib.volumes.grid import Grid

if TYPE_CHECKING:
    from MRHarmonizationLib.core.spectrum import RadialSpectrum

HISTOGRAM_BINS = 128
#: Percentiles of all images inside the mask between which the histogram is drawn.
HISTOGRAM_PERCENTILES = (0.1, 99.9)
#: A grid this much coarser along an axis leaves a border in the spectrum that is worth a line.
COARSER = 1.05
ROLES: tuple[Role, ...] = ("before", "after", "reference")
#: Axis words by the letters of ``Grid.axis_codes``.
AXIS_WORDS = {"R": "left-right", "L": "left-right", "A": "front-back", "P": "front-back", "S": "head-foot"}
AXIS_WORDS["I"] = AXIS_WORDS["S"]
#: Plane of the spectra within slices, by the array axis across them.
PLANE_WITHIN_SLICES = {0: "ij", 1: "ik", 2: "jk"}


def histogram_curve(subjects: Subjects) -> Curve:
    """Return the share of the mask's voxels over intensity, on one set of bins for all images."""
    values = {role: subjects.images[role].array[subjects.mask] for role in ROLES if role in subjects.images}
    ends = [np.percentile(inside, HISTOGRAM_PERCENTILES) for inside in values.values()]
    low, high = min(float(e[0]) for e in ends), max(float(e[1]) for e in ends)
    width = (high - low) / HISTOGRAM_BINS
    if any(inside.dtype.kind in "iu" for inside in values.values()):
        # bins of unequal numbers of whole values would look like a comb
        width = float(np.ceil(width))
        low -= 0.5
    edges = low + width * np.arange(int(np.ceil((high - low) / width)) + 1)
    series = []
    for role, inside in values.items():
        counts, _ = np.histogram(inside, edges)
        series.append(Series(role, role, (edges[:-1] + edges[1:]) / 2, 100.0 * counts / inside.size))
    return Curve(
        id="histogram",
        title="Intensities",
        sentence="How many voxels of the mask have which intensity. Images of one scan on one scale should agree.",
        x_label="intensity",
        x_unit="image units",
        x_log=False,
        y_label=f"voxels per bin of {width:.3g} image units",
        y_unit="%",
        y_log=False,
        series=tuple(series),
    )


def spectrum_curves(subjects: Subjects, notes: list[str]) -> tuple[Curve, ...]:
    """Return the power spectra over physical frequency: over all directions, along the axes, within slices, the ratio.

    Parameters
    ----------
    subjects : Subjects
    notes : list of str
        What could not be measured is added.

    Returns
    -------
    tuple of Curve
        ``psd_radial``, ``psd_ratio``, ``psd_inplane``, ``psd_directional``; none where no image has a spectrum.
    """
    from MRHarmonizationLib.core.spectrum import directional_power_spectra, radial_power_spectrum

    grid = next(iter(subjects.images.values())).grid
    across = _slice_axis(subjects.native, grid)
    spacing = (float(grid.spacing_mm[0]), float(grid.spacing_mm[1]), float(grid.spacing_mm[2]))
    whole: dict[Role, dict[str, RadialSpectrum]] = {}
    within: dict[Role, RadialSpectrum] = {}
    for role in ROLES:
        if role not in subjects.images or role in subjects.constant:
            continue
        array = subjects.images[role].array
        try:
            whole[role] = directional_power_spectra(array, spacing, subjects.mask)
            within[role] = radial_power_spectrum(array, spacing, subjects.mask, PLANE_WITHIN_SLICES[across])
        except InputError as problem:
            notes.append(f"the power spectrum of {role} was left out: {problem.problem}")
            whole.pop(role, None)
    if not whole:
        return ()
    limits = _native_limits(subjects.native, grid, across)
    curves = [_radial(whole), _within_slices(within, limits), _directional(whole, grid, across, limits)]
    ratio = _ratio(whole)
    return (curves[0], *([ratio] if ratio else []), *curves[1:])


def _radial(whole: dict[Role, dict[str, RadialSpectrum]]) -> Curve:
    return Curve(
        id="psd_radial",
        title="Power spectrum, all directions",
        sentence="How the image's variance is spread over coarse (left) and fine (right) detail, as a share of the "
        "total. A curve that falls earlier belongs to a blurrier image; one that ends in a plateau to a noisy one.",
        x_label="spatial frequency",
        x_unit="cycles/mm",
        x_log=False,
        y_label="power density / total power",
        y_unit="mm³",
        y_log=True,
        series=tuple(_line(role, role, spectra["all"]) for role, spectra in whole.items()),
    )


def _within_slices(within: dict[Role, RadialSpectrum], limits: list[tuple[str, float, float]]) -> Curve:
    lines = [_line(role, role, spectrum) for role, spectrum in within.items()]
    borders = [_border(f"finest of {name}, within slices", plane, lines) for name, _, plane in limits if plane]
    return Curve(
        id="psd_inplane",
        title="Power spectrum within slices",
        sentence="The same for each slice by itself, averaged over slices: detail in the planes that were acquired.",
        x_label="frequency within slices",
        x_unit="cycles/mm",
        x_log=False,
        y_label="power density / total power",
        y_unit="mm²",
        y_log=True,
        series=(*lines, *borders),
    )


def _directional(
    whole: dict[Role, dict[str, RadialSpectrum]],
    grid: Grid,
    across: int,
    limits: list[tuple[str, float, float]],
) -> Curve:
    """Return the spectra around the three axes, the one across slices first."""
    order = [across, *(axis for axis in range(3) if axis != across)]
    lines = []
    for role, spectra in whole.items():
        for axis in order:
            name = "kji"[axis]
            if name in spectra:
                words = AXIS_WORDS[grid.axis_codes[2 - axis]]
                suffix = " (across slices)" if axis == across else ""
                lines.append(_line(f"{role}, {words}{suffix}", role, spectra[name]))
    borders = [_border(f"finest of {name}, across slices", slices, lines) for name, slices, _ in limits if slices]
    return Curve(
        id="psd_directional",
        title="Power spectrum along the axes",
        sentence="Detail along each axis of the head by itself. Thick slices show as a curve that falls early along "
        "one axis only; curves that lie together mean equal sharpness in all directions.",
        x_label="frequency along the axis",
        x_unit="cycles/mm",
        x_log=False,
        y_label="power density / total power",
        y_unit="mm³",
        y_log=True,
        series=(*lines, *borders),
    )


def _ratio(whole: dict[Role, dict[str, RadialSpectrum]]) -> Curve | None:
    """Return after over before (and over the reference), or None where one of them has no spectrum."""
    from MRHarmonizationLib.core.spectrum_measures import spectrum_ratio

    lines = []
    for below in ROLES[:1] + ROLES[2:]:
        if "after" in whole and below in whole:
            found = spectrum_ratio(whole["after"]["all"], whole[below]["all"], normalised=True)
            shown = np.isfinite(found.ratio) & (found.ratio > 0)
            if shown.any():
                frequency = found.frequency_cycles_per_mm[shown]
                lines.append(Series(f"after / {below}", "ratio", frequency, found.ratio[shown]))
    if not lines:
        return None
    low, high = min(line.x.min() for line in lines), max(line.x.max() for line in lines)
    return Curve(
        id="psd_ratio",
        title="Ratio of the power spectra",
        sentence="At which fineness after has a larger (above 1) or smaller (below 1) share of its variance than the "
        "other image. Below 1 on the right: noise or fine detail was taken away; above 1: sharpness or noise came in.",
        x_label="spatial frequency",
        x_unit="cycles/mm",
        x_log=False,
        y_label="ratio of power densities",
        y_unit="1",
        y_log=True,
        series=(*lines, Series("equal", "limit", np.array([low, high]), np.ones(2))),
    )


def _line(name: str, role: Role, spectrum: RadialSpectrum) -> Series:
    """Return the total-power-normalised density up to the Nyquist frequency."""
    shown = (spectrum.frequency_cycles_per_mm <= spectrum.limit_cycles_per_mm) & (spectrum.normalised_power > 0)
    return Series(name, role, spectrum.frequency_cycles_per_mm[shown], spectrum.normalised_power[shown])


def _border(name: str, frequency: float, lines: list[Series]) -> Series:
    """Return a vertical line as high as the curves."""
    low, high = min(float(line.y.min()) for line in lines), max(float(line.y.max()) for line in lines)
    return Series(name, "limit", np.array([frequency, frequency]), np.array([low, high]))


def _slice_axis(native: dict[str, Grid], grid: Grid) -> int:
    """Return the array axis (0 k, 1 j, 2 i) of ``grid`` closest to the slice axis of the thickest image."""
    thickest = max(native.values(), key=lambda one: float(one.spacing_mm.max()))
    direction = thickest.directions[:, thickest.thick_axis]
    return 2 - int(np.argmax(np.abs(grid.directions.T @ direction)))


def _native_limits(native: dict[str, Grid], grid: Grid, across: int) -> list[tuple[str, float, float]]:
    """Return for each image resampled from a coarser grid its own Nyquist frequencies, across and within slices.

    A frequency is 0 where the image was no coarser than the grid.
    """
    limits = []
    for name, own in native.items():
        cosines = np.abs(grid.directions.T @ own.directions)
        spacing = own.spacing_mm[cosines.argmax(axis=1)]  # the image's spacing along i, j, k of the grid
        coarser = spacing > COARSER * grid.spacing_mm
        slices = float(0.5 / spacing[2 - across]) if coarser[2 - across] else 0.0
        inside = [axis for axis in range(3) if axis != 2 - across]
        plane = float(0.5 / spacing[inside].min()) if coarser[inside].all() else 0.0
        if slices or plane:
            limits.append((name, slices, plane))
    return limits
