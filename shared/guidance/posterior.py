"""Guidance towards a measurement y = A x0 + noise, with any sampler.

DPS (Chung et al. 2023) descends the misfit through the network; DDNM (Wang et al. 2023) projects the clean value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from shared.denoiser import Prediction
from shared.guidance.window import EVERYWHERE, Window
from shared.operators import LinearOperator
from shared.process import Point, lin, shaped
from shared.run import Guidance, Own, Step


@dataclass(frozen=True, eq=False)
class DPS(Guidance):
    """Diffusion posterior sampling: the gradient of the misfit with respect to the state, through the network.

    applies="score"   E = strength |y - A x0|^2 / (2 noise_std^2) moves the score: strength 1 is the Gaussian likelihood
                      of the predicted clean value, and the run converges as the grid is refined
    applies="step"    E = strength |y - A x0|, taken from the state after the step, as published (there: 2 strength):
                      the total pull grows with the number of steps, so the strength belongs to one grid
    noise_std         of the measurement; "score" only
    The state says nothing of x0 where a = 0, and the gradient vanishes: there it does not act.
    """

    operator: LinearOperator
    measurement: Tensor
    strength: float = 1.0
    noise_std: float = 1.0
    applies: Literal["score", "step"] = "score"
    window: Window = EVERYWHERE

    grad = "x"

    def __post_init__(self) -> None:
        if self.applies not in ("score", "step"):
            raise ValueError(f"DPS applies to the score or to the step, got {self.applies!r}")
        if self.noise_std <= 0:
            raise ValueError(f"the noise of a measurement is positive, got {self.noise_std:g}; without noise take DDNM")

    def active(self, at: Point) -> bool:
        return self.strength != 0 and not at.signalless and self.window.open(at)

    def energy(self, pred: Prediction, step: Step, own: Own) -> Tensor:
        squared = (self.measurement - self.operator.forward(pred.x0)).flatten(1).square().sum(1)  # (B,)
        strength = shaped(self.window.strength(self.strength, pred.at), squared)
        if self.applies == "step":
            return strength * squared.clamp_min(1e-24).sqrt()
        return strength * squared / (2 * self.noise_std**2)


@dataclass(frozen=True, eq=False)
class DDNM(Guidance):
    """Null-space projection: x0 <- x0 + strength pinv(y - A x0). At strength 1 the result measures exactly y."""

    operator: LinearOperator
    measurement: Tensor
    strength: float = 1.0
    window: Window = EVERYWHERE

    needs = frozenset({"x0"})
    projection = True

    def active(self, at: Point) -> bool:
        return self.strength != 0 and self.window.open(at)

    def correct(self, pred: Prediction, step: Step, own: Own) -> Prediction:
        missing = self.operator.pinv(self.measurement - self.operator.forward(pred.x0))
        strength = self.window.strength(self.strength, pred.at)
        return pred.with_x0(pred.x0 + lin((strength, missing)))
