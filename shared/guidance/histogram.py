"""Guidance towards a histogram: the values of a region are moved along one-dimensional optimal transport.

In one dimension the transport that costs least keeps the order of the values: the r-th smallest of n goes to the
quantile (r + 1/2) / n of the wanted histogram (Villani 2003, section 2.2). Moving every value by a share s of its way
leaves 1 - s of the 1-Wasserstein distance, so a tolerance is met exactly by s = 1 - tolerance / distance. It is a
`correct` on the predicted clean value: no call of the network, no gradient.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from shared.denoiser import Prediction
from shared.guidance.window import EVERYWHERE, Window
from shared.process import Point, shaped
from shared.run import Guidance, Own, Step


@dataclass(frozen=True, eq=False)
class HistogramTransport(Guidance):
    """x0 <- x0 + w (T(x0) - x0) inside a region, T the transport to the wanted histogram, for every row and channel.

        w = strength  max(0, 1 - tolerance / W1(x0, wanted))  a^2 spread^2 / (a^2 spread^2 + sigma^2)

    The last factor is the share of the values' variance that the state arrived at explains, values of standard
    deviation `spread` being Gaussian and independent: in much noise the prediction is a mean, narrower than what it
    will be, and a histogram asks nothing of it; at the clean end it is 1, and the histogram is met.

    histogram   (B or 1, C, K) shares or counts in K equal bins over [low, high]; a channel of zeros is left alone
    where       (B or 1, C or 1, *spatial) bool, the region; any number of axes, its size may differ from row to row
    low, high   range of the histogram in the unit of the state
    tolerance   1-Wasserstein distance that is let be, in the unit of the state: a number, (C,) or (B, C)
    strength    0 (inactive) to 1
    """

    histogram: Tensor
    where: Tensor
    low: float = -1.0
    high: float = 1.0
    tolerance: Tensor | float = 0.0
    strength: float = 1.0
    spread: float = 1.0
    window: Window = EVERYWHERE

    needs = frozenset({"x0"})

    def __post_init__(self) -> None:
        h, w = self.histogram, self.where
        if h.ndim != 3 or w.ndim < 3 or w.dtype != torch.bool:
            raise ValueError(f"need a histogram (B, C, K) and a bool region (B, C, ...), got {h.shape} and {w.shape}")
        fits = (1 in (len(h), len(w)) or len(h) == len(w)) and w.shape[1] in (1, h.shape[1])
        if not fits or not bool((h >= 0).all()) or not bool(torch.isfinite(h).all()):
            raise ValueError(f"a histogram {tuple(h.shape)} of finite shares that are not negative fits no region")
        if not self.low < self.high or self.spread <= 0 or not 0 <= self.strength <= 1:
            raise ValueError(
                f"need low < high, spread > 0 and a strength of 0 to 1, got {self.low:g}, {self.high:g}, "
                f"{self.spread:g}, {self.strength:g}"
            )
        if bool((torch.as_tensor(self.tolerance) < 0).any()):
            raise ValueError(f"a tolerance is a distance, got {self.tolerance}")

    def active(self, at: Point) -> bool:
        return self.strength != 0 and not at.signalless and self.window.open(at)

    def correct(self, pred: Prediction, step: Step, own: Own) -> Prediction:
        places, counted, wanted, count = self._plan
        x = pred.x0.flatten(2)  # (B, C, N)
        places, counted = (part.expand(len(x), -1, -1) for part in (places, counted))
        values = x.gather(2, places)
        order = values.masked_fill(~counted, torch.inf).argsort(dim=2, stable=True)
        values, places = values.gather(2, order), places.gather(2, order)
        way = torch.where(counted, wanted.to(x) - values, 0)
        distance = way.abs().sum(2, keepdim=True) / count  # (B, C, 1)
        share = (1 - self._tolerance(x) / distance.clamp_min(1e-12)).clamp_min(0)
        moved = values + shaped(self._strength(pred.at, step.s), way) * share * way
        return pred.with_x0(x.scatter(2, places, moved).reshape(pred.x0.shape))

    def _strength(self, at: Point, arrival: Point) -> Tensor:
        """Strength x window x explained share of the variance: float64 () or (B,)."""
        signal = (arrival.a * self.spread) ** 2
        return self.window.strength(self.strength, at) * signal / (signal + arrival.sigma**2)

    def _tolerance(self, x: Tensor) -> Tensor:
        return torch.as_tensor(self.tolerance).to(x)[..., None]  # (..., C, 1) or (1,)

    @cached_property
    def _plan(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(B or 1, C, n): places of the region in the flat state, which of the n count, what they should be, ascending;
        and how many count, at least 1: (B or 1, C, 1)."""
        rows, channels = max(len(self.histogram), len(self.where)), self.histogram.shape[1]
        asked = self.histogram.sum(2, keepdim=True) > 0
        inside = self.where.flatten(2).expand(rows, channels, -1) & asked
        count = inside.sum(2, keepdim=True)
        most = int(count.max())
        places = inside.byte().argsort(dim=2, descending=True, stable=True)[..., :most]
        rank = torch.arange(most, device=inside.device)
        levels = ((rank + 0.5) / count.clamp_min(1)).clamp_max(1).double()
        wanted = quantiles(self.histogram.expand(rows, -1, -1), levels, self.low, self.high)
        return places, rank < count, wanted, count.clamp_min(1)


def quantiles(histogram: Tensor, levels: Tensor, low: float = -1.0, high: float = 1.0) -> Tensor:
    """The values (..., n), float64, below which the shares `levels` (..., n) in 0..1 of a histogram (..., K) lie.

    The K bins are equal over [low, high], their shares (or counts) spread evenly inside a bin.
    """
    shares = histogram.double() / histogram.double().sum(-1, keepdim=True).clamp_min(1e-300)
    below = shares.cumsum(-1)
    place = torch.searchsorted(below, levels.contiguous()).clamp_max(histogram.shape[-1] - 1)
    part = 1 - (below.gather(-1, place) - levels) / shares.gather(-1, place).clamp_min(1e-300)
    return low + (place + part.clamp(0, 1)) * (high - low) / histogram.shape[-1]
