"""PatchGAN: tells real planes from made ones patch by patch, so that it judges texture rather than anatomy.

Source: Isola et al., CVPR 2017, doi 10.1109/CVPR.2017.632: 4 x 4 convolutions, three of stride two, fields of 70 x 70.
Instance normalisation as in CycleGAN. It is trained with a generator and thrown away after it.
"""

from __future__ import annotations

import torch
from torch import nn

from MRHarmonizationLib.core.errors import ParameterError
from MRHarmonizationLib.models import MODELS

#: Slope of the leaky ReLU below zero.
LEAK = 0.2
#: Standard deviation of the first weights, and factor up to which widths grow. Source: Isola et al.
WEIGHT_DEVIATION, LARGEST_FACTOR = 0.02, 8


@MODELS.register("patch_discriminator")
class PatchDiscriminator(nn.Module):
    """Convolutional judge of planes.

    Parameters
    ----------
    in_channels : int
        1 for a plane alone, 2 for a plane beside the low-field plane that it was made from.
    width : int
        Channels of the first layer.
    layers : int
        Layers of stride two; 3 gives fields of 70 x 70 pixels, see ``field``.

    Notes
    -----
    Input (N, in_channels, H, W), output (N, 1, H / 2^layers − 2, W / 2^layers − 2): one number per patch, large for
    real; not passed through a sigmoid.
    """

    def __init__(self, in_channels: int = 1, width: int = 64, layers: int = 3) -> None:
        super().__init__()
        if width < 1 or layers < 1:
            raise ParameterError(f"width {width} and {layers} layers", "give at least 1 of each")
        modules: list[nn.Module] = [nn.Conv2d(in_channels, width, 4, stride=2, padding=1), nn.LeakyReLU(LEAK)]
        channels = width
        for n in range(1, layers + 1):
            wider = width * min(2**n, LARGEST_FACTOR)
            modules += [
                nn.Conv2d(channels, wider, 4, stride=2 if n < layers else 1, padding=1),
                nn.InstanceNorm2d(wider),
                nn.LeakyReLU(LEAK),
            ]
            channels = wider
        modules.append(nn.Conv2d(channels, 1, 4, padding=1))
        self.body = nn.Sequential(*modules)
        #: Edge of the patch that one output sees, and the smallest plane that can be judged, in pixels.
        self.field = 1 + 3 * (2**layers - 1) + 3 * 2 * 2**layers
        self.smallest = 3 * 2**layers
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=WEIGHT_DEVIATION)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map planes (N, in_channels, H, W) to one number per patch (N, 1, h, w)."""
        judged: torch.Tensor = self.body(x)
        return judged
