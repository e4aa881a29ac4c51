"""Writing a piece of any length with a model of 64 sixteenths: windows one after another, all takes at once.

A window begins on a bar line, half of it or more knows what is written already, and what the caller keeps is kept: bars
of all parts, or parts. A loop has its last bar written again between the bars before it and the first ones.
Where nothing is left to write, the network is not asked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from torch import nn

from domains.audio.score import roll, wishes
from domains.audio.score.model import STEPS_OF_CLIP, Ground, rolls
from domains.audio.score.operations import GUIDANCE
from domains.audio.score.plan import FASTEST, SLOWEST, Plan

CONTEXT: Final = STEPS_OF_CLIP // 2  # sixteenths that a window knows from before
Tell = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Wanted:
    """What is wanted of the takes, one entry each, and how.

    genre, mood   words of controls/tags.py, None for any;  seeds  one a take
    kept          (CHANNELS, steps) a roll, and `where` (lanes, steps) bool it is kept; None: nothing is there yet
    near, change  a roll to stay near to, and how far to go from it
    """

    genre: Sequence[str | None]
    mood: Sequence[str | None]
    seeds: Sequence[int]
    steps: int = 20
    guidance: float = GUIDANCE
    loop: bool = False
    kept: NDArray | None = None
    where: NDArray | None = None
    near: NDArray | None = None
    change: float = 1.0


def each(plan: Plan | Sequence[Plan], takes: int) -> tuple[Plan, ...]:
    """One plan a take; they may differ in key and swing, and have the same bars."""
    return (plan,) * takes if isinstance(plan, Plan) else tuple(plan)


def calls(plan: Plan, wanted: Wanted) -> int:
    """Network calls of `write`, each of all takes at once."""
    if wanted.near is not None and wanted.change == 0:
        return 0
    ground = Ground(start=wanted.near, change=wanted.change)
    runs = len(windows(plan.bars, plan.steps, _free(plan, wanted))) + (wanted.loop and len(plan.bars) > 1)
    return runs * ground.grid(wanted.steps).steps


def windows(bars: Sequence[int], steps: int, free: NDArray) -> list[int]:
    """Where windows begin, in the order in which they are written, so that every free sixteenth (steps,) is in one."""
    left, starts = np.array(free, bool), []
    while left.any():
        open_ = np.flatnonzero(left)
        first, end = int(open_[0]), int(open_[-1]) + 1
        room = max(STEPS_OF_CLIP - (end - first), 0)
        wish = first - (room // 2 if room else CONTEXT)
        wish = max(0, min(wish, steps - STEPS_OF_CLIP))
        start = max(line for line in bars if line <= wish)
        if start + STEPS_OF_CLIP <= first:  # a bar longer than half a window
            start = first - first % 4
        left[start : start + STEPS_OF_CLIP] = False
        starts.append(start)
    return starts


def write(network: nn.Module, plan: Plan | Sequence[Plan], wanted: Wanted, tell: Tell | None = None) -> NDArray:
    """The takes as rolls (takes, CHANNELS, steps); `tell(calls done, calls)` between calls, may raise to cancel.

    plan   of all takes, or one a take (see `each`)
    """
    takes = len(wanted.seeds)
    plans = each(plan, takes)
    plan, total = plans[0], calls(plans[0], wanted)
    done = 0

    def progress(here: int, of: int) -> None:
        if tell is not None:
            tell(done + here, total)

    cond = np.stack([_filled(wishes.joined(own.asked, own.bound), own) for own in plans])
    law = np.pad(np.stack([own.law for own in plans]), [(0, 0), (0, 0), (0, STEPS_OF_CLIP)], constant_values=np.nan)
    piece = np.full((takes, roll.CHANNELS, plan.steps + STEPS_OF_CLIP), roll.SILENT, np.float32)
    written = np.zeros((len(roll.LANES), plan.steps + STEPS_OF_CLIP), bool)
    if wanted.kept is not None and wanted.where is not None:
        written[:, : plan.steps] = wanted.where
        piece[:, :, : plan.steps] = np.where(wanted.where[roll.LANE], wanted.kept, roll.SILENT)
    near = None
    if wanted.near is not None:
        near = np.full((takes, *piece.shape[1:]), roll.SILENT, np.float32)
        near[:, :, : plan.steps] = wanted.near
    order = windows(plan.bars, plan.steps, _free(plan, wanted))
    for number, start in enumerate(order):
        here = slice(start, start + STEPS_OF_CLIP)
        made = _window(
            network,
            plans,
            wanted,
            cond[:, :, here],
            piece[:, :, here],
            written[:, here],
            law[:, :, here],
            None if near is None else near[:, :, here],
            (start, number),
            progress,
        )
        piece[:, :, here] = made
        written[:, start : min(start + STEPS_OF_CLIP, plan.steps)] = True
        done = total * (number + 1) // (len(order) + (wanted.loop and len(plan.bars) > 1))
    if wanted.loop and len(plan.bars) > 1 and total:
        ring = (np.arange(STEPS_OF_CLIP) + plan.steps - CONTEXT) % plan.steps
        last = np.tile((np.arange(STEPS_OF_CLIP) < CONTEXT) & (ring >= plan.bars[-1]), (len(roll.LANES), 1))
        if wanted.where is not None:
            last &= ~wanted.where[:, ring]
        made = _window(
            network,
            plans,
            wanted,
            cond[:, :, ring],
            piece[:, :, ring],
            ~last,
            law[:, :, ring],
            None if near is None else near[:, :, ring],
            (plan.steps - CONTEXT, len(order)),
            progress,
        )
        piece[:, :, ring] = np.where(last[roll.LANE], made, piece[:, :, ring])
    return piece[:, :, : plan.steps]


def _free(plan: Plan, wanted: Wanted) -> NDArray[np.bool_]:
    """(steps,) where something is to be written."""
    return np.ones(plan.steps, bool) if wanted.where is None else ~np.all(wanted.where, axis=0)


def _filled(cond: NDArray, plan: Plan) -> NDArray:
    """The condition with a window more behind the end: nothing is asked there, the last bar's beats go on."""
    more = np.zeros((len(cond), STEPS_OF_CLIP), np.float32)
    last = plan.asked["beats"][:, plan.bars[-1] :]
    more[-2:] = np.tile(last, -(-STEPS_OF_CLIP // last.shape[1]))[:, :STEPS_OF_CLIP]
    return np.concatenate([cond, more], axis=1)


def _window(
    network: nn.Module,
    plans: Sequence[Plan],
    wanted: Wanted,
    cond: NDArray,
    piece: NDArray,
    written: NDArray,
    law: NDArray,
    near: NDArray | None,
    place: tuple[int, int],
    tell: Tell,
) -> NDArray:
    """One window of all takes: (takes, CHANNELS, 64), what is written in it as it was."""
    (start, number), stays = place, written[roll.LANE]
    qpm = float(np.clip(plans[0].tempo[max(start, 0) : start + STEPS_OF_CLIP].mean(), SLOWEST, FASTEST))
    seeds = [seed if number == 0 else _seed(seed, number) for seed in wanted.seeds]
    keys = [own.key for own in plans]
    made = rolls(
        network,
        cond,
        tempo=[(qpm, own.swing[0]) for own in plans],
        genre=wanted.genre,
        mood=wanted.mood,
        seeds=seeds,
        steps=wanted.steps,
        guidance=wanted.guidance,
        key=None if keys[0] is None else np.stack([key for key in keys if key is not None]),
        ground=Ground(piece, written, (law == roll.SILENT) & ~stays, near, wanted.change),
        progress=tell,
    )
    return np.where(stays, piece, np.where(np.isnan(law), made, law))


def _seed(seed: int, window: int) -> int:
    return int(np.random.SeedSequence((seed, window)).generate_state(1, np.uint32)[0])
