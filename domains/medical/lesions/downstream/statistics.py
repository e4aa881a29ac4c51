"""Paired bootstrap over data seeds and, within each, over test patches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Interval:
    """A mean and the ends of its 95 % interval."""

    value: float
    low: float
    high: float


def bootstrap(values: NDArray, *, draws: int = 4000, seed: int = 0) -> Interval:
    """Interval of the mean of values (seeds, patches): seeds are drawn again, then patches within each drawn seed.

    nan entries (patches that the question does not concern) are left out. For a paired difference pass the difference:
    both arms then see the same seeds and the same patches in every draw.
    """
    rng = np.random.default_rng(seed)
    values = np.atleast_2d(np.asarray(values, float))
    rows = [row[~np.isnan(row)] for row in values]
    rows = [row for row in rows if row.size]
    if not rows:
        return Interval(float("nan"), float("nan"), float("nan"))
    within = np.stack([row[rng.integers(0, row.size, (draws, row.size))].mean(1) for row in rows])  # (seeds, draws)
    # A seed drawn twice takes its patches independently both times: one column of `within` a place.
    drawn = rng.integers(0, len(rows), (len(rows), draws))
    means = within[drawn, rng.integers(0, draws, (len(rows), draws))].mean(0)
    low, high = np.percentile(means, (2.5, 97.5))
    return Interval(float(np.mean([row.mean() for row in rows])), float(low), float(high))


def verdict(over_real: Interval, over_hand_crafted: Interval) -> str:
    """The rule of the plan: both lower ends on the right side of 0, one, or none."""
    passed = (over_real.low > 0) + (over_hand_crafted.low >= 0)
    return ("not held", "partly held", "held")[passed]
