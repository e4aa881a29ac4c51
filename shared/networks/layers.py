"""The parts that the networks share: convolutions in 1, 2 or 3 dimensions, time features, FiLM, attention, patches.

Shapes: x (B, C, *spatial) with one, two or three spatial axes; an embedding (B, E).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CONVOLUTIONS: dict[int, Any] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
CONVOLVE: dict[int, Any] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED: dict[int, Any] = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}
FEW_VOXELS = 64
SMALL_MAP, LANES = 1024, 8  # see GroupNorm
CHANNELS_LAST = {1: torch.contiguous_format, 2: torch.channels_last, 3: torch.channels_last_3d}


def zero(module: nn.Module) -> None:
    """Set every parameter of a module to zero: the branch that it closes starts as the identity."""
    for parameter in module.parameters():
        nn.init.zeros_(parameter)


class GroupNorm(nn.GroupNorm):
    """`nn.GroupNorm`, in the layout of its input.

    On a CPU torch normalises small pictures in channels_last with a kernel that wants the channels of a group to fill
    whole vectors; where they do not, it takes ten times as long as in the plain layout, and there and back is cheaper.
    (Volumes as well, by themselves; inside a network of volumes the detour gained nothing.)
    """

    def forward(self, x: Tensor) -> Tensor:
        odd = x.ndim == 4 and (self.num_channels // self.num_groups) % LANES
        if not odd or x.shape[2] * x.shape[3] >= SMALL_MAP or not x.is_cpu or x.is_contiguous():
            return super().forward(x)
        return super().forward(x.contiguous()).contiguous(memory_format=torch.channels_last)


def convolution(dims: int, c_in: int, c_out: int, kernel: int = 3, *, factorised: bool = False) -> nn.Module:
    """A convolution that keeps the spatial size.

    factorised (three dimensions only): (1, k, k) then (k, 1, 1), k k + k weights a pair of channels in place of k^3,
    for volumes whose first axis is coarser than the other two.
    """
    conv = CONVOLUTIONS[dims]
    if factorised and dims == 3 and kernel > 1:
        half = kernel // 2
        plane = conv(c_in, c_out, (1, kernel, kernel), padding=(0, half, half))
        return nn.Sequential(plane, conv(c_out, c_out, (kernel, 1, 1), padding=(half, 0, 0)))
    return conv(c_in, c_out, kernel, padding=kernel // 2)


def last_convolution(module: nn.Module) -> nn.Module:
    """The convolution that writes the output of what `convolution` returned."""
    return module[-1] if isinstance(module, nn.Sequential) else module


def space_to_depth(x: Tensor, patch: Sequence[int]) -> Tensor:
    """(B, C, *spatial) -> (B, C prod(patch), *(spatial / patch)): every patch becomes one voxel; nothing is lost."""
    if all(p == 1 for p in patch):
        return x
    dims = len(patch)
    split = [n for size, p in zip(x.shape[2:], patch, strict=True) for n in (size // p, p)]
    x = x.reshape(*x.shape[:2], *split)  # (B, C, n1, p1, n2, p2, ...)
    outer, inner = [2 + 2 * d for d in range(dims)], [3 + 2 * d for d in range(dims)]
    x = x.permute(0, 1, *inner, *outer)  # (B, C, p1, p2, ..., n1, n2, ...)
    return x.flatten(1, 1 + dims)


def depth_to_space(x: Tensor, patch: Sequence[int]) -> Tensor:
    """The inverse of `space_to_depth` (pixel shuffle in any number of dimensions)."""
    if all(p == 1 for p in patch):
        return x
    dims = len(patch)
    x = x.reshape(x.shape[0], -1, *patch, *x.shape[2:])  # (B, C, p1, p2, ..., n1, n2, ...)
    pairs = [axis for d in range(dims) for axis in (2 + dims + d, 2 + d)]
    x = x.permute(0, 1, *pairs)  # (B, C, n1, p1, n2, p2, ...)
    sizes = [x.shape[2 + 2 * d] * patch[d] for d in range(dims)]
    return x.reshape(*x.shape[:2], *sizes)


class TimeEmbedding(nn.Module):
    """Sine and cosine features of the time, then two linear layers: (B,) -> (B, E).

    features_k = (cos(w_k t), sin(w_k t)), w_k geometric from frequencies[0] to frequencies[1] (Vaswani et al. 2017; the
    default range serves a clock in 0..1, a log-SNR in -20..20 and a level number in 0..1000 alike). The features are
    computed in float32, or float64 for a float64 network, whatever the dtype of the weights: half precision cannot
    tell level 999 from 1000.
    """

    def __init__(self, width: int, features: int = 128, frequencies: tuple[float, float] = (1e-3, 16.0)) -> None:
        super().__init__()
        half = features // 2
        first, last = (math.log(frequency) for frequency in frequencies)
        self.log_frequencies = [first + (last - first) * k / (half - 1) for k in range(half)]
        self.first = nn.Linear(features, width)
        self.second = nn.Linear(width, width)

    def forward(self, time: Tensor) -> Tensor:
        exact = torch.float64 if self.first.weight.dtype == torch.float64 else torch.float32
        frequencies = torch.tensor(self.log_frequencies, dtype=exact, device=time.device).exp()
        angles = time.to(exact)[:, None] * frequencies  # (B, F / 2)
        features = torch.cat([angles.cos(), angles.sin()], dim=1).to(self.first.weight.dtype)
        return self.second(F.silu(self.first(features)))


class ResidualBlock(nn.Module):
    """x + conv(silu(film(norm(conv(silu(norm(x))))))): the block of ADM (Dhariwal and Nichol 2021).

    FiLM: h (1 + scale) + shift, both linear in the embedding (Perez et al. 2018). Its layer and the last convolution
    start at zero, so that a fresh block is the identity and no condition has a say until training gives it one.
    """

    def __init__(self, dims: int, c: int, embedding: int, *, groups: int, dropout: float, factorised: bool) -> None:
        super().__init__()
        self.norm_in = GroupNorm(groups, c)
        self.conv_in = convolution(dims, c, c, factorised=factorised)
        self.film = nn.Linear(embedding, 2 * c)
        zero(self.film)
        self.norm_out = GroupNorm(groups, c)
        self.dropout = nn.Dropout(dropout)
        self.conv_out = convolution(dims, c, c, factorised=factorised)
        zero(last_convolution(self.conv_out))

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        h = self.conv_in(F.silu(self.norm_in(x)))
        film = self.film(embedding)
        scale, shift = film.reshape(*film.shape, *[1] * (x.ndim - 2)).chunk(2, dim=1)  # (B, C, 1, ...)
        h = self.norm_out(h) * (1 + scale) + shift
        return x + self.conv_out(self.dropout(F.silu(h)))


class Attention(nn.Module):
    """x + proj(softmax(q k^T / sqrt(d)) v) over all positions; the projection starts at zero (Vaswani et al. 2017)."""

    def __init__(self, channels: int, *, heads: int, groups: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = GroupNorm(groups, channels)
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        zero(self.project)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.norm(x).flatten(2).transpose(1, 2)  # (B, N, C)
        q, k, v = self.qkv(tokens).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, heads, N, d) each
        mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)  # (B, N, C)
        return x + self.project(mixed).transpose(1, 2).reshape(x.shape)


def upsampled_convolution(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Every voxel repeated twice along each axis, then a 3-wide convolution that keeps the size; 2^d times the voxels.

    Along one axis, with weights (a, b, c), the even results are a x[i-1] + (b + c) x[i], the odd ones
    (a + b) x[i] + c x[i+1]: that is a transposed convolution of stride 2 with the kernel (c, b + c, a + b, a). It does
    4/9 (two axes) or 8/27 (three) of the multiplications, and the enlarged input is never made. For a few voxels the
    sums of weights cost more than they save.
    """
    dims = x.ndim - 2
    if x.shape[0] * math.prod(x.shape[2:]) < FEW_VOXELS:
        return CONVOLVE[dims](F.interpolate(x, scale_factor=2.0, mode="nearest"), weight, bias, padding=1)
    for axis in range(2, x.ndim):
        a, b, c = weight.unbind(axis)
        weight = torch.stack([c, b + c, a + b, a], axis)
    return TRANSPOSED[dims](x, weight.transpose(0, 1), bias, stride=2, padding=1)


class Upsample(nn.Module):
    """A 1 x 1 convolution, then every voxel repeated `factors` times: cheap, and free of checkerboard patterns."""

    def __init__(self, dims: int, c_in: int, c_out: int, factors: Sequence[int]) -> None:
        super().__init__()
        self.factors = tuple(float(f) for f in factors)
        self.conv = CONVOLUTIONS[dims](c_in, c_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(self.conv(x), scale_factor=self.factors, mode="nearest")
