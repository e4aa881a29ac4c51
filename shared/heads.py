"""What a network was trained to say, once, as coefficients:

x0 = c_skip (x - b y) + c_y y + c_out network(c_in x, c_time, cond)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.lazy import lazy
from shared.process import Number, Point, Process, lin, plain

Coef = Callable[[Point], Tensor]


def _zero(at: Point) -> Tensor:
    return torch.zeros_like(at.t)


def _one(at: Point) -> Tensor:
    return torch.ones_like(at.t)


def clock(at: Point) -> Tensor:
    """The process's own time, the default network time."""
    return at.t


@dataclass(frozen=True, eq=False)
class Coefs:
    """A head's coefficients at one point; None where one is neutral (1 for c_in and c_out, 0 for the others).

    time, single   what the network is told, in float64 and in float32
    """

    time: Tensor
    single: Tensor
    c_in: Number | None = None
    c_out: Number | None = None
    c_skip: Number | None = None
    c_y: Number | None = None


class _Entry(Coefs):
    """Those of one point of a grid; networks in float64 are rare, and their time is made where one asks for it."""

    times: Tensor
    place: int

    def __init__(self, times: Tensor, place: int, single: Tensor, numbers: Iterable[tuple[str, float]]) -> None:
        own = self.__dict__
        own["times"], own["place"], own["single"] = times, place, single
        own.update(numbers)

    time = lazy(lambda entry: entry.times[entry.place])


@dataclass(frozen=True)
class Head:
    """Coefficients of x0 = c_skip (x - b y) + c_y y + c_out network(c_in x, c_time).

    pair=True: the network returns velocity and score stacked on axis 1, and there is no x0 (two-sided interpolants).
    """

    name: str
    c_skip: Coef = _zero
    c_out: Coef = _one
    c_in: Coef = _one
    c_time: Coef = clock
    c_y: Coef | None = None
    pair: bool = False

    def coefs(self, at: Point) -> Coefs:
        """The coefficients at a point, computed once; see `over`."""
        found: Coefs | None = at.memo.get((id(self), at.place))
        if found is None:
            found = at.memo[id(self), at.place] = self._plain(self._tensors(at))
            at.memo[id(self)] = self  # as long as it is here, nobody else has its id
        return found

    def over(self, whole: Point, points: Sequence[Point]) -> dict[str, Tensor]:
        """The coefficients at all points of a grid together, {name: (n, ...)}, and each point's in its memo."""
        tensors = self._tensors(whole)
        if whole.t.ndim == 1:
            times, me, memo, place = tensors["time"], id(self), whole.memo, whole.place
            names = [name for name in tensors if name != "time"]
            numbers = zip(*(tensors[name].tolist() for name in names), strict=True) if names else ((),) * len(points)
            for i, (single, row) in enumerate(zip(times.float().unbind(0), numbers, strict=True)):
                memo[me, (*place, i)] = _Entry(times, i, single, zip(names, row, strict=True))
            memo[me] = self
        return tensors

    def _tensors(self, at: Point) -> dict[str, Tensor]:
        """Those that are not neutral."""
        named = {"c_in": self.c_in, "c_out": self.c_out, "c_skip": self.c_skip, "c_y": self.c_y}
        found = {name: coef(at) for name, coef in named.items() if coef not in (None, NEUTRAL[name])}
        return found | {"time": self.c_time(at)}

    def _plain(self, tensors: Mapping[str, Tensor]) -> Coefs:
        numbers = {name: plain(value) for name, value in tensors.items() if name != "time"}
        return Coefs(tensors["time"], tensors["time"].float(), **numbers)

    def target(self, x: Tensor, x0: Tensor, at: Point, y: Tensor | None, process: Process) -> Tensor:
        """What the network should have said: (x0 - c_skip (x - b y) - c_y y) / c_out."""
        terms = [(1 / self.c_out(at), x0), (-self.c_skip(at) / self.c_out(at), process.shifted(x, at, y))]
        if self.c_y is not None and y is not None:
            terms.append((-self.c_y(at) / self.c_out(at), y))
        return lin(*terms)


NEUTRAL: dict[str, Coef | None] = {"c_in": _one, "c_out": _one, "c_skip": _zero, "c_y": None}


def x0_head(time: Coef = clock) -> Head:
    """The network says x0."""
    return Head("x0", c_time=time)


def eps_head(time: Coef = clock) -> Head:
    """The network says eps: x0 = (u - sigma eps) / a. Blows up where a = 0."""
    return Head("eps", c_skip=lambda p: 1 / p.a, c_out=lambda p: -p.sigma / p.a, c_time=time)


def v_head(time: Coef = clock) -> Head:
    """The network says v = a eps - sigma x0 (Salimans & Ho 2022): x0 = (a u - sigma v) / (a^2 + sigma^2)."""

    def norm(p: Point) -> Tensor:
        return p.a**2 + p.sigma**2

    return Head("v", c_skip=lambda p: p.a / norm(p), c_out=lambda p: -p.sigma / norm(p), c_time=time)


def velocity_head(time: Coef = clock) -> Head:
    """The network says dx/dt = da x0 + db y + dsigma eps (flow matching: eps - x0)."""

    def scale(p: Point) -> Tensor:
        return p.da * p.sigma - p.dsigma * p.a

    return Head(
        "velocity",
        c_skip=lambda p: -p.dsigma / scale(p),
        c_out=lambda p: p.sigma / scale(p),
        c_y=lambda p: -p.sigma * p.db / scale(p),
        c_time=time,
    )


def edm_head(data_std: float = 0.5) -> Head:
    """Karras et al. 2022, with s = sigma / a and d = `data_std`, the standard deviation of the data:

    c_skip = d^2 / (s^2 + d^2) / a, c_out = s d / sqrt(s^2 + d^2), c_in = 1 / sqrt(s^2 + d^2) / a, time = log(s) / 4.
    """

    def s(p: Point) -> Tensor:
        return p.sigma / p.a

    def norm(p: Point) -> Tensor:
        return s(p) ** 2 + data_std**2

    return Head(
        "edm",
        c_skip=lambda p: data_std**2 / norm(p) / p.a,
        c_out=lambda p: s(p) * data_std / norm(p).sqrt(),
        c_in=lambda p: 1 / norm(p).sqrt() / p.a,
        c_time=lambda p: torch.log(s(p)) / 4,
    )


def residual_head(time: Coef = clock) -> Head:
    """The network says y - x0 (ResShift's residual); the process must have a known end."""
    return Head("residual", c_out=lambda p: -_one(p), c_y=_one, c_time=time)


def pair_head(time: Coef = clock) -> Head:
    """The network says velocity and score, stacked on axis 1; there is no x0 (two-sided stochastic interpolants)."""
    return Head("pair", c_time=time, pair=True)
