"""What a portable 64 mT scanner would have measured: appearance, then acquisition.

Appearance (tone curve, bias field) changes what the scan looks like and belongs to the input and the target of
training alike; acquisition (slice profile, k-space extent, noise, artefacts) is what enhancement should undo.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.degradations.artefacts import ArtefactParameters, apply_artefacts, sample_artefacts
from MRHarmonizationLib.degradations.base import DEGRADATIONS, build_parameters
from MRHarmonizationLib.degradations.bias_field import BiasFieldParameters, apply_bias_field, sample_bias_field
from MRHarmonizationLib.degradations.contrast import ToneCurveParameters, apply_tone_curve, sample_tone_curve
from MRHarmonizationLib.degradations.encoding import apply_along, kspace_matrix, slice_matrix
from MRHarmonizationLib.degradations.noise import coloured_noise, rician_magnitude
from MRHarmonizationLib.volumes.volume import Volume


@dataclass(frozen=True)
class AcquisitionParameters:
    """How the scanner samples the object.

    Attributes
    ----------
    slice_axis : int
        Array axis (0 K, 1 J, 2 I) across the slices.
    slice_spacing_mm, slice_fwhm_mm : float
        Distance of slice centres and full width at half maximum of the slice profile.
    slice_flatness : float
        0 a Gaussian profile, 1 nearly a box.
    slice_encoding : {'slice', 'kspace'}
        Slice-selective excitation, or a second phase encoding (three-dimensional acquisition).
    in_plane_spacing_mm : tuple of two floats
        Voxel spacing along the other two array axes, in their order.
    taper, taper_order : float
        k-space window: Tukey fraction and exponent.
    snr : float
        Mean foreground signal over the noise's standard deviation per channel; infinite for none.
    noise_seed : int
        Seed of the noise.
    artefacts : ArtefactParameters
    """

    slice_axis: int = 0
    slice_spacing_mm: float = 5.0
    slice_fwhm_mm: float = 5.0
    slice_flatness: float = 0.3
    slice_encoding: str = "slice"
    in_plane_spacing_mm: tuple[float, float] = (1.6, 1.6)
    taper: float = 1.0
    taper_order: float = 1.0
    snr: float = 20.0
    noise_seed: int = 0
    artefacts: ArtefactParameters = field(default_factory=ArtefactParameters)

    def __post_init__(self) -> None:
        if self.slice_axis not in (0, 1, 2):
            raise ParameterError(f"slice axis {self.slice_axis} is not 0, 1 or 2", "name an array axis")
        if self.slice_encoding not in ("slice", "kspace"):
            raise ParameterError(f"slice encoding '{self.slice_encoding}' is unknown", "choose 'slice' or 'kspace'")
        if len(self.in_plane_spacing_mm) != 2:
            raise ParameterError(
                f"in-plane spacing {self.in_plane_spacing_mm} is not two numbers", "give two numbers in mm"
            )
        for name in ("slice_spacing_mm", "slice_fwhm_mm", "snr"):
            if not getattr(self, name) > 0:
                raise ParameterError(f"{name} is {getattr(self, name)}", "give a positive number")
        if min(self.in_plane_spacing_mm) <= 0:
            raise ParameterError(f"in-plane spacing {self.in_plane_spacing_mm} mm", "give positive numbers")

    @property
    def spacing_kji_mm(self) -> tuple[float, float, float]:
        """Requested spacing along the array axes (K, J, I)."""
        spacing = list(self.in_plane_spacing_mm)
        spacing.insert(self.slice_axis, self.slice_spacing_mm)
        return spacing[0], spacing[1], spacing[2]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return values | {"artefacts": self.artefacts.to_dict(), "in_plane_spacing_mm": list(self.in_plane_spacing_mm)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AcquisitionParameters:
        """Build from :meth:`to_dict`."""
        ready = dict(values)
        if "artefacts" in ready:
            ready["artefacts"] = ArtefactParameters.from_dict(ready["artefacts"])
        return build_parameters(cls, ready)


@dataclass(frozen=True)
class LowFieldParameters:
    """Every draw of one simulated low-field scan.

    Attributes
    ----------
    acquisition : AcquisitionParameters
    tone_curve : ToneCurveParameters or None
        Change of contrast; None keeps it.
    bias_field : BiasFieldParameters or None
        Coil inhomogeneity; None adds none.
    """

    acquisition: AcquisitionParameters = field(default_factory=AcquisitionParameters)
    tone_curve: ToneCurveParameters | None = None
    bias_field: BiasFieldParameters | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {
            "acquisition": self.acquisition.to_dict(),
            "tone_curve": self.tone_curve.to_dict() if self.tone_curve else None,
            "bias_field": self.bias_field.to_dict() if self.bias_field else None,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LowFieldParameters:
        """Build from :meth:`to_dict`."""
        ready = dict(values)
        if ready.get("acquisition") is not None:
            ready["acquisition"] = AcquisitionParameters.from_dict(ready["acquisition"])
        if ready.get("tone_curve") is not None:
            ready["tone_curve"] = ToneCurveParameters.from_dict(ready["tone_curve"])
        if ready.get("bias_field") is not None:
            ready["bias_field"] = BiasFieldParameters.from_dict(ready["bias_field"])
        return build_parameters(cls, ready)


def sample_acquisition(
    rng: np.random.Generator, spacing_kji_mm: np.ndarray, general: float = 0.3
) -> AcquisitionParameters:
    """Draw an acquisition.

    Parameters
    ----------
    rng : numpy Generator
    spacing_kji_mm : ndarray, shape (3,)
        Spacing of the image to be degraded along its array axes; no measured voxel is smaller.
    general : float
        Share of draws from the wide domain (slices 2–9 mm, in plane 1–2.2 mm, any taper); the others follow
        portable scanners (slices 4–6 mm, in plane 1.4–1.8 mm) or clinical thick slices (in plane about 1 mm).
    """
    axis = int(rng.integers(3))
    kind = rng.random()
    if kind < general:
        thick, fine = rng.uniform(2.0, 9.0), rng.uniform(1.0, 2.2)
    elif kind < general + 0.25:
        thick, fine = rng.uniform(4.0, 6.0), rng.uniform(0.9, 1.15)
    else:
        thick, fine = rng.uniform(4.0, 6.0), rng.uniform(1.4, 1.8)
    other = fine * (rng.uniform(0.85, 1.2) if rng.random() < 0.2 else 1.0)
    floor = np.delete(np.asarray(spacing_kji_mm, float), axis)
    strong_taper = rng.random() < 0.6
    return AcquisitionParameters(
        slice_axis=axis,
        slice_spacing_mm=max(float(thick), float(spacing_kji_mm[axis])),
        slice_fwhm_mm=float(thick * rng.uniform(0.8, 1.15)),
        slice_flatness=float(rng.uniform(0.0, 1.0)),
        slice_encoding="kspace" if rng.random() < 0.25 else "slice",
        in_plane_spacing_mm=(max(float(fine), float(floor[0])), max(float(other), float(floor[1]))),
        taper=float(rng.uniform(0.7, 1.0) if strong_taper else rng.uniform(0.2, 0.7)),
        taper_order=float(rng.uniform(0.8, 1.4)) if strong_taper else 1.0,
        snr=float(np.exp(rng.uniform(np.log(8.0), np.log(45.0)))),
        noise_seed=int(rng.integers(2**31)),
        artefacts=sample_artefacts(rng, 0.1, axis),
    )


def encode(
    array: np.ndarray, spacing_kji_mm: np.ndarray, shape: tuple[int, int, int], acq: AcquisitionParameters
) -> np.ndarray:
    """Return the noise-free signal on the measured grid.

    Parameters
    ----------
    array : ndarray, shape (K, J, I)
        Object; also a torch tensor.
    spacing_kji_mm : ndarray, shape (3,)
        Its spacing along the array axes.
    shape : tuple of int
        Measured shape (K, J, I), about the same centre.
    acq : AcquisitionParameters
    """
    result = array
    # the strongest reduction first: the others then touch fewer voxels
    for axis in sorted(range(3), key=lambda a: shape[a] / array.shape[a]):
        n_in, fine, n_out, coarse = (
            array.shape[axis],
            float(spacing_kji_mm[axis]),
            shape[axis],
            acq.spacing_kji_mm[axis],
        )
        if axis == acq.slice_axis and acq.slice_encoding == "slice":
            matrix = slice_matrix(n_in, fine, n_out, coarse, acq.slice_fwhm_mm, acq.slice_flatness)
        else:
            matrix = kspace_matrix(n_in, fine, n_out, coarse, acq.taper, acq.taper_order)
        result = apply_along(result, matrix, axis)
    return result


def acquire(volume: Volume, acq: AcquisitionParameters) -> Volume:
    """Measure a volume: encoding, artefacts, complex noise, magnitude.

    Parameters
    ----------
    volume : Volume
        Non-negative magnitude image; negative values (interpolation) are measured as they are.
    acq : AcquisitionParameters

    Returns
    -------
    Volume
        float32 on the measured grid: same centre and directions, ``acq`` spacing.

    Raises
    ------
    ParameterError
        If a requested voxel is smaller than the input's.
    """
    spacing_kji = volume.grid.spacing_mm[::-1]
    requested = np.array(acq.spacing_kji_mm)
    if np.any(requested < spacing_kji * (1 - 1e-3)):
        raise ParameterError(
            f"measured spacing {tuple(np.round(requested, 3).tolist())} mm is finer than the image's "
            f"{tuple(np.round(spacing_kji, 3).tolist())} mm (slices, rows, columns)",
            "ask for larger voxels or start from a finer image",
        )
    grid = volume.grid.with_spacing(requested[::-1].tolist())
    signal = encode(volume.array.astype(np.float32), spacing_kji, grid.shape, acq)
    level = float(signal[foreground_mask(signal)].mean())
    signal = apply_artefacts(signal, acq.artefacts, level)
    if np.isfinite(acq.snr):
        rng = np.random.default_rng(acq.noise_seed)
        tapers = [None if a == acq.slice_axis and acq.slice_encoding == "slice" else acq.taper for a in range(3)]
        sigma = np.float32(abs(level) / acq.snr)
        real, imaginary = (sigma * coloured_noise(rng, grid.shape, tapers, acq.taper_order) for _ in range(2))
        signal = rician_magnitude(signal, real, imaginary)
    return Volume(signal, grid, volume.name, volume.metadata)


def change_appearance(volume: Volume, parameters: LowFieldParameters) -> Volume:
    """Apply the tone curve and the bias field; float32, same grid."""
    array = volume.array.astype(np.float32)
    if parameters.tone_curve is not None:
        array = apply_tone_curve(array, parameters.tone_curve)
    if parameters.bias_field is not None:
        array = apply_bias_field(array, parameters.bias_field)
    return volume.with_array(array)


@DEGRADATIONS.register("lowfield")
class LowField:
    """Simulated 64 mT scan of a 1 mm image."""

    @staticmethod
    def sample(rng: np.random.Generator, volume: Volume) -> LowFieldParameters:
        """Draw a low-field scan of a volume: portable-scanner resolution, mild contrast change and bias field."""
        return LowFieldParameters(
            acquisition=sample_acquisition(rng, volume.grid.spacing_mm[::-1], general=0.0),
            tone_curve=sample_tone_curve(rng, strength=0.4, gamma_sd=0.15),
            bias_field=sample_bias_field(rng, 0.2),
        )

    @staticmethod
    def apply(volume: Volume, parameters: LowFieldParameters) -> Volume:
        """Return the low-field scan on its own grid, float32; see :func:`acquire`."""
        return acquire(change_appearance(volume, parameters), parameters.acquisition)

    @staticmethod
    def parameters_from_dict(values: Mapping[str, Any]) -> LowFieldParameters:
        """Build parameters from their dictionary."""
        return LowFieldParameters.from_dict(values)
