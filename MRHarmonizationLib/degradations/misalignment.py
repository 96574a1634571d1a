"""Misalignment of two scans of one head: a small rigid motion and a smooth distortion between them.

Two acquisitions are never at the same place: people move, gradients and susceptibility distort. A network that learns
from such pairs learns the mean over all places, which is blurred.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import DEGRADATIONS, build_parameters
from MRHarmonizationLib.degradations.deformation import DeformationParameters, block_coordinates, rotation_matrix
from MRHarmonizationLib.volumes.volume import Volume

#: Largest misalignment that can be drawn, mm, and that of a draw that names none.
LARGEST_MM, DEFAULT_MM = 3.0, 1.0
#: Shares of a misalignment of 1 mm: length of the translation (mm), largest angle (degrees; 1° moves the rim of a head
#: by 1.5 mm), largest displacement of a control point of the distortion (mm).
TRANSLATION, ROTATION, ELASTIC = (0.6, 1.0), 0.4, 0.6
#: Distance of the control points, mm.
KNOT_MM = 24.0


@dataclass(frozen=True)
class MisalignmentParameters:
    """Where a scan is seen instead of where it is.

    Attributes
    ----------
    translation_mm : tuple of three floats
        How far what is shown moves along the array axes (K, J, I).
    rotation_deg : tuple of three floats
        By which it turns about the array axes (0, 1, 2), in this order, about the centre of the volume.
    elastic_mm : float
        Largest displacement of a control point along one axis.
    elastic_knot_mm : float
        Distance of the control points along the finest axis; along others they are as many voxels apart.
    seed : int
        Of the control points.
    axes : tuple of int
        Array axes along which the distortion may displace.
    """

    translation_mm: tuple[float, float, float] = (0.0, 0.0, 0.0)
    rotation_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    elastic_mm: float = 0.0
    elastic_knot_mm: float = KNOT_MM
    seed: int = 0
    axes: tuple[int, ...] = (0, 1, 2)

    def __post_init__(self) -> None:
        if not all(np.isfinite((*self.translation_mm, *self.rotation_deg, self.elastic_mm))):
            raise ParameterError(f"misalignment {self} is not finite", "give numbers")
        if self.elastic_mm < 0 or not self.elastic_knot_mm > 0:
            raise ParameterError(
                f"elastic_mm is {self.elastic_mm}, elastic_knot_mm {self.elastic_knot_mm}", "give 0 or more, and more"
            )
        if not set(self.axes) <= {0, 1, 2}:
            raise ParameterError(f"axes are {self.axes}", "give some of 0, 1, 2")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        values = asdict(self)
        return values | {name: list(values[name]) for name in ("translation_mm", "rotation_deg", "axes")}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> MisalignmentParameters:
        """Build from :meth:`to_dict`."""
        return build_parameters(cls, values)


def sample_misalignment(
    rng: np.random.Generator, level_mm: float, axes: Sequence[int] = (0, 1, 2)
) -> MisalignmentParameters:
    """Draw a misalignment whose root mean square displacement in a head is about ``level_mm``.

    Parameters
    ----------
    rng : numpy Generator
    level_mm : float
        0 to :data:`LARGEST_MM`.
    axes : sequence of int
        Array axes along which anything moves; with two of them, all happens within the planes they span.

    Raises
    ------
    ParameterError
        The level lies outside its range.
    """
    if not 0.0 <= level_mm <= LARGEST_MM:
        raise ParameterError(f"misalignment is {level_mm} mm", f"give 0 to {LARGEST_MM:g}")
    direction = np.array([float(rng.normal()) if axis in axes else 0.0 for axis in range(3)])
    length = level_mm * float(rng.uniform(*TRANSLATION))
    direction *= length / max(float(np.linalg.norm(direction)), 1e-12)
    angles = [float(rng.uniform(-ROTATION, ROTATION)) * level_mm for _ in range(3)]
    if len(axes) < 3:
        angles = [angle if axis not in axes and len(axes) == 2 else 0.0 for axis, angle in enumerate(angles)]
    return MisalignmentParameters(
        (float(direction[0]), float(direction[1]), float(direction[2])),
        (angles[0], angles[1], angles[2]),
        ELASTIC * level_mm,
        KNOT_MM,
        int(rng.integers(2**31)),
        tuple(axes),
    )


def misaligned_places(
    shape: Sequence[int], spacing_kji_mm: Sequence[float], parameters: MisalignmentParameters
) -> np.ndarray:
    """Return the voxel index at which each voxel of the misaligned scan is read in the scan as it is.

    A point p of the scan is shown at R·p + t, about the centre of the volume, and then displaced by the distortion;
    voxels are therefore read at R⁻¹·(q + e(q) − t).

    Parameters
    ----------
    shape : three ints
        (K, J, I).
    spacing_kji_mm : three floats
    parameters : MisalignmentParameters

    Returns
    -------
    ndarray, shape (3, K, J, I), float32
    """
    spacing = np.asarray(spacing_kji_mm, float)
    finest, centre = float(spacing.min()), (np.asarray(shape, float) - 1) / 2
    distortion = DeformationParameters(
        (0.0, 0.0, 0.0),
        tuple(float(s) / finest for s in spacing),  # type: ignore[arg-type]
        parameters.elastic_mm,
        parameters.elastic_knot_mm,
        parameters.seed,
    )
    places = block_coordinates(shape, centre.tolist(), spacing.tolist(), distortion, parameters.axes, finest)
    back = rotation_matrix(parameters.rotation_deg).T
    matrix = back * spacing[None, :] / spacing[:, None]
    shift = back @ np.asarray(parameters.translation_mm, float) / spacing
    offsets = places - centre.astype(np.float32).reshape(3, 1, 1, 1)
    turned = np.tensordot(matrix.astype(np.float32), offsets, 1)
    return np.asarray(turned + (centre - shift).astype(np.float32).reshape(3, 1, 1, 1), np.float32)


def misalign(array: np.ndarray, spacing_kji_mm: Sequence[float], parameters: MisalignmentParameters) -> np.ndarray:
    """Return an image (K, J, I) as it is seen misaligned, float32, by cubic splines; it goes on with its last voxels.

    The range of intensities is not left.
    """
    from scipy.ndimage import map_coordinates

    image = np.asarray(array, np.float32)
    places = misaligned_places(image.shape, spacing_kji_mm, parameters)
    moved = map_coordinates(image, places, order=3, mode="nearest")
    return np.clip(moved, float(image.min()), float(image.max())).astype(np.float32)


@DEGRADATIONS.register("misalignment")
class Misalignment:
    """The same scan a little out of place, as a second acquisition would show it."""

    @staticmethod
    def sample(
        rng: np.random.Generator, volume: Volume, level_mm: float = DEFAULT_MM, axes: Sequence[int] = (0, 1, 2)
    ) -> MisalignmentParameters:
        """Draw a misalignment of about ``level_mm``; see :func:`sample_misalignment`."""
        return sample_misalignment(rng, level_mm, axes)

    @staticmethod
    def apply(volume: Volume, parameters: MisalignmentParameters) -> Volume:
        """Return the scan out of place, float32, same grid."""
        spacing = [float(s) for s in volume.grid.spacing_mm[::-1]]
        return volume.with_array(misalign(volume.array, spacing, parameters))

    @staticmethod
    def parameters_from_dict(values: Mapping[str, Any]) -> MisalignmentParameters:
        """Build parameters from their dictionary."""
        return MisalignmentParameters.from_dict(values)
