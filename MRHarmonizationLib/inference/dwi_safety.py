"""How much of a harmonisation a scan bears: the largest strength at which its diffusivities hardly change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from MRHarmonizationLib.inference.dwi_measures import (
    LIMITED_TISSUES,
    ChangeLimits,
    changes_of_means,
    exceeded,
    fit_measures,
)
from MRHarmonizationLib.volumes.dwi import DwiVolume

#: Numbers that are kept of each of the two scans: voxels times volumes, whatever the number of volumes.
SAMPLE_NUMBERS = 1_500_000
#: Halvings of the interval in which the strength is looked for.
HALVINGS = 10
#: The strength is looked for within this share of the limits: the sample is not the whole tissue.
MARGIN = 0.95


@dataclass(eq=False)
class SafetySample:
    """Signals of some voxels of white matter and brain, before and after.

    Attributes
    ----------
    voxels : ndarray, shape (V,)
        Flat indices into (K, J, I).
    members : dict of str to bool ndarray, shape (V,)
        Which voxels belong to which tissue.
    sizes : dict of str to int
        Voxels of the whole tissue.
    before, after : ndarray, shape (V, N), float32
    """

    voxels: np.ndarray
    members: dict[str, np.ndarray]
    sizes: dict[str, int]
    before: np.ndarray
    after: np.ndarray

    @classmethod
    def of(cls, regions: Mapping[str, np.ndarray], volumes: int) -> SafetySample:
        """Choose evenly spaced voxels of the tissues that are judged."""
        chosen: list[np.ndarray] = []
        judged = {name: np.flatnonzero(regions[name]) for name in LIMITED_TISSUES if name in regions}
        most = max(200, SAMPLE_NUMBERS // (volumes * max(len(judged), 1)))
        for inside in judged.values():
            chosen.append(inside[:: max(1, -(-inside.size // most))])
        voxels = np.unique(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)
        members = {name: np.isin(voxels, picked) for name, picked in zip(judged, chosen, strict=True)}
        sizes = {name: int(inside.size) for name, inside in judged.items()}
        shape = (voxels.size, volumes)
        return cls(voxels, members, sizes, np.zeros(shape, np.float32), np.zeros(shape, np.float32))

    def record(self, index: int, before: np.ndarray, after: np.ndarray) -> None:
        """Keep what volume ``index``, shape (K, J, I), was and became."""
        self.before[:, index] = before.reshape(-1)[self.voxels]
        self.after[:, index] = after.reshape(-1)[self.voxels]

    def largest_share(self, scheme: DwiVolume, limits: ChangeLimits) -> float:
        """Return the largest share of the change, 0 to 1, at which all limits hold.

        Parameters
        ----------
        scheme : DwiVolume
            A scan of the same b-values and directions.
        limits : ChangeLimits
        """
        tight = ChangeLimits(MARGIN * limits.md_percent, MARGIN * limits.fa)
        reference = fit_measures(self.before, scheme)
        low, high = 0.0, 1.0
        for _ in range(HALVINGS):
            middle = 0.5 * (low + high)
            mixed = self.before + np.float32(middle) * (self.after - self.before)
            if self._holds(reference, fit_measures(mixed, scheme), tight):
                low = middle
            else:
                high = middle
        return low

    def _holds(
        self,
        before: tuple[np.ndarray, np.ndarray | None],
        after: tuple[np.ndarray, np.ndarray | None],
        limits: ChangeLimits,
    ) -> bool:
        rows = []
        for name, inside in self.members.items():
            means = [
                (float(md[inside].mean(dtype=float)), None if fa is None else float(fa[inside].mean(dtype=float)))
                for md, fa in (before, after)
            ]
            rows += changes_of_means(name, self.sizes[name], means[0], means[1], limits)
        return not exceeded(rows)
