"""A 3-D U-Net that says how a diffusion scan is to be sharpened, place by place.

It returns no image but weights of linear filters (``core/guided_filters``) that are applied to every volume alike, so
that diffusion measures are kept as far as possible.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from MRHarmonizationLib.core.guided_filters import PER_PASS, STEPS
from MRHarmonizationLib.models import MODELS


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv3d(channels, channels, 3, padding=1)
        self.second = nn.Conv3d(channels, channels, 3, padding=1)
        _silence(self.second)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(functional.silu(self.first(functional.silu(x))))


@MODELS.register("dwi_filters")
class DwiFilters(nn.Module):
    """U-Net without normalisation layers: a part of a scan gets what it gets in the whole. All filters idle at first.

    Parameters
    ----------
    in_channels : int
        Log mean unweighted and log mean weighted image relative to white matter, and planes of numbers.
    out_channels : int
        Passes · ``PER_PASS``.
    widths : sequence of int
        Channels at each level, the finest first.
    limit : float
        Weights lie between minus and plus this.
    """

    def __init__(
        self, in_channels: int, out_channels: int, widths: Sequence[int] = (16, 32, 64), limit: float = 0.15
    ) -> None:
        super().__init__()
        sizes = [int(w) for w in widths]
        self.limit = float(limit)
        self.stem = nn.Conv3d(in_channels, sizes[0], 3, padding=1)
        self.enter = nn.ModuleList(_Block(w) for w in sizes)
        self.down = nn.ModuleList(nn.Conv3d(a, b, 2, stride=2) for a, b in zip(sizes, sizes[1:], strict=False))
        self.rise = nn.ModuleList(nn.Conv3d(b, a, 1) for a, b in zip(sizes, sizes[1:], strict=False))
        self.leave = nn.ModuleList(_Block(w) for w in sizes[:-1])
        self.head = nn.Conv3d(sizes[0], out_channels, 3, padding=1)
        _silence(self.head)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, K, J, I), sizes multiples of 2^(levels − 1), to (N, out_channels, K, J, I)."""
        y = self.stem(x)
        kept = []
        for level, enter in enumerate(self.enter):
            y = enter(y)
            if level < len(self.down):
                kept.append(y)
                y = self.down[level](y)
        for level in reversed(range(len(self.leave))):
            y = functional.interpolate(self.rise[level](y), scale_factor=2.0, mode="nearest")
            y = self.leave[level](kept[level] + y)
        return self.limit * torch.tanh(self.head(y).float() / self.limit)


def filter_passes(images: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Filter volumes as ``core/guided_filters.apply_passes`` does, differentiably.

    Parameters
    ----------
    images : Tensor, shape (N, V, K, J, I)
        V volumes that share the weights.
    weights : Tensor, shape (N, passes · PER_PASS, K, J, I)
    """
    for start in range(0, weights.shape[1], PER_PASS):
        change = torch.zeros_like(images)
        for number in range(PER_PASS):
            axis, n = divmod(number, len(STEPS))
            step, dim, size = STEPS[n], axis + 2, images.shape[axis + 2]
            padding = [0, 0] * 3
            padding[2 * (2 - axis)] = padding[2 * (2 - axis) + 1] = step
            padded = functional.pad(images, padding, mode="replicate")
            both = padded.narrow(dim, 0, size) + padded.narrow(dim, 2 * step, size)
            change = change + weights[:, start + number : start + number + 1] * (both - 2.0 * images)
        images = images + change
    return images


def _silence(layer: nn.Conv3d) -> None:
    nn.init.zeros_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
