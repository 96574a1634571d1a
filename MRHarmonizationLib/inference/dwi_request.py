"""What a user asks of the harmonisation of a diffusion scan."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.inference.dwi_noise import check_noise_choice
from MRHarmonizationLib.inference.strength import check_strength
from MRHarmonizationLib.methods.dwi_harmonizers.base import DWI_HARMONIZERS
from MRHarmonizationLib.volumes.grid import Grid

#: The method where none is named: it changes nothing but the unit, so that no voxel looks brighter than its neighbour
#: for another reason than before.
DEFAULT_METHOD = "global_scaling"
#: Stands for the spacing of the canonical scan.
TARGET_SPACING = "target"
#: Spacing in millimetres that makes sense for a diffusion scan.
SPACING_RANGE_MM = (0.3, 10.0)

#: As a request keeps it; a single number is accepted too and becomes three.
Spacing = tuple[float, float, float] | str | None


@dataclass(frozen=True)
class HarmonizeDwiRequest:
    """What a user asks for; refuses wrong values when it is made.

    Attributes
    ----------
    method : str
        A name in the registry of harmonisers of diffusion scans.
    fitted : path or None
        File of a fitted classical harmoniser; without one the method is fitted to ``target``.
    target : str
        Shipped target scan, or the path of a target's file.
    strength : float
        How much of the harmonisation is applied, 0 (the scan itself comes back) to 1.
    noise : {'auto', 'none', 'floor', 'denoise'}
        What is done about noise before: denoising and taking off the noise floor, as far as the scan allows; nothing;
        the floor only; denoising with the floor where the noise is known.
    spacing_mm : None, float, three floats (i, j, k) or 'target'
        Voxels of the result: those of the scan, isotropic, as given, or the canonical scan's.
    keep_residual : bool
        Whether the result carries the residual that brings the scan back exactly.
    max_md_change_percent, max_fa_change : float
        How far mean MD (percent) and mean FA (absolute) of white matter and brain may move.
    enforce_safety : bool
        Whether the strength is lowered where they would move further; otherwise it is only said.

    Raises
    ------
    ParameterError
        Unknown method or choice, a value out of range.
    """

    method: str = DEFAULT_METHOD
    fitted: str | None = None
    target: str = "canonical"
    strength: float = 1.0
    noise: str = "auto"
    spacing_mm: Spacing = None
    keep_residual: bool = False
    max_md_change_percent: float = 2.0
    max_fa_change: float = 0.01
    enforce_safety: bool = True

    def __post_init__(self) -> None:
        check_strength(self.strength)
        check_noise_choice(self.noise)
        try:
            DWI_HARMONIZERS.get(self.method)
        except ParameterError:
            choices = ", ".join(DWI_HARMONIZERS.names())
            raise ParameterError(f"unknown method '{self.method}'", f"choose one of: {choices}") from None
        if self.fitted is not None:
            object.__setattr__(self, "fitted", os.fspath(Path(self.fitted)))
        object.__setattr__(self, "spacing_mm", checked_spacing(self.spacing_mm))
        for name in ("max_md_change_percent", "max_fa_change"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value > 0):
                raise ParameterError(f"{name} is {value}", "give a positive number")

    def to_dict(self) -> dict[str, Any]:
        """Return the request as JSON-ready values."""
        values = asdict(self)
        if isinstance(self.spacing_mm, tuple):
            values["spacing_mm"] = list(self.spacing_mm)
        # not the paths
        values["fitted"] = None if self.fitted is None else Path(self.fitted).name
        values["target"] = Path(self.target).name if self.target.endswith(".json") else self.target
        return values


def checked_spacing(spacing_mm: Any) -> Spacing:
    """Return a spacing as None, 'target' or three floats (i, j, k); raises ParameterError."""
    if spacing_mm is None or spacing_mm == TARGET_SPACING:
        return None if spacing_mm is None else TARGET_SPACING
    low, high = SPACING_RANGE_MM
    try:
        values = tuple(float(v) for v in spacing_mm) if isinstance(spacing_mm, Sequence) else (float(spacing_mm),) * 3
    except (TypeError, ValueError):
        values = ()
    if len(values) != 3 or not all(low <= v <= high for v in values):
        raise ParameterError(
            f"spacing is {spacing_mm}", f"give one or three numbers from {low:g} to {high:g} mm, or '{TARGET_SPACING}'"
        )
    return values[0], values[1], values[2]


def canonical_spacing_mm() -> tuple[float, float]:
    """Return the voxel size of the canonical scan: within slices, between slices."""
    from MRHarmonizationLib.degradations.dwi_scanner import load_scanner

    scanner = load_scanner("canonical")
    return float(scanner.field_of_view_mm[0]) / float(scanner.matrix[0]), float(scanner.slice_spacing_mm)


def output_grid(grid: Grid, spacing_mm: Spacing) -> Grid:
    """Return the grid of the result: the scan's, or its field of view with another spacing."""
    if spacing_mm is None:
        return grid
    if isinstance(spacing_mm, tuple):
        return grid.with_spacing(spacing_mm)
    within, between = canonical_spacing_mm()
    wanted = [within] * 3
    wanted[grid.thick_axis] = between
    return grid.with_spacing(wanted)
