"""How a probe sees a cohort and how it is trained: everything a figure depends on besides the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.degradations.base import build_parameters

#: Planes by name: the canonical array axis (0 superior, 1 anterior, 2 right) across them.
PLANES = {"axial": 0, "coronal": 1, "sagittal": 2}
#: What intensities are brought to one scale: all images of a set together, or every image by itself.
NORMALISATIONS = ("set", "image")
DEVICES = ("auto", "cpu", "cuda")
#: Smallest side of a slice: below, ResNet-50's last stage would see a single pixel of it.
SMALLEST_SIZE = 32
#: Least values of the counts.
LEAST = {"slices": 1, "size": SMALLEST_SIZE, "epochs": 0, "batch": 2, "folds": 1, "draws": 100}


@dataclass(frozen=True)
class ProbeSettings:
    """How a probe sees images, and how it is trained and judged.

    Attributes
    ----------
    plane : {'axial', 'coronal', 'sagittal'}
    slices : int
        Per image, evenly spaced over the middle of the mask.
    size : int
        Side of a slice in pixels.
    spacing_mm : float
        Of the pixels; every image is sampled there by cubic interpolation.
    normalisation : {'set', 'image'}
        'set': one linear scale for all images of a set (raw, or harmonised by one method), so that differences of
        gain between scanners count. 'image': every image to its own percentiles, so that they do not.
    test_share, folds : float, int
        Share of subjects tested on; or, from 2 folds on, everyone is tested on once.
    epochs, batch : int
        Of the networks; epochs 0 means the probe's own default.
    learning_rate : float
        Largest one; it rises over the first quarter of the steps and falls along a cosine after.
    seed : int
        Of splits, weights, batches and bootstrap.
    device : {'auto', 'cpu', 'cuda'}
    draws : int
        Bootstrap draws.

    Raises
    ------
    ParameterError
        A value outside its range.
    """

    plane: str = "axial"
    slices: int = 8
    size: int = 96
    spacing_mm: float = 1.0
    normalisation: str = "set"
    test_share: float = 0.25
    folds: int = 1
    epochs: int = 0
    batch: int = 32
    learning_rate: float = 1e-3
    seed: int = 0
    device: str = "auto"
    draws: int = 2000

    def __post_init__(self) -> None:
        for name, choices in (("plane", tuple(PLANES)), ("normalisation", NORMALISATIONS), ("device", DEVICES)):
            if getattr(self, name) not in choices:
                raise ParameterError(f"{name} is '{getattr(self, name)}'", f"choose one of: {', '.join(choices)}")
        for name, least in LEAST.items():
            if getattr(self, name) < least:
                raise ParameterError(
                    f"{name} is {getattr(self, name)}, expected at least {least}", f"give {least} or more"
                )
        if not self.spacing_mm > 0 or not self.learning_rate > 0 or not 0 < self.test_share < 1:
            raise ParameterError(
                f"spacing {self.spacing_mm} mm, learning rate {self.learning_rate}, test share {self.test_share}",
                "give positive numbers, and a test share below 1",
            )

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready dictionary."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ProbeSettings:
        """Build from a dictionary; unknown keys are refused by name."""
        return build_parameters(cls, values)
