"""What a metric is: a checked function whose result says value, unit, direction, mask, data range and voxels."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.registry import Registry

Better = Literal["higher", "lower", "none"]
Operand = Literal["images", "lesions", "labels"]
Spacing = tuple[float, float, float]
#: What a metric function returns: the value and what else is worth recording.
Outcome = tuple[float, dict[str, Any]]

#: Percentiles of the reference inside the mask whose distance is the data range of PSNR, SSIM and NRMSE.
RANGE_PERCENTILES = (0.5, 99.5)
#: Median absolute deviation of a normal distribution, in standard deviations.
MAD_OF_NORMAL = 0.6744897501960817
ISOTROPIC_MM: Spacing = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Measurement:
    """One measured number and everything needed to read it.

    Attributes
    ----------
    name : str
        Name of the metric in the registry.
    value : float
    unit : str
        "1" for a plain ratio.
    better : {'higher', 'lower', 'none'}
    voxels : int
        Voxels inside the mask.
    data_range : float or None
        Intensity range the value refers to, in image units; None where no range is used.
    mask : str
        What was measured: "all voxels", or the name of the mask.
    detail : mapping
        Further numbers, JSON-ready.
    """

    name: str
    value: float
    unit: str
    better: Better
    voxels: int
    data_range: float | None = None
    mask: str = "all voxels"
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "detail", MappingProxyType(dict(self.detail)))

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for strict JSON; numbers that are not finite become their names ("inf", "nan")."""
        return {
            "name": self.name,
            "value": _strict(self.value),
            "unit": self.unit,
            "better": self.better,
            "voxels": self.voxels,
            "data_range": self.data_range,
            "mask": self.mask,
            "detail": _strict(self.detail),
        }

    def __str__(self) -> str:
        return f"{self.name} {self.value:.4g}{'' if self.unit == '1' else ' ' + self.unit}"


@dataclass(frozen=True)
class Metric:
    """A metric: a function of checked arrays, and what its value means.

    Instances are called like functions. ``needs_reference`` tells whether a second image is wanted, ``operates_on``
    what the arrays hold: two grey images, two grey images with a lesion mask, or two binary label arrays.

    Attributes
    ----------
    name, unit : str
    better : {'higher', 'lower', 'none'}
    needs_reference : bool
    operates_on : {'images', 'lesions', 'labels'}
    perfect : float or None
        Value of an image compared with itself; None where that says nothing.
    uses_data_range : bool
    function : callable
        ``function(image, reference, mask, data_range, spacing_mm) -> (value, detail)`` on float64 arrays and a
        boolean mask; ``reference`` is the image itself where none is needed.
    on_request : bool
        True for metrics that take more than about a second for a head of 181 x 217 x 181 voxels, or that show a
        further side of what another metric measures; whoever measures "everything" leaves them out unless asked.
    """

    name: str
    unit: str
    better: Better
    needs_reference: bool
    operates_on: Operand
    perfect: float | None
    uses_data_range: bool
    function: Callable[[np.ndarray, np.ndarray, np.ndarray, float, Spacing], Outcome]
    on_request: bool = False

    def __call__(
        self,
        image: np.ndarray,
        reference: np.ndarray | None = None,
        mask: np.ndarray | None = None,
        data_range: float | None = None,
        spacing_mm: Spacing = ISOTROPIC_MM,
        mask_name: str = "mask",
    ) -> Measurement:
        """Measure an image.

        Parameters
        ----------
        image : ndarray, shape (K, J, I)
            Real, finite; not changed.
        reference : ndarray, shape (K, J, I), optional
            Required where ``needs_reference``.
        mask : ndarray, shape (K, J, I), optional
            Nonzero where to measure; every voxel when omitted. The lesion mask where ``operates_on`` is 'lesions'.
        data_range : float, optional
            Positive, image units; :func:`default_data_range` when omitted.
        spacing_mm : three floats
            Voxel spacing along (i, j, k), the order of ``Grid.spacing_mm``.
        mask_name : str
            How the mask is called in the result.

        Returns
        -------
        Measurement

        Raises
        ------
        InputError
            Shapes differ, values not finite or not real, empty mask.
        ParameterError
            A needed reference or lesion mask is missing, or the data range is not positive.
        """
        first = _checked(image, "image")
        if self.needs_reference and reference is None:
            raise ParameterError(f"metric '{self.name}' was called without a reference", "pass reference=")
        if self.operates_on == "lesions" and mask is None:
            raise ParameterError(f"metric '{self.name}' was called without a lesion mask", "pass mask=")
        second = first if reference is None else _checked(reference, "reference", first.shape)
        inside = np.ones(first.shape, bool) if mask is None else _checked_mask(mask, first.shape)
        value_range = math.nan
        if self.uses_data_range:
            value_range = default_data_range(second, inside) if data_range is None else float(data_range)
            if not (math.isfinite(value_range) and value_range > 0):
                raise ParameterError(f"data range {value_range:g} is not positive", "pass the range of the reference")
        spacing = (float(spacing_mm[0]), float(spacing_mm[1]), float(spacing_mm[2]))
        if not all(math.isfinite(s) and s > 0 for s in spacing):
            raise ParameterError(f"spacing {spacing} mm is not three positive numbers", "give spacing along i, j, k")
        value, detail = self.function(first, second, inside, value_range, spacing)
        return Measurement(
            name=self.name,
            value=float(value),
            unit=self.unit,
            better=self.better,
            voxels=int(np.count_nonzero(inside)),
            data_range=value_range if self.uses_data_range else None,
            mask="all voxels" if mask is None else mask_name,
            detail=detail,
        )


