"""Exact denoisers: laws of clean values whose E[x0 | x_t] is known in closed form.

With u = x_t - b y = a x0 + sigma n:

    Gaussian mixture   x0 ~ sum_k w_k N(m_k, C_k):  r_k ~ w_k N(u; a m_k, a^2 C_k + sigma^2 I),
                       E[x0 | u] = sum_k r_k (m_k + a C_k (a^2 C_k + sigma^2 I)^-1 (u - a m_k))
    finite data set    E[x0 | u] = sum_i r_i x_i,  r_i ~ exp(-|u - a x_i|^2 / 2 sigma^2), and under a Student-t law with
                       D degrees of freedom r_i ~ (|u - a x_i|^2 + D sigma^2)^-((N + D) / 2)  (PFGM++, Xu et al. 2023)

A mixture seen through y = A x0 + noise is again a mixture, so posterior samplers meet an exact answer. Everything is
computed in float64, batch first, and can be differentiated in the state.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor, nn

from shared.denoiser import Cond, Denoiser, Head, Prediction, Prepared, Query, clock, x0_head
from shared.noise import stream
from shared.process import Gaussian, Point, Process, StudentT

ANY = -1
"""The label that stands for no condition."""


class Truth(Protocol):
    """A law of clean values (B, N). cond["label"] (B,) restricts it to the parts with that label; ANY does not."""

    def clean(self, u: Tensor, at: Point, law: Gaussian | StudentT, cond: Cond) -> Tensor:
        """E[x0 | u = a x0 + sigma n] for u (B, N) float64."""
        ...

    def draw(self, rows: int, seed: int, label: int = ANY) -> Tensor:
        """Exact samples (rows, N), float64."""
        ...


@dataclass(frozen=True, eq=False)
class Mixture:
    """Gaussian mixture: means (K, N), covariances (K, N, N), weights (K,) summing to 1, whole-number labels (K,)."""

    means: Tensor
    covariances: Tensor
    weights: Tensor
    labels: Tensor | None = None

    def __post_init__(self) -> None:
        count, size = self.means.shape
        if self.covariances.shape != (count, size, size) or self.weights.shape != (count,):
            raise ValueError(
                f"a mixture of {count} parts in {size} dimensions needs covariances ({count}, {size}, {size}) and "
                f"weights ({count},), got {tuple(self.covariances.shape)} and {tuple(self.weights.shape)}"
            )
        if not torch.isclose(self.weights.sum(), self.weights.new_ones(())):
            raise ValueError(f"weights of a mixture sum to 1, got {self.weights.sum().item():g}")

    @cached_property
    def _spectrum(self) -> tuple[Tensor, Tensor]:
        """Eigenvalues (K, N), never negative, and eigenvectors (K, N, N) as columns."""
        values, vectors = torch.linalg.eigh(self.covariances.double())
        return values.clamp_min(0), vectors

    @property
    def mean(self) -> Tensor:
        """(N,)"""
        return (self.weights[:, None] * self.means).sum(0)

    @property
    def covariance(self) -> Tensor:
        """(N, N)"""
        off = self.means - self.mean
        return (self.weights[:, None, None] * (self.covariances + off[:, :, None] * off[:, None, :])).sum(0)

    def clean(self, u: Tensor, at: Point, law: Gaussian | StudentT, cond: Cond) -> Tensor:
        if not isinstance(law, Gaussian):
            raise ValueError("a mixture has no closed form under a Student-t law; use DataSet")
        a, sigma = (value.to(u.device).reshape(-1, 1) for value in (at.a, at.sigma))  # (1 or B, 1)
        sigma = torch.where((a == 0) & (sigma == 0), torch.ones_like(sigma), sigma)  # u = 0 tells nothing either way
        values, vectors = self._spectrum
        variance = a**2 * values[:, None] + sigma**2  # (K, 1 or B, N)
        turned = (u - a * self.means[:, None]) @ vectors  # (K, B, N)
        log_r = -(turned**2 / variance + variance.log()).sum(-1).T / 2 + _log_prior(self.weights, self.labels, cond)
        within = self.means[:, None] + (a * values[:, None] / variance * turned) @ vectors.mT
        return (torch.softmax(log_r, -1).T[..., None] * within).sum(0)

    def draw(self, rows: int, seed: int, label: int = ANY) -> Tensor:
        generator = stream(seed, 0, "mixture")
        weights = _log_prior(self.weights, self.labels, _labelled(label)).exp().reshape(-1)
        part = torch.multinomial(weights, rows, replacement=True, generator=generator)
        z = torch.randn(rows, self.means.shape[1], generator=generator, dtype=torch.float64)
        values, vectors = self._spectrum
        return self.means[part] + torch.einsum("bij,bj->bi", vectors[part], values[part].sqrt() * z)

    def given_label(self, label: int) -> Mixture:
        """The conditional law p(x0 | label)."""
        weights = _log_prior(self.weights, self.labels, _labelled(label)).exp().reshape(-1)
        return replace(self, weights=weights / weights.sum())

    def posterior(self, matrix: Tensor, measurement: Tensor, std: float) -> Mixture:
        """p(x0 | A x0 + std n = measurement), matrix A (M, N), measurement (M,): again a mixture, exactly."""
        S = matrix @ self.covariances @ matrix.T + std**2 * torch.eye(len(matrix), dtype=torch.float64)  # (K, M, M)
        residual = measurement - self.means @ matrix.T  # (K, M)
        gain = torch.linalg.solve(S, matrix @ self.covariances).mT  # (K, N, M)
        means = self.means + torch.einsum("knm,km->kn", gain, residual)
        covariances = self.covariances - gain @ matrix @ self.covariances
        fit = -(torch.linalg.solve(S, residual) * residual).sum(-1) / 2 - torch.linalg.slogdet(S).logabsdet / 2
        weights = torch.softmax(self.weights.log() + fit, 0)
        return Mixture(means, (covariances + covariances.mT) / 2, weights, self.labels)


def mixture(
    means: Tensor, stds: Tensor | float, weights: Tensor | None = None, labels: Tensor | None = None
) -> Mixture:
    """A mixture of round parts: means (K, N), standard deviations () or (K,), equal weights by default."""
    means = torch.as_tensor(means, dtype=torch.float64)
    count, size = means.shape
    stds = torch.as_tensor(stds, dtype=torch.float64).expand(count)
    weights = torch.full((count,), 1 / count, dtype=torch.float64) if weights is None else weights.double()
    return Mixture(means, stds[:, None, None] ** 2 * torch.eye(size, dtype=torch.float64), weights, labels)


def gaussian(mean: Tensor, covariance: Tensor) -> Mixture:
    """N(mean (N,), covariance (N, N)): a mixture of one part, whose denoiser is linear in the state."""
    return Mixture(mean.double()[None], covariance.double()[None], torch.ones(1, dtype=torch.float64))


@dataclass(frozen=True, eq=False)
class DataSet:
    """Equal weights on points (M, N), with whole-number labels (M,) if wanted."""

    points: Tensor
    labels: Tensor | None = None

    def clean(self, u: Tensor, at: Point, law: Gaussian | StudentT, cond: Cond) -> Tensor:
        points = self.points.double()
        a, sigma = (value.to(u.device).reshape(-1, 1) for value in (at.a, at.sigma))
        sigma = torch.where((a == 0) & (sigma == 0), torch.ones_like(sigma), sigma)  # u = 0 tells nothing either way
        far = (u[:, None] - a[..., None] * points).square().sum(-1)  # (B, M)
        if isinstance(law, StudentT):
            log_r = -(points.shape[1] + law.dof) / 2 * torch.log(far + law.dof * sigma**2)
        else:
            log_r = -far / (2 * sigma**2)
        log_r = log_r + _log_prior(points.new_ones(len(points)), self.labels, cond)
        return torch.softmax(log_r, -1) @ points

    def draw(self, rows: int, seed: int, label: int = ANY) -> Tensor:
        weights = _log_prior(torch.ones(len(self.points)), self.labels, _labelled(label)).exp().reshape(-1)
        return self.points.double()[
            torch.multinomial(weights, rows, replacement=True, generator=stream(seed, 0, "set"))
        ]


def _log_prior(weights: Tensor, labels: Tensor | None, cond: Cond) -> Tensor:
    """log weights (1 or B, K), minus infinity where a part has another label than asked for."""
    log = weights.log()[None]
    if labels is None or "label" not in cond:
        return log
    asked = cond["label"].reshape(-1, 1)
    return torch.where((asked == ANY) | (asked == labels), log, torch.full_like(log, -torch.inf))


def _labelled(label: int) -> Mapping[str, Tensor]:
    return {"label": torch.tensor([label])}


# ------------------------------------------------------------------------------------------------------- as a network


class Exact(nn.Module):
    """A truth that answers as a network trained on `process` under `head` would: the same inputs, the same terms.

    It knows the state and the time only as the head hands them over (c_in x, c_time), and y as cond["y"].
    """

    def __init__(self, truth: Truth, process: Process, head: Head) -> None:
        super().__init__()
        self.truth, self.process, self.head = truth, process, head
        self._points: dict[float, Point] = {}

    def forward(self, x_in: Tensor, time: Tensor, cond: Cond) -> Tensor:
        """What the head wants to hear, (B, ...)."""
        at = self._point(time)
        y = cond.get("y")
        x = x_in / self._rowwise(self.head.c_in(at), x_in)
        u = self.process.shifted(x, at, y)
        clean = self.truth.clean(u.double().flatten(1), at, self.process.law, cond)
        x0 = clean.to(x.dtype).reshape(x.shape)
        if self.head.pair:
            pred = Prediction(self.process, x, at, y, x0)
            return torch.cat([pred.velocity, pred.score], dim=1)
        return self.head.target(x, x0, at, y, self.process)

    def _rowwise(self, k: Tensor, x: Tensor) -> Tensor:
        return k if k.ndim == 0 else k.to(x.dtype).reshape(-1, *(1,) * (x.ndim - 1))

    def _point(self, time: Tensor) -> Point:
        """The point whose network time this is; one for all rows where they agree."""
        time = time.detach().double().cpu()
        if not bool((time == time[0]).all()):
            return self.process.at(self._clock(time))
        key = time[0].item()
        if key not in self._points:
            self._points[key] = self.process.at(self._clock(time[0]))
        return self._points[key]

    def _clock(self, time: Tensor) -> Tensor:
        """The process's time from the network's, by bisection where the head has a time of its own."""
        low, high = sorted(self.process.ends)
        if self.head.c_time is clock:
            return time.clamp(low, high)
        left, right = torch.full_like(time, low), torch.full_like(time, high)
        quarter = torch.tensor([0.75, 0.25], dtype=torch.float64) * low + torch.tensor([0.25, 0.75]) * high
        early, late = self._network_time(quarter)
        rising = bool(late > early)
        for _ in range(60):
            middle = (left + right) / 2
            below = (self._network_time(middle) < time) == rising
            left, right = torch.where(below, middle, left), torch.where(below, right, middle)
        return (left + right) / 2

    def _network_time(self, t: Tensor) -> Tensor:
        return self.head.c_time(self.process.at(t))


class Oracle(Denoiser):
    """The exact denoiser of a truth: a Denoiser like any other, which hands the known end y to its network."""

    def __init__(
        self,
        truth: Truth,
        process: Process,
        head: Head | None = None,
        *,
        null: Cond | None = None,
        max_rows: int | None = None,
    ) -> None:
        head = head or x0_head()
        super().__init__(Exact(truth, process, head), process, head, null=null, max_rows=max_rows)
        self.truth = truth

    def prepare(self, queries: Mapping[str, Query], rows: int, y: Tensor | None = None) -> Prepared:
        if y is not None:
            queries = {
                name: replace(query, cond={**(query.cond if query.cond is not None else self.null or {}), "y": y})
                for name, query in queries.items()
            }
        return super().prepare(queries, rows, y)
