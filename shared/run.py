"""The nouns of a run: what a step is given, what it returns, and what is carried along.

Samplers (`shared/samplers`) and guidances (`shared/guidance`) are written against this page, which
`shared/sample.py` walks. Objects that every step makes fill their own `__dict__`: the `__init__` that is generated for
a frozen dataclass takes three times as long, and a step makes five of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

from torch import Tensor

from shared.denoiser import Cond, Prediction, Query
from shared.grid import Grid
from shared.lazy import lazy
from shared.process import Number, Point, Process, plain

if TYPE_CHECKING:
    from shared.sample import Ask

Own = Mapping[str, Tensor]
"""Memory of one sampler or guidance: 0-dim or batch-first tensors, replaced and never written into."""


@dataclass(frozen=True)
class Law:
    """A transition known before any call: x_s - b_s y = k_x (x_t - b_t y) + k_x0 x0 + std z."""

    k_x: Tensor
    k_x0: Tensor
    std: Tensor

    @lazy
    def numbers(self) -> tuple[Number, Number, Number]:
        """k_x, k_x0 and std as `lin` takes them fastest."""
        return plain(self.k_x), plain(self.k_x0), plain(self.std)

    def unbind(self) -> tuple[Law, ...]:
        """One law for each entry along the first axis of the coefficients."""
        columns = (self.k_x, self.k_x0, self.std)
        if self.k_x.ndim > 1:
            return tuple(Law(*row) for row in zip(*(value.unbind(0) for value in columns), strict=True))
        return tuple(_Entry(self, *row) for row in enumerate(zip(*(value.tolist() for value in columns), strict=True)))


def _part(name: str) -> Any:
    return lazy(lambda entry: getattr(entry.whole, name)[entry.place])


class _Entry(Law):
    """A law of many, whose numbers are known; its tensors are made where somebody asks for them."""

    whole: Law
    place: int

    def __init__(self, whole: Law, place: int, numbers: tuple[float, float, float]) -> None:
        self.__dict__.update(whole=whole, place=place, numbers=numbers)

    k_x, k_x0, std = (_part(name) for name in ("k_x", "k_x0", "std"))


@dataclass(frozen=True, init=False)
class Step:
    """One move of the route, from point t = points[i] to point s = points[j].

    k       position of the route that is arrived at (the start of a run is k = 0)
    move    "start" (the state is just there), "step" (a sampler moves it) or "jump" (back up in noise)
    noise   the standard normal (or law) draw of this move, None where std = 0
    draw    draw(tag, like) -> this move's own noise for a guidance; random guidance takes it from nowhere else
    process, y   of the run
    """

    process: Process
    y: Tensor | None
    k: int
    i: int
    j: int
    t: Point
    s: Point
    move: Literal["start", "step", "jump", "solver"]
    last: bool
    noise: Tensor | None
    law: Law | None
    draw: Callable[[str, Tensor], Tensor]

    def __init__(
        self,
        process: Process,
        y: Tensor | None,
        k: int,
        i: int,
        j: int,
        t: Point,
        s: Point,
        move: Literal["start", "step", "jump", "solver"],
        last: bool,
        noise: Tensor | None,
        law: Law | None,
        draw: Callable[[str, Tensor], Tensor],
    ) -> None:
        own = self.__dict__
        own["process"], own["y"], own["k"], own["i"], own["j"], own["t"], own["s"] = process, y, k, i, j, t, s
        own["move"], own["last"], own["noise"], own["law"], own["draw"] = move, last, noise, law, draw


@dataclass(frozen=True, init=False)
class Evaluation:
    """One guided evaluation of the network.

    guided  what the sampler uses;  base  after combine, before energies and corrections;  named  every query by name
    grad    dE/dx of the energies that act on the step (classic DPS), None without any
    """

    guided: Prediction
    base: Prediction
    named: Mapping[str, Prediction]
    grad: Tensor | None

    def __init__(
        self, guided: Prediction, base: Prediction, named: Mapping[str, Prediction], grad: Tensor | None = None
    ) -> None:
        own = self.__dict__
        own["guided"], own["base"], own["named"], own["grad"] = guided, base, named, grad


@dataclass(frozen=True, init=False)
class Transition:
    """What a sampler made of a step: x = mean + std noise, its first evaluation, and its new memory."""

    x: Tensor
    mean: Tensor
    std: Tensor | None
    noise: Tensor | None
    first: Evaluation
    own: Own

    def __init__(
        self,
        x: Tensor,
        mean: Tensor,
        std: Tensor | None,
        noise: Tensor | None,
        first: Evaluation,
        own: Own | None = None,
    ) -> None:
        fields = self.__dict__
        fields["x"], fields["mean"], fields["std"], fields["noise"] = x, mean, std, noise
        fields["first"], fields["own"] = first, {} if own is None else own


@dataclass(frozen=True, init=False)
class RunState:
    """A run between two moves: x at position k of the route. Everything that is needed to go on, to the bit.

    memory   {"sampler": ..., "0 KnownRegion": ...}: what sampler and guidances keep
    log_w    (B,) accumulated log-weights and log_z (B // group,) estimates of the log of the normalising constant;
             None in a run that nothing weighs
    """

    x: Tensor
    k: int
    memory: Mapping[str, Own]
    y: Tensor | None
    log_w: Tensor | None
    log_z: Tensor | None

    def __init__(
        self,
        x: Tensor,
        k: int = 0,
        memory: Mapping[str, Own] | None = None,
        y: Tensor | None = None,
        log_w: Tensor | None = None,
        log_z: Tensor | None = None,
    ) -> None:
        own = self.__dict__
        own["x"], own["k"], own["memory"] = x, k, {} if memory is None else memory
        own["y"], own["log_w"], own["log_z"] = y, log_w, log_z


class Sampler(Protocol):
    """A frozen dataclass of options that knows how to make one step.

    order   order of convergence (deterministic) or weak order (stochastic), tested against its measured slope
    """

    @property
    def needs(self) -> frozenset[str]: ...
    @property
    def gives(self) -> frozenset[str]: ...
    @property
    def order(self) -> int: ...

    def law(self, t: Point, s: Point, grid: Grid, own: Own) -> Law | None:
        """The transition where it is known beforehand; a filter makes k_x0 that of the newest x0."""
        ...

    def evaluations(self, t: Point, s: Point) -> int:
        """How often `ask` is called in the step from t to s.

        At t, then at s; a sampler that asks elsewhere also has asks(t, s, grid) -> points.
        """
        ...

    def step(self, ask: Ask, x: Tensor, step: Step, grid: Grid, own: Own) -> Transition:
        """Ask evaluations() times, propose, apply the noise; return new memory and change nothing."""
        ...


class Guidance:
    """Base of every guidance: frozen options; each method has a neutral default, write only the ones you need.

    grad          what `energy` is differentiated in: "x0" (no network back-prop), "x" (through the network), or "none"
    applies       "score": the gradient moves x0;  "step": it moves the state after the step (classic DPS)
    projection    `correct` of this guidance comes after all others
    rows_coupled  rows of a batch influence each other, so a batch must not be split
    """

    needs: frozenset[str] = frozenset()
    gives: frozenset[str] = frozenset()
    voids: frozenset[str] = frozenset()
    grad: Literal["none", "x0", "x"] = "none"
    applies: Literal["score", "step"] = "score"
    projection: bool = False
    rows_coupled: bool = False

    def active(self, at: Point) -> bool:
        """Whether this guidance acts at this point, the same answer for the whole batch."""
        return True

    def queries(self, cond: Cond | None) -> dict[str, Query]:
        """Predictions wanted beside "main"."""
        return {}

    def combine(self, named: Mapping[str, Prediction], pred: Prediction, step: Step, own: Own) -> Prediction:
        """Mix predictions (classifier-free guidance, blending)."""
        return pred

    def energy(self, pred: Prediction, step: Step, own: Own) -> Tensor:
        """(B,) negative log-likelihood, strength included, normalisers detached and per sample."""
        raise NotImplementedError(f"{type(self).__name__} states grad={self.grad!r} and has no energy")

    def correct(self, pred: Prediction, step: Step, own: Own) -> Prediction:
        """Change x0 (projection, threshold, soft overwrite)."""
        return pred

    def after(self, x: Tensor, step: Step, tr: Transition | None, own: Own) -> tuple[Tensor, Own]:
        """Change the state; called on every state the run will hold: start and jump (tr is None) and step."""
        return x, own

    def weigh(self, x: Tensor, step: Step, tr: Transition, own: Own) -> tuple[Tensor | None, Own]:
        """(B,) increment of the log-weights after a step (not after a jump), None for none; x is the final state.

        A proposal that guidance changed is paid here: log p - log q of tr.x, by the law of the step and tr.first.base.
        """
        return None, own

    def rewards(self, k: int, last: bool, at: Point) -> int:
        """How many rewards `weigh` computes a row after the step from the point `at` to position k (last: the end)."""
        return 0


Observer = Callable[[RunState, Step, "Transition | None"], None]
"""Sees every state (previews, progress, records, cancel by raising); it must not write into what it sees."""
