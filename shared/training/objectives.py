"""What a network is trained to minimise: one loss a row, from a denoiser and clean values.

    x_t = a x0 + b y + sigma n,    e = k (x0_said - x0),    loss = sum(w |e|^p) / sum(w),  p = 1 or 2

k turns an error of the clean value into one of the target: 1 (x0), -a / sigma (eps), -(a^2 + sigma^2) / sigma (v),
da - dsigma a / sigma (velocity), 1 / c_out (head: what the network itself says). A head and a target are independent:
a v head may be trained on the error of eps. Sources: Ho et al. 2020 (eps), Salimans and Ho 2022 (v), Lipman et al. 2023
(velocity), Karras et al. 2022 (head), LeFusion 2025 (w = the lesion, normalised per lesion).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from shared.denoiser import Cond, Denoiser, Head, Query
from shared.process import Point, Process, shaped

Target = Literal["x0", "eps", "v", "velocity", "head"]
Times = Callable[[Process, int, torch.Generator], Tensor]  # (process, rows, generator) -> (rows,) times


def uniform_times(process: Process, rows: int, generator: torch.Generator) -> Tensor:
    """Times spread evenly over the process's clock, all shifted by one draw (Kingma et al. 2021): (rows,) float64.

    Each row alone is uniform; the batch covers the clock, so that its mean loss varies less. The outer 1e-4 of the
    clock is left out at both ends, where sigma or a may be 0.
    """
    shift = torch.rand((), generator=generator, dtype=torch.float64, device=generator.device).cpu()
    even = (torch.arange(rows, dtype=torch.float64) / rows + shift) % 1
    clean, noisy = process.ends
    return clean + (noisy - clean) * (1e-4 + (1 - 2e-4) * even)


def drop(cond: Cond, probability: float, generator: torch.Generator) -> dict[str, Tensor]:
    """cond with all its entries NaN, or -1 in integers ("not given"), in rows drawn with `probability`.

    For classifier-free guidance (Ho and Salimans 2022, who drop 10 to 20 %). What is no wish but part of the state,
    such as which entries are present, is not handed over.
    """
    if not cond:
        return {}
    rows = next(iter(cond.values())).shape[0]
    lost = torch.rand(rows, generator=generator, device=generator.device) < probability

    def without(value: Tensor) -> Tensor:
        nothing = torch.nan if value.is_floating_point() else -1
        return torch.where(lost.to(value.device).reshape(-1, *[1] * (value.ndim - 1)), nothing, value)

    return {name: without(value) for name, value in cond.items()}


def denoising(
    denoiser: Denoiser,
    x0: Tensor,
    generator: torch.Generator,
    *,
    cond: Cond | None = None,
    y: Tensor | None = None,
    times: Times = uniform_times,
    weight: Tensor | None = None,
    target: Target = "head",
    norm: Literal["l1", "l2"] = "l2",
    per: Literal["weight", "voxels"] = "weight",
) -> Tensor:
    """The denoising loss of clean values x0 (B, ...): (B,).

    cond, y    conditions and known ends of the rows
    times      draws the times of the rows
    weight     of each entry, >= 0, of a shape that broadcasts to x0; None: 1. A mask trains inside it alone: the whole
               value is noised, the error outside does not count
    target     whose error counts (head of this file);  norm  "l1" |e| or "l2" e^2
    per        "weight" divides by the sum of the weights of the row, so that small lesions count as much as large ones
               (a row of weight 0 has loss 0); "voxels" by the number of entries
    """
    process = denoiser.process
    at = process.at(times(process, x0.shape[0], generator))
    noise = _Drawn(generator)
    n = noise.draw(0, x0)
    scale = process.law.scale(noise, 0, x0)
    x = process.join(x0, n if scale is None else n * scale, at, y)
    said = denoiser.predict(x, at, {"main": Query(cond)}, y)["main"].x0
    error = (said - x0) * shaped(_factor(target, at, denoiser.head), x0)
    size = (error.abs() if norm == "l1" else error.square()).flatten(1)  # (B, D)
    if weight is None:
        return size.mean(dim=1)
    w = weight.to(size.dtype).expand_as(x0).flatten(1)
    total = w.sum(dim=1).clamp_min(torch.finfo(size.dtype).tiny) if per == "weight" else w.shape[1]
    return (w * size).sum(dim=1) / total


def _factor(target: Target, at: Point, head: Head) -> Tensor:
    """k of the head of this file: d target / d x0 at a fixed state; float64 on the CPU, the shape of the times."""
    if target == "x0":
        return torch.ones_like(at.t)
    if target == "eps":
        return -at.a / at.sigma
    if target == "v":
        return -(at.a**2 + at.sigma**2) / at.sigma
    if target == "velocity":
        return at.da - at.dsigma * at.a / at.sigma
    if target == "head":
        return 1 / head.c_out(at)
    raise ValueError(f"unknown target {target!r}; choose x0, eps, v, velocity or head")


@dataclass(frozen=True)
class _Drawn:
    """The noise of a training step, in the order of the draws from its generator (a run's noise is shared/noise.py)."""

    generator: torch.Generator

    def draw(self, k: int, like: Tensor, tag: str = "step") -> Tensor:
        device = self.generator.device
        return torch.randn(like.shape, generator=self.generator, device=device).to(like.device, like.dtype)
