"""What is odd about a recording, block by block: peak, silence, offset, clipping, opposed channels, bandwidth."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

SILENT: Final = 1e-4  # -80 dB of full scale: below it, nothing is heard
OFF_CENTRE: Final = 0.005  # mean of the samples that is worth a word
CLIPPED: Final = 3  # samples in a row at the peak that no microphone gives
WINDOW: Final = 4096  # samples of a spectrum
FLOOR: Final = 1e-8  # -80 dB below the strongest band: what lies under it is no sound


@dataclass
class Measures:
    """Sums over the blocks of a file; `add` takes (n, channels) float32."""

    rate: int
    channels: int
    samples: int = 0
    peak: float = 0.0
    clipped: int = 0
    spectra: int = 0
    sums: NDArray[np.float64] = field(init=False)  # (channels,)
    squares: NDArray[np.float64] = field(init=False)  # (channels + 1,): of every channel, of their mean
    spectrum: NDArray[np.float64] = field(init=False)  # (WINDOW / 2 + 1,) of the channels together

    def __post_init__(self) -> None:
        self.sums = np.zeros(self.channels)
        self.squares = np.zeros(self.channels + 1)
        self.spectrum = np.zeros(WINDOW // 2 + 1)

    def add(self, block: NDArray[np.float32]) -> None:
        self.samples += len(block)
        self.peak = max(self.peak, float(np.abs(block).max()))
        self.sums += block.sum(axis=0, dtype=np.float64)
        self.squares[:-1] += np.einsum("nc,nc->c", block, block, dtype=np.float64)
        mix = block.mean(axis=1)
        self.squares[-1] += float(np.dot(mix, mix))
        self.clipped += _flat_tops(block)
        size = WINDOW if len(block) >= WINDOW else 0 if self.spectra else len(block)  # a short file is one short window
        if size:
            pieces = block[: len(block) // size * size].reshape(-1, size, self.channels)
            windowed = pieces * np.hanning(size).astype(np.float32)[None, :, None]
            self.spectrum += (np.abs(np.fft.rfft(windowed, WINDOW, axis=1)) ** 2).sum(axis=(0, 2))
            self.spectra += len(pieces)

    @property
    def offset(self) -> NDArray[np.float64]:
        """(channels,) mean of the samples."""
        return self.sums / max(1, self.samples)

    @property
    def level(self) -> NDArray[np.float64]:
        """(channels + 1,) root mean square around the mean, of every channel and of their mix."""
        offsets = np.append(self.offset, self.offset.mean())
        return np.sqrt(np.maximum(self.squares / max(1, self.samples) - offsets**2, 0.0))

    @property
    def silent(self) -> bool:
        """Whether no channel holds anything but an offset."""
        return bool(self.level[:-1].max() < SILENT / 10) or self.peak < SILENT

    @property
    def opposed(self) -> bool:
        """Whether the mean of the channels has lost what they hold: less than a tenth of their level."""
        return self.channels > 1 and bool(self.level[-1] < 0.1 * self.level[:-1].max())

    @property
    def bandwidth(self) -> float:
        """Hz up to which the recording holds sound: the highest band within 80 dB of the strongest."""
        power = self.spectrum.copy()
        power[:2] = 0.0  # the offset
        bands = np.convolve(power, np.ones(5) / 5, mode="same")
        above = np.flatnonzero(bands > FLOOR * bands.max())
        return float((above[-1] if len(above) else 0) * self.rate / WINDOW)


def _flat_tops(block: NDArray[np.float32]) -> int:
    """Samples in runs of three or more that stay at the top or bottom of the block, near full scale."""
    found = 0
    for channel in block.T:
        for side in (channel, -channel):
            top = float(side.max())
            if top < 0.5:
                continue
            flat = np.concatenate([[0], (side >= top - 1e-4).astype(np.int8), [0]])
            steps = np.flatnonzero(np.diff(flat))
            runs = steps[1::2] - steps[::2]
            found += int(runs[runs >= CLIPPED].sum())
    return found
