"""The U-Net that most published weights are made for, in 1, 2 or 3 dimensions: a skip after every residual block.

    network(x, time, cond) -> out      x (B, C_in, *spatial), time (B,), cond {name: tensor}, out (B, C_out, *spatial)

Stem -> levels down (blocks, each with attention where asked, then half the size) -> middle -> levels up, whose every
block reads what came from below joined by one skip -> head. Ho et al. 2020, Dhariwal and Nichol 2021, Rombach et al.
2022 for the context. `shared/interop` turns weights of MONAI's DiffusionModelUNet and of diffusers' UNet2DModel into
it; to train from nothing, `unet.py` has half the skips and reaches the same depth sooner.
Starts as unet.py does: every residual branch, every attention and the head at zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.errors import UserError
from shared.networks.classic_blocks import (
    ClassicBlock,
    ContextAttention,
    DownConvolution,
    ImageAttention,
    UpConvolution,
)
from shared.networks.conditions import (
    check,
    given,
    label_tables,
    vector_projections,
    with_images,
    with_labels,
    with_vectors,
)
from shared.networks.layers import CHANNELS_LAST, CONVOLUTIONS, GroupNorm, TimeEmbedding, zero


@dataclass(frozen=True)
class ClassicUNetConfig:
    """What a classical U-Net is made of; plain numbers, so that it goes into a checkpoint's card and comes back equal.

    dims            spatial axes, 1 to 3
    in_channels     channels of x;  out_channels  channels of what the network says
    channels        width of each level, finest first; each divisible by groups
    blocks          residual blocks of each level on the way down, one number or one a level; one more on the way up
    attention       levels, 0 = finest, with attention after every block
    middle_attention  between the two blocks of the middle
    head_channels   width of a head, one number or one a level; 0 = one head
    groups, eps     of every group norm;  middle_groups  of the middle attention's own, 0 = no norm, None = groups
    modulation      how the embedding enters a block: "shift", or "scale_shift"
    resample        between levels: "convolution", strided down, after doubling up; "block", which pools or doubles
    padding         of the strided convolutions: "both" sides, or "after" alone
    vectors         vector conditions, name -> width: (B, width); a row of NaN is "not given"
    classes         label conditions, name -> count: (B,) int64; below 0 is "not given"
    images          image conditions, name -> channels: (B, channels, *spatial), joins x; a row of NaN is "not given"
    context         width of the condition "context", (B, L, context) with any L: every attention reads it; a row of NaN
                    is "not given". context_layers  transformer blocks of each such attention
    embedding       width of the embedding of time and conditions; None = 4 channels[0]
    time_frequencies    of the channels[0] time features, geometric from the first to the second (layers.py)
    dropout         in every residual block
    """

    dims: int
    in_channels: int
    out_channels: int
    channels: tuple[int, ...] = (32, 64, 128)
    blocks: int | tuple[int, ...] = 2
    attention: tuple[int, ...] = ()
    middle_attention: bool = True
    head_channels: int | tuple[int, ...] = 0
    groups: int = 32
    eps: float = 1e-6
    middle_groups: int | None = None
    modulation: Literal["shift", "scale_shift"] = "shift"
    resample: Literal["convolution", "block"] = "convolution"
    padding: Literal["both", "after"] = "both"
    vectors: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    images: Mapping[str, int] = field(default_factory=dict)
    context: int | None = None
    context_layers: int = 1
    embedding: int | None = None
    time_frequencies: tuple[float, float] = (1e-3, 16.0)
    dropout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("channels", "blocks", "attention", "head_channels", "time_frequencies"):
            value = getattr(self, name)  # JSON has lists where Python has tuples
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)
        if self.dims not in CONVOLUTIONS:
            raise UserError(
                f"a U-Net has 1, 2 or 3 dimensions, not {self.dims}", where="dims", remedy="choose one of them"
            )
        levels = len(self.channels)
        for name, have in (("blocks", self.blocks_by_level), ("head_channels", self.head_channels_by_level)):
            if len(have) != levels:
                raise UserError(
                    f"{len(have)} entries, {levels} levels", where=name, remedy="give one number, or one a level"
                )
        for name, choices in (
            ("modulation", ("shift", "scale_shift")),
            ("resample", ("convolution", "block")),
            ("padding", ("both", "after")),
        ):
            if getattr(self, name) not in choices:
                raise UserError(
                    f"{getattr(self, name)!r} is unknown", where=name, remedy=f"choose {choices[0]} or {choices[1]}"
                )
        wrong = [c for c in self.channels if c % self.groups]
        if wrong or self.channels[0] % 2:
            raise UserError(
                f"widths {self.channels} with {self.groups} groups",
                where="channels",
                remedy="choose multiples of the groups, the first of them even",
            )
        if any(not 0 <= level < levels for level in self.attention):
            raise UserError(
                f"levels {self.attention} of 0..{levels - 1}", where="attention", remedy="name levels that exist"
            )
        for level in {*self.attention, *([levels - 1] if self.middle_attention else [])}:
            head = self.head_channels_by_level[level]
            if head and self.channels[level] % head:
                raise UserError(
                    f"{self.channels[level]} channels in heads of {head}",
                    where="head_channels",
                    remedy="let them divide",
                )
        names = [*self.vectors, *self.classes, *self.images] + ["context"] * (self.context is not None)
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise UserError(f"{double} are declared twice", where="conditions", remedy="rename one")

    @property
    def blocks_by_level(self) -> tuple[int, ...]:
        return (self.blocks,) * len(self.channels) if isinstance(self.blocks, int) else self.blocks

    @property
    def head_channels_by_level(self) -> tuple[int, ...]:
        one = self.head_channels
        return (one,) * len(self.channels) if isinstance(one, int) else one

    @property
    def stride(self) -> int:
        """Voxels of x, an axis, that meet in one voxel of the coarsest level; x must be divisible by it."""
        return 2 ** (len(self.channels) - 1)


class Stage(nn.Module):
    """The blocks of one level, the attention after each (or none), and what leads to the next level (or nothing)."""

    def __init__(self, blocks: list[nn.Module], attentions: list[nn.Module], sample: nn.Module | None) -> None:
        super().__init__()
        self.blocks, self.attentions, self.sample = nn.ModuleList(blocks), nn.ModuleList(attentions), sample


class ClassicUNet(nn.Module):
    """The network; see the head of this file. `config` is the ClassicUNetConfig it was made from."""

    def __init__(self, config: ClassicUNetConfig) -> None:
        super().__init__()
        self.config = config
        dims, widths = config.dims, config.channels
        width = config.embedding or 4 * widths[0]
        self.time = TimeEmbedding(width, widths[0], config.time_frequencies)
        self.vectors, self.nulls = vector_projections(config.vectors, width)
        self.classes = label_tables(config.classes, width)
        self.null_context = None if config.context is None else nn.Parameter(torch.zeros(config.context))
        self.stem = CONVOLUTIONS[dims](config.in_channels + sum(config.images.values()), widths[0], 3, padding=1)
        last, kept = len(widths) - 1, [widths[0]]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for level, c in enumerate(widths):
            inputs = [kept[-1], *[c] * (config.blocks_by_level[level] - 1)]
            self.down.append(self._stage(level, inputs, width, "down" if level < last else None))
            kept += [c] * (len(inputs) + (level < last))
        self.mid = Stage(
            [self._block(widths[-1], widths[-1], width) for _ in range(2)],
            [self._attention(last, config.middle_groups)] if config.middle_attention else [],
            None,
        )
        self.skips = nn.ModuleList(nn.Identity() for _ in kept)
        below = widths[-1]
        for level in reversed(range(len(widths))):
            inputs = []
            for _ in range(config.blocks_by_level[level] + 1):
                inputs.append(below + kept.pop())
                below = widths[level]
            self.up.append(self._stage(level, inputs, width, "up" if level else None))
        self.norm = GroupNorm(config.groups, widths[0], eps=config.eps)
        self.head = CONVOLUTIONS[dims](widths[0], config.out_channels, 3, padding=1)
        zero(self.head)

    def _block(self, c_in: int, c_out: int, width: int, resample: Literal["down", "up"] | None = None) -> ClassicBlock:
        config = self.config
        return ClassicBlock(
            config.dims,
            c_in,
            c_out,
            width,
            groups=config.groups,
            eps=config.eps,
            modulation=config.modulation,
            dropout=config.dropout,
            resample=resample,
        )

    def _attention(self, level: int, groups: int | None = None) -> nn.Module:
        config, c = self.config, self.config.channels[level]
        heads = c // (config.head_channels_by_level[level] or c)
        if config.context is not None:
            return ContextAttention(
                c, heads, config.context, layers=config.context_layers, groups=config.groups, eps=config.eps
            )
        return ImageAttention(c, heads, groups=config.groups if groups is None else groups, eps=config.eps)

    def _stage(self, level: int, inputs: list[int], width: int, way: Literal["down", "up"] | None) -> Stage:
        config, c = self.config, self.config.channels[level]
        sample: nn.Module | None = None
        if way is not None and config.resample == "block":
            sample = self._block(c, c, width, way)
        elif way is not None:
            down = way == "down"
            sample = DownConvolution(config.dims, c, config.padding) if down else UpConvolution(config.dims, c)
        attentions = [self._attention(level) for _ in inputs] if level in config.attention else []
        return Stage([self._block(c_in, c, width) for c_in in inputs], attentions, sample)

    def forward(self, x: Tensor, time: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        """x (B, C_in, *spatial), time (B,), cond as declared; returns (B, C_out, *spatial).

        A condition that is declared and missing counts as "not given". Raises UserError for names that were not
        declared, for other shapes, and for sizes that the levels do not halve.
        """
        self._check(x, cond)
        config, dtype = self.config, self.head.weight.dtype
        embedding = with_vectors(self.time(time), cond, self.vectors, self.nulls)
        embedding = F.silu(with_labels(embedding, cond, self.classes, config.classes))
        context = self._context(x, cond)
        h = with_images(x, cond, config.images).to(dtype)
        h = self.stem(h.contiguous(memory_format=CHANNELS_LAST[config.dims]))
        kept = [self.skips[0](h)]
        for part in self.down:
            stage = cast(Stage, part)
            for index, block in enumerate(stage.blocks):
                h = block(h, embedding)
                if stage.attentions:
                    h = stage.attentions[index](h, context)
                kept.append(self.skips[len(kept)](h))
            if stage.sample is not None:
                h = stage.sample(h, embedding)
                kept.append(self.skips[len(kept)](h))
        h = self.mid.blocks[0](h, embedding)
        for attention in self.mid.attentions:
            h = attention(h, context)
        h = self.mid.blocks[1](h, embedding)
        for part in self.up:
            stage = cast(Stage, part)
            for index, block in enumerate(stage.blocks):
                h = block(torch.cat([h, kept.pop()], dim=1), embedding)
                if stage.attentions:
                    h = stage.attentions[index](h, context)
            if stage.sample is not None:
                h = stage.sample(h, embedding)
        return self.head(F.silu(self.norm(h))).contiguous()

    def null(self, x: Tensor) -> dict[str, Tensor]:
        """The condition that says nothing, for the rows of x: NaN, -1 for labels; a context of one token."""
        return {
            name: torch.full(shape, -1, device=x.device) if name in self.config.classes else x.new_full(shape, math.nan)
            for name, shape in self._shapes(x, 1).items()
        }

    def sites(self) -> dict[str, nn.Module]:
        """Stable name -> module, in the order of a forward pass: where adapters and quantization attach.

        stem; skip.K (identities, K from 0: what the way up will read); down.L.block.N, down.L.attention.N,
        down.L.sample; mid.block.0, mid.attention.0, mid.block.1; up.L.block.N, up.L.attention.N, up.L.sample; head.
        L counts from the finest level, 0, on both ways. Each takes and returns (B, C, *spatial); blocks and samples
        also take the embedding (B, E), attentions the context.
        """
        found: dict[str, nn.Module] = {"stem": self.stem, "skip.0": self.skips[0]}
        kept = 1
        for level, part in enumerate(self.down):
            stage = cast(Stage, part)
            for index, block in enumerate(stage.blocks):
                found[f"down.{level}.block.{index}"] = block
                if stage.attentions:
                    found[f"down.{level}.attention.{index}"] = stage.attentions[index]
                found[f"skip.{kept}"] = self.skips[kept]
                kept += 1
            if stage.sample is not None:
                found |= {f"down.{level}.sample": stage.sample, f"skip.{kept}": self.skips[kept]}
                kept += 1
        found["mid.block.0"] = self.mid.blocks[0]
        found |= {f"mid.attention.{index}": attention for index, attention in enumerate(self.mid.attentions)}
        found["mid.block.1"] = self.mid.blocks[1]
        for level, part in zip(reversed(range(len(self.up))), self.up, strict=True):
            stage = cast(Stage, part)
            for index, block in enumerate(stage.blocks):
                found[f"up.{level}.block.{index}"] = block
                if stage.attentions:
                    found[f"up.{level}.attention.{index}"] = stage.attentions[index]
            if stage.sample is not None:
                found[f"up.{level}.sample"] = stage.sample
        return found | {"head": self.head}

    def _context(self, x: Tensor, cond: Mapping[str, Tensor]) -> Tensor | None:
        if self.null_context is None:
            return None
        value = cond.get("context")
        null = self.null_context.expand(x.shape[0], 1 if value is None else value.shape[1], -1)
        return null if value is None else given(value.to(null.dtype), null)

    def _shapes(self, x: Tensor, length: int) -> dict[str, tuple[int, ...]]:
        config, rows = self.config, x.shape[0]
        shapes: dict[str, tuple[int, ...]] = {name: (rows, width) for name, width in config.vectors.items()}
        shapes |= dict.fromkeys(config.classes, (rows,))
        shapes |= {name: (rows, channels, *x.shape[2:]) for name, channels in config.images.items()}
        return shapes | ({} if config.context is None else {"context": (rows, length, config.context)})

    def _check(self, x: Tensor, cond: Mapping[str, Tensor]) -> None:
        config, sizes, stride = self.config, tuple(x.shape[2:]), self.config.stride
        if x.ndim != 2 + config.dims or x.shape[1] != config.in_channels:
            raise UserError(
                f"x has shape {tuple(x.shape)}",
                where="x",
                remedy=f"pass (batch, {config.in_channels}, and {config.dims} spatial axes)",
            )
        if any(size % stride for size in sizes):
            wanted = tuple(math.ceil(size / stride) * stride for size in sizes)
            raise UserError(
                f"size {sizes} is not divisible by {stride}", where="x", remedy=f"pad to {wanted}, then crop"
            )
        length = cond["context"].shape[1] if "context" in cond and cond["context"].ndim == 3 else 1
        check(cond, self._shapes(x, length), frozenset(config.classes))
