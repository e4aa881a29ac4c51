"""ControlNets that others trained, as adapters: ControlNetModel, FluxControlNetModel, SD3ControlNetModel of diffusers.

    net = ControlNetModel.from_pretrained(folder)
    with host_of(pipe.unet).attached([Card(StockControlNet(net), {"image": edges})]) as adapted, ...

What such a network says is added where its pipelines add it: skips *and* middle of a U-Net; of L blocks with n
residuals, block k gets number k // ceil(L / n) in Flux and floor(k n / L) in Stable Diffusion 3.
Their forward passes read the image in every call, so only its cast is kept from call to call.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from shared.adapters.adapter import Adapter, Condition, Prepared
from shared.adapters.diffusers_hosts import DiffusersHost, FluxHost, SD3Host, UNet2DHost
from shared.adapters.host import Host, Site
from shared.errors import UserError

IMAGE = "image"
FITS: dict[str, type[DiffusersHost]] = {
    "ControlNetModel": UNet2DHost,
    "FluxControlNetModel": FluxHost,
    "SD3ControlNetModel": SD3Host,
}
# What each is called with, of the arguments of the network it controls.
TAKES = {
    "ControlNetModel": ("sample", "timestep", "encoder_hidden_states", "class_labels", "added_cond_kwargs"),
    "FluxControlNetModel": (
        *("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep", "img_ids", "txt_ids"),
        "guidance",
    ),
    "SD3ControlNetModel": ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep"),
}


class StockControlNet(Adapter):
    """A ControlNet of diffusers. Condition "image": (1 or rows, C, H, W) as its own pipeline would pass it on."""

    conditions = (IMAGE,)

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.kind = type(network).__name__
        if self.kind not in FITS:
            raise UserError(
                f"{self.kind} is no ControlNet known here", where="adapter", remedy=f"use {', '.join(FITS)}"
            )
        self.network = network
        self._source: dict[str, int] = {}

    def sites(self, host: Host) -> tuple[str, ...]:
        if not isinstance(host, FITS[self.kind]):
            raise UserError(
                f"a {self.kind} does not fit a {type(host.network).__name__}",
                where="adapter",
                remedy="use its own base",
            )
        self._source = self._sources(host)
        return tuple(self._source)

    def prepare(self, condition: Condition) -> Prepared:
        return {IMAGE: condition[IMAGE].to(next(self.network.parameters()).dtype)}

    def entry(self, host: Host) -> str:
        return ""

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], prepared: Prepared) -> list[Tensor]:
        """All residuals of one call, in the order of `_sources`."""
        dtype = next(self.network.parameters()).dtype
        named = FITS[self.kind].named(args, kwargs)
        wanted = {name: _cast(name, named[name], dtype) for name in TAKES[self.kind] if name in named}
        state = wanted["sample"] if "sample" in wanted else wanted["hidden_states"]
        image = prepared[IMAGE].expand(state.shape[0], *prepared[IMAGE].shape[1:])
        said = self.network(controlnet_cond=image, return_dict=False, **wanted)
        if self.kind == "ControlNetModel":
            return [*said[0], said[1]]
        return [residual for part in said for residual in part or ()]

    def add(self, site: Site, h: Tensor, x: Tensor, state: list[Tensor]) -> Tensor:
        return state[self._source[site.name]]

    def _sources(self, host: Host) -> dict[str, int]:
        """Site -> number of its residual."""
        network: Any = self.network
        if self.kind == "ControlNetModel":
            names = [site.name for site in host.of_kind("skip", "mid")]
            skips = sorted((n for n in names if n != "mid"), key=lambda n: int(n.split(".")[1]))
            return {name: i for i, name in enumerate([*skips, "mid"])}
        blocks: Any = host.network.transformer_blocks
        count = len(network.controlnet_blocks)
        if self.kind == "SD3ControlNetModel":
            open_ = [k for k, block in enumerate(blocks) if not block.context_pre_only]
            return {f"block.{k}": int(k / (len(blocks) / count)) for k in open_}
        singles: Any = host.network.single_transformer_blocks
        found = {f"block.{k}": k // math.ceil(len(blocks) / count) for k in range(len(blocks))} if count else {}
        more = len(network.controlnet_single_blocks)
        if more:
            found |= {f"single.{k}": count + k // math.ceil(len(singles) / more) for k in range(len(singles))}
        return found


def _cast(name: str, value: Any, dtype: torch.dtype) -> Any:
    """States and words in the dtype of the ControlNet; a time stays exact."""
    if name in ("timestep", "img_ids", "txt_ids") or not isinstance(value, Tensor):
        return value
    return value.to(dtype)
