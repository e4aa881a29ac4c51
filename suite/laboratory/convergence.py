"""Error against the number of calls: the chosen sampler beside others, on the same problem.

order    in the smooth middle of the way (log-SNR -1 to 2, from the exact marginal) an error falls like steps^-order:
         for a Gaussian truth the error of mean and covariance of the whole law, computed without sampling, otherwise
         the distance of each path's end from where a much finer run takes it, which only a run without fresh noise has
law      on the whole way with the settings' own grid: distance of the samples from the law, beside the floor
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import torch
from torch import Tensor

from shared.errors import UserError
from shared.grid import Grid, own_times
from shared.noise import Bulk
from shared.oracle import ANY, Mixture
from shared.run import Sampler
from shared.sample import cost, sample
from shared.samplers.named import named
from shared.testing import exact_law, fitted_order, sampling_noise
from suite.laboratory.measures import Wanted, distance, wanted
from suite.laboratory.recipe import Bench, bench

COMPANIONS: Final = ("ddim", "dpmpp_2m", "ddpm")
"""What a sampler is compared with: the first two of these that are not itself and fit."""
NOISY: Final = -1.0
CLEAN: Final = 2.0
ORDER_STEPS: Final = (8, 16, 32, 64)
FINE: Final = 256
PATHS: Final = 32
LAW_STEPS: Final = (2, 4, 8, 16, 32)
LAW_ROWS: Final = 500


@dataclass(frozen=True)
class Curve:
    """A sampler's error at numbers of calls; `slope` is fitted and `declared` what the sampler says, None for none."""

    sampler: str
    calls: tuple[int, ...]
    errors: tuple[float, ...]
    declared: int | None = None
    slope: float | None = None
    chosen: bool = False


@dataclass(frozen=True)
class Convergence:
    """The two charts; `kind` says what the order chart measures: "covariance", "path" or "" for none."""

    order: tuple[Curve, ...]
    law: tuple[Curve, ...]
    kind: str
    floor: float | None
    wanted: str


def convergence(chosen: Bench, report: Callable[[int, int, str], None]) -> Convergence:
    """Measure everything; report(done, total, note) between runs, which may raise Cancelled."""
    benches = companions(chosen)
    law = wanted(chosen)
    kind = _kind(chosen)
    ordered = [one for one in benches if kind == "covariance" or _has_paths(one)]
    places = itertools.count()
    total = len(ordered) * (len(ORDER_STEPS) + 1) + len(benches) * len(LAW_STEPS)
    curves: list[Curve] = []
    finest: dict[str, Tensor] = {}  # by the sampler of the reference: all that end in one place share it
    for one in ordered:
        curve = _order(one, kind, chosen, finest, lambda note: report(next(places), total, note))
        curves += [curve] if curve is not None else []
    laws: list[Curve] = []
    for one in benches:
        if law is None:
            break
        curve = _law(one, law, chosen, lambda note: report(next(places), total, note))
        laws += [curve] if curve is not None else []
    floor = sampling_noise(law.draw, LAW_ROWS) if law is not None else None
    return Convergence(tuple(curves), tuple(laws), kind if curves else "", floor, law.name if law else "")


def companions(chosen: Bench) -> list[Bench]:
    """The chosen sampler, then up to two others that fit the same problem."""
    found = [chosen]
    for name in COMPANIONS:
        if len(found) == 3 or name == chosen.settings.sampler:
            continue
        try:
            found.append(chosen.with_sampler(name))
        except UserError:
            continue
    return found


def _has_paths(one: Bench) -> bool:
    """Whether nothing draws fresh noise, so that each path has one end."""
    return "deterministic" in one.sampler.gives and not any("deterministic" in g.voids for g in one.guidance)


def _kind(chosen: Bench) -> str:
    gaussian = isinstance(chosen.truth, Mixture) and len(chosen.truth.weights) == 1
    return "covariance" if gaussian and chosen.settings.error == 0 else "path"


# --------------------------------------------------------------------------------------------------------------- order


