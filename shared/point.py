"""The coefficients of a process at a time, or at all times of a grid together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor

from shared.lazy import lazy

Slopes = tuple[Tensor, Tensor, Tensor]
"""Derivatives (da, db, dsigma) in t."""


@dataclass(frozen=True, eq=False)
class Point:
    """The coefficients at a time: float64 on the CPU, shape (), (B,) or (1, D).

    slopes   gives the derivatives da, db, dsigma in t, computed when one of them is asked for
    """

    t: Tensor
    a: Tensor
    b: Tensor
    sigma: Tensor
    slopes: Callable[[], Slopes]

    place: ClassVar[tuple[int, ...]] = ()

    @lazy
    def _slopes(self) -> Slopes:
        return self.slopes()

    @property
    def da(self) -> Tensor:
        return self._slopes[0]

    @property
    def db(self) -> Tensor:
        return self._slopes[1]

    @property
    def dsigma(self) -> Tensor:
        return self._slopes[2]

    @lazy
    def memo(self) -> dict[Any, Any]:
        """Where heads keep their coefficients by (head, place), computed once; the points of a grid share it."""
        return {}

    @lazy
    def log_snr(self) -> Tensor:
        """log(a / sigma): +inf at the clean end, -inf where a = 0."""
        value = torch.log(self.a) - torch.log(self.sigma)
        return torch.where(self.a == 0, torch.full_like(value, -math.inf), value)

    def unbind(self) -> tuple[Point, ...]:
        """One point for each entry along the first axis; they share what the whole computes at once."""
        return tuple(_Entry(self, i) for i in range(len(self.t)))

    @lazy
    def _columns(self) -> dict[str, Sequence[Any]]:
        """What its entries have asked for, taken apart."""
        return {}

    def rows(self, which: Sequence[int]) -> Point:
        """The point of some rows of the batch, of a point with one time a row."""
        index = slice(which.start, which.stop, which.step) if isinstance(which, range) else torch.as_tensor(which)
        t, a, b, sigma = (value[index] for value in (self.t, self.a, self.b, self.sigma))
        return Point(t, a, b, sigma, lambda: (self.da[index], self.db[index], self.dsigma[index]))

    def _slope(self, i: int) -> Slopes:
        da, db, dsigma = self._slopes
        return da[i], db[i], dsigma[i]

    @lazy
    def clean(self) -> bool:
        """sigma = 0 and a > 0 in every row: the state holds no noise."""
        return bool(WHERE["clean"](self).all())

    @lazy
    def noiseless(self) -> bool:
        """sigma = 0 in some row, where no eps can be told from the state."""
        return bool(WHERE["noiseless"](self).any())

    @lazy
    def signalless(self) -> bool:
        """a = 0 in some row: the state says nothing of the clean value."""
        return bool(WHERE["signalless"](self).any())


WHERE: dict[str, Callable[[Point], Tensor]] = {
    "clean": lambda at: (at.sigma == 0) & (at.a > 0),
    "noiseless": lambda at: at.sigma == 0,
    "signalless": lambda at: at.a == 0,
}


def _part(name: str) -> Any:
    """A coefficient of an entry, or the answer to one of the questions above."""

    def part(entry: _Entry) -> Any:
        whole, columns = entry.whole, entry.whole._columns
        if name not in columns:
            if name in WHERE and whole.t.ndim > 1:  # an entry has several rows, and the question is about them all
                return getattr(Point, name).func(entry)
            columns[name] = WHERE[name](whole).tolist() if name in WHERE else getattr(whole, name).unbind(0)
        return columns[name][entry.index]

    return lazy(part)


class _Entry(Point):
    """One entry of a point along its first axis. It takes the whole apart when it is first asked for a part of it."""

    whole: Point
    index: int

    def __init__(self, whole: Point, index: int) -> None:
        own = self.__dict__
        own["whole"], own["index"], own["place"] = whole, index, (*whole.place, index)
        own["memo"], own["slopes"] = whole.memo, partial(whole._slope, index)

    t, a, b, sigma, log_snr = (_part(name) for name in ("t", "a", "b", "sigma", "log_snr"))
    clean, noiseless, signalless = (_part(name) for name in WHERE)
