"""From a network to a prediction of the clean value.

A head (shared/heads.py) says what the network was trained to say, once, as coefficients:

    x0 = c_skip (x - b y) + c_y y + c_out network(c_in x, c_time, cond)

and everything else (eps, score, velocity) follows from the process. Samplers and guidance see predictions only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from shared.heads import (
    Coef,
    Coefs,
    Head,
    clock,
    edm_head,
    eps_head,
    pair_head,
    residual_head,
    v_head,
    velocity_head,
    x0_head,
)
from shared.lazy import lazy
from shared.process import Gaussian, Number, Point, Process, lin, shaped

__all__ = [
    "Batched",
    "Coef",
    "Coefs",
    "Cond",
    "Denoiser",
    "Head",
    "Prediction",
    "Prepared",
    "Query",
    "Spent",
    "blended",
    "clock",
    "edm_head",
    "eps_head",
    "pair_head",
    "replace_network",
    "residual_head",
    "v_head",
    "velocity_head",
    "x0_head",
]

Cond = Mapping[str, Tensor]


# -------------------------------------------------------------------------------------------------------- predictions


@dataclass(frozen=True, init=False)
class Prediction:
    """What is believed about the clean value at a state x: x0, eps, score and velocity, each computed when asked for.

    aux    what else the network said (headings, scores, features)
    pair   (velocity, score) of a pair head, where x0 is None
    terms  x0 = sum_i k_i v_i, left as it is until somebody asks for x0: a sampler that mixes x0 with the state adds
           coefficients in place of passing over memory twice
    """

    process: Process
    x: Tensor
    at: Point
    y: Tensor | None
    _x0: Tensor | None
    aux: Mapping[str, Tensor]
    pair: tuple[Tensor, Tensor] | None
    terms: tuple[tuple[Number, Tensor], ...]

    def __init__(
        self,
        process: Process,
        x: Tensor,
        at: Point,
        y: Tensor | None,
        _x0: Tensor | None,
        aux: Mapping[str, Tensor] | None = None,
        pair: tuple[Tensor, Tensor] | None = None,
        terms: tuple[tuple[Number, Tensor], ...] = (),
    ) -> None:
        own = self.__dict__  # see shared/run.py
        own["process"], own["x"], own["at"], own["y"], own["_x0"] = process, x, at, y, _x0
        own["aux"], own["pair"], own["terms"] = {} if aux is None else aux, pair, terms
        if _x0 is not None:
            own["x0"] = _x0
        if process.b is None:
            own["shifted"] = x

    @lazy
    def x0(self) -> Tensor:
        if not self.terms:
            raise ValueError("a pair head says velocity and score only; there is no x0")
        return lin(*self.terms)

    @lazy
    def shifted(self) -> Tensor:
        """u = x - b y."""
        return self.process.shifted(self.x, self.at, self.y)

    def times(self, k: Number) -> list[tuple[Number, Tensor]]:
        """k x0 as terms for `lin`."""
        known = self.__dict__.get("x0")
        if known is None and self.terms:
            return [(k * own, value) for own, value in self.terms]
        return [(k, self.x0 if known is None else known)]

    @lazy
    def eps(self) -> Tensor:
        """(x - b y - a x0) / sigma; raises where sigma = 0."""
        return self.process.split(self.x, self.x0, self.at, self.y)

    @lazy
    def score(self) -> Tensor:
        """grad log p_t(x) = -eps / sigma; Gaussian law only."""
        if self.pair is not None:
            return self.pair[1]
        if not isinstance(self.process.law, Gaussian):
            raise ValueError("only a Gaussian process turns x0 into a score")
        return lin((-1 / self.at.sigma, self.eps))

    @lazy
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

    def mixed(self, weights: Sequence[Number], values: Sequence[Tensor]) -> Prediction:
        """The same belief with x0 = sum_i weights_i values_i, left as terms."""
        terms = tuple(zip(weights, values, strict=True))
        return Prediction(self.process, self.x, self.at, self.y, None, self.aux, terms=terms)

    def detached(self) -> Prediction:
        """Cut from the autograd graph."""
        x0 = self.x0.detach() if self.pair is None else None
        pair = None if self.pair is None else (self.pair[0].detach(), self.pair[1].detach())
        aux = {name: value.detach() for name, value in self.aux.items()}
        return Prediction(self.process, self.x.detach(), self.at, self.y, x0, aux, pair)


def blended(*parts: tuple[Number, Prediction]) -> Prediction:
    """The last prediction with x0 = sum_i weight_i x0_i, left as terms: what several took from one state adds up."""
    terms: dict[int, tuple[Number, Tensor]] = {}
    for weight, pred in parts:
        for k, value in ((1.0, pred.x0),) if "x0" in pred.__dict__ or not pred.terms else pred.terms:
            place, k = id(value), weight * k
            terms[place] = (terms[place][0] + k if place in terms else k, value)
    last = parts[-1][1]
    return Prediction(last.process, last.x, last.at, last.y, None, last.aux, None, tuple(terms.values()))


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


def check_rows(cond: Cond, rows: int) -> None:
    """Raise unless every entry of a condition has one row, or one a row of the state."""
    for key, value in cond.items():
        if value.ndim == 0 or value.shape[0] not in (1, rows):
            has = f"{value.shape[0]} rows" if value.ndim else "no rows"
            raise ValueError(
                f"the condition {key!r} has {has} for a batch of {rows}; give one row, or one a row of the state"
            )


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
        self._tell: Callable[..., None] | None = getattr(network, "tell", None)

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
            check_rows(cond, rows)
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
        coefs, rows = self.head.coefs(at), x.shape[0]
        for batch in prepared.batches:
            said, aux = self._ask(x, at, coefs, batch, prepared.dtype)
            names = batch.names
            self.spent.calls += len(names)
            if len(names) == 1:
                out[names[0]] = self._read(x, at, y, coefs, said, aux)
                continue
            copies = said.unsafe_chunk(len(names))  # as `chunk`, without the book-keeping of views: nobody writes
            for i, name in enumerate(names):
                part = {key: value[i * rows : (i + 1) * rows] for key, value in aux.items()} if aux else aux
                out[name] = self._read(x, at, y, coefs, copies[i], part)
        return out if len(prepared.batches) < 2 else {name: out[name] for name in prepared.names}

    def _ask(
        self, x: Tensor, at: Point, coefs: Coefs, batch: Batched, weights: torch.dtype | None
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """The network on one copy of the batch a query, in its own dtype; the answer in the state's."""
        own, copies = x.dtype, len(batch.names)
        dtype = weights or own
        x_in = x if coefs.c_in is None else x * shaped(coefs.c_in, x)
        time = coefs.time if dtype == torch.float64 else coefs.single  # half precision confuses levels
        if not x.is_cpu:
            time = time.to(x.device)
        if copies > 1:
            x_in = torch.cat((x_in,) * copies)
            if time.ndim:
                time = torch.cat((time,) * copies)
        rows = x_in.shape[0]
        time = time.expand(rows)
        if own != dtype:
            x_in = x_in.to(dtype)
        if self.max_rows is None or self.max_rows >= rows:
            out, aux = self._call(x_in, time, batch.cond, at, batch, range(rows))
        else:
            parts = []
            for first in range(0, rows, self.max_rows):
                chunk = slice(first, min(first + self.max_rows, rows))
                cond = {key: value[chunk] for key, value in batch.cond.items()}
                parts.append(self._call(x_in[chunk], time[chunk], cond, at, batch, range(chunk.start, chunk.stop)))
            out = torch.cat([part[0] for part in parts])
            aux = {key: torch.cat([part[1][key] for part in parts]) for key in parts[0][1]}
        return out if out.dtype == own else out.to(own), aux

    def _call(
        self, x: Tensor, time: Tensor, cond: Cond, at: Point, batch: Batched, rows: range
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """One launch of the network, with some rows of a batch."""
        if self._tell is not None:
            own = len(batch.branches) // len(batch.names)  # rows of the state
            belongs = [row % own for row in rows]
            if len(rows) == len(batch.branches):
                self._tell(at if at.t.ndim != 1 else at.rows(belongs), batch.branches)
            else:
                self._tell(at, batch.branches[rows.start : rows.stop], belongs)
        if self.autocast is None:
            said = self.network(x, time, cond)
        else:
            with torch.autocast(x.device.type, self.autocast):
                said = self.network(x, time, cond)
        self.spent.batches += 1
        return said if isinstance(said, tuple) else (said, {})

    def _read(
        self, x: Tensor, at: Point, y: Tensor | None, coefs: Coefs, said: Tensor, aux: Mapping[str, Tensor]
    ) -> Prediction:
        c_skip, c_out = coefs.c_skip, coefs.c_out
        if self.head.pair:
            velocity, score = said.chunk(2, dim=1)
            return Prediction(self.process, x, at, y, None, aux, (velocity, score))
        if c_out is None and c_skip is None and coefs.c_y is None:
            return Prediction(self.process, x, at, y, said, aux)
        last = (1.0 if c_out is None else c_out, said)
        terms = (last,) if c_skip is None else ((c_skip, self.process.shifted(x, at, y)), last)
        if coefs.c_y is not None and (y is not None or self.process.b is not None):
            if y is None:
                raise ValueError(f"the {self.head.name} head needs the known end y")
            terms = (*terms, (coefs.c_y, y))
        return Prediction(self.process, x, at, y, None, aux, None, terms)

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
