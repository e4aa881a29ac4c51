"""A network that begins where a linear filter ends: the best linear guess at x0, and what the network adds to it.

With u = a x0 + s n, E = V diag(l) V^T the covariance of windows of frames (their `rank` main directions, the rest of a
bin as uncorrelated), the linear estimate of least error and the error that it leaves are (Wiener 1949), bin by bin,

    w = V_c g V^T u + g' (u_c - V_c V^T u),   g = a l / (a^2 l + s^2),   g' = a r / (a^2 r + s^2 q)
    e^2 = V_c^2 l s^2 / (a^2 l + s^2) + r q s^2 / (a^2 r + s^2 q)

    x0 = w + e network([u, w], t)

V_c the rows of the middle frame, r the variance of a bin outside of the main directions, q that of white noise there.
Karras et al. (2022) do this with one number, the deviation of the data; this does it with the covariance. Convolutions
over time whose channels are mel bins must learn all of it from examples otherwise, and are behind the filter for long.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from domains.audio.spectrogram.mel import MELS
from shared import checkpoints
from shared.networks.unet import UNet, UNetConfig

FLOOR: Final = 1e-6  # of a variance


@dataclass(frozen=True)
class PriorConfig:
    """The network inside; frames of a window (odd), main directions that are kept."""

    unet: UNetConfig
    frames: int = 7
    rank: int = 256

    def __post_init__(self) -> None:
        if isinstance(self.unet, Mapping):
            object.__setattr__(self, "unet", UNetConfig(**self.unet))

    @property
    def dims(self) -> int:
        return self.unet.dims

    @property
    def stride(self) -> tuple[int, ...]:
        return self.unet.stride


class PriorUNet(nn.Module):
    """The network; (B, 160, T), time (B,) on the angle clock, cond -> x0 (B, 160, T). Fill it with `learn` first."""

    basis: Tensor  # (rank, 160, frames)
    variance: Tensor  # (rank,)
    rest: Tensor  # (160,)

    def __init__(self, config: PriorConfig) -> None:
        super().__init__()
        self.config = config
        self.network = UNet(config.unet)
        self.register_buffer("basis", torch.zeros(config.rank, MELS, config.frames))
        self.register_buffer("variance", torch.zeros(config.rank))
        self.register_buffer("rest", torch.ones(MELS))

    def learn(self, clips: Sequence[Tensor]) -> None:
        """Directions and variances of clips (160, T) in the numbers of the codec, whose bins have mean 0."""
        frames, rank = self.config.frames, self.config.rank
        total, count = torch.zeros(MELS * frames, MELS * frames, dtype=torch.float64), 0
        for clip in clips:
            windows = clip.unfold(1, frames, 1).permute(0, 2, 1).reshape(MELS * frames, -1).double()
            total += windows @ windows.T
            count += windows.shape[1]
        covariance = total / count
        values, vectors = torch.linalg.eigh(covariance)
        values, vectors = values[-rank:].clamp_min(FLOOR), vectors[:, -rank:]
        basis = vectors.T.reshape(rank, MELS, frames)
        middle = basis[:, :, frames // 2]
        whole = torch.diagonal(covariance).reshape(MELS, frames)[:, frames // 2]
        self.basis.copy_(basis)
        self.variance.copy_(values)
        self.rest.copy_((whole - values @ middle.square()).clamp_min(FLOOR))

    def estimate(self, x: Tensor, time: Tensor) -> tuple[Tensor, Tensor]:
        """The linear estimate w (B, 160, T) and the deviation e (B, 160, 1) of its error."""
        angle = time[:, None, None].to(x) * math.pi / 2
        a, s2 = torch.cos(angle), torch.sin(angle).square()
        middle = self.basis[:, :, self.config.frames // 2].T  # (160, rank)
        free = (1 - middle.square().sum(1)).clamp_min(FLOOR)[:, None]  # q
        rest, main = self.rest[:, None], self.variance[:, None]
        below = (a.square() * main + s2).clamp_min(FLOOR)
        around = (a.square() * rest + s2 * free).clamp_min(FLOOR)
        parts = F.conv1d(x, self.basis, padding=self.config.frames // 2)  # (B, rank, T)
        inside = F.conv1d(torch.cat([parts, a * main / below * parts]), middle[:, :, None])
        plain, filtered = inside.chunk(2)
        w = filtered + a * rest / around * (x - plain)
        left = middle.square() @ (main * s2 / below) + rest * free * s2 / around
        return w, left.clamp_min(FLOOR).sqrt()

    def forward(self, x: Tensor, time: Tensor, cond: Mapping[str, Tensor]) -> Tensor:
        w, e = self.estimate(x, time)
        said: Tensor = self.network(torch.cat([x, w], dim=1), time, cond)
        return w + e * said


checkpoints.NETWORKS["prior_unet"] = (PriorUNet, PriorConfig)  # a card may ask for it, this module imported
