"""Particles: rows of a batch that share a population, and when the heavy ones replace the light ones.

Sequential Monte Carlo (Doucet & Johansen 2009): rows i, j with i // group = j // group are one population of N = group.
A guidance adds log-weight increments; where the effective sample size (sum w)^2 / sum w^2 of a population falls below
ess N, its rows are drawn anew with probabilities W = w / sum w, their weights become equal, and

    log Z += log (1/N sum w),   E[count_i] = N W_i for every scheme.

systematic, stratified   one draw for all strata or one a stratum (Kitagawa 1996): the least noise in the counts
residual                 floor(N W_i) copies for certain, the rest by chance (Liu & Chen 1998)
multinomial              N independent draws: the most noise, and what proofs are written for
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from shared.noise import Noise

Scheme = Literal["systematic", "stratified", "residual", "multinomial"]


@dataclass(frozen=True)
class Particles:
    """How a batch falls into populations, and how they are resampled.

    group    rows of a population, >= 1; a batch holds a whole number of them
    ess      0..1, share of the population below which the effective sample size must fall; 0 never resamples
    scheme   "systematic", "stratified", "residual" or "multinomial"
    every    resample only at positions of the route that are multiples of it
    """

    group: int
    ess: float = 0.5
    scheme: Scheme = "systematic"
    every: int = 1

    def __post_init__(self) -> None:
        if self.scheme not in get_args(Scheme):
            raise ValueError(f"unknown resampling scheme {self.scheme!r}; choose {_listed(get_args(Scheme))}")
        if self.group < 1 or self.every < 1:
            raise ValueError(f"group and every are whole numbers >= 1, got {self.group} and {self.every}")
        if not 0 <= self.ess <= 1:
            raise ValueError(f"ess is a share of the population in [0, 1], got {self.ess}")

    def resample(self, log_w: Tensor, k: int, noise: Noise) -> tuple[Tensor, Tensor, Tensor] | None:
        """Ancestors (B,) int64, new log-weights (B,) and increments of log Z (B // group,) at position k of the route.

        log_w   (B,) accumulated log-weights; -inf is a dead particle, NaN and +inf are refused
        Every population decides for itself: one that keeps its rows has ancestors in place, its weights as they were
        and increment 0. None where all keep theirs, or k is no multiple of `every`. The draw is that of the
        population's first row, so a batch may be split between populations.
        """
        populations = self.of(log_w, k)
        if k % self.every:
            return None
        probability = torch.softmax(populations, 1)  # (P, N)
        thin = effective_size(populations) < self.ess * self.group
        if not bool(thin.any()):
            return None
        chosen = probability[thin]
        uniform = self._uniform(log_w, k, noise)[thin]
        ancestors = torch.arange(len(log_w), device=log_w.device).reshape(populations.shape)
        first = ancestors[thin, :1]
        ancestors[thin] = first + SCHEMES[self.scheme](chosen, uniform)
        fresh = torch.where(thin[:, None], torch.zeros_like(populations), populations)
        gained = torch.where(thin, log_mean(populations), populations.new_zeros(()))
        return ancestors.flatten(), fresh.flatten().to(log_w.dtype), gained

    def of(self, log_w: Tensor, k: int = 0) -> Tensor:
        """The log-weights as (populations, group) in float64; raises where they are no weights."""
        if log_w.ndim != 1 or log_w.shape[0] % self.group:
            raise ValueError(f"log-weights of shape {tuple(log_w.shape)} do not fall into populations of {self.group}")
        populations = log_w.detach().double().reshape(-1, self.group)
        bad = torch.isnan(populations) | (populations == math.inf)
        if bool(bad.any()):
            row = int(bad.flatten().nonzero()[0])
            raise ValueError(f"the log-weight of row {row} at position {k} is {log_w[row].item()}; mend the reward")
        dead = (populations == -math.inf).all(1)
        if bool(dead.any()):
            row = int(dead.nonzero()[0]) * self.group
            raise ValueError(
                f"all particles of rows {row}..{row + self.group - 1} have weight 0 at position {k}; take more "
                "particles, or a reward that is finite somewhere"
            )
        return populations

    def _uniform(self, log_w: Tensor, k: int, noise: Noise) -> Tensor:
        """(P, 1 or N) draws in (0, 1) from the normal draws of the populations' first rows."""
        width = 1 if self.scheme == "systematic" else self.group
        normal = noise.draw(k, log_w.new_empty((len(log_w), width), dtype=torch.float64), tag="resample")
        return torch.special.ndtr(normal[:: self.group]).clamp(max=math.nextafter(1.0, 0.0))


def effective_size(log_w: Tensor) -> Tensor:
    """(sum w)^2 / sum w^2 along the last axis: N for equal weights, 1 where a single particle carries all."""
    return 1 / torch.softmax(log_w.double(), -1).square().sum(-1)


def log_mean(log_w: Tensor) -> Tensor:
    """log (1/N sum w) along the last axis."""
    return torch.logsumexp(log_w.double(), -1) - math.log(log_w.shape[-1])


# ----------------------------------------------------------------------------------------------------------- schemes
# (P, N) probabilities and (P, 1 or N) uniforms -> (P, N) places within the population


def systematic(probability: Tensor, uniform: Tensor) -> Tensor:
    """One uniform shifts N equal strata of [0, 1): counts are floor or ceil of N W. Given one a stratum: stratified."""
    count = probability.shape[1]
    places = (torch.arange(count, dtype=torch.float64, device=probability.device) + uniform) / count
    return _places(probability, places)


def residual(probability: Tensor, uniform: Tensor) -> Tensor:
    """floor(N W) copies, and independent draws of what is left over."""
    count = probability.shape[1]
    expected = probability * count
    copies = (expected + 1e-9).floor()  # equal weights give N W = 1 up to rounding
    slots = torch.arange(count, dtype=torch.float64, device=probability.device).expand_as(probability)
    certain = torch.searchsorted(copies.cumsum(1), slots.contiguous(), right=True).clamp(max=count - 1)
    by_chance = _places((expected - copies).clamp_min(0) + 1e-300, uniform)
    return torch.where(slots < copies.sum(1, keepdim=True), certain, by_chance)


def multinomial(probability: Tensor, uniform: Tensor) -> Tensor:
    """N independent draws."""
    return _places(probability, uniform)


SCHEMES = {"systematic": systematic, "stratified": systematic, "residual": residual, "multinomial": multinomial}


def _places(weights: Tensor, at: Tensor) -> Tensor:
    """The particle in whose share of the whole each number of [0, 1) falls; never one of weight 0."""
    up_to = weights.cumsum(1)
    return torch.searchsorted(up_to / up_to[:, -1:], at.contiguous(), right=True).clamp(max=weights.shape[1] - 1)


def _listed(names: tuple[str, ...]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
