"""LoRA files of others: kohya, PEFT, diffusers old and new, ComfyUI's prefix; read, looked into, and written.

    report = inspect("style.safetensors", host)       kind, family, rank, and what fits; nothing is attached
    lora = load("style.safetensors", host)            all of it, or a UserError that says what fits and what does not
    save_kohya("style.safetensors", lora, host)       save_diffusers(...): the layout of diffusers' save_lora_weights
    save_peft("style", lora, host)                    the folder of PEFT itself, for PeftModel.from_pretrained

    kohya       lora_unet_PATH.lora_down.weight  .lora_up.weight  .alpha;   convolutions are 4-d (LoCon)
    PEFT        PATH.lora_A.weight  .lora_B.weight;   alpha in the file's metadata or adapter_config.json beside it
                PATH begins with unet. or transformer. (diffusers' save_lora_weights) or base_model.model. (PEFT itself)
    diffusers   unet.PATH.lora.down.weight;   old: PATH.processor.to_q_lora.down.weight
    ComfyUI     diffusion_model.PATH with any of these ends

Without an alpha, alpha is the rank. Nothing but tensors and JSON is read from a file.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as bytes_of
from torch import Tensor

from shared.adapters.host import Host
from shared.adapters.lora import LoRA, LoRAConfig
from shared.adapters.lora_fused import Low, join, mismatch, split
from shared.adapters.lora_names import PREFIX, kohya, names
from shared.errors import UserError
from shared.front.atomic import staged_folder, write_atomic

METADATA = "lora_adapter_metadata"  # where diffusers keeps the configuration of PEFT
ENDS = (  # kind of file, end of a key with the half it holds
    ("kohya", re.compile(r"\.lora_(down|up)\.weight$")),
    ("PEFT", re.compile(r"\.lora_(A|B)(?:\.default)?\.weight$")),
    ("diffusers", re.compile(r"\.lora(?:_linear_layer)?\.(down|up)\.weight$")),
    ("diffusers, old", re.compile(r"_lora\.(down|up)\.weight$")),
)
DOWN = ("down", "A")
PREFIXES = ("base_model.model.", "model.", "diffusion_model.", "unet.", "transformer.")
WORDS = ("lora_te", "text_encoder")  # updates of text encoders: not of this network
FOREIGN = {  # parts of names -> methods that are no LoRA
    "LoKr": ("lokr_",),
    "LoHa": ("hada_",),
    "DoRA": ("dora_scale", "lora_magnitude_vector"),
    "OFT": ("oft_",),
    "LoCon with a core (Tucker)": ("lora_mid",),
}
CROSS = {768: "Stable Diffusion 1", 1024: "Stable Diffusion 2", 2048: "Stable Diffusion XL"}  # by width of the words


@dataclass(frozen=True)
class Report:
    """What a LoRA file is, and how it fits a host.

    matched     paths of layers;  missing  names that lack a half;  unexpected  names that are no layer of the host
    mismatched  "name (have, not want)";  words  names that belong to a text encoder
    """

    kind: str
    family: str
    rank: tuple[int, ...]
    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def whole(self) -> bool:
        """Whether all of it that is meant for the network fits."""
        return bool(self.matched) and not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        rank = "-".join(str(r) for r in sorted({min(self.rank), max(self.rank)})) if self.rank else "none"
        parts = [f"{self.kind}, {self.family}, rank {rank}: {len(self.matched)} layers fit"]
        for word in ("missing", "unexpected", "mismatched", "words"):
            found = getattr(self, word)
            if found:
                more = f" and {len(found) - 3} more" if len(found) > 3 else ""
                parts.append(f"{len(found)} {word}: {', '.join(found[:3])}{more}")
        return "; ".join(parts)


# -------------------------------------------------------------------------------------------------------------- reading


def inspect(path: Path | str, host: Host) -> Report:
    """Look into a file; raises UserError only for a file that cannot be read."""
    return _read(Path(path), host)[0]


def load(path: Path | str, host: Host, *, leave_words: bool = False) -> LoRA:
    """The LoRA of a file, in eval mode, for this host.

    leave_words   take the network's part of a file that has updates of text encoders as well
    Raises UserError, in one sentence with the report: another family, halves, shapes, methods that are no LoRA.
    """
    path = Path(path)
    report, lows = _read(path, host)
    here = type(host.network).__name__
    if not report.whole:
        raise UserError(f"does not fit this {here} ({report})", where=path.name, remedy="use a LoRA made for it")
    if report.words and not leave_words:
        raise UserError(
            f"also changes text encoders ({report})", where=path.name, remedy="say leave_words=True to use the rest"
        )
    ranks = {name: low.rank for name, low in lows.items()}
    (rank, _), *_ = Counter(ranks.values()).most_common()
    config = LoRAConfig(
        rank=rank,
        targets=tuple(lows),
        ranks={name: r for name, r in ranks.items() if r != rank},
        alphas={name: low.alpha for name, low in lows.items() if low.alpha != ranks[name]},
    )
    lora = LoRA(host, config)
    with torch.no_grad():
        for name, low in lows.items():
            update = lora.update(name)
            update.down.copy_(low.down)
            update.up.copy_(low.up)
    return lora.eval()


def _read(path: Path, host: Host) -> tuple[Report, dict[str, Low]]:
    tensors, metadata = _tensors(path)
    kind, halves, alphas, foreign = _sorted(tensors)
    table = names(host)
    lows: dict[str, Low] = {}
    missing, unexpected, mismatched, words = [], list(foreign), [], []
    for name, pair in halves.items():
        if name.startswith(WORDS):
            words.append(name)
            continue
        if set(pair) != {"down", "up"}:
            missing.append(f"{name} ({'up' if 'down' in pair else 'down'})")
            continue
        paths = table.get(_flat(name))
        if paths is None:
            unexpected.append(name)
            continue
        low = Low(pair["down"], pair["up"], _alpha(name, paths[0], pair["down"].shape[0], alphas, metadata))
        wrong = mismatch(low, paths, host)
        if wrong:
            mismatched.append(f"{name} ({wrong})")
            continue
        lows |= split(low, paths, host)
    unexpected += [name for name in alphas if name not in halves]
    ranks = tuple(sorted({pair["down"].shape[0] for pair in halves.values() if "down" in pair}))
    family = _family(halves)
    lists = (tuple(lows), tuple(missing), tuple(unexpected), tuple(mismatched), tuple(words))
    return Report(kind, family, ranks, *lists), lows


def _tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors in float32, and the configuration of PEFT, if there is one."""
    if path.suffix != ".safetensors" or not path.is_file():
        raise UserError("is no .safetensors file", where=str(path), remedy="give one; pickled files are not opened")
    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name).float() for name in file.keys()}
            said = (file.metadata() or {}).get(METADATA)
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"cannot be read as safetensors ({error})", where=path.name, remedy="restore the file"
        ) from None
    beside = path.with_name("adapter_config.json")
    try:
        if said is None and path.name == "adapter_model.safetensors" and beside.is_file():
            said = beside.read_text(encoding="utf-8")
        metadata = json.loads(said) if said else {}
    except (ValueError, RecursionError) as error:
        raise UserError(f"its metadata is no JSON ({error})", where=path.name, remedy="restore the file") from None
    if not isinstance(metadata, dict):
        raise UserError("its metadata is no mapping", where=path.name, remedy="restore the file")
    return tensors, {re.sub(r"^(unet|transformer)\.", "", name): value for name, value in metadata.items()}


