"""The residual generator of image translation: two steps down, residual blocks, two steps up.

Source: Johnson et al., ECCV 2016, doi 10.1007/978-3-319-46475-6_43, as used by CycleGAN (Zhu et al., ICCV 2017, doi
10.1109/ICCV.2017.244). Ours differs in four ways, all for scans that are judged voxel by voxel: no instance
normalisation (it would make a voxel depend on everything else in its tile), so residual blocks start close to the
identity; transposed convolutions of 4 instead of 3 (a kernel that the stride divides leaves no checkerboard: Odena et
al., Distill 2016, doi 10.23915/distill.00003); zero instead of reflected borders; a correction to be added to the
middle plane instead of an image through a hyperbolic tangent.
"""

from __future__ import annotations

import torch
from torch import nn

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.models import MODELS
from MRHarmonizationLib.models.residual_unet import (
    DETAIL_STEPS,
    RESIDUAL_GAIN,
    ResidualBlock,
    detail_channels,
    with_details,
)
from MRHarmonizationLib.models.unet import start_near_zero

#: Steps of two by which the residual blocks lie below the input's resolution.
DOWNS = 2


def calm_residual_blocks(network: nn.Module) -> None:
    """Scale the corrections of all residual blocks down, so that they start close to the identity."""
    for module in network.modules():
        if isinstance(module, ResidualBlock):
            with torch.no_grad():
                module.second.weight.mul_(RESIDUAL_GAIN)  # type: ignore[operator]


@MODELS.register("resnet_generator")
class ResNetGenerator(nn.Module):
    """ResNet generator; the output is a correction of the middle plane.

    Parameters
    ----------
    in_channels : int
        Planes and conditioning channels.
    planes : int
        How many of the first channels are neighbouring planes, the corrected one in their middle.
    width : int
        Channels at full resolution; doubled at each step down.
    blocks : int
        Residual blocks at a quarter of the resolution; 9 in the publication.

    Notes
    -----
    Input (N, in_channels, H, W), output (N, 1, H, W); sizes must be multiples of ``stride``. An input voxel reaches no
    further than ``halo`` voxels into the output.
    """

    def __init__(self, in_channels: int = 8, planes: int = 5, width: int = 32, blocks: int = 9) -> None:
        super().__init__()
        if width < 1 or blocks < 1:
            raise ParameterError(f"width {width} and {blocks} blocks", "give at least 1 of each")
        self.planes = planes
        self.stride = 2**DOWNS
        # 7-wide ends, steps down and up, and two 3-wide convolutions per block at a quarter of the resolution
        self.halo = max(DETAIL_STEPS) + 3 + (1 + 2) + 2 * self.stride * blocks + (4 + 2) + 3
        self.stem = nn.Conv2d(in_channels + detail_channels(2, planes), width, 7, padding=3)
        widths = [width * 2**n for n in range(DOWNS + 1)]
        self.down = nn.ModuleList([nn.Conv2d(widths[n], widths[n + 1], 3, stride=2, padding=1) for n in range(DOWNS)])
        self.body = nn.Sequential(*[ResidualBlock(nn.Conv2d, widths[-1]) for _ in range(blocks)])
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(widths[n + 1], widths[n], 4, stride=2, padding=1) for n in range(DOWNS)]
        )
        self.head = nn.Conv2d(width, 1, 7, padding=3)
        start_near_zero(self, self.head)
        calm_residual_blocks(self)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to the correction (N, 1, H, W)."""
        x = torch.relu(self.stem(with_details(x, self.planes)))
        for down in self.down:
            x = torch.relu(down(x))
        x = self.body(x)
        for up in reversed(self.up):
            x = torch.relu(up(x))
        correction: torch.Tensor = self.head(x)
        return correction
