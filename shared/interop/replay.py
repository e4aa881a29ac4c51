"""A step of a sampler whose network answers one call at a time, as diffusers' pipelines do.

    reached, moved = unfinished.answered(sampler, said, grid, own)

A step is a pure function of its state, its noise and the answers. So it is taken again with every answer that comes,
and ends where it asks for one that is not there yet: at the state which the pipeline shows to the network next.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import cast

from torch import Tensor

from shared.ask import MAIN, Ask
from shared.denoiser import Prediction
from shared.grid import Grid
from shared.process import Point
from shared.run import Evaluation, Own, Sampler, Step, Transition


def asked(sampler: Sampler, t: Point, s: Point, grid: Grid) -> tuple[Point, ...]:
    """The points at which a step from t to s asks, in order: its own account of them, or its two ends."""
    where = getattr(sampler, "asks", None)
    return where(t, s, grid) if where else (t, s)[: sampler.evaluations(t, s)]


class Wanting(Exception):
    """A step asks for an answer that is not there yet; `x` is the state it asks for."""

    def __init__(self, x: Tensor) -> None:
        super().__init__("an answer is wanted")
        self.x = x


@dataclass
class Answers:
    """Stands for the network: gives the answers that are there, in the order in which they came."""

    there: tuple[Prediction, ...]
    given: int = 0

    def __call__(self, x: Tensor, at: Point, step: Step | None = None) -> Evaluation:
        if self.given == len(self.there):
            raise Wanting(x)
        said = self.there[self.given]
        self.given += 1
        return Evaluation(said, said, {MAIN: said})


@dataclass(frozen=True)
class Unfinished:
    """A step on its way: the state x that it began with, its noise, and the answers so far."""

    x: Tensor
    step: Step
    said: tuple[Prediction, ...] = ()

    def answered(
        self, sampler: Sampler, said: Prediction, grid: Grid, own: Own
    ) -> tuple[Unfinished, Tensor, Own | None]:
        """With one answer more: (itself, the state to show next, the memory after the step; None while it goes on)."""
        more = replace(self, said=(*self.said, said))
        try:
            moved: Transition = sampler.step(cast(Ask, Answers(more.said)), self.x, self.step, grid, own)
        except Wanting as wanting:
            return more, wanting.x, None
        return more, moved.x, moved.own


@dataclass
class Draws:
    """Noise by tag: drawn when a step first asks for it, the same when the step is taken again."""

    draw: Callable[[Tensor], Tensor]
    kept: dict[str, Tensor] = field(default_factory=dict)

    def __call__(self, tag: str, like: Tensor) -> Tensor:
        if tag not in self.kept:
            self.kept[tag] = self.draw(like)
        return self.kept[tag]
