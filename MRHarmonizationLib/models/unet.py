"""The plain U-Net: the comparator without residual blocks and without an adversary.

Source: Ronneberger et al., MICCAI 2015, doi 10.1007/978-3-319-24574-4_28. Ours has padded convolutions and, like every
generator of this package, no normalisation layers (a tile sees what the whole image sees), the same input details as
``residual_unet``, and gives a correction of the middle plane.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.models import MODELS
from MRHarmonizationLib.models.residual_unet import DETAIL_STEPS, detail_channels, with_details

#: Standard deviation of the last layer's first weights: corrections start near zero.
HEAD_DEVIATION = 1e-3


def start_near_zero(network: nn.Module, head: nn.Conv2d) -> None:
    """Draw weights that keep the scale of signals without normalisation layers; the head's corrections are small."""
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.kaiming_normal_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    nn.init.normal_(head.weight, std=HEAD_DEVIATION)


@MODELS.register("unet")
class UNet(nn.Module):
    """U-Net of pairs of 3 x 3 convolutions.

    Parameters
    ----------
    in_channels : int
        Planes and conditioning channels.
    planes : int
        How many of the first channels are neighbouring planes, the corrected one in their middle.
    features : sequence of int
        Channels at 1, 1/2, 1/4 … of the input's resolution.

    Notes
    -----
    Input (N, in_channels, H, W), output (N, 1, H, W); sizes must be multiples of ``stride``. An input voxel reaches no
    further than ``halo`` voxels into the output.
    """

    def __init__(self, in_channels: int = 8, planes: int = 5, features: Sequence[int] = (32, 64, 128, 192)) -> None:
        super().__init__()
        if not features:
            raise ParameterError("a U-Net without features has no levels", "give channels for each level")
        depth = len(features)
        self.planes = planes
        self.stride = 2 ** (depth - 1)
        # two 3-wide convolutions per level and way, at the level's own step; pooling and its inverse one step more
        self.halo = max(DETAIL_STEPS) + sum(2**n * (5 if n < depth - 1 else 2) for n in range(depth))

        def pair(width: int, channels: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(width, channels, 3, padding=1),
                nn.ReLU(),
                nn.Conv2d(channels, channels, 3, padding=1),
                nn.ReLU(),
            )

        widths = [in_channels + detail_channels(2, planes), *features]
        self.encoders = nn.ModuleList([pair(widths[n], features[n]) for n in range(depth)])
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(features[n + 1], features[n], 2, stride=2) for n in range(depth - 1)]
        )
        self.decoders = nn.ModuleList([pair(2 * features[n], features[n]) for n in range(depth - 1)])
        self.head = nn.Conv2d(features[0], 1, 1)
        start_near_zero(self, self.head)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to the correction (N, 1, H, W)."""
        x = with_details(x, self.planes)
        skips = []
        for n, encoder in enumerate(self.encoders):
            x = encoder(x if n == 0 else nn.functional.max_pool2d(x, 2))
            skips.append(x)
        for n in range(len(self.up) - 1, -1, -1):
            x = self.decoders[n](torch.cat([self.up[n](x), skips[n]], dim=1))
        correction: torch.Tensor = self.head(x)
        return correction
