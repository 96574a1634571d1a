"""Numbers shown beside a result: how much noise went and sharpness came; with a reference, how close the result is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.core.checks import check_volume_array
from MRHarmonizationLib.core.errors import GridMismatchError
from MRHarmonizationLib.core.masks import foreground_mask
from MRHarmonizationLib.inference.enhance import MEASURED, MEASURED_BLOCK_VOXELS
from MRHarmonizationLib.inference.harmonize import UNITS
from MRHarmonizationLib.methods.case_profile import profile_case
from MRHarmonizationLib.methods.reference_group import LEAST_LIMITS, ReferenceGroup
from MRHarmonizationLib.metrics.base import METRICS, default_data_range
from MRHarmonizationLib.volumes.grid import Grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

#: Shown where a reference is chosen; without one what the enhancement itself measures.
WITH_REFERENCE = ("psnr", "ssim")
#: Least part of the head that a reference must cover.
LEAST_OVERLAP = 0.05


@dataclass(frozen=True)
class BeforeAfter:
    """One metric before and after.

    Attributes
    ----------
    name, unit : str
        As in the registry of metrics.
    better : {'higher', 'lower', 'none'}
    before, after : float
    """

    name: str
    unit: str
    better: str
    before: float
    after: float

    @property
    def improved(self) -> bool:
        """Whether after is better than before."""
        return self.after > self.before if self.better == "higher" else self.after < self.before


def measure(baseline: Volume, result: Volume, reference: Volume | None = None) -> tuple[BeforeAfter, ...]:
    """Measure a result and what it was made from.

    Parameters
    ----------
    baseline, result : Volume
        On one grid: the resampled scan, and the result.
    reference : Volume, optional
        The truth; in the same frame, on any grid.

    Returns
    -------
    tuple of BeforeAfter
        PSNR and SSIM against the reference, inside the head and where both see it, on the reference's intensity range;
        without a reference noise and sharpness in a central block, on the baseline's range, as the command line does.

    Raises
    ------
    InputError
        An image cannot be measured.
    GridMismatchError
        The reference does not overlap the result.
    """
    if reference is None:
        block = tuple(_middle(size, MEASURED_BLOCK_VOXELS) for size in baseline.grid.shape)
        before, after = baseline.array[block], result.array[block]
        if np.ptp(before) == 0:
            return ()
        return _measured(MEASURED, before, after, None, None, default_data_range(before), result.grid)
    check_volume_array(reference.array, "the reference")
    mask = foreground_mask(baseline.array)
    inside = resample(reference.with_array(np.ones(reference.array.shape, np.uint8)), result.grid, "nearest", fill=0)
    covered = mask & (inside.array > 0)
    if np.count_nonzero(covered) < LEAST_OVERLAP * np.count_nonzero(mask):
        raise GridMismatchError("the reference does not overlap the result", "choose a scan of the same head")
    truth = resample(reference, result.grid).array
    data_range = default_data_range(truth, covered)
    return _measured(WITH_REFERENCE, baseline.array, result.array, truth, covered, data_range, result.grid)


def measure_distances(
    baseline: Volume, result: Volume, group: ReferenceGroup, inside: np.ndarray | None = None
) -> tuple[BeforeAfter, ...]:
    """Measure how unlike a reference group a standardised scan is, and was.

    Parameters
    ----------
    baseline, result : Volume
        On one grid: the scan, and the result.
    group : ReferenceGroup
    inside : ndarray, shape (K, J, I), optional
        Nonzero where intensities are measured; the object's inside if omitted.

    Returns
    -------
    tuple of BeforeAfter
        'distance_histogram', 'distance_edges', 'distance_spectrum', as the command line measures them.

    Raises
    ------
    InputError
        An image cannot be measured.
    """
    before, after = (group.distance(profile_case(volume, inside, group.contrast)) for volume in (baseline, result))
    return tuple(
        BeforeAfter(f"distance_{name}", UNITS[name], "lower", getattr(before, name), getattr(after, name))
        for name in LEAST_LIMITS
    )


def _measured(
    names: tuple[str, ...],
    before: np.ndarray,
    after: np.ndarray,
    truth: np.ndarray | None,
    mask: np.ndarray | None,
    data_range: float,
    grid: Grid,
) -> tuple[BeforeAfter, ...]:
    i, j, k = (float(value) for value in grid.spacing_mm)
    found = []
    for name in names:
        metric = METRICS.get(name)
        first, second = (metric(array, truth, mask, data_range, (i, j, k)).value for array in (before, after))
        found.append(BeforeAfter(name, metric.unit, metric.better, first, second))
    return tuple(found)


def _middle(size: int, wanted: int) -> slice:
    start = max(0, (size - wanted) // 2)
    return slice(start, start + wanted)
