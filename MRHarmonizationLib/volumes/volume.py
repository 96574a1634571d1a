"""An image with its geometry."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np

from MRHarmonizationLib.core.errors import GridMismatchError, InputError
from MRHarmonizationLib.volumes.grid import Grid


@dataclass(frozen=True, eq=False)
class Volume:
    """A three-dimensional image: values and the grid they lie on.

    Attributes
    ----------
    array : ndarray, shape (K, J, I), real, read-only
        Voxel values; a view of what was passed, or of a copy if that was not contiguous.
    grid : Grid
    name : str
    metadata : mapping of str to str
        What the file said of the scan (modality, sequence, echo time with unit in the key).
    """

    array: np.ndarray
    grid: Grid
    name: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        array = np.asarray(self.array)
        if array.dtype.kind not in "fiub":
            raise InputError(
                f"volume values are of type {array.dtype}; expected real numbers", "use the magnitude image"
            )
        if array.shape != self.grid.shape:
            raise GridMismatchError(
                f"array shape {array.shape} differs from the grid's {self.grid.shape}",
                "pass the array in (K, J, I) order",
            )
        view = np.ascontiguousarray(array).view()
        view.setflags(write=False)
        object.__setattr__(self, "array", view)
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    def with_array(self, array: np.ndarray, name: str | None = None) -> Volume:
        """Return a volume on the same grid with other values of shape (K, J, I)."""
        return Volume(array, self.grid, self.name if name is None else name, self.metadata)

    def digest(self) -> str:
        """Return ``sha256:<hex>`` over type, shape, affine (rounded to 1e-6 mm) and values."""
        state = hashlib.sha256()
        state.update(f"{self.array.dtype.newbyteorder('<').str}{self.grid.shape}".encode())
        state.update((np.round(self.grid.affine, 6) + 0.0).astype("<f8").tobytes())
        state.update(self.array.astype(self.array.dtype.newbyteorder("<"), copy=False).data)
        return f"sha256:{state.hexdigest()}"
