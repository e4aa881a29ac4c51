"""One formula for every sampler with one call a step: the DDIM step of a filtered prediction.

    x_s = a_s D + b_s y + sigma_s (c E + g z),   c = sqrt(1 - f), g = sqrt(f)

D and E are the clean value and the noise of the prediction, z fresh noise, f in [0, 1] the injected fraction:
f = 0 is DDIM (Song et al. 2021), "ancestral" the DDPM posterior and the first-order SDE-DPM-Solver++, "residual_shift"
the ResShift posterior, 1 the re-noising of consistency samplers. Multistep methods filter the prediction's history.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor

from shared.denoiser import Prediction
from shared.grid import Grid
from shared.process import Number, Point, lin, plain
from shared.run import Law, Own, Step, Transition
from shared.samplers.moments import exponent, moments

if TYPE_CHECKING:
    from shared.sample import Ask


class Filter(Protocol):
    """Turns the newest prediction and the history in `own` into the prediction that the step uses."""

    @property
    def order(self) -> int:
        """Order that a run from an empty history reaches."""
        ...

    def __call__(self, pred: Prediction, t: Point, s: Point, own: Own, law: Law) -> tuple[Prediction, Own]:
        """law   of the step; 1 - law.k_x0 / s.a = exp(-H) is what is left of an x0 that was believed at t"""
        ...


NAMES = ("ancestral", "residual_shift")


@dataclass(frozen=True)
class DDIM:
    """DDIM and its family.

    fraction   0..1, "ancestral": f = 1 - exp(2 (log_snr_t - log_snr_s)),
               or "residual_shift": f = 1 - (sigma_s / sigma_t)^2
    filter     None, DPMpp(length) or UniPC(length) on x0, PLMS(length) on eps, ...
    eta        0..1, standard deviation of the noise as a part of that of a named fraction: f becomes eta^2 f. It is the
               eta of DDIM (Song et al. 2021) and, in any process, of k-diffusion's Euler ancestral
    """

    fraction: float | str = 0.0
    filter: Filter | None = None
    eta: float = 1.0

    def __post_init__(self) -> None:
        if isinstance(self.fraction, str):
            if self.fraction not in NAMES:
                raise ValueError(f"unknown fraction {self.fraction!r}; choose a number in [0, 1], {' or '.join(NAMES)}")
        elif not 0 <= self.fraction <= 1:
            raise ValueError(f"the injected fraction lies in [0, 1], got {self.fraction}")
        elif self.eta != 1:
            raise ValueError(f"eta scales a named fraction, {' or '.join(NAMES)}; got {self.eta} of {self.fraction}")
        if not 0 <= self.eta <= 1:
            raise ValueError(f"eta lies in [0, 1], got {self.eta}")

    @property
    def silent(self) -> bool:
        """Whether no noise is injected."""
        return self.fraction == 0 or self.eta == 0

    @property
    def needs(self) -> frozenset[str]:
        return frozenset({"x0"} if self.silent else {"x0", "gaussian"})

    @property
    def gives(self) -> frozenset[str]:
        words = {"one_evaluation", "deterministic" if self.silent else "stochastic"}
        return frozenset(words | ({"law"} if self.filter is None else set()))

    @property
    def order(self) -> int:
        """0 for a constant fraction above 0: such a step injects as much noise however short it is, so more steps do
        not bring the run nearer to the law (consistency samplers, which take few steps). With fresh noise 2 at most."""
        if not isinstance(self.fraction, str) and self.fraction > 0:
            return 0
        if self.filter is None:
            return 1
        return self.filter.order if self.silent else min(self.filter.order, 2)

    def evaluations(self, t: Point, s: Point) -> int:
        return 1

    def injected(self, t: Point, s: Point) -> Tensor:
        """f of the step from t to s."""
        if self.fraction == "ancestral":
            return -torch.expm1(2 * (t.log_snr - s.log_snr)) * self.eta**2
        if self.fraction == "residual_shift":
            return (1 - (s.sigma / t.sigma) ** 2) * self.eta**2
        return torch.full_like(t.sigma, float(self.fraction))

    def law(self, t: Point, s: Point, grid: Grid, own: Own) -> Law:
        kind = (self.fraction, self.eta)
        laws: dict[tuple[Point, Point], Law] | None = grid.memo.get(kind)
        if laws is None:
            laws = grid.memo[kind] = self._laws(grid)
        found = laws.get((t, s))
        if found is None:  # a point beside the grid, or a step that is refused
            found = laws[t, s] = self._law(t, s)
        return found

    def _laws(self, grid: Grid) -> dict[tuple[Point, Point], Law]:
        """The laws of all moves of the grid at once, where all of them can be made."""
        points, whole = grid.points, grid.whole
        count = len(points) - 1
        if grid.route == tuple(range(count + 1)):
            starts, ends = whole.rows(range(count)), whole.rows(range(1, count + 1))
            moves = zip(points, points[1:], strict=False)
        else:
            places = list(dict.fromkeys((i, j) for i, j in itertools.pairwise(grid.route) if j > i))
            starts, ends = (whole.rows(list(which)) for which in zip(*places, strict=True))
            moves = zip(*([points[i] for i in which] for which in zip(*places, strict=True)), strict=True)
        try:
            return dict(zip(moves, self._law(starts, ends).unbind(), strict=True))
        except ValueError:
            return {}

    def _law(self, t: Point, s: Point) -> Law:
        f = self.injected(t, s)
        if f.min().item() < 0:
            raise ValueError(
                f"an injected fraction of {f.min().item():g} from t = {t.t.tolist()} to {s.t.tolist()}: "
                "stochastic steps go down in noise; encode with fraction 0"
            )
        kept = torch.sqrt(1 - f) * s.sigma
        if t.noiseless:
            if bool(((t.sigma == 0) & (kept != 0)).any()):
                raise ValueError(
                    f"no noise can be told apart at t = {t.t.tolist()}, where sigma = 0; use fraction 1 there"
                )
            k_x = torch.where(kept == 0, torch.zeros_like(kept), kept / t.sigma)
        else:
            k_x = kept / t.sigma
        return Law(k_x, s.a - k_x * t.a, torch.sqrt(f) * s.sigma)

    def step(self, ask: Ask, x: Tensor, step: Step, grid: Grid, own: Own) -> Transition:
        law = step.law or self.law(step.t, step.s, grid, own)
        asked = ask(x, step.t, step)
        pred = asked.guided
        if self.filter is not None:
            pred, own = self.filter(pred, step.t, step.s, own, law)
        k_x, k_x0, std = law.numbers
        shifted = pred.shifted
        terms = pred.times(k_x0)
        if terms[0][1] is shifted:  # what the head takes from the state joins what the step keeps of it
            k_x = k_x + terms.pop(0)[0]
        mean = lin((k_x, shifted), *terms)
        if grid.process.b is not None:
            mean = grid.process.shifted(mean, step.s, pred.y, sign=-1)
        z = step.noise
        if z is None:
            return Transition(mean, mean, None, None, asked, own)
        return Transition(lin((1.0, mean), (std, z)), mean, law.std, z, asked, own)


# ----------------------------------------------------------------------------------------------------------- filters


LONGEST = 4  # predictions that any filter keeps


@cache
def entries(name: str) -> tuple[str, ...]:
    """The names of a series in a filter's memory, newest first."""
    return tuple(f"{name} {i}" for i in range(LONGEST))


