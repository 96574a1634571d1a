"""A diffusion series: several volumes on one grid, each with its b-value and gradient direction."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from MRHarmonizationLib.core.errors import GridMismatchError, InputError, ParameterError
from MRHarmonizationLib.volumes import gradients
from MRHarmonizationLib.volumes.gradients import B0_LIMIT_S_PER_MM2
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume


@dataclass(frozen=True, eq=False)
class DwiVolume:
    """A four-dimensional diffusion scan.

    Attributes
    ----------
    array : ndarray, shape (K, J, I, N), real, read-only
        Voxel values; a view of what was passed, in whatever memory order that has.
    grid : Grid
        Of shape (K, J, I).
    b_values_s_per_mm2 : ndarray, shape (N,), float64, read-only
    gradients_ras : ndarray, shape (N, 3), float64, read-only
        Unit vectors in the scanner frame (RAS). Zero where an unweighted volume has no direction.
    name : str
    metadata : mapping of str to str or float
        What is known of the scan: ``echo_time_ms``, ``repetition_time_ms``, ``field_strength_t`` (float),
        ``manufacturer``, ``model``, ``series_description``, ``phase_encoding`` (image axis, such as ``j`` or ``j-``).

    Raises
    ------
    InputError
        Not four-dimensional or not real; b-values or directions that do not fit (see
        :func:`~MRHarmonizationLib.volumes.gradients.checked_b_values` and
        :func:`~MRHarmonizationLib.volumes.gradients.checked_gradients`).
    GridMismatchError
        Array and grid of different shapes.
    """

    array: np.ndarray
    grid: Grid
    b_values_s_per_mm2: np.ndarray
    gradients_ras: np.ndarray
    name: str = ""
    metadata: Mapping[str, str | float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.ndim != 4:
            raise InputError(
                f"diffusion values have {array.ndim} dimensions, shape {array.shape}; expected four (K, J, I, volumes)",
                "choose the whole diffusion series, not one of its volumes",
            )
        if array.dtype.kind not in "fiub":
            raise InputError(
                f"diffusion values are of type {array.dtype}; expected real numbers", "use the magnitude images"
            )
        if array.shape[:3] != self.grid.shape:
            raise GridMismatchError(
                f"array shape {array.shape} differs from the grid's {self.grid.shape}",
                "pass the array in (K, J, I, volumes) order",
            )
        b_values = gradients.checked_b_values(self.b_values_s_per_mm2, array.shape[3])
        directions = gradients.checked_gradients(self.gradients_ras, b_values)
        view = array.view()
        for values in (view, b_values, directions):
            values.setflags(write=False)
        object.__setattr__(self, "array", view)
        object.__setattr__(self, "b_values_s_per_mm2", b_values)
        object.__setattr__(self, "gradients_ras", directions)
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    @property
    def n_volumes(self) -> int:
        """Number of volumes N."""
        return int(self.array.shape[3])

    @property
    def is_b0(self) -> np.ndarray:
        """Which volumes are not diffusion-weighted (b of at most 50 s/mm²), bool (N,)."""
        return np.asarray(self.b_values_s_per_mm2 <= B0_LIMIT_S_PER_MM2)

    @property
    def n_directions(self) -> int:
        """How many different directions the weighted volumes have, opposite ones being the same."""
        return gradients.count_directions(self.gradients_ras[~self.is_b0])

    def shells(self) -> dict[int, np.ndarray]:
        """Return the weighted volumes by b-value; see :func:`~MRHarmonizationLib.volumes.gradients.find_shells`."""
        return gradients.find_shells(self.b_values_s_per_mm2)

    def check_tensor(self) -> None:
        """Make sure that a tensor can be fitted; raises InputError with the number of directions otherwise."""
        gradients.check_tensor_directions(self.gradients_ras[~self.is_b0])

    def volume(self, index: int) -> Volume:
        """Return one volume of the series, a contiguous copy.

        Raises
        ------
        ParameterError
            No volume of this index.
        """
        if not -self.n_volumes <= index < self.n_volumes:
            raise ParameterError(
                f"volume {index} of {self.n_volumes} asked for", f"choose one from 0 to {self.n_volumes - 1}"
            )
        metadata = {key: str(value) for key, value in self.metadata.items()}
        return Volume(self.array[..., index], self.grid, self.name, metadata)

    def mean_b0(self) -> Volume:
        """Return the mean of the unweighted volumes, float32."""
        indices = np.flatnonzero(self.is_b0)
        total = np.zeros(self.grid.shape, np.float64)
        for index in indices:
            total += self.array[..., index]
        mean = (total / len(indices)).astype(np.float32)
        return Volume(mean, self.grid, self.name, {key: str(value) for key, value in self.metadata.items()})

    def with_array(self, array: np.ndarray, grid: Grid | None = None, name: str | None = None) -> DwiVolume:
        """Return a series of the same weightings with other values, and, if given, on another grid.

        Parameters
        ----------
        array : ndarray, shape (K, J, I, N)
        grid : Grid, optional
            Directions stay as they are, in the scanner frame.
        name : str, optional
        """
        return DwiVolume(
            array,
            self.grid if grid is None else grid,
            self.b_values_s_per_mm2,
            self.gradients_ras,
            self.name if name is None else name,
            self.metadata,
        )

    def digest(self) -> str:
        """Return ``sha256:<hex>`` over type, shape, affine, b-values, directions (rounded to 1e-6) and values."""
        little = self.array.dtype.newbyteorder("<")
        state = hashlib.sha256(f"{little.str}{self.array.shape}".encode())
        for numbers in (self.grid.affine, self.b_values_s_per_mm2, self.gradients_ras):
            state.update((np.round(numbers, 6) + 0.0).astype("<f8").tobytes())
        for index in range(self.n_volumes):
            state.update(np.ascontiguousarray(self.array[..., index], dtype=little).data)
        return f"sha256:{state.hexdigest()}"
