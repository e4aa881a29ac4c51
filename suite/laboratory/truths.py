"""Laws of two numbers whose denoiser is known exactly: what the laboratory's runs are measured against.

Mixtures of Gaussians have a density; `moons` and `roll` are finite sets of points, the law that a perfectly fitted
network would learn from a small data set. All have a spread near 1, so that settings carry over from one to the next.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from shared.noise import stream
from shared.oracle import DataSet, Mixture, gaussian, mixture

ATOMS: Final = 200
"""Points of a finite set."""


def three_parts() -> Mixture:
    """Three round parts of unequal weight; label 0 is the heavy one, label 1 the two others."""
    means = torch.tensor([[-1.4, 0.4], [1.2, 1.0], [0.4, -1.2]])
    return mixture(means, 0.3, torch.tensor([0.5, 0.3, 0.2]), labels=torch.tensor([0, 1, 1]))


def correlated() -> Mixture:
    """One Gaussian whose two coordinates hang together, correlation 0.8: its denoiser is linear."""
    return gaussian(torch.tensor([0.4, -0.2]), torch.tensor([[1.0, 0.56], [0.56, 0.49]]))


def ring() -> Mixture:
    """A ring of radius 1.4: 24 round parts that touch; label 0 is the upper half, label 1 the lower."""
    angle = (torch.arange(24, dtype=torch.float64) + 0.5) / 24 * 2 * math.pi
    means = 1.4 * torch.stack([angle.cos(), angle.sin()], 1)
    return mixture(means, 0.16, labels=(angle > math.pi).long())


def lattice() -> Mixture:
    """Five by five narrow parts: modes that are easily lost; label 0 is the left half with the middle, 1 the rest."""
    place = torch.linspace(-1.6, 1.6, 5, dtype=torch.float64)
    means = torch.cartesian_prod(place, place)
    return mixture(means, 0.1, labels=(means[:, 0] > 0.1).long())


def moons() -> DataSet:
    """Two interleaved half moons, 200 points; the label says which moon."""
    angle = torch.linspace(0, math.pi, ATOMS // 2, dtype=torch.float64)
    upper = torch.stack([angle.cos() - 0.5, angle.sin() - 0.25], 1)
    lower = torch.stack([0.5 - angle.cos(), 0.25 - angle.sin()], 1)
    points = 1.3 * torch.cat([upper, lower]) + _jitter("moons", 0.06)
    return DataSet(points, torch.arange(ATOMS) // (ATOMS // 2))


def roll() -> DataSet:
    """A spiral (a Swiss roll seen from its end), 200 points; label 0 is its inner half, label 1 the outer."""
    along = torch.linspace(0, 1, ATOMS, dtype=torch.float64).sqrt()  # even along the curve
    angle = math.pi * (1 + 3 * along)
    points = (2.2 / (4 * math.pi) * angle)[:, None] * torch.stack([angle.cos(), angle.sin()], 1)
    return DataSet(points + _jitter("roll", 0.04), (along > 0.7).long())


def _jitter(name: str, std: float) -> Tensor:
    return std * torch.randn(ATOMS, 2, generator=stream(0, 0, name), dtype=torch.float64)


def conditioned(points: DataSet, matrix: Tensor, measurement: Tensor, std: float, rows: int, seed: int) -> Tensor:
    """Exact samples (rows, 2) of p(x0 | A x0 + std n = measurement) for a finite set: its points, weighed anew."""
    misfit = (points.points @ matrix.T - measurement).square().sum(1)
    weights = torch.softmax(-misfit / (2 * std**2), 0)
    return points.points[torch.multinomial(weights, rows, replacement=True, generator=stream(seed, 0, "given"))]


def spread(law: Mixture | DataSet) -> float:
    """Root-mean-square distance from 0 of one coordinate: what a network's error is measured against."""
    if isinstance(law, Mixture):
        return float((law.covariance.diagonal() + law.mean**2).mean().sqrt())
    return float(law.points.square().mean().sqrt())


def density(law: Mixture | DataSet, at: Tensor, a: float, sigma: float, offset: Tensor | float = 0.0) -> Tensor:
    """Density (M,) of x_t = a x0 + offset + sigma n, Gaussian n, at the places (M, 2); sigma > 0 for a finite set."""
    u = at - offset
    if isinstance(law, DataSet):
        far = torch.cdist(u, a * law.points)
        return torch.exp(far.square_().div_(-2 * sigma**2)).mean(1) / (2 * math.pi * sigma**2)
    covariances = a**2 * law.covariances + sigma**2 * torch.eye(2, dtype=torch.float64)
    off = u[:, None] - a * law.means  # (M, K, 2)
    misfit = (torch.linalg.solve(covariances, off[..., None])[..., 0] * off).sum(-1)
    return (law.weights * torch.exp(-misfit / 2) / (2 * math.pi * torch.linalg.det(covariances).sqrt())).sum(1)
