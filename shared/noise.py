"""Noise is a pure function of (seed, k, tag): nothing to save, and drawing more never shifts what others draw.

k is the position of the route at which the noise is used, tag who uses it ("prior", "step", "jump", ...).

PerSample and Bulk draw anew at every position, Brownian draws a path that is the same for any number of steps, Recorded
plays back. Masked and Shared are made of other noises.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from shared.grid import Grid


class Noise(Protocol):
    """Standard normal draws of the shape, dtype and device of `like` (B, ...)."""

    def draw(self, k: int, like: Tensor, tag: str = "step") -> Tensor: ...


def stream(seed: int, k: int, tag: str) -> torch.Generator:
    """A CPU generator that depends on (seed, k, tag) alone."""
    digest = hashlib.blake2b(f"{seed}|{k}|{tag}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


@contextmanager
def seeded(seed: int, tag: str = "weights") -> Iterator[None]:
    """What is drawn inside, such as the weights of a new network, depends on (seed, tag) alone; torch's own generator
    is afterwards where it was."""
    with torch.random.fork_rng([]):
        torch.manual_seed(stream(seed, 0, tag).initial_seed())
        yield


@dataclass(frozen=True)
class PerSample:
    """One stream a row, drawn on the CPU in float32 and moved: the same numbers for any batch, device and dtype.

    seeds   one a row, in the order of the batch; a batch of other length is refused.
    """

    seeds: tuple[int, ...]

    @classmethod
    def of(cls, seed: int, rows: int) -> PerSample:
        """Rows seeded seed, seed + 1, ...: row i of a large batch equals row 0 of a run seeded seed + i."""
        return cls(tuple(range(seed, seed + rows)))

    def take(self, rows: Sequence[int]) -> PerSample:
        """The noise of some rows, for a batch that is split."""
        return PerSample(tuple(self.seeds[i] for i in rows))

    def draw(self, k: int, like: Tensor, tag: str = "step") -> Tensor:
        if like.shape[0] != len(self.seeds):
            raise ValueError(f"{len(self.seeds)} seeds for a batch of {like.shape[0]} rows; give one seed a row")
        out = torch.empty(like.shape, dtype=torch.float32)
        for row, seed in zip(out, self.seeds, strict=True):
            torch.randn(row.shape, generator=stream(seed, k, tag), out=row)
        return out.to(device=like.device, dtype=like.dtype)


@dataclass(frozen=True)
class Bulk:
    """One stream for the whole batch, drawn in the dtype of the state: for large statistical runs.

    The numbers of a row depend on the batch it is in: a run that is split draws other noise.
    """

    seed: int

    def draw(self, k: int, like: Tensor, tag: str = "step") -> Tensor:
        return torch.randn(like.shape, generator=stream(self.seed, k, tag), dtype=like.dtype).to(like.device)


@dataclass(frozen=True)
class Recorded:
    """Given noise: {(k, tag): tensor}; what was not recorded is refused."""

    noises: Mapping[tuple[int, str], Tensor]

    def draw(self, k: int, like: Tensor, tag: str = "step") -> Tensor:
        if (k, tag) not in self.noises:
            raise KeyError(f"no noise was recorded for position {k}, tag {tag!r}")
        return self.noises[(k, tag)].to(device=like.device, dtype=like.dtype).expand_as(like)


# -------------------------------------------------------------------------------------------------- Brownian paths

LIMIT, DEPTH = 15.0, 20
"""Log-SNR between which a path is known, and halvings down to where it is straight: 2 LIMIT / 2^DEPTH = 3e-5."""


@dataclass(frozen=True)
class Brownian:
    """One Brownian path W a row, which does not know the grid: refined steps add up to the coarse one, to rounding.

    The time of the path is the SNR, r = (a / sigma)^2, because an ancestral run is d(r x / a) = x0 dr + dW(r): under it
    DDPM, DPM++ SDE and its kin converge to one sample as their steps are refined, whatever the process.

    "step"   (W(r_s) - W(r_t)) / sqrt(r_s - r_t) of the move to position k
    "half"   what is left of W half-way in log-SNR when that step is known, as a standard normal (SingleStep)
    Other tags, the start and jumps are drawn as PerSample draws them; after a jump the run goes on along another path.
    """

    seeds: tuple[int, ...]
    grid: Grid

    def __post_init__(self) -> None:
        log_snr = self.grid.whole.log_snr
        inside = log_snr[torch.isfinite(log_snr)]
        if bool((inside.abs() > LIMIT).any()):
            raise ValueError(f"a path knows log-SNR from -{LIMIT:g} to {LIMIT:g}, the grid reaches {inside.tolist()}")

    @classmethod
    def of(cls, seed: int, rows: int, grid: Grid) -> Brownian:
        """Rows seeded seed, seed + 1, ..."""
        return cls(tuple(range(seed, seed + rows)), grid)

    def take(self, rows: Sequence[int]) -> Brownian:
        """The noise of some rows, for a batch that is split."""
        return Brownian(tuple(self.seeds[i] for i in rows), self.grid)

    def draw(self, k: int, like: Tensor, tag: str = "step") -> Tensor:
        ends = self._ends(k, like.shape[0]) if tag in ("step", "half") else None
        if ends is None or (tag == "half" and -math.inf in ends[0]):
            return PerSample(self.seeds).draw(k, like, tag)
        if like.shape[0] != len(self.seeds):
            raise ValueError(f"{len(self.seeds)} seeds for a batch of {like.shape[0]} rows; give one seed a row")
        route = self.grid.route
        lap = sum(there < here for here, there in zip(route[:k], route[1 : k + 1], strict=True))
        rows = [
            _increment(seed, lap, like.shape[1:], low, high, tag == "half")
            for seed, low, high in zip(self.seeds, *ends, strict=True)
        ]
        return torch.stack(rows).to(device=like.device, dtype=like.dtype)

    def _ends(self, k: int, rows: int) -> tuple[list[float], list[float]] | None:
        """Log-SNR of every row at both ends of the move to position k; None where the path has no part in it."""
        route = self.grid.route
        if not 1 <= k < len(route) or route[k] < route[k - 1]:
            return None
        t, s = self.grid.points[route[k - 1]], self.grid.points[route[k]]
        if s.noiseless or bool((s.log_snr <= t.log_snr).any()):
            return None
        return t.log_snr.expand(rows).tolist(), s.log_snr.expand(rows).tolist()


def _increment(seed: int, lap: int, shape: Sequence[int], low: float, high: float, half: bool) -> Tensor:
    """A standard normal of a row: the path's step from `low` to `high`, or the bend half-way."""
    r, r_s = math.exp(2 * low), math.exp(2 * high)
    if not half:
        terms, scale = [(1.0, high), (-1.0, low)], 1 / math.sqrt(r_s - r)
    else:
        middle = (low + high) / 2
        r_m = math.exp(2 * middle)
        part = (r_m - r) / (r_s - r)
        terms, scale = [(1.0, middle), (part - 1, low), (-part, high)], 1 / math.sqrt((r_m - r) * (1 - part))
    share: dict[int, float] = {}
    for factor, at in terms:
        for node, weight in path(at).items():
            share[node] = share.get(node, 0.0) + scale * factor * weight
    total = torch.zeros(shape, dtype=torch.float64)
    for node, weight in share.items():
        if weight:
            total.add_(torch.randn(shape, generator=stream(seed, lap, f"path {node}")), alpha=weight)
    return total


