"""The parts of a transformer: attention, MLP, and positions on a grid of one, two or three axes.

Shapes: tokens (B, N, D); positions of a grid run in row-major order. Every projection is a Linear of its own, so that
low-rank adapters find it; one fused Linear for query, key and value is no faster at these widths
(benchmarks/networks.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class TokenAttention(nn.Module):
    """out(softmax(q k^T / sqrt(d)) v), heads of width d = D / heads (Vaswani et al. 2017): (B, N, D) -> (B, N, D).

    source  width of the tokens that are read when they are others than x, (B, M, source);  bias  of q, k and v
    turn    rotates queries and keys by their position (Su et al. 2021)
    mask    (B, 1, 1, M), True where a token is read
    """

    def __init__(self, width: int, heads: int, *, source: int | None = None, bias: bool = True) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width, bias=bias)
        self.k, self.v = (nn.Linear(source or width, width, bias=bias) for _ in range(2))
        self.out = nn.Linear(width, width)

    def forward(
        self, x: Tensor, turn: Tensor | None = None, mask: Tensor | None = None, source: Tensor | None = None
    ) -> Tensor:
        read = x if source is None else source
        q, k, v = (part.unflatten(2, (self.heads, -1)) for part in (self.q(x), self.k(read), self.v(read)))
        if turn is not None:
            q, k = rotate(q, turn), rotate(k, turn)
        mixed = F.scaled_dot_product_attention(q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask)
        return self.out(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """out(gelu(in(x))), token by token; `hidden` wide inside."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.enter = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.gelu(self.enter(x), approximate="tanh"))


# ---------------------------------------------------------------------------------------------------------- positions


def grid_positions(sizes: Sequence[int], like: Tensor) -> list[Tensor]:
    """The index of every token along each axis, row-major: one (N,) tensor an axis, float32 (float64 for float64)."""
    dtype = torch.float64 if like.dtype == torch.float64 else torch.float32
    axes = [torch.arange(size, dtype=dtype, device=like.device) for size in sizes]
    return [axis.flatten() for axis in torch.meshgrid(*axes, indexing="ij")]


def rotary(sizes: Sequence[int], width: int, base: float, extra: int, like: Tensor) -> Tensor:
    """Axial rotary positions for heads of `width`: cosine and sine of every angle, (N + extra, 1, width / 2, 2).

    The width / 2 pairs are shared out among the axes; pair k of m of an axis turns by position base^(-k / m). Pairs
    left over, and the `extra` tokens after the grid's (they have no place on it), do not turn.
    """
    pairs, axes = width // 2, len(sizes)
    each = pairs // axes
    positions = grid_positions(sizes, like)
    speed = base ** (-torch.arange(each, dtype=positions[0].dtype, device=like.device) / each)
    angles = torch.cat([position[:, None] * speed for position in positions], dim=1)  # (N, axes each)
    angles = F.pad(angles, (0, pairs - axes * each, 0, extra))[:, None]
    return torch.stack([angles.cos(), angles.sin()], dim=3)


def rotate(x: Tensor, turn: Tensor) -> Tensor:
    """Turn the pairs (x_2k, x_2k+1) of every head by `turn` of `rotary`: (B, N, heads, d) -> the same.

    As a product of complex numbers it is one kernel; a compiler, which fuses real products and knows no complex ones,
    and half precision, which has none, take the four.
    """
    pairs = x.unflatten(3, (-1, 2))
    if x.dtype == turn.dtype and not torch.compiler.is_compiling():
        return torch.view_as_real(torch.view_as_complex(pairs) * torch.view_as_complex(turn)).flatten(3)
    (a, b), (cos, sin) = pairs.unbind(4), turn.to(x.dtype).unbind(3)
    return torch.stack([a * cos - b * sin, b * cos + a * sin], dim=4).flatten(3)


def sincos(sizes: Sequence[int], width: int, like: Tensor) -> Tensor:
    """Fixed positions to add to the tokens (Vaswani et al. 2017; on a grid as in MAE and DiT): (N, width).

    Each axis has width / axes channels, the last axis first: the sines, then the cosines, of position 10000^(-k / m)
    for k = 0..m-1. Channels left over are zero.
    """
    each = width // (2 * len(sizes))
    positions = grid_positions(sizes, like)
    speed = 10_000.0 ** (-torch.arange(each, dtype=positions[0].dtype, device=like.device) / each)
    waves = [position[:, None] * speed for position in reversed(positions)]
    table = torch.cat([part for wave in waves for part in (wave.sin(), wave.cos())], dim=1)
    return F.pad(table, (0, width - table.shape[1])).to(like.dtype)