def recalled(own: Own, name: str) -> list[Tensor]:
    """What a filter kept under a name, newest first."""
    return [own[entry] for entry in entries(name) if entry in own]


def kept(count: int, **series: list[Tensor]) -> Own:
    """Memory of the newest `count` entries of each series."""
    return {
        entry: value
        for name, values in series.items()
        for entry, value in zip(entries(name), values[:count], strict=False)
    }


@dataclass(frozen=True)
class DPMpp:
    """DPM-Solver++ (Lu et al. 2022), data prediction, multistep: the published 1, 2M and 3M.

    With h = step in log-SNR, r0 = h_before / h, r1 = h_before_that / h, exp(-H) as in Filter (H = h, or 2 h when
    ancestral), D10 = (m0 - m1) / r0, D11 = (m1 - m2) / r1:

        2   D = m0 + D10 / 2
        3   D = m0 + (p2 D1 - p3 D2) / (1 - exp(-H)),  D2 = (D10 - D11) / (r0 + r1),  D1 = D10 + r0 D2,
            p2 = 1 - (1 - exp(-H)) / H,  p3 = p2 / H - 1/2

    With fraction="ancestral" these are SDE-DPM-Solver++ 2M and 3M. Each length is started by the shorter ones: the h^2
    error of the first step stays, so a run is of order min(length, 2), and 3M no better than 2M where that error rules.
    """

    length: int = 2

    def __post_init__(self) -> None:
        if self.length not in (1, 2, 3):
            raise ValueError(f"DPMpp keeps 1, 2 or 3 predictions, got {self.length}")

    @property
    def order(self) -> int:
        return min(self.length, 2)

    def __call__(self, pred: Prediction, t: Point, s: Point, own: Own, law: Law) -> tuple[Prediction, Own]:
        x0, at, length = [pred.x0, *recalled(own, "x0")], [t.log_snr, *recalled(own, "log_snr")], self.length
        new = kept(max(length - 1, 1), x0=x0, log_snr=at)
        if length == 1 or len(x0) == 1:
            return pred, new
        return pred.mixed(_extrapolated(at[:length], s, law), x0[:length]), new


