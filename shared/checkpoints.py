"""Weights that travel: safetensors, a JSON card beside them, and a hash that ties the two. Nothing is ever unpickled.

    save("lesions.safetensors", network, {"name": ..., "recipe": ..., ...})      writes lesions.json beside it
    network, card = load("lesions.safetensors", recipe="medical/lesions")

The card says which network the weights belong to (kind and configuration), who made them, from which data under which
licence, for how long and how well, and the SHA-256 of the weights file. A load takes every tensor or none.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as tensors_of
from safetensors.torch import save as bytes_of
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from shared.errors import UserError
from shared.front.atomic import write_atomic
from shared.front.provenance import DISTRIBUTION, versions
from shared.networks.classic_unet import ClassicUNet, ClassicUNetConfig
from shared.networks.dit import DiT, DiTConfig
from shared.networks.unet import UNet, UNetConfig

LARGEST = 15 * 2**20  # bytes: what the repository carries for one app
# name, recipe: words; data: a list of {"name", "licence", "attribution"}; licence: of the weights; minutes: of
# training; metrics: name -> number or {"value", "floor", "ceiling"}. `save` adds network, parameters, dtype, sha256,
# created and version.
FROM_THE_AUTHOR = ("name", "recipe", "data", "licence", "minutes", "metrics")
# What a card may ask for, in full: kind -> (network, its configuration). A card never names a class to import.
NETWORKS: dict[str, tuple[type[nn.Module], type[Any]]] = {
    "unet": (UNet, UNetConfig),
    "classic_unet": (ClassicUNet, ClassicUNetConfig),
    "dit": (DiT, DiTConfig),
}


# --------------------------------------------------------------------------------------------------------- whole files


def save(
    path: Path | str, network: nn.Module, card: Mapping[str, Any], *, dtype: torch.dtype = torch.float16
) -> dict[str, Any]:
    """Write weights (`path`, ending in .safetensors) and card (.json beside it); returns the finished card.

    card    what only the author knows: name, recipe, data, licence, minutes, metrics; more is kept as it is
    dtype   of the floating-point weights in the file
    Both files appear whole or not at all, weights first: a stop between the two leaves a hash that does not fit, which
    `load` refuses. Raises UserError for an incomplete card, for weights that are not finite in `dtype`, above 15 MiB,
    and when the disk does not take them.
    """
    said = {
        "network": {"kind": _kind_of(network), "config": asdict(network.config)},  # type: ignore[call-overload]
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    return write(path, network.state_dict(), {**card, **said}, dtype=dtype)


def write(
    path: Path | str, tensors: Mapping[str, Tensor], card: Mapping[str, Any], *, dtype: torch.dtype = torch.float16
) -> dict[str, Any]:
    """`save` for whoever makes tensors and card himself: adapters, which are no whole network."""
    path = _weights_path(path)
    missing = [key for key in FROM_THE_AUTHOR if card.get(key) is None]
    if missing:
        raise UserError(f"the card lacks {', '.join(missing)}", where=path.name, remedy="say what they are")
    bare = [d for d in card["data"] if not (isinstance(d, Mapping) and {"name", "licence", "attribution"} <= d.keys())]
    if bare or not card["data"]:
        raise UserError(
            f"data sources {bare} do not say what they are",
            where=path.name,
            remedy="list each with name, licence and attribution",
        )
    stored = {
        name: value.detach().to("cpu", dtype if value.is_floating_point() else value.dtype).contiguous()
        for name, value in tensors.items()
    }
    broken = [name for name, value in stored.items() if not bool(torch.isfinite(value).all())]
    if broken:
        raise UserError(
            f"weights {broken[:3]} are not finite in {_word(dtype)}",
            where=path.name,
            remedy="check the training run, or save in float32",
        )
    weights = bytes_of(stored)
    if len(weights) > LARGEST:
        raise UserError(
            f"{len(weights) / 2**20:.1f} MiB of weights, {LARGEST // 2**20} are allowed",
            where=path.name,
            remedy="make the network smaller, or save in float16",
        )
    finished = {
        **card,
        "dtype": _word(dtype),
        "sha256": hashlib.sha256(weights).hexdigest(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": versions().get(DISTRIBUTION, "not installed"),
    }
    text = json.dumps(finished, indent=1, ensure_ascii=False) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, weights)
        write_atomic(path.with_suffix(".json"), text)
    except OSError as error:
        raise UserError(
            f"cannot be written ({error.strerror})", where=str(path), remedy="free some space or choose another folder"
        ) from None
    return finished


def load(path: Path | str, *, recipe: str | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """The network of a checkpoint, float32, in eval mode, on the CPU; and its card.

    recipe   the recipe that must have made it; None takes any
    Raises UserError: a file is absent, damaged or too large, hash and file differ, another recipe made it, the network
    is of no known kind, or a tensor is missing, unexpected or of another shape.
    """
    path = _weights_path(path)
    tensors, card = read(path)
    if recipe is not None and card.get("recipe") != recipe:
        raise UserError(
            f"was made by the recipe {card.get('recipe')!r}, not {recipe!r}",
            where=path.name,
            remedy=f"choose a checkpoint of suite train {recipe}",
        )
    network = _network(path, card)
    place(network, tensors, where=path.name)
    return network.eval(), card


def read(path: Path | str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors, the floating-point ones in float32, and card; raises UserError as `load` does for the files."""
    path = _weights_path(path)
    card = _card(path)
    return {k: v.float() if v.is_floating_point() else v for k, v in _tensors(path, card).items()}, card


