"""DPM-Solver++ single-step of second order (Lu et al. 2022): the clean value half-way in log-SNR serves the whole step.

    x_m = DDIM step from t to m,  log_snr_m = (log_snr_t + log_snr_s) / 2
    x_s = DDIM step from t to s with the clean value that is believed at x_m

fraction=0 is DPM-Solver++ 2S. fraction="ancestral" is k-diffusion's DPM++ SDE: the noise of the half step and that of
the whole one belong to one Brownian path W. In r = SNR = exp(2 log_snr) an ancestral run is d(r x / a) = x0 dr + dW(r),
so the two draws correlate by sqrt((r_m - r_t) / (r_s - r_t)). k-diffusion's path runs in v = sigma / a instead, and its
two draws correlate by sqrt((v_t - v_m) / (v_t - v_s)): more closely where steps are long, alike where they are short.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from shared.denoiser import Prediction
from shared.grid import Grid
from shared.process import Point, lin
from shared.run import Law, Own, Step, Transition
from shared.samplers.ddim import DDIM

if TYPE_CHECKING:
    from shared.sample import Ask


@dataclass(frozen=True)
class SingleStep:
    """Two evaluations a step, at its start and half-way; one where log-SNR is infinite at an end (a DDIM step).

    fraction   0 or "ancestral", of the noise that DDIM injects
    clock      of the path: "snr", under which the equation of the run has its own noise, or "sigma" as in k-diffusion
    Noise: the step's own, and a draw "half" of its own for the part of the half step that the whole one does not know.
    """

    fraction: Literal[0, "ancestral"] = 0
    clock: Literal["snr", "sigma"] = "snr"

    def __post_init__(self) -> None:
        if self.fraction not in (0, "ancestral"):
            raise ValueError(f"a single step of second order takes fraction 0 or 'ancestral', got {self.fraction!r}")
        if self.clock not in ("snr", "sigma"):
            raise ValueError(f"unknown clock {self.clock!r} of a step's path; choose snr or sigma")

    @property
    def plain(self) -> DDIM:
        """The step that both parts are made of."""
        return DDIM(self.fraction)

    @property
    def needs(self) -> frozenset[str]:
        return self.plain.needs

    @property
    def gives(self) -> frozenset[str]:
        return self.plain.gives - {"law", "one_evaluation"}

    @property
    def order(self) -> int:
        return 2

    def evaluations(self, t: Point, s: Point) -> int:
        return 1 if s.noiseless or s.signalless or t.signalless else 2

    def asks(self, t: Point, s: Point, grid: Grid) -> tuple[Point, ...]:
        """The points at which a step asks."""
        return (t,) if self.evaluations(t, s) == 1 else (t, halfway(t, s, grid))

    def law(self, t: Point, s: Point, grid: Grid, own: Own) -> Law:
        """The transition but for its clean value, which is that of the second evaluation."""
        return self.plain.law(t, s, grid, own)

    def step(self, ask: Ask, x: Tensor, step: Step, grid: Grid, own: Own) -> Transition:
        t, s, law = step.t, step.s, step.law or self.law(step.t, step.s, grid, own)
        asked = ask(x, t, step)
        pred = asked.guided
        if self.evaluations(t, s) == 2:
            m = halfway(t, s, grid)
            half = self.plain.law(t, m, grid, own)
            x_m = moved(x, pred, half, m)
            if step.noise is not None:
                x_m = x_m + lin((half.std, self._half(step, step.noise, m, x)))
            pred = ask(x_m, m, step).guided
        mean = moved(x, pred, law, s, t)
        if step.noise is None:
            return Transition(mean, mean, None, None, asked)
        return Transition(mean + lin((law.std, step.noise)), mean, law.std, step.noise, asked)

    def _half(self, step: Step, z: Tensor, m: Point, x: Tensor) -> Tensor:
        """The normal draw of the half step: rho z + sqrt(1 - rho^2) z_half."""
        t, s = step.t.log_snr, step.s.log_snr
        way = 2 if self.clock == "snr" else -1  # r = exp(2 log_snr), v = exp(-log_snr)
        shared = torch.expm1(way * (m.log_snr - t)) / torch.expm1(way * (s - t))  # rho^2
        return lin((shared.sqrt(), z), ((1 - shared).sqrt(), step.draw("half", x)))


def moved(x: Tensor, pred: Prediction, law: Law, s: Point, t: Point | None = None) -> Tensor:
    """k_x (x - b_t y) + k_x0 x0 + b_s y; `t` where the prediction was made elsewhere."""
    process, y = pred.process, pred.y
    u = process.shifted(x, t or pred.at, y)
    return process.shifted(lin((law.k_x, u), (law.k_x0, pred.x0)), s, y, sign=-1)


def halfway(t: Point, s: Point, grid: Grid) -> Point:
    """The point whose log-SNR is the mean of the two; computed for all neighbours of a grid at once."""
    if ("half", t, s) not in grid.memo:
        points = grid.points
        ends = list(zip(points, points[1:], strict=False))
        if not any(t is start and s is end for start, end in ends):
            ends = [(t, s)]
        log_snr = torch.stack([(start.log_snr + end.log_snr) / 2 for start, end in ends])
        inside = torch.where(torch.isfinite(log_snr), log_snr, torch.zeros_like(log_snr))  # the others are never asked
        middles = grid.process.at(grid.process.t_of(inside)).unbind()
        grid.memo.update({("half", start, end): middle for (start, end), middle in zip(ends, middles, strict=True)})
    return grid.memo[("half", t, s)]
