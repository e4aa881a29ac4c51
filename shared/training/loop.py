"""The training loop: the same numbers whether a run goes through or is killed and resumed.

    report = fit(network, loss, batch_at, settings=TrainSettings(steps=20_000), out=Path("run"))
    network.load_state_dict(report.ema)

Nothing that a step uses lives outside the saved state: the batch is a function of the step, the noise of a step comes
from (seed, step), the learning rate is a function of the step. Runs on one device as it is, and on many under
`accelerate launch` (`processes.py`): process r of w takes batch step w + r, and a step is that of one process with all
the rows. Bit-exact for the same versions, device, threads and number of processes; above two of them, gradients are
summed in an order that may change at a resume, so that runs agree to rounding.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from shared.errors import Cancelled, UserError
from shared.noise import stream
from shared.training import ema as average
from shared.training import state
from shared.training.journal import Journal
from shared.training.muon import Muon
from shared.training.processes import Processes

Batch = dict[str, Tensor]
Loss = Callable[[nn.Module, Batch, torch.Generator], Tensor]  # -> (B,), one loss a row
Observer = Callable[["TrainReport"], None]  # after every step; may raise Cancelled

ROW_WEIGHT = "row_weight"  # a batch may hold it, (B,): the step then minimises sum(w loss) / sum(w)
TIMED_STEPS = 20  # of a run whose length is a number of minutes; the first quarter of them warms the machine up
MAY_CHANGE = ("minutes", "save_minutes", "log_every")  # on resume: they do not touch the numbers


@dataclass(frozen=True)
class TrainSettings:
    """How to train; what each costs and changes.

    steps         optimizer steps in all; None: as many as fit into `minutes`, found by timing the first steps, then
                  fixed and saved, so that the schedule ends where the run ends
    minutes       wall-clock budget of the whole run, its resumed parts together; None: no limit
    lr, warmup    peak learning rate; steps over which it rises from 0 (linearly)
    schedule      after the warm-up: "cosine" falls to 0 at the last step, "constant" stays
    weight_decay  decoupled;  clip  largest norm of the gradient
    muon          a regular expression: matrices whose names it finds are trained by Muon (muon.py), the rest by AdamW;
                  empty: AdamW alone
    muon_length   of Muon's steps, about the root mean square of a matrix's change over lr
    ema           decay of the averaged weights (ema.py);  seed  of everything random
    bf16          autocast to bfloat16: about twice as fast where the processor has it, slower where not
    save_minutes  between two saved states;  log_every  steps between two lines of metrics.jsonl
    """

    steps: int | None
    minutes: float | None = None
    lr: float = 3e-4
    warmup: int = 200
    schedule: Literal["cosine", "constant"] = "cosine"
    weight_decay: float = 0.01
    clip: float = 1.0
    muon: str = ""
    muon_length: float = 0.2
    ema: float = 0.999
    seed: int = 0
    bf16: bool = False
    save_minutes: float = 3.0
    log_every: int = 10

    def __post_init__(self) -> None:
        if self.steps is None and self.minutes is None:
            raise UserError("neither steps nor minutes are given", where="training", remedy="give one of them")
        for name, low in (
            ("steps", 1),
            ("minutes", 0),
            ("lr", 0),
            ("muon_length", 0),
            ("clip", 0),
            ("save_minutes", 0),
            ("log_every", 1),
        ):
            value = getattr(self, name)
            if value is not None and not (value >= low and value > 0 and math.isfinite(value)):
                raise UserError(f"{name} is {value}", where="training", remedy="give a positive number")

    def lr_at(self, step: int, steps: int) -> float:
        """Learning rate of a step, counted from 0."""
        rise = min(1.0, (step + 1) / max(1, self.warmup))
        if self.schedule == "constant":
            return self.lr * rise
        done = min(1.0, max(0.0, (step - self.warmup) / max(1, steps - self.warmup)))
        return self.lr * rise * (1 + math.cos(math.pi * done)) / 2


@dataclass(frozen=True)
class TrainReport:
    """A run so far: steps done, steps in all (0: not known yet), seconds of all its parts, rows seen, the loss of the
    last step, the averaged weights."""

    step: int
    steps: int
    seconds: float
    rows: int
    loss: float
    ema: Mapping[str, Tensor]

    @property
    def finished(self) -> bool:
        """Whether all steps were done; False: the budget ended first, and a resume goes on."""
        return 0 < self.steps <= self.step


def fit(
    network: nn.Module,
    loss: Loss,
    batch_at: Callable[[int], Batch],
    *,
    settings: TrainSettings,
    out: Path,
    resume: bool = False,
    observers: Sequence[Observer] = (),
) -> TrainReport:
    """Train a network in place; writes training.safetensors and metrics.jsonl into the folder `out`.

    loss       loss(network, batch, generator) -> (B,): one number a row; all its randomness from the generator, which
               is seeded from (seed, step) and lives on the device of the batch
    batch_at   a pure function of the step: the same tensors whenever it is asked
    resume     go on from out/training.safetensors; raises UserError where there is none or its settings differ
    observers  called after every step; raising Cancelled saves the state and ends the run, in all processes
    out        of many machines: a folder that all of them see

    Returns the report with the averaged weights; `network` holds the last weights themselves.
    Raises UserError for a loss or gradient that is not finite, naming the step; the saved state is from before it.
    """
    processes = Processes.join()
    device, world = processes.device, processes.world
    out.mkdir(parents=True, exist_ok=True)
    if not resume and (out / state.FILE).exists():
        raise UserError("holds a training run already", where=str(out), remedy="resume it, or choose another folder")
    facts = {**asdict(settings), "processes": world}
    done = state.Progress(0, settings.steps or 0, 0.0, 0, facts)
    saved_run = state.read(out) if resume else None
    if saved_run is not None:
        saved_run.into(network)
        done = saved_run.progress
        _same_settings(facts, done, out)
    called, working = processes.spread(network)
    ema = average.start(working)
    optimizer = _optimizer(working, settings, processes)
    if saved_run is not None:
        saved_run.restore(working, ema, optimizer, processes.part)
        del saved_run
    first, step, steps, rows = done.step, done.step, done.steps, done.rows
    journal = Journal(out, after=first) if processes.main else None
    begin = time.monotonic()
    saved_at = done.seconds
    loss_now, norm_now, losses, mark = math.nan, math.nan, [], (begin, rows)

    def seconds() -> float:
        return done.seconds + time.monotonic() - begin

    def save() -> None:
        tensors = processes.whole(state.collect(working, ema, optimizer))
        if journal is not None:  # the main process
            state.write(out, tensors, state.Progress(step, steps, seconds(), rows, facts))
            journal.saved()
        processes.sums(0.0)  # all wait: who goes on, or resumes at once, finds the file

    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        while not steps or step < steps:
            if settings.minutes is not None:
                elapsed = processes.sums(seconds())[0] / world  # the same everywhere: all stop at the same step
                if elapsed >= 60 * settings.minutes:
                    break
                if not steps and step == first + TIMED_STEPS // 4:
                    timed_from = elapsed
                elif not steps and step == first + TIMED_STEPS:
                    pace = (elapsed - timed_from) / (TIMED_STEPS - TIMED_STEPS // 4)
                    steps = step + max(1, math.floor((0.97 * 60 * settings.minutes - elapsed) / pace))
            index = step * world + processes.rank
            seed = stream(settings.seed, index, "training").initial_seed()
            torch.manual_seed(seed)  # for dropout; what the loss draws comes from the generator
            generator = torch.Generator(device).manual_seed(seed)
            batch = {key: value.to(device) for key, value in batch_at(index).items()}
            lr = settings.lr_at(step, steps or 10**9)
            for group in optimizer.param_groups:
                group["lr"] = lr
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.bf16):
                row_losses = loss(called, batch, generator)
            total, seen = _mean(row_losses, batch.get(ROW_WEIGHT), processes)
            optimizer.zero_grad()
            total.backward()
            norm_now = processes.number(nn.utils.clip_grad_norm_(working.parameters(), settings.clip))
            loss_now = processes.sums(total.item())[0] / world
            _finite(loss_now, norm_now, step, settings, out)
            optimizer.step()
            average.update(ema, working, average.decay_at(step, settings.ema))
            step, rows = step + 1, rows + seen
            losses.append(loss_now)
            if journal is not None and step == first + 1:
                journal.began(loss_now)
            if journal is not None and (step % settings.log_every == 0 or step == steps):
                now = time.monotonic()
                journal.write(
                    step,
                    steps,
                    budget=None if settings.minutes is None else max(0.0, 60 * settings.minutes - seconds()),
                    loss=sum(losses) / len(losses),
                    grad_norm=norm_now,
                    lr=lr,
                    seconds=round(seconds(), 3),
                    samples_per_second=round((rows - mark[1]) / max(now - mark[0], 1e-9), 3),
                )
                losses, mark = [], (now, rows)
            stop: Cancelled | None = None
            try:
                for observer in observers:
                    observer(TrainReport(step, steps, seconds(), rows, loss_now, ema))
            except Cancelled as cancelled:
                stop = cancelled
            stopped, elapsed = processes.sums(float(stop is not None), seconds())
            if stopped:  # in any process: all save together, and end
                save()
                raise stop or Cancelled
            if elapsed / world - saved_at >= 60 * settings.save_minutes:
                save()
                saved_at = elapsed / world
        save()
    if processes.shards:
        network.load_state_dict(processes.whole(working.state_dict()))
        ema = processes.whole(ema)
    return TrainReport(step, steps, seconds(), rows, loss_now, ema)


def _optimizer(network: nn.Module, settings: TrainSettings, processes: Processes) -> torch.optim.Optimizer:
    if not settings.muon:
        return torch.optim.AdamW(network.parameters(), settings.lr, weight_decay=settings.weight_decay, fused=True)
    if processes.shards:
        raise UserError(
            "Muon needs whole matrices", where="muon", remedy="train shards with AdamW, or copies with Muon"
        )
    return Muon(
        network,
        settings.lr,
        matching=settings.muon,
        weight_decay=settings.weight_decay,
        length=settings.muon_length,
    )


def _mean(losses: Tensor, weight: Tensor | None, processes: Processes) -> tuple[Tensor, int]:
    """Mean over the rows of all processes, weighted or not, and their number.

    Gradients are averaged over the processes, so each one's share is `world` times its sum over the sum of all weights:
    the average is then that of one process with the joined batch. Refuses a loss that is not one number a row.
    """
    if losses.ndim != 1:
        raise ValueError(f"a loss returns one number a row, shape (B,), not {tuple(losses.shape)}")
    if processes.world == 1:
        return (losses.mean() if weight is None else (weight * losses).sum() / weight.sum()), len(losses)
    mine = float(len(losses)) if weight is None else float(weight.sum())
    everywhere, rows = processes.sums(mine, len(losses))
    total = losses.sum() if weight is None else (weight * losses).sum()
    return processes.world * total / everywhere, round(rows)


def _finite(loss: float, norm: float, step: int, settings: TrainSettings, out: Path) -> None:
    if math.isfinite(loss) and math.isfinite(norm):
        return
    raise UserError(
        f"at step {step} the loss is {loss} and the gradient's norm {norm}",
        where=str(out),
        remedy=f"train with a learning rate below {settings.lr:g}, a longer warm-up than {settings.warmup} steps"
        + (", or without bf16" if settings.bf16 else ", or look for NaN in the data of that step"),
    )


def _same_settings(now: Mapping[str, Any], done: state.Progress, out: Path) -> None:
    then = {"processes": 1, "muon": "", "muon_length": 0.2, **done.settings}  # older states do not say
    changed = [
        f"{name} was {then.get(name)}, is {value}"
        for name, value in now.items()
        if name not in MAY_CHANGE and then.get(name) != value
    ]
    if changed:
        raise UserError(
            f"the run was started with other settings ({'; '.join(changed)})",
            where=str(out),
            remedy="resume with the same, or start a new run in another folder",
        )
