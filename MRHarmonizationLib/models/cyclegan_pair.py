"""The two generators of a CycleGAN in one module: low to high field, which is what is used, and back.

Source: Zhu et al., ICCV 2017, doi 10.1109/ICCV.2017.244.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.models import MODELS, build_model


@MODELS.register("cyclegan_pair")
class CycleGANPair(nn.Module):
    """Two generators of one architecture, each fed with a single plane and the conditioning of the low-field scan.

    Single planes, because a cycle must be able to feed a generator with what the other made, and that is one plane.

    Parameters
    ----------
    in_channels : int
        One plane and conditioning channels.
    planes : int
        1.
    generator : str
        Name of the architecture in the registry.
    parameters : mapping
        Its keyword arguments beside ``in_channels`` and ``planes``.

    Notes
    -----
    Input (N, in_channels, H, W), output (N, 1, H, W): the correction from low to high field.
    """

    def __init__(
        self,
        in_channels: int = 4,
        planes: int = 1,
        generator: str = "resnet_generator",
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if planes != 1:
            raise ParameterError(f"a CycleGAN pair was asked to take {planes} planes", "use 1 plane")
        values = {**(parameters or {}), "in_channels": in_channels, "planes": planes}
        self.to_high = build_model(generator, values)
        self.to_low = build_model(generator, values)
        self.planes = planes
        self.stride, self.halo = self.to_high.stride, self.to_high.halo

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to the correction from low to high field, (N, 1, H, W)."""
        correction: torch.Tensor = self.to_high(x)
        return correction
