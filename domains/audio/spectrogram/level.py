"""The level of the dynamics while a spectrogram is made: Music ControlNet follows their shape, not their level.

    l = S f(x0),   f_t = 10 log10 sum_m M_tm (mel.py),   S the smoothing of `extract/dynamics.py`, a matrix

l is what the extractor hears, to the cut at -80 dB, and needs neither a decoder nor a wave. Two ways to use it:

    LevelShift   x0 <- x0 + strength (asked - l) / scale in every bin of a frame: no back-prop, and no call
    LevelPull    the gradient of the squared error through the network (DPS, Chung et al. 2023), as DITTO (Novack et al.
                 2024) optimises through all steps: a back-prop a step, and no call

The first moves all bins alike, as a fader does. The second lets the network say which notes are to be louder.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.audio.extract.dynamics import ORDER, SMOOTH
from domains.audio.spectrogram.mel import MELS, Codec, frame_levels
from shared.denoiser import Prediction
from shared.guidance.window import EVERYWHERE, Window
from shared.process import Point, lin
from shared.run import Guidance, Own, Step

SPREAD: Final = 1.0  # dB by which a level that is asked for may be missed


def heard_levels(levels: Tensor) -> Tensor:
    """(..., 160, T) dB of mel bins -> (..., T) dB over a second, differentiable; as the extractor but for its cuts."""
    return frame_levels(levels) @ smoothing(levels.shape[-1]).to(levels).T


def smoothing(frames: int) -> Tensor:
    """(T, T) float32: the extractor's Savitzky-Golay filter with its ends."""
    return torch.from_numpy(_smoothing(frames).copy())


@cache
def _smoothing(frames: int) -> NDArray[np.float32]:
    from scipy.signal import savgol_filter

    window = min(SMOOTH, frames - (frames + 1) % 2)
    if window <= ORDER:
        return np.eye(frames, dtype=np.float32)
    return np.asarray(savgol_filter(np.eye(frames), window, ORDER, axis=0, mode="interp"), dtype=np.float32)


def missing(x0: Tensor, codec: Codec, asked: Tensor, where: Tensor) -> Tensor:
    """(B, T) dB by which x0 (B, 160, T) or (B, 1, 160, T) is too quiet, 0 where nothing is asked."""
    heard = heard_levels(codec.decibels(x0.reshape(x0.shape[0], MELS, -1)))
    return torch.where(where, asked - heard, torch.zeros_like(heard))


@dataclass(frozen=True, eq=False)
class LevelShift(Guidance):
    """asked (B, T) dB, where (B, T) bool; strength 1 is the whole of what is missing."""

    codec: Codec
    asked: Tensor
    where: Tensor
    strength: float = 1.0
    window: Window = EVERYWHERE

    needs = frozenset({"x0"})
    projection = True

    def active(self, at: Point) -> bool:
        return self.strength != 0 and self.window.open(at)

    def correct(self, pred: Prediction, step: Step, own: Own) -> Prediction:
        more = missing(pred.x0, self.codec, self.asked, self.where)[:, None]  # (B, 1, T)
        moved = more / torch.tensor(self.codec.scale, dtype=more.dtype, device=more.device)[:, None]  # (B, 1 or 160, T)
        moved = moved.expand(-1, MELS, -1).reshape(pred.x0.shape)
        return pred.with_x0(pred.x0 + lin((self.window.strength(self.strength, pred.at), moved)))


@dataclass(frozen=True, eq=False)
class LevelPull(Guidance):
    """E = strength sum_t missing^2 / (2 SPREAD^2 87): the levels of a second count once. Arguments as `LevelShift`."""

    codec: Codec
    asked: Tensor
    where: Tensor
    strength: float = 1.0
    window: Window = EVERYWHERE

    grad = "x"

    def active(self, at: Point) -> bool:
        return self.strength != 0 and not at.signalless and self.window.open(at)

    def energy(self, pred: Prediction, step: Step, own: Own) -> Tensor:
        off = missing(pred.x0, self.codec, self.asked, self.where)
        return self.strength * off.square().sum(dim=1) / (2 * SPREAD**2 * SMOOTH)
