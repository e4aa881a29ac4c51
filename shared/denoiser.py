"""From a network to a prediction of the clean value.

A head says what the network was trained to say, once, as coefficients:

    x0 = c_skip (x - b y) + c_y y + c_out network(c_in x, c_time, cond)

and everything else (eps, score, velocity) follows from the process. Samplers and guidance see predictions only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from shared.process import Gaussian, Point, Process, lin, shaped

Cond = Mapping[str, Tensor]
Coef = Callable[[Point], Tensor]


def _zero(at: Point) -> Tensor:
    return torch.zeros_like(at.t)


def _one(at: Point) -> Tensor:
    return torch.ones_like(at.t)


def clock(at: Point) -> Tensor:
    """The process's own time, the default network time."""
    return at.t


# ------------------------------------------------------------------------------------------------------------- heads


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

    def target(self, x: Tensor, x0: Tensor, at: Point, y: Tensor | None, process: Process) -> Tensor:
        """What the network should have said: (x0 - c_skip (x - b y) - c_y y) / c_out."""
        terms = [(1 / self.c_out(at), x0), (-self.c_skip(at) / self.c_out(at), process.shifted(x, at, y))]
        if self.c_y is not None and y is not None:
            terms.append((-self.c_y(at) / self.c_out(at), y))
        return lin(*terms)


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


# -------------------------------------------------------------------------------------------------------- predictions


@dataclass(frozen=True)
class Prediction:
    """What is believed about the clean value at a state x: x0, and lazily eps, score and velocity.

    aux   what else the network said (headings, scores, features)
    pair  (velocity, score) of a pair head, where x0 is None
    """

    process: Process
    x: Tensor
    at: Point
    y: Tensor | None
    _x0: Tensor | None
    aux: Mapping[str, Tensor] = field(default_factory=dict)
    pair: tuple[Tensor, Tensor] | None = None

    @property
    def x0(self) -> Tensor:
        if self._x0 is None:
            raise ValueError("a pair head says velocity and score only; there is no x0")
        return self._x0

    @cached_property
    def eps(self) -> Tensor:
        """(x - b y - a x0) / sigma; raises where sigma = 0."""
        return self.process.split(self.x, self.x0, self.at, self.y)

    @cached_property
    def score(self) -> Tensor:
        """grad log p_t(x) = -eps / sigma; Gaussian law only."""
        if self.pair is not None:
            return self.pair[1]
        if not isinstance(self.process.law, Gaussian):
            raise ValueError("only a Gaussian process turns x0 into a score")
        return lin((-1 / self.at.sigma, self.eps))

    @cached_property
    def velocity(self) -> Tensor:
        """dx/dt of the probability-flow ODE: da x0 + db y + dsigma eps."""
        if self.pair is not None:
            return self.pair[0]
        terms = [(self.at.da, self.x0), (self.at.dsigma, self.eps)]
        if self.y is not None:
            terms.append((self.at.db, self.y))
        return lin(*terms)

    def with_x0(self, x0: Tensor) -> Prediction:
        """The same belief with another clean value; eps, score and velocity follow."""
        return Prediction(self.process, self.x, self.at, self.y, x0, self.aux)

    def detached(self) -> Prediction:
        """Cut from the autograd graph."""
        x0 = None if self._x0 is None else self._x0.detach()
        pair = None if self.pair is None else (self.pair[0].detach(), self.pair[1].detach())
        aux = {name: value.detach() for name, value in self.aux.items()}
        return Prediction(self.process, self.x.detach(), self.at, self.y, x0, aux, pair)


@dataclass(frozen=True)
class Query:
    """One prediction that is wanted: under which condition, and from which denoiser (None: the run's own)."""

    cond: Cond | None
    denoiser: Denoiser | None = None

    def same(self, other: Query) -> bool:
        """Whether both ask for the same call."""
        if self.denoiser is not other.denoiser or (self.cond is None) != (other.cond is None):
            return False
        if self.cond is None or other.cond is None or self.cond is other.cond:
            return True
        mine, theirs = self.cond, other.cond
        return mine.keys() == theirs.keys() and all(
            mine[k] is theirs[k] or (mine[k].shape == theirs[k].shape and torch.equal(mine[k], theirs[k])) for k in mine
        )


@dataclass
class Spent:
    """Work done: calls (one a query and evaluation), batches (launches of a network), backprops through a network."""

    calls: int = 0
    batches: int = 0
    backprops: int = 0


# ---------------------------------------------------------------------------------------------------------- denoiser


