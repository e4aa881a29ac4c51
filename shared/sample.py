"""The loop: one way to run any process x head x sampler x guidance.

A move of the route goes law -> noise -> sampler.step { predict -> combine -> energy -> correct } -> apply -> after ->
observers. A jump goes noise -> process.jump -> after -> observers and asks no network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from shared.capabilities import Part, fit
from shared.denoiser import Cond, Denoiser, Prediction, Query
from shared.grid import Grid
from shared.noise import Noise
from shared.process import Gaussian, Point, Process, lin
from shared.run import Evaluation, Guidance, Observer, Own, RunState, Sampler, Step

MAIN = "main"


# --------------------------------------------------------------------------------------------------------------- ask


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
        self.memory: Mapping[str, Own] = {}
        self._position = 0

    def __call__(self, x: Tensor, at: Point, step: Step | None = None) -> Evaluation:
        """One guided evaluation at state x (B, ...) and point `at`."""
        acting = [(key(i, g), g) for i, g in enumerate(self.guidance) if g.active(at)]
        if step is None:
            if any("law" in g.needs for _, g in acting):
                raise ValueError("a guidance that needs the law of a step cannot act in a solver")
            self._position += 1
            step = self._neutral(self._position, at)
        through = any(g.grad == "x" for _, g in acting)
        with torch.set_grad_enabled(through):
            x_in = x.detach().requires_grad_() if through else x
            named = self._predict(x_in, at, [g for _, g in acting])
            pred = named[MAIN]
            for name, g in acting:
                pred = g.combine(named, pred, step, self._own(name))
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
        return Step(process, self.y, k, 0, 0, at, at, "solver", False, None, None, _drawer(self.noise, k))

    def _own(self, name: str) -> Own:
        return self.memory.get(name, {})

    def _predict(self, x: Tensor, at: Point, acting: Sequence[Guidance]) -> dict[str, Prediction]:
        out: dict[str, Prediction] = {}
        for denoiser, queries in plan(self.denoiser, acting, self.cond).items():
            out.update(denoiser.predict(x, at, queries, self.y))
        return out

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


def _drawer(noise: Noise, k: int) -> Callable[[str, Tensor], Tensor]:
    return lambda tag, like: noise.draw(k, like, tag=tag)


# -------------------------------------------------------------------------------------------------------------- loop


def sample(
    denoiser: Denoiser,
    sampler: Sampler,
    grid: Grid,
    *,
    noise: Noise,
    x: Tensor | None = None,
    cond: Cond | None = None,
    y: Tensor | None = None,
    guidance: Sequence[Guidance] = (),
    run: RunState | None = None,
    stop: int | None = None,
    observers: Sequence[Observer] = (),
    shape: Sequence[int] | None = None,
    dtype: torch.dtype | None = None,
    device: torch.device | str | None = None,
) -> RunState:
    """Run a sampler over a grid and return the state it ends in (`.x` is the sample).

    x       the start (B, ...); None draws the prior b y + sigma n at the first point, of `shape` (or y's), `dtype`
            (default float32) and `device`
    cond    mapping of batch-first tensors, None for no condition;  y  the known end of the process
    run     a state to go on from (resume); its continuation is bit-identical to an uninterrupted run
    stop    position of the route to stop at, default its end
    Raises Incompatible or ValueError before the first network call when the parts do not fit.
    """
    check(denoiser, sampler, grid, noise=noise, x=x, cond=cond, y=y, guidance=guidance, run=run, stop=stop)
    stop = len(grid.route) - 1 if stop is None else stop
    y = y if y is not None or run is None else run.y
    with torch.no_grad():
        ask = Ask(denoiser, guidance, cond, y, noise=noise)
        state = run or _start(ask, grid, x, shape, dtype, device, observers)
        while state.k < stop:
            state = _move(ask, sampler, grid, state, observers)
    return state


def _start(
    ask: Ask,
    grid: Grid,
    x: Tensor | None,
    shape: Sequence[int] | None,
    dtype: torch.dtype | None,
    device: torch.device | str | None,
    observers: Sequence[Observer],
) -> RunState:
    first = grid.points[0]
    if x is None:
        like = torch.empty(tuple(shape), dtype=dtype or torch.float32, device=device) if shape is not None else ask.y
        if like is None:
            raise ValueError("pass x, or the shape of the state, so that the prior can be drawn")
        process = grid.process
        x = process.prior(first, _law_noise(process, ask.noise, 0, like, "prior"), ask.y)
    step = Step(grid.process, ask.y, 0, 0, 0, first, first, "start", False, None, None, _drawer(ask.noise, 0))
    return _after(ask, RunState(x, 0, {}, ask.y), step, None, observers)


def _law_noise(process: Process, noise: Noise, k: int, like: Tensor, tag: str) -> Tensor:
    z = noise.draw(k, like, tag=tag)
    scale = process.law.scale(noise, k, like)
    return z if scale is None else z * scale


def _move(ask: Ask, sampler: Sampler, grid: Grid, state: RunState, observers: Sequence[Observer]) -> RunState:
    i, j = grid.route[state.k], grid.route[state.k + 1]
    t, s, k = grid.points[i], grid.points[j], state.k + 1
    ask.memory = state.memory
    last = k == len(grid.route) - 1
    if j < i:
        z = ask.noise.draw(k, state.x, tag="jump")
        x = grid.process.jump(state.x, t, s, z, state.y)
        step = Step(grid.process, state.y, k, i, j, t, s, "jump", last, z, None, _drawer(ask.noise, k))
        memory = {name: own for name, own in state.memory.items() if name != "sampler"}
        return _after(ask, RunState(x, k, memory, state.y), step, None, observers)
    own = state.memory.get("sampler", {})
    law = sampler.law(t, s, grid, own)
    drawn = ask.noise.draw(k, state.x) if "stochastic" in sampler.gives and not s.clean else None
    step = Step(grid.process, state.y, k, i, j, t, s, "step", last, drawn, law, _drawer(ask.noise, k))
    tr = sampler.step(ask, state.x, step, grid, own)
    if tr.first.grad is not None:
        tr = replace(tr, x=tr.x - tr.first.grad)
    return _after(ask, RunState(tr.x, k, {**state.memory, "sampler": tr.own}, state.y), step, tr, observers)


def _after(ask: Ask, state: RunState, step: Step, tr: object, observers: Sequence[Observer]) -> RunState:
    x, memory = state.x, dict(state.memory)
    for i, g in enumerate(ask.guidance):
        if g.active(step.s):
            name = key(i, g)
            x, own = g.after(x, step, tr, memory.get(name, {}))  # type: ignore[arg-type]
            if own or name in memory:
                memory[name] = own
    state = RunState(x, state.k, memory, state.y)
    for observer in observers:
        before = x._version
        observer(replace(state, x=x.detach()), step, tr)  # type: ignore[arg-type]
        if x._version != before:
            raise RuntimeError(f"an observer wrote into the state at position {state.k}; observers only look")
    return state


# ------------------------------------------------------------------------------------------------------ check and cost


@dataclass(frozen=True)
class Cost:
    """Work of a run, per sample: calls (one a query and evaluation), batches (network launches), backprops."""

    calls: int
    batches: int
    backprops: int


def cost(
    denoiser: Denoiser, sampler: Sampler, grid: Grid, *, cond: Cond | None = None, guidance: Sequence[Guidance] = ()
) -> Cost:
    """What `sample` will spend with these arguments, known before any call (batches: with max_rows unset)."""
    calls = batches = backprops = 0
    for i, j in zip(grid.route, grid.route[1:], strict=False):
        if j < i:
            continue
        t, s = grid.points[i], grid.points[j]
        for at in (t, s)[: sampler.evaluations(t, s)]:
            acting = [g for g in guidance if g.active(at)]
            for asked, queries in plan(denoiser, acting, cond).items():
                calls += len(queries)
                batches += len(
                    {_shapes(query.cond if query.cond is not None else asked.null) for query in queries.values()}
                )
            backprops += len({g.applies for g in acting if g.grad == "x"})
    return Cost(calls, batches, backprops)


def _shapes(cond: Cond | None) -> tuple[tuple[str, tuple[int, ...]], ...]:
    return tuple(sorted((name, tuple(value.shape[1:])) for name, value in (cond or {}).items()))


def parts(denoiser: Denoiser, sampler: Sampler, grid: Grid, guidance: Sequence[Guidance]) -> list[Part]:
    """What every part of a run needs, gives and voids."""
    gaussian = isinstance(grid.process.law, Gaussian)
    process_gives = {
        word for word, holds in (("gaussian", gaussian), ("known_end", grid.process.b is not None)) if holds
    }
    denoiser_gives = set(denoiser.gives) | {"pair" if denoiser.head.pair else "x0"}
    if gaussian and denoiser.coupling == "independent":
        denoiser_gives.add("true_score")
    grid_needs = {"gaussian"} if grid.has_jumps else set()
    if grid.direction == "encode":
        grid_needs.add("deterministic")
    out = [
        Part(f"the {grid.process.name} process", gives=frozenset(process_gives)),
        Part("the denoiser", gives=frozenset(denoiser_gives)),
        Part("the grid's route" if grid.has_jumps else f"the {grid.direction} grid", needs=frozenset(grid_needs)),
        Part(type(sampler).__name__, needs=sampler.needs, gives=sampler.gives),
    ]
    for g in guidance:
        extra = {"true_score", "differentiable", "x0"} if g.grad == "x" else {"x0"} if g.grad == "x0" else set()
        out.append(Part(type(g).__name__, needs=g.needs | extra, gives=g.gives, voids=g.voids))
    return out


def check(
    denoiser: Denoiser,
    sampler: Sampler,
    grid: Grid,
    *,
    noise: Noise,
    x: Tensor | None = None,
    cond: Cond | None = None,
    y: Tensor | None = None,
    guidance: Sequence[Guidance] = (),
    run: RunState | None = None,
    stop: int | None = None,
) -> None:
    """Raise before the first call when the parts of a run do not fit, in a sentence with the remedy."""
    for known in (denoiser, *plan(denoiser, guidance, cond)):
        if not _same(known.process, grid):
            raise ValueError(
                f"the grid walks a {grid.process.name} process, the denoiser knows {known.process.name}, and they "
                "differ in a, b, sigma or the noise law on this grid; make the grid from the denoiser's process"
            )
    if grid.process.b is not None and y is None and (run is None or run.y is None):
        raise ValueError(f"the {grid.process.name} process has a known end: pass y")
    fit(parts(denoiser, sampler, grid, guidance))
    if grid.direction == "encode" and (grid.points[0].noiseless or grid.points[-1].noiseless):
        raise ValueError("encoding needs sigma > 0 at both ends: start the grid a little above the clean end")
    _stands(denoiser, grid)
    for i, j in zip(grid.route, grid.route[1:], strict=False):
        if j > i:
            sampler.law(grid.points[i], grid.points[j], grid, {})
    length = len(grid.route) - 1
    for name, place in (("run.k", run.k if run else 0), ("stop", length if stop is None else stop)):
        if not 0 <= place <= length:
            raise ValueError(f"{name} = {place} lies outside the route 0..{length}")


def _same(process: Process, grid: Grid) -> bool:
    """Whether a process has the coefficients of the grid's own at every point of it."""
    if process is grid.process:
        return True
    low, high = sorted(process.ends)
    if process.law != grid.process.law or bool(((grid.t < low) | (grid.t > high)).any()):
        return False
    mine = process.at(grid.t)
    return all(torch.equal(getattr(mine, name), getattr(grid.whole, name)) for name in ("a", "b", "sigma"))


def _stands(denoiser: Denoiser, grid: Grid) -> None:
    """A head whose coefficients are not finite at a point of the grid cannot be asked there."""
    head = denoiser.head
    coefs = {"c_skip": head.c_skip, "c_out": head.c_out, "c_in": head.c_in, "time": head.c_time}
    finite = {name: torch.isfinite(coef(grid.whole)) for name, coef in coefs.items()}
    asked = sorted({i for i, j in zip(grid.route, grid.route[1:], strict=False) if j > i})
    if all(bool(fine[asked].all()) for fine in finite.values()):
        return
    i = next(i for i in asked if not all(bool(fine[i].all()) for fine in finite.values()))
    bad, at = [name for name, fine in finite.items() if not bool(fine[i].all())], grid.points[i]
    raise ValueError(
        f"the {head.name} head has no finite {' and '.join(bad)} at t = {at.t.tolist()} "
        f"(a = {at.a.tolist()}, sigma = {at.sigma.tolist()}); start nearer to the data, or use another head"
    )
