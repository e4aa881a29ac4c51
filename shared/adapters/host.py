"""Where an adapter can touch a network: one small host class a backbone, the same words for all of them.

    host = host_of(network)
    host.sites()                                      names, kinds and widths
    handle = host.on("mid", lambda h, x: h + 1)       h: what the site says, x: what it was given; handle.remove()
    with host.attached([Card(controlnet, hint)]) as adapted:
        sample(Denoiser(adapted, process, head), ...)

A host hooks modules and leaves their classes, weights and forward methods alone, so that removing a hook restores the
network to the bit, and torch.compile takes the hooks with the network (attach first, compile then). Hooks are pure:
gradient checkpointing may run them twice.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from shared.errors import UserError
from shared.networks.dit import DiT
from shared.networks.unet import UNet

if TYPE_CHECKING:
    from shared.adapters.attached import Adapted
    from shared.adapters.card import Card

Change = Callable[[Tensor, Tensor], Tensor]  # (h, x) -> new h
Watch = Callable[[tuple[Any, ...], dict[str, Any]], None]  # (args, kwargs) of a module that is about to run
Kind = Literal["block", "skip", "mid", "linear", "conv"]
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)  # what a low-rank update can stand beside


@dataclass(frozen=True)
class Site:
    """One place of a network.

    name      of the place: "block.3", "skip.0", "mid"; a layer is named by its module path, "blocks.0.attention.q"
    kind      block, skip (what a way up will read), mid (the coarsest), linear or conv (one layer)
    channels  width of what the site says
    path      the module that says it
    last      channels stand last, (B, N, C); otherwise second, (B, C, *spatial)
    space     its positions are those of the picture, so that a region can confine a change there
    """

    name: str
    kind: Kind
    channels: int
    path: str
    last: bool = False
    space: bool = True


class Host:
    """Base of the hosts. A subclass states its places, what its calls look like, and which positions a call has."""

    flat: ClassVar[tuple[str, ...]] = ()  # patterns of layers whose positions are no picture: embeddings, words
    words_first: ClassVar[bool] = False  # in sequences of words and patches, words come first

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self.outer = network  # what is called: the network, or what wraps it for a Denoiser (shared/interop)

    # ------------------------------------------------------------------------------------- what a subclass states

    def places(self) -> list[Site]:
        """Blocks, skips and middle, in the order of a forward pass."""
        raise NotImplementedError

    @property
    def entry(self) -> str:
        """Path of the first block: a copy of the encoder starts from what it is given."""
        raise NotImplementedError

    def shapes(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[tuple[int, ...]]:
        """Spatial shapes that positions of this call may have, finest first."""
        raise NotImplementedError

    @property
    def grain(self) -> tuple[int, ...]:
        """Entries of x, an axis, that meet in one position of the first block."""
        raise NotImplementedError

    @property
    def config(self) -> dict[str, Any]:
        """The configuration of the network, as JSON would return it."""
        return json.loads(json.dumps(asdict(self.network.config)))  # type: ignore[call-overload]

    def check(self) -> None:
        """Raise UserError when the network is in a state in which its layers are bypassed."""

    # ------------------------------------------------------------------------------------------ what all of them do

    def sites(self) -> list[Site]:
        """Every place and every layer."""
        return list(self._sites.values())

    def site(self, name: str) -> Site:
        """The site of that name; raises UserError with the nearest names."""
        if name not in self._sites:
            near = [n for n in self._sites if name.split(".")[0] in n][:5] or list(self._sites)[:5]
            raise UserError(
                f"{type(self.network).__name__} has no site {name!r}", where="site", remedy=f"use one such as {near}"
            )
        return self._sites[name]

    def of_kind(self, *kinds: Kind) -> list[Site]:
        """The sites of these kinds, in order."""
        return [site for site in self._sites.values() if site.kind in kinds]

    def module(self, site: Site | str) -> nn.Module:
        """The module that a site's value comes from."""
        return self.network.get_submodule((self.site(site) if isinstance(site, str) else site).path)

    def on(self, site: Site | str, change: Change) -> RemovableHandle:
        """Replace what a site says by change(h, x), from now until handle.remove(); changes act in order."""
        site = self.site(site) if isinstance(site, str) else site

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], out: Any) -> Any:
            h = out[-1] if isinstance(out, tuple) else out  # blocks of two streams return (words, patches)
            new = change(h, given_to(args, kwargs))
            if new is h:
                return None
            return (*out[:-1], new) if isinstance(out, tuple) else new

        return self.module(site).register_forward_hook(hook, with_kwargs=True)

    def before(self, path: str, watch: Watch) -> RemovableHandle:
        """Call watch(args, kwargs) before a module runs; "" is the network itself. It looks, and changes nothing."""

        def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            watch(args, kwargs)

        return self.network.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True)

    def finished(self, do: Callable[[], None]) -> RemovableHandle:
        """Call do() after every call of the network, also after one that raised."""
        return self.network.register_forward_hook(lambda *_: do(), always_call=True)

    def attached(self, cards: Sequence[Card]) -> AbstractContextManager[Adapted]:
        """The network with the adapters of `cards` in place; on leaving, however it is left, as it was."""
        from shared.adapters.attached import attached

        return attached(self, cards)

    def signature(self) -> dict[str, Any]:
        """Class and configuration: what an adapter's shapes depend on."""
        return {"class": type(self.network).__name__, "config": self.config}

    def fingerprint(self) -> str:
        """SHA-256 of names and weights, rounded to float16: the same before and after a float16 checkpoint."""
        digest = hashlib.sha256()
        for name, value in sorted(self.network.state_dict().items()):
            exact = value.detach().to("cpu", torch.float16 if value.is_floating_point() else value.dtype)
            digest.update(f"{name} {tuple(exact.shape)}".encode())
            digest.update(exact.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @cached_property
    def _sites(self) -> dict[str, Site]:
        found = {site.name: site for site in self.places()}
        for path, module in self.network.named_modules():
            if isinstance(module, LAYERS):
                linear = isinstance(module, nn.Linear)
                width = module.out_features if isinstance(module, nn.Linear) else module.out_channels
                space = not any(fnmatchcase(path, pattern) for pattern in self.flat)
                found[path] = Site(path, "linear" if linear else "conv", width, path, last=linear, space=space)
        return found


def given_to(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """The first tensor a module was called with: its input, or the state of a block."""
    return args[0] if args else kwargs["hidden_states"] if "hidden_states" in kwargs else next(iter(kwargs.values()))


class UNetHost(Host):
    """Our U-Net: block.* are its residual blocks, skip.L what the way up reads, mid the coarsest level's end."""

    network: UNet
    flat = ("time.*", "vectors.*", "*.film")

    def places(self) -> list[Site]:
        widths = self.network.config.channels
        paths = {id(module): path for path, module in self.network.named_modules()}
        found = []
        for name, module in self.network.sites().items():
            parts = name.split(".")
            width = widths[-1] if parts[0] == "mid" else widths[int(parts[1])] if len(parts) > 1 else 0
            if parts[0] == "skip":
                found.append(Site(name, "skip", width, paths[id(module)]))
            elif "block" in parts:
                found.append(Site(name, "block", width, paths[id(module)]))
            if name == "mid.block.0":
                found.append(Site("mid", "mid", width, "mid"))  # its attention included
        return found

    @property
    def entry(self) -> str:
        return "down.0.blocks.0"

    @property
    def grain(self) -> tuple[int, ...]:
        return self.network.config.patch_by_axis

    def shapes(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[tuple[int, ...]]:
        config = self.network.config
        now = tuple(n // p for n, p in zip(given_to(args, kwargs).shape[2:], config.patch_by_axis, strict=True))
        found = [now]
        for factors in config.strides_by_step:
            now = tuple(n // f for n, f in zip(now, factors, strict=True))
            found.append(now)
        return found


class DiTHost(Host):
    """Our transformer: block.K, whose tokens are the patches of x and then the words."""

    network: DiT
    flat = ("time.*", "vectors.*", "text.*", "pooled", "modulation", "*.modulation", "*.film")

    def places(self) -> list[Site]:
        width = self.network.config.width
        return [Site(f"block.{k}", "block", width, f"blocks.{k}", last=True) for k in range(len(self.network.blocks))]

    @property
    def entry(self) -> str:
        return "blocks.0"

    @property
    def grain(self) -> tuple[int, ...]:
        return self.network.config.patch_by_axis

    def shapes(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> list[tuple[int, ...]]:
        patch = self.network.config.patch_by_axis
        return [tuple(n // p for n, p in zip(given_to(args, kwargs).shape[2:], patch, strict=True))]


# --------------------------------------------------------------------------------------------------------- the registry

OURS: dict[type[nn.Module], type[Host]] = {UNet: UNetHost, DiT: DiTHost}
DIFFUSERS = ("UNet2DConditionModel", "FluxTransformer2DModel", "SD3Transformer2DModel", "PixArtTransformer2DModel")


def host_of(network: nn.Module) -> Host:
    """The host of a network, also of one that is adapted or wrapped; raises UserError that lists what has a host."""
    from shared.adapters.attached import Adapted

    if hasattr(network, "_orig_mod"):
        raise UserError(
            "the network is compiled already", where="adapter", remedy="attach adapters first, then compile"
        )
    name = type(network).__name__
    for made in OURS:
        if type(network) is made:
            return OURS[made](network)
    if type(network).__module__.split(".")[0] == "diffusers" and name in DIFFUSERS:
        from shared.adapters import diffusers_hosts

        return diffusers_hosts.HOSTS[name](network)
    inner = getattr(network, "network", None)
    if isinstance(inner, nn.Module):
        host = host_of(inner)
        host.outer = host.outer if isinstance(network, Adapted) else network
        return host
    known = [made.__name__ for made in OURS] + [f"diffusers' {known}" for known in DIFFUSERS]
    raise UserError(f"adapters do not know the network {name}", where="adapter", remedy=f"use {', '.join(known)}")


def matching(names: Sequence[str], patterns: Sequence[str]) -> Iterator[str]:
    """The names that fit one of the shell patterns, in their own order."""
    return (name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns))
