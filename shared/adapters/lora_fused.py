"""Updates of layers that other formats fuse: queries, keys and values as one matrix, whose outputs follow one another.

one down, up = [up_q; up_k; up_v]        or, of separate updates,        down = [d_q; d_k; d_v], up = diag(up_q, ...)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from shared.adapters.host import Host


@dataclass(frozen=True)
class Low:
    """One update: down (rank, in, ...), up (out, rank, ...), alpha."""

    down: Tensor
    up: Tensor
    alpha: float

    @property
    def rank(self) -> int:
        return self.down.shape[0]


def mismatch(low: Low, paths: Sequence[str], host: Host) -> str | None:
    """Why an update is not of the shape of its layers; None when it is."""
    shapes = [tuple(host.network.get_parameter(f"{path}.weight").shape) for path in paths]
    want = (sum(shape[0] for shape in shapes), *shapes[0][1:])
    have = (low.up.shape[0], *low.down.shape[1:])
    inner = low.up.shape[1] if low.up.ndim > 1 else 0
    if have != want:
        return f"{have}, not {want}"
    return None if inner == low.rank else f"rank {low.rank} down, {inner} up"


def split(low: Low, paths: Sequence[str], host: Host) -> dict[str, Low]:
    """The updates of layers that are fused under one name: their outputs follow one another in `up`.

    A fused file made of separate updates is block-diagonal and is taken apart again; a part whose block is 0 had none.
    """
    if len(paths) == 1:
        return {paths[0]: low}
    rows = [host.network.get_parameter(f"{path}.weight").shape[0] for path in paths]
    ups, count = low.up.split(rows), len(paths)
    if low.rank % count == 0 and low.up.any():
        rank = low.rank // count
        blocks = [up.split(rank, dim=1) for up in ups]
        if not any(block.any() for i, row in enumerate(blocks) for j, block in enumerate(row) if i != j):
            downs = low.down.split(rank)
            return {
                path: Low(downs[i], blocks[i][i], low.alpha / count)
                for i, path in enumerate(paths)
                if blocks[i][i].any()
            }
    return {path: Low(low.down, up, low.alpha) for path, up in zip(paths, ups, strict=True)}


def join(lows: Sequence[Low | None], paths: Sequence[str], host: Host) -> Low:
    """One update for layers fused under one name, the opposite of `split`.

    Equal downs are shared (a split dense file comes back as it was); others become block-diagonal, n times the rank.
    """
    given = [low for low in lows if low is not None]
    if len(paths) == 1:
        return given[0]
    first = given[0]
    rows = [host.network.get_parameter(f"{path}.weight").shape[0] for path in paths]
    scale = first.alpha / first.rank
    if len(given) == len(paths) and all(
        torch.equal(low.down, first.down) and low.alpha == first.alpha for low in given
    ):
        return Low(first.down, torch.cat([low.up for low in given]), first.alpha)
    rank = max(low.rank for low in given)
    down = first.down.new_zeros(rank * len(paths), *first.down.shape[1:])
    up = first.up.new_zeros(sum(rows), rank * len(paths))
    top = 0
    for i, (low, count) in enumerate(zip(lows, rows, strict=True)):
        if low is not None:
            left = i * rank
            down[left : left + low.rank] = low.down
            factor = low.alpha / low.rank / scale
            up[top : top + count, left : left + low.rank] = low.up if factor == 1 else factor * low.up
        top += count
    return Low(down, up, scale * rank * len(paths))
