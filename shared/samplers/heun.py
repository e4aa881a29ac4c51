"""Heun's second-order method on the probability-flow ODE (Karras et al. 2022, algorithm 1 without churn)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor

from shared.grid import Grid
from shared.process import Point, lin
from shared.run import Law, Own, Step, Transition

if TYPE_CHECKING:
    from shared.sample import Ask


@dataclass(frozen=True)
class Heun:
    """Trapezoid rule with an Euler prediction: two evaluations a step, one where the second would be singular.

    coordinate   "sigma": d(u/a) = eps d(sigma/a), good for noise that starts and ends anywhere with a > 0;
                 "time": dx = velocity dt, for flows, for processes that start at a = 0, and for pair heads
    The step into the clean end is a plain Euler (DDIM) step. The clock of a table has kinks at its levels, where "time"
    falls to order 1; "sigma" does not see them.
    """

    coordinate: Literal["sigma", "time"] = "sigma"

    def __post_init__(self) -> None:
        if self.coordinate not in ("sigma", "time"):
            raise ValueError(f"unknown coordinate {self.coordinate!r} of heun; choose sigma or time")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset() if self.coordinate == "time" else frozenset({"x0"})

    @property
    def gives(self) -> frozenset[str]:
        return frozenset({"deterministic"})

    @property
    def order(self) -> int:
        return 2

    def evaluations(self, t: Point, s: Point) -> int:
        if s.noiseless or (self.coordinate == "sigma" and (t.signalless or s.signalless)):
            return 1
        return 2

    def law(self, t: Point, s: Point, grid: Grid, own: Own) -> Law | None:
        """None: the transition depends on the network. Raises where the step cannot be made at all."""
        if t.noiseless:
            raise ValueError(
                f"no noise can be told apart at t = {t.t.tolist()}, where sigma = 0; start the grid inside, or use "
                "DDIM(1.0)"
            )
        return None

    def step(self, ask: Ask, x: Tensor, step: Step, grid: Grid, own: Own) -> Transition:
        t, s = step.t, step.s
        first = ask(x, t, step)
        pred = first.guided
        if self.evaluations(t, s) == 1:
            return self._done(self._euler(x, pred, t, s), first)
        if self.coordinate == "time":
            guess = x + lin((s.t - t.t, pred.velocity))
            slope = (pred.velocity + ask(guess, s, step).guided.velocity) / 2
            return self._done(x + lin((s.t - t.t, slope)), first)
        guess = self._euler(x, pred, t, s)
        eps = (pred.eps + ask(guess, s, step).guided.eps) / 2
        return self._done(self._along(x, eps, pred.y, t, s, grid), first)

    def _euler(self, x: Tensor, pred, t: Point, s: Point) -> Tensor:  # type: ignore[no-untyped-def]
        if pred.pair is not None:
            return x + lin((s.t - t.t, pred.velocity))
        if s.clean:
            return pred.process.shifted(lin((s.a, pred.x0)), s, pred.y, sign=-1)
        return pred.process.join(pred.x0, pred.eps, s, pred.y)

    def _along(self, x: Tensor, eps: Tensor, y: Tensor | None, t: Point, s: Point, grid: Grid) -> Tensor:
        """u_s = a_s (u_t / a_t + (sigma_s / a_s - sigma_t / a_t) eps)."""
        u = grid.process.shifted(x, t, y)
        moved = lin((s.a / t.a, u), (s.sigma - s.a * t.sigma / t.a, eps))
        return grid.process.shifted(moved, s, y, sign=-1)

    def _done(self, x: Tensor, first) -> Transition:  # type: ignore[no-untyped-def]
        return Transition(x, x, None, None, first)
