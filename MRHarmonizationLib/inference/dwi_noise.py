"""Noise of a diffusion scan before it is harmonised: random part and floor, taken off volume by volume or all at once.

Denoising comes first, since the floor can only be taken off averages (see ``core.noise_floor``). Scans with too few
volumes to be denoised are averaged over neighbouring voxels for the correction only: what the floor adds to the local
mean is subtracted, detail and random noise stay.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import InputError, ParameterError
from MRHarmonizationLib.core.low_rank import denoise_low_rank
from MRHarmonizationLib.core.noise_estimation import NoiseEstimate, estimate_sigma
from MRHarmonizationLib.core.noise_floor import correct_koay
from MRHarmonizationLib.core.progress import Progress
from MRHarmonizationLib.volumes.dwi import DwiVolume

#: What a user can ask for.
NOISE_CHOICES = ("auto", "none", "floor", "denoise")
#: Volumes from which on 'auto' denoises: below, too few are alike for noise to be told from signal.
DENOISING_VOLUMES = 12
#: Signals below this share of the noise are raised to it: their mean magnitude differs from that of no signal by 2 %.
LEAST_SNR = 0.3
#: Side of the neighbourhood, in voxels, whose mean the floor is taken off where a scan is not denoised.
_NEIGHBOURHOOD = 3


@dataclass(frozen=True)
class NoiseRecord:
    """What was done about noise.

    Attributes
    ----------
    requested : str
        One of :data:`NOISE_CHOICES`.
    denoised, floor_corrected : bool
    sigma : float or None
        Standard deviation per channel, scan's units, used for the floor.
    sigma_method : str
        How it was found; '' where it was not.
    components : float or None
        Mean number of components kept of the brain's patches, of as many as there are volumes.
    notes : tuple of str
        What could not be done, and why.
    """

    requested: str
    denoised: bool = False
    floor_corrected: bool = False
    sigma: float | None = None
    sigma_method: str = ""
    components: float | None = None
    notes: tuple[str, ...] = field(default=())

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self) | {"notes": list(self.notes)}


class NoiseCorrection:
    """The scan without its noise, as far as wanted and possible.

    Parameters
    ----------
    dwi : DwiVolume
        Not changed.
    mask : bool ndarray, shape (K, J, I)
        Brain.
    choice : str
        One of :data:`NOISE_CHOICES`.

    Attributes
    ----------
    record : NoiseRecord

    Raises
    ------
    ParameterError
        Unknown choice.
    InputError
        Noise handling was asked for by name and the scan does not allow it.
    """

    def __init__(self, dwi: DwiVolume, mask: np.ndarray, choice: str) -> None:
        check_noise_choice(choice)
        self._dwi, self._mask = dwi, mask
        self._estimate: NoiseEstimate | None = None
        self._wants_denoising = choice == "denoise" or (choice == "auto" and dwi.n_volumes >= DENOISING_VOLUMES)
        notes = [] if choice == "none" else self._measure(choice)
        if choice == "auto" and not self._wants_denoising:
            notes.append(f"{dwi.n_volumes} volumes are too few to be denoised ({DENOISING_VOLUMES} are needed)")
        self.record = NoiseRecord(
            choice,
            self._wants_denoising,
            self._estimate is not None,
            None if self._estimate is None else self._estimate.sigma,
            "" if self._estimate is None else self._estimate.method,
            None,
            tuple(notes),
        )

    def _measure(self, choice: str) -> list[str]:
        """Estimate the noise; return what has to be said about it."""
        dwi = self._dwi
        try:
            found = estimate_sigma(dwi.array, dwi.b_values_s_per_mm2, dwi.gradients_ras, self._mask)
        except InputError as problem:
            if choice == "floor":
                raise
            return [f"the noise floor was left in: {problem.problem}"]
        if found.method == "residuals" and choice != "floor":
            return ["the noise floor was left in: the noise is known only from residuals of the fit, an upper bound"]
        self._estimate = found
        return []

    def write(self, out: np.ndarray | None, progress: Progress) -> np.ndarray:
        """Return all volumes without noise.

        Parameters
        ----------
        out : ndarray, shape (K, J, I, N), float32, or None
            Filled and returned where nothing has to be denoised; made if None.
        progress : Progress

        Returns
        -------
        ndarray, shape (K, J, I, N), float32, writable
        """
        dwi = self._dwi
        if self._wants_denoising:
            low = denoise_low_rank(dwi.array, self._mask, progress=progress)
            self.record = _with_components(self.record, float(low.components[self._mask].mean()))
            if self._estimate is not None:
                inside = low.sigma > 0
                for n in range(dwi.n_volumes):
                    volume = low.array[..., n]
                    volume[inside] = self._above(correct_koay(volume[inside], self._estimate.sigma))
            return low.array
        result = empty_series(dwi.grid.shape, dwi.n_volumes) if out is None else out
        for n in range(dwi.n_volumes):
            progress.report(n / dwi.n_volumes, f"Noise, volume {n + 1} of {dwi.n_volumes}")
            result[..., n] = self._floored(dwi.array[..., n].astype(np.float32))
        return result

    def _floored(self, image: np.ndarray) -> np.ndarray:
        """Return one volume without what the floor adds to its local mean."""
        if self._estimate is None:
            return image
        from scipy.ndimage import uniform_filter

        mean = uniform_filter(image, _NEIGHBOURHOOD, mode="nearest")
        added = mean - correct_koay(np.maximum(mean, 0), self._estimate.sigma)
        return np.where(self._mask, self._above(image - added), image)

    def _above(self, signal: np.ndarray) -> np.ndarray:
        return np.maximum(signal, np.float32(LEAST_SNR * self._estimate.sigma)) if self._estimate else signal


def check_noise_choice(choice: str) -> str:
    """Return the choice, or raise ParameterError naming the choices."""
    if choice not in NOISE_CHOICES:
        raise ParameterError(f"noise is '{choice}'", f"choose one of: {', '.join(NOISE_CHOICES)}")
    return choice


def empty_series(shape: tuple[int, int, int], volumes: int) -> np.ndarray:
    """Return an empty float32 array (K, J, I, N) in which every volume is contiguous."""
    return np.moveaxis(np.empty((volumes, *shape), np.float32), 0, -1)


def _with_components(record: NoiseRecord, components: float) -> NoiseRecord:
    from dataclasses import replace

    return replace(record, components=components)
