"""The guided network, bound to one run: what samplers and solvers call. There is no other way to a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from shared.denoiser import Cond, Denoiser, Prediction, Prepared, Query
from shared.noise import Noise
from shared.process import Point, lin
from shared.run import Evaluation, Guidance, Own, Step

MAIN = "main"

Named = tuple[str, Guidance]
"""A guidance and the name of its memory."""


class Acting:
    """The guidances that act at a point, in their order, and those of them that have a say at each stage of a move.

    through     whether some energy is differentiated through the network
    prepared    by number of rows: what is asked of whom
    """

    def __init__(self, named: Sequence[Named]) -> None:
        self.all = tuple(named)
        self.combining, self.after, self.weighing = (self._saying(stage) for stage in ("combine", "after", "weigh"))
        self.descending = tuple((name, g) for name, g in named if g.grad != "none")
        self.correcting = tuple(sorted(self._saying("correct"), key=lambda item: item[1].projection))
        self.through = any(g.grad == "x" for _, g in named)
        self.prepared: dict[int, list[tuple[Denoiser, Prepared]]] = {}

    def _saying(self, stage: str) -> tuple[Named, ...]:
        """Those with an own method; that of `Guidance` does nothing."""
        neutral = getattr(Guidance, stage)
        return tuple((name, g) for name, g in self.all if getattr(type(g), stage) is not neutral)


class Ask:
    """The guided network, bound to one run: what samplers and solvers call. There is no other way to a network."""

    def __init__(
        self,
        denoiser: Denoiser,
        guidance: Sequence[Guidance] = (),
        cond: Cond | None = None,
        y: Tensor | None = None,
        *,
        noise: Noise,
    ) -> None:
        self.denoiser, self.guidance, self.cond, self.y, self.noise = denoiser, tuple(guidance), cond, y, noise
        self.names = tuple(key(i, g) for i, g in enumerate(self.guidance))
        self.memory: Mapping[str, Own] = {}
        self._position = 0
        self._sets: dict[tuple[bool, ...], Acting] = {}
        self._newest: tuple[Point | None, Acting] = (None, Acting(()))

    def __call__(self, x: Tensor, at: Point, step: Step | None = None) -> Evaluation:
        """One guided evaluation at state x (B, ...) and point `at`."""
        acting = self.acting(at)
        if step is None:
            if any("law" in g.needs for _, g in acting.all):
                raise ValueError("a guidance that needs the law of a step cannot act in a solver")
            self._position += 1
            step = self._neutral(self._position, at)
        x_in = x
        if acting.through:
            with torch.enable_grad():
                x_in = x.detach().requires_grad_()
                named = self._predict(x_in, at, acting)
                named = {name: _evaluated(p) for name, p in named.items()}  # here, where the graph is recorded
                pred = _evaluated(self._combined(named, acting, step))
        elif torch.is_grad_enabled():  # in a solver
            with torch.no_grad():
                named = self._predict(x, at, acting)
                pred = self._combined(named, acting, step)
        else:
            named = self._predict(x, at, acting)
            pred = self._combined(named, acting, step)
        base, grad = pred, None
        if acting.descending:
            pred, grad = self._descend(pred, x_in, at, step, acting.descending)
            base, pred = base.detached(), pred.detached()
            named = {name: value.detached() for name, value in named.items()}
        for name, g in acting.correcting:
            pred = g.correct(pred, step, self._own(name))
        return Evaluation(pred, base, named, grad)

    def acting(self, at: Point) -> Acting:
        """Those of the guidances that act at a point; a step arrives where the next one starts, so it is kept."""
        newest, found = self._newest
        if self.guidance and newest is not at:
            which = tuple([bool(g.active(at)) for g in self.guidance])  # a list is quicker than a generator
            if which not in self._sets:
                self._sets[which] = self._among(which)
            found = self._sets[which]
            self._newest = (at, found)
        return found

    def _neutral(self, k: int, at: Point) -> Step:
        process = self.denoiser.process
        return Step(process, self.y, k, 0, 0, at, at, "solver", False, None, None, drawer(self.noise, k))

    def _own(self, name: str) -> Own:
        return self.memory.get(name, {})

    def _among(self, which: Sequence[bool]) -> Acting:
        named = zip(self.names, self.guidance, strict=True)
        return Acting([one for one, acts in zip(named, which, strict=True) if acts])

    def _predict(self, x: Tensor, at: Point, acting: Acting) -> dict[str, Prediction]:
        """The named predictions; what is asked of whom is worked out once for each set of guidances that act."""
        rows = x.shape[0]
        prepared = acting.prepared.get(rows)
        if prepared is None:
            plans = plan(self.denoiser, [g for _, g in acting.all], self.cond).items()
            prepared = [(asked, asked.prepare(queries, rows, self.y)) for asked, queries in plans]
            acting.prepared[rows] = prepared
        if len(prepared) == 1:
            asked, queries = prepared[0]
            return asked.answer(x, at, queries, self.y)
        return {name: p for asked, queries in prepared for name, p in asked.answer(x, at, queries, self.y).items()}

    def _combined(self, named: Mapping[str, Prediction], acting: Acting, step: Step) -> Prediction:
        pred = named[MAIN]
        for name, g in acting.combining:
            pred = g.combine(named, pred, step, self._own(name))
        return pred

    def _descend(
        self, pred: Prediction, x: Tensor, at: Point, step: Step, energies: Sequence[tuple[str, Guidance]]
    ) -> tuple[Prediction, Tensor | None]:
        """One back-prop a kind: x0 <- x0 - (sigma^2 / a) dE/dx, or x0 - sigma^2 / (a^2 + sigma^2) dE/dx0."""
        moved, grad = pred.x0, None
        own = [(name, g) for name, g in energies if g.grad == "x0"]
        if own:
            with torch.enable_grad():
                leaf = pred.x0.detach().requires_grad_()
                total = torch.stack(
                    [g.energy(pred.with_x0(leaf), step, self._own(name)).sum() for name, g in own]
                ).sum()
                (down,) = torch.autograd.grad(total, leaf)
            moved = moved - lin((at.sigma**2 / (at.a**2 + at.sigma**2), down))
        for applies in ("score", "step"):
            own = [(name, g) for name, g in energies if g.grad == "x" and g.applies == applies]
            if not own:
                continue
            with torch.enable_grad():
                (down,) = torch.autograd.grad(self._energy(own, pred, step), x, retain_graph=applies == "score")
            self.denoiser.spent.backprops += 1
            if applies == "step":
                grad = down
            else:
                moved = moved - lin((at.sigma**2 / at.a, down))
        return pred.with_x0(moved), grad

    def _energy(self, energies: Sequence[tuple[str, Guidance]], pred: Prediction, step: Step) -> Tensor:
        return torch.stack([g.energy(pred, step, self._own(name)).sum() for name, g in energies]).sum()


def _evaluated(pred: Prediction) -> Prediction:
    """The same prediction with its terms added up."""
    return pred if pred.pair is not None else pred.with_x0(pred.x0)


def plan(denoiser: Denoiser, acting: Sequence[Guidance], cond: Cond | None) -> dict[Denoiser, dict[str, Query]]:
    """The predictions of one evaluation, by denoiser. The same name with the same Query is one call."""
    wanted: dict[str, Query] = {MAIN: Query(cond)}
    for g in acting:
        for name, query in g.queries(cond).items():
            if name in wanted and not wanted[name].same(query):
                raise ValueError(f"two guidances ask for different predictions under the name {name!r}")
            wanted.setdefault(name, query)
    out: dict[Denoiser, dict[str, Query]] = {}
    for name, query in wanted.items():
        out.setdefault(query.denoiser or denoiser, {})[name] = query
    return out


def key(index: int, guidance: Guidance) -> str:
    """The name of a guidance's memory in RunState."""
    return f"{index} {type(guidance).__name__}"


def drawer(noise: Noise, k: int) -> Callable[[str, Tensor], Tensor]:
    return lambda tag, like: noise.draw(k, like, tag=tag)
