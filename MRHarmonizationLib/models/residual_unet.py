"""Residual U-Net that works at half the input's resolution, for planes (2.5-D) or blocks (3-D).

An enhanced scan is a smooth interpolation to begin with, so the first layer may halve the resolution at no loss: the
costly full-resolution layers go, and the receptive field doubles (compare Shi et al., CVPR 2016, doi
10.1109/CVPR.2016.207, and Zhang et al., FFDNet, doi 10.1109/TIP.2018.2839891). No normalisation layers, so a tile sees
what the whole image sees.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.models import MODELS

#: Distances of the second differences that are given to the network beside the image, in voxels, and their gain.
DETAIL_STEPS, DETAIL_GAIN = (1, 2, 4), 2.0
#: Initial weight of a residual block's correction.
RESIDUAL_GAIN = 0.3


def second_differences(image: torch.Tensor) -> torch.Tensor:
    """Return 2x − x(+d) − x(−d) along every spatial axis at every step of :data:`DETAIL_STEPS`.

    Neighbouring voxels of an interpolated scan are nearly equal, so a network fed with intensities alone learns
    sharpening very slowly; the differences carry the same information decorrelated.

    Parameters
    ----------
    image : Tensor, shape (N, 1, …)

    Returns
    -------
    Tensor, shape (N, axes × steps, …)
    """
    channels = []
    for axis in range(2, image.ndim):
        for step in DETAIL_STEPS:
            widths = [0, 0] * (image.ndim - 2)
            widths[2 * (image.ndim - 1 - axis)] = widths[2 * (image.ndim - 1 - axis) + 1] = step
            padded = functional.pad(image, widths, mode="replicate")
            size = image.shape[axis]
            pair = padded.narrow(axis, 0, size) + padded.narrow(axis, 2 * step, size)
            channels.append(DETAIL_GAIN * (2.0 * image - pair))
    return torch.cat(channels, dim=1)


def with_details(x: torch.Tensor, planes: int) -> torch.Tensor:
    """Return what the generators of this package start from: the channels, decorrelated details beside them.

    Parameters
    ----------
    x : Tensor, shape (N, C, …)
        ``planes`` neighbouring planes (1 for blocks), then conditioning channels.
    planes : int

    Returns
    -------
    Tensor, shape (N, C + :func:`detail_channels`, …)
        The channels, :func:`second_differences` of the middle plane, and the differences of the other planes to it.
    """
    middle = planes // 2
    centre = x.narrow(1, middle, 1)
    across = [DETAIL_GAIN * (x.narrow(1, n, 1) - centre) for n in range(planes) if n != middle]
    return torch.cat([x, second_differences(centre), *across], dim=1)


def detail_channels(dimensions: int, planes: int) -> int:
    """Return how many channels :func:`with_details` adds."""
    return dimensions * len(DETAIL_STEPS) + planes - 1


class ResidualBlock(nn.Module):
    """Two convolutions around a ReLU, added to the input; starts close to the identity."""

    def __init__(self, conv: type[nn.Module], channels: int) -> None:
        super().__init__()
        self.first = conv(channels, channels, 3, padding=1)
        self.second = conv(channels, channels, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, …) to the same shape."""
        corrected: torch.Tensor = x + self.second(torch.relu(self.first(torch.relu(x))))
        return corrected


@MODELS.register("residual_unet")
class ResidualUNet(nn.Module):
    """U-Net of residual blocks; the output is a correction to be added to the image channel.

    Parameters
    ----------
    dimensions : {2, 3}
        Convolutions on planes or on blocks.
    in_channels : int
        Image and conditioning channels.
    planes : int
        How many of the first channels are neighbouring planes, the corrected one in their middle; 1 for blocks.
    features : sequence of int
        Channels at 1/2, 1/4, 1/8 … of the input's resolution.
    blocks : sequence of int
        Residual blocks per level, on the way down and again on the way up (the deepest level once).
    outputs : int
        Channels of the output.

    Notes
    -----
    Input (N, in_channels, …), output (N, outputs, …); every spatial size must be a multiple of ``stride``.
    """

    def __init__(
        self,
        dimensions: int = 2,
        in_channels: int = 8,
        planes: int = 5,
        features: Sequence[int] = (64, 96, 128),
        blocks: Sequence[int] = (2, 2, 3),
        outputs: int = 1,
    ) -> None:
        super().__init__()
        if dimensions not in (2, 3) or len(features) != len(blocks) or not features:
            raise ParameterError(
                f"dimensions {dimensions}, features {features}, blocks {blocks}",
                "use 2 or 3, and one block count per level",
            )
        conv = nn.Conv2d if dimensions == 2 else nn.Conv3d
        transposed = nn.ConvTranspose2d if dimensions == 2 else nn.ConvTranspose3d
        self.stride = 2 ** len(features)
        self.planes = planes
        self.halo = _reach(blocks)
        self.stem = conv(in_channels + detail_channels(dimensions, planes), features[0], 4, stride=2, padding=1)

        def level(n: int) -> nn.Sequential:
            return nn.Sequential(*[ResidualBlock(conv, features[n]) for _ in range(blocks[n])])

        depth = len(features)
        self.encoders = nn.ModuleList([level(n) for n in range(depth)])
        self.decoders = nn.ModuleList([level(n) for n in range(depth - 1)])
        self.down = nn.ModuleList([conv(features[n], features[n + 1], 2, stride=2) for n in range(depth - 1)])
        self.up = nn.ModuleList([transposed(features[n + 1], features[n], 2, stride=2) for n in range(depth - 1)])
        self.head = nn.Sequential(
            conv(features[0], features[0], 3, padding=1), nn.ReLU(), transposed(features[0], outputs, 2, stride=2)
        )
        self._initialise()

    def _initialise(self) -> None:
        """Draw weights that keep the scale of signals without normalisation layers; corrections start near zero."""
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Conv3d)):
                nn.init.kaiming_normal_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                with torch.no_grad():
                    module.second.weight.mul_(RESIDUAL_GAIN)  # type: ignore[operator]
        nn.init.normal_(self.head[-1].weight, std=1e-3)  # type: ignore[arg-type]
        nn.init.zeros_(self.head[-1].bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, …) to the correction (N, outputs, …)."""
        x = self.stem(with_details(x, self.planes))
        skips = []
        for n, encoder in enumerate(self.encoders):
            x = encoder(x)
            if n < len(self.down):
                skips.append(x)
                x = self.down[n](x)
        for n in range(len(self.up) - 1, -1, -1):
            x = self.decoders[n](self.up[n](x) + skips[n])
        correction: torch.Tensor = self.head(x)
        return correction


def _reach(blocks: Sequence[int]) -> int:
    """Return how far, in voxels, an input voxel can reach into the output.

    Each level contributes its 3-wide convolutions at its own step; strided layers add their kernels.
    """
    reach = 2 + 2  # stem of four at step one, head convolution at step two
    for level, count in enumerate(blocks):
        step = 2 ** (level + 1)
        passes = 2 if level < len(blocks) - 1 else 1
        reach += step * 2 * count * passes + step
    return reach
