"""The protocol of the adjustable restorer: JSON data, read into frozen records that check themselves."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.degradations.noise_blur import NoiseBlurParameters
from MRHarmonizationLib.evaluation.splits import require_roles

#: Roles whose subjects may be judged: none of them was trained on.
UNSEEN_ROLES = ("test", "validation", "evaluation_only")


@dataclass(frozen=True)
class UnseenSubject:
    """A subject that is judged.

    Attributes
    ----------
    path : str
        Relative to the data folder, without extension.
    kind : {'labels', 'image'}
    contrast : str
        Family of contrast of a label map; 'native' for an image.
    """

    path: str
    kind: str
    contrast: str = "native"

    def __post_init__(self) -> None:
        if self.kind not in ("labels", "image"):
            raise ParameterError(f"subject '{self.path}' has kind '{self.kind}'", "choose 'labels' or 'image'")

    @property
    def name(self) -> str:
        """Short name for tables."""
        own = self.path.rsplit("/", 1)[-1]
        return own if self.kind == "image" else f"{own}-{self.contrast}"


@dataclass(frozen=True)
class RestoreProtocol:
    """Protocol of the adjustable restorer; see ``protocols/restore.json``.

    Attributes
    ----------
    name, title : str
    version, seed : int
    model : str
        Id of the restorer; empty for the classical methods alone.
    block_mm : float
        Edge of the judged block about the middle of the head.
    subjects : tuple of UnseenSubject
    texture : float
        Factor on the texture of label images.
    noise_percent : tuple of float
        Noise levels in percent of the intensity range.
    blur : mapping
        ``resolution_voxels``, ``taper`` and ``noise_percent`` of the blurred scans.
    nlm_h_factors, tv_weight_factors, unsharp_amounts : tuple of float
        Strengths of the classical methods; the best for each scan is taken, with the truth at hand.
    slider_steps : tuple of float
    lesions : mapping
        ``images``, ``mask`` and ``noise_percent``; empty to leave the check out.
    bars : mapping of str to float
        What must be reached.
    """

    name: str
    title: str
    version: int
    seed: int
    model: str
    block_mm: float
    subjects: tuple[UnseenSubject, ...]
    texture: float
    noise_percent: tuple[float, ...]
    blur: Mapping[str, float]
    nlm_h_factors: tuple[float, ...]
    tv_weight_factors: tuple[float, ...]
    unsharp_amounts: tuple[float, ...]
    slider_steps: tuple[float, ...]
    lesions: Mapping[str, Any] = field(default_factory=dict)
    bars: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_roles((s.path for s in self.subjects), UNSEEN_ROLES, f"protocol '{self.name}'")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], quick: bool = False) -> RestoreProtocol:
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

    def noisy(self, name: str, percent: float) -> NoiseBlurParameters:
        """Return white Rician noise of a level; the scan keeps its resolution."""
        return NoiseBlurParameters(noise_percent=percent, seed=self.derived_seed(f"{name}-{percent:g}"))

    def blurred(self, name: str) -> NoiseBlurParameters:
        """Return the blur of the sharpening part, along all axes."""
        resolution = float(self.blur["resolution_voxels"])
        return NoiseBlurParameters(
            (resolution,) * 3,
            "kspace",
            float(self.blur["taper"]),
            float(self.blur["noise_percent"]),
            seed=self.derived_seed(f"{name}-blur"),
        )
