"""The generator of LoHiResGAN as built here: the body of a U-Net whose convolutions are residual blocks.

The publication (Islam et al., Sci. Rep. 2023, doi 10.1038/s41598-023-48438-1) says that its generator has "ResNet
components" and leaves their place open. Choice: a U-Net from full resolution down, because low-field scans keep coarse
anatomy that should pass by the bottleneck untouched (skips), with residual blocks at every level and most of them at
the deepest, where the ResNet generator has all of its own. No normalisation layers and a correction of the middle plane
as output, for the reasons given in ``resnet_generator``.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.models import MODELS
from MRHarmonizationLib.models.residual_unet import DETAIL_STEPS, ResidualBlock, detail_channels, with_details
from MRHarmonizationLib.models.resnet_generator import calm_residual_blocks
from MRHarmonizationLib.models.unet import start_near_zero


@MODELS.register("lohires_generator")
class LoHiResGenerator(nn.Module):
    """U-Net body with residual blocks; the output is a correction of the middle plane.

    Parameters
    ----------
    in_channels : int
        Planes and conditioning channels.
    planes : int
        How many of the first channels are neighbouring planes, the corrected one in their middle.
    features : sequence of int
        Channels at 1, 1/2, 1/4 … of the input's resolution.
    blocks : sequence of int
        Residual blocks per level, on the way down and again on the way up (the deepest level once).

    Notes
    -----
    Input (N, in_channels, H, W), output (N, 1, H, W); sizes must be multiples of ``stride``. An input voxel reaches no
    further than ``halo`` voxels into the output.
    """

    def __init__(
        self,
        in_channels: int = 8,
        planes: int = 5,
        features: Sequence[int] = (24, 48, 96, 128),
        blocks: Sequence[int] = (1, 1, 1, 6),
    ) -> None:
        super().__init__()
        if len(features) != len(blocks) or not features:
            raise ParameterError(f"features {features}, blocks {blocks}", "give one block count per level")
        depth = len(features)
        self.planes = planes
        self.stride = 2 ** (depth - 1)
        # ends of three, strided layers of two, and two 3-wide convolutions per block at its level's own step
        ways = [2 if n < depth - 1 else 1 for n in range(depth)]
        self.halo = max(DETAIL_STEPS) + 2 + sum(2**n * (2 * blocks[n] * ways[n] + 1) for n in range(depth))

        def level(n: int) -> nn.Sequential:
            return nn.Sequential(*[ResidualBlock(nn.Conv2d, features[n]) for _ in range(blocks[n])])

        self.stem = nn.Conv2d(in_channels + detail_channels(2, planes), features[0], 3, padding=1)
        self.encoders = nn.ModuleList([level(n) for n in range(depth)])
        self.down = nn.ModuleList([nn.Conv2d(features[n], features[n + 1], 2, stride=2) for n in range(depth - 1)])
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(features[n + 1], features[n], 2, stride=2) for n in range(depth - 1)]
        )
        self.join = nn.ModuleList([nn.Conv2d(2 * features[n], features[n], 1) for n in range(depth - 1)])
        self.decoders = nn.ModuleList([level(n) for n in range(depth - 1)])
        self.head = nn.Conv2d(features[0], 1, 3, padding=1)
        start_near_zero(self, self.head)
        calm_residual_blocks(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to the correction (N, 1, H, W)."""
        x = self.stem(with_details(x, self.planes))
        skips = []
        for n, encoder in enumerate(self.encoders):
            x = encoder(x)
            if n < len(self.down):
                skips.append(x)
                x = self.down[n](x)
        for n in range(len(self.up) - 1, -1, -1):
            x = self.decoders[n](self.join[n](torch.cat([self.up[n](x), skips[n]], dim=1)))
        correction: torch.Tensor = self.head(torch.relu(x))
        return correction
