"""The forward process: how a clean value is turned into noise, and back up in noise.

    x_t = a(t) x0 + b(t) y + sigma(t) n

x0 is the clean value, y a known end (a degraded picture, the other end of a bridge) and n a draw of the noise law.
Every process of the suite is this one class; a schedule is data, a function of the process's own clock t.

Sources: Song et al. 2021 (VP, VE), Karras et al. 2022 (EDM), Liu et al. 2023 (rectified flow), Nichol & Dhariwal 2021
(cosine), IR-SDE / MRS 2025 (mean-reverting), Yue et al. 2023 (residual shift), Albergo et al. 2023 (interpolants),
Xu et al. 2023 (PFGM++: Student-t law).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property, partial
from numbers import Integral
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from shared.point import Point, Slopes

if TYPE_CHECKING:
    from shared.noise import Noise

__all__ = [
    "Gaussian",
    "Number",
    "Point",
    "Process",
    "Schedule",
    "StudentT",
    "Table",
    "bridge",
    "edm",
    "flow",
    "lin",
    "mean_reverting",
    "plain",
    "residual_shift",
    "shaped",
    "ve",
    "vp",
    "vp_betas",
    "with_law",
]

Schedule = Callable[[Tensor], Tensor]


Number = float | Tensor
"""A coefficient: a plain number, or float64 on the CPU of shape (), (B,) or (1, D)."""


def lin(*terms: tuple[Number, Tensor]) -> Tensor:
    """sum_i k_i x_i: the only place where coefficients meet states.

    k_i is a number or a float64 CPU tensor of shape () (multiplies as it is: no copy to the device, no promotion), (B,)
    (one a row) or (1, D) (one an entry of a flat state); x_i is (B, ...). The result has the dtype and device of the
    states.
    """
    if not terms:
        raise ValueError("lin needs at least one (coefficient, state) pair")
    k, x = terms[0]
    total = x * (k if isinstance(k, float) else shaped(k, x))  # our own: what follows is added in place
    for k, x in terms[1:]:
        if total.shape != x.shape:
            total = total + x * shaped(k, x)
        elif isinstance(k, float):
            total.add_(x, alpha=k)  # one pass over memory
        else:
            total.add_(x * shaped(k, x))
    return total


def shaped(k: Number, x: Tensor) -> Number:
    """The coefficient k, a number, () or (B,) or (1, D), in a shape, dtype and device that multiplies x (B, ...)."""
    if isinstance(k, float) or k.ndim == 0:
        return k
    if k.ndim == 1 and k.shape[0] != x.shape[0]:
        raise ValueError(f"a coefficient for {k.shape[0]} rows meets a state of {x.shape[0]} rows")
    k = k.to(device=x.device, dtype=x.dtype)
    return k.reshape(-1, *(1,) * (x.ndim - 1)) if k.ndim == 1 else k


def plain(k: Tensor) -> Number:
    """A coefficient of shape () as a number, which every operation takes faster; others as they are."""
    return float(k) if k.ndim == 0 else k


@dataclass(frozen=True)
class Gaussian:
    """n ~ N(0, I)."""

    def scale(self, noise: Noise, k: int, like: Tensor) -> Tensor | None:
        """Factor (B, 1, ...) that turns a normal draw into a draw of the law; None stands for 1."""
        return None


@dataclass(frozen=True)
class StudentT:
    """Multivariate Student-t with `dof` degrees of freedom: n = z / sqrt(chi2_dof / dof), one chi-square a row.

    The PFGM++ kernel with D = dof; dof to infinity is the Gaussian. The ODE is the same for every scale family, but
    there is no Gaussian score, hence no ancestral step and no jump.
    """

    dof: int

    def __post_init__(self) -> None:
        if not issubclass(type(self.dof), Integral) or self.dof < 1:
            raise ValueError(f"degrees of freedom must be a whole number >= 1, got {self.dof}")

    def scale(self, noise: Noise, k: int, like: Tensor) -> Tensor:
        """Factor (B, 1, ...) that turns a normal draw into a draw of the law."""
        rows = like.new_empty((like.shape[0], self.dof))
        chi2 = noise.draw(k, rows, tag="law").square().sum(1)
        return (self.dof / chi2).sqrt().reshape(-1, *(1,) * (like.ndim - 1))


@dataclass(frozen=True)
class Process:
    """x_t = a x0 + b y + sigma n, with n from `law`; ends = (clean time, noisy time) of the clock."""

    a: Schedule
    sigma: Schedule
    b: Schedule | None = None
    law: Gaussian | StudentT = Gaussian()
    ends: tuple[float, float] = (0.0, 1.0)
    name: str = "process"

    def at(self, t: Tensor | float) -> Point:
        """Coefficients at time t, () or (B,), whatever float64 can hold; derivatives by autograd, when asked for."""
        t = torch.as_tensor(t, dtype=torch.float64, device="cpu").detach()
        low, high = min(self.ends), max(self.ends)
        if not low - 1e-12 <= t.min().item() <= t.max().item() <= high + 1e-12:
            raise ValueError(f"time {t.tolist()} lies outside [{low}, {high}] of the {self.name} process")
        with torch.no_grad():
            a, sigma = self._value(self.a, t), self._value(self.sigma, t)
            b = self._value(self.b, t) if self.b else torch.zeros_like(t)
        return Point(t, a, b, sigma, partial(self._derivatives, t))

    @staticmethod
    def _value(schedule: Schedule, t: Tensor) -> Tensor:
        value = schedule(t)
        return (value if value.shape == t.shape else torch.broadcast_to(value, t.shape)).double()

    def _derivatives(self, t: Tensor) -> Slopes:
        db = _derivative(self.b, t) if self.b else torch.zeros_like(t)
        return _derivative(self.a, t), db, _derivative(self.sigma, t)

    def join(self, x0: Tensor, eps: Tensor, at: Point, y: Tensor | None = None) -> Tensor:
        """a x0 + b y + sigma eps."""
        return lin((at.a, x0), (at.sigma, eps), *self._known(at, y))

    def shifted(self, x: Tensor, at: Point, y: Tensor | None = None, sign: int = 1) -> Tensor:
        """x - b y (sign=1) or x + b y (sign=-1); x itself where the process has no known end."""
        if self.b is None:
            return x
        ((b, end),) = self._known(at, y)
        return x - sign * (end * shaped(b, end))

    def split(self, x: Tensor, x0: Tensor, at: Point, y: Tensor | None = None) -> Tensor:
        """eps = (x - b y - a x0) / sigma; raises where sigma = 0."""
        if at.noiseless:
            raise ValueError(f"no noise can be told apart at t = {at.t.tolist()}, where sigma = 0")
        return lin((1 / at.sigma, self.shifted(x, at, y)), (-at.a / at.sigma, x0))

    def jump(self, x: Tensor, at: Point, to: Point, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Back up in noise: r u + sqrt(sigma_to^2 - r^2 sigma_at^2) z + b_to y, r = a_to / a_at, u = x - b_at y.

        Gaussian law only; `to` must be noisier than `at`, and z ~ N(0, I).
        """
        if not isinstance(self.law, Gaussian):
            raise ValueError("only a Gaussian process can jump back up in noise")
        if at.signalless:
            raise ValueError(f"cannot jump from t = {at.t.tolist()}, where a = 0")
        r = to.a / at.a
        variance = to.sigma**2 - (r * at.sigma) ** 2
        if bool((variance < -1e-12 * to.sigma**2).any()):
            raise ValueError(f"a jump goes up in noise; t = {at.t.tolist()} to {to.t.tolist()} goes down")
        up = lin((r, self.shifted(x, at, y)), (variance.clamp_min(0).sqrt(), z))
        return self.shifted(up, to, y, sign=-1)

    def prior(self, at: Point, z: Tensor, y: Tensor | None = None) -> Tensor:
        """b y + sigma z: the start of a run at a point where a is (nearly) 0; z already drawn from the law."""
        return lin((at.sigma, z), *self._known(at, y))

    def t_of(self, log_snr: Tensor) -> Tensor:
        """The time at which log(a / sigma) has the given value, by bisection to float64 precision."""
        target = torch.as_tensor(log_snr, dtype=torch.float64)
        clean = torch.full_like(target, self.ends[0])
        noisy = torch.full_like(target, self.ends[1])
        for _ in range(200):
            middle = (clean + noisy) / 2
            above = torch.log(self.a(middle)) - torch.log(self.sigma(middle)) > target  # still cleaner than wanted
            clean, noisy = torch.where(above, middle, clean), torch.where(above, noisy, middle)
        return (clean + noisy) / 2

    def _known(self, at: Point, y: Tensor | None) -> tuple[tuple[Tensor, Tensor], ...]:
        if self.b is None:
            return ()
        if y is None:
            raise ValueError(f"the {self.name} process has a known end: pass y")
        return ((at.b, y),)