def path(log_snr: float) -> dict[int, float]:
    """W at a log-SNR as a sum of independent normals, node -> weight: halved DEPTH times by Brownian bridges, straight
    below that; W = 0 at -inf."""
    if log_snr == -math.inf:
        return {}
    low, high, r, r_end = -LIMIT, LIMIT, math.exp(-2 * LIMIT), math.exp(2 * LIMIT)
    left = {-1: math.sqrt(r)}
    right = {-1: math.sqrt(r), 0: math.sqrt(r_end - r)}
    node = 1
    for _ in range(DEPTH):
        middle = (low + high) / 2
        r_m = math.exp(2 * middle)
        part = (r_m - r) / (r_end - r)
        bend = _between(left, right, part) | {node: math.sqrt((r_m - r) * (1 - part))}
        if log_snr < middle:
            high, r_end, right, node = middle, r_m, bend, 2 * node
        else:
            low, r, left, node = middle, r_m, bend, 2 * node + 1
    return _between(left, right, (math.exp(2 * log_snr) - r) / (r_end - r))


def _between(left: dict[int, float], right: dict[int, float], part: float) -> dict[int, float]:
    return {
        node: (1 - part) * left.get(node, 0.0) + part * right.get(node, 0.0) for node in (*left, *(right.keys() - left))
    }


# --------------------------------------------------------------------------------------------------------- wrappers


@dataclass(frozen=True)
class Masked:
    """One noise where `where` is true, another elsewhere: a new seed for a part of the sample, the rest as it was.

    where   bool, broadcastable to the state; draws of another shape (a chi-square, a resampling) come from `outside`
    """

    inside: Noise
    outside: Noise
    where: Tensor

    def draw(self, k: int, like: Tensor, tag: str = "step") -> Tensor:
        outside = self.outside.draw(k, like, tag)
        sizes = zip(reversed(self.where.shape), reversed(like.shape), strict=False)
        if self.where.ndim > like.ndim or any(mine not in (1, theirs) for mine, theirs in sizes):
            return outside
        return torch.where(self.where.to(like.device), self.inside.draw(k, like, tag), outside)


@dataclass(frozen=True)
class Shared:
    """Rows i with equal i // rows draw the same: one noise under several conditions, several views of one thing.

    noise   has one seed a group
    """

    noise: Noise
    rows: int

    def __post_init__(self) -> None:
        if self.rows < 1:
            raise ValueError(f"a group has at least one row, got {self.rows}")

    def draw(self, k: int, like: Tensor, tag: str = "step") -> Tensor:
        if like.shape[0] % self.rows:
            raise ValueError(f"a batch of {like.shape[0]} rows does not fall into groups of {self.rows}")
        return self.noise.draw(k, like[:: self.rows], tag).repeat_interleave(self.rows, 0)
