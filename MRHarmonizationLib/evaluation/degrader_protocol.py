"""The protocol of the latent-diffusion degraders: JSON data, read into a frozen record that checks itself."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.evaluation.restore_protocol import UNSEEN_ROLES, UnseenSubject
from MRHarmonizationLib.evaluation.splits import require_roles
from MRHarmonizationLib.inference.latent_input import KINDS, check_level


@dataclass(frozen=True)
class DegraderProtocol:
    """Protocol of the degraders; see ``protocols/degraders.json``.

    Attributes
    ----------
    name, title : str
    version, seed : int
    models : mapping
        Kind ('noise', 'blur') → model id.
    block_mm : float
        Edge of the judged block about the middle of the head.
    planes : int
        Neighbouring planes in its middle that are judged.
    subjects : tuple of UnseenSubject
    texture : float
        Factor on the texture of label images.
    steps : int
        Of the sampler.
    ladder : tuple of float
        Levels whose measured effect must rise one way.
    levels : tuple of float
        Levels at which spectra and anatomy are judged.
    acquisitions : int
        Simulated acquisitions per subject that the model is held against; the levels take turns.
    lags : int
        Distances in pixels up to which correlations are compared.
    low_pass_mm : float
        Standard deviation of the filter below which the anatomy must not change: so wide that simulated noise, which
        moves nothing, keeps .99 at level 1 (at 3 mm it keeps .97, for correlated noise comes through).
    bars : mapping of str to float
        What must be reached.
    """

    name: str
    title: str
    version: int
    seed: int
    models: Mapping[str, str]
    block_mm: float
    planes: int
    subjects: tuple[UnseenSubject, ...]
    texture: float
    steps: int
    ladder: tuple[float, ...]
    levels: tuple[float, ...]
    acquisitions: int
    lags: int
    low_pass_mm: float
    bars: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_roles((s.path for s in self.subjects), UNSEEN_ROLES, f"protocol '{self.name}'")
        strange = sorted(set(self.models) - set(KINDS))
        if strange:
            raise ParameterError(f"protocol '{self.name}' judges '{strange[0]}'", f"choose from: {', '.join(KINDS)}")
        for level in (*self.ladder, *self.levels):
            check_level(level)
        if len(self.ladder) < 3 or not self.levels or self.acquisitions < 1 or self.planes < 1:
            raise ParameterError(
                f"protocol '{self.name}' has {len(self.ladder)} rungs, {len(self.levels)} levels, "
                f"{self.acquisitions} acquisitions and {self.planes} planes",
                "give at least three rungs, and one of each other",
            )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], quick: bool = False) -> DegraderProtocol:
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
