"""Where voxels lie: a regular grid in scanner space."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import GridError, ParameterError

#: Largest cosine between two axes that still counts as orthogonal (header rounding).
ORTHOGONALITY_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Grid:
    """A regular grid of voxels: array shape and the affine to scanner space.

    Attributes
    ----------
    shape : tuple of int
        (K, J, I): slices, rows, columns, as in the array.
    affine : ndarray, shape (4, 4), float64, read-only
        Maps voxel indices (i, j, k, 1) to RAS millimetres at the voxel centre.

    Raises
    ------
    GridError
        Non-finite affine, zero spacing, sheared axes or an empty shape.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray

    def __post_init__(self) -> None:
        shape = tuple(int(n) for n in self.shape)
        affine = np.array(self.affine, dtype=np.float64)
        if len(shape) != 3 or min(shape) < 1:
            raise GridError(f"grid shape {shape} is not three positive sizes", "choose a three-dimensional volume")
        if affine.shape != (4, 4) or not np.all(np.isfinite(affine)):
            raise GridError(f"affine {affine.tolist()} is not a finite 4 x 4 matrix", "correct the image header")
        spacing = np.linalg.norm(affine[:3, :3], axis=0)
        if np.any(spacing < 1e-6):
            raise GridError(
                f"voxel spacing {tuple(np.round(spacing, 6).tolist())} mm has a zero",
                "correct the spacing in the image header",
            )
        cosines = (affine[:3, :3] / spacing).T @ (affine[:3, :3] / spacing)
        skew = float(np.max(np.abs(cosines - np.eye(3))))
        if skew > ORTHOGONALITY_TOLERANCE:
            raise GridError(
                f"axes are sheared (largest cosine between two of them {skew:.4f}, at most {ORTHOGONALITY_TOLERANCE})",
                "resample the image to an orthogonal grid first (in Slicer: Transforms, harden, then Resample)",
            )
        affine.setflags(write=False)
        object.__setattr__(self, "shape", shape)
        object.__setattr__(self, "affine", affine)

    @classmethod
    def from_parts(
        cls,
        shape: Sequence[int],
        spacing_mm: Sequence[float] = (1.0, 1.0, 1.0),
        origin_ras: Sequence[float] = (0.0, 0.0, 0.0),
        directions: np.ndarray | None = None,
    ) -> Grid:
        """Build a grid from (K, J, I) shape, (i, j, k) spacing in mm, RAS origin and unit axis columns."""
        affine = np.eye(4)
        axes = np.eye(3) if directions is None else np.asarray(directions, float)
        affine[:3, :3] = axes * np.asarray(spacing_mm, float)
        affine[:3, 3] = origin_ras
        return cls((int(shape[0]), int(shape[1]), int(shape[2])), affine)

    @property
    def size_ijk(self) -> tuple[int, int, int]:
        """Number of voxels along (i, j, k)."""
        return self.shape[2], self.shape[1], self.shape[0]

    @property
    def spacing_mm(self) -> np.ndarray:
        """Voxel spacing along (i, j, k) in mm, shape (3,)."""
        return np.asarray(np.linalg.norm(self.affine[:3, :3], axis=0))

    @property
    def origin_ras(self) -> np.ndarray:
        """Centre of voxel (0, 0, 0) in RAS mm, shape (3,)."""
        return self.affine[:3, 3].copy()

    @property
    def directions(self) -> np.ndarray:
        """Unit vectors of the i, j, k axes in RAS, as columns, shape (3, 3)."""
        return np.asarray(self.affine[:3, :3] / self.spacing_mm)

    @property
    def extent_mm(self) -> np.ndarray:
        """Field of view along (i, j, k) in mm, outer voxel edges included, shape (3,)."""
        return np.asarray(self.spacing_mm * np.array(self.size_ijk))

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel in mm³."""
        return float(np.prod(self.spacing_mm))

    @property
    def thick_axis(self) -> int:
        """Index in (i, j, k) of the axis with the largest spacing; of equal ones the last (slices)."""
        spacing = np.round(self.spacing_mm, 3)
        return int(np.flatnonzero(spacing == spacing.max())[-1])

    @property
    def axis_codes(self) -> tuple[str, str, str]:
        """Anatomical direction of (i, j, k), for example ('R', 'A', 'S')."""
        axes = closest_axes(self.directions)
        codes = []
        for column in range(3):
            row = axes[column]
            codes.append("RAS"[row] if self.directions[row, column] > 0 else "LPI"[row])
        return codes[0], codes[1], codes[2]

    def ijk_to_ras(self, points: np.ndarray) -> np.ndarray:
        """Map voxel indices (..., 3) in (i, j, k) order to RAS mm (..., 3)."""
        return np.asarray(np.asarray(points, float) @ self.affine[:3, :3].T + self.affine[:3, 3])

    def ras_to_ijk(self, points: np.ndarray) -> np.ndarray:
        """Map RAS mm (..., 3) to continuous voxel indices (..., 3) in (i, j, k) order."""
        inverse = np.linalg.inv(self.affine)
        return np.asarray(np.asarray(points, float) @ inverse[:3, :3].T + inverse[:3, 3])

    def corners_ras(self) -> np.ndarray:
        """Return the eight outer corners (voxel edges, not centres) in RAS mm, shape (8, 3)."""
        ends = [(-0.5, n - 0.5) for n in self.size_ijk]
        return self.ijk_to_ras(np.array(list(itertools.product(*ends))))

    def with_spacing(self, spacing_mm: Sequence[float]) -> Grid:
        """Return the grid of the same directions and field of view with another spacing.

        The centre of the field of view stays; the origin moves by the half-voxel difference. The size is the
        extent divided by the spacing, rounded, so the field of view changes by less than half a voxel per side.

        Parameters
        ----------
        spacing_mm : three floats
            New spacing along (i, j, k) in mm.
        """
        spacing = np.asarray(spacing_mm, float)
        if spacing.shape != (3,) or not np.all(np.isfinite(spacing)) or np.any(spacing <= 0):
            raise ParameterError(f"spacing {spacing_mm} mm is not three positive numbers", "give spacing along i, j, k")
        size = np.maximum(1, np.floor(self.extent_mm / spacing + 0.5 - 1e-6)).astype(int)
        centre = self.ijk_to_ras((np.array(self.size_ijk) - 1) / 2)
        affine = np.eye(4)
        affine[:3, :3] = self.directions * spacing
        affine[:3, 3] = centre - affine[:3, :3] @ ((size - 1) / 2)
        return Grid((int(size[2]), int(size[1]), int(size[0])), affine)

    def isotropic(self, spacing_mm: float = 1.0) -> Grid:
        """Return the grid of the same field of view with one spacing along all axes."""
        return self.with_spacing((spacing_mm,) * 3)

    def crop(self, start_kji: Sequence[int], shape: Sequence[int]) -> Grid:
        """Return the grid of a block of this one; negative starts and larger shapes pad it.

        Parameters
        ----------
        start_kji, shape : three ints
            First voxel and size in array order (k, j, i).
        """
        affine = self.affine.copy()
        affine[:3, 3] = self.ijk_to_ras(np.array([start_kji[2], start_kji[1], start_kji[0]], float))
        return Grid((int(shape[0]), int(shape[1]), int(shape[2])), affine)

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return {"shape_kji": list(self.shape), "ijk_to_ras": self.affine.tolist()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Grid:
        """Build a grid from :meth:`to_dict`."""
        k, j, i = values["shape_kji"]
        return cls((k, j, i), np.array(values["ijk_to_ras"], float))


def closest_axes(directions: np.ndarray) -> tuple[int, int, int]:
    """Assign each grid axis (column) to a different scanner axis (0 R, 1 A, 2 S), best total alignment."""
    strength = np.abs(directions)
    best = max(itertools.permutations(range(3)), key=lambda p: float(sum(strength[p[c], c] for c in range(3))))
    return best[0], best[1], best[2]


def same_grid(a: Grid, b: Grid, atol_mm: float = 1e-3) -> bool:
    """Tell whether two grids have the same shape and no corner further apart than ``atol_mm``."""
    return a.shape == b.shape and bool(np.max(np.abs(a.corners_ras() - b.corners_ras())) <= atol_mm)
