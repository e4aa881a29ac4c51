"""Adapters that travel: the files of shared/checkpoints.py, with the base they belong to in the card.

    save("edges.safetensors", adapter, host, {"name": ..., "recipe": ..., ...})      writes edges.json beside it
    adapter, card = load("edges.safetensors", host)

The card names the base by class, configuration and the SHA-256 of its weights in float16 (Host.fingerprint); a load on
another base is refused. Load before the base is cast to bfloat16, which changes its weights.
A ControlNet of diffusers keeps the folder that its own save_pretrained writes, and is refused here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from shared import checkpoints
from shared.adapters.adapter import Adapter
from shared.adapters.controlnet import ControlNet, ControlNetConfig
from shared.adapters.diffusers_controlnet import StockControlNet
from shared.adapters.host import Host
from shared.adapters.lora import LoRA, LoRAConfig
from shared.errors import UserError

# What a card may ask for: kind -> (adapter, its configuration). A card never names a class to import.
ADAPTERS: dict[str, tuple[Any, type[Any]]] = {"controlnet": (ControlNet, ControlNetConfig), "lora": (LoRA, LoRAConfig)}


def save(
    path: Path | str, adapter: Adapter, host: Host, card: Mapping[str, Any], *, dtype: torch.dtype = torch.float16
) -> dict[str, Any]:
    """Write weights and card of an adapter made for this host; returns the finished card. See checkpoints.save.

    Raises UserError for a ControlNet of diffusers, whose own folder other programs can read.
    """
    if isinstance(adapter, StockControlNet):
        raise UserError(
            f"a {adapter.kind} is a network of diffusers",
            where=Path(path).name,
            remedy="write it with adapter.network.save_pretrained(folder), and read it with "
            f"StockControlNet({adapter.kind}.from_pretrained(folder))",
        )
    kind = next((kind for kind, (made, _) in ADAPTERS.items() if type(adapter) is made), None)
    if kind is None:
        raise TypeError(f"{type(adapter).__name__} is not in the registry {sorted(ADAPTERS)}; add it there")
    adapter.sites(host)  # raises when it is not this host's
    said = {
        "network": {"kind": kind, "config": asdict(adapter.config)},  # type: ignore[call-overload]
        "base": {**host.signature(), "sha256": host.fingerprint()},
        "parameters": sum(p.numel() for p in adapter.parameters()),
    }
    return checkpoints.write(path, adapter.state_dict(), {**card, **said}, dtype=dtype)


def load(path: Path | str, host: Host) -> tuple[Adapter, dict[str, Any]]:
    """The adapter of a file, in eval mode, for the base it was made for; and its card.

    Raises UserError: files absent, damaged or changed (checkpoints.load), of no known kind, made for another base (it
    says what differs), or a tensor missing, unexpected or of another shape.
    """
    name = Path(path).name
    tensors, card = checkpoints.read(path)
    kind, config = card["network"]["kind"], card["network"]["config"]
    if kind not in ADAPTERS:
        raise UserError(f"holds {kind!r}, which is no adapter", where=name, remedy=f"use one of {sorted(ADAPTERS)}")
    _same_base(name, card, host)
    made, options = ADAPTERS[kind]
    try:
        adapter = made(host, options(**config))
    except (TypeError, ValueError) as error:
        raise UserError(f"its card describes no {kind} ({error})", where=name, remedy="restore the card") from None
    checkpoints.place(adapter, tensors, where=name)
    return adapter.eval(), card


def _same_base(name: str, card: Mapping[str, Any], host: Host) -> None:
    base, here = card.get("base"), host.signature()
    if not isinstance(base, Mapping) or not isinstance(base.get("config"), Mapping):
        raise UserError("its card names no base", where=name, remedy="restore the card")
    remedy = "use the base it was trained on"
    if base.get("class") != here["class"]:
        raise UserError(f"was made for a {base.get('class')}, this is a {here['class']}", where=name, remedy=remedy)
    mine, wanted = here["config"], base["config"]
    other = sorted(key for key in {*mine, *wanted} if mine.get(key) != wanted.get(key))
    if other:
        said = ", ".join(f"{key} {wanted.get(key)} (here {mine.get(key)})" for key in other[:4])
        raise UserError(f"was made for a {here['class']} with {said}", where=name, remedy=remedy)
    if base.get("sha256") != (digest := host.fingerprint()):
        raise UserError(
            f"was made for weights {str(base.get('sha256'))[:12]}, these are {digest[:12]}", where=name, remedy=remedy
        )
