"""The denoiser of the latent degraders: a U-Net on codes, told the time, the level and how the scan was acquired.

No normalisation layers, so a part of a plane is treated as the whole plane would be; what is told (time, level,
acquisition) scales and shifts the features of every block (FiLM: Perez et al., AAAI 2018, arXiv 1709.07871). Beside the
U-Net two gains per channel, functions of what is told, go straight from the noisy code and from the guide's code to the
answer: for noise of a stationary spectrum the first alone is nearly the best answer there is, for blur the second; the
U-Net learns the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.models import MODELS

#: Numbers that are told: time, level, two of the acquisition, whether those two are known, whether all is known.
TOLD = 6
#: Frequencies of the embedding of each number, from one over the range to this many.
FREQUENCIES, HIGHEST_FREQUENCY = 6, 32.0
#: Initial weight of a residual block's correction.
RESIDUAL_GAIN = 0.3


class _Told(nn.Module):
    """What is told, as a vector: sines and cosines of every number through two layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        octaves = torch.exp(torch.linspace(0.0, math.log(HIGHEST_FREQUENCY), FREQUENCIES))
        self.register_buffer("octaves", octaves, persistent=False)
        self.first = nn.Linear(TOLD * (2 * FREQUENCIES + 1), width)
        self.second = nn.Linear(width, width)

    def forward(self, told: torch.Tensor) -> torch.Tensor:
        angle = (told[:, :, None] * self.octaves).flatten(1)  # type: ignore[operator]
        known = torch.cat([told, torch.sin(angle), torch.cos(angle)], dim=1)
        embedded: torch.Tensor = functional.silu(self.second(functional.silu(self.first(known))))
        return embedded


class _Block(nn.Module):
    """Two convolutions, scaled and shifted by what is told in between, added to the input."""

    def __init__(self, width: int, channels: int, told: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.told = nn.Linear(told, 2 * channels)
        self.skip = nn.Conv2d(width, channels, 1) if width != channels else nn.Identity()
        with torch.no_grad():
            self.second.weight.mul_(RESIDUAL_GAIN)
            self.told.weight.mul_(0.1)
            self.told.bias.zero_()

    def forward(self, x: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        gain, shift = self.told(told)[:, :, None, None].chunk(2, dim=1)
        inner = self.first(functional.silu(x)) * (1.0 + gain) + shift
        corrected: torch.Tensor = self.skip(x) + self.second(functional.silu(inner))
        return corrected


class _Level(nn.Module):
    """Blocks of one resolution, one after the other; the first takes ``width`` channels."""

    def __init__(self, width: int, channels: int, blocks: int, told: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([_Block(width if b == 0 else channels, channels, told) for b in range(blocks)])

    def forward(self, x: torch.Tensor, told: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x, told)
        return x


@MODELS.register("latent_denoiser")
class LatentDenoiser(nn.Module):
    """U-Net that answers with the velocity of a noisy code.

    Parameters
    ----------
    channels : int
        Of the code.
    given : int
        Channels that go with it: the codes of the image and of the guide, then maps.
    features : sequence of int
        Channels at 1, 1/2, 1/4 … of the code's resolution.
    blocks : int
        Residual blocks per level, on the way down and again on the way up (the deepest level once).
    told : int
        Width of the vector of what is told.

    Notes
    -----
    Input (N, channels + given + 6, h, w): the noisy code, what goes with it, and six constant planes with the numbers
    that are told, see :data:`TOLD`; output (N, channels, h, w). h and w are multiples of ``stride``.
    """

    def __init__(
        self,
        channels: int = 16,
        given: int = 33,
        features: Sequence[int] = (64, 96, 128),
        blocks: int = 2,
        told: int = 128,
    ) -> None:
        super().__init__()
        if not features or blocks < 1 or channels < 1 or given < 2 * channels:
            raise ParameterError(
                f"features {features}, {blocks} blocks, {channels} channels with {given} given",
                "give at least one of each, and at least two codes",
            )
        self.channels = channels
        depth = len(features)
        self.stride = 2 ** (depth - 1)
        self.halo = 16 * self.stride
        #: Standard deviation of every channel of the codes that are sampled; kept with the weights, used outside.
        self.register_buffer("scale", torch.ones(channels))
        self.told = _Told(told)
        self.stem = nn.Conv2d(channels + given, features[0], 3, padding=1)
        self.encoders = nn.ModuleList([_Level(features[n], features[n], blocks, told) for n in range(depth)])
        self.down = nn.ModuleList([nn.Conv2d(features[n], features[n + 1], 2, stride=2) for n in range(depth - 1)])
        self.up = nn.ModuleList(
            [nn.ConvTranspose2d(features[n + 1], features[n], 2, stride=2) for n in range(depth - 1)]
        )
        self.decoders = nn.ModuleList([_Level(2 * features[n], features[n], blocks, told) for n in range(depth - 1)])
        self.head = nn.Conv2d(features[0], channels, 3, padding=1)
        self.straight = nn.Linear(told, 2 * channels)
        for layer in (self.head, self.straight):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, channels + given + 6, h, w) to the velocity (N, channels, h, w)."""
        told = self.told(x[:, -TOLD:, 0, 0])
        noisy, guide, x = x[:, : self.channels], x[:, 2 * self.channels : 3 * self.channels], x[:, :-TOLD]
        x = self.stem(x)
        skips = []
        for n, level in enumerate(self.encoders):
            x = level(x, told)
            if n < len(self.down):
                skips.append(x)
                x = self.down[n](x)
        for n in range(len(self.up) - 1, -1, -1):
            x = torch.cat([self.up[n](x), skips[n]], dim=1)
            x = self.decoders[n](x, told)
        own, led = self.straight(told)[:, :, None, None].chunk(2, dim=1)
        velocity: torch.Tensor = self.head(functional.silu(x)) + own * noisy + led * guide
        return velocity
