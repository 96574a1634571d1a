"""Where a diffusion scan measures: its slices, its two in-plane axes, and the grid of its images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.degradations.brain_tensors import DiffusionBrain
from MRHarmonizationLib.degradations.brain_tilt import sampled, tilted_grid
from MRHarmonizationLib.degradations.dwi_parameters import PHASE_ENCODINGS, DwiScannerParameters
from MRHarmonizationLib.degradations.epi_encoding import PlaneAxis
from MRHarmonizationLib.volumes.grid import Grid

#: Slices beyond the brain on each side when the scan is to cover it.
_SPARE_SLICES = 1


@dataclass(frozen=True, eq=False)
class ScanPlan:
    """Where a scan measures, in millimetres along the axes of the (tilted) brain's grid from its first voxel.

    Attributes
    ----------
    slices_mm : ndarray, shape (slices,)
        Centres of the slices.
    phase, readout : PlaneAxis
    phase_axis : int
        Array axis of phase encoding: 1 along J, 2 along I.
    grid : Grid
        Of the images.
    """

    slices_mm: np.ndarray
    phase: PlaneAxis
    readout: PlaneAxis
    phase_axis: int
    grid: Grid

    @property
    def array_order(self) -> tuple[int, int, int]:
        """Order of the brain's array axes that makes them (slice, phase encoding, readout)."""
        return (0, 1, 2) if self.phase_axis == 1 else (0, 2, 1)


def plan_scan(brain: DiffusionBrain, parameters: DwiScannerParameters) -> ScanPlan:
    """Return where a scan of a brain measures; its ``grid`` is that of the images.

    Raises
    ------
    ParameterError
        Voxels finer than the brain's.
    InputError
        A brain without tissue.
    """
    turned, mask = brain.grid, brain.brain_mask
    if parameters.tilt_deg:
        turned = tilted_grid(brain.grid, parameters.tilt_deg)
        mask = sampled(mask, brain.grid, turned, 0, 0)
    spacing = turned.spacing_mm[::-1]
    axis_name, _ = PHASE_ENCODINGS[parameters.phase_encoding]
    phase_axis = 1 if axis_name == "j" else 2
    read_axis = 3 - phase_axis
    read_mm, phase_mm = parameters.measured_pixel_mm
    for asked, have in (
        (phase_mm, spacing[phase_axis]),
        (read_mm, spacing[read_axis]),
        (parameters.slice_thickness_mm, spacing[0]),
    ):
        if asked < have * (1 - 1e-3):
            raise ParameterError(
                f"the scan's voxels ({read_mm:.2f} x {phase_mm:.2f} x {parameters.slice_thickness_mm:.2f} mm) are "
                f"finer than the brain's {tuple(np.round(spacing, 2).tolist())} mm",
                "ask for larger voxels, or start from a finer label map",
            )
    offset = turned.directions.T @ np.array(parameters.offset_mm)
    middle = 0.5 * (np.array(turned.shape) - 1) * spacing + offset[::-1]
    rows = np.flatnonzero(mask.any(axis=(1, 2)))
    if not rows.size:
        raise InputError("the brain has no tissue", "give a label map of a brain")
    low, high = rows[0] * spacing[0], rows[-1] * spacing[0]
    count = parameters.slices
    if count is None:
        count = int(np.ceil((high - low + spacing[0]) / parameters.slice_spacing_mm)) + 2 * _SPARE_SLICES
    centre = 0.5 * (low + high) + offset[2]
    slices = centre + (np.arange(count) - 0.5 * (count - 1)) * parameters.slice_spacing_mm
    phase = PlaneAxis(parameters.matrix[1], parameters.field_of_view_mm[1], float(middle[phase_axis]))
    readout = PlaneAxis(parameters.matrix[0], parameters.field_of_view_mm[0], float(middle[read_axis]))
    grid = _scan_grid(turned, slices, phase, readout, phase_axis, parameters)
    return ScanPlan(slices, phase, readout, phase_axis, grid)


def _scan_grid(
    brain: Grid,
    slices: np.ndarray,
    phase: PlaneAxis,
    readout: PlaneAxis,
    phase_axis: int,
    parameters: DwiScannerParameters,
) -> Grid:
    factor = parameters.interpolation
    along_j, along_i = (phase, readout) if phase_axis == 1 else (readout, phase)
    shape = (slices.size, along_j.lines * factor, along_i.lines * factor)
    spacing = np.array(
        [along_i.field_of_view_mm / shape[2], along_j.field_of_view_mm / shape[1], parameters.slice_spacing_mm]
    )
    first = np.array([along_i.positions_mm(shape[2])[0], along_j.positions_mm(shape[1])[0], slices[0]])
    affine = np.eye(4)
    affine[:3, :3] = brain.directions * spacing
    affine[:3, 3] = brain.ijk_to_ras(first / brain.spacing_mm)
    return Grid(shape, affine)


def phase_shift_mm(parameters: DwiScannerParameters) -> float:
    """Return the shift along the brain's phase-encoding axis, towards R or A."""
    return parameters.phase_shift_px * parameters.measured_pixel_mm[1] * PHASE_ENCODINGS[parameters.phase_encoding][1]
