"""One process or many: who takes part in a run, how the network is spread over them, and what all of them agree on.

    alone    one process
    copies   data parallel (DDP): every process holds the whole network, gradients are averaged
    shards   FSDP2: every process holds a part of each weight, its average and its moments, and gathers the weights of a
             block while it computes; for networks that do not fit one device

`accelerate launch` starts the processes and says which (an FSDP configuration sets ACCELERATE_USE_FSDP); without it, or
under `torchrun` alone, nothing has to be said. Shards are made by torch's own `fully_shard`, so that they work on a
CPU as well, which accelerate's do not.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor, nn

from shared.errors import UserError

if TYPE_CHECKING:
    from torch.distributed.tensor import DTensor

SHARDS, VERSION, BLOCKS, FREE = (
    "ACCELERATE_USE_FSDP",
    "FSDP_VERSION",
    "FSDP_TRANSFORMER_CLS_TO_WRAP",
    "FSDP_RESHARD_AFTER_FORWARD",
)


@dataclass(frozen=True)
class Processes:
    """The processes of a run, seen from one of them: `rank` of `world`, on `device`."""

    accelerator: Any
    device: torch.device
    world: int
    rank: int
    shards: bool

    @classmethod
    def join(cls) -> Processes:
        """Meet the processes that a launcher started; alone without one."""
        from accelerate import Accelerator  # a second to import: only who trains pays

        # Precision is the loop's, the same in one process and in many. On a machine without accelerators the others
        # are seen only when the CPU is asked for.
        known = Accelerator(cpu=not torch.accelerator.is_available(), mixed_precision="no")
        wanted = int(os.environ.get("WORLD_SIZE", "1"))
        if known.num_processes != wanted:  # each would train alone, all into one folder
            raise UserError(
                f"{wanted} processes were started and {known.num_processes} met", remedy="start them with accelerate"
            )
        shards = known.num_processes > 1 and os.environ.get(SHARDS, "").lower() == "true"
        if shards and os.environ.get(VERSION, "2") != "2":
            raise UserError(
                f"FSDP of version {os.environ[VERSION]}", where="accelerate", remedy="set fsdp_version: 2 in its file"
            )
        return cls(known, known.device, known.num_processes, known.process_index, shards)

    @property
    def main(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0

    def spread(self, network: nn.Module) -> tuple[nn.Module, nn.Module]:
        """(what is called, what holds the weights that are trained), on this process's device, in training mode.

        Alone and with copies the second is the network itself. Shards are made of a copy; `network` stays as it is.
        """
        if not self.shards:
            network.to(self.device).train()
            return (self.accelerator.prepare_model(network) if self.world > 1 else network), network
        working = copy.deepcopy(network).to(self.device).train()
        return _sharded(working, self.device, self.world), working

    def sums(self, *values: float) -> list[float]:
        """Each value summed over all processes: the same numbers in every one. All of them must call."""
        if self.world == 1:
            return list(values)
        mine = torch.tensor(values, dtype=torch.float64, device=self.device)
        return [float(value) for value in self.accelerator.reduce(mine, "sum")]

    def whole(self, parts: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Tensors of which this process may hold a part, whole and on the CPU. All processes must call."""
        return {name: _whole(part).detach().cpu().contiguous() for name, part in parts.items()}

    def part(self, whole: Tensor, like: Tensor) -> Tensor:
        """Of a whole tensor, what this process holds of `like`, on its device. All processes must call."""
        whole = whole.to(self.device)
        if not self.shards or not _is_sharded(like):
            return whole
        from torch.distributed.tensor import distribute_tensor

        return distribute_tensor(whole, like.device_mesh, like.placements)

    def number(self, value: Tensor) -> float:
        """A 0-dim tensor as a number, whole. All processes must call."""
        return float(_whole(value))


def _sharded(network: nn.Module, device: torch.device, world: int) -> nn.Module:
    """Blocks of the classes that the configuration names are shards of their own; the rest is one."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (world,))
    free = os.environ.get(FREE, "true").lower() != "false"  # give a block's weights back as soon as it has computed
    names = {name.strip() for name in os.environ.get(BLOCKS, "").split(",") if name.strip()}
    blocks = [module for module in network.modules() if type(module).__name__ in names and module is not network]
    if names and not blocks:
        known = sorted({type(module).__name__ for module in network.modules()})
        raise UserError(
            f"the network has no {' or '.join(sorted(names))}",
            where="fsdp_transformer_layer_cls_to_wrap",
            remedy=f"name classes of its blocks: {', '.join(known)}",
        )
    for block in reversed(blocks):  # inner ones first
        fully_shard(block, mesh=mesh, reshard_after_forward=free)
    fully_shard(network, mesh=mesh, reshard_after_forward=free)
    return network


def _is_sharded(value: Tensor) -> TypeGuard[DTensor]:
    return hasattr(value, "full_tensor")


def _whole(value: Tensor) -> Tensor:
    return value.full_tensor() if _is_sharded(value) else value
