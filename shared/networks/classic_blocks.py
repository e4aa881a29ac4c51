"""The parts of the classical U-Net: residual blocks with a shortcut, attention over an image, two ways to resample.

Shapes: x (B, C, *spatial) with one, two or three spatial axes; an embedding (B, E), its SiLU already taken; a context
(B, L, W).
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from shared.networks.layers import CONVOLUTIONS, GroupNorm, upsampled_convolution, zero
from shared.networks.tokens import TokenAttention

POOL = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


class ClassicBlock(nn.Module):
    """shortcut(x) + conv(silu(modulated norm(conv(silu(norm(x)))))): Ho et al. 2020, Dhariwal and Nichol 2021.

    modulation  "shift": norm(h + e), "scale_shift": norm(h) (1 + e_1) + e_2, both linear in the embedding
    resample    "down" halves every axis before the first convolution, "up" doubles it; the shortcut does the same
    """

    def __init__(
        self,
        dims: int,
        c_in: int,
        c_out: int,
        embedding: int,
        *,
        groups: int,
        eps: float,
        modulation: Literal["shift", "scale_shift"],
        dropout: float = 0.0,
        resample: Literal["down", "up"] | None = None,
    ) -> None:
        super().__init__()
        conv = CONVOLUTIONS[dims]
        self.dims, self.resample, self.scales = dims, resample, modulation == "scale_shift"
        self.norm_in = GroupNorm(groups, c_in, eps=eps)
        self.conv_in = conv(c_in, c_out, 3, padding=1)
        self.modulation = nn.Linear(embedding, c_out * (2 if self.scales else 1))
        self.norm_out = GroupNorm(groups, c_out, eps=eps)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = conv(c_out, c_out, 3, padding=1)
        zero(self.conv_out)
        self.shortcut = nn.Identity() if c_in == c_out else conv(c_in, c_out, 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = F.silu(self.norm_in(x))
        if self.resample == "up":
            h = upsampled_convolution(h, self.conv_in.weight, self.conv_in.bias)
            x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        elif self.resample == "down":
            h, x = self.conv_in(POOL[self.dims](h, 2)), POOL[self.dims](x, 2)
        else:
            h = self.conv_in(h)
        said = self.modulation(embedding)
        said = said.reshape(*said.shape, *[1] * self.dims)
        if self.scales:
            scale, shift = said.chunk(2, dim=1)
            h = self.norm_out(h) * (1 + scale) + shift
        else:
            h = self.norm_out(h + said)
        return self.shortcut(x) + self.conv_out(self.dropout(F.silu(h)))


class ImageAttention(nn.Module):
    """x + attention(norm(x)) over all positions; groups 0 leaves the norm out."""

    def __init__(self, channels: int, heads: int, *, groups: int, eps: float) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, channels, eps=eps) if groups else nn.Identity()
        self.attention = TokenAttention(channels, heads)
        zero(self.attention.out)

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (B, N, C)
        return x + self.attention(tokens).transpose(1, 2).reshape(x.shape)


class ContextBlock(nn.Module):
    """Attention within x, then to the context, then a gated MLP (Shazeer 2020), each after a norm and added."""

    def __init__(self, width: int, heads: int, source: int) -> None:
        super().__init__()
        self.norm_self, self.norm_context, self.norm_mlp = (nn.LayerNorm(width) for _ in range(3))
        self.attention = TokenAttention(width, heads, bias=False)
        self.context = TokenAttention(width, heads, source=source, bias=False)
        self.enter = nn.Linear(width, 8 * width)
        self.out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        x = x + self.attention(self.norm_self(x))
        x = x + self.context(self.norm_context(x), source=context)
        value, gate = self.enter(self.norm_mlp(x)).chunk(2, dim=2)
        return x + self.out(value * F.gelu(gate))


class ContextAttention(nn.Module):
    """x + out(blocks(enter(norm(x)), context)): the spatial transformer of Rombach et al. 2022."""

    def __init__(self, channels: int, heads: int, source: int, *, layers: int, groups: int, eps: float) -> None:
        super().__init__()
        self.norm = GroupNorm(groups, channels, eps=eps)
        self.enter, self.out = nn.Linear(channels, channels), nn.Linear(channels, channels)
        self.blocks = nn.ModuleList(ContextBlock(channels, heads, source) for _ in range(layers))
        zero(self.out)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        tokens = self.enter(self.norm(x).flatten(2).transpose(1, 2))  # (B, N, C)
        for block in self.blocks:
            tokens = block(tokens, context)
        return x + self.out(tokens).transpose(1, 2).reshape(x.shape)


class DownConvolution(nn.Module):
    """A 3-wide convolution of stride 2. padding "both" sides by one; "after" alone, as Ho et al. 2020 have it."""

    def __init__(self, dims: int, channels: int, padding: Literal["both", "after"]) -> None:
        super().__init__()
        self.after = (0, 1) * dims if padding == "after" else None
        self.conv = CONVOLUTIONS[dims](channels, channels, 3, stride=2, padding=0 if self.after else 1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return self.conv(x if self.after is None else F.pad(x, self.after))


class UpConvolution(nn.Module):
    """Every voxel twice along each axis, then a 3-wide convolution (layers.upsampled_convolution)."""

    def __init__(self, dims: int, channels: int) -> None:
        super().__init__()
        self.conv = CONVOLUTIONS[dims](channels, channels, 3, padding=1)

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        return upsampled_convolution(x, self.conv.weight, self.conv.bias)