def _derivative(schedule: Schedule, t: Tensor) -> Tensor:
    """d schedule / dt, by autograd."""
    with torch.enable_grad():
        t = t.detach().clone().requires_grad_()
        value = schedule(t)
        if not value.requires_grad:  # a constant schedule
            return torch.zeros_like(t).detach()
        (derivative,) = torch.autograd.grad(value.sum(), t)
    return derivative.detach()


def _ones(t: Tensor) -> Tensor:
    return torch.ones_like(t)


# ------------------------------------------------------------------------------------------------ variance preserving


@dataclass(frozen=True)
class Table:
    """A quantity given at whole levels 0..T, linear in between; t counts levels, level 0 is clean."""

    at_level: tuple[float, ...]

    @cached_property
    def values(self) -> Tensor:
        return torch.tensor(self.at_level, dtype=torch.float64)

    def __call__(self, t: Tensor) -> Tensor:
        low = t.detach().floor().clamp(0, len(self.at_level) - 2).long()
        left, right = self.values.take(low), self.values.take(low + 1)
        return left + (t - low) * (right - left)


def vp_betas(betas: Tensor, name: str = "vp") -> Process:
    """Variance preserving from the betas (T,) of a network's training: a(t)^2 = prod_{s <= t} (1 - beta_s).

    Clock 0..T, level 0 is clean; log a is linear between whole levels. Every beta lies in [0, 1).
    """
    if betas.ndim != 1 or len(betas) == 0:
        raise ValueError(f"betas are one a level, (T,) with T >= 1, got shape {tuple(betas.shape)}")
    strange = betas[~((betas >= 0) & (betas < 1))]
    if len(strange):
        raise ValueError(
            f"every beta lies in [0, 1), got {strange[0].item():g}; a table with zero signal at its end ends at 0.9999"
        )
    log_bar = torch.cat([torch.zeros(1, dtype=torch.float64), torch.log1p(-betas.double()).cumsum(0)])
    table = Table(tuple(log_bar.tolist()))
    return Process(
        a=lambda t: torch.exp(table(t) / 2),
        sigma=lambda t: torch.sqrt(-torch.expm1(table(t))),
        ends=(0.0, float(len(betas))),
        name=name,
    )


