"""Exponential moving average of the weights, with a warm-up.

    ema <- d ema + (1 - d) weights,   d = min(decay, (1 + n) / (10 + n)) after n updates

The warm-up keeps the random start out of the average: after 10 updates it spans about 2, after 1000 about 110.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def start(network: nn.Module) -> dict[str, Tensor]:
    """A copy of every parameter and buffer, cut from the graph."""
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def decay_at(updates: int, decay: float) -> float:
    """The decay of the update that follows `updates` earlier ones."""
    return min(decay, (1 + updates) / (10 + updates))


@torch.no_grad()
def update(ema: Mapping[str, Tensor], network: nn.Module, decay: float) -> None:
    """One step of the average, in place; whole numbers (counters) are copied."""
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            ema[name].lerp_(value, 1 - decay)
        else:
            ema[name].copy_(value)
