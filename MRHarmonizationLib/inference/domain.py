"""Does a scan lie where a model was trained? Refusals for what is no scan, warnings for what is outside."""

from __future__ import annotations

import numpy as np

from MRHarmonizationLib.core.checks import check_volume_array, looks_like_labels
from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.inference.preparation import SPACING_TIE_MM, thick_axis_order
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume
from MRHarmonizationLib.weights.card import Domain

SMALLEST_FIELD_OF_VIEW_MM = 30.0
"""Below this a network sees too little anatomy to judge by."""

LARGEST_OUTPUT_VOXELS = 800**3
"""An output grid beyond this comes from a wrong spacing in a header, not from a scanner."""

FINER_THAN_OUTPUT = 0.9
"""In-plane spacing below this part of the output's is warned of: detail would be lost."""


def check_scan(volume: Volume) -> None:
    """Refuse what is no scan.

    Raises
    ------
    InputError
        Not finite, constant, a single slice (see :func:`~MRHarmonizationLib.core.checks.check_volume_array`), or a
        label map.
    """
    name = f"image '{volume.name}'" if volume.name else "image"
    check_volume_array(volume.array, name)
    if looks_like_labels(volume.array):
        raise InputError(f"{name} looks like a label map, not like a scan", "choose the scan it was drawn on")


def check_output_grid(grid: Grid) -> None:
    """Refuse an output grid no machine can hold; raises InputError."""
    voxels = int(np.prod(grid.shape, dtype=np.int64))
    if voxels > LARGEST_OUTPUT_VOXELS:
        size = " x ".join(str(count) for count in grid.size_ijk)
        raise InputError(
            f"the output would have {size} voxels, at most {LARGEST_OUTPUT_VOXELS} are possible",
            "correct the spacing in the image header, or crop the scan",
        )


def domain_warnings(input_grid: Grid, output_grid: Grid, domain: Domain) -> tuple[str, ...]:
    """Return one sentence for each way in which a scan lies outside a model's domain.

    Parameters
    ----------
    input_grid : Grid
        Of the scan as acquired.
    output_grid : Grid
        Of the result.
    domain : Domain
        From the model's card.
    """
    thick = 2 - thick_axis_order(input_grid).permutation[0]
    spacing = [float(value) for value in input_grid.spacing_mm]
    slices, inplane = spacing[thick], [value for axis, value in enumerate(spacing) if axis != thick]
    output = float(min(output_grid.spacing_mm))
    found = []
    if not _inside(slices, slices, domain.slice_spacing_mm):
        found.append(
            f"slice spacing {slices:.2f} mm lies outside {_range(domain.slice_spacing_mm)} the model is made for"
        )
    if not _inside(min(inplane), max(inplane), domain.inplane_mm):
        found.append(
            f"in-plane spacing {min(inplane):.2f} x {max(inplane):.2f} mm lies outside {_range(domain.inplane_mm)} "
            "the model is made for"
        )
    if max(spacing) - min(spacing) <= SPACING_TIE_MM and slices <= output + SPACING_TIE_MM:
        found.append(f"the scan is already isotropic at {slices:.2f} mm: little can be gained")
    if min(inplane) < FINER_THAN_OUTPUT * output:
        found.append(
            f"in-plane spacing {min(inplane):.2f} mm is finer than the output's {output:.2f} mm: detail will be lost; "
            "ask for a finer output spacing to keep it"
        )
    extent = float(min(input_grid.extent_mm))
    if extent < SMALLEST_FIELD_OF_VIEW_MM:
        found.append(f"the field of view is only {extent:.0f} mm along one axis: the model sees little anatomy")
    return tuple(found)


def own_grid_warnings(grid: Grid, domain: Domain, slice_axis: int) -> tuple[str, ...]:
    """Return one sentence for each spacing outside the domain of a model that works on the scan's own grid.

    Parameters
    ----------
    grid : Grid
    domain : Domain
        From the model's card.
    slice_axis : {0, 1, 2}
        Axis (i, j, k) across the planes; not judged where there is a single plane.
    """
    spacing = [float(value) for value in grid.spacing_mm]
    slices, inplane = spacing[slice_axis], [value for axis, value in enumerate(spacing) if axis != slice_axis]
    found = []
    if grid.size_ijk[slice_axis] > 1 and not _inside(slices, slices, domain.slice_spacing_mm):
        limits = _range(domain.slice_spacing_mm)
        found.append(f"slice spacing {slices:.2f} mm lies outside {limits} the model is made for")
    if not _inside(min(inplane), max(inplane), domain.inplane_mm):
        limits = _range(domain.inplane_mm)
        found.append(f"pixels of {min(inplane):.2f} x {max(inplane):.2f} mm lie outside {limits} the model is made for")
    return tuple(found)


def _inside(smallest: float, largest: float, limits: tuple[float, float]) -> bool:
    return limits[0] - SPACING_TIE_MM <= smallest and largest <= limits[1] + SPACING_TIE_MM


def _range(limits: tuple[float, float]) -> str:
    return f"the {limits[0]:g} to {limits[1]:g} mm"
