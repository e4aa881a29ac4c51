"""An exact denoiser that errs: what a trained network of known size of error would do to a sampler.

    said = exact(x, t) + error r(t) f(x, t)

r(t) is the root-mean-square size of what the head asks for at that time, f a fixed smooth field of unit variance
(random cosines), so the error is a function of state and time, as a network's is, and not fresh noise. An error of 0.1
is 10 % of what the network has to say; how far the samples end from the truth then depends on head and sampler.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor, nn

from shared.denoiser import Cond, Head
from shared.noise import stream
from shared.oracle import Exact, Oracle, Truth
from shared.process import Point, Process, shaped

WAVES: Final = 32  # cosines of the field
PITCH: Final = 1.5  # radians a unit of the state: the field bends as slowly as a law of spread 1


class Erring(nn.Module):
    """A network that says what `exact` says, plus the error."""

    def __init__(self, exact: Exact, error: float, spread: float) -> None:
        super().__init__()
        self.exact, self.error, self.spread = exact, error, spread
        generator = stream(0, 0, "model error")
        self.pitch = PITCH * torch.randn(3, WAVES, generator=generator, dtype=torch.float64)
        self.phase = 2 * math.pi * torch.rand(WAVES, generator=generator, dtype=torch.float64)
        self.weight = torch.randn(WAVES, 2, generator=generator, dtype=torch.float64) * (2 / WAVES) ** 0.5

    def forward(self, x_in: Tensor, time: Tensor, cond: Cond) -> Tensor:
        said = self.exact(x_in, time, cond)
        at = self.exact._point(time)
        x = x_in / shaped(self.exact.head.c_in(at), x_in)
        u = self.exact.process.shifted(x, at, cond.get("y"))
        size = (at.a**2 + at.sigma**2).sqrt()
        angle = torch.atan2(at.sigma, at.a)  # 0 at the clean end, pi / 2 where the state is all noise
        place = torch.cat([u / shaped(size, u), angle.to(u).reshape(-1, 1).expand(len(u), 1)], 1)
        field = torch.cos(place.double() @ self.pitch + self.phase) @ self.weight
        return said + self.error * shaped(self.asked(at), field) * field

    def asked(self, at: Point) -> Tensor:
        """Root-mean-square size of one coordinate of what the head asks for, without the known end."""
        head = self.exact.head
        of_clean = (1 - head.c_skip(at) * at.a) * self.spread
        of_noise = head.c_skip(at) * at.sigma
        return (of_clean**2 + of_noise**2).sqrt() / head.c_out(at).abs()


class ErringOracle(Oracle):
    """The exact denoiser of a truth with an artificial error of relative size `error` in what its network says."""

    def __init__(
        self, truth: Truth, process: Process, head: Head, *, error: float, spread: float = 1.0, null: Cond | None = None
    ) -> None:
        super().__init__(truth, process, head, null=null)
        exact = self.network
        assert isinstance(exact, Exact)
        self.network = Erring(exact, error, spread)