def _sorted(
    tensors: Mapping[str, Tensor],
) -> tuple[str, dict[str, dict[str, Tensor]], dict[str, float], list[str]]:
    """Kind of file, halves by name, alphas by name, keys that belong to no LoRA."""
    halves: dict[str, dict[str, Tensor]] = {}
    alphas: dict[str, float] = {}
    kinds: Counter[str] = Counter()
    foreign: list[str] = []
    for key, value in tensors.items():
        method = next((m for m, parts in FOREIGN.items() if any(part in key for part in parts)), None)
        if method is not None:
            kinds[method] += 10**6  # such a file is of that kind, whatever else is in it
            foreign.append(key)
            continue
        if key.endswith(".alpha") and value.numel() == 1:
            alphas[_bare(key.removesuffix(".alpha").removesuffix("_lora"))] = float(value)
            continue
        for kind, end in ENDS:
            found = end.search(key)
            if found is not None:
                kinds[kind] += 1
                halves.setdefault(_bare(key[: found.start()]), {})["down" if found[1] in DOWN else "up"] = value
                break
        else:
            foreign.append(key)
    return (kinds.most_common(1)[0][0] if kinds else "no LoRA"), halves, alphas, foreign


def _bare(name: str) -> str:
    """A name without the prefixes of files, and without the processors that held the layers of old diffusers."""
    if name.startswith(WORDS):
        return name
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    if ".processor.to_" in name:
        name = name.replace(".processor.", ".").removesuffix(".0")
        name = f"{name}.0" if name.endswith(".to_out") else name
    return name


def _flat(name: str) -> str:
    return name if name.startswith(PREFIX) else PREFIX + name.replace(".", "_")


def _alpha(name: str, path: str, rank: int, alphas: Mapping[str, float], metadata: Mapping[str, Any]) -> float:
    """Of the key beside the halves, else of PEFT's configuration, else the rank."""
    if name in alphas:
        return alphas[name]
    pattern = metadata.get("alpha_pattern") or {}
    own = [value for key, value in pattern.items() if path == key.removeprefix("^") or path.endswith(f".{key}")]
    alpha = float(own[0] if own else metadata.get("lora_alpha", rank))
    return alpha * math.sqrt(rank) if metadata.get("use_rslora") else alpha


