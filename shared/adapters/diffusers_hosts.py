"""The networks of diffusers as hosts, and the link between their pipelines and the strength of an adapter.

    host = host_of(pipe.unet)
    with host.attached(cards) as adapted, following(adapted, pipe.scheduler):
        pipe(prompt, guidance_scale=7)

Only names of modules and arguments are used, so importing this file does not import diffusers. Where a network takes an
argument for the same purpose (residuals of a ControlNet), the hooks add in the same order and agree with it to the bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from shared.adapters.attached import Adapted
from shared.adapters.card import NULL
from shared.adapters.host import Change, Host, Site, given_to, host_of
from shared.errors import UserError


class DiffusersHost(Host):
    """What the networks of diffusers have in common."""

    arguments: ClassVar[tuple[str, ...]] = ()  # of forward, as far as positions go
    levels: ClassVar[float] = 1.0  # the scheduler's timestep, in units of the network's

    @property
    def config(self) -> dict[str, Any]:
        found: Any = self.network.config
        config = json.loads(json.dumps(dict(found)))
        return {name: value for name, value in config.items() if not name.startswith("_")}

    def check(self) -> None:
        fused = [path for path, module in self.network.named_modules() if _bypassed(module)]
        if fused:
            raise UserError(
                f"{len(fused)} attentions have fused projections, which bypass their layers",
                where="adapter",
                remedy="call unfuse_qkv_projections() first",
            )

    @classmethod
    def named(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of a call of the network by name."""
        return {**dict(zip(cls.arguments, args, strict=False)), **kwargs}


def _bypassed(module: nn.Module) -> bool:
    """Whether an attention reads fused projections. In the older class only the processor tells."""
    if type(module).__name__ == "Attention":
        return type(module.processor).__name__.startswith("Fused")
    return bool(getattr(module, "fused_projections", False))


