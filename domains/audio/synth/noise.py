"""Bands of noise that are the same at every sample rate: partials of random phase, a fixed distance apart."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.synth.partials import HIGHEST, limit

LOOP: Final = 2.0  # s before it comes again; its partials are 1 / LOOP apart


@lru_cache(maxsize=128)
def noise(low: float, high: float, seed: int, rate: int, loop: float = LOOP) -> NDArray:
    """(loop rate,) float64 noise of RMS 1 between two frequencies (Hz); what the rate cannot hold is missing."""
    samples = int(loop * rate)
    bins = np.arange(int(low * loop), int(min(high, HIGHEST) * loop))
    phase = np.random.default_rng((seed, int(low), int(high))).random(len(bins))
    heard = bins < limit(rate) * loop
    spectrum = np.zeros(samples // 2 + 1, complex)
    spectrum[bins[heard]] = np.exp(2j * np.pi * phase[heard]) * samples / 2 * np.sqrt(2 / max(len(bins), 1))
    out: NDArray = np.fft.irfft(spectrum, samples)
    out.setflags(write=False)
    return out
