"""Euler's method in the process's own clock: x_s = x_t + (s - t) velocity.

The plain method of flows and of pair heads, which have no clean value. In the coordinate sigma / a Euler's method is
DDIM (k-diffusion's `sample_euler`), and with fresh noise DDIM("ancestral", eta=eta) (`sample_euler_ancestral`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

from shared.grid import Grid
from shared.process import Point, lin
from shared.run import Law, Own, Step, Transition

if TYPE_CHECKING:
    from shared.sample import Ask


@dataclass(frozen=True)
class Euler:
    """One evaluation a step. The step into the clean end takes the clean value itself where the head says one."""

    needs: ClassVar[frozenset[str]] = frozenset()
    gives: ClassVar[frozenset[str]] = frozenset({"deterministic", "one_evaluation"})
    order: ClassVar[int] = 1

    def evaluations(self, t: Point, s: Point) -> int:
        return 1

    def law(self, t: Point, s: Point, grid: Grid, own: Own) -> Law | None:
        """None: a known end moves by its own velocity. Raises where the step cannot be made at all."""
        if t.noiseless:
            raise ValueError(
                f"no noise can be told apart at t = {t.t.tolist()}, where sigma = 0; start the grid inside, or use "
                "DDIM(1.0)"
            )
        return None

    def step(self, ask: Ask, x: Tensor, step: Step, grid: Grid, own: Own) -> Transition:
        asked = ask(x, step.t, step)
        pred = asked.guided
        if step.s.clean and pred.pair is None:
            x = grid.process.shifted(lin((step.s.a, pred.x0)), step.s, pred.y, sign=-1)
        else:
            x = x + lin((step.s.t - step.t.t, pred.velocity))
        return Transition(x, x, None, None, asked)
