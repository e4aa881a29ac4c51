"""ControlNet (Zhang et al. 2023): a trainable copy of the encoder reads a hint, and what it finds is added to the base.

    r = zero_i(copy_i(h + encode(hint)));   U-Net: r joins each skip and the middle;   transformer: block i's output

h, time and words are what the base's first block is given, so the copy costs no second embedding. The last layers start
at zero: a fresh ControlNet is the identity. A transformer's copy has the first half of the blocks unless told otherwise
(the ControlNet of PixArt-delta, Chen et al. 2024). The hint encoder has four convolutions: with a single one, training
did not converge in 50 000 steps (lllyasviel/ControlNet issue 373).

    host = host_of(base)                                               # a frozen DiT or U-Net
    control = ControlNet(host, ControlNetConfig(channels=1))           # hint: (B, 1, H, W), the size of x
    def loss(network, batch, generator):
        cond = {"text": batch["text"], "hint": batch["hint"]}          # a row of NaN: no hint, the base itself
        return denoising(Denoiser(network, process, head), batch["x0"], generator, cond=cond)
    with training(base, control) as trainee:                           # shared/adapters/train.py
        report = fit(trainee, loss, batch_at, settings=TrainSettings(steps=3000), out=folder)
        trainee.load_state_dict(report.ema)
    files.save("edges.safetensors", control, host, card)               # shared/adapters/files.py
    control, card = files.load("edges.safetensors", host)
    with host.attached([Card(control, {"hint": edges}, strength=0.8)]) as adapted:
        denoiser = Denoiser(adapted, process, head, null=base.null(x))
        run = sample(denoiser, DDIM(), grid, noise=noise, x=x, cond={"text": ids}, guidance=[ClassifierFree(3)])
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from shared.adapters.adapter import Adapter, Condition, Prepared
from shared.adapters.attached import live
from shared.adapters.host import Host, Site, UNetHost, given_to
from shared.errors import UserError
from shared.networks.layers import CONVOLUTIONS, zero

HINT = "hint"


@dataclass(frozen=True)
class ControlNetConfig:
    """What a ControlNet is made of; plain numbers, for its card.

    channels   of the hint
    blocks     of a transformer that are copied, from the first; None: half of them. A U-Net's encoder is copied whole
    width      of the hint encoder's first layers
    scale      pixels of the hint along an entry of x: 1 where the network works on pictures, 8 behind most VAEs
    """

    channels: int = 1
    blocks: int | None = None
    width: int = 32
    scale: int = 1


class HintEncoder(nn.Module):
    """(B, C, *spatial) -> (B, D, *grid): three 3-wide convolutions at the hint's own size, then one that strides.

    The hint is read once a run, so its size is what limits, not its cost.
    """

    def __init__(self, channels: int, width: int, out: int, stride: tuple[int, ...]) -> None:
        super().__init__()
        conv = CONVOLUTIONS[len(stride)]
        self.stride = stride
        self.layers = nn.Sequential(
            conv(channels, width, 3, padding=1),
            nn.SiLU(),
            conv(width, width, 3, padding=1),
            nn.SiLU(),
            conv(width, 2 * width, 3, padding=1),
            nn.SiLU(),
            conv(2 * width, out, stride, stride=stride),
        )

    def forward(self, hint: Tensor) -> Tensor:
        return self.layers(hint)


class UNetCopy(nn.Module):
    """The way down and the middle of our U-Net, with what each level hands over."""

    def __init__(self, host: UNetHost) -> None:
        super().__init__()
        self.down = _copy(host.network.down)
        self.sample = _copy(host.network.sample_down)
        self.mid = _copy(host.network.mid)

    def forward(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], hint: Tensor) -> list[Tensor]:
        h, embedding = cast_to(args[:2], hint.dtype)
        found, h = [], h + hint
        for level, sample in zip(self.down, self.sample, strict=False):  # all but the coarsest
            found.append(level(h, embedding))
            h = sample(found[-1])
        return [*found, self.mid(self.down[-1](h, embedding), embedding)]


class BlocksCopy(nn.Module):
    """The first blocks of a transformer, called as the base calls its own: same words, embedding and positions."""

    def __init__(self, host: Host, count: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(_copy(host.module(site)) for site in host.of_kind("block")[:count])

    def forward(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], hint: Tensor) -> list[Tensor]:
        args, more = cast_to(args, hint.dtype), cast_to(dict(kwargs), hint.dtype)
        h = given_to(args, more)
        tokens = hint.flatten(2).transpose(1, 2)  # (B, N, D)
        h = h + F.pad(tokens, (0, 0, 0, h.shape[1] - tokens.shape[1]))  # the words of our own transformer come last
        found = []
        for block in self.blocks:
            if args:
                out = block(h, *args[1:], **more)
            else:
                out = block(**(more | {"hidden_states": h}))
            if isinstance(out, tuple):
                more["encoder_hidden_states"], h = out
            else:
                h = out
            found.append(h)
        return found


class ControlNet(Adapter):
    """Copy of a host's encoder, hint encoder, and the zero layers between copy and base."""

    conditions = (HINT,)

    def __init__(self, host: Host, config: ControlNetConfig) -> None:
        super().__init__()
        if live(host.network):
            raise UserError(
                "the network has adapters in place", where="adapter", remedy="copy it before they are attached"
            )
        self.config = config
        first = host.of_kind("block")[0]
        if isinstance(host, UNetHost):
            sites = host.of_kind("skip", "mid")
            self.copy: nn.Module = UNetCopy(host)
        else:
            blocks = host.of_kind("block")
            count = config.blocks or max(1, len(blocks) // 2)
            if not 0 < count <= len(blocks):
                raise UserError(f"{count} of {len(blocks)} blocks", where="blocks", remedy="copy some or all of them")
            sites, self.copy = blocks[:count], BlocksCopy(host, count)
        stride = tuple(config.scale * n for n in host.grain)
        self.encode = HintEncoder(config.channels, config.width, first.channels, stride)
        self.names = tuple(site.name for site in sites)
        self.zeros = nn.ModuleList(_projection(site, len(stride)) for site in sites)
        self.to(next(host.network.parameters()).device)
        self.requires_grad_(True)

    def sites(self, host: Host) -> tuple[str, ...]:
        for name, layer in zip(self.names, self.zeros, strict=True):
            width = layer.get_parameter("weight").shape[0]
            if host.site(name).channels != width:
                raise UserError(
                    f"the ControlNet is {width} wide at {name}, the network {host.site(name).channels}",
                    where="adapter",
                    remedy="use the network it was made for",
                )
        return self.names

    def prepare(self, condition: Condition) -> Prepared:
        """The encoded hint (n, D, *grid), and which rows have one (n, 1): a row of NaN has none."""
        hint = condition[HINT].to(next(self.encode.parameters()).dtype)
        if hint.ndim != 2 + len(self.encode.stride) or hint.shape[1] != self.config.channels:
            raise UserError(
                f"the hint has shape {tuple(hint.shape)}",
                where=HINT,
                remedy=f"pass (rows, {self.config.channels}, and {len(self.encode.stride)} spatial axes)",
            )
        absent = hint.flatten(1).isnan().all(dim=1)
        seen = torch.where(absent.reshape(-1, *[1] * (hint.ndim - 1)), torch.zeros_like(hint), hint)
        return {HINT: self.encode(seen), "present": ~absent[:, None]}

    def entry(self, host: Host) -> str:
        return host.entry

    def begin(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], prepared: Prepared) -> dict[str, Tensor]:
        """What is to be added at each site: (B, C, *spatial) or (B, N, C); 0 in rows without a hint."""
        found = self.copy(args, kwargs, prepared[HINT])
        added = {}
        for name, value, layer in zip(self.names, found, self.zeros, strict=True):
            out = layer(value)
            present = prepared["present"].reshape(-1, *[1] * (out.ndim - 1))
            added[name] = torch.where(present, out, torch.zeros_like(out))
        return added

    def add(self, site: Site, h: Tensor, x: Tensor, state: Mapping[str, Tensor]) -> Tensor:
        return state[site.name]


def _projection(site: Site, dims: int) -> nn.Module:
    layer = (
        nn.Linear(site.channels, site.channels) if site.last else CONVOLUTIONS[dims](site.channels, site.channels, 1)
    )
    zero(layer)
    return layer


def _copy(module: nn.Module) -> Any:
    """A copy with its own weights, in float32 where the original is in half precision."""
    copied = copy.deepcopy(module)
    return copied.to(torch.promote_types(next(copied.parameters()).dtype, torch.float32))


def cast_to(value: Any, dtype: torch.dtype) -> Any:
    """Floating-point tensors, in tuples and mappings too, in that dtype; everything else as it is."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, tuple):
        return tuple(cast_to(part, dtype) for part in value)
    if isinstance(value, dict):
        return {name: cast_to(part, dtype) for name, part in value.items()}
    return value
