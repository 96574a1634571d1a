"""Plain residual network of constant width: the baseline that does one thing, denoise or super-resolve.

A chain of residual blocks without normalisation layers between two convolutions (as EDSR: Lim et al., CVPRW 2017, doi
10.1109/CVPRW.2017.151), at half the input's resolution (as FFDNet: Zhang et al., IEEE TIP 27:4608 (2018), doi
10.1109/TIP.2018.2839891). It learns the difference to the image, not the image (DnCNN: Zhang et al., IEEE TIP 26:3142
(2017), doi 10.1109/TIP.2017.2662206).
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

#: What a network finds: noise to be taken away, or detail to be added; the channels of a restorer, in order.
PARTS = ("noise", "detail")


@MODELS.register("residual_cnn")
class ResidualCNN(nn.Module):
    """Residual blocks in a chain, at half resolution.

    Parameters
    ----------
    part : {'noise', 'detail'}
        Which of the two channels of the output is found; the other is zero.
    in_channels : int
        Planes and conditioning channels.
    planes : int
        How many of the first channels are neighbouring planes, the restored one in their middle.
    features : int
        Channels of every block.
    blocks : int

    Notes
    -----
    Input (N, in_channels, H, W), output (N, 2, H, W): noise, detail. H and W must be multiples of ``stride``.
    """

    def __init__(self, part: str, in_channels: int = 7, planes: int = 5, features: int = 64, blocks: int = 6) -> None:
        super().__init__()
        if part not in PARTS or blocks < 1 or features < 1:
            raise ParameterError(
                f"part '{part}', {features} features, {blocks} blocks",
                f"choose one of {', '.join(PARTS)}, and 1 or more",
            )
        self.part, self.planes, self.stride = part, planes, 2
        # stem behind the second differences, then blocks and head at step two, then upsampling
        self.halo = max(DETAIL_STEPS) + 2 + 2 * (2 * blocks + 1) + 2
        self.stem = nn.Conv2d(in_channels + detail_channels(2, planes), features, 4, stride=2, padding=1)
        self.body = nn.Sequential(*[ResidualBlock(nn.Conv2d, features) for _ in range(blocks)])
        self.head = nn.Sequential(
            nn.Conv2d(features, features, 3, padding=1), nn.ReLU(), nn.ConvTranspose2d(features, 1, 2, stride=2)
        )
        self._initialise()

    def _initialise(self) -> None:
        """Draw weights that keep the scale of signals; what is found starts near zero."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            for module in self.body:
                module.second.weight.mul_(RESIDUAL_GAIN)  # type: ignore[operator, union-attr]
        nn.init.normal_(self.head[-1].weight, std=1e-3)  # type: ignore[arg-type]
        nn.init.zeros_(self.head[-1].bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to noise and detail (N, 2, H, W), one of them zero."""
        first = self.stem(with_details(x, self.planes))
        found: torch.Tensor = self.head(first + self.body(first))
        nothing = torch.zeros_like(found)
        return torch.cat([found, nothing] if self.part == "noise" else [nothing, found], dim=1)