def vp(schedule: str = "linear", levels: int | None = None, *, low: float = 1e-4, high: float = 0.02) -> Process:
    """Variance preserving, a^2 + sigma^2 = 1.

    schedule="linear", "cosine"   a table of `levels` steps (default 1000), clock 0..levels. Linear: beta from `low` to
                                  `high`, both times 1000 / levels (Ho et al. 2020). Cosine: s = 0.008, betas clipped
                                  at 0.9999 (Nichol & Dhariwal 2021).
    schedule="angle"              a = cos(pi t / 2), sigma = sin(pi t / 2), clock 0..1, exact at both ends.
    """
    if schedule == "angle":
        return Process(
            a=lambda t: torch.sin((1 - t) * math.pi / 2),  # cos(pi t / 2), and exactly 0 at t = 1
            sigma=lambda t: torch.sin(t * math.pi / 2),
            name="vp angle",
        )
    count = levels or 1000
    if schedule == "linear":
        scale = 1000 / count
        return vp_betas(torch.linspace(low * scale, high * scale, count, dtype=torch.float64), "vp linear")
    if schedule == "cosine":
        s = 0.008
        angle = (torch.arange(count + 1, dtype=torch.float64) / count + s) / (1 + s) * math.pi / 2
        bar = torch.cos(angle) ** 2
        return vp_betas((1 - bar[1:] / bar[:-1]).clamp(0, 0.9999), "vp cosine")
    raise ValueError(f"unknown VP schedule {schedule!r}; choose linear, cosine or angle")


