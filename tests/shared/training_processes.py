"""What each process of a run of several does, started by a launcher: python training_processes.py PLAN FOLDER."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from shared.errors import Cancelled
from shared.training.loop import Batch, TrainReport, TrainSettings, fit

EQUAL = TrainSettings(steps=4, warmup=1, lr=1e-2, clip=1e9, log_every=1)
LONG = TrainSettings(steps=30, warmup=5, lr=1e-2, save_minutes=1e-5, log_every=1, seed=3)


class Layer(nn.Module):
    """A block of the network, which may be a shard of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.dropout = nn.Linear(6, 6), nn.Dropout(0.2)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(torch.tanh(self.inner(x)))


class Stack(nn.Module):
    def __init__(self, dropout: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers, self.head = nn.ModuleList(Layer() for _ in range(3)), nn.Linear(6, 1)
        self.double()
        if not dropout:
            for layer in self.layers:
                assert isinstance(layer, Layer)
                layer.dropout.p = 0.0

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return self.head(x)[:, 0]


def batch_at(index: int) -> Batch:
    """Rows of unequal number and weight, so that a mean of means is not the mean."""
    generator = torch.Generator().manual_seed(index)
    rows = 3 + index % 2 * 4
    x = torch.randn(rows, 6, generator=generator, dtype=torch.float64)
    return {"x": x, "row_weight": torch.rand(rows, generator=generator, dtype=torch.float64) * (1 + 5 * (index % 2))}


def joined(step: int) -> Batch:
    """The rows of both processes in one batch."""
    parts = [batch_at(2 * step), batch_at(2 * step + 1)]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def plain(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    return (network(batch["x"]) - batch["x"].sum(1)).square()


def noisy(network: nn.Module, batch: Batch, generator: torch.Generator) -> Tensor:
    noise = torch.randn(batch["x"].shape, generator=generator, dtype=torch.float64)
    return (network(batch["x"] + 0.1 * noise) - batch["x"].sum(1)).square()


def keep(path: Path, tensors: Mapping[str, Tensor]) -> None:
    save_file({name: value.detach().clone() for name, value in tensors.items()}, path)


def equal(folder: Path, rank: int) -> None:
    """Four steps; the weights, their average, and with copies the gradients of the last step."""
    network = Stack(dropout=False)
    report = fit(network, plain, batch_at, settings=EQUAL, out=folder / "equal")
    if rank == 0:
        grads = {f"grad/{name}": p.grad for name, p in network.named_parameters() if p.grad is not None}
        ema = {f"ema/{name}": value for name, value in report.ema.items()}
        keep(folder / "equal.safetensors", {**network.state_dict(), **ema, **grads})


def straight(folder: Path, rank: int) -> None:
    """A run that is left alone."""
    network = Stack()
    report = fit(network, noisy, batch_at, settings=LONG, out=folder / "straight")
    if rank == 0:
        keep(
            folder / "straight.safetensors", {**network.state_dict(), **{f"ema/{k}": v for k, v in report.ema.items()}}
        )


def stopped(folder: Path, rank: int) -> None:
    """The second process alone is told to stop after seven steps; both must stop, and the rest is done at once."""

    def stop(report: TrainReport) -> None:
        if rank == 1 and report.step == 7:
            raise Cancelled

    try:
        fit(Stack(), noisy, batch_at, settings=LONG, out=folder / "stopped", observers=[stop])
    except Cancelled:
        resumed(folder, rank, "stopped")


def resumed(folder: Path, rank: int, name: str = "killed") -> None:
    network, seen = Stack(), []
    report = fit(
        network,
        noisy,
        batch_at,
        settings=LONG,
        out=folder / name,
        resume=True,
        observers=[lambda r: seen.append(r.step)],
    )
    if rank == 0:
        ema = {f"ema/{k}": v for k, v in report.ema.items()}
        keep(folder / f"{name}.safetensors", {**network.state_dict(), **ema, "first": torch.tensor(seen[0])})


def killed(folder: Path, rank: int) -> None:
    """Says every step, so that the test may kill it."""

    def say(report: TrainReport) -> None:
        if rank == 0:
            print(f"step {report.step}", flush=True)

    fit(Stack(), noisy, batch_at, settings=LONG, out=folder / "killed", observers=[say])


PLANS = {
    "together": (equal, straight, stopped),
    "killed": (killed,),
    "resumed": (resumed,),
}


if __name__ == "__main__":
    import os

    torch.set_num_threads(1)
    for work in PLANS[sys.argv[1]]:
        work(Path(sys.argv[2]), int(os.environ["RANK"]))
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
