"""Predictor and Langevin corrector (Song et al. 2021, algorithms 2 and 4): before a step, walk within its noise level.

    x <- x + e score + sqrt(2 e) z,   e = 2 (snr |z| / |score|)^2 ("norms") or 2 (snr sigma)^2 ("level")

The walk draws the state towards the marginal at t whatever errors came before. Its own error does not fall with the
number of steps, so it has no order: a smaller snr makes it smaller, and the walk slower.

"norms" is the published rule with the norms of each sample, where the published code takes means over a batch; in many
dimensions the two agree. In few, the length of a step would hang on the state, which is no Langevin walk. "level" puts
sigma for |z| / |score|, to which it tends where the data fill few of the dimensions (Song & Ermon 2019's rule).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from shared.denoiser import Prediction
from shared.grid import Grid
from shared.process import Point, lin
from shared.run import Law, Own, Sampler, Step, Transition
from shared.samplers.ddim import DDIM

if TYPE_CHECKING:
    from shared.sample import Ask


ANCESTRAL = DDIM("ancestral")


@dataclass(frozen=True)
class Langevin:
    """`corrections` Langevin steps at t, one evaluation each, then a step of the predictor.

    snr         ratio of the lengths of the gradient and of the noise in a correction, > 0; published: 0.16
    rule        of the step size: "level", or "norms" for states of many dimensions
    predictor   any sampler; published: reverse diffusion, here the ancestral step of the same order
    There is no correction where sigma = 0.
    """

    snr: float = 0.16
    corrections: int = 1
    rule: Literal["level", "norms"] = "level"
    predictor: Sampler = ANCESTRAL

    def __post_init__(self) -> None:
        if self.snr <= 0 or self.corrections < 1:
            raise ValueError(f"snr > 0 and corrections >= 1 are wanted, got {self.snr} and {self.corrections}")
        if self.rule not in ("level", "norms"):
            raise ValueError(f"unknown rule {self.rule!r} of the step size; choose level or norms")

    @property
    def needs(self) -> frozenset[str]:
        return self.predictor.needs | {"gaussian", "true_score"}

    @property
    def gives(self) -> frozenset[str]:
        return self.predictor.gives - {"deterministic", "reversible", "law", "one_evaluation"} | {"stochastic"}

    @property
    def order(self) -> int:
        return 0

    def evaluations(self, t: Point, s: Point) -> int:
        return self._walks(t) + self.predictor.evaluations(t, s)

    def asks(self, t: Point, s: Point, grid: Grid) -> tuple[Point, ...]:
        """The points at which a step asks."""
        where = getattr(self.predictor, "asks", None)
        then = where(t, s, grid) if where else (t, s)[: self.predictor.evaluations(t, s)]
        return (*[t] * self._walks(t), *then)

    def law(self, t: Point, s: Point, grid: Grid, own: Own) -> Law | None:
        """The predictor's, from where the corrections end."""
        return self.predictor.law(t, s, grid, own)

    def step(self, ask: Ask, x: Tensor, step: Step, grid: Grid, own: Own) -> Transition:
        first = None
        for i in range(self._walks(step.t)):
            asked = ask(x, step.t, step)
            x, first = self._walk(x, asked.guided, step.draw(f"langevin {i}", x)), first or asked
        moved = self.predictor.step(ask, x, step, grid, own)
        return Transition(moved.x, moved.mean, moved.std, moved.noise, first or moved.first, moved.own)

    def _walks(self, t: Point) -> int:
        return 0 if t.noiseless else self.corrections

    def _walk(self, x: Tensor, pred: Prediction, z: Tensor) -> Tensor:
        if self.rule == "level":
            e = 2 * (self.snr * pred.at.sigma).square()
        else:
            e = 2 * (self.snr * _norm(z) / _norm(pred.score)).square()
        return lin((torch.ones_like(e), x), (e, pred.score), ((2 * e).sqrt(), z))


def _norm(x: Tensor) -> Tensor:
    """(B,) length of each sample, on the CPU in float64 like every coefficient; never 0."""
    return x.flatten(1).norm(dim=1).double().cpu().clamp_min(1e-12)
