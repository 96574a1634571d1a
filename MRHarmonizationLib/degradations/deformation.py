"""Random affine and smooth non-linear deformation, as sampling coordinates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.degradations.encoding import apply_along


@dataclass(frozen=True)
class DeformationParameters:
    """Where each voxel of a block is read from.

    Attributes
    ----------
    rotation_deg : tuple of three floats
        Rotations about the array axes (0, 1, 2), applied in this order.
    scale : tuple of three floats
        Step of the source, in source millimetres per block millimetre, along the block's axes.
    elastic_mm : float
        Largest displacement of a control point along one axis; the smooth field between them may exceed it by up to
        two thirds.
    elastic_knot_mm : float
        Distance of its control points.
    seed : int
        Seed of the control points.
    """

    rotation_deg: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    elastic_mm: float = 0.0
    elastic_knot_mm: float = 24.0
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> DeformationParameters:
        """Build from :meth:`to_dict`."""
        return build_parameters(cls, values)


def sample_deformation(
    rng: np.random.Generator,
    rotation_deg: float = 15.0,
    scale: tuple[float, float] = (0.85, 1.15),
    elastic_mm: float = 4.0,
    axes: Sequence[int] = (0, 1, 2),
) -> DeformationParameters:
    """Draw a deformation; rotation only about, and elastic displacement only along, what ``axes`` allows.

    Parameters
    ----------
    rng : numpy Generator
    rotation_deg : float
        Largest rotation about an axis.
    scale : (low, high)
        Range of the common scale; each axis differs from it by up to 5 %.
    elastic_mm : float
        Largest displacement of a control point.
    axes : array axes that may mix; with two of them the rotation is in their plane only.
    """
    angles = [float(rng.uniform(-rotation_deg, rotation_deg)) for _ in range(3)]
    if len(axes) == 2:
        normal = next(axis for axis in range(3) if axis not in axes)
        angles = [angle if axis == normal else 0.0 for axis, angle in enumerate(angles)]
    common = rng.uniform(*scale)
    steps = [float(common * rng.uniform(0.95, 1.05)) for _ in range(3)]
    return DeformationParameters(
        (angles[0], angles[1], angles[2]),
        (steps[0], steps[1], steps[2]),
        float(elastic_mm),
        24.0,
        int(rng.integers(2**31)),
    )


def rotation_matrix(rotation_deg: Sequence[float]) -> np.ndarray:
    """Return the 3 × 3 rotation about array axes 0, 1, 2 in this order."""
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(rotation_deg)):
        a, b = [n for n in range(3) if n != axis]
        turn = np.eye(3)
        turn[a, a] = turn[b, b] = np.cos(angle)
        turn[a, b], turn[b, a] = -np.sin(angle), np.sin(angle)
        result = turn @ result
    return result


def block_coordinates(
    shape: Sequence[int],
    centre: Sequence[float],
    spacing_mm: Sequence[float],
    parameters: DeformationParameters,
    axes: Sequence[int] = (0, 1, 2),
    block_spacing_mm: float = 1.0,
) -> np.ndarray:
    """Return the source voxel indices read by each voxel of a block.

    Parameters
    ----------
    shape : three ints
        Block shape in array order.
    centre : three floats
        Source index of the block's centre.
    spacing_mm : three floats
        Source spacing along its array axes.
    parameters : DeformationParameters
    axes : array axes along which elastic displacement is allowed.
    block_spacing_mm : float
        Spacing of the block.

    Returns
    -------
    ndarray, shape (3, *shape), float32
    """
    matrix = rotation_matrix(parameters.rotation_deg) @ np.diag(parameters.scale) * block_spacing_mm
    matrix = (matrix / np.asarray(spacing_mm, float)[:, None]).astype(np.float32)
    lines = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in shape]
    coordinates = np.empty((3, *shape), np.float32)
    rng = np.random.default_rng(parameters.seed)
    for axis in range(3):
        coordinates[axis] = np.float32(centre[axis])
        for other in range(3):
            along = lines[other] * matrix[axis, other]
            coordinates[axis] += along.reshape([-1 if a == other else 1 for a in range(3)])
        if parameters.elastic_mm > 0 and axis in axes:
            knots = [max(4, int(np.ceil(n * block_spacing_mm / parameters.elastic_knot_mm)) + 3) for n in shape]
            control = rng.uniform(-1, 1, knots).astype(np.float32) * np.float32(
                parameters.elastic_mm / spacing_mm[axis]
            )
            for direction, (n, k) in enumerate(zip(shape, knots, strict=True)):
                control = apply_along(control, _knot_matrix(int(n), k), direction)
            coordinates[axis] += control
    return coordinates


@lru_cache(maxsize=64)
def _knot_matrix(size: int, knots: int) -> np.ndarray:
    """Return the quadratic spline from control points to voxels along one axis, (size, knots) float32."""
    from scipy.ndimage import zoom

    # a spline is separable and linear: its response to unit points along one axis is all there is to know
    matrix = zoom(np.eye(knots), [size / knots, 1.0], order=2, mode="nearest", grid_mode=True)
    return np.asarray(matrix[:size], np.float32)
