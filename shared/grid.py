"""The points a run visits: times from noisy to clean, and the route through them.

A grid is an array of times; encoding walks the same array backwards, re-noising goes back to an earlier index.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from shared.lazy import lazy
from shared.process import Point, Process


@dataclass(frozen=True)
class Grid:
    """Times (n+1,), or (n+1, B) where each row has its own, and the order in which they are visited.

    t[0] is where the run starts. route lists indices into t, 0..n by default; on a decode grid a smaller index after a
    larger one is a jump back up in noise, which costs no network call.
    """

    process: Process
    t: Tensor
    route: tuple[int, ...] = ()
    direction: Literal["decode", "encode"] = "decode"

    def __post_init__(self) -> None:
        t = torch.as_tensor(self.t, dtype=torch.float64, device="cpu")
        object.__setattr__(self, "t", t)
        if t.ndim not in (1, 2) or t.shape[0] < 2:
            raise ValueError(f"a grid is (n+1,) or (n+1, B) times with n >= 1, got shape {tuple(t.shape)}")
        rising = (self.process.ends[1] > self.process.ends[0]) == (self.direction == "encode")
        step = t[1:] - t[:-1] if rising else t[:-1] - t[1:]
        if not bool((step > 0).all()):
            wanted = "from clean to noisy" if self.direction == "encode" else "from noisy to clean"
            i = int((~(step > 0)).reshape(len(step), -1).any(1).nonzero()[0])
            raise ValueError(
                f"a {self.direction} grid goes {wanted} without standing still, got times[{i}] = {t[i].tolist()} and "
                f"then {t[i + 1].tolist()}"
            )
        if not self.route:
            object.__setattr__(self, "route", tuple(range(t.shape[0])))
            return
        route = self.route
        if route[0] != 0 or min(route) < 0 or max(route) >= t.shape[0]:
            raise ValueError(f"a route starts at 0 and stays within 0..{t.shape[0] - 1}, got {route}")
        if any(here == there for here, there in zip(route, route[1:], strict=False)):
            raise ValueError("a route never stands still: two neighbouring entries are equal")
        if self.direction == "encode" and any(there < here for here, there in zip(route, route[1:], strict=False)):
            raise ValueError("an encode grid has no jumps")

    @lazy
    def whole(self) -> Point:
        """The coefficients at all times together, (n+1,) or (n+1, B), computed once."""
        return self.process.at(self.t)

    @lazy
    def points(self) -> tuple[Point, ...]:
        """The coefficients at every time."""
        return self.whole.unbind()

    @lazy
    def memo(self) -> dict[Any, Any]:
        """Where samplers keep what they compute from the points alone: once a grid, and gone with it."""
        return {}

    @property
    def steps(self) -> int:
        """Moves of the route that ask the network (jumps are free)."""
        return sum(there > here for here, there in zip(self.route, self.route[1:], strict=False))

    @property
    def has_jumps(self) -> bool:
        return self.steps < len(self.route) - 1

    def reversed(self) -> Grid:
        """The same times backwards: a decode grid becomes its encode grid and the other way round."""
        if self.has_jumps:
            raise ValueError("a route with jumps cannot be walked backwards")
        other: Literal["decode", "encode"] = "encode" if self.direction == "decode" else "decode"
        return Grid(self.process, self.t.flip(0), direction=other)

    def jumps(self, length: int, repeats: int) -> Grid:
        """RePaint's route: at every `length`-th level, counted from one above the clean end, go back up `length`
        points, `repeats` - 1 times. Calls: n + (repeats - 1) length #{0, length, ... < n - length}.

        length, repeats >= 1; repeats = 1 is the plain route (Lugmayr et al. 2022; LeFusion uses 2 and 2).
        """
        if length < 1 or repeats < 1:
            raise ValueError(f"jump length and repeats are whole numbers >= 1, got {length} and {repeats}")
        if self.direction == "encode":
            raise ValueError("an encode grid has no jumps")
        last = self.t.shape[0] - 1
        left = {last - 1 - level: repeats - 1 for level in range(0, last - length, length)}
        route, index = [0], 0
        while index < last:
            index += 1
            route.append(index)
            if left.get(index, 0) > 0:
                left[index] -= 1
                index -= length
                route.append(index)
        return replace(self, route=tuple(route))

    def starting_at(self, index: int) -> Grid:
        """The rest of the grid from a point on, route 0..: where an edit or a restoration starts."""
        return Grid(self.process, self.t[index:], direction=self.direction)


Spacing = Literal["uniform", "levels", "trailing", "leading", "log_snr", "karras"]


def grid(
    process: Process,
    steps: int,
    spacing: Spacing = "uniform",
    *,
    start: float | None = None,
    stop: float | None = None,
    near: float | None = None,
    rho: float = 7.0,
    shift: float = 1.0,
    offset: int = 0,
) -> Grid:
    """A decode grid of `steps` steps from `start` (noisy, default the noisy end) to `stop` (default the clean end).

    uniform    equal steps of the clock, then moved towards the noisy end by `shift` s: u -> s u / (1 + (s - 1) u) with
               u = 0 at the clean end and 1 at the noisy one (Esser et al. 2024; networks for large pictures take 3)
    levels     as uniform, rounded to whole levels of a table (a network trained on levels sees only those); the same
               as what diffusers calls `trailing`
    leading    as diffusers' `leading`: stop + 1 + offset + i floor(levels / steps), then stop; the noisiest levels are
               never visited. Networks that were sampled that way have offset 0 or 1 (steps_offset)
    log_snr    equal steps of log(a / sigma) down to `near`, then `stop`; needs `start` with a > 0
    karras     (sigma / a)^(1/rho) in equal steps (Karras et al. 2022) down to `near`, then `stop`; needs the same
    near       the last time before a clean end, default a thousandth of the way back from it; an end with noise is
               reached in equal steps
    """
    if not issubclass(type(steps), Integral) or steps < 1:
        raise ValueError(f"a run needs a whole number of steps, at least one step, got {steps}")
    if spacing not in get_args(Spacing):
        raise ValueError(f"unknown spacing {spacing!r}; choose {', '.join(get_args(Spacing))}")
    if not 0 < rho < math.inf:
        raise ValueError(f"rho is a finite number > 0, got {rho}")
    if not shift > 0 or (shift != 1 and spacing != "uniform"):
        raise ValueError(f"shift is > 0 and belongs to uniform spacing, got {shift} with {spacing}")
    clean, noisy = process.ends
    start, stop = noisy if start is None else start, clean if stop is None else stop
    if spacing in ("log_snr", "karras"):
        return Grid(process, _by_noise(process, steps, spacing, start, stop, near, rho))
    if spacing == "leading":
        return Grid(process, _leading(steps, start, stop, offset))
    t = torch.linspace(start, stop, steps + 1, dtype=torch.float64)
    if spacing == "uniform":
        u = (t - clean) / (noisy - clean)
        return Grid(process, t if shift == 1 else clean + (noisy - clean) * shift * u / (1 + (shift - 1) * u))
    t = t.round()
    if bool((t.diff().abs() < 1).any()):
        raise ValueError(f"{steps} steps do not fit {abs(start - stop):g} levels; take fewer steps")
    return Grid(process, t)


def _leading(steps: int, start: float, stop: float, offset: int) -> Tensor:
    stride = int(abs(start - stop)) // steps
    first = 1 + offset
    if stride < 1 or first + (steps - 1) * stride > abs(start - stop):
        raise ValueError(
            f"{steps} steps do not fit {abs(start - stop):g} levels with offset {offset}; take fewer steps"
        )
    up = torch.arange(steps - 1, -1, -1, dtype=torch.float64) * stride + first
    return stop + torch.cat([up, torch.zeros(1, dtype=torch.float64)]) * (1 if start > stop else -1)


def _by_noise(
    process: Process, steps: int, spacing: str, start: float, stop: float, near: float | None, rho: float
) -> Tensor:
    first, final = process.at(start), process.at(stop)
    if first.signalless:
        raise ValueError(f"{spacing} spacing needs a start with a > 0; t = {start} has a = 0")
    at_end = not final.noiseless
    lowest = final if at_end else process.at(stop + (start - stop) * 1e-3 if near is None else near)
    inner = steps + 1 if at_end else steps
    if spacing == "log_snr":
        log_snr = torch.linspace(first.log_snr.item(), lowest.log_snr.item(), inner, dtype=torch.float64)
    else:
        ends = [_root(point, rho) for point in (first, lowest)]
        log_snr = -torch.log(torch.linspace(ends[0], ends[1], inner, dtype=torch.float64) ** rho)
    t = process.t_of(log_snr)
    t[0] = start
    if at_end:
        t[-1] = stop
        return t
    return torch.cat([t, torch.tensor([stop], dtype=torch.float64)])


def _root(point: Point, rho: float) -> float:
    """(sigma / a)^(1/rho) of a point with one row."""
    return float((point.sigma / point.a).item() ** (1 / rho))


def own_times(process: Process, times: Sequence[float] | Tensor) -> Grid:
    """A decode grid at the caller's own times, (n+1,) or (n+1, B)."""
    return Grid(process, torch.as_tensor(times, dtype=torch.float64))
