"""The file that a stopped run goes on from: one safetensors file, tensors and a JSON text in its header.

    network/NAME   ema/NAME   optimizer/NAME/KEY      KEY: what the optimizer keeps for the parameter NAME
    header "training": step, steps, seconds, rows, settings

It is written whole or not at all, and read without unpickling anything.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from shared.checkpoints import place
from shared.errors import UserError
from shared.front.atomic import write_atomic

FILE = "training.safetensors"


@dataclass(frozen=True)
class Progress:
    """Where a run stands: steps done, steps in all, seconds spent and rows seen in all its parts, and its settings."""

    step: int
    steps: int
    seconds: float
    rows: int
    settings: Mapping[str, Any]


def write(
    folder: Path, network: nn.Module, ema: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Save everything that the next step depends on."""
    tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"ema/{name}": value for name, value in ema.items()}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer/{name}/{key}"] = torch.as_tensor(value)
    flat = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = {"training": json.dumps(vars(progress))}
    try:
        write_atomic(folder / FILE, lambda path: save_file(flat, path, metadata=header))
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"the training state cannot be written ({error})",
            where=str(folder / FILE),
            remedy="free some space, then resume from the state saved before",
        ) from None


def read(
    folder: Path, network: nn.Module, ema: Mapping[str, Tensor], optimizer: torch.optim.Optimizer, device: torch.device
) -> Progress:
    """Put a saved state into network, average and optimizer; every tensor fits or nothing is changed."""
    path = folder / FILE
    if not path.is_file():
        raise UserError("there is no training state to resume", where=str(path), remedy="start without resuming")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {})["training"]
            progress = Progress(**json.loads(header))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        part: dict[str, dict[str, Tensor]] = {"network": {}, "ema": {}, "optimizer": {}}
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            part[kind][rest] = value
        if part["ema"].keys() != part["network"].keys():
            raise ValueError("weights and average have other names")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"is no training state ({error})", where=str(path), remedy="remove the file and start anew"
        ) from None
    place(network, part["network"], where=str(path))
    for name, value in ema.items():
        value.copy_(part["ema"][name])
    for name, parameter in network.named_parameters():
        saved = {key.rpartition("/")[2]: v for key, v in part["optimizer"].items() if key.rpartition("/")[0] == name}
        optimizer.state[parameter] = {key: v.to(device) for key, v in saved.items()}
    return progress
