"""What a classical method is: a named function from a volume and a grid to a volume on that grid."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.core.intensity import IntensityScale
from MRHarmonizationLib.core.registry import Registry
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

#: Where a denoiser works: on the acquired voxels, or on the interpolated ones.
STAGES = ("before", "after")


class _Upsampler(Protocol):
    def __call__(self, volume: Volume, grid: Grid, **parameters: Any) -> Volume: ...


@dataclass(frozen=True)
class UpsampleMethod:
    """A classical upsampling method.

    Attributes
    ----------
    name : str
    summary : str
        One line.
    defaults : mapping
        Every parameter with the value used when it is not given.
    parameter_grid : mapping of str to sequence
        Values to try when tuning; parameters that are absent keep their default.
    function : callable
        ``function(volume, grid, **parameters) -> Volume`` with every parameter given.
    """

    name: str
    summary: str
    defaults: Mapping[str, Any]
    parameter_grid: Mapping[str, Sequence[Any]]
    function: _Upsampler

    def apply(self, volume: Volume, grid: Grid, **parameters: Any) -> Volume:
        """Bring a volume to a grid.

        Parameters
        ----------
        volume : Volume
            Any orientation and spacing; not changed.
        grid : Grid
            Where values are wanted.
        **parameters
            Names from :attr:`defaults`.

        Returns
        -------
        Volume
            float32 on ``grid``, in the input's intensity range.

        Raises
        ------
        ParameterError
            Unknown parameter name.
        """
        unknown = sorted(set(parameters) - set(self.defaults))
        if unknown:
            raise ParameterError(
                f"method '{self.name}' has no parameter {', '.join(map(repr, unknown))}",
                f"use: {', '.join(self.defaults) or 'none'}",
            )
        return self.function(volume, grid, **{**self.defaults, **parameters})

    def candidates(self) -> Iterator[dict[str, Any]]:
        """Iterate over every parameter combination of :attr:`parameter_grid`."""
        names = list(self.parameter_grid)
        for values in itertools.product(*(self.parameter_grid[name] for name in names)):
            yield dict(zip(names, values, strict=True))


#: Every classical method by name; filled by the files of this folder.
METHODS: Registry[UpsampleMethod] = Registry("method", "MRHarmonizationLib.methods")


def upsample_method(
    name: str,
    summary: str,
    defaults: Mapping[str, Any] | None = None,
    parameter_grid: Mapping[str, Sequence[Any]] | None = None,
) -> Any:
    """Return a decorator that turns a function into a registered :class:`UpsampleMethod`; see its attributes."""

    def build(function: _Upsampler) -> UpsampleMethod:
        made = UpsampleMethod(
            name,
            summary,
            MappingProxyType(dict(defaults or {})),
            MappingProxyType(dict(parameter_grid or {})),
            function,
        )
        object.__setattr__(made, "__doc__", function.__doc__)
        return METHODS.register(name)(made)

    return build


def estimate_noise_deviation(array: np.ndarray, thick_axis: int) -> float:
    """Estimate the noise standard deviation of acquired voxels, plane by plane.

    Parameters
    ----------
    array : ndarray, shape (K, J, I)
        Image on its acquired grid.
    thick_axis : int
        Slice axis in (i, j, k) order, as ``Grid.thick_axis``; the estimate is made in the planes across it.

    Returns
    -------
    float
        Image units; the median over planes that hold signal. Air with exact zeros does not count.

    Source
    ------
    Donoho & Johnstone, Biometrika 81:425 (1994), doi 10.1093/biomet/81.3.425: median absolute deviation of the
    diagonal second differences (here of foreground voxels only; wavelets of the whole plane also see zero padding).
    """
    from scipy import ndimage

    from MRHarmonizationLib.core.masks import foreground_mask

    mask = foreground_mask(array)
    axes = [axis for axis in range(3) if axis != 2 - thick_axis]
    filtered = array.astype(np.float64)
    for axis in axes:
        filtered = ndimage.correlate1d(filtered, np.array([1.0, -2.0, 1.0]), axis=axis, mode="reflect")
    return float(np.median(np.abs(filtered[mask]))) / (0.6744897501960817 * 6.0)


def positive_scale(array: np.ndarray) -> IntensityScale:
    """Return the scale that maps the whole intensity range of an array to [0, 1]."""
    low, high = float(array.min()), float(array.max())
    return IntensityScale(low, high - low if high > low else 1.0)


def check_stage(stage: str) -> None:
    """Refuse a stage that is not 'before' or 'after' (upsampling)."""
    if stage not in STAGES:
        raise ParameterError(f"stage '{stage}' is unknown", f"choose one of: {', '.join(STAGES)}")
