"""What can be known of a run before its first network call: whether its parts fit, and what it costs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.ask import plan
from shared.capabilities import Part, fit
from shared.denoiser import Cond, Denoiser, check_rows
from shared.grid import Grid
from shared.noise import Noise
from shared.particles import Particles
from shared.process import Gaussian, Point, Process
from shared.run import Guidance, RunState, Sampler

POPULATIONS = Part("resampling of particles", needs=frozenset({"stochastic"}))  # copies stay copies without noise
ROUTE = "the grid's route"  # the name of a part: a grid that jumps back up in noise


@dataclass(frozen=True)
class Cost:
    """Work of a run, per sample: calls (one a query and evaluation), batches (network launches), backprops, rewards."""

    calls: int
    batches: int
    backprops: int
    rewards: int = 0


def cost(
    denoiser: Denoiser, sampler: Sampler, grid: Grid, *, cond: Cond | None = None, guidance: Sequence[Guidance] = ()
) -> Cost:
    """What `sample` will spend with these arguments, known before any call (batches: with max_rows unset)."""
    calls = batches = backprops = rewards = 0
    end = len(grid.route) - 1
    for k, (i, j) in enumerate(zip(grid.route, grid.route[1:], strict=False), start=1):
        if j < i:
            continue
        t, s = grid.points[i], grid.points[j]
        rewards += sum(g.rewards(k, k == end, t) for g in guidance if g.active(s))
        for at in asked_at(sampler, t, s, grid):
            acting = [g for g in guidance if g.active(at)]
            for asked, queries in plan(denoiser, acting, cond).items():
                calls += len(queries)
                batches += len(
                    {_shapes(query.cond if query.cond is not None else asked.null) for query in queries.values()}
                )
            backprops += len({g.applies for g in acting if g.grad == "x"})
    return Cost(calls, batches, backprops, rewards)


def asked_at(sampler: Sampler, t: Point, s: Point, grid: Grid) -> tuple[Point, ...]:
    """The points at which a step asks: what the sampler's `asks` says, or t and then s."""
    asks = getattr(sampler, "asks", None)
    return asks(t, s, grid) if asks else (t, s)[: sampler.evaluations(t, s)]


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
        Part(ROUTE if grid.has_jumps else f"the {grid.direction} grid", needs=frozenset(grid_needs)),
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
    particles: Particles | None = None,
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
    state = x if x is not None else run.x if run is not None else y
    if state is not None:
        for asked, queries in plan(denoiser, guidance, cond).items():
            for query in queries.values():
                check_rows(query.cond if query.cond is not None else asked.null or {}, len(state))
    fit([*parts(denoiser, sampler, grid, guidance), *([POPULATIONS] if particles is not None else [])])
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
    said = head.over(grid.whole, grid.points)
    if all(math.isfinite(values.sum().item()) for values in said.values()):  # where one is not, the sum is not
        return
    finite = {name: torch.isfinite(values) for name, values in said.items()}
    asked = sorted({i for i, j in zip(grid.route, grid.route[1:], strict=False) if j > i})
    if all(bool(fine[asked].all()) for fine in finite.values()):
        return
    i = next(i for i in asked if not all(bool(fine[i].all()) for fine in finite.values()))
    bad, at = [name for name, fine in finite.items() if not bool(fine[i].all())], grid.points[i]
    raise ValueError(
        f"the {head.name} head has no finite {' and '.join(bad)} at t = {at.t.tolist()} "
        f"(a = {at.a.tolist()}, sigma = {at.sigma.tolist()}); start nearer to the data, or use another head"
    )
