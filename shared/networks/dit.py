"""One transformer for sequences, images, volumes and sets, with named sites for adapters.

    network(x, time, cond) -> out      x (B, C_in, *spatial), time (B,), cond {name: tensor}, out (B, C_out, *spatial)

The same call as the U-Net (unet.py). Patches to tokens -> blocks of attention and MLP, each modulated by the embedding
of time and conditions -> head -> tokens to patches. Text tokens stand after the patches in the same sequence.
A set is `dims=1, patch=1, positions="none"`: x (B, C, N), and permuting its entries permutes the answer.
DiT (Peebles and Xie 2023), adaLN-zero: the modulation and the head start at zero, so that a fresh block is the
identity and a fresh network says 0. Tensors in, tensors out, no branch on values: `torch.compile` takes it whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.errors import UserError
from shared.networks.conditions import (
    check,
    given,
    label_tables,
    vector_projections,
    with_images,
    with_labels,
    with_vectors,
)
from shared.networks.layers import (
    TimeEmbedding,
    depth_to_space,
    space_to_depth,
    zero,
)
from shared.networks.local import LocalWay
from shared.networks.text import TextConfig, TextEncoder
from shared.networks.tokens import Mlp, TokenAttention, rotary, sincos


@dataclass(frozen=True)
class DiTConfig:
    """What a transformer is made of; plain numbers, so that it goes into a checkpoint's card and comes back equal.

    dims          axes of x behind its channels, 1 to 3
    in_channels   channels of x;  out_channels  of what the network says (twice as many where it learns a variance, too)
    width         of a token, divisible by heads;  layers  blocks;  mlp  hidden width of the MLP, in widths
    patch         a patch of this many voxels is a token; one number, or one an axis; x must be divisible by it
    local         channels of a convolutional way beside the tokens (LocalWay), at x's own resolution, and at a half, a
                  quarter, ... of it where several are given; None: no such way. For grids whose neighbours lie close:
                  contours that cross patches come out smooth
    positions     "rotary": queries and keys turn with the position, any size of x (Su et al. 2021); "sincos": fixed
                  waves, added once, any size; "learned": a table for x of `size`; "none": a set
    size          of x, for learned positions only
    base          of the rotary angles: 10000 for long sequences; 100 serves grids of some tens
    vectors       vector conditions, name -> width: (B, width), joins the embedding;  a row of NaN is "not given"
    classes       label conditions, name -> count: (B,) int64 in 0..count-1, joins the embedding; below 0 is "not given"
    images        image conditions, name -> channels: (B, channels, *spatial), joins x; a row of NaN is "not given"
    text          condition "text": token ids (B, L) int64, L <= text.length, 0 or -1 padding; a row of padding alone is
                  "not given". Joins the sequence and, its mean, the embedding
    present       name of the condition (B, 1, *spatial) that is 0 where x has no entry (padding of sets and
                  sequences): such entries are not read, and the answer there is 0; a row of NaN is "all there"
    time_features, time_frequencies    of the time embedding, geometric from the first to the second (layers.py)
    eps           of the norms before attention and before the MLP
    """

    dims: int
    in_channels: int
    out_channels: int
    width: int = 192
    layers: int = 6
    heads: int = 6
    mlp: float = 4.0
    patch: int | tuple[int, ...] = 1
    local: int | tuple[int, ...] | None = None
    positions: Literal["rotary", "sincos", "learned", "none"] = "rotary"
    size: tuple[int, ...] | None = None
    base: float = 10_000.0
    vectors: Mapping[str, int] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    images: Mapping[str, int] = field(default_factory=dict)
    text: TextConfig | None = None
    present: str | None = None
    time_features: int = 128
    time_frequencies: tuple[float, float] = (1e-3, 16.0)
    eps: tuple[float, float] = (1e-6, 1e-6)

    def __post_init__(self) -> None:
        for name in ("patch", "local", "size", "time_frequencies", "eps"):  # JSON has lists where Python has tuples
            value = getattr(self, name)
            object.__setattr__(self, name, tuple(value) if isinstance(value, list) else value)
        text: Any = self.text
        if isinstance(text, Mapping):
            object.__setattr__(self, "text", TextConfig(**text))
        if self.dims not in (1, 2, 3):
            raise UserError(
                f"a DiT has 1, 2 or 3 dimensions, not {self.dims}",
                where="dims",
                remedy='choose one of them; a set is 1 with positions="none"',
            )
        if len(self.patch_by_axis) != self.dims or min(self.patch_by_axis) < 1:
            raise UserError(
                f"{self.patch} for {self.dims} axes",
                where="patch",
                remedy="give one positive number, or one an axis",
            )
        heads = self.heads if self.text is None else math.lcm(self.heads, self.text.heads)
        if self.width % heads:
            raise UserError(
                f"{self.width} is not divisible by {heads} (heads)", where="width", remedy="choose a multiple"
            )
        if self.positions not in ("rotary", "sincos", "learned", "none"):
            raise UserError(
                f"{self.positions!r} is unknown", where="positions", remedy="choose rotary, sincos, learned or none"
            )
        if self.positions == "rotary" and self.width // self.heads < 2 * self.dims:
            raise UserError(
                f"heads {self.width // self.heads} wide cannot turn along {self.dims} axes",
                where="heads",
                remedy=f"leave at least {2 * self.dims} channels a head",
            )
        if (self.positions == "learned") != (self.size is not None):
            raise UserError(
                f"positions {self.positions!r} with size {self.size}",
                where="size",
                remedy="give it with learned positions, and only then",
            )
        if self.size is not None and (
            len(self.size) != self.dims
            or any(s % p or s < 1 for s, p in zip(self.size, self.patch_by_axis, strict=True))
        ):
            raise UserError(
                f"{self.size} is not divisible by {self.patch_by_axis}", where="size", remedy="give whole patches"
            )
        levels = self.local_by_level
        if levels and (min(levels) < 1 or self.positions == "none" or self.present is not None):
            raise UserError(
                f"{self.local} channels with positions {self.positions!r} and present {self.present!r}",
                where="local",
                remedy="give positive numbers, and only where every entry is there and has neighbours",
            )
        if self.local == () or (levels and any(p % 2 ** (len(levels) - 1) for p in self.patch_by_axis)):
            raise UserError(
                f"{len(levels)} levels and patches of {self.patch_by_axis}",
                where="local",
                remedy="give a level a halving of the patch at most, and one at least",
            )
        names = [*self.vectors, *self.classes, *self.images]
        names += ["text"] * (self.text is not None) + ([] if self.present is None else [self.present])
        double = sorted({name for name in names if names.count(name) > 1})
        if double:
            raise UserError(f"{double} are declared twice", where="conditions", remedy="rename one")

    @property
    def patch_by_axis(self) -> tuple[int, ...]:
        return (self.patch,) * self.dims if isinstance(self.patch, int) else self.patch

    @property
    def local_by_level(self) -> tuple[int, ...]:
        """Channels of the convolutional way, finest level first; empty where there is none."""
        return (self.local,) if isinstance(self.local, int) else self.local or ()


class DiTBlock(nn.Module):
    """x + gate attention(scale norm(x) + shift), then the same with the MLP; the six are linear in the embedding."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width = config.width
        self.eps, self.shape = config.eps, (width,)
        self.modulation = nn.Linear(width, 6 * width)
        zero(self.modulation)
        self.attention = TokenAttention(width, config.heads)
        self.mlp = Mlp(width, round(config.mlp * width))

    def forward(self, x: Tensor, embedding: Tensor, turn: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = self.modulation(embedding)[:, None].chunk(6, dim=2)
        h = F.layer_norm(x, self.shape, eps=self.eps[0])
        x = torch.addcmul(x, gate, self.attention(torch.addcmul(shift, h, 1 + scale), turn, mask))
        h = F.layer_norm(x, self.shape, eps=self.eps[1])
        return torch.addcmul(x, gate_mlp, self.mlp(torch.addcmul(shift_mlp, h, 1 + scale_mlp)))


class DiT(nn.Module):
    """The network; see the head of this file. `config` is the DiTConfig it was made from."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.width, math.prod(config.patch_by_axis)
        self.time = TimeEmbedding(width, config.time_features, config.time_frequencies)
        self.vectors, self.nulls = vector_projections(config.vectors, width)
        self.classes = label_tables(config.classes, width)
        self.text = None if config.text is None else TextEncoder(config.text, width)
        self.pooled = None if config.text is None else nn.Linear(width, width)
        self.input = nn.Linear((config.in_channels + sum(config.images.values())) * patch, width)
        self.positions = None
        if config.size is not None:
            cells = math.prod(s // p for s, p in zip(config.size, config.patch_by_axis, strict=True))
            self.positions = nn.Parameter(0.02 * torch.randn(cells, width))
        self.blocks = nn.ModuleList(DiTBlock(config) for _ in range(config.layers))
        self.modulation = nn.Linear(width, 2 * width)
        self.head = nn.Linear(width, config.out_channels * patch)
        zero(self.modulation)
        zero(self.head)
        self.local = None
        if config.local is not None:
            entering = config.in_channels + sum(config.images.values())
            self.local = LocalWay(
                config.local_by_level,
                config.patch_by_axis,
                c_in=entering,
                c_out=config.out_channels,
                token=width,
                embedding=width,
            )

    def forward(self, x: Tensor, time: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        """x (B, C_in, *spatial), time (B,), cond as declared in the DiTConfig; returns (B, C_out, *spatial).

        A condition that is declared and missing counts as "not given", like a row of NaN (or of -1): a learned null
        for vectors, labels and text, zero for images. Raises UserError for names that were not declared, for other
        shapes, and for sizes that the patch does not divide.
        """
        self._check(x, cond)
        config, dtype, rows = self.config, self.head.weight.dtype, x.shape[0]
        embedding, words, read = self._embedding(time, cond, rows)
        there = self._present(x, cond)
        if there is not None:
            x = torch.where(there, x, torch.zeros_like(x))
        x = with_images(x, cond, config.images).to(dtype)
        patches = space_to_depth(x, config.patch_by_axis)
        cells, count = patches.shape[2:], math.prod(patches.shape[2:])
        h = self.input(patches.flatten(2).transpose(1, 2))  # (B, N, D)
        maps = None if self.local is None else self.local.maps(x, embedding)
        if self.local is not None and maps is not None:
            h = h + self.local.tokens(maps[-1])
        if config.positions == "sincos":
            h = h + sincos(cells, config.width, h)
        elif self.positions is not None:
            h = h + self.positions
        extra = 0 if words is None else words.shape[1]
        if words is not None:
            h = torch.cat([h, words.to(h.dtype)], dim=1)  # (B, N + L, D)
        turn = None
        if config.positions == "rotary":
            turn = rotary(cells, config.width // config.heads, config.base, extra, h)
        mask = self._mask(there, read, count)
        for block in self.blocks:
            h = block(h, embedding, turn, mask)
        h = F.layer_norm(h[:, :count], (config.width,), eps=config.eps[0])
        shift, scale = self.modulation(embedding)[:, None].chunk(2, dim=2)
        h = torch.addcmul(shift, h, 1 + scale)
        patches = self.head(h)  # (B, N, C_out prod(patch))
        out = depth_to_space(patches.transpose(1, 2).unflatten(2, cells), config.patch_by_axis)
        if self.local is not None and maps is not None:
            out = out + self.local(maps, h, cells, embedding)
        return out.contiguous() if there is None else torch.where(there, out, torch.zeros_like(out))

    def null(self, x: Tensor) -> dict[str, Tensor]:
        """The condition that says nothing, for the rows of x: NaN, or -1 for labels and text, in every declared shape.

        `network(x, t, {})` and `network(x, t, network.null(x))` are equal up to rounding; the second has the shapes of
        a full condition, so that both halves of classifier-free guidance fit in one batch.
        """
        config = self.config
        shapes = self._shapes(x.shape[0], tuple(x.shape[2:]), config.text.length if config.text else 0)
        return {
            name: torch.full(shape, -1, device=x.device) if name in self._integers else x.new_full(shape, math.nan)
            for name, shape in shapes.items()
        }

    def sites(self) -> dict[str, nn.Module]:
        """Stable name -> module, in the order of a forward pass: where adapters and quantization attach.

        input                          patches (B, N, C prod(patch)) -> tokens (B, N, D), a Linear
        block.K                        (tokens (B, N + L, D), embedding (B, D), turn, mask) -> tokens
        block.K.attention              (normed tokens, turn, mask) -> what is added to them
        block.K.attention.q .k .v .out    Linears, (B, N + L, D) -> (B, N + L, D)
        block.K.mlp                    normed tokens -> what is added to them;  block.K.mlp.enter .out  its Linears
        head                           tokens (B, N, D) -> patches (B, N, C_out prod(patch)), a Linear
        local.enter .down.K .coarser.K .read .write .up.K .finer.K .leave    of the convolutional way, if there is one
        The N patches of x come first, row-major; the L text tokens follow.
        """
        found: dict[str, nn.Module] = {"input": self.input}
        if self.local is not None:
            found |= {f"local.{name}": site for name, site in self.local.sites_before().items()}
        for index, block in enumerate(self.blocks):
            found[f"block.{index}"] = block
            for name in ("attention", "attention.q", "attention.k", "attention.v", "attention.out"):
                found[f"block.{index}.{name}"] = block.get_submodule(name)
            for name in ("mlp", "mlp.enter", "mlp.out"):
                found[f"block.{index}.{name}"] = block.get_submodule(name)
        found |= {"head": self.head}
        if self.local is not None:
            found |= {f"local.{name}": site for name, site in self.local.sites_after().items()}
        return found

    # ---------------------------------------------------------------------------------------------------------- parts

    def _embedding(
        self, time: Tensor, cond: Mapping[str, Tensor], rows: int
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """What modulates the blocks (B, D); the text tokens (B, L, D) and which of them count (B, L), if any."""
        embedding = with_vectors(self.time(time), cond, self.vectors, self.nulls)
        embedding = with_labels(embedding, cond, self.classes, self.config.classes)
        words, read = None, None
        if self.text is not None and self.pooled is not None:
            ids = cond["text"] if "text" in cond else torch.full((rows, 1), -1, device=time.device)
            words, read, mean = self.text(ids)
            embedding = embedding + self.pooled(mean)
        return F.silu(embedding), words, read

    def _present(self, x: Tensor, cond: Mapping[str, Tensor]) -> Tensor | None:
        """(B, 1, *spatial) bool, True where x has an entry; None where all have."""
        name = self.config.present
        if name is None or name not in cond:
            return None
        return given(cond[name], torch.ones_like(cond[name])) > 0.5

    def _mask(self, there: Tensor | None, read: Tensor | None, count: int) -> Tensor | None:
        """(B, 1, 1, N + L) bool, True for the tokens that attention may read; None if it may read all."""
        if there is None:
            return None if read is None else F.pad(read, (count, 0), value=True)[:, None, None]
        cells = space_to_depth(there, self.config.patch_by_axis).any(dim=1).flatten(1)  # (B, N)
        mask = cells if read is None else torch.cat([cells, read], dim=1)
        return mask[:, None, None]

    @property
    def _integers(self) -> frozenset[str]:
        return frozenset(self.config.classes) | ({"text"} if self.config.text else frozenset())

    def _shapes(self, rows: int, sizes: tuple[int, ...], length: int) -> dict[str, tuple[int, ...]]:
        config = self.config
        shapes: dict[str, tuple[int, ...]] = {name: (rows, width) for name, width in config.vectors.items()}
        shapes |= dict.fromkeys(config.classes, (rows,))
        shapes |= {name: (rows, channels, *sizes) for name, channels in config.images.items()}
        shapes |= {} if config.text is None else {"text": (rows, length)}
        return shapes | ({} if config.present is None else {config.present: (rows, 1, *sizes)})

    def _check(self, x: Tensor, cond: Mapping[str, Tensor]) -> None:
        config, sizes, patch = self.config, tuple(x.shape[2:]), self.config.patch_by_axis
        if x.ndim != 2 + config.dims or x.shape[1] != config.in_channels:
            raise UserError(
                f"x has shape {tuple(x.shape)}",
                where="x",
                remedy=f"pass (batch, {config.in_channels}, and {config.dims} spatial axes)",
            )
        if any(size % p for size, p in zip(sizes, patch, strict=True)):
            wanted = tuple(math.ceil(size / p) * p for size, p in zip(sizes, patch, strict=True))
            raise UserError(
                f"size {sizes} is not divisible by {patch}", where="x", remedy=f"pad to {wanted}, then crop"
            )
        if config.size is not None and sizes != config.size:
            raise UserError(
                f"size {sizes}, the learned positions are for {config.size}", where="x", remedy="crop or pad to it"
            )
        length = 0
        if config.text is not None:
            length = min(cond["text"].shape[-1], config.text.length) if "text" in cond else config.text.length
        check(cond, self._shapes(x.shape[0], sizes, length), self._integers)
