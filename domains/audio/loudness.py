"""Loudness and true peak: ITU-R BS.1770-4, and a limiter that keeps a wave below -1 dBTP.

Waves are (n,) or (n, channels) floats. The true peak is that of the wave four times oversampled. The limiter looks
5 ms ahead: its gain is the least that any sample within that reach needs, averaged over it, so it never comes late.
Of a loop, `wrap`, both know that its start follows its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

CEILING: Final = -1.0  # dBTP
TARGET: Final = -16.0  # LUFS, for comparison and export
OVER: Final = 4  # times oversampled, as the standard asks for 44.1 and 48 kHz
AHEAD: Final = 0.005  # seconds
BLOCK: Final = 0.4  # seconds; the standard measures nothing shorter


def loudness(wave: NDArray, rate: int) -> float | None:
    """LUFS of a wave of one to eight channels; None below the gate of -70 LUFS and for less than 0.4 s.

    The standard weighs left, right, centre and two sides; more channels are measured on `five` of them.
    """
    import pyloudnorm

    heard = five(np.asarray(wave, dtype=np.float64))
    if len(heard) < BLOCK * rate or not np.any(heard):
        return None
    found = float(pyloudnorm.Meter(rate).integrated_loudness(heard))
    return found if np.isfinite(found) else None


def five(wave: NDArray) -> NDArray:
    """Six to eight channels in the order of WAV as the five that the standard weighs; fewer as they are.

    6   left, right, centre, low, two sides: without the low one, as in BS.1770
    7   left, right, centre, low, behind, two sides: what is behind goes to both sides at -3 dB
    8   left, right, centre, low, two behind, two sides: what is behind is added to the sides
    """
    channels = 1 if wave.ndim == 1 else wave.shape[1]
    if channels <= 5:
        return wave
    sides = wave[:, -2:]
    if channels == 7:
        sides = sides + wave[:, 4:5] * np.sqrt(0.5)
    elif channels == 8:
        sides = sides + wave[:, 4:6]
    return np.concatenate([wave[:, :3], sides], axis=1)


def true_peak(wave: NDArray, *, wrap: bool = False) -> float:
    """dBTP; -inf for silence."""
    peak = float(_peaks(wave, wrap).max(initial=0.0))
    return float(20 * np.log10(peak)) if peak > 0 else -np.inf


def limited(wave: NDArray, rate: int, ceiling: float = CEILING, *, wrap: bool = False) -> NDArray[np.float32]:
    """The wave with its true peaks at most at the ceiling (dBTP); what is below it already comes back as it is."""
    from scipy.ndimage import minimum_filter1d, uniform_filter1d

    top = 10 ** (ceiling / 20)
    peaks = _peaks(wave, wrap)
    if peaks.max(initial=0.0) <= top:
        return np.asarray(wave, dtype=np.float32)
    reach = 2 * round(AHEAD * rate / 2) + 1
    need = np.minimum(1.0, top / np.maximum(peaks, 1e-12))
    edge = "wrap" if wrap else "nearest"
    gain = uniform_filter1d(minimum_filter1d(need, 2 * reach - 1, mode=edge), reach, mode=edge)
    quiet = np.asarray(wave, dtype=np.float64) * (gain if np.ndim(wave) == 1 else gain[:, None])
    left = float(_peaks(quiet, wrap).max())  # the gain moves between samples, too
    return np.asarray(quiet * min(1.0, top * (1 - 1e-6) / left), dtype=np.float32)


def matched(waves: Sequence[NDArray], rate: int, target: float = TARGET) -> list[NDArray[np.float32]]:
    """The waves at one loudness for a fair comparison: the target, or as far below as the first to peak demands.

    Nothing is limited, so that only a gain tells a result from its original. Silent waves stay as they are.
    """
    levels = [loudness(wave, rate) for wave in waves]
    headroom = [
        CEILING - true_peak(wave) + level for wave, level in zip(waves, levels, strict=True) if level is not None
    ]
    common = min([target, *headroom])
    return [
        np.asarray(wave if level is None else wave * 10 ** ((common - level) / 20), dtype=np.float32)
        for wave, level in zip(waves, levels, strict=True)
    ]


def _peaks(wave: NDArray, wrap: bool = False) -> NDArray[np.float64]:
    """(n,) the largest magnitude at and right after each sample, of all channels."""
    from scipy.signal import resample_poly

    edge = "wrap" if wrap else "constant"
    dense = np.abs(resample_poly(np.asarray(wave, dtype=np.float64), OVER, 1, axis=0, padtype=edge))
    lines = np.atleast_2d(dense.T)  # (channels, n OVER)
    found: NDArray[np.float64] = np.maximum.reduce([line[k::OVER] for line in lines for k in range(OVER)])
    return found