def middle(one: Bench, steps: int) -> Grid:
    """Equal steps of log-SNR through the smooth middle of the way."""
    process = one.denoiser.process
    return own_times(process, process.t_of(torch.linspace(NOISY, CLEAN, steps + 1, dtype=torch.float64)))


def _order(
    one: Bench, kind: str, chosen: Bench, finest: dict[str, Tensor], pause: Callable[[str], None]
) -> Curve | None:
    """None where the sampler cannot walk the middle, or has nothing left to converge to."""
    end = _ended_law if kind == "covariance" else _ended_paths
    note = f"order of {one.settings.sampler}"
    try:
        pause(note)
        best = reference(one.sampler)
        if repr(best) not in finest:
            finest[repr(best)] = end(one, best, middle(one, FINE))
        errors, calls = [], []
        for steps in ORDER_STEPS:
            pause(note)
            grid = middle(one, steps)
            off = end(one, one.sampler, grid) - finest[repr(best)]
            errors.append(float(off.square().sum().sqrt()))
            calls.append(cost(one.denoiser, one.sampler, grid, cond=one.cond(1), guidance=one.guidance).calls)
    except ValueError:
        return None
    if not all(1e-13 < error < 1e6 for error in errors):
        return None
    slope = fitted_order(ORDER_STEPS, errors)
    return Curve(one.settings.sampler, tuple(calls), tuple(errors), one.sampler.order, slope, one is chosen)


def reference(sampler: Sampler) -> Sampler:
    """What the finest run uses: the second-order method of the same kind, which ends where the sampler is going."""
    if "deterministic" in sampler.gives:
        return named("dpmpp_2m")
    return named("dpmpp_2m_sde") if sampler.order > 0 else sampler


def _ended_paths(one: Bench, sampler: Sampler, grid: Grid) -> Tensor:
    """Where PATHS paths end, divided by sqrt(PATHS): the norm of a difference is a root mean square."""
    start, settings, process = grid.points[0], one.settings, one.denoiser.process
    label = settings.label if settings.guide == "label" else ANY
    x0, noise, y = one.truth.draw(PATHS, settings.seed, label), Bulk(settings.seed), one.ends(PATHS)
    eps, scale = noise.draw(0, x0, tag="start"), process.law.scale(noise, 0, x0)
    x = process.join(x0, eps if scale is None else eps * scale, start, y)
    run = sample(one.denoiser, sampler, grid, noise=noise, x=x, cond=one.cond(PATHS), y=y, guidance=one.guidance)
    return run.x / PATHS**0.5


def _ended_law(one: Bench, sampler: Sampler, grid: Grid) -> Tensor:
    """Mean and covariance (6,) at the end of a run on a Gaussian truth: every part is linear, so they are exact."""
    truth, start, y = one.truth, grid.points[0], one.ends(1)
    assert isinstance(truth, Mixture)
    mean = start.a * truth.mean + (0 if y is None else start.b * y[0])
    covariance = start.a**2 * truth.covariance + start.sigma**2 * torch.eye(2, dtype=torch.float64)

    def run(noise: object, x: Tensor) -> Tensor:
        ends = one.ends(len(x))
        return sample(one.denoiser, sampler, grid, noise=noise, x=x, y=ends, guidance=one.guidance).x  # type: ignore[arg-type]

    ended, spread = exact_law(run, mean, covariance)
    return torch.cat([ended, spread.flatten()])


# ----------------------------------------------------------------------------------------------------------------- law


def _law(one: Bench, law: Wanted, chosen: Bench, pause: Callable[[str], None]) -> Curve | None:
    """Distance from the law at LAW_STEPS, leaving out numbers of steps that the grid cannot have."""
    calls, errors = [], []
    for steps in LAW_STEPS:
        pause(f"law of {one.settings.sampler}")
        try:
            tried = bench(replace(one.settings, steps=steps, samples=LAW_ROWS))
            x = tried.run().x
        except (UserError, ValueError):
            continue
        if bool(torch.isfinite(x).all()):
            calls.append(tried.cost().calls)
            errors.append(distance(x, law).value)
    return Curve(one.settings.sampler, tuple(calls), tuple(errors), chosen=one is chosen) if calls else None
