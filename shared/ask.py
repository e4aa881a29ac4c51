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
        self._prepared: dict[tuple[int, frozenset[str]], list[tuple[Denoiser, Prepared]]] = {}

    def __call__(self, x: Tensor, at: Point, step: Step | None = None) -> Evaluation:
        """One guided evaluation at state x (B, ...) and point `at`."""
        acting = [(name, g) for name, g in zip(self.names, self.guidance, strict=True) if g.active(at)]
        if step is None:
            if any("law" in g.needs for _, g in acting):
                raise ValueError("a guidance that needs the law of a step cannot act in a solver")
            self._position += 1
            step = self._neutral(self._position, at)
        if not acting and not torch.is_grad_enabled():  # inside `sample`
            named = self._predict(x, at, acting)
            return Evaluation(named[MAIN], named[MAIN], named)
        through = any(g.grad == "x" for _, g in acting)
        with torch.set_grad_enabled(through):
            x_in = x.detach().requires_grad_() if through else x
            named = self._predict(x_in, at, acting)
            if through:  # clean values are worked out here, where the graph is recorded
                named = {name: _evaluated(p) for name, p in named.items()}
            pred = named[MAIN]
            for name, g in acting:
                pred = g.combine(named, pred, step, self._own(name))
            pred = _evaluated(pred) if through else pred
        base, grad = pred, None
        energies = [(name, g) for name, g in acting if g.grad != "none"]
        if energies:
            pred, grad = self._descend(pred, x_in, at, step, energies)
            base, pred = base.detached(), pred.detached()
            named = {name: value.detached() for name, value in named.items()}
        for name, g in sorted(acting, key=lambda item: item[1].projection):
            pred = g.correct(pred, step, self._own(name))
        return Evaluation(pred, base, named, grad)

    def _neutral(self, k: int, at: Point) -> Step:
        process = self.denoiser.process
        return Step(process, self.y, k, 0, 0, at, at, "solver", False, None, None, drawer(self.noise, k))

    def _own(self, name: str) -> Own:
        return self.memory.get(name, {})

    def _predict(self, x: Tensor, at: Point, acting: Sequence[tuple[str, Guidance]]) -> dict[str, Prediction]:
        """The named predictions; what is asked of whom is worked out once for each set of guidances that act."""
        rows = x.shape[0]
        which = (rows, frozenset(name for name, _ in acting))
        prepared = self._prepared.get(which)
        if prepared is None:
            plans = plan(self.denoiser, [g for _, g in acting], self.cond).items()
            prepared = [(asked, asked.prepare(queries, rows, self.y)) for asked, queries in plans]
            self._prepared[which] = prepared
        if len(prepared) == 1:
            asked, queries = prepared[0]
            return asked.answer(x, at, queries, self.y)
        return {name: p for asked, queries in prepared for name, p in asked.answer(x, at, queries, self.y).items()}

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
