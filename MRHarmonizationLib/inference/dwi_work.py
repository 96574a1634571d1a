"""A harmonisation of a diffusion scan while it goes on: noise off, operator applied, MD and FA held to their limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from MRHarmonizationLib.core.errors import InputError
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.inference.dwi_measures import (
    ChangeLimits,
    DwiMaps,
    TissueChange,
    describe,
    exceeded,
    measure_maps,
    regions_of,
    tissue_changes,
)
from MRHarmonizationLib.inference.dwi_noise import NoiseCorrection, NoiseRecord, empty_series
from MRHarmonizationLib.inference.dwi_request import HarmonizeDwiRequest
from MRHarmonizationLib.inference.dwi_safety import SafetySample
from MRHarmonizationLib.methods.dwi_harmonizers.base import DwiOperator
from MRHarmonizationLib.volumes.dwi import DwiVolume
from MRHarmonizationLib.volumes.grid import Grid, same_grid
from MRHarmonizationLib.volumes.resampling import resample
from MRHarmonizationLib.volumes.volume import Volume

#: Strengths below this are as good as nothing: a scan that bears no more is refused.
LEAST_STRENGTH = 0.02
#: Ratio of the gain's 95th to its 5th percentile in the brain up to which it is called even.
EVEN_GAIN = 1.1
#: How often a strength that holds for the sample but not for the whole tissue is lowered, and by which factor.
MOST_ROUNDS, STEP_BACK = 4, 0.85


def gain_warnings(gain: np.ndarray, mask: np.ndarray) -> list[str]:
    """Say where a gain brightens some of the brain more than the rest: weighted images can then mislead the eye.

    Parameters
    ----------
    gain : float32 ndarray, shape (K, J, I)
    mask : bool ndarray, shape (K, J, I)
        Brain.
    """
    low, high = np.percentile(gain[mask], (5, 95)) / np.median(gain[mask])
    if high <= EVEN_GAIN * low:
        return []
    return [
        f"the gain is not even: {low:.2f} to {high:.2f} of its median in nine tenths of the brain. It follows the "
        "unweighted image, and weighted images get brighter or darker with it: judge their bright spots by MD"
    ]


class DwiWork:
    """One harmonisation in progress: the output array, and what is measured on the way.

    Parameters
    ----------
    dwi : DwiVolume
    brain : bool ndarray, shape (K, J, I)
        On the scan's grid.
    grid : Grid
        Of the result.
    request : HarmonizeDwiRequest
    progress : Progress
    """

    before: DwiMaps
    after: DwiMaps

    def __init__(
        self, dwi: DwiVolume, brain: np.ndarray, grid: Grid, request: HarmonizeDwiRequest, progress: Progress
    ) -> None:
        self.dwi, self.grid, self.request, self.progress = dwi, grid, request, progress
        self._brain = brain
        self.mask = _on_grid(Volume(brain, dwi.grid), grid, "nearest").array != 0
        self.limits = ChangeLimits(request.max_md_change_percent, request.max_fa_change)
        self.noise = NoiseRecord("none")
        self.out = np.empty((*grid.shape, 0), np.float32)
        self.share = 1.0  # of what is done beyond the gain
        self.gain: np.ndarray | None = None
        self.unit = np.float32(1.0)
        self.table: tuple[TissueChange, ...] = ()
        self.warnings: list[str] = []

    @property
    def strength_used(self) -> float:
        """Strength of the gain; of everything where there is none."""
        return self.request.strength * (1.0 if self.gain is not None else self.share)

    def input_volume(self, index: int) -> np.ndarray:
        """Return one volume of the scan as it came, float32, on the output grid."""
        return self._moved(self.dwi.array[..., index])

    def take_input(self) -> None:
        """Let the result be the scan itself."""
        self.out = empty_series(self.grid.shape, self.dwi.n_volumes)
        for n in range(self.dwi.n_volumes):
            self.progress.report(0.8 * n / self.dwi.n_volumes, f"Volume {n + 1} of {self.dwi.n_volumes}")
            self.out[..., n] = self.input_volume(n)
        self.before = self.after = measure_maps(self._scan(), self.mask, self.progress.part(0.8, 1.0))
        self.table = tissue_changes(self.before, self.after, regions_of(self.before, self.mask), self.limits)

    def run(self, prepare: Callable[[DwiVolume, np.ndarray, Grid], DwiOperator]) -> None:
        """Harmonise at the strength asked for; again at a lower one where MD or FA change too much."""
        progress = self.progress
        self._take_noise_off(progress.part(0.0, 0.25))
        self.before = measure_maps(self._scan(), self.mask, progress.part(0.25, 0.3))
        regions = regions_of(self.before, self.mask)
        progress.report(0.3, "Preparing the harmoniser")
        operator = prepare(self._scan(), self.mask, self.dwi.grid)
        gain = getattr(operator, "gain", None)
        self.gain = None if gain is None else np.array(np.broadcast_to(gain, self.grid.shape), np.float32)
        if self.gain is not None:
            self.warnings += gain_warnings(self.gain, self.mask)
        self.warnings += getattr(operator, "notes", ())
        self.unit = self._unit(operator)
        sample = SafetySample.of(regions, self.dwi.n_volumes)
        self._apply(operator, progress.part(0.4, 0.75), sample)
        self._measure(regions)
        too_much = exceeded(self.table)
        if too_much and self.request.enforce_safety:
            self._reduce(operator, sample, regions, too_much, progress.part(0.75, 1.0))
        elif too_much:
            self.warnings.append(f"harmonising changed {', '.join(map(describe, too_much))}")
        if self.before.fa is None:
            self.warnings.append("the directions determine no tensor: the apparent diffusion coefficient was checked")
        elif not any(row.limit is not None and row.tissue == "white matter" for row in self.table):
            self.warnings.append("no white matter was found: MD and FA were checked in the whole brain only")

    def _reduce(
        self,
        operator: DwiOperator,
        sample: SafetySample,
        regions: Mapping[str, np.ndarray],
        too_much: list[TissueChange],
        progress: Progress,
    ) -> None:
        """Lower the strength to the largest at which MD and FA hold; refuse if that is next to nothing."""
        wanted = self.request.strength
        progress.report(0.0, "Looking for the strength that keeps MD and FA")
        self.share = sample.largest_share(self._scan(), self.limits)
        said = ", ".join(map(describe, too_much))
        for number in range(MOST_ROUNDS + 1):
            if self.share * wanted < min(LEAST_STRENGTH, wanted) or number == MOST_ROUNDS:
                if self.gain is None:
                    break
                self.share = 0.0  # the gain alone changes neither
            part = progress.part(0.1 + 0.9 * number / (MOST_ROUNDS + 1), 0.1 + 0.9 * (number + 1) / (MOST_ROUNDS + 1))
            self._take_noise_off(part.part(0.0, 0.4))
            self._apply(operator, part.part(0.4, 0.9))
            self._measure(regions)
            if not exceeded(self.table):
                self.warnings.append(self._reduced(said))
                return
            if self.share == 0.0:
                break
            self.share *= STEP_BACK
        raise InputError(
            f"harmonising would change {said}, and not even strength {LEAST_STRENGTH:g} keeps the limits",
            "use a method with one gain for all volumes (global_scaling, b0_histogram), or raise the limits knowingly",
        )

    def _reduced(self, said: str) -> str:
        """Say what was done about changes of MD and FA."""
        strength = self.request.strength
        if self.gain is None:
            used = strength * self.share
            return f"strength {strength:g} would change {said}: reduced to {used:.3g}, the largest that holds"
        return (
            f"sharpening in full would change {said}: {100 * self.share:.0f} % of it is done, the most that holds; "
            "the contrast is harmonised as asked for"
        )

    def _unit(self, operator: DwiOperator) -> np.float32:
        """Return the factor between the units before and after: that of the medians of the unweighted brain."""
        index = int(np.flatnonzero(self.dwi.is_b0)[0])
        clean = np.ascontiguousarray(self.out[..., index])
        clean.setflags(write=False)
        before, after = (float(np.median(image[self.mask])) for image in (clean, operator.apply(clean, index)))
        return np.float32(after / before if before > 0 and after > 0 else 1.0)

    def _take_noise_off(self, progress: Progress) -> None:
        """Fill the output with the scan without noise, on the output grid."""
        correction = NoiseCorrection(self.dwi, self._brain, self.request.noise)
        fits = same_grid(self.grid, self.dwi.grid)
        if fits and self.out.shape[3] and not correction.record.denoised:
            correction.write(self.out, progress)
        else:
            self.out = np.empty((*self.grid.shape, 0), np.float32)  # what is there is let go before more is made
            series = correction.write(None, progress)
            self.out = series if fits else empty_series(self.grid.shape, self.dwi.n_volumes)
            for n in range(0 if fits else self.dwi.n_volumes):
                progress.check()
                self.out[..., n] = self._moved(series[..., n])
        self.noise = correction.record

    def _apply(self, operator: DwiOperator, progress: Progress, sample: SafetySample | None = None) -> None:
        """Replace every volume by its harmonised one, at the present strength."""
        count = self.dwi.n_volumes
        for n in range(count):
            progress.report(n / count, f"Harmonising volume {n + 1} of {count}")
            clean = np.ascontiguousarray(self.out[..., n])
            clean.setflags(write=False)
            changed = np.asarray(operator.apply(clean, n), np.float32)
            if changed.shape != clean.shape or not np.all(np.isfinite(changed)):
                bad = int(np.count_nonzero(~np.isfinite(changed)))
                raise InputError(
                    f"harmonising volume {n} gave shape {changed.shape} with {bad} values that are not finite",
                    "check the intensity range of the scan",
                )
            kept, changed = self._mixed(clean, changed)
            if sample is not None:
                sample.record(n, kept, changed)
            if self.share < 1:
                changed = kept + np.float32(self.share) * (changed - kept)
            self.out[..., n] = changed
        progress.report(1.0, "Measuring MD and FA")

    def _mixed(self, clean: np.ndarray, changed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return what of a volume's harmonisation keeps MD and FA, and all of it, at the strength asked for."""
        alpha = np.float32(self.request.strength)
        scaled = clean * self.unit
        kept = scaled if self.gain is None else clean * self.gain
        if alpha < 1:  # at full strength without the rounding of c + (h - c)
            kept, changed = scaled + alpha * (kept - scaled), scaled + alpha * (changed - scaled)
        return kept, changed

    def _measure(self, regions: Mapping[str, np.ndarray]) -> None:
        self.after = measure_maps(self._scan(), self.mask)
        self.table = tissue_changes(self.before, self.after, regions, self.limits)

    def _scan(self) -> DwiVolume:
        return self.dwi.with_array(self.out, self.grid)

    def _moved(self, image: np.ndarray) -> np.ndarray:
        values = np.asarray(image, np.float32)
        if same_grid(self.grid, self.dwi.grid):
            return values
        # the spline undershoots at edges, and a magnitude has no negative values
        return np.maximum(resample(Volume(values, self.dwi.grid), self.grid).array, 0.0)


def _on_grid(volume: Volume, grid: Grid, interpolation: str) -> Volume:
    return volume if same_grid(volume.grid, grid) else resample(volume, grid, interpolation)
