"""Additive synthesis as one matrix product.

    x[n] = sum_k a_k[n] sin(2 pi f_k n / rate + phase_k)

Amplitudes are given at the edges of blocks of a few milliseconds and run straight between them. With n = b B + j the
sine of a sum splits into products of a part that knows b and a part that knows j, so that a note is a product of
matrices (blocks, 4 K) and (4 K, B): exact, band-limited, and as fast as the machine multiplies. Partials from the limit
of hearing or of the rate on are left away, hence nothing aliases.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

BLOCKS: Final = 172.0  # a second: about 5.8 ms each
HIGHEST: Final = 17_500.0  # Hz: no partial above
ROOM_AT_THE_TOP: Final = 0.45  # of the rate: no partial above, either


def block(rate: int) -> int:
    """Samples of a block."""
    return max(round(rate / BLOCKS), 16)


def edges(rate: int, samples: int) -> NDArray:
    """(blocks + 1,) seconds at which amplitudes are asked for."""
    return np.arange(-(-samples // block(rate)) + 1) * (block(rate) / rate)


def limit(rate: int) -> float:
    """Hz of the highest partial that a rate may hold."""
    return min(HIGHEST, ROOM_AT_THE_TOP * rate)


def additive(frequency: NDArray, phase: NDArray, levels: NDArray, rate: int, samples: int) -> NDArray:
    """(samples,) float32.

    frequency  (K,) Hz;  phase  (K,) turns 0..1;  levels  (blocks + 1, K) amplitudes at `edges(rate, samples)`
    """
    heard = frequency < limit(rate)
    frequency, phase, levels = frequency[heard], phase[heard], levels[:, heard]
    size, count = block(rate), len(levels) - 1
    turns = frequency / rate  # a sample
    far = 2 * np.pi * ((np.arange(count)[:, None] * size * turns + phase) % 1)  # (blocks, K), exact in float64
    near = 2 * np.pi * np.arange(size) * turns[:, None]  # (K, B)
    ramp = np.arange(size) / size
    sine, cosine = np.sin(far), np.cos(far)
    now, then = levels[:-1], levels[1:]
    left = np.concatenate([now * sine, then * sine, now * cosine, then * cosine], 1, dtype=np.float32)
    cos_near, sin_near = np.cos(near), np.sin(near)
    right = np.concatenate(
        [cos_near * (1 - ramp), cos_near * ramp, sin_near * (1 - ramp), sin_near * ramp], dtype=np.float32
    )
    return (left @ right).reshape(-1)[:samples]


def bessel(order: int, x: NDArray) -> NDArray:
    """J_0..J_order (order + 1, ...) of x: the Fourier coefficients of exp(i x sin)."""
    points = 2 * (order + 33)
    angle = 2 * np.pi * np.arange(points) / points
    wave = np.exp(1j * np.asarray(x)[..., None] * np.sin(angle))
    return np.moveaxis(np.fft.fft(wave).real[..., : order + 1] / points, -1, 0)
