"""Dynamics as in Music ControlNet: dB of the power of a frame, smoothed over a second.

    d_t = 10 log10(sum_f |STFT_tf|^2) - K,    then a Savitzky-Golay filter of 87 frames (1 s) and first order

K makes the level of a constant +-1 zero dB; it is 10 log10(N sum(w^2) / 2) by Parseval, with N = 2048 and w the window.
The order is not stated in the paper; a local line is what the follow-up MuseControlLite fits.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls.dynamics import LOUDEST, QUIETEST
from domains.audio.extract.spectra import WINDOW

SMOOTH: Final = 87  # frames: 1.01 s
ORDER: Final = 1
ZERO: Final = float(10 * np.log10(WINDOW * np.sum(np.hanning(WINDOW + 1)[:-1] ** 2) / 2))


def frame_levels(power: NDArray[np.float32]) -> NDArray[np.float64]:
    """(1025, T) |STFT|^2 -> (T,) dB, not smoothed, floored at -80."""
    return np.asarray(np.maximum(10 * np.log10(power.sum(axis=0, dtype=np.float64) + 1e-20) - ZERO, QUIETEST))


def smoothed(levels: NDArray[np.float64]) -> NDArray[np.float64]:
    """(T,) dB -> (T,) dB over a second; shorter clips over as much as they have."""
    from scipy.signal import savgol_filter

    window = min(SMOOTH, len(levels) - (len(levels) + 1) % 2)
    if window <= ORDER:
        return levels
    return np.clip(savgol_filter(levels, window, ORDER, mode="interp"), QUIETEST, LOUDEST)