class UNet2DHost(DiffusersHost):
    """UNet2DConditionModel (Stable Diffusion 1, 2, XL): skip.0 is what conv_in hands over, then one a layer down."""

    arguments = ("sample", "timestep", "encoder_hidden_states")
    flat = (
        *("time_embedding.*", "add_embedding.*", "class_embedding*", "encoder_hid_proj*", "*.time_emb_proj"),
        *("*.attn2.to_k", "*.attn2.to_v"),
    )

    def places(self) -> list[Site]:
        network: Any = self.network
        widths = [network.conv_in.out_channels]
        for block in network.down_blocks:
            width = block.resnets[0].out_channels
            widths += [width] * (len(block.resnets) + (block.downsamplers is not None))
        skips = [Site(f"skip.{i}", "skip", width, "up_blocks") for i, width in enumerate(widths)]
        middle = [*self._blocks("mid_block"), Site("mid", "mid", widths[-1], "mid_block")]
        return [*self._blocks("down_blocks"), *skips, *middle, *self._blocks("up_blocks")]

    def _blocks(self, part: str) -> list[Site]:
        found = []
        for name, module in self.network.get_submodule(part).named_modules(prefix=part):
            inner: Any = module
            if type(module).__name__ == "ResnetBlock2D":
                found.append(Site(name, "block", inner.out_channels, name))
            elif type(module).__name__ == "BasicTransformerBlock":
                found.append(Site(name, "block", inner.dim, name, last=True))
        return found

    def on(self, site: Site | str, change: Change) -> RemovableHandle:
        site = self.site(site) if isinstance(site, str) else site
        if site.kind != "skip":
            return super().on(site, change)
        block, place = self._reader(int(site.name.split(".")[1]))

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            skips = list(kwargs["res_hidden_states_tuple"])
            skips[place] = change(skips[place], skips[place])
            return args, {**kwargs, "res_hidden_states_tuple": tuple(skips)}

        return block.register_forward_pre_hook(hook, with_kwargs=True)

    def _reader(self, index: int) -> tuple[nn.Module, int]:
        """The block of the way up that reads a skip, and where among its own: blocks take from the end."""
        blocks: Any = self.network.up_blocks
        end = sum(len(block.resnets) for block in blocks)
        for block in blocks:
            first = end - len(block.resnets)
            if index >= first:
                return block, index - first
            end = first
        raise AssertionError(f"skip {index} has no reader")

    @property
    def entry(self) -> str:
        raise UserError(
            "the encoder of a UNet2DConditionModel is not copied here",
            where="adapter",
            remedy="use diffusers' ControlNetModel.from_unet and StockControlNet",
        )

    @property
    def grain(self) -> tuple[int, ...]:
        return (1, 1)

    def shapes(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[tuple[int, ...]]:
        sample: Tensor = self.named(args, kwargs)["sample"]
        found = [tuple(sample.shape[2:])]
        for _ in range(len(self.network.down_blocks) - 1):  # type: ignore[arg-type]
            found.append(tuple((n + 1) // 2 for n in found[-1]))
        return found


class TransformerHost(DiffusersHost):
    """Transformers over patches: block.K, and in Flux single.K, whose sequences hold words and then patches."""

    def places(self) -> list[Site]:
        width = int(self.network.inner_dim)  # type: ignore[arg-type]
        lists = (("block", "transformer_blocks"), ("single", "single_transformer_blocks"))
        return [
            Site(f"{name}.{k}", "block", width, f"{path}.{k}", last=True)
            for name, path in lists
            for k in range(len(getattr(self.network, path, ())))
        ]

    @property
    def entry(self) -> str:
        return "transformer_blocks.0"

    @property
    def grain(self) -> tuple[int, ...]:
        return (int(self.network.config.patch_size),) * 2  # type: ignore[union-attr, arg-type]

    def shapes(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[tuple[int, ...]]:
        return [tuple(n // p for n, p in zip(given_to(args, kwargs).shape[2:], self.grain, strict=True))]


class PixArtHost(TransformerHost):
    """PixArtTransformer2DModel."""

    arguments = ("hidden_states", "encoder_hidden_states", "timestep")
    flat = ("adaln_single.*", "caption_projection.*", "*.attn2.to_k", "*.attn2.to_v")


class SD3Host(TransformerHost):
    """SD3Transformer2DModel: two streams, of which the patches are the sites' value."""

    arguments = ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep")
    flat = (
        *("time_text_embed.*", "context_embedder", "*.norm1.linear", "*.norm1_context.linear", "norm_out.linear"),
        *("*.add_?_proj", "*.to_add_out", "*.ff_context.*"),
    )


class FluxHost(TransformerHost):
    """FluxTransformer2DModel: its latents come packed (B, N, C), and their places in img_ids (N, 3)."""

    arguments = ("hidden_states", "encoder_hidden_states", "pooled_projections", "timestep", "img_ids", "txt_ids")
    flat = (*SD3Host.flat, "*.norm.linear")
    words_first = True
    levels = 1000.0

    @property
    def grain(self) -> tuple[int, ...]:
        return (1, 1)

    def shapes(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[tuple[int, ...]]:
        ids: Tensor = self.named(args, kwargs)["img_ids"]
        return [tuple(int(n) + 1 for n in ids.reshape(-1, 3).amax(dim=0)[1:])]


HOSTS: dict[str, type[Host]] = {
    "UNet2DConditionModel": UNet2DHost,
    "FluxTransformer2DModel": FluxHost,
    "SD3Transformer2DModel": SD3Host,
    "PixArtTransformer2DModel": PixArtHost,
}


@contextmanager
def following(adapted: Adapted, scheduler: object, *, guided: bool = True) -> Iterator[None]:
    """While a stock pipeline runs: tell the adapters, before each call, the point of its timestep and the branches.

    scheduler   of the pipeline, or its config: how the network was trained
    guided      the pipeline stacks the rows without the prompt before those with it, as diffusers' do with guidance:
                the first half of a batch is the branch "null". False: there is one branch (no guidance, or distilled)
    """
    from shared.interop.scheduler_config import read, trained

    known, host = trained(read(scheduler)), host_of(adapted)
    if not isinstance(host, DiffusersHost):
        raise UserError("the network is not one of diffusers", where="adapter", remedy="run it through a Denoiser")

    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        named = host.named(args, kwargs)
        rows = given_to(args, kwargs).shape[0]
        timestep = torch.as_tensor(named["timestep"]).detach().to("cpu", torch.float64) * host.levels
        at = known.process.at(known.time(timestep if timestep.numel() == rows > 1 else timestep.reshape(-1)[0]))
        half = rows // 2 if guided else 0
        adapted.tell(at, (NULL,) * half + ("cond",) * (rows - half))

    handle = host.network.register_forward_pre_hook(hook, with_kwargs=True, prepend=True)
    try:
        yield
    finally:
        handle.remove()