#: Every metric by name; filled by the files of this folder.
METRICS: Registry[Metric] = Registry("metric", "MRHarmonizationLib.metrics")


def metric(
    name: str,
    unit: str,
    better: Better,
    *,
    needs_reference: bool = True,
    operates_on: Operand = "images",
    perfect: float | None = None,
    uses_data_range: bool = False,
    on_request: bool = False,
) -> Callable[[Callable[[np.ndarray, np.ndarray, np.ndarray, float, Spacing], Outcome]], Metric]:
    """Return a decorator that turns a function into a registered :class:`Metric`; see its attributes."""

    def build(function: Callable[[np.ndarray, np.ndarray, np.ndarray, float, Spacing], Outcome]) -> Metric:
        made = Metric(name, unit, better, needs_reference, operates_on, perfect, uses_data_range, function, on_request)
        object.__setattr__(made, "__doc__", function.__doc__)
        return METRICS.register(name)(made)

    return build


def default_data_range(reference: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Return the 99.5th minus the 0.5th percentile of a reference inside a mask.

    One hot voxel moves a min-max range by factors, hence PSNR by many dB; percentiles do not. The range must come from
    the reference alone and stay fixed for all candidates.

    Parameters
    ----------
    reference : ndarray, shape (K, J, I)
    mask : ndarray, shape (K, J, I), optional

    Returns
    -------
    float
        Image units.

    Raises
    ------
    InputError
        The reference is constant inside the mask.
    """
    values = reference[np.asarray(mask, bool)] if mask is not None else reference.reshape(-1)
    low, high = np.percentile(values, RANGE_PERCENTILES)
    if not high > low:
        raise InputError(
            f"the reference's {RANGE_PERCENTILES[0]} and {RANGE_PERCENTILES[1]} % percentiles inside the mask are "
            f"both {low:g}",
            "choose a mask with anatomy, or pass data_range=",
        )
    return float(high - low)


def _strict(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _strict(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(entry) for entry in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _checked(array: np.ndarray, name: str, shape: tuple[int, ...] | None = None) -> np.ndarray:
    if array.ndim != 3:
        raise InputError(
            f"{name} has {array.ndim} dimensions, shape {array.shape}; expected (K, J, I)", "pass a volume"
        )
    if array.dtype.kind not in "fiub":
        raise InputError(f"{name} has values of type {array.dtype}; expected real numbers", "use the magnitude image")
    if shape is not None and array.shape != shape:
        raise InputError(f"{name} shape {array.shape} differs from the image's {shape}", "resample one on the other")
    result = array.astype(np.float64)
    bad = int(result.size - np.count_nonzero(np.isfinite(result)))
    if bad:
        raise InputError(f"{name} has {bad} of {result.size} values that are NaN or infinite", "replace them first")
    return result


def _checked_mask(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if mask.shape != shape:
        raise InputError(f"mask shape {mask.shape} differs from the image's {shape}", "resample the mask (nearest)")
    inside = np.asarray(mask != 0)
    if not inside.any():
        raise InputError(f"the mask of {mask.size} voxels is empty", "choose a mask with at least one voxel")
    return inside
