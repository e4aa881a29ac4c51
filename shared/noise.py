"""Noise is a pure function of (seed, k, tag): nothing to save, and drawing more never shifts what others draw.

k is the position of the route at which the noise is used, tag who uses it ("prior", "step", "jump", ...).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Noise(Protocol):
    """Standard normal draws of the shape, dtype and device of `like` (B, ...)."""

    def draw(self, k: int, like: Tensor, tag: str = "step") -> Tensor: ...


def stream(seed: int, k: int, tag: str) -> torch.Generator:
    """A CPU generator that depends on (seed, k, tag) alone."""
    digest = hashlib.blake2b(f"{seed}|{k}|{tag}".encode(), digest_size=8).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1)


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
