"""A network that looks at a whole head coarsely and says how its contrast is to be changed from place to place.

Input: the features of :func:`~MRHarmonizationLib.core.local_tone.local_features` at 4 mm, and which contrast is wanted.
Output: the coefficients of :func:`~MRHarmonizationLib.core.local_tone.apply_coefficients` at 8 mm. A U-Net whose lowest
level is averaged over the head, so that every place knows the whole.
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
    """Two normalised convolutions, added to the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(channels, channels, 3, padding=1)
        self.second = nn.Conv3d(channels, channels, 3, padding=1)
        self.norms = nn.ModuleList(nn.GroupNorm(8, channels) for _ in range(2))
        nn.init.zeros_(self.second.weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.first(functional.silu(self.norms[0](x)))
        return x + self.second(functional.silu(self.norms[1](y)))


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
    """

    def __init__(self, in_channels: int, widths: Sequence[int] = (48, 96, 128), blocks: int = 2) -> None:
        super().__init__()
        fine, middle, coarse = (int(w) for w in widths)
        self.stem = nn.Conv3d(in_channels, fine, 4, stride=2, padding=1)
        self.enter = nn.Sequential(*(_Block(fine) for _ in range(blocks)))
        self.down = nn.Conv3d(fine, middle, 2, stride=2)
        self.between = nn.Sequential(*(_Block(middle) for _ in range(blocks)))
        self.lower = nn.Conv3d(middle, coarse, 2, stride=2)
        self.bottom = nn.Sequential(*(_Block(coarse) for _ in range(blocks)))
        self.whole = nn.Sequential(nn.Linear(coarse, coarse), nn.SiLU(), nn.Linear(coarse, coarse))
        self.raise_ = nn.Conv3d(coarse, middle, 1)
        self.join_middle = nn.Conv3d(2 * middle, middle, 3, padding=1)
        self.leave_middle = _Block(middle)
        self.up = nn.Conv3d(middle, fine, 1)
        self.join_fine = nn.Conv3d(2 * fine, fine, 3, padding=1)
        self.leave = nn.Sequential(*(_Block(fine) for _ in range(blocks)))
        self.norm = nn.GroupNorm(8, fine)
        self.head = nn.Conv3d(fine, COEFFICIENTS, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)
        knots = torch.linspace(0.0, LAST_KNOT, KNOTS)
        self.register_buffer("knots", knots.reshape(1, KNOTS, 1, 1, 1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, 8k, 8j, 8i) at 4 mm to coefficients (N, COEFFICIENTS, 4k, 4j, 4i) at 8 mm."""
        fine = self.enter(self.stem(x))
        middle = self.between(self.down(fine))
        coarse = self.bottom(self.lower(middle))
        seen = self.whole(coarse.mean(dim=(2, 3, 4)))
        coarse = coarse + seen[:, :, None, None, None]
        coarse = functional.interpolate(self.raise_(coarse), scale_factor=2.0, mode="nearest")
        middle = self.leave_middle(self.join_middle(torch.cat((middle, coarse), dim=1)))
        wide = functional.interpolate(self.up(middle), scale_factor=2.0, mode="nearest")
        fine = self.leave(self.join_fine(torch.cat((fine, wide), dim=1)))
        raw = self.head(functional.silu(self.norm(fine))).float()
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
