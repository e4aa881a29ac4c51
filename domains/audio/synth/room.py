"""A room: noise that dies, high frequencies first, convolved by FFT. Linear, so the sum of wet stems is the wet sum.

    h(t) = sum over bands of g_b n_b(t) exp(-6.9 t / T_b),    mean |H(f)|^2 = g_b^2 inside a band

n_b is the same noise at every rate, hence so is the room.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.synth.noise import noise

BEFORE: Final = 0.012  # s until the first reflection
SHORTEST, LONGER = 0.35, 2.2  # s until -60 dB at room 0, and more of it at room 1
BANDS: Final = (  # Hz from and to, share of the time, gain
    (20.0, 500.0, 1.0, 0.8),
    (500.0, 2500.0, 0.8, 1.0),
    (2500.0, 6000.0, 0.5, 0.7),
    (6000.0, 12_000.0, 0.3, 0.5),
)
LOOP: Final = 3.0  # s; longer than the longest room
SIXTY: Final = 6.908  # nepers in 60 dB


@lru_cache(maxsize=16)
def response(room: float, rate: int) -> NDArray:
    """Impulse response (2, n) float32; room 0..1."""
    seconds = SHORTEST + LONGER * room
    samples, first = int((seconds + BEFORE) * rate), int(BEFORE * rate)
    time = np.arange(samples - first) / rate
    out = np.zeros((2, samples))
    for side in range(2):
        for low, high, share, gain in BANDS:
            fall = SIXTY / (seconds * share)
            power = (high - low) * 4 * fall  # 2 (high - low) over the integral of exp(-2 fall t)
            tone = noise(low, high, 97 + side, rate, LOOP)[: len(time)]
            out[side, first:] += gain * np.sqrt(power) / rate * tone * np.exp(-fall * time)
    fade = int(0.05 * rate)
    out[:, -fade:] *= 0.5 * (1 + np.cos(np.pi * np.arange(1, fade + 1) / fade))
    result: NDArray = out.astype(np.float32)
    result.setflags(write=False)
    return result


@lru_cache(maxsize=4)
def _tones(room: float, rate: int, size: int) -> NDArray:
    return np.fft.rfft(response(room, rate), size)


def reverberate(dry: NDArray, room: float, rate: int) -> NDArray:
    """The room's answer (2, n) float32 to a mono signal (n,), as long as the signal."""
    reach = response(room, rate).shape[1]
    size = _fast(len(dry) + reach)
    wet = np.fft.irfft(np.fft.rfft(dry, size) * _tones(room, rate, size), size)
    return np.ascontiguousarray(wet[:, : len(dry)], dtype=np.float32)


def _fast(least: int) -> int:
    """The next length made of twos, threes and fives."""
    best = 1 << (least - 1).bit_length()
    five = 1
    while five < best:
        three = five
        while three < best:
            quotient = -(-least // three)
            best = min(best, three << max((quotient - 1).bit_length(), 0))
            three *= 3
        five *= 5
    return best
