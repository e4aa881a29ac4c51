"""The loop: one way to run any process x head x sampler x guidance.

A move of the route goes law -> noise -> sampler.step { predict -> combine -> energy -> correct } -> apply -> after ->
weigh -> resample -> observers. A jump goes noise -> process.jump -> after -> observers and asks no network.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from shared.ask import Ask, drawer
from shared.check import Cost, check, cost, parts
from shared.denoiser import Cond, Denoiser
from shared.errors import UserError
from shared.grid import Grid
from shared.noise import Noise
from shared.particles import Particles
from shared.process import Process
from shared.run import Guidance, Observer, RunState, Sampler, Step, Transition

__all__ = ["Ask", "Cost", "check", "cost", "parts", "sample"]

SAMPLER = "sampler"  # its name in RunState.memory
CHECK_EVERY = 16  # moves between two looks at whether the state is finite; a look is one sum


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
    particles: Particles | None = None,
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
    particles   resample the rows of a population by the weights that guidances give (`weigh`); the end has log_z
    run     a state to go on from (resume); its continuation is bit-identical to an uninterrupted run
    stop    position of the route to stop at, default its end
    Raises Incompatible or ValueError before the first network call when the parts do not fit, and UserError when the
    state is found not to be finite: after the first move, every CHECK_EVERY moves, and at the end.
    """
    check(
        denoiser,
        sampler,
        grid,
        noise=noise,
        x=x,
        cond=cond,
        y=y,
        guidance=guidance,
        particles=particles,
        run=run,
        stop=stop,
    )
    stop = len(grid.route) - 1 if stop is None else stop
    y = y if y is not None or run is None else run.y
    with torch.no_grad():
        ask = Ask(denoiser, guidance, cond, y, noise=noise)
        state = run or _start(ask, grid, x, shape, dtype, device, observers)
        if particles is not None and state.log_w is None:
            particles.of(state.x.new_zeros(len(state.x)))  # raises where the batch holds no whole populations
        stochastic = "stochastic" in sampler.gives
        while state.k < stop:
            state = _move(ask, sampler, grid, state, stochastic, particles, observers)
            if state.k == 1 or state.k % CHECK_EVERY == 0 or state.k == stop:
                _finite(state, grid)
    return state


def _finite(state: RunState, grid: Grid) -> None:
    """Raise where the state holds NaN or infinity: one sum, for which any of them is enough."""
    if math.isfinite(state.x.sum(dtype=torch.promote_types(state.x.dtype, torch.float32)).item()):
        return
    if bool(torch.isfinite(state.x).all()):  # a finite state whose sum overflows
        return
    raise UserError(
        f"the state is not finite at position {state.k} of {len(grid.route) - 1} of the run "
        f"(t = {grid.points[grid.route[state.k]].t.tolist()})",
        where="sample",
        remedy="look for NaN in the weights and conditions of the network, compute in float32, or take smaller steps",
    )


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
    step = Step(grid.process, ask.y, 0, 0, 0, first, first, "start", False, None, None, drawer(ask.noise, 0))
    return _after(ask, RunState(x.detach(), 0, {}, ask.y), step, None, observers)


def _law_noise(process: Process, noise: Noise, k: int, like: Tensor, tag: str) -> Tensor:
    z = noise.draw(k, like, tag=tag)
    scale = process.law.scale(noise, k, like)
    return z if scale is None else z * scale


def _move(
    ask: Ask,
    sampler: Sampler,
    grid: Grid,
    state: RunState,
    stochastic: bool,
    particles: Particles | None,
    observers: Sequence[Observer],
) -> RunState:
    process, points, route, memory = grid.process, grid.points, grid.route, state.memory
    k, x, y = state.k + 1, state.x, state.y
    i, j = route[k - 1], route[k]
    t, s = points[i], points[j]
    ask.memory = memory
    last, draw = k == len(route) - 1, drawer(ask.noise, k)
    if j < i:
        z = ask.noise.draw(k, x, tag="jump")
        x = process.jump(x, t, s, z, y)
        step = Step(process, y, k, i, j, t, s, "jump", last, z, None, draw)
        memory = {name: own for name, own in memory.items() if name != SAMPLER}
        return _after(ask, replace(state, x=x, k=k, memory=memory), step, None, observers)
    own = memory.get(SAMPLER, {})
    law = sampler.law(t, s, grid, own)
    drawn = ask.noise.draw(k, x) if stochastic and not s.clean else None
    step = Step(process, y, k, i, j, t, s, "step", last, drawn, law, draw)
    tr = sampler.step(ask, x, step, grid, own)
    if tr.first.grad is not None:
        tr = replace(tr, x=tr.x - tr.first.grad)
    state = RunState(tr.x, k, {**memory, SAMPLER: tr.own}, y, state.log_w, state.log_z)
    if not (ask.guidance or observers or particles):
        return state
    return _after(ask, state, step, tr, observers, particles)


def _after(
    ask: Ask,
    state: RunState,
    step: Step,
    tr: Transition | None,
    observers: Sequence[Observer],
    particles: Particles | None = None,
) -> RunState:
    """after -> weigh -> resample -> observers."""
    acting = ask.acting(step.s)
    if acting.after:
        x, memory = state.x, dict(state.memory)
        for name, g in acting.after:
            x, own = g.after(x, step, tr, memory.get(name, {}))
            if own or name in memory:
                memory[name] = own
        state = RunState(x, state.k, memory, state.y, state.log_w, state.log_z)
    if acting.weighing and tr is not None:
        state = _weigh(acting.weighing, state, step, tr)
    if particles is not None and tr is not None and state.log_w is not None:
        state = _resample(particles, ask.noise, state)
    for observer in observers:
        before = state.x._version
        observer(state, step, tr)
        if state.x._version != before:
            raise RuntimeError(f"an observer wrote into the state at position {state.k}; observers only look")
    return state


def _weigh(weighing: Sequence[tuple[str, Guidance]], state: RunState, step: Step, tr: Transition) -> RunState:
    """Add what the guidances say to the log-weights of the rows."""
    log_w, memory = state.log_w, state.memory
    for name, g in weighing:
        gain, own = g.weigh(state.x, step, tr, memory.get(name, {}))
        if gain is not None:
            log_w = gain if log_w is None else log_w + gain
        if own or name in memory:
            memory = {**memory, name: own}
    return replace(state, log_w=log_w, memory=memory)


def _resample(particles: Particles, noise: Noise, state: RunState) -> RunState:
    """Rows of thin populations become copies of their heavy ones, with all that they remember."""
    if state.log_w is None:
        return state
    drawn = particles.resample(state.log_w, state.k, noise)
    if drawn is None:
        return state
    ancestors, log_w, gained = drawn
    memory = {
        name: {key: value if value.ndim == 0 else value[ancestors] for key, value in own.items()}
        for name, own in state.memory.items()
    }
    log_z = gained if state.log_z is None else state.log_z + gained
    return replace(state, x=state.x[ancestors], memory=memory, log_w=log_w, log_z=log_z)
