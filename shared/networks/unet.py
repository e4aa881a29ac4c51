"""One U-Net for 1, 2 and 3 dimensions, with named sites for adapters.

    network(x, time, cond) -> out      x (B, C_in, *spatial), time (B,), cond {name: (B, ...)}, out (B, C_out, *spatial)

Stem (patches to voxels, 3 x 3) -> levels down -> middle, at the coarsest -> levels up, each after a 1 x 1 convolution
that joins what comes up with the level's skip -> head.
Ronneberger et al. 2015 for the shape, Dhariwal and Nichol 2021 for the blocks. Tensors in, tensors out, no branch on
values: `torch.compile` takes it whole.

Starts: the head's convolution is zero, so a fresh network says 0, the mean of what it is asked for; every residual
branch and FiLM layer starts at zero too (layers.py), so that depth costs nothing at first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.errors import UserError
from shared.networks.conditions import check, vector_projections, with_images, with_vectors
from shared.networks.layers import (
    CHANNELS_LAST,
    CONVOLUTIONS,
    Attention,
    GroupNorm,
    ResidualBlock,
    TimeEmbedding,
    Upsample,
    convolution,
    depth_to_space,
    space_to_depth,
    zero,
)


@dataclass(frozen=True)
class UNetConfig:
    """What a U-Net is made of; plain numbers, so that it goes into a checkpoint's card and comes back equal.

    dims          spatial axes, 1 to 3
    in_channels   channels of x;  out_channels  channels of what the network says
    channels      width of each level, finest first; each divisible by groups
    blocks        residual blocks of each level, down and up alike: one number, or one a level; the coarsest level has
                  no way up: its own blocks, then one more as the middle
    patch         stem: a patch of this many voxels becomes one (space to depth); one number, or one an axis; 1 = none
    strides       down-sampling from each level to the next: one number for all, or one entry a step, each a number
                  or one an axis: (1, 2, 2) keeps the depth
    factorised    three dimensions: (1, 3, 3) then (3, 1, 1) in place of (3, 3, 3)
    attention     levels, 0 = finest, that end with self-attention; with the coarsest listed the middle has it too
    heads         of the attention;  groups  of every group norm
    vectors       vector conditions, name -> width: each joins the time embedding, which reaches every block by FiLM
    images        image conditions, name -> channels: each has x's spatial size and joins x at the stem
    dropout       in every residual block
    """

    dims: int
    in_channels: int
    out_channels: int
    channels: tuple[int, ...] = (48, 96, 192)
    blocks: int | tuple[int, ...] = 2
    patch: int | tuple[int, ...] = 1
    strides: int | tuple[int | tuple[int, ...], ...] = 2
    factorised: bool = False
    attention: tuple[int, ...] = ()
    heads: int = 4
    groups: int = 8
    vectors: Mapping[str, int] = field(default_factory=dict)
    images: Mapping[str, int] = field(default_factory=dict)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.dims not in CONVOLUTIONS:
            raise UserError(
                f"a U-Net has 1, 2 or 3 dimensions, not {self.dims}", where="dims", remedy="choose one of them"
            )
        for name in ("channels", "blocks", "patch", "strides", "attention"):  # JSON has lists where Python has tuples
            object.__setattr__(self, name, _tuples(getattr(self, name)))
        levels = len(self.channels)
        for name, have, want in (
            ("blocks", len(self.blocks_by_level), levels),
            ("strides", len(self.strides_by_step), levels - 1),
        ):
            if have != want:
                raise UserError(
                    f"{have} entries, {levels} levels need {want}", where=name, remedy="give one number, or one a level"
                )
        for factors in (self.patch_by_axis, *self.strides_by_step):
            if len(factors) != self.dims or min(factors) < 1:
                raise UserError(
                    f"{factors} for {self.dims} axes",
                    where="patch, strides",
                    remedy="give one positive number, or one an axis",
                )
        wrong = [c for c in self.channels if c % self.groups or (self.attention and c % self.heads)]
        if wrong:
            raise UserError(
                f"widths {wrong} are not divisible by {self.groups} groups and {self.heads} heads",
                where="channels",
                remedy="choose multiples of both",
            )
        if any(not 0 <= level < levels for level in self.attention):
            raise UserError(
                f"levels {self.attention} of 0..{levels - 1}", where="attention", remedy="name levels that exist"
            )
        double = set(self.vectors) & set(self.images)
        if double:
            raise UserError(f"{sorted(double)} are vector and image", where="vectors, images", remedy="rename one")

    @property
    def blocks_by_level(self) -> tuple[int, ...]:
        return (self.blocks,) * len(self.channels) if isinstance(self.blocks, int) else self.blocks

    @property
    def patch_by_axis(self) -> tuple[int, ...]:
        return (self.patch,) * self.dims if isinstance(self.patch, int) else self.patch

    @property
    def strides_by_step(self) -> tuple[tuple[int, ...], ...]:
        steps = (self.strides,) * (len(self.channels) - 1) if isinstance(self.strides, int) else self.strides
        return tuple((step,) * self.dims if isinstance(step, int) else step for step in steps)

    @property
    def stride(self) -> tuple[int, ...]:
        """Voxels of x, an axis, that meet in one voxel of the coarsest level; x must be divisible by it."""
        return tuple(math.prod(factors) for factors in zip(self.patch_by_axis, *self.strides_by_step, strict=True))


def _tuples(value: Any) -> Any:
    return tuple(_tuples(v) for v in value) if isinstance(value, (list, tuple)) else value


class Level(nn.Module):
    """Residual blocks of one width, then attention or nothing."""

    def __init__(self, config: UNetConfig, c: int, blocks: int, embedding: int, attention: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            ResidualBlock(
                config.dims,
                c,
                embedding,
                groups=config.groups,
                dropout=config.dropout,
                factorised=config.factorised,
            )
            for _ in range(blocks)
        )
        self.attention = Attention(c, heads=config.heads, groups=config.groups) if attention else None

    def forward(self, x: Tensor, embedding: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, embedding)
        return x if self.attention is None else self.attention(x)


class UNet(nn.Module):
    """The network; see the head of this file. `config` is the UNetConfig it was made from."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        dims, widths, embedding = config.dims, config.channels, 4 * config.channels[0]
        conv, patch = CONVOLUTIONS[dims], math.prod(config.patch_by_axis)
        self.time = TimeEmbedding(embedding)
        self.vectors, self.nulls = vector_projections(config.vectors, embedding)
        c_in = config.in_channels + sum(config.images.values())
        self.stem = convolution(dims, c_in * patch, widths[0], factorised=config.factorised)
        last = len(widths) - 1
        self.down, self.sample_down, self.skips = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.sample_up, self.join, self.up = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level, c in enumerate(widths):
            blocks, attention = config.blocks_by_level[level], level in config.attention
            self.down.append(Level(config, c, blocks, embedding, attention))
            if level < last:
                factors = config.strides_by_step[level]
                # Kernel = stride: each coarse voxel reads its own block; the residual blocks mix neighbours.
                self.sample_down.append(conv(c, widths[level + 1], factors, stride=factors))
                self.skips.append(nn.Identity())
                self.sample_up.append(Upsample(dims, widths[level + 1], c, factors))
                self.join.append(conv(2 * c, c, 1))
                self.up.append(Level(config, c, blocks, embedding, attention))
        self.mid = Level(config, widths[-1], 1, embedding, last in config.attention)
        self.norm = GroupNorm(config.groups, widths[0])
        self.head = conv(widths[0], config.out_channels * patch, 3, padding=1)
        zero(self.head)

    def forward(self, x: Tensor, time: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        """x (B, C_in, *spatial), time (B,), cond name -> (B, width) or (B, C, *spatial); returns (B, C_out, *spatial).

        A row of NaN in a condition means "not given": the learned null for a vector, zero for an image; the same holds
        for a declared condition that cond lacks. Rows with and without a condition therefore share a batch.
        Raises UserError for names that were not declared and for sizes that the strides do not divide.
        """
        self._check(x, cond)
        config, dtype = self.config, self.head.weight.dtype
        embedding = with_vectors(self.time(time), cond, self.vectors, self.nulls)
        embedding = F.silu(embedding)
        h = space_to_depth(with_images(x, cond, config.images).to(dtype), self.config.patch_by_axis)
        h = self.stem(h.contiguous(memory_format=CHANNELS_LAST[self.config.dims]))
        kept = []
        for blocks, skip, sample in zip(self.down, self.skips, self.sample_down, strict=False):  # all but the coarsest
            h = blocks(h, embedding)
            kept.append(skip(h))
            h = sample(h)
        h = self.mid(self.down[-1](h, embedding), embedding)
        for level in reversed(range(len(self.up))):
            h = self.join[level](torch.cat([self.sample_up[level](h), kept[level]], dim=1))
            h = self.up[level](h, embedding)
        h = self.head(F.silu(self.norm(h)))
        return depth_to_space(h, self.config.patch_by_axis).contiguous()

    def null(self, x: Tensor) -> dict[str, Tensor]:
        """The condition that says nothing, for the rows of x: NaN in the shape of every declared condition.

        `network(x, t, {})` and `network(x, t, network.null(x))` are equal; the second has the shapes of a full
        condition, so that both halves of classifier-free guidance fit in one batch.
        """
        rows, spatial = x.shape[0], x.shape[2:]
        vectors = {name: x.new_full((rows, width), math.nan) for name, width in self.config.vectors.items()}
        images = {name: x.new_full((rows, c, *spatial), math.nan) for name, c in self.config.images.items()}
        return vectors | images

    def sites(self) -> dict[str, nn.Module]:
        """Stable name -> module, in the order of a forward pass: where adapters and quantization attach.

        stem; down.L.block.N, down.L.attention, skip.L (an identity: what the way up will read), down.L.sample;
        mid.block.0, mid.attention; up.L.sample (from level L + 1 to L), up.L.join, up.L.block.N, up.L.attention; head.
        L counts from the finest level, 0, on both ways. Each takes and returns (B, C, *spatial); blocks also take the
        embedding (B, E).
        """
        found: dict[str, nn.Module] = {"stem": self.stem}
        for level, part in enumerate(self.down):
            found |= _level_sites(f"down.{level}", cast(Level, part))
            if level < len(self.skips):
                found[f"skip.{level}"] = self.skips[level]
                found[f"down.{level}.sample"] = self.sample_down[level]
        found |= _level_sites("mid", self.mid)
        for level in reversed(range(len(self.up))):
            found |= {f"up.{level}.sample": self.sample_up[level], f"up.{level}.join": self.join[level]}
            found |= _level_sites(f"up.{level}", cast(Level, self.up[level]))
        return found | {"head": self.head}

    def _check(self, x: Tensor, cond: Mapping[str, Tensor]) -> None:
        config, rows, sizes = self.config, x.shape[0], tuple(x.shape[2:])
        if x.ndim != 2 + config.dims or x.shape[1] != config.in_channels:
            raise UserError(
                f"x has shape {tuple(x.shape)}",
                where="x",
                remedy=f"pass (batch, {config.in_channels}, and {config.dims} spatial axes)",
            )
        if any(size % s for size, s in zip(sizes, config.stride, strict=True)):
            wanted = tuple(math.ceil(size / s) * s for size, s in zip(sizes, config.stride, strict=True))
            raise UserError(
                f"size {sizes} is not divisible by {config.stride}", where="x", remedy=f"pad to {wanted}, then crop"
            )
        shapes: dict[str, tuple[int, ...]] = {name: (rows, width) for name, width in config.vectors.items()}
        shapes |= {name: (rows, channels, *sizes) for name, channels in config.images.items()}
        check(cond, shapes)


def _level_sites(prefix: str, level: Level) -> dict[str, nn.Module]:
    found: dict[str, nn.Module] = {f"{prefix}.block.{index}": block for index, block in enumerate(level.blocks)}
    if level.attention is not None:
        found[f"{prefix}.attention"] = level.attention
    return found
