"""Words for a transformer: token ids to vectors that know one another, small enough to be trained with the network.

    states, read, pooled = TextEncoder(config, width)(ids)

ids (B, L) int64: 0 is padding, -1 also; a row without any id above 0 means "not given" and is one learned null token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.errors import UserError
from shared.networks.tokens import Mlp, TokenAttention


@dataclass(frozen=True)
class TextConfig:
    """vocabulary  ids are below it;  length  most tokens of a row;  layers, heads  of the encoder."""

    vocabulary: int
    length: int
    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        for name, low in (("vocabulary", 2), ("length", 1), ("layers", 0), ("heads", 1)):
            if getattr(self, name) < low:
                raise UserError(f"{name} is {getattr(self, name)}", where=f"text.{name}", remedy=f"give at least {low}")


class TextBlock(nn.Module):
    """x + attention(norm(x)), then x + mlp(norm(x)): the pre-norm transformer (Xiong et al. 2020)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.norm_attention, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention, self.mlp = TokenAttention(width, heads), Mlp(width, 4 * width)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self.attention(self.norm_attention(x), mask=mask)
        return x + self.mlp(self.norm_mlp(x))


class TextEncoder(nn.Module):
    """Learned embedding and positions, then `layers` transformer blocks."""

    def __init__(self, config: TextConfig, width: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(config.vocabulary, width)
        self.positions = nn.Parameter(torch.empty(config.length, width))
        self.null = nn.Parameter(torch.empty(width))
        for weight in (self.embedding.weight, self.positions, self.null):
            nn.init.normal_(weight, std=0.02)
        self.blocks = nn.ModuleList(TextBlock(width, config.heads) for _ in range(config.layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, L) -> states (B, L, D), which of them count (B, L) bool, their mean (B, D)."""
        read = ids > 0
        absent = ~read.any(dim=1, keepdim=True)  # (B, 1)
        states = self.embedding(ids.clamp_min(0))
        first = F.pad(absent, (0, ids.shape[1] - 1))  # the null stands in the first place of a row that says nothing
        states = torch.where(first[..., None], self.null, states) + self.positions[: ids.shape[1]]
        read = read | first
        for block in self.blocks:
            states = block(states, read[:, None, None])
        states = self.norm(states)
        weight = read.to(states.dtype)[..., None]
        return states, read, (states * weight).sum(dim=1) / weight.sum(dim=1)
