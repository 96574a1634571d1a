"""A 3-D U-Net that says how likely every voxel of a head belongs to which structure, at half the image's resolution.

The image enters as its eight interleaved halves (space to depth) and every position of the coarse grid answers for its
eight voxels (depth to space), so context and detail cost what a network of half the resolution costs.

Sources: Ronneberger et al., MICCAI 2015, doi 10.1007/978-3-319-24574-4_28, and Isensee et al., Nat. Methods 18:203
(2021), doi 10.1038/s41592-020-01008-z, for the U-Net with instance normalisation; Shi et al., CVPR 2016,
doi 10.1109/CVPR.2016.207, for depth to space.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.models import MODELS

#: Voxels along an axis that one position of the coarse grid answers for, and all of them.
STEP, CELL = 2, 8
#: Channels of position: towards superior, anterior and right.
POSITIONS = 3
#: Slope of the rectifiers below zero.
SLOPE = 0.01


def space_to_depth(x: torch.Tensor) -> torch.Tensor:
    """Return (N, 8, D/2, H/2, W/2) of (N, 1, D, H, W), the voxels of a cell in the order of their indices."""
    n, _, d, h, w = x.shape
    cells = x.reshape(n, d // STEP, STEP, h // STEP, STEP, w // STEP, STEP)
    return cells.permute(0, 2, 4, 6, 1, 3, 5).reshape(n, CELL, d // STEP, h // STEP, w // STEP)


def _convolutions(width: int, channels: int, count: int = 2) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (width, *[channels] * (count - 1)):
        layers += [
            nn.Conv3d(before, channels, 3, padding=1, bias=False),
            nn.InstanceNorm3d(channels, affine=True),
            nn.LeakyReLU(SLOPE),
        ]
    return nn.Sequential(*layers)


@MODELS.register("region_unet")
class RegionUNet(nn.Module):
    """U-Net at half resolution that answers with the probabilities of classes for every voxel.

    Parameters
    ----------
    classes : int
        Background among them.
    features : sequence of int
        Channels at 1/2, 1/4, 1/8 … of the image's resolution; at least two.
    hidden : int
        Channels between the U-Net and the classes of a cell.

    Notes
    -----
    Input (N, 4, D, H, W): the normalised image, and where each voxel lies from the brain's middle towards superior,
    anterior and right, see ``inference/region_input.py``. Output (N, classes, D, H, W) probabilities. Sizes must be
    multiples of ``stride``. Instance normalisation lets all of a tile matter to each of its voxels: ``halo`` is what
    matters most.
    """

    def __init__(self, classes: int = 33, features: Sequence[int] = (32, 64, 128), hidden: int = 96) -> None:
        super().__init__()
        if len(features) < 2 or not 2 <= classes <= 256:
            raise ParameterError(f"{classes} classes, features {features}", "give 2 to 256 classes and two features")
        depth = len(features)
        self.classes = classes
        self.stride = STEP**depth
        self.halo = 32
        widths = [CELL + POSITIONS, *features]
        self.encoders = nn.ModuleList(
            [_convolutions(widths[n], features[n], 2 if n < depth - 1 else 4) for n in range(depth)]
        )
        self.down = nn.ModuleList([nn.Conv3d(features[n], features[n], 2, stride=2) for n in range(depth - 1)])
        # the finest step up keeps all that the level below knows of the structure; the cells look at it again
        above = [features[1], *features[1:-1]]
        self.up = nn.ModuleList([nn.ConvTranspose3d(features[n + 1], above[n], 2, stride=2) for n in range(depth - 1)])
        self.decoders = nn.ModuleList([_convolutions(2 * features[n], features[n]) for n in range(depth - 1)])
        self.hidden = nn.Linear(features[0] + features[1] + CELL + POSITIONS, hidden)
        self.head = nn.Linear(hidden, CELL * classes)

    def cells(self, x: torch.Tensor) -> torch.Tensor:
        """Return what is known of every cell, (N, channels of ``hidden``, D/2, H/2, W/2)."""
        given = torch.cat([space_to_depth(x[:, :1]), x[:, 1:, ::STEP, ::STEP, ::STEP]], dim=1)
        skips, x = [], given
        for n, encoder in enumerate(self.encoders):
            x = encoder(x)
            if n < len(self.down):
                skips.append(x)
                x = self.down[n](x)
        coarse = x
        for n in range(len(self.up) - 1, -1, -1):
            coarse = self.up[n](x)
            x = self.decoders[n](torch.cat([coarse[:, : skips[n].shape[1]], skips[n]], dim=1))
        return torch.cat([x, coarse, given.to(x.dtype)], dim=1)

    def logits(self, cells: torch.Tensor) -> torch.Tensor:
        """Return the logits (M, 8, classes) of M cells (M, channels)."""
        hidden = nn.functional.leaky_relu(self.hidden(cells), SLOPE)
        result: torch.Tensor = self.head(hidden)
        return result.reshape(-1, CELL, self.classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, 4, D, H, W) to probabilities (N, classes, D, H, W)."""
        cells = self.cells(x)
        n, width, d, h, w = cells.shape
        flat = cells.permute(0, 2, 3, 4, 1).reshape(n * d * h * w, width)
        likely = torch.softmax(self.logits(flat), -1)
        # (N, D/2, H/2, W/2, 2, 2, 2, classes) to (N, classes, D, H, W)
        blocks = likely.reshape(n, d, h, w, STEP, STEP, STEP, self.classes).permute(0, 7, 1, 4, 2, 5, 3, 6)
        return blocks.reshape(n, self.classes, d * STEP, h * STEP, w * STEP)