@dataclass(frozen=True)
class Report:
    """Whether a checkpoint can be used, and one sentence that says so or why not."""

    ok: bool
    message: str


def verify(path: Path | str) -> Report:
    """Load a checkpoint as `load` does and say how it went; raises nothing that a damaged file can cause.

    An adapter (its card names a base) is read and compared with its hash: only its base can load it.
    """
    try:
        card = read(path)[1]
        if "base" not in card:
            load(path)
    except UserError as error:
        return Report(False, str(error))
    kind = f"{card['network']['kind']}, " if "base" in card else ""
    size = f"{card['parameters'] / 1e6:.1f} M parameters"
    return Report(True, f"{kind}{size}, sha256 {card['sha256'][:12]} as in its card")


# ----------------------------------------------------------------------------------------------------- all or nothing


@dataclass(frozen=True)
class Match:
    """How named tensors fit a network's parameters and buffers."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshaped: tuple[str, ...]  # "name (have, want)"

    @property
    def whole(self) -> bool:
        return not (self.missing or self.unexpected or self.misshaped)

    def __str__(self) -> str:
        parts = [f"{len(self.matched)} tensors fit"]
        for word in ("missing", "unexpected", "misshaped"):
            names = getattr(self, word)
            if names:
                more = f" and {len(names) - 5} more" if len(names) > 5 else ""
                parts.append(f"{len(names)} {word}: {', '.join(names[:5])}{more}")
        return "; ".join(parts)


def match(network: nn.Module, tensors: Mapping[str, Tensor]) -> Match:
    """Compare names and shapes; nothing is changed."""
    wanted = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    have = {name: tuple(value.shape) for name, value in tensors.items()}
    both = [name for name in wanted if name in have]
    return Match(
        matched=tuple(name for name in both if have[name] == wanted[name]),
        missing=tuple(name for name in wanted if name not in have),
        unexpected=tuple(name for name in have if name not in wanted),
        misshaped=tuple(f"{name} ({have[name]}, not {wanted[name]})" for name in both if have[name] != wanted[name]),
    )


def place(network: nn.Module, tensors: Mapping[str, Tensor], *, where: str) -> Match:
    """Put every tensor in its place, or raise UserError with the whole list and change nothing.

    A network on the meta device takes the tensors as they are; others copy them.
    """
    report = match(network, tensors)
    if not report.whole:
        raise UserError(f"does not fit the network ({report})", where=where, remedy="use the weights of this network")
    meta = any(p.is_meta for p in network.parameters())
    network.load_state_dict(dict(tensors), strict=True, assign=meta)
    return report


# ------------------------------------------------------------------------------------------------------------ the parts


def _weights_path(path: Path | str) -> Path:
    path = Path(path)
    if path.suffix != ".safetensors":
        raise UserError("is no .safetensors file", where=path.name, remedy="name a file that ends in .safetensors")
    return path


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _kind_of(network: nn.Module) -> str:
    for kind, (made, _) in NETWORKS.items():
        if type(network) is made:
            return kind
    raise TypeError(f"{type(network).__name__} is not in the registry {sorted(NETWORKS)}; add it there")


def _card(path: Path) -> dict[str, Any]:
    beside = path.with_suffix(".json")
    for file in (path, beside):
        if not file.is_file():
            raise UserError(
                "there is no such file", where=str(file), remedy="give weights and card together, or train them"
            )
    try:
        card = json.loads(beside.read_text(encoding="utf-8"))
        kind, config, digest = card["network"]["kind"], card["network"]["config"], card["sha256"]
        if not (isinstance(kind, str) and isinstance(config, dict) and isinstance(digest, str)):
            raise TypeError("of another type")
        int(card["parameters"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"is no checkpoint card ({type(error).__name__}: {error})",
            where=beside.name,
            remedy="restore the card that came with the weights",
        ) from None
    return card


def _tensors(path: Path, card: Mapping[str, Any]) -> dict[str, Tensor]:
    size = path.stat().st_size
    if size > LARGEST:
        raise UserError(
            f"{size / 2**20:.1f} MiB, {LARGEST // 2**20} are allowed", where=path.name, remedy="restore the file"
        )
    data = path.read_bytes()  # hashed and parsed from the same bytes: nobody can swap the file in between
    digest = hashlib.sha256(data).hexdigest()
    if digest != card["sha256"]:
        raise UserError(
            f"sha256 is {digest[:12]}, its card says {card['sha256'][:12]}: the weights were changed or mixed up",
            where=path.name,
            remedy="restore weights and card from one source",
        )
    try:
        return tensors_of(data)
    except SafetensorError as error:
        raise UserError(
            f"cannot be read as safetensors ({error})", where=path.name, remedy="restore the file"
        ) from None


class _Undrawn(TorchFunctionMode):
    """Weights that are to be replaced are not drawn: a normal draw on the meta device imports torch's compiler."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def _network(path: Path, card: Mapping[str, Any]) -> nn.Module:
    kind, config = card["network"]["kind"], card["network"]["config"]
    if kind not in NETWORKS:
        raise UserError(
            f"needs a network of kind {kind!r}", where=path.name, remedy=f"use a checkpoint of {sorted(NETWORKS)}"
        )
    made, options = NETWORKS[kind]
    try:
        with torch.device("meta"), _Undrawn():  # shapes only: the weights come from the file
            return made(options(**config))
    except UserError as error:
        raise UserError(
            f"its card does not describe a network ({error})", where=path.name, remedy="restore it"
        ) from None
    except (TypeError, ValueError, RuntimeError) as error:
        raise UserError(
            f"its card does not describe a network ({error})", where=path.name, remedy="restore the card"
        ) from None
