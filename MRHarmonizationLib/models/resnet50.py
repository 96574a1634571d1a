"""ResNet-50 for grey images: layer for layer, and name for name, the network of torchvision.

torchvision itself is not asked for, because its binaries must match torch's build exactly. Weights of torchvision's
``resnet50`` (first layer and classifier aside) load into this class unchanged.

Source: He et al., CVPR 2016, doi 10.1109/CVPR.2016.90; stride in the 3 × 3 convolution of a block, as torchvision has
it (Goyal et al. 2017, arXiv 1706.02677).
"""

from __future__ import annotations

import torch
from torch import nn

from MRHarmonizationLib.models import MODELS

#: Blocks and inner channels of the four stages.
STAGES = ((3, 64), (4, 128), (6, 256), (3, 512))
#: Output channels of a block per inner channel.
EXPANSION = 4


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3 and 1 × 1 convolutions with batch normalisation, added to the (projected) input."""

    def __init__(self, in_channels: int, channels: int, stride: int = 1) -> None:
        super().__init__()
        out_channels = channels * EXPANSION
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or in_channels != out_channels:
            projection = nn.Conv2d(in_channels, out_channels, 1, stride=stride, bias=False)
            self.downsample = nn.Sequential(projection, nn.BatchNorm2d(out_channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, C, H, W) to (N, 4 × channels, H / stride, W / stride)."""
        identity = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        result: torch.Tensor = self.relu(self.bn3(self.conv3(y)) + identity)
        return result


@MODELS.register("resnet50")
class ResNet50(nn.Module):
    """Classifier of grey images with 50 layers.

    Parameters
    ----------
    classes : int
    in_channels : int

    Notes
    -----
    Input (N, in_channels, H, W) with sides of at least 32, output (N, classes): logits.
    """

    def __init__(self, classes: int, in_channels: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        width = 64
        for number, (blocks, channels) in enumerate(STAGES, start=1):
            stage = []
            for block in range(blocks):
                stage.append(Bottleneck(width, channels, 2 if number > 1 and block == 0 else 1))
                width = channels * EXPANSION
            setattr(self, f"layer{number}", nn.Sequential(*stage))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, classes)
        self._initialise()

    def _initialise(self) -> None:
        """Draw weights as torchvision does with ``zero_init_residual``: every block starts as its shortcut alone."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to the 2,048 values before the classifier, (N, 2048)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for number in range(1, len(STAGES) + 1):
            x = getattr(self, f"layer{number}")(x)
        return torch.flatten(self.avgpool(x), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to logits (N, classes)."""
        logits: torch.Tensor = self.fc(self.features(x))
        return logits
