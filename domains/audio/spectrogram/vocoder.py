"""Mel levels to sound by a small network: blocks along time, then one spectrum a frame and its inverse STFT.

    levels -> conv 7 -> ConvNeXt blocks -> (log-magnitude, phase) a frame -> inverse STFT (Hann 1024, hop 256)

Vocos (Siuzdak 2023), made small and trained by spectral losses alone, without an adversary. What it says of the
magnitude is added to what the mel bins say already, so that an untrained one has the right spectrum and a wrong phase.
It never sees the controls, nor what made the levels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from domains.audio.controls.frames import HOP
from domains.audio.spectrogram.mel import LOUDEST, MELS, SMALL_RANGE, check_frames, power_of, triangles
from shared import checkpoints

RECIPE: Final = "audio/vocoder"
WEIGHTS: Final = Path(__file__).parent / "checkpoints" / "vocoder.safetensors"
TAKES_OVER: Final = "takes over from Griffin-Lim"  # in the card: whether it won every row of its table
LARGEST_CHANGE: Final = 8.0  # nepers, either way, of a magnitude


@dataclass(frozen=True)
class VocoderConfig:
    """Plain numbers: width of a frame, blocks, their hidden width in widths, frames a block sees, STFT window."""

    width: int = 256
    blocks: int = 6
    expansion: int = 3
    kernel: int = 7
    window: int = 1024


class Block(nn.Module):
    """x + scale linear(gelu(linear(norm(depthwise conv x)))) (Liu et al. 2022), along time; scale starts small."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        width = config.width
        self.mix = nn.Conv1d(width, width, config.kernel, padding=config.kernel // 2, groups=width)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.enter = nn.Linear(width, config.expansion * width)
        self.leave = nn.Linear(config.expansion * width, width)
        self.scale = nn.Parameter(torch.full((width,), 1 / config.blocks))

    def forward(self, x: Tensor) -> Tensor:
        h = self.norm(self.mix(x).transpose(1, 2))  # (B, T, D)
        return x + (self.scale * self.leave(F.gelu(self.enter(h)))).transpose(1, 2)


class Vocoder(nn.Module):
    """The network; `config` is what it was made from."""

    def __init__(self, config: VocoderConfig) -> None:
        super().__init__()
        self.config = config
        self.bins = config.window // 2 + 1
        self.enter = nn.Conv1d(MELS, config.width, config.kernel, padding=config.kernel // 2)
        self.first = nn.LayerNorm(config.width, eps=1e-6)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.blocks))
        self.last = nn.LayerNorm(config.width, eps=1e-6)
        self.head = nn.Linear(config.width, 2 * self.bins)

    def forward(self, levels: Tensor) -> Tensor:
        """(B, 160, T) dB -> (B, 256 T) samples; crop what is beyond the clip (`decode`)."""
        levels = F.pad(levels, (0, 1), mode="replicate")  # the frame behind the end, which a centred STFT has
        cut = levels.clamp(LOUDEST - SMALL_RANGE, LOUDEST)
        h = self.enter((cut - LOUDEST + SMALL_RANGE / 2) / (SMALL_RANGE / 4))
        h = self.first(h.transpose(1, 2)).transpose(1, 2)
        for block in self.blocks:
            h = block(h)
        change, phase = self.head(self.last(h.transpose(1, 2))).transpose(1, 2).float().chunk(2, dim=1)
        size = (self._said(levels.float()) + change.clamp(-LARGEST_CHANGE, LARGEST_CHANGE)).exp()
        window = torch.hann_window(self.config.window, device=size.device)
        frames = torch.complex(size * phase.cos(), size * phase.sin())
        return torch.istft(frames, self.config.window, HOP, window=window, length=HOP * (levels.shape[-1] - 1))

    def decode(self, levels: Tensor, samples: int) -> Tensor:
        """(B, 160, T) dB -> (B, samples), ceil(samples / 256) = T; without gradients."""
        check_frames(levels.shape[-1], samples)
        with torch.no_grad():
            return self(levels)[..., :samples]

    def _said(self, levels: Tensor) -> Tensor:
        """(B, bins, T) log-magnitude by the mel bins alone: mean power of a triangle, less for the shorter window."""
        wide = triangles().to(levels)
        mean = power_of(levels) / wide.sum(dim=1, keepdim=True)
        power = triangles(self.bins).to(levels).T @ mean * (self.config.window / 2048)
        return 0.5 * torch.log(power.clamp_min(1e-12))


checkpoints.NETWORKS["vocoder"] = (Vocoder, VocoderConfig)  # a card may ask for it once this module is imported


def from_pretrained(path: str | Path = WEIGHTS) -> tuple[Vocoder, dict[str, Any]]:
    """A trained vocoder and its card; raises UserError when the file is absent or damaged."""
    network, card = checkpoints.load(path, recipe=RECIPE)
    assert isinstance(network, Vocoder)
    return network.eval(), card
