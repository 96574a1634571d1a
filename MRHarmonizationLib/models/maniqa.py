"""MANIQA, a no-reference judge of image quality: a vision transformer, attention across channels, windowed attention.

Layers and names of parameters are those of the authors' network, so their checkpoints can be read; sizes are read from
the checkpoint. No weights come with the library.

Source: Yang et al., CVPRW 2022, arXiv 2204.08958; vision transformer: Dosovitskiy et al. (2021), arXiv
2010.11929; windows: Liu et al., ICCV 2021, doi 10.1109/ICCV48922.2021.00986.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from MRHarmonizationLib.core.errors import ParameterError

#: Blocks of the vision transformer whose tokens are looked at; what lies behind them is not needed.
READ_BLOCKS = (6, 7, 8, 9)
#: Stabiliser of the vision transformer's layer norms, and value that keeps windows apart that only touch by rolling.
VIT_EPSILON, APART = 1e-6, -100.0


@dataclass(frozen=True)
class ManiqaSizes:
    """Sizes of the network; by default those of the authors.

    Attributes
    ----------
    image, patch : int
        Edges in pixels.
    width, heads : int
        Of the vision transformer.
    embed : int
        Channels of the first stage; the second has half of them.
    hidden : int
        Of the perceptrons of the windows.
    stages : tuple of int
        Windowed blocks of each group, the same in both stages.
    window, window_heads : int
    channel_blocks : int
        Blocks of attention across channels in front of each stage.
    scale : float
        What a group of windowed blocks counts beside its input.
    """

    image: int = 224
    patch: int = 8
    width: int = 768
    heads: int = 12
    embed: int = 768
    hidden: int = 768
    stages: tuple[int, ...] = (2, 2)
    window: int = 4
    window_heads: int = 4
    channel_blocks: int = 2
    scale: float = 0.8

    def __post_init__(self) -> None:
        if self.image % self.patch or (self.image // self.patch) % self.window:
            raise ParameterError(f"sizes {self} do not fit each other", "use those of a published checkpoint")
        if self.width % self.heads or (self.embed // 2) % self.window_heads:
            raise ParameterError(f"heads do not divide the widths of {self}", "use those of a published checkpoint")


class _Perceptron(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.act, self.fc2 = nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mapped: torch.Tensor = self.fc2(self.act(self.fc1(x)))
        return mapped


class _Attention(nn.Module):
    """Multi-head attention over tokens (B, N, C), with a bias (…, heads, N, N) where one is given."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        batch, count, width = x.shape
        q, k, v = self.qkv(x).reshape(batch, count, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        weights = q @ k.transpose(-2, -1) * (width // self.heads) ** -0.5
        if bias is not None:
            weights = (weights.reshape(-1, *bias.shape) + bias).reshape(weights.shape)
        mixed: torch.Tensor = self.proj((weights.softmax(dim=-1) @ v).transpose(1, 2).reshape(batch, count, width))
        return mixed


class _TransformerBlock(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.attn = nn.LayerNorm(width, eps=VIT_EPSILON), _Attention(width, heads)
        self.norm2, self.mlp = nn.LayerNorm(width, eps=VIT_EPSILON), _Perceptron(width, 4 * width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attn(self.norm1(x))
        mixed: torch.Tensor = x + self.mlp(self.norm2(x))
        return mixed


class _PatchEmbedding(nn.Module):
    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens: torch.Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return tokens


class _VisionTransformer(nn.Module):
    """As far as it is read: tokens of :data:`READ_BLOCKS`, side by side."""

    def __init__(self, sizes: ManiqaSizes) -> None:
        super().__init__()
        tokens = (sizes.image // sizes.patch) ** 2
        self.patch_embed = _PatchEmbedding(sizes.patch, sizes.width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        self.pos_embed = nn.Parameter(torch.zeros(1, tokens + 1, sizes.width))
        self.blocks = nn.ModuleList([_TransformerBlock(sizes.width, sizes.heads) for _ in range(max(READ_BLOCKS) + 1)])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = self.patch_embed(x)
        tokens = torch.cat([self.cls_token.expand(len(tokens), -1, -1), tokens], dim=1) + self.pos_embed
        read = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number in READ_BLOCKS:
                read.append(tokens[:, 1:])
        return torch.cat(read, dim=2)


class _ChannelAttention(nn.Module):
    """Attention across channels (B, C, N); the result is laid out as the authors' code lays it out."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.c_q, self.c_k, self.c_v = (nn.Linear(tokens, tokens) for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.c_q(x), self.c_k(x), self.c_v(x)
        weights = (q @ k.transpose(-2, -1) * x.shape[-1] ** -0.5).softmax(dim=-1)
        mixed: torch.Tensor = (weights @ v).transpose(1, 2).reshape(x.shape) + x
        return mixed


class _WindowAttention(_Attention):
    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__(width, heads)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        places = torch.stack(torch.meshgrid(torch.arange(window), torch.arange(window), indexing="ij")).flatten(1)
        apart = places[:, :, None] - places[:, None, :] + window - 1
        self.register_buffer("relative_position_index", apart[0] * (2 * window - 1) + apart[1])

    def table(self) -> torch.Tensor:
        """Return the bias of every two places of a window, (heads, N, N)."""
        index: torch.Tensor = self.relative_position_index  # type: ignore[assignment]
        return self.relative_position_bias_table[index.reshape(-1)].reshape(*index.shape, -1).permute(2, 0, 1)


class _WindowBlock(nn.Module):
    def __init__(self, sizes: ManiqaSizes, width: int, shift: int) -> None:
        super().__init__()
        self.window, self.shift, self.edge = sizes.window, shift, sizes.image // sizes.patch
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = _WindowAttention(width, sizes.window_heads, sizes.window)
        self.mlp = _Perceptron(width, sizes.hidden)
        if shift:
            self.register_buffer("attn_mask", self._mask())

    def _mask(self) -> torch.Tensor:
        """Return what keeps parts apart that only rolling has brought into one window, (windows, N, N)."""
        parts = (slice(0, -self.window), slice(-self.window, -self.shift), slice(-self.shift, None))
        named = torch.zeros(1, self.edge, self.edge, 1)
        for number, (rows, columns) in enumerate((r, c) for r in parts for c in parts):
            named[:, rows, columns] = number
        places = self._windows(named).squeeze(-1)
        return torch.where(places[:, None, :] != places[:, :, None], APART, 0.0)

    def _windows(self, x: torch.Tensor) -> torch.Tensor:
        count, w = self.edge // self.window, self.window
        return x.reshape(-1, count, w, count, w, x.shape[-1]).transpose(2, 3).reshape(-1, w * w, x.shape[-1])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, count, width = x.shape
        image = self.norm1(x).reshape(batch, self.edge, self.edge, width)
        image = torch.roll(image, (-self.shift, -self.shift), (1, 2))
        bias = self.attn.table()[None]
        if self.shift:
            bias = bias + self.attn_mask[:, None]  # type: ignore[index]
        windows = self.attn(self._windows(image), bias)
        side, w = self.edge // self.window, self.window
        image = windows.reshape(batch, side, side, w, w, width).transpose(2, 3).reshape(image.shape)
        x = x + torch.roll(image, (self.shift, self.shift), (1, 2)).reshape(batch, count, width)
        mixed: torch.Tensor = x + self.mlp(self.norm2(x))
        return mixed


class _WindowGroup(nn.Module):
    def __init__(self, sizes: ManiqaSizes, width: int, depth: int) -> None:
        super().__init__()
        shifts = [0 if n % 2 == 0 else sizes.window // 2 for n in range(depth)]
        self.blocks = nn.ModuleList([_WindowBlock(sizes, width, shift) for shift in shifts])
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.edge = sizes.image // sizes.patch

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for block in self.blocks:
            x = block(x)
        image = torch.relu(self.conv(x.transpose(1, 2).reshape(len(x), -1, self.edge, self.edge)))
        return image.flatten(2).transpose(1, 2)


class _WindowStage(nn.Module):
    def __init__(self, sizes: ManiqaSizes, width: int) -> None:
        super().__init__()
        self.scale = sizes.scale
        self.layers = nn.ModuleList([_WindowGroup(sizes, width, depth) for depth in sizes.stages])

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        tokens = image.flatten(2).transpose(1, 2)
        for layer in self.layers:
            tokens = layer(tokens) * self.scale + tokens
        return tokens.transpose(1, 2).reshape(image.shape)


class Maniqa(nn.Module):
    """The judge.

    Parameters
    ----------
    sizes : ManiqaSizes

    Notes
    -----
    Input (N, 3, image, image), each channel (grey − .5) / .5; output (N,), higher is better.
    """

    def __init__(self, sizes: ManiqaSizes) -> None:
        super().__init__()
        self.sizes, edge = sizes, sizes.image // sizes.patch
        self.edge, half = edge, sizes.embed // 2
        self.vit = _VisionTransformer(sizes)
        self.tablock1 = nn.ModuleList([_ChannelAttention(edge**2) for _ in range(sizes.channel_blocks)])
        self.conv1 = nn.Conv2d(len(READ_BLOCKS) * sizes.width, sizes.embed, 1)
        self.swintransformer1 = _WindowStage(sizes, sizes.embed)
        self.tablock2 = nn.ModuleList([_ChannelAttention(edge**2) for _ in range(sizes.channel_blocks)])
        self.conv2 = nn.Conv2d(sizes.embed, half, 1)
        self.swintransformer2 = _WindowStage(sizes, half)
        self.fc_score = _head(half, nn.ReLU())
        self.fc_weight = _head(half, nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (N, 3, image, image) to scores (N,)."""
        tokens = self.vit(x).transpose(1, 2)
        tokens = self._stage(tokens, self.tablock1, self.conv1, self.swintransformer1)
        tokens = self._stage(tokens, self.tablock2, self.conv2, self.swintransformer2)
        places = tokens.transpose(1, 2)
        score, weight = self.fc_score(places), self.fc_weight(places)
        mean: torch.Tensor = (score * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))
        return mean

    def _stage(self, tokens: torch.Tensor, blocks: nn.ModuleList, conv: nn.Module, stage: nn.Module) -> torch.Tensor:
        for block in blocks:
            tokens = block(tokens)
        mapped: torch.Tensor = stage(conv(tokens.reshape(len(tokens), -1, self.edge, self.edge)))
        return mapped.flatten(2)


def _head(width: int, last: nn.Module) -> nn.Sequential:
    # the third layer stands for the dropout of training, which the names of the parameters count
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Identity(), nn.Linear(width, 1), last)
