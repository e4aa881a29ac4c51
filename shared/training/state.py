"""The file that a stopped run goes on from: one safetensors file, tensors and a JSON text in its header.

    network/NAME   ema/NAME   optimizer/NAME/KEY      KEY: what the optimizer keeps for the parameter NAME
    header "training": step, steps, seconds, rows, settings

It is written whole or not at all, and read without unpickling anything.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
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


def collect(network: nn.Module, ema: Mapping[str, Tensor], optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Everything that the next step depends on, under its name in the file; the live tensors, not copies."""
    tensors = {f"network/{name}": value for name, value in network.state_dict().items()}
    tensors |= {f"ema/{name}": value for name, value in ema.items()}
    for name, parameter in network.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer/{name}/{key}"] = torch.as_tensor(value)
    return tensors


def write(folder: Path, tensors: Mapping[str, Tensor], progress: Progress) -> None:
    """Save what `collect` found, whole and on the CPU (`Processes.whole`)."""
    header = {"training": json.dumps(vars(progress))}
    try:
        write_atomic(folder / FILE, lambda path: save_file(dict(tensors), path, metadata=header))
    except (OSError, SafetensorError) as error:
        raise UserError(
            f"the training state cannot be written ({error})",
            where=str(folder / FILE),
            remedy="free some space, then resume from the state saved before",
        ) from None


@dataclass(frozen=True)
class Saved:
    """What a state file holds: where the run stands, and tensors by kind ("network", "ema", "optimizer") and name."""

    path: Path
    progress: Progress
    parts: Mapping[str, Mapping[str, Tensor]]

    def into(self, network: nn.Module) -> None:
        """The weights into a whole network; every tensor fits or nothing is changed."""
        place(network, dict(self.parts["network"]), where=str(self.path))

    def restore(
        self,
        network: nn.Module,
        ema: Mapping[str, Tensor],
        optimizer: torch.optim.Optimizer,
        part: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        """Average and moments of a network that `into` has filled; part(whole, like): what this process holds of it."""
        for name, value in ema.items():
            value.copy_(part(self.parts["ema"][name], value))
        moments = self.parts["optimizer"]
        for name, parameter in network.named_parameters():
            saved = {key.rpartition("/")[2]: v for key, v in moments.items() if key.rpartition("/")[0] == name}
            optimizer.state[parameter] = {
                key: part(value, value if key == "step" else parameter) for key, value in saved.items()
            }


def read(folder: Path) -> Saved:
    """The state in a folder; raises UserError where there is none or it is damaged."""
    path = folder / FILE
    if not path.is_file():
        raise UserError("there is no training state to resume", where=str(path), remedy="start without resuming")
    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {})["training"]
            progress = Progress(**json.loads(header))
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        parts: dict[str, dict[str, Tensor]] = {"network": {}, "ema": {}, "optimizer": {}}
        for name, value in tensors.items():
            kind, _, rest = name.partition("/")
            parts[kind][rest] = value
        if parts["ema"].keys() != parts["network"].keys():
            raise ValueError("weights and average have other names")
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"is no training state ({error})", where=str(path), remedy="remove the file and start anew"
        ) from None
    return Saved(path, progress, parts)