def _extrapolated(at: list[Tensor], s: Point, law: Law) -> list[Number]:
    """Weights of m0, m1, ... that sum to 1; an infinite step in log-SNR falls to the order below.

    Plain numbers where all rows share their times: a step then costs no operation on tensors of one entry.
    """
    to = s.log_snr
    if to.ndim == 0 and at[-1].ndim == 0:
        times = [to.item(), *[time.item() for time in at]]
        while len(times) > 2 and not math.isfinite(times[0] - times[-1]):
            times.pop()
        steps = [newer - older for newer, older in itertools.pairwise(times)]  # h, h before, ...
        weights = _third(steps, law, s) if len(steps) > 2 else _second(steps)
        return weights + [0.0] * (len(at) - len(weights))
    steps = [newer - older for newer, older in itertools.pairwise((to, *at))]
    fine = torch.stack([torch.isfinite(step) for step in steps])
    two = [torch.where(fine[:2].all(0), w, bare) for w, bare in zip(_second(steps), (1.0, 0.0), strict=True)]
    if len(at) == 2:
        return list(two)
    three = zip(_third(steps, law, s), (*two, torch.zeros_like(two[0])), strict=True)
    return [torch.where(fine.all(0), long, brief) for long, brief in three]


def _second(steps: list[Any]) -> list[Any]:
    """Of m0 and m1: m0 + (m0 - m1) h / (2 h_before)."""
    if len(steps) < 2:
        return [1.0]
    weight = steps[0] / (2 * steps[1])
    return [1 + weight, -weight]


def _third(steps: list[Any], law: Law, s: Point) -> list[Any]:
    """Of m0, m1 and m2."""
    left: Any = plain(law.k_x0 / s.a)  # 1 - exp(-H)
    H: Any = exponent(left, steps[0])
    p2 = 1 - left / H
    p3 = p2 / H - 0.5
    r0, r1 = steps[1] / steps[0], steps[2] / steps[0]
    bend = (p2 * r0 - p3) / (r0 + r1) / left
    newer, older = (p2 / left + bend) / r0, -bend / r1
    return [1 + newer, older - newer, -older]


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

    def __call__(self, pred: Prediction, t: Point, s: Point, own: Own, law: Law) -> tuple[Prediction, Own]:
        if t.signalless:
            return pred, {}
        here = t.sigma / t.a
        eps = [pred.eps, *recalled(own, "eps")][: self.length]
        at = [here, *recalled(own, "at")][: self.length]
        new = kept(self.length - 1, eps=eps, at=at)
        if len(eps) == 1:
            return pred, new
        places = [plain(place) for place in at]
        weights = [-places[0] * w for w in _adams(places, plain(s.sigma) / plain(s.a))]
        return pred.mixed([1 / plain(t.a), *weights], [pred.shifted, *eps]), new  # x0 = (u - sigma eps) / a


def _adams(at: list[Number], to: Number) -> list[Number]:
    """Weights w_j with sum_j w_j p(at_j) = mean of p over [at_0, to] for every polynomial p of degree < len(at)."""
    step = to - at[0]
    return moments([(place - at[0]) / step for place in at], [1 / (power + 1) for power in range(len(at))])
