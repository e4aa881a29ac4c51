"""From a network to a prediction of the clean value.

A head says what the network was trained to say, once, as coefficients:

    x0 = c_skip (x - b y) + c_y y + c_out network(c_in x, c_time, cond)

and everything else (eps, score, velocity) follows from the process. Samplers and guidance see predictions only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from shared.process import Gaussian, Number, Point, Process, lin, plain, shaped

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
        found: tuple[Head, Coefs] | None = at.memo.get(id(self))
        if found is not None and found[0] is self:
            return found[1]
        coefs = self._plain(self._tensors(at))
        at.memo[id(self)] = (self, coefs)
        return coefs

    def over(self, whole: Point, points: Sequence[Point]) -> dict[str, Tensor]:
        """The coefficients at all points of a grid together, {name: (n, ...)}, and each point's in its memo."""
        tensors = self._tensors(whole)
        if whole.t.ndim == 1:
            numbers = {name: values.tolist() for name, values in tensors.items() if name != "time"}
            times = zip(tensors["time"].unbind(0), tensors["time"].float().unbind(0), strict=True)
            for i, (at, time) in enumerate(zip(points, times, strict=True)):
                at.memo[id(self)] = (self, Coefs(*time, **{name: values[i] for name, values in numbers.items()}))
        return tensors

    def _tensors(self, at: Point) -> dict[str, Tensor]:
        """Those that are not neutral."""
        named = {"c_in": self.c_in, "c_out": self.c_out, "c_skip": self.c_skip, "c_y": self.c_y}
        found = {name: coef(at) for name, coef in named.items() if coef not in (None, NEUTRAL[name])}  # type: ignore[misc]
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
    """One prediction that is wanted: under which condition, and from which denoiser (None: the run's own).

    branch   the name by which adapters know the call: "cond", "null" (the other half of classifier-free guidance), ...
    """

    cond: Cond | None
    denoiser: Denoiser | None = None
    branch: str = "cond"

    def same(self, other: Query) -> bool:
        """Whether both ask for the same call."""
        if self.denoiser is not other.denoiser or self.branch != other.branch:
            return False
        if (self.cond is None) != (other.cond is None):
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


@dataclass(frozen=True, eq=False)
class Batched:
    """Queries that go to the network in one batch, one copy of the state a name; branches has one entry a row."""

    names: tuple[str, ...]
    cond: Cond
    branches: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Prepared:
    """The queries of an evaluation, made ready once a run (`Denoiser.prepare`); dtype is that of the weights."""

    names: tuple[str, ...]
    batches: tuple[Batched, ...]
    dtype: torch.dtype | None


# ---------------------------------------------------------------------------------------------------------- denoiser