# --------------------------------------------------------------------------------------------------- other processes


def ve(low: float = 0.01, high: float = 50.0) -> Process:
    """Variance exploding: a = 1, sigma = low (high / low)^t for t in (0, 1], and sigma(0) = 0 (the clean end)."""
    if not 0 < low < high < math.inf:
        raise ValueError(f"sigma goes from low > 0 up to high, got low = {low} and high = {high}")
    ratio = math.log(high / low)
    return Process(
        a=_ones, sigma=lambda t: torch.where(t == 0, torch.zeros_like(t), low * torch.exp(ratio * t)), name="ve"
    )


def edm(sigma_max: float = 80.0, law: Gaussian | StudentT = Gaussian()) -> Process:
    """a = 1, sigma = t, clock 0..sigma_max (Karras et al. 2022). StudentT(D) makes it PFGM++, r = sigma sqrt(D)."""
    if not 0 < sigma_max < math.inf:
        raise ValueError(f"sigma_max is a finite number > 0, got {sigma_max}")
    return Process(a=_ones, sigma=lambda t: t * 1.0, law=law, ends=(0.0, sigma_max), name="edm")


def flow() -> Process:
    """Rectified flow: a = 1 - t, sigma = t; velocity eps - x0."""
    return Process(a=lambda t: 1 - t, sigma=lambda t: t * 1.0, name="flow")


def mean_reverting(std: float = 50 / 255, final: float = 0.005) -> Process:
    """Mean reverting to y: a = e^{-T(t)}, b = 1 - a, sigma = std sqrt(1 - a^2), clock linear in T, a(1) = `final`."""
    if not (0 < final < 1 and 0 < std < math.inf):
        raise ValueError(f"std > 0 and 0 < final < 1 are wanted, got {std} and {final}")
    rate = -math.log(final)
    return Process(
        a=lambda t: torch.exp(-rate * t),
        b=lambda t: -torch.expm1(-rate * t),
        sigma=lambda t: std * torch.sqrt(-torch.expm1(-2 * rate * t)),
        name="mean reverting",
    )


def residual_shift(steps: int = 15, *, kappa: float = 2.0, power: float = 0.3, min_noise: float = 0.04) -> Process:
    """ResShift: a = 1 - eta, b = eta, sigma = kappa sqrt(eta), levels 0..steps, level 0 clean.

    sqrt(eta_1) = min(min_noise / kappa, min_noise), sqrt(eta_T) = 0.99, and between them
    sqrt(eta_t) = sqrt(eta_1) b0^{beta_t}, beta_t = ((t-1)/(T-1))^power (T-1). Defaults: the 15-step model of the paper.
    """
    first, final = min(min_noise / kappa, min_noise), 0.99
    if steps < 2:
        raise ValueError(f"residual shifting needs at least 2 steps, got {steps}")
    place = (torch.arange(steps, dtype=torch.float64) / (steps - 1)) ** power
    root = first * torch.exp(math.log(final / first) * place)
    table = Table((0.0, *root.tolist()))  # the table holds sqrt(eta): linear between levels
    return Process(
        a=lambda t: 1 - table(t) ** 2,
        b=lambda t: table(t) ** 2,
        sigma=lambda t: kappa * table(t),
        ends=(0.0, float(steps)),
        name="residual shift",
    )


def bridge(std: float = 1.0) -> Process:
    """Brownian bridge between data (t = 0) and a known end y (t = 1): a = 1 - t, b = t, sigma = std sqrt(t (1 - t))."""
    return Process(a=lambda t: 1 - t, b=lambda t: t * 1.0, sigma=lambda t: std * torch.sqrt(t * (1 - t)), name="bridge")


def with_law(process: Process, law: Gaussian | StudentT) -> Process:
    """The same schedules under another noise law."""
    return replace(process, law=law)
