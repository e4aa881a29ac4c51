"""Low-rank updates of layers (Hu et al. 2022), linear ones and convolutions (LoCon), on any host.

    W x  ->  W x + (alpha / rank) up(down(x))

down has the shape of the layer with `rank` outputs (a convolution keeps its kernel, stride and padding), up is 1 wide.
up starts at zero: a fresh LoRA is the identity. Attached, it takes strength, curve, region and branch like any adapter;
merged, it costs nothing and acts everywhere:

    undo = lora.merge(host, strength=0.8)     # W += ...;     undo() puts the very weights back
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.adapters.adapter import Adapter
from shared.adapters.attached import live
from shared.adapters.host import Host, Site, matching
from shared.errors import UserError

# Queries, keys, values and outputs of attention, by the names that our networks and diffusers' give them.
ATTENTION = ("*.q", "*.k", "*.v", "*.attention.out", "*.qkv", "*.project", "*to_q", "*to_k", "*to_v", "*to_out.0")
CONVOLVE: dict[int, Any] = {3: F.conv1d, 4: F.conv2d, 5: F.conv3d}


@dataclass(frozen=True)
class LoRAConfig:
    """What a LoRA is made of; plain numbers, for its card.

    rank      of each update;  alpha  numerator of its scale alpha / rank; None: rank, a scale of 1
    targets   patterns of the paths of the layers it updates
    ranks, alphas   exceptions, path -> number
    """

    rank: int = 4
    alpha: float | None = None
    targets: Sequence[str] = ATTENTION
    ranks: Mapping[str, int] = field(default_factory=dict)
    alphas: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "targets", tuple(self.targets))
        low = min([self.rank, *self.ranks.values()])
        if low < 1:
            raise UserError(f"a rank is {low}", where="rank", remedy="give 1 or more")

    def of(self, path: str) -> tuple[int, float]:
        """Rank and alpha of one layer."""
        rank = self.ranks.get(path, self.rank)
        return rank, float(self.alphas.get(path, rank if self.alpha is None else self.alpha))


class Update(nn.Module):
    """up and down of one layer; `weight` is the change of the layer's own weight at strength 1."""

    def __init__(self, layer: nn.Module, rank: int, alpha: float) -> None:
        super().__init__()
        weight: Tensor = layer.weight  # type: ignore[assignment]
        exact = torch.promote_types(weight.dtype, torch.float32)
        ones = (1,) * (weight.ndim - 2)
        make: dict[str, Any] = {"dtype": exact, "device": weight.device}
        self.down = nn.Parameter(torch.empty(rank, *weight.shape[1:], **make))
        self.up = nn.Parameter(torch.zeros(weight.shape[0], rank, *ones, **make))
        self.scale = alpha / rank
        nn.init.kaiming_uniform_(self.down, a=5**0.5)  # as nn.Linear and the convolutions start
        self.options: dict[str, Any] = {}
        if weight.ndim > 2:
            self.options = {name: getattr(layer, name) for name in ("stride", "padding", "dilation")}

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.down.dtype)
        if self.down.ndim == 2:
            return self.scale * F.linear(F.linear(x, self.down), self.up)
        convolve = CONVOLVE[self.down.ndim]
        return self.scale * convolve(convolve(x, self.down, **self.options), self.up)

    @property
    def weight(self) -> Tensor:
        """scale up down, in the shape of the layer's weight."""
        return self.scale * (self.up.flatten(1) @ self.down.flatten(1)).unflatten(1, self.down.shape[1:])


class LoRA(Adapter):
    """Updates of the layers of a host that the configuration's targets name."""

    def __init__(self, host: Host, config: LoRAConfig) -> None:
        super().__init__()
        layers = {site.path: host.module(site) for site in host.of_kind("linear", "conv")}
        self.paths = tuple(matching(list(layers), config.targets))
        if not self.paths:
            raise UserError(
                f"{list(config.targets)} fit none of the {len(layers)} layers",
                where="targets",
                remedy=f"use patterns of paths such as {list(layers)[:4]}",
            )
        grouped = [path for path in self.paths if getattr(layers[path], "groups", 1) != 1]
        if grouped:
            raise UserError(f"{grouped} are grouped convolutions", where="targets", remedy="leave them out")
        self.config = config
        self.updates = nn.ModuleDict({key(path): Update(layers[path], *config.of(path)) for path in self.paths})

    def update(self, path: str) -> Update:
        """The update of one layer."""
        return self.updates[key(path)]  # type: ignore[return-value]

    def sites(self, host: Host) -> tuple[str, ...]:
        for path in self.paths:
            have, want = (
                tuple(self.update(path).weight.shape),
                tuple(host.module(path).get_parameter("weight").shape),
            )
            if have != want:
                raise UserError(
                    f"the LoRA changes a weight {have} at {path}, the network's is {want}",
                    where="adapter",
                    remedy="use the network it was made for",
                )
        return self.paths

    def add(self, site: Site, h: Tensor, x: Tensor, state: Any) -> Tensor:
        return self.update(site.path)(x)

    def merge(self, host: Host, strength: float = 1.0) -> Callable[[], None]:
        """Add the updates to the weights of the host; returns what puts the very weights back, to the bit.

        It keeps a copy of the weights it changed. Raises UserError while adapters are attached to the network.
        """
        if live(host.network):
            raise UserError("the network has adapters in place", where="merge", remedy="leave their block first")
        weights = {path: host.network.get_parameter(f"{path}.weight") for path in self.sites(host)}
        kept = {path: weight.detach().clone() for path, weight in weights.items()}
        with torch.no_grad():
            for path, weight in weights.items():
                weight.copy_(
                    weight.to(torch.promote_types(weight.dtype, torch.float32)) + strength * self.update(path).weight
                )

        def undo() -> None:
            with torch.no_grad():
                for path, weight in weights.items():
                    weight.copy_(kept[path])

        return undo


def key(path: str) -> str:
    """The name of a layer's update: its path, in the alphabet that names of modules have."""
    return path.replace(".", "/")