class Denoiser:
    """A network, the process it was trained on, and the head that reads it.

    network   network(x (rows, ...), time (rows,), cond: mapping) -> (rows, ...), or (that, aux mapping). Before each
              call a network with a method `tell(at, branches)` is told the point of the process (coefficients () or one
              a row) and the branch of every row of the batch: what adapters need and a network does not
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
        self._tell: Callable[[Point, tuple[str, ...]], None] | None = getattr(network, "tell", None)

    def predict(
        self, x: Tensor, at: Point, queries: Mapping[str, Query], y: Tensor | None = None
    ) -> dict[str, Prediction]:
        """One prediction a query, {name: Prediction}. Queries with equal condition shapes share one network batch."""
        return self.answer(x, at, self.prepare(queries, x.shape[0], y), y)

    def prepare(self, queries: Mapping[str, Query], rows: int, y: Tensor | None = None) -> Prepared:
        """What does not change from step to step: which queries share a batch, and their conditions joined."""
        groups: dict[Any, list[str]] = {}
        conds: dict[str, Cond] = {}
        for name, query in queries.items():
            cond = query.cond if query.cond is not None else (self.null or {})
            conds[name] = {
                key: value if value.shape[0] == rows else value.expand(rows, *value.shape[1:])
                for key, value in cond.items()
            }
            shapes = tuple((key, value.shape, value.dtype) for key, value in sorted(conds[name].items()))
            groups.setdefault(shapes, []).append(name)
        batches = []
        for names in groups.values():
            first = conds[names[0]]
            joined = first if len(names) == 1 else {key: torch.cat([conds[n][key] for n in names]) for key in first}
            branches = tuple(queries[name].branch for name in names for _ in range(rows))
            batches.append(Batched(tuple(names), joined, branches))
        weight = next((p for p in self.network.parameters() if p.is_floating_point()), None)
        return Prepared(tuple(queries), tuple(batches), None if weight is None else weight.dtype)

    def answer(self, x: Tensor, at: Point, prepared: Prepared, y: Tensor | None = None) -> dict[str, Prediction]:
        """`predict` with queries that were prepared for the rows of x."""
        out: dict[str, Prediction] = {}
        rows = x.shape[0]
        for batch in prepared.batches:
            said, aux = self._ask(x, at, batch, prepared.dtype)
            self.spent.calls += len(batch.names)
            if len(batch.names) == 1:
                out[batch.names[0]] = self._read(x, at, y, said, aux)
                continue
            for i, name in enumerate(batch.names):
                part = slice(i * rows, (i + 1) * rows)
                out[name] = self._read(x, at, y, said[part], {key: value[part] for key, value in aux.items()})
        return out if len(prepared.batches) < 2 else {name: out[name] for name in prepared.names}

    def _ask(
        self, x: Tensor, at: Point, batch: Batched, weights: torch.dtype | None
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The network on one copy of the batch a query, in its own dtype; the answer in the state's."""
        dtype, rows, copies = weights or x.dtype, x.shape[0], len(batch.names)
        coefs = self.head.coefs(at)
        x_in = x if coefs.c_in is None else x * shaped(coefs.c_in, x)
        time = coefs.time if dtype == torch.float64 else coefs.single  # half precision confuses levels
        if x.device.type != "cpu":
            time = time.to(x.device)
        time = time.expand(rows)
        if copies > 1:
            x_in = x_in.repeat(copies, *(1,) * (x.ndim - 1))
            time = time.repeat(copies)
        if x_in.dtype != dtype:
            x_in = x_in.to(dtype)
        size = self.max_rows or rows * copies
        if size >= rows * copies:
            out, aux = self._call(x_in, time, batch.cond, at, range(rows * copies), batch)
        else:
            parts = []
            for first in range(0, rows * copies, size):
                chunk = slice(first, min(first + size, rows * copies))
                cond = {key: value[chunk] for key, value in batch.cond.items()}
                parts.append(self._call(x_in[chunk], time[chunk], cond, at, range(chunk.start, chunk.stop), batch))
            out = torch.cat([part[0] for part in parts])
            aux = {key: torch.cat([part[1][key] for part in parts]) for key in parts[0][1]}
        return out if out.dtype == x.dtype else out.to(x.dtype), aux

    def _call(
        self, x: Tensor, time: Tensor, cond: Cond, at: Point, rows: range, batch: Batched
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """One launch of the network, with some rows of a batch."""
        if self._tell is not None:
            own = len(batch.branches) // len(batch.names)  # rows of the state
            here = at if at.t.ndim != 1 else at.rows([row % own for row in rows])
            self._tell(here, batch.branches[rows.start : rows.stop])
        if self.autocast is None:
            said = self.network(x, time, cond)
        else:
            with torch.autocast(x.device.type, self.autocast):
                said = self.network(x, time, cond)
        self.spent.batches += 1
        return said if isinstance(said, tuple) else (said, {})

    def _read(self, x: Tensor, at: Point, y: Tensor | None, said: Tensor, aux: Mapping[str, Tensor]) -> Prediction:
        head, coefs = self.head, self.head.coefs(at)
        if head.pair:
            velocity, score = said.chunk(2, dim=1)
            return Prediction(self.process, x, at, y, None, aux, (velocity, score))
        terms = [] if coefs.c_skip is None else [(coefs.c_skip, self.process.shifted(x, at, y))]
        if coefs.c_out is not None:
            terms.append((coefs.c_out, said))
        if coefs.c_y is not None and (y is not None or self.process.b is not None):
            if y is None:
                raise ValueError(f"the {head.name} head needs the known end y")
            terms.append((coefs.c_y, y))
        if coefs.c_out is None:
            return Prediction(self.process, x, at, y, said + lin(*terms) if terms else said, aux)
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
