"""How good a scan is by itself: noise, sharpness, artefacts, bias field, perceived quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType

import numpy as np

from MRHarmonizationLib.core.regions import inner_region, thinning_steps
from MRHarmonizationLib.methods.base import METHODS
from MRHarmonizationLib.metrics.base import METRICS, default_data_range
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.volume import Volume

#: Scores and what counts as good.
BETTER: Mapping[str, str] = MappingProxyType(
    {"noise": "lower", "sharpness": "higher", "artefact": "lower", "bias": "lower", "piqe": "lower"}
)
#: Edge of the central block in which noise and sharpness are measured, and planes that PIQE looks at.
BLOCK_VOXELS, PIQE_PLANES = 112, 12
#: Smooth things (bias field, structure in the air) are measured on images thinned to about this many voxels.
SMOOTH_VOXELS = 150_000
#: Air nearer to the object than this is blurred into it, mm; what is left after smoothing by the second is no noise.
AIR_DISTANCE_MM, AIR_SIGMA_MM = 6.0, 3.0


@dataclass(frozen=True)
class CaseQuality:
    """Scores of one scan.

    Attributes
    ----------
    noise : float
        Standard deviation in % of the intensity range.
    sharpness : float
        Steepness of edges, 1/mm.
    artefact : float
        Structure in the air (ghosts, wrap, stripes): deviation of the smoothed air in % of the intensity range; 0 where
        there is no air or it was set to one value.
    bias : float
        Deviation of the logarithm of the N4 field inside the object, in %.
    piqe : float
        0 (best) to 100; see the metric ``piqe``.
    """

    noise: float
    sharpness: float
    artefact: float
    bias: float
    piqe: float

    def to_dict(self) -> dict[str, float]:
        """Return a JSON-ready dictionary, rounded."""
        return {name: round(float(value), 5) for name, value in asdict(self).items()}


def judge_case(volume: Volume) -> CaseQuality:
    """Measure the quality of a scan.

    Parameters
    ----------
    volume : Volume
        Finite, not constant; a single slice too.

    Raises
    ------
    InputError
        The inside of the object is constant.
    """
    array = volume.array.astype(np.float64)
    thin = thinning_steps(array.shape, SMOOTH_VOXELS)
    spacing = tuple(float(s) * part.step for s, part in zip(volume.grid.spacing_mm[::-1], thin, strict=True))
    few = array[thin]
    inside = inner_region(few, spacing)
    data_range = default_data_range(few, inside)
    i, j, k = (float(s) for s in volume.grid.spacing_mm)
    block = tuple(_middle(n, BLOCK_VOXELS) for n in array.shape)
    part = array[block]
    mask = inner_region(part, (k, j, i))
    scores = {
        name: METRICS.get(name)(part, mask=mask, data_range=data_range, spacing_mm=(i, j, k)).value
        for name in ("noise", "sharpness")
    }
    return CaseQuality(
        **scores,
        artefact=_artefact(few, spacing, data_range),
        bias=_bias(volume, thin, inside),
        piqe=_piqe(volume, data_range),
    )


def rank_cases(scores: Sequence[CaseQuality]) -> list[int]:
    """Return the indices of the cases, best first: by the mean of their ranks in the five scores, ties in order.

    A score that is not a number counts as the worst.
    """
    total = np.zeros(len(scores))
    for name, better in BETTER.items():
        values = np.array([getattr(score, name) for score in scores], float)
        values = np.where(np.isfinite(values), values if better == "lower" else -values, np.inf)
        total += np.array([np.count_nonzero(values < v) + 0.5 * (np.count_nonzero(values == v) - 1) for v in values])
    return [int(n) for n in np.argsort(total, kind="stable")]


def _artefact(array: np.ndarray, spacing_kji_mm: Sequence[float], data_range: float) -> float:
    from scipy import ndimage

    from MRHarmonizationLib.core.masks import foreground_mask

    mask = foreground_mask(array)
    if mask.all():
        return 0.0
    air = ndimage.distance_transform_edt(~mask, sampling=spacing_kji_mm) > AIR_DISTANCE_MM
    if np.count_nonzero(air) < 100:
        return 0.0
    sigmas = [AIR_SIGMA_MM / s if n > 1 else 0.0 for s, n in zip(spacing_kji_mm, array.shape, strict=True)]
    weight = np.maximum(ndimage.gaussian_filter(air.astype(np.float64), sigmas), 1e-6)
    smooth = ndimage.gaussian_filter(np.where(air, array, 0.0), sigmas) / weight
    return 100.0 * float(smooth[air].std()) / data_range


def _bias(volume: Volume, thin: tuple[slice, slice, slice], inside: np.ndarray) -> float:
    few = volume.array[thin].astype(np.float32)
    if min(few.shape) < 4 or few.min() < 0:
        few = few - few.min()
    if min(few.shape) < 4:
        return float("nan")
    spacing = [float(s) * part.step for s, part in zip(volume.grid.spacing_mm, thin[::-1], strict=True)]
    small = Volume(few, Grid.from_parts(few.shape, spacing))
    corrected = METHODS.get("n4_cubic").apply(small, small.grid).array
    bright = inside & (few > 0) & (corrected > 0)
    if not bright.any():
        return float("nan")
    return 100.0 * float(np.log(few[bright] / corrected[bright]).std())


def _piqe(volume: Volume, data_range: float) -> float:
    axis = 2 - volume.grid.thick_axis
    planes = np.moveaxis(volume.array, axis, 0)
    middle = planes[_middle(planes.shape[0], PIQE_PLANES)]
    if min(middle.shape[1:]) < 16 or np.ptp(middle) == 0:
        return float("nan")
    return METRICS.get("piqe")(np.ascontiguousarray(middle, np.float64), data_range=data_range).value


def _middle(size: int, wanted: int) -> slice:
    start = max(0, (size - wanted) // 2)
    return slice(start, start + wanted)
