"""A network that looks at a whole head coarsely and says how its contrast is to be changed from place to place.

Input: the features of :func:`~MRHarmonizationLib.core.local_tone.local_features` at 4 mm, and which contrast is wanted.
Output, at 8 mm: coefficients of :func:`~MRHarmonizationLib.core.local_tone.apply_coefficients`. A U-Net whose blocks
are scaled and shifted by a summary of the whole head: what an intensity means depends on all of them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from MRHarmonizationLib.core.local_tone import BANDS, COEFFICIENTS, KNOTS, LAST_KNOT
from MRHarmonizationLib.models import MODELS

#: Largest change of a band's weight: weights lie between 1 / (1 + this) and 1 + this.
BAND_RANGE = 3.0


class _Block(nn.Module):
    """Two normalised convolutions, added to the input, scaled and shifted by what is known of the whole head.

    Source: Perez et al., FiLM, AAAI 2018, arXiv 1709.07871.
    """

    def __init__(self, channels: int, known: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(channels, channels, 3, padding=1)
        self.second = nn.Conv3d(channels, channels, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(8, channels) for _ in range(2))
        self.film = nn.Linear(known, 2 * channels)
        nn.init.zeros_(self.second.weight)
        nn.init.normal_(self.film.weight, std=0.02)
        nn.init.zeros_(self.film.bias)

    def forward(self, x: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        scale, shift = self.film(known)[:, :, None, None, None].chunk(2, dim=1)
        y = self.first(functional.silu(self.norms[0](x) * (1.0 + scale) + shift))
        return x + self.second(functional.silu(self.norms[1](y)))


class _Level(nn.ModuleList):
    """Blocks in a row."""

    def __init__(self, channels: int, known: int, blocks: int) -> None:
        super().__init__(_Block(channels, known) for _ in range(blocks))

    def forward(self, x: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
        for block in self:
            x = block(x, known)
        return x


@MODELS.register("tone_grid")
class ToneGrid(nn.Module):
    """U-Net over features of a head.

    Parameters
    ----------
    in_channels : int
        Features and one channel per contrast.
    widths : three ints
        Channels at 8, 16 and 32 mm; multiples of 8.
    blocks : int
        Residual blocks per level.
    known : int
        Numbers that summarise the head.
    """

    def __init__(
        self, in_channels: int, widths: Sequence[int] = (32, 64, 96), blocks: int = 2, known: int = 64
    ) -> None:
        super().__init__()
        fine, middle, coarse = (int(w) for w in widths)
        self.look = nn.Conv3d(in_channels, known, 1)
        self.known = nn.Sequential(nn.Linear(known + in_channels, known), nn.SiLU(), nn.Linear(known, known), nn.SiLU())
        self.stem = nn.Conv3d(in_channels, fine, 4, stride=2, padding=1)
        self.enter = _Level(fine, known, blocks)
        self.down = nn.Conv3d(fine, middle, 2, stride=2)
        self.between = _Level(middle, known, blocks)
        self.lower = nn.Conv3d(middle, coarse, 2, stride=2)
        self.bottom = _Level(coarse, known, blocks)
        self.whole = nn.Sequential(nn.Linear(coarse, known), nn.SiLU(), nn.Linear(known, known))
        self.rise = nn.Conv3d(coarse, middle, 1)
        self.join_middle = nn.Conv3d(2 * middle, middle, 3, padding=1)
        self.leave_middle = _Level(middle, known, 1)
        self.up = nn.Conv3d(middle, fine, 1)
        self.join_fine = nn.Conv3d(2 * fine, fine, 3, padding=1)
        self.leave = _Level(fine, known, blocks)
        self.norm = nn.GroupNorm(8, fine)
        self.head = nn.Conv3d(fine, COEFFICIENTS, 1)
        self.everywhere = nn.Linear(known, COEFFICIENTS)
        for last in (self.head, self.everywhere):
            nn.init.zeros_(last.weight)
            assert last.bias is not None
            nn.init.zeros_(last.bias)
        knots = torch.linspace(0.0, LAST_KNOT, KNOTS)
        self.register_buffer("knots", knots.reshape(1, KNOTS, 1, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, 8k, 8j, 8i) at 4 mm to coefficients (N, COEFFICIENTS, 4k, 4j, 4i) at 8 mm."""
        seen = torch.cat((functional.silu(self.look(x)).mean(dim=(2, 3, 4)), x.mean(dim=(2, 3, 4))), dim=1)
        known = self.known(seen)
        fine = self.enter(self.stem(x), known)
        middle = self.between(self.down(fine), known)
        coarse = self.bottom(self.lower(middle), known)
        known = known + self.whole(coarse.mean(dim=(2, 3, 4)))
        coarse = functional.interpolate(self.rise(coarse), scale_factor=2.0, mode="nearest")
        middle = self.leave_middle(self.join_middle(torch.cat((middle, coarse), dim=1)), known)
        wide = functional.interpolate(self.up(middle), scale_factor=2.0, mode="nearest")
        fine = self.leave(self.join_fine(torch.cat((fine, wide), dim=1)), known)
        raw = self.head(functional.silu(self.norm(fine))) + self.everywhere(known)[:, :, None, None, None]
        raw = raw.float()
        weights = torch.exp(torch.tanh(raw[:, :BANDS]) * math.log(1.0 + BAND_RANGE))
        return torch.cat((weights, self.knots + raw[:, BANDS:]), dim=1)


def apply_to_bands(bands: torch.Tensor, coefficients: torch.Tensor) -> torch.Tensor:
    """Apply coefficients to bands of detail, differentiably.

    Parameters
    ----------
    bands : Tensor, shape (N, BANDS, K, J, I)
    coefficients : Tensor, shape (N, COEFFICIENTS, k, j, i)
        On a grid that covers the same box, each of whose cells is a whole number of voxels.

    Returns
    -------
    Tensor, shape (N, 1, K, J, I)
    """
    size = [int(n) for n in bands.shape[2:]]
    dense = functional.interpolate(coefficients, size=size, mode="trilinear", align_corners=False)
    mixed = (dense[:, :BANDS] * bands).sum(dim=1, keepdim=True)
    place = mixed * ((KNOTS - 1) / LAST_KNOT)
    lower = place.detach().floor().clamp(0, KNOTS - 2)
    index = lower.long()
    curve = dense[:, BANDS:]
    low, high = curve.gather(1, index), curve.gather(1, index + 1)
    return low + (place - lower) * (high - low)
