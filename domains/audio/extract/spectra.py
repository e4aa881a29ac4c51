"""The paper's spectrogram frames (Hann window 2048, hop 256 at 22 050 Hz, centred), part by part in bounded memory.

Frame t looks at samples t * 256 - 1024 to t * 256 + 1024, zeros beyond the ends; a wave of n samples has ceil(n / 256).
Whatever the part a frame falls into, it is the same to rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls.frames import HOP, RATE, count

WINDOW: Final = 2048  # samples
PART: Final = 4096  # frames at once: 48 s, 34 MB of complex numbers
MIDDLE_C: Final = 261.2  # Hz; below it, the bass would win the melody's argmax


@dataclass(frozen=True, eq=False)
class Part:
    """Frames `first` to `first + T` of a wave.

    power   (1025, T) float32, |STFT|^2
    above   the same of the wave high-passed at middle C
    """

    first: int
    power: NDArray[np.float32]
    above: NDArray[np.float32]


def parts(wave: NDArray[np.float32]) -> Iterator[Part]:
    """The parts of a wave at 22 050 Hz, from first to last."""
    from scipy.signal import lfilter

    total = count(len(wave))
    b, a = high_pass()
    memory = np.zeros(2)
    kept = np.zeros(0, dtype=np.float32)  # high-passed samples from `kept_from` on
    kept_from = 0
    for first in range(0, total, PART):
        frames = min(PART, total - first)
        begin, end = first * HOP - WINDOW // 2, (first + frames - 1) * HOP + WINDOW // 2
        new = wave[kept_from + len(kept) : min(end, len(wave))]
        filtered, memory = lfilter(b, a, new, zi=memory)
        kept = np.concatenate([kept, filtered.astype(np.float32)])
        cut = max(0, begin - kept_from)
        kept, kept_from = kept[cut:], kept_from + cut
        yield Part(
            first,
            _power(_padded(wave, begin, end), frames),
            _power(_padded(kept, begin - kept_from, end - kept_from), frames),
        )


def high_pass(cutoff: float = MIDDLE_C, rate: int = RATE, q: float = 0.707) -> tuple[NDArray, NDArray]:
    """Numerator and denominator of a second-order high-pass (Bristow-Johnson), as torchaudio's highpass_biquad."""
    w = 2 * np.pi * cutoff / rate
    alpha, cosine = np.sin(w) / (2 * q), np.cos(w)
    b = np.array([(1 + cosine) / 2, -(1 + cosine), (1 + cosine) / 2])
    a = np.array([1 + alpha, -2 * cosine, 1 - alpha])
    return b / a[0], a / a[0]


def _padded(wave: NDArray[np.float32], begin: int, end: int) -> NDArray[np.float32]:
    """Samples begin to end, zeros where the wave has none."""
    piece = wave[max(0, begin) : max(0, min(end, len(wave)))]
    before = max(0, -begin)
    return np.pad(piece, (before, end - begin - before - len(piece)))


def _power(samples: NDArray[np.float32], frames: int) -> NDArray[np.float32]:
    """(1025, T) of a stretch that holds these frames exactly."""
    from scipy.fft import rfft

    found = np.empty((WINDOW // 2 + 1, frames), dtype=np.float32)
    window = np.hanning(WINDOW + 1)[:-1].astype(np.float32)  # periodic
    framed = np.lib.stride_tricks.sliding_window_view(samples, WINDOW)[::HOP]
    assert len(framed) == frames
    for first in range(0, frames, 512):  # 4 MB at once stay in the cache
        spectrum = rfft(framed[first : first + 512] * window, axis=1)
        found[:, first : first + 512] = (spectrum.real**2 + spectrum.imag**2).T
    return found
