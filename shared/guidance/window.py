"""Where along the noise a guidance acts: a window in log-SNR, which survives any change of the grid."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from shared.lazy import lazy
from shared.process import Number, Point, plain


@dataclass(frozen=True)
class Window:
    """Acts where low <= log(a / sigma) <= high; everywhere by default. Small log-SNR is much noise."""

    low: float = -math.inf
    high: float = math.inf

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"a window in log-SNR goes from low to high, got {self.low:g} to {self.high:g}")

    @lazy
    def everywhere(self) -> bool:
        return self.low == -math.inf and self.high == math.inf

    def rows(self, at: Point) -> Tensor:
        """Where it acts: bool () or one a row."""
        return (at.log_snr >= self.low) & (at.log_snr <= self.high)

    def open(self, at: Point) -> bool:
        """Whether it acts in any row; the rows outside get strength 0."""
        return self.everywhere or bool(self.rows(at).any())

    def strength(self, value: float, at: Point) -> Number:
        """`value` where the window is open and 0 elsewhere: a number, or float64 one a row."""
        return float(value) if self.everywhere else plain(self.rows(at).double() * value)


EVERYWHERE = Window()
