"""A drum kit from three materials: a falling sine (skins), a ring of partials (metal and wood), and bands of noise.

Keys are those of General MIDI's percussion map; a key without a drum of its own takes the nearest that has one.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.synth.noise import noise
from domains.audio.synth.partials import additive, edges

QUIET: Final = 7.0  # nepers after which a stroke is over (-61 dB)
LONGEST: Final = 2.5  # s
COMMON: Final = 44_100  # samples a second at which strokes are levelled
WINDOW: Final = 0.05  # s: the loudest such window sets the level
_METAL: Final = (3450.0, 4310.0, 5230.0, 6270.0, 7440.0, 8890.0, 10350.0, 12200.0)


@dataclass(frozen=True)
class Skin:
    """A sine that falls from `high` to `low` Hz within `fall` seconds and dies at `decay` nepers a second."""

    high: float
    low: float
    fall: float
    decay: float
    gain: float = 1.0


@dataclass(frozen=True)
class Ring:
    """Partials (Hz) that die together."""

    partials: tuple[float, ...]
    decay: float
    gain: float = 1.0


@dataclass(frozen=True)
class Hiss:
    """Noise between two frequencies, up within `rise` seconds; bursts: seconds before it of earlier, short strokes."""

    low: float
    high: float
    decay: float
    gain: float = 1.0
    bursts: tuple[float, ...] = ()
    rise: float = 0.0015


Material = Skin | Ring | Hiss
KIT: Final[dict[int, tuple[Material, ...]]] = {
    35: (Skin(110, 45, 0.03, 9.0), Hiss(30, 400, 60.0, 0.2)),
    36: (Skin(160, 50, 0.025, 11.0), Hiss(1000, 4000, 160.0, 0.25)),
    37: (Ring((480.0, 1650.0, 2900.0), 55.0), Hiss(1500, 6000, 130.0, 0.4)),
    38: (Skin(240, 185, 0.02, 20.0, 0.7), Ring((330.0,), 24.0, 0.25), Hiss(900, 9500, 17.0, 0.8)),
    39: (Hiss(800, 3500, 22.0, 1.0, (0.011, 0.022)),),
    40: (Hiss(1800, 9000, 14.0, 1.0, rise=0.02),),
    42: (Ring(_METAL, 55.0, 0.4), Hiss(6500, 16000, 48.0)),
    44: (Ring(_METAL, 70.0, 0.5), Hiss(4500, 12000, 60.0)),
    45: (Skin(150, 95, 0.05, 9.0), Hiss(200, 1500, 45.0, 0.2)),
    46: (Ring(_METAL, 8.0, 0.5), Hiss(5500, 15000, 8.0)),
    47: (Skin(200, 130, 0.05, 10.0), Hiss(200, 1800, 45.0, 0.2)),
    49: (Ring(_METAL, 3.0, 0.35), Hiss(2500, 16000, 3.2), Hiss(500, 3000, 14.0, 0.5)),
    50: (Skin(270, 180, 0.05, 11.0), Hiss(300, 2000, 45.0, 0.2)),
    51: (Ring((2950.0, 3870.0, 5110.0, 6700.0, 8200.0), 7.0, 0.6), Hiss(4000, 13000, 9.0, 0.35)),
    54: (Ring((5200.0, 6900.0, 8800.0, 11000.0), 22.0, 0.7), Hiss(5000, 14000, 30.0, 0.7, (0.03,))),
    56: (Ring((562.0, 845.0, 1690.0), 16.0),),
    63: (Skin(330, 300, 0.01, 18.0), Hiss(600, 3000, 90.0, 0.25)),
    64: (Skin(215, 195, 0.01, 13.0), Hiss(400, 2500, 90.0, 0.2)),
    70: (Hiss(4500, 14000, 40.0, 1.0, rise=0.012),),
    75: (Ring((2490.0, 4980.0), 45.0),),
}


@lru_cache(maxsize=512)
def stroke(key: int, layer: int, layers: int, rate: int) -> NDArray:
    """One stroke (n,) float32; at 44.1 kHz its loudest 50 ms have RMS 1. Softer layers lose hiss and high ring."""
    out = (_strike(key, layer, layers, rate) / _loudest(key, layer, layers)).astype(np.float32)
    out.setflags(write=False)
    return out


@lru_cache(maxsize=512)
def _loudest(key: int, layer: int, layers: int) -> float:
    """RMS of the loudest 50 ms at the common rate, so that a drum is as loud at every rate as its band allows."""
    power = np.cumsum(np.concatenate([[0.0], _strike(key, layer, layers, COMMON) ** 2]))
    window = min(len(power) - 1, int(WINDOW * COMMON))
    return float(np.sqrt((power[window:] - power[:-window]).max() / window))


def _strike(key: int, layer: int, layers: int, rate: int) -> NDArray:
    drum = KIT[min(KIT, key=lambda known: (abs(known - key), known))]
    force = (layer + 0.5) / layers
    samples = int(min(QUIET / min(part.decay for part in drum), LONGEST) * rate)
    time = np.arange(samples) / rate
    out: NDArray = np.sum([_sound(part, time, rate, key * 8 + n, force) for n, part in enumerate(drum)], axis=0)
    fade = min(samples, int(0.02 * rate))
    out[-fade:] *= 0.5 * (1 + np.cos(np.pi * np.arange(1, fade + 1) / fade))
    return out


def _sound(part: Material, time: NDArray, rate: int, seed: int, force: float) -> NDArray:
    """One material over all samples of a stroke."""
    if isinstance(part, Skin):
        turns = part.low * time + (part.high - part.low) * part.fall * (1 - np.exp(-time / part.fall))
        return part.gain * _onset(time, 0.0008) * np.exp(-part.decay * time) * np.cos(2 * np.pi * turns)
    if isinstance(part, Ring):
        partials = np.array(part.partials)
        levels = np.exp(-part.decay * edges(rate, len(time)))[:, None] * np.full(len(partials), len(partials) ** -0.5)
        phase = np.modf(np.arange(1, len(partials) + 1) * 0.6180339887)[0]
        ringing = additive(partials, phase, levels, rate, len(time))
        return part.gain * (0.4 + 0.6 * force) * _onset(time, 0.0008) * ringing
    envelope = np.exp(-part.decay * time) * _onset(time, part.rise)
    for before in part.bursts:  # earlier strokes of the same hand, short
        since = time - (max(part.bursts) - before)
        envelope = envelope + np.where(since >= 0, np.exp(-120 * since) * _onset(since, 0.001), 0)
    sounding = np.resize(noise(part.low, part.high, seed, rate), len(time))
    return part.gain * (0.3 + 0.7 * force) * envelope * sounding


def _onset(time: NDArray, rise: float) -> NDArray:
    """Half a cosine from just above 0 to 1 within `rise` seconds."""
    return 0.5 * (1 - np.cos(np.pi * np.clip((time + 1e-5) / rise, 0, 1)))
