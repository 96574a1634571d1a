"""Every draw of one simulated diffusion scan: the scan can be made again from this record alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.tensor import check_scheme
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.degradations.bias_field import BiasFieldParameters

#: Phase-encoding directions: where a positive shift moves the image, as (image axis along J or I, sign in RAS).
PHASE_ENCODINGS = {"PA": ("j", 1), "AP": ("j", -1), "LR": ("i", 1), "RL": ("i", -1)}
#: Ranges in which numbers make sense, for messages that name them.
_RANGES = {
    "field_strength_t": (0.2, 12.0),
    "echo_time_ms": (5.0, 300.0),
    "repetition_time_ms": (300.0, 60000.0),
    "slice_spacing_mm": (0.5, 20.0),
    "slice_thickness_mm": (0.5, 20.0),
    "slice_flatness": (0.0, 1.0),
    "partial_fourier": (0.5, 1.0),
    "readout_ms": (0.0, 300.0),
    "filter_taper": (0.0, 1.0),
    "ghost": (0.0, 0.5),
    "phase_shift_px": (-20.0, 20.0),
    "gain": (1e-6, 1e9),
    "tilt_deg": (-45.0, 45.0),
}


@dataclass(frozen=True)
class DwiScannerParameters:
    """One scan by an echo-planar diffusion sequence.

    Attributes
    ----------
    scanner : str
        Name of the scanner.
    field_strength_t, echo_time_ms, repetition_time_ms : float
    b_values_s_per_mm2 : tuple of float
    gradients_ras : tuple of (r, a, s) tuples
        Unit vectors in the scanner frame, zero where b is 0.
    matrix : (int, int)
        Frequencies measured along readout and along phase encoding (of the full matrix).
    field_of_view_mm : (float, float)
        Along readout and phase encoding.
    slice_spacing_mm, slice_thickness_mm, slice_flatness : float
        Distance of slices, full width at half maximum of their profile, and its shape (0 Gaussian, 1 box).
    slices : int or None
        None covers the brain.
    phase_encoding : {'AP', 'PA', 'LR', 'RL'}
        Direction in which a positive ``phase_shift_px`` moves the image.
    partial_fourier : float
        Share of the phase-encoding lines that are measured; the missing early ones stay zero.
    readout_ms : float
        Time of all lines of the full matrix, parallel imaging counted in; 0 for no decay.
    interpolation : {1, 2}
        Zero-filling of the matrix by the manufacturer's reconstruction.
    filter_taper : float
        Tukey fraction of its filter in both axes: 0 none (Gibbs ringing), 1 Hann.
    ghost : float
        Nyquist ghost over the image.
    phase_shift_px : float
        Shift along phase encoding, in measured pixels.
    snr_b0 : float
        Mean signal of brain tissue in an unweighted volume over the noise of one channel; infinite for none.
    noise_seed : int
    bias_field : BiasFieldParameters or None
        Sensitivity of the receive coil over the brain's grid.
    gain : float
        Intensity units per unit of signal.
    whole_numbers : bool
        Whether the scanner stores rounded values.
    offset_mm : (float, float, float)
        RAS shift of the field of view from the middle of the brain's grid.
    tilt_deg : float
        Turn of the slices about the left-right axis; positive lifts their front.
    """

    scanner: str = "scanner"
    field_strength_t: float = 3.0
    echo_time_ms: float = 80.0
    repetition_time_ms: float = 8000.0
    b_values_s_per_mm2: tuple[float, ...] = (0.0, 1000.0)
    gradients_ras: tuple[tuple[float, float, float], ...] = ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0))
    matrix: tuple[int, int] = (112, 112)
    field_of_view_mm: tuple[float, float] = (224.0, 224.0)
    slice_spacing_mm: float = 2.5
    slice_thickness_mm: float = 2.5
    slice_flatness: float = 0.7
    slices: int | None = None
    phase_encoding: str = "PA"
    partial_fourier: float = 0.75
    readout_ms: float = 40.0
    interpolation: int = 1
    filter_taper: float = 0.0
    ghost: float = 0.0
    phase_shift_px: float = 0.0
    snr_b0: float = 25.0
    noise_seed: int = 0
    bias_field: BiasFieldParameters | None = None
    gain: float = 1000.0
    whole_numbers: bool = False
    offset_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    tilt_deg: float = 0.0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and low <= value <= high):
                raise ParameterError(f"{name} is {value!r}", f"give a number from {low:g} to {high:g}")
        if self.phase_encoding not in PHASE_ENCODINGS:
            raise ParameterError(
                f"phase encoding '{self.phase_encoding}' is unknown", f"choose one of: {', '.join(PHASE_ENCODINGS)}"
            )
        if self.interpolation not in (1, 2):
            raise ParameterError(f"interpolation by {self.interpolation}", "choose 1 (none) or 2")
        if not self.snr_b0 > 0:
            raise ParameterError(f"snr_b0 is {self.snr_b0}", "give a positive number, infinity for no noise")
        if self.slices is not None and not 1 <= self.slices <= 1024:
            raise ParameterError(f"{self.slices} slices", "give 1 to 1024, or None to cover the brain")
        if len(self.matrix) != 2 or min(self.matrix) < 16 or max(self.matrix) > 1024:
            raise ParameterError(f"matrix {self.matrix}", "give two whole numbers from 16 to 1024")
        if len(self.field_of_view_mm) != 2 or min(self.field_of_view_mm) <= 0:
            raise ParameterError(f"field of view {self.field_of_view_mm} mm", "give two positive numbers")
        if len(self.offset_mm) != 3 or not np.all(np.isfinite(self.offset_mm)) or np.abs(self.offset_mm).max() > 200:
            raise ParameterError(f"offset {self.offset_mm} mm", "give three numbers of at most 200")
        if not self.b_values_s_per_mm2:
            raise ParameterError("no volumes", "give b-values and gradients")
        check_scheme(np.array(self.b_values_s_per_mm2), np.array(self.gradients_ras), len(self.b_values_s_per_mm2))

    @property
    def measured_pixel_mm(self) -> tuple[float, float]:
        """Pixel of the measured matrix along (readout, phase encoding), before interpolation."""
        return self.field_of_view_mm[0] / self.matrix[0], self.field_of_view_mm[1] / self.matrix[1]

    def clean(self, keep_resolution: bool = True) -> DwiScannerParameters:
        """Return the same scan without noise, ghost, shift, shading and rounding; gain 1.

        Parameters
        ----------
        keep_resolution : bool
            False also measures all lines without decay during the readout and without a filter.
        """
        quiet = replace(
            self, snr_b0=float("inf"), ghost=0.0, phase_shift_px=0.0, bias_field=None, gain=1.0, whole_numbers=False
        )
        return quiet if keep_resolution else replace(quiet, partial_fourier=1.0, readout_ms=0.0, filter_taper=0.0)

    def with_scheme(self, b_values_s_per_mm2: np.ndarray, gradients_ras: np.ndarray) -> DwiScannerParameters:
        """Return the same scan with other weightings, (N,) and (N, 3)."""
        return replace(
            self,
            b_values_s_per_mm2=tuple(float(b) for b in b_values_s_per_mm2),
            gradients_ras=tuple((float(r), float(a), float(s)) for r, a, s in gradients_ras),
        )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        values: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("b_values_s_per_mm2", "matrix", "field_of_view_mm", "offset_mm"):
            values[name] = list(values[name])
        values["gradients_ras"] = [list(g) for g in self.gradients_ras]
        values["bias_field"] = self.bias_field.to_dict() if self.bias_field else None
        values["snr_b0"] = self.snr_b0 if np.isfinite(self.snr_b0) else None  # JSON has no infinity
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DwiScannerParameters:
        """Build from :meth:`to_dict`.

        Raises
        ------
        ParameterError
            Unknown keys, values out of range.
        """
        ready = dict(values)
        if "gradients_ras" in ready:
            ready["gradients_ras"] = tuple(tuple(float(x) for x in g) for g in ready["gradients_ras"])
        if ready.get("bias_field") is not None:
            ready["bias_field"] = BiasFieldParameters.from_dict(ready["bias_field"])
        if ready.get("snr_b0", 0) is None:
            ready["snr_b0"] = float("inf")
        return build_parameters(cls, ready)
