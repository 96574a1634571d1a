"""The protocol of the specialists: JSON data, read into a frozen record that checks itself."""

from __future__ import annotations

import re
import zlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from MRHarmonizationLib.core.errors import ModelNotFoundError, ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.degradations.coarse_matrix import CoarseMatrixParameters
from MRHarmonizationLib.degradations.noise_blur import NoiseBlurParameters
from MRHarmonizationLib.evaluation.restore_protocol import UNSEEN_ROLES, UnseenSubject
from MRHarmonizationLib.evaluation.splits import require_roles, subject_roles
from MRHarmonizationLib.inference.restore import restorer

#: The two tasks, by what a specialist finds.
NOISE, DETAIL = "noise", "detail"
#: Ways of training, in the order of the tables.
ACQUIRED, SYNTHETIC, COMBINED = "acquired", "synthetic", "combined"
NAIVE, DISTILLED = "naive", "distilled"
TRAININGS = (ACQUIRED, SYNTHETIC, COMBINED, NAIVE, DISTILLED)
#: Classical methods of each task; the first leaves the scan as it is.
CLASSICAL = {NOISE: ("input", "nlm", "tv"), DETAIL: ("cubic", "lanczos")}
#: Name of the scan with a coarse matrix.
COARSE = "coarse"


@dataclass(frozen=True)
class Entrant:
    """A method that is judged.

    Attributes
    ----------
    name : str
        For tables: a classical method, a way of training, or the id of the general restorer.
    model, weights : str
        Id of the model and digest of its weights; empty for classical methods.
    """

    name: str
    model: str = ""
    weights: str = ""


@dataclass(frozen=True)
class SubtleProtocol:
    """Protocol of the specialists; see ``protocols/subtle.json``.

    Attributes
    ----------
    name, title : str
    version, seed : int
    block_mm, texture, nlm_h_factors, tv_weight_factors
        As of :class:`~MRHarmonizationLib.evaluation.restore_protocol.RestoreProtocol`.
    slice_step : int
        Every how manieth slice is judged.
    subjects : tuple of UnseenSubject
    noise_percent : tuple of float
    coarse : mapping
        ``factor``, ``taper`` and ``noise_percent`` of the scans with a coarse matrix.
    tell_noise : bool
        Whether networks are told the true noise level, as the classical methods are.
    general : str
        Id of the restorer that does both.
    specialists : mapping
        Task → id of the specialist trained on acquired pairs; the others are called after it.
    misalign_mm : float
        Of the pairs of the naive and the distilled specialist.
    draws : int
        Of the bootstrap.
    maniqa : str
        Checkpoint of MANIQA; empty leaves it out.
    maniqa_slices : int
        How many slices of a scan it judges, evenly spread: it takes seconds a slice.
    bars : mapping of str to float
    """

    name: str
    title: str
    version: int
    seed: int
    block_mm: float
    slice_step: int
    subjects: tuple[UnseenSubject, ...]
    texture: float
    noise_percent: tuple[float, ...]
    coarse: Mapping[str, float]
    tell_noise: bool
    nlm_h_factors: tuple[float, ...]
    tv_weight_factors: tuple[float, ...]
    general: str
    specialists: Mapping[str, str]
    misalign_mm: float
    draws: int
    maniqa: str = ""
    maniqa_slices: int = 3
    bars: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_roles((s.path for s in self.subjects), UNSEEN_ROLES, f"protocol '{self.name}'")
        for name in ("slice_step", "draws", "maniqa_slices"):
            if getattr(self, name) < 1:
                raise ParameterError(f"{name} is {getattr(self, name)}", "give 1 or more")
        if set(self.specialists) != {NOISE, DETAIL}:
            raise ParameterError(f"specialists are {dict(self.specialists)}", f"name those of {NOISE} and {DETAIL}")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], quick: bool = False) -> SubtleProtocol:
        """Build a protocol from its JSON; ``quick`` applies the overrides under that key.

        Raises
        ------
        ParameterError
            Unknown or missing keys, or subjects that were trained on.
        """
        ready = {key: value for key, value in values.items() if key not in ("kind", "quick")}
        if quick:
            ready.update(values.get("quick", {}))
        ready["subjects"] = tuple(build_parameters(UnseenSubject, entry) for entry in ready.get("subjects", ()))
        return build_parameters(cls, ready)

    def derived_seed(self, name: str) -> int:
        """Return a seed fixed by the protocol's seed and a name."""
        return zlib.crc32(f"{self.seed}/{name}".encode())

    @property
    def scans(self) -> dict[str, str]:
        """Degraded scan → task it is for."""
        return {f"noise_{percent:g}": NOISE for percent in self.noise_percent} | {COARSE: DETAIL}

    def percent_of(self, scan: str) -> float:
        """Return the noise of a degraded scan in percent of the intensity range."""
        return float(self.coarse["noise_percent"] if scan == COARSE else scan.removeprefix("noise_"))

    def noisy(self, name: str, percent: float) -> NoiseBlurParameters:
        """Return white Rician noise of a level."""
        return NoiseBlurParameters(noise_percent=percent, seed=self.derived_seed(f"{name}-{percent:g}"))

    def measured(self, name: str, slice_axis: int) -> CoarseMatrixParameters:
        """Return the coarse matrix within planes across an array axis."""
        factors = [float(self.coarse["factor"])] * 3
        factors[slice_axis] = 1.0
        taper, percent = float(self.coarse["taper"]), float(self.coarse["noise_percent"])
        seed = self.derived_seed(f"{name}-coarse")
        return CoarseMatrixParameters((factors[0], factors[1], factors[2]), taper, percent, seed)

    def model_ids(self, task: str) -> dict[str, str]:
        """Return way of training → id of the specialist of a task."""
        base, shift = self.specialists[task], f"-misaligned-{self.misalign_mm:g}mm"
        return {
            ACQUIRED: base,
            SYNTHETIC: f"{base}-synthetic",
            COMBINED: f"{base}-combined",
            NAIVE: base + shift,
            DISTILLED: f"{base}{shift}-distilled",
        }

    def entrants(self, task: str, only: tuple[str, ...] | None = None) -> tuple[tuple[Entrant, ...], list[str]]:
        """Return the methods of a task, and the ids of models that are not installed.

        Parameters
        ----------
        task : {'noise', 'detail'}
        only : tuple of str, optional
            Ids of the models that may take part; all if omitted.

        Raises
        ------
        WeightsError
            A card is malformed.
        """
        found, missing = [Entrant(name) for name in CLASSICAL[task]], []
        for name, model in {self.general: self.general, **self.model_ids(task)}.items():
            if only is not None and model not in only:
                continue
            try:
                card = restorer(model)
            except ModelNotFoundError:
                missing.append(model)
                continue
            weights = [card.weights.sha256]
            if task == DETAIL and card.input.interpolated:  # detail of interpolated planes is another's
                with suppress(ModelNotFoundError):
                    weights.append(restorer(card.input.interpolated).weights.sha256)
            found.append(Entrant(name, model, "+".join(weights)))
        return tuple(found), missing


def person_of(path: str) -> str:
    """Return the person that a data path belongs to: the cluster of its slices.

    Examples
    --------
    >>> person_of("labelmaps/training_seg_17")
    'labelmaps/training_seg_17'
    """
    known = [subject for subject in subject_roles() if re.match(rf"{re.escape(subject)}(?![0-9A-Za-z])", path)]
    return known[0] if known else path
