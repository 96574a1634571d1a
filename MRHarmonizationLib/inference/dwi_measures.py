"""Maps of a diffusion scan (b0, trace, MD, FA), their means per tissue, and how far they may change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from MRHarmonizationLib.core.diffusion_masks import TISSUES, tissue_masks
from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.core.tensor import fit_adc, fit_tensors
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.volume import Volume

#: Regions in which the limits hold.
LIMITED_TISSUES = ("white matter", "brain")
#: Regions of fewer voxels are not judged.
LEAST_VOXELS = 50
#: Signals below this share of a volume's mean are raised to it in the geometric mean.
_TRACE_FLOOR = 1e-3


@dataclass(frozen=True, eq=False)
class DwiMaps:
    """What is read off a scan.

    Attributes
    ----------
    b0, trace : Volume
        Mean unweighted image; geometric mean of the weighted volumes of the shell with most of them. Scan's units.
    md : Volume
        Mean diffusivity, mm²/s, 0 outside the brain; without a tensor, the apparent diffusion coefficient.
    fa : Volume or None
        Fractional anisotropy, 0 outside the brain; None where no tensor can be fitted.
    """

    b0: Volume
    trace: Volume
    md: Volume
    fa: Volume | None

    def named(self) -> dict[str, Volume]:
        """Return the maps by name, those that there are."""
        found = {"b0": self.b0, "trace": self.trace, "md": self.md, "fa": self.fa}
        return {name: volume for name, volume in found.items() if volume is not None}


@dataclass(frozen=True)
class TissueChange:
    """The mean of one measure in one tissue, before and after.

    Attributes
    ----------
    tissue : str
    measure : {'MD', 'FA', 'ADC'}
    unit : str
    voxels : int
    before, after, change : float
    change_percent : float or None
        Of ``before``; None for FA.
    limit : float or None
        Largest change allowed, percent for MD and ADC, absolute for FA; None where nothing is demanded.
    """

    tissue: str
    measure: str
    unit: str
    voxels: int
    before: float
    after: float
    change: float
    change_percent: float | None
    limit: float | None

    @property
    def holds(self) -> bool:
        """Whether the change is within its limit."""
        if self.limit is None:
            return True
        return abs(self.change if self.change_percent is None else self.change_percent) <= self.limit

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self) | {"holds": self.holds}


@dataclass(frozen=True)
class ChangeLimits:
    """How far the means in white matter and brain may change.

    Attributes
    ----------
    md_percent : float
        Of the mean diffusivity (or ADC), percent.
    fa : float
        Of the anisotropy, absolute.
    """

    md_percent: float
    fa: float


def can_fit_tensor(dwi: DwiVolume) -> bool:
    """Tell whether the scan's directions determine a tensor."""
    try:
        dwi.check_tensor()
    except InputError:
        return False
    return True


def measure_maps(dwi: DwiVolume, mask: np.ndarray, progress: Progress | None = None) -> DwiMaps:
    """Compute the maps of a scan.

    Parameters
    ----------
    dwi : DwiVolume
    mask : bool ndarray, shape (K, J, I)
        Brain: where diffusivities are fitted.
    progress : Progress, optional
    """
    md, fa = fit_measures(dwi.array, dwi, mask, progress)
    b0 = dwi.mean_b0()
    return DwiMaps(
        b0=Volume(b0.array, dwi.grid, _named(dwi, "b0")),
        trace=Volume(_trace(dwi), dwi.grid, _named(dwi, "trace")),
        md=Volume(md, dwi.grid, _named(dwi, "md")),
        fa=None if fa is None else Volume(fa, dwi.grid, _named(dwi, "fa")),
    )


def fit_measures(
    signal: np.ndarray, scheme: DwiVolume, mask: np.ndarray | None = None, progress: Progress | None = None
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return MD and FA, or ADC and None, of signals (..., N) measured like a scan."""
    if can_fit_tensor(scheme):
        fit = fit_tensors(signal, scheme.b_values_s_per_mm2, scheme.gradients_ras, mask, progress=progress)
        return fit.md_mm2_per_s, fit.fa
    return fit_adc(signal, scheme.b_values_s_per_mm2, mask, progress=progress)[0], None


def regions_of(maps: DwiMaps, mask: np.ndarray) -> dict[str, np.ndarray]:
    """Return the tissues (bool arrays by name) of a scan; the brain alone where anisotropy is not known."""
    if maps.fa is None:
        return {"brain": mask}
    return tissue_masks(maps.md.array, maps.fa.array, mask)


def tissue_changes(
    before: DwiMaps, after: DwiMaps, regions: Mapping[str, np.ndarray], limits: ChangeLimits
) -> tuple[TissueChange, ...]:
    """Return the means per tissue before and after, and the limits that hold for them.

    Parameters
    ----------
    before, after : DwiMaps
        On one grid.
    regions : mapping of str to bool ndarray, shape (K, J, I)
        Found in the scan before.
    limits : ChangeLimits
    """
    rows = []
    for name in TISSUES:
        where = regions.get(name)
        if where is None or not where.any():
            continue
        values = [
            (
                float(maps.md.array[where].mean(dtype=float)),
                None if maps.fa is None else float(maps.fa.array[where].mean(dtype=float)),
            )
            for maps in (before, after)
        ]
        rows += changes_of_means(name, int(np.count_nonzero(where)), values[0], values[1], limits)
    return tuple(rows)


def changes_of_means(
    tissue: str,
    voxels: int,
    before: tuple[float, float | None],
    after: tuple[float, float | None],
    limits: ChangeLimits,
) -> list[TissueChange]:
    """Return the rows of one tissue from its mean MD (mm²/s) and FA before and after."""
    judged = tissue in LIMITED_TISSUES and voxels >= LEAST_VOXELS
    (md_before, fa_before), (md_after, fa_after) = before, after
    change = md_after - md_before
    percent = 100.0 * change / md_before if md_before else (0.0 if change == 0 else np.inf)
    name = "ADC" if fa_before is None else "MD"
    rows = [
        TissueChange(
            tissue, name, "mm²/s", voxels, md_before, md_after, change, percent, limits.md_percent if judged else None
        )
    ]
    if fa_before is not None and fa_after is not None:
        limit = limits.fa if judged else None
        rows.append(TissueChange(tissue, "FA", "1", voxels, fa_before, fa_after, fa_after - fa_before, None, limit))
    return rows


def exceeded(rows: Sequence[TissueChange]) -> list[TissueChange]:
    """Return the changes beyond their limits."""
    return [row for row in rows if not row.holds]


def describe(row: TissueChange) -> str:
    """Return a change as words: 'FA in white matter +0.023 (limit 0.01)'."""
    if row.change_percent is None:
        return f"{row.measure} in {row.tissue} {row.change:+.4f} (limit {row.limit:g})"
    return f"{row.measure} in {row.tissue} {row.change_percent:+.2f} % (limit {row.limit:g} %)"


def _trace(dwi: DwiVolume) -> np.ndarray:
    members = max(dwi.shells().values(), key=len)
    total = np.zeros(dwi.grid.shape, np.float64)
    for n in members:
        image = np.asarray(dwi.array[..., n], np.float32)
        total += np.log(np.maximum(image, max(_TRACE_FLOOR * float(image.mean()), 1e-20)))
    return np.exp(total / len(members)).astype(np.float32)


def _named(dwi: DwiVolume, name: str) -> str:
    return f"{dwi.name}_{name}" if dwi.name else name
