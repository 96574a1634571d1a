"""A small convolutional classifier of grey images: a second opinion beside the ResNet-50, at a fiftieth of its cost."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from MRHarmonizationLib.models import MODELS


@MODELS.register("small_cnn")
class SmallCNN(nn.Module):
    """Convolutions at full resolution first, so that noise and blur are seen before anything is pooled.

    Parameters
    ----------
    classes : int
    in_channels : int
    features : sequence of int
        Channels at 1, 1/2, 1/4 … of the input's resolution.

    Notes
    -----
    Input (N, in_channels, H, W), output (N, classes): logits.
    """

    def __init__(self, classes: int, in_channels: int = 1, features: Sequence[int] = (16, 32, 64)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        width = in_channels
        for number, channels in enumerate(features):
            layers += [
                nn.Conv2d(width, channels, 3, stride=1 if number == 0 else 2, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
                nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            ]
            width = channels
        self.body = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(width, classes)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to the values before the classifier, (N, features[-1])."""
        return torch.flatten(self.avgpool(self.body(x)), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, in_channels, H, W) to logits (N, classes)."""
        logits: torch.Tensor = self.fc(self.features(x))
        return logits