def _family(halves: Mapping[str, Mapping[str, Tensor]]) -> str:
    """The base that the names and widths of a file point to."""
    flat = {_flat(name): pair for name, pair in halves.items() if not name.startswith(WORDS)}
    joined = " ".join(flat)
    if "double_blocks" in joined or "single_transformer_blocks" in joined:
        return "Flux"
    if "joint_blocks" in joined or "add_k_proj" in joined:
        return "Stable Diffusion 3"
    if re.search(r"(down|up|input|output)_blocks?_|mid(dle)?_block", joined):
        words = next((p["down"].shape[1] for n, p in flat.items() if n.endswith("attn2_to_k") and "down" in p), 0)
        return CROSS.get(words, "U-Net of diffusers")
    if "transformer_blocks" in joined:
        return "transformer of diffusers"
    if re.search(r"_blocks_\d+_(attention|mlp)", joined):
        return "transformer of this suite"
    return "unknown"


# -------------------------------------------------------------------------------------------------------------- writing


def save_kohya(path: Path | str, lora: LoRA, host: Host, *, dtype: torch.dtype | None = None) -> None:
    """Write the layout of kohya's trainers. dtype: of the weights, None as they are. Flux: fused, as its name asks."""
    lows, out = _lows(lora, host), {}
    for paths, name in kohya(host).items():
        parts = [lows.get(part) for part in paths]
        if any(part is not None for part in parts):
            low = join(parts, paths, host)
            out[f"{name}.lora_down.weight"] = low.down
            out[f"{name}.lora_up.weight"] = low.up
            out[f"{name}.alpha"] = torch.tensor(low.alpha)
    _write(Path(path), out, dtype, {})


def save_diffusers(path: Path | str, lora: LoRA, host: Host, *, dtype: torch.dtype | None = None) -> None:
    """Write the layout of diffusers' save_lora_weights: PEFT's names, and its configuration in the metadata."""
    prefix = "unet" if host.of_kind("skip") else "transformer"
    lows = _lows(lora, host)
    config = {f"{prefix}.{name}": value for name, value in _peft(lora, lows, host).items()}
    _write(Path(path), _halves(prefix, lows), dtype, {METADATA: json.dumps(config, sort_keys=True)})


def save_peft(folder: Path | str, lora: LoRA, host: Host, *, dtype: torch.dtype | None = None) -> None:
    """Write PEFT's own folder: adapter_config.json and adapter_model.safetensors; it appears whole or not at all.

    `PeftModel.from_pretrained(network, folder)` reads it, and so does `load` its adapter_model.safetensors.
    The folder must be new: UserError where something is there already.
    """
    lows = _lows(lora, host)
    config: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": None,
        "inference_mode": True,
    }
    config.update(bias="none", lora_dropout=0.0, fan_in_fan_out=False, use_rslora=False, use_dora=False)
    config |= _peft(lora, lows, host)
    with staged_folder(folder) as staged:
        write_atomic(staged / "adapter_config.json", json.dumps(config, sort_keys=True, indent=2))
        _write(staged / "adapter_model.safetensors", _halves("base_model.model", lows), dtype, {})


def _halves(prefix: str, lows: Mapping[str, Low]) -> dict[str, Tensor]:
    out = {}
    for name, low in lows.items():
        out[f"{prefix}.{name}.lora_A.weight"] = low.down
        out[f"{prefix}.{name}.lora_B.weight"] = low.up
    return out


def _peft(lora: LoRA, lows: Mapping[str, Low], host: Host) -> dict[str, Any]:
    """What PEFT's configuration says of ranks, alphas and layers.

    PEFT takes a name for every layer that ends with it; where others do, ^ keeps a pattern to the one that is meant,
    and the layers are an expression that names each of them whole.
    """
    paths = [site.path for site in host.of_kind("linear", "conv")]
    shared = {name for name in lows if any(path.endswith(f".{name}") for path in paths)}
    key = {name: f"^{name}" if name in shared else name for name in lows}
    rank, alpha = lora.config.rank, lora.config.alpha
    return {
        "r": rank,
        "lora_alpha": rank if alpha is None else alpha,
        "rank_pattern": {key[name]: low.rank for name, low in lows.items() if low.rank != rank},
        "alpha_pattern": {key[name]: low.alpha for name, low in lows.items() if low.alpha != (alpha or rank)},
        "target_modules": "|".join(map(re.escape, lows)) if shared else list(lows),
    }


def _lows(lora: LoRA, host: Host) -> dict[str, Low]:
    lora.sites(host)  # raises when it is not this host's
    parts = ((path, lora.update(path)) for path in lora.paths)
    return {
        path: Low(part.down.detach().cpu(), part.up.detach().cpu(), lora.config.of(path)[1]) for path, part in parts
    }


def _write(path: Path, tensors: Mapping[str, Tensor], dtype: torch.dtype | None, metadata: dict[str, str]) -> None:
    if path.suffix != ".safetensors":
        raise UserError("is no .safetensors file", where=path.name, remedy="name a file that ends in .safetensors")
    stored = {name: value.to(dtype or value.dtype).contiguous().clone() for name, value in tensors.items()}
    write_atomic(path, bytes_of(stored, {"format": "pt", **metadata}))
