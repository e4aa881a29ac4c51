"""One formula for every sampler with one call a step: the DDIM step of a filtered prediction.

    x_s = a_s D + b_s y + sigma_s (c E + g z),   c = sqrt(1 - f), g = sqrt(f)

D and E are the clean value and the noise of the prediction, z fresh noise, f in [0, 1] the injected fraction:
f = 0 is DDIM (Song et al. 2021), "ancestral" the DDPM posterior and the first-order SDE-DPM-Solver++, "residual_shift"
the ResShift posterior, 1 the re-noising of consistency samplers. Multistep methods filter the prediction's history.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from shared.denoiser import Prediction
from shared.grid import Grid
from shared.process import Point, lin
from shared.run import Law, Own, Step, Transition

if TYPE_CHECKING:
    from shared.sample import Ask


class Filter(Protocol):
    """Turns the newest prediction and the history in `own` into the prediction that the step uses."""

    @property
    def order(self) -> int: ...

    def __call__(self, pred: Prediction, t: Point, s: Point, own: Own) -> tuple[Prediction, Own]: ...


@dataclass(frozen=True)
class DDIM:
    """DDIM and its family.

    fraction   0..1, "ancestral": f = 1 - exp(2 (log_snr_t - log_snr_s)),
               or "residual_shift": f = 1 - (sigma_s / sigma_t)^2
    filter     None, DPMpp(order) on x0, PLMS(order) on eps, ...
    """

    fraction: float | str = 0.0
    filter: Filter | None = None

    def __post_init__(self) -> None:
        names = ("ancestral", "residual_shift")
        if isinstance(self.fraction, str):
            if self.fraction not in names:
                raise ValueError(f"unknown fraction {self.fraction!r}; choose a number in [0, 1], {' or '.join(names)}")
        elif not 0 <= self.fraction <= 1:
            raise ValueError(f"the injected fraction lies in [0, 1], got {self.fraction}")

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x0"} if self.fraction == 0 else {"x0", "gaussian"})

    @property
    def gives(self) -> frozenset[str]:
        words = {"one_evaluation", "deterministic" if self.fraction == 0 else "stochastic"}
        return frozenset(words | ({"law"} if self.filter is None else set()))

    @property
    def order(self) -> int:
        """0 for a constant fraction above 0: such a step injects as much noise however short it is, so more steps do
        not bring the run nearer to the law (consistency samplers, which take few steps)."""
        if not isinstance(self.fraction, str) and self.fraction > 0:
            return 0
        return self.filter.order if self.filter is not None else 1

    def evaluations(self, t: Point, s: Point) -> int:
        return 1

    def injected(self, t: Point, s: Point) -> Tensor:
        """f of the step from t to s."""
        if self.fraction == "ancestral":
            return -torch.expm1(2 * (t.log_snr - s.log_snr))
        if self.fraction == "residual_shift":
            return 1 - (s.sigma / t.sigma) ** 2
        return torch.full_like(t.sigma, float(self.fraction))

    def law(self, t: Point, s: Point, grid: Grid, own: Own) -> Law:
        key = (self.fraction, t, s)
        if key not in grid.memo:
            grid.memo[key] = self._law(t, s)
        return grid.memo[key]

    def _law(self, t: Point, s: Point) -> Law:
        f = self.injected(t, s)
        if bool((f < 0).any()):
            raise ValueError(
                f"an injected fraction of {f.min().item():g} from t = {t.t.tolist()} to {s.t.tolist()}: "
                "stochastic steps go down in noise; encode with fraction 0"
            )
        kept = torch.sqrt(1 - f) * s.sigma
        if bool(((t.sigma == 0) & (kept != 0)).any()):
            raise ValueError(f"no noise can be told apart at t = {t.t.tolist()}, where sigma = 0; use fraction 1 there")
        k_x = torch.where(kept == 0, torch.zeros_like(kept), kept / t.sigma)
        return Law(k_x, s.a - k_x * t.a, torch.sqrt(f) * s.sigma)

    def step(self, ask: Ask, x: Tensor, step: Step, grid: Grid, own: Own) -> Transition:
        process = grid.process
        asked = ask(x, step.t, step)
        pred, own = (asked.guided, own) if self.filter is None else self.filter(asked.guided, step.t, step.s, own)
        law = step.law or self.law(step.t, step.s, grid, own)
        shifted = process.shifted(x, step.t, pred.y)
        mean = process.shifted(lin((law.k_x, shifted), (law.k_x0, pred.x0)), step.s, pred.y, sign=-1)
        if step.noise is None:
            return Transition(mean, mean, None, None, asked, own)
        return Transition(mean + lin((law.std, step.noise)), mean, law.std, step.noise, asked, own)


# ----------------------------------------------------------------------------------------------------------- filters


@dataclass(frozen=True)
class DPMpp:
    """DPM-Solver++ (Lu et al. 2022), data prediction, mid-point multistep form: orders 1 and 2.

    D = m0 + (m0 - m1) / (2 r), r = h_before / h, h = step in log-SNR. With fraction="ancestral" it is SDE-DPM-Solver++.
    """

    order: int = 2

    def __post_init__(self) -> None:
        if self.order not in (1, 2):
            raise ValueError(f"DPMpp has orders 1 and 2, got {self.order}")

    def __call__(self, pred: Prediction, t: Point, s: Point, own: Own) -> tuple[Prediction, Own]:
        new = {"x0": pred.x0, "log_snr": t.log_snr}
        if self.order == 1 or "x0" not in own:
            return pred, new
        h, before = s.log_snr - t.log_snr, t.log_snr - own["log_snr"]
        weight = torch.where(torch.isfinite(h) & torch.isfinite(before), h / (2 * before), torch.zeros_like(h))
        return pred.with_x0(lin((1 + weight, pred.x0), (-weight, own["x0"]))), new


@dataclass(frozen=True)
class PLMS:
    """Adams-Bashforth on eps in the coordinate sigma / a, with the weights of the actual (uneven) steps.

    Started by one Euler step, so the error falls with order min(order, 2) whatever the length of the history
    (Liu et al. 2022 use equal-step weights; on an even grid in sigma / a the two agree).
    """

    length: int = 4

    def __post_init__(self) -> None:
        if not 1 <= self.length <= 4:
            raise ValueError(f"PLMS keeps 1 to 4 evaluations, got {self.length}")

    @property
    def order(self) -> int:
        return min(self.length, 2)

    def __call__(self, pred: Prediction, t: Point, s: Point, own: Own) -> tuple[Prediction, Own]:
        if t.signalless:
            return pred, {}
        here = t.sigma / t.a
        count = sum(name.startswith("eps") for name in own)
        eps = [pred.eps, *(own[f"eps{i}"] for i in range(count))][: self.length]
        at = [here, *(own[f"at{i}"] for i in range(count))][: self.length]
        new = {f"eps{i}": e for i, e in enumerate(eps[: self.length - 1])}
        new |= {f"at{i}": v for i, v in enumerate(at[: self.length - 1])}
        if len(eps) == 1:
            return pred, new
        mixed = lin(*zip(_adams(at, s.sigma / s.a), eps, strict=True))
        shifted = pred.process.shifted(pred.x, t, pred.y)
        return pred.with_x0(lin((1 / t.a, shifted), (-here, mixed))), new


def _adams(at: list[Tensor], to: Tensor) -> list[Tensor]:
    """Weights w_j with sum_j w_j p(at_j) = mean of p over [at_0, to] for every polynomial p of degree < len(at)."""
    offsets = torch.stack([v - at[0] for v in at], dim=-1)  # (..., n)
    power = torch.arange(len(at), dtype=torch.float64)
    step = (to - at[0]).unsqueeze(-1)
    matrix = (offsets / step).unsqueeze(-2) ** power.unsqueeze(-1)  # row i holds ((at_j - at_0) / step)^i
    moments = (1 / (power + 1)).expand(matrix.shape[:-1])
    return list(torch.linalg.solve(matrix, moments.unsqueeze(-1)).squeeze(-1).unbind(-1))