class Denoiser:
    """A network, the process it was trained on, and the head that reads it.

    network   network(x (rows, ...), time (rows,), cond: mapping) -> (rows, ...), or (that, aux mapping)
    coupling  "independent", or how x0 and eps were paired in training; anything else voids the score
    null      the condition that stands for none; default: no condition at all
    max_rows  largest batch handed to the network at once
    autocast  dtype in which the network computes (bfloat16 where it is faster: shared/precision.py), None as it is
    """

    gives = frozenset({"differentiable"})

    def __init__(
        self,
        network: nn.Module,
        process: Process,
        head: Head,
        *,
        coupling: str = "independent",
        null: Cond | None = None,
        max_rows: int | None = None,
        autocast: torch.dtype | None = None,
    ) -> None:
        self.network, self.process, self.head = network, process, head
        self.coupling, self.null, self.max_rows, self.autocast = coupling, null, max_rows, autocast
        self.spent = Spent()

    def predict(
        self, x: Tensor, at: Point, queries: Mapping[str, Query], y: Tensor | None = None
    ) -> dict[str, Prediction]:
        """One prediction a query, {name: Prediction}. Queries with equal condition shapes share one network batch."""
        groups: dict[Any, list[str]] = {}
        conds: dict[str, Cond] = {}
        for name, query in queries.items():
            cond = query.cond if query.cond is not None else (self.null or {})
            conds[name] = {
                key: value if value.shape[0] == x.shape[0] else value.expand(x.shape[0], *value.shape[1:])
                for key, value in cond.items()
            }
            shapes = tuple((key, value.shape, value.dtype) for key, value in sorted(conds[name].items()))
            groups.setdefault(shapes, []).append(name)
        out: dict[str, Prediction] = {}
        for names in groups.values():
            rows = x.shape[0]
            cond = (
                conds[names[0]]
                if len(names) == 1
                else {key: torch.cat([conds[name][key] for name in names]) for key in conds[names[0]]}
            )
            said, aux = self._ask(x, at, cond, len(names))
            for i, name in enumerate(names):
                part = said if len(names) == 1 else said[i * rows : (i + 1) * rows]
                own = {key: value[i * rows : (i + 1) * rows] for key, value in aux.items()}
                out[name] = self._read(x, at, y, part, own)
            self.spent.calls += len(names)
        return {name: out[name] for name in queries}

    def _ask(self, x: Tensor, at: Point, cond: Cond, copies: int) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The network on `copies` copies of the batch, in its own dtype; the answer in the state's."""
        weight = next((p for p in self.network.parameters() if p.is_floating_point()), None)
        dtype = x.dtype if weight is None else weight.dtype
        rows = x.shape[0]
        x_in = x if self.head.c_in is _one else x * shaped(self.head.c_in(at), x)
        clock_dtype = torch.float64 if dtype == torch.float64 else torch.float32  # half precision confuses levels
        time = self.head.c_time(at).to(device=x.device, dtype=clock_dtype).expand(rows)
        if copies > 1:
            x_in = x_in.repeat(copies, *(1,) * (x.ndim - 1))
            time = time.repeat(copies)
        x_in = x_in.to(dtype)
        size = self.max_rows or rows * copies
        parts = []
        for first in range(0, rows * copies, size):
            chunk = slice(first, first + size)
            with torch.autocast(x.device.type, self.autocast, enabled=self.autocast is not None):
                said = self.network(x_in[chunk], time[chunk], {key: value[chunk] for key, value in cond.items()})
            parts.append(said if isinstance(said, tuple) else (said, {}))
            self.spent.batches += 1
        if len(parts) == 1:
            out, aux = parts[0]
        else:
            out = torch.cat([part[0] for part in parts])
            aux = {key: torch.cat([part[1][key] for part in parts]) for key in parts[0][1]}
        return out.to(x.dtype), aux

    def _read(self, x: Tensor, at: Point, y: Tensor | None, said: Tensor, aux: Mapping[str, Tensor]) -> Prediction:
        head = self.head
        if head.pair:
            velocity, score = said.chunk(2, dim=1)
            return Prediction(self.process, x, at, y, None, aux, (velocity, score))
        terms = [(head.c_out(at), said)]
        if head.c_skip is not _zero:
            terms.append((head.c_skip(at), self.process.shifted(x, at, y)))
        if head.c_y is not None and (y is not None or self.process.b is not None):
            if y is None:
                raise ValueError(f"the {head.name} head needs the known end y")
            terms.append((head.c_y(at), y))
        return Prediction(self.process, x, at, y, lin(*terms), aux)

    def compile(self, **options: Any) -> Denoiser:
        """The same denoiser with its network compiled; attach adapters before."""
        return replace_network(self, torch.compile(self.network, **options))  # type: ignore[arg-type]


def replace_network(denoiser: Denoiser, network: nn.Module) -> Denoiser:
    """The same process, head and options around another network."""
    return Denoiser(
        network,
        denoiser.process,
        denoiser.head,
        coupling=denoiser.coupling,
        null=denoiser.null,
        max_rows=denoiser.max_rows,
        autocast=denoiser.autocast,
    )
