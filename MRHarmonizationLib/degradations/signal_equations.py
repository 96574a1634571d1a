"""How bright a tissue is: relaxation times, a pulse sequence, and the signal equation between them.

Sources
-------
Relaxation: the tissue table for 1.5 T of the BrainWeb simulator (Kwan, Evans & Pike, IEEE Trans. Med. Imaging 18:1085
(1999), doi 10.1109/42.816072). Equations: Haacke, Brown, Thompson & Venkatesan, Magnetic Resonance Imaging: Physical
Principles and Sequence Design (1999): steady states of repeated excitation, exponential decay until the echo.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters
from MRHarmonizationLib.degradations.label_images import FLUID, GREY, TISSUE_PAIRS, WHITE, LabelImageParameters

KINDS = ("spin-echo", "inversion-recovery", "spoiled-gradient-echo")
#: Mean of the brightest tissue of an image rendered from a label map, on its scale of about 0-255.
BRIGHTEST = 210.0


@dataclass(frozen=True)
class Relaxation:
    """Relaxation times in ms and relative proton density of a tissue."""

    t1_ms: float
    t2_ms: float
    t2_star_ms: float
    proton_density: float


RELAXATION_1_5_T: Mapping[str, Relaxation] = MappingProxyType(
    {
        "fluid": Relaxation(2569.0, 329.0, 58.0, 1.0),
        "grey": Relaxation(833.0, 83.0, 69.0, 0.86),
        "white": Relaxation(500.0, 70.0, 61.0, 0.77),
        "fat": Relaxation(350.0, 70.0, 58.0, 1.0),
        "muscle": Relaxation(900.0, 47.0, 30.0, 1.0),
    }
)


@dataclass(frozen=True)
class PulseSequence:
    """How a contrast is made.

    Attributes
    ----------
    kind : {'spin-echo', 'inversion-recovery', 'spoiled-gradient-echo'}
    tr_ms, te_ms, ti_ms : float
        Repetition, echo and inversion time; the last only for inversion recovery.
    flip_deg : float
        Flip angle of the gradient echo.
    """

    kind: str
    tr_ms: float
    te_ms: float
    ti_ms: float = 0.0
    flip_deg: float = 90.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ParameterError(f"pulse sequence '{self.kind}' is unknown", f"choose one of: {', '.join(KINDS)}")
        if not 0 < self.te_ms < self.tr_ms or not 0 <= self.ti_ms < self.tr_ms or not 0 < self.flip_deg <= 180:
            raise ParameterError(
                f"TR {self.tr_ms} ms, TE {self.te_ms} ms, TI {self.ti_ms} ms, flip angle {self.flip_deg}°",
                "give 0 < TE < TR, TI below TR and an angle up to 180°",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PulseSequence:
        """Build from :meth:`to_dict`."""
        return build_parameters(cls, values)


#: A usual protocol of each contrast at 1.5 T.
USUAL: Mapping[str, PulseSequence] = MappingProxyType(
    {
        "t1": PulseSequence("spin-echo", 550.0, 14.0),
        "t2": PulseSequence("spin-echo", 4500.0, 100.0),
        "flair": PulseSequence("inversion-recovery", 9000.0, 110.0, 1750.0),
    }
)


def signal(tissue: Relaxation, sequence: PulseSequence) -> float:
    """Return the magnitude of a tissue's signal, relative to full magnetisation of pure water.

    Examples
    --------
    >>> white, fluid = (signal(RELAXATION_1_5_T[name], USUAL["t1"]) for name in ("white", "fluid"))
    >>> white > 2 * fluid
    True
    """
    recovery = math.exp(-sequence.tr_ms / tissue.t1_ms)
    if sequence.kind == "spoiled-gradient-echo":
        angle = math.radians(sequence.flip_deg)
        longitudinal = math.sin(angle) * (1.0 - recovery) / (1.0 - math.cos(angle) * recovery)
        return tissue.proton_density * longitudinal * math.exp(-sequence.te_ms / tissue.t2_star_ms)
    if sequence.kind == "inversion-recovery":
        longitudinal = abs(1.0 - 2.0 * math.exp(-sequence.ti_ms / tissue.t1_ms) + recovery)
    else:
        longitudinal = 1.0 - recovery
    return tissue.proton_density * longitudinal * math.exp(-sequence.te_ms / tissue.t2_ms)


def tissue_of(label: int) -> str:
    """Return the tissue of a FreeSurfer label: 'white', 'grey', 'fluid', or 'other' for what is not brain."""
    key = TISSUE_PAIRS.get(int(label), int(label))
    for name, group in (("white", WHITE), ("grey", GREY), ("fluid", FLUID)):
        if key in group:
            return name
    return "other"


def vary_sequence(rng: np.random.Generator, usual: PulseSequence, strength: float = 1.0) -> PulseSequence:
    """Draw a protocol near a usual one: TR and TE by factors of about 0.65-1.5, TI by 0.9-1.1, the angle by 0.7-1.3."""

    def factor(limit: float) -> float:
        return float(np.exp(strength * rng.uniform(-np.log(limit), np.log(limit))))

    tr, te = usual.tr_ms * factor(1.5), usual.te_ms * factor(1.55)
    return replace(
        usual,
        tr_ms=tr,
        te_ms=min(te, 0.5 * tr),
        ti_ms=min(usual.ti_ms * factor(1.1), 0.9 * tr),
        flip_deg=min(usual.flip_deg * factor(1.3), 180.0),
    )


def relative_signals(before: PulseSequence, after: PulseSequence) -> dict[str, float]:
    """Return each brain tissue's signal after a change of sequence over that before, their geometric mean 1."""
    ratios = {}
    for name in ("white", "grey", "fluid"):
        tissue = RELAXATION_1_5_T[name]
        ratios[name] = max(signal(tissue, after), 0.01) / max(signal(tissue, before), 0.01)
    mean = float(np.exp(np.mean(np.log(list(ratios.values())))))
    return {name: ratio / mean for name, ratio in ratios.items()}


def sequence_label_image(parameters: LabelImageParameters, sequence: PulseSequence) -> LabelImageParameters:
    """Return label-image parameters whose brain tissues are as bright as a pulse sequence makes them.

    Parameters
    ----------
    parameters : LabelImageParameters
        From ``sample_label_image``; its texture, blur and labels outside the brain are kept.
    sequence : PulseSequence
        The brightest brain tissue gets a mean of 210.
    """
    signals = {name: signal(RELAXATION_1_5_T[name], sequence) for name in ("white", "grey", "fluid")}
    scale = BRIGHTEST / max(signals.values())
    means = tuple(
        mean if tissue_of(label) == "other" else scale * signals[tissue_of(label)]
        for label, mean in zip(parameters.labels, parameters.means, strict=True)
    )
    return replace(parameters, means=means)
