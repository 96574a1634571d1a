"""The autoencoder of the latent degraders: a plane to a code of a quarter of its size along each axis, and back.

A code of factor 4 has one position for 16 pixels. White noise cannot be compressed: with C channels at most C / 16 of
its power comes back, so the usual three or four channels would turn noise into blotches. Measured (200 steps on white
noise): 4, 8 and 16 channels return 24, 50 and more than 99.99 % of its power. The code therefore has 16 channels by
default, and what is gained by it is not compression but that the denoiser works on a sixteenth of the positions, with a
decorrelated code whose channels start as the 4 × 4 cosine transform. Wider or deeper networks gain nothing here, and
the codes of three planes per patch have to be made at every step of a denoiser's training, so it is small.

The maintained parts of ``diffusers`` 0.42 were measured on one core and left out: its autoencoder of factor 4 with 16
channels (2.7 million parameters) takes .94 s for a step of 8 planes of 64 × 64 pixels where this one takes .06 s for
40, and returns 3 % of the power of white noise after 60 steps; its U-Net of the denoiser's widths has 5.1 million
parameters (20 MB) and takes .55 s for a step that ``latent_denoiser`` does in .17 s. Importing it takes 3.3 s, its
group normalisation treats a part of a plane otherwise than the whole, and the sampler must run without torch anyway.

The encoder answers with mean and logarithm of the variance of a Gaussian (Kingma & Welling, arXiv 1312.6114); a small
weight of its divergence from the standard normal keeps the codes compact (Rombach et al., CVPR 2022, arXiv 2112.10752).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.models import MODELS

#: Pixels along each axis for one position of the code, and all of them.
FACTOR, CELL = 4, 16
#: Limits of the logarithm of the variance, and its initial value.
LOG_VARIANCE = (-12.0, 4.0)
FIRST_LOG_VARIANCE = -6.0
#: Initial weight of a residual block's correction.
RESIDUAL_GAIN = 0.3


def cosine_basis() -> torch.Tensor:
    """Return the 4 × 4 cosine transform of an unfolded cell, shape (16, 16), rows from low to high frequency."""
    one = np.array([[np.cos(np.pi * (2 * x + 1) * f / 8.0) for x in range(4)] for f in range(4)])
    one *= np.array([0.5, 0.5**0.5, 0.5**0.5, 0.5**0.5])[:, None]
    both = np.einsum("ax,by->abxy", one, one).reshape(CELL, CELL)
    order = sorted(range(CELL), key=lambda n: ((n // 4) ** 2 + (n % 4) ** 2, n))
    return torch.from_numpy(both[order]).float()


class _Block(nn.Module):
    """Two convolutions around rectifiers, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        with torch.no_grad():
            self.second.weight.mul_(RESIDUAL_GAIN)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        corrected: torch.Tensor = x + self.second(functional.silu(self.first(functional.silu(x))))
        return corrected


def _tower(width: int, features: int, blocks: int, outputs: int) -> nn.Sequential:
    layers = [nn.Conv2d(width, features, 3, padding=1), *[_Block(features) for _ in range(blocks)], nn.SiLU()]
    last = nn.Conv2d(features, outputs, 3, padding=1)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)  # type: ignore[arg-type]
    return nn.Sequential(*layers, last)


@MODELS.register("kl_autoencoder")
class KLAutoencoder(nn.Module):
    """KL autoencoder of factor 4 on unfolded planes.

    Parameters
    ----------
    channels : int
        Of the code, 1 to 16.
    features, blocks : int
        Width and residual blocks of encoder and decoder.

    Notes
    -----
    The exported network has one input and one output, so that one file holds both halves: (N, 16 + channels, h, w), the
    16 pixels of every cell (``inference/latent_codec.py`` unfolds planes) and a code; out come the code of the pixels
    and the pixels of the code, (N, channels + 16, h, w). Any h and w.
    """

    stride = 1

    def __init__(self, channels: int = CELL, features: int = 32, blocks: int = 1) -> None:
        super().__init__()
        if not 1 <= channels <= CELL or features < 1 or blocks < 0:
            raise ParameterError(
                f"{channels} channels, {features} features, {blocks} blocks",
                "give 1 to 16 channels, a width and blocks",
            )
        self.channels = channels
        self.halo = 2 + 2 * blocks
        self.encoder = _tower(CELL, features, blocks, 2 * channels)
        self.decoder = _tower(channels, features, blocks, CELL)
        self.analysis = nn.Conv2d(CELL, channels, 1, bias=False)
        self.synthesis = nn.Conv2d(channels, CELL, 1, bias=False)
        basis = cosine_basis()[:channels]
        with torch.no_grad():
            self.analysis.weight.copy_(basis[:, :, None, None])
            self.synthesis.weight.copy_(basis.T[:, :, None, None])

    def encode(self, cells: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and logarithm of the variance of the code of unfolded planes (N, 16, h, w)."""
        return self.posterior(cells, *self.encoder(cells).chunk(2, dim=1))

    def posterior(
        self, cells: torch.Tensor, correction: torch.Tensor, spread: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return mean and logarithm of the variance from what the encoder's layers said of unfolded planes."""
        return self.analysis(cells) + correction, (spread + FIRST_LOG_VARIANCE).clamp(*LOG_VARIANCE)

    def decode(self, code: torch.Tensor) -> torch.Tensor:
        """Return the unfolded planes (N, 16, h, w) of a code (N, channels, h, w)."""
        cells: torch.Tensor = self.synthesis(code) + self.decoder(code)
        return cells

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map pixels and a code (N, 16 + channels, h, w) to a code and pixels (N, channels + 16, h, w)."""
        return torch.cat([self.encode(x[:, :CELL])[0], self.decode(x[:, CELL:])], dim=1)
