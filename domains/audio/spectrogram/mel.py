"""Sound as a mel spectrogram, and back: the representation of Music ControlNet (Wu et al. 2023).

    P = |STFT|^2 (Hann 2048, hop 256, 22 050 Hz),   M = A P (160 triangles),   L = 10 log10 M - K,   x = (L - o) / s

K is that of `extract/dynamics.py`, so L counts below full scale as all levels of the suite do. The triangles overlap
so that the weights of a bin sum to 1; the energy of a frame is therefore the plain sum of its M, and needs no decoder.
Frames are those of `controls/frames.py`: n samples have ceil(n / 256). Only torch.stft is used: all is differentiable.

    paper   L clipped to 160 dB below full scale, o and s put it into -1..1
    small   100 dB (in 160, the floor is most of the picture), o and s the mean and deviation of every bin over music
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from domains.audio.controls.frames import HOP, RATE, count
from domains.audio.extract.dynamics import ZERO
from domains.audio.extract.spectra import WINDOW
from shared.errors import UserError
from shared.noise import stream

MELS: Final = 160
LOUDEST: Final = 0.0  # dB; no bin of a wave within +-1 is above
PAPER_RANGE, SMALL_RANGE = 160.0, 100.0  # dB
ITERATIONS, MOMENTUM = 32, 0.99  # of Griffin-Lim; more iterations do not help, more mel bins do
UNMIXING: Final = 50  # multiplicative updates that turn mel bins into those of the spectrum
LEAST_SPREAD: Final = 3.0  # dB; a bin that hardly moves is not blown up


@dataclass(frozen=True)
class Codec:
    """Decibels of mel bins to the numbers that a network sees: x = (L - offset) / scale.

    range          dB below full scale at which L is cut off
    offset, scale  dB, one number for all bins or one a bin; plain numbers, for a checkpoint's card
    """

    range: float
    offset: tuple[float, ...]
    scale: tuple[float, ...]

    def __post_init__(self) -> None:
        for name in ("offset", "scale"):  # JSON has lists where Python has tuples
            object.__setattr__(self, name, tuple(float(value) for value in getattr(self, name)))
        if not self.range > 0 or not min(self.scale, default=0) > 0:
            raise UserError("a range and scales above 0 dB are needed", where="codec", remedy="restore the card")
        if {len(self.offset), len(self.scale)} - {1, MELS}:
            raise UserError(
                f"{len(self.offset)} offsets and {len(self.scale)} scales", where="codec", remedy=f"give 1 or {MELS}"
            )

    @classmethod
    def paper(cls) -> Codec:
        """-160..0 dB become -1..1."""
        return cls(PAPER_RANGE, (LOUDEST - PAPER_RANGE / 2,), (PAPER_RANGE / 2,))

    @classmethod
    def of_music(cls, levels: Sequence[Tensor], range: float = SMALL_RANGE) -> Codec:
        """The codec in which every bin of these clips, dB (160, T) each, has mean 0 and deviation 1."""
        cut = torch.cat([level.float().clamp_min(LOUDEST - range) for level in levels], dim=1).double()
        spread = cut.std(dim=1).clamp_min(LEAST_SPREAD)
        return cls(range, tuple(cut.mean(dim=1).tolist()), tuple(spread.tolist()))

    def encode(self, levels: Tensor) -> Tensor:
        """dB (..., 160, T) -> x, the same shape."""
        offset, scale = self._tables(levels)
        return (levels.clamp(LOUDEST - self.range, LOUDEST) - offset) / scale

    def decode(self, x: Tensor) -> Tensor:
        """x (..., 160, T) -> dB within the range."""
        return self.decibels(x).clamp(LOUDEST - self.range, LOUDEST)

    def decibels(self, x: Tensor) -> Tensor:
        """`decode` without the cut: its slope is the scale everywhere, so that guidance can raise what is silent."""
        offset, scale = self._tables(x)
        return x * scale + offset

    def _tables(self, like: Tensor) -> tuple[Tensor, Tensor]:
        made = [
            torch.tensor(value, dtype=like.dtype, device=like.device)[:, None] for value in (self.offset, self.scale)
        ]
        return made[0], made[1]


# ------------------------------------------------------------------------------------------------------- wave to levels


def spectrum_power(wave: Tensor) -> Tensor:
    """(..., n) samples -> (..., 1025, T) |STFT|^2 of the paper's frames, zeros beyond the ends."""
    rows = wave.reshape(-1, wave.shape[-1])
    window = torch.hann_window(WINDOW, dtype=wave.dtype, device=wave.device)
    bins = torch.stft(rows, WINDOW, HOP, window=window, pad_mode="constant", return_complex=True)
    power = bins.real.square() + bins.imag.square()
    return power[..., : count(wave.shape[-1])].reshape(*wave.shape[:-1], WINDOW // 2 + 1, -1)


def levels_of(power: Tensor) -> Tensor:
    """(..., 1025, T) power -> (..., 160, T) dB of the mel bins, not yet cut off."""
    return decibels(triangles().to(power) @ power)


def mel_levels(wave: Tensor) -> Tensor:
    """(..., n) samples within +-1 at 22 050 Hz -> (..., 160, ceil(n / 256)) dB."""
    return levels_of(spectrum_power(wave))


def frame_levels(levels: Tensor) -> Tensor:
    """(..., 160, T) dB of mel bins -> (..., T) dB of the frames, those of `extract.dynamics` but for rounding."""
    return torch.logsumexp(levels * (np.log(10) / 10), dim=-2) * (10 / np.log(10))


def decibels(power: Tensor) -> Tensor:
    """Power of the STFT -> dB below full scale."""
    return 10 * torch.log10(power.clamp_min(1e-20)) - ZERO


def power_of(levels: Tensor) -> Tensor:
    """The inverse of `decibels`."""
    return torch.pow(10.0, (levels + ZERO) / 10)


def triangles(bins: int = WINDOW // 2 + 1) -> Tensor:
    """(160, bins) weights of the mel bins (Slaney's scale, peaks of 1) over 0..11 025 Hz, float32.

    Below the first peak and above the last the outermost triangle stays at 1: every column sums to 1.
    """
    return torch.from_numpy(_triangles(bins).copy())


@cache
def _triangles(bins: int) -> NDArray[np.float32]:
    import librosa

    peaks = librosa.mel_frequencies(MELS, fmin=RATE / 2 / MELS / 8, fmax=RATE / 2 * (1 - 1 / MELS / 2))
    frequency = np.linspace(0, RATE / 2, bins)
    place = np.interp(frequency, peaks, np.arange(MELS))
    return np.maximum(0, 1 - np.abs(place[None] - np.arange(MELS)[:, None])).astype(np.float32)


# ------------------------------------------------------------------------------------------------------- levels to wave


def unmixed(levels: Tensor, updates: int = UNMIXING) -> Tensor:
    """(..., 160, T) dB -> (..., 1025, T) power, >= 0, whose mel bins are these: least squares under that bound.

    Multiplicative updates (Lee and Seung 2001), from the mean power of the triangles that a bin lies in; unlike the
    pseudo-inverse they never cut what became negative.
    """
    a = triangles().to(levels)
    mel = power_of(levels)
    power = a.T @ (mel / a.sum(dim=1, keepdim=True))
    wanted = a.T @ mel
    for _ in range(updates):
        power = power * wanted / (a.T @ (a @ power)).clamp_min(1e-20)
    return power


def griffin_lim(levels: Tensor, samples: int, *, iterations: int = ITERATIONS, seed: int = 0) -> Tensor:
    """(..., 160, T) dB -> (..., samples) by Griffin-Lim with momentum 0.99 (Perraudin et al. 2013).

    samples   ceil(samples / 256) = T;  seed  of the phases from which it starts
    On torch alone, so that a batch is one call on any device. Raises UserError where frames and samples do not agree.
    """
    check_frames(levels.shape[-1], samples)
    size = unmixed(levels).sqrt().reshape(-1, WINDOW // 2 + 1, levels.shape[-1])
    if samples % HOP == 0:  # a centred STFT has one frame more, which stands behind the end
        size = torch.cat([size, size[..., -1:]], dim=-1)
    turns = torch.rand(size.shape, generator=stream(seed, 0, "phase")).to(size)
    phase = torch.polar(torch.ones_like(size), 2 * torch.pi * turns)
    window, before = torch.hann_window(WINDOW, dtype=size.dtype, device=size.device), torch.zeros_like(phase)
    for _ in range(iterations):
        wave = torch.istft(size * phase, WINDOW, HOP, window=window, length=samples)
        now = torch.stft(wave, WINDOW, HOP, window=window, pad_mode="constant", return_complex=True)
        ahead = now - (MOMENTUM / (1 + MOMENTUM)) * before
        phase, before = ahead / ahead.abs().clamp_min(1e-16), now
    wave = torch.istft(size * phase, WINDOW, HOP, window=window, length=samples)
    return wave.reshape(*levels.shape[:-2], samples)


def check_frames(frames: int, samples: int) -> None:
    """Raise UserError unless so many samples have so many frames."""
    if samples < 1 or count(samples) != frames:
        raise UserError(
            f"{samples} samples have {count(max(samples, 0))} frames, not {frames}",
            where="samples",
            remedy=f"ask for {HOP * (frames - 1) + 1} to {HOP * frames}",
        )
