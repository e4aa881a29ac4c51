"""Instruments: what the partials of a note are, from program, pitch and velocity.

Every voice is a set of partials whose amplitudes move in time:

    plucked and struck strings   the modes of a Karplus-Strong loop in closed form: partial k starts at
                                 |sin(pi k p)| / k^tilt and falls at `decay` + `damping` (f / 1 kHz)^2 nepers a second,
                                 as the loop's mean of two samples makes it (Jaffe and Smith 1983)
    bars and bells               the same with the ratios of bars and bells
    bowed, blown, organs         steady partials, higher ones later, under the formants of a body
    subtractive                  a saw or square under a four-pole low-pass that closes: the filter acts on each partial
    frequency modulation         carrier and sidebands with Bessel amplitudes of an index that falls (Chowning 1973)

A harder stroke is brighter (`bright`) and opens the filter further.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.synth.partials import HIGHEST, bessel

MOST: Final = 72  # partials
FAINT: Final = 1e-4  # of the strongest: partials below are left away
MODULATED: Final = 12  # sidebands on each side
SPOKEN: Final = 0.001  # s: a slow voice is already heard at its onset
LEVELLED: Final = 1.0  # s: the loudest moment of this time sets the level of a voice


@dataclass(frozen=True)
class Voice:
    """How a program sounds.

    tilt      amplitude of partial k is k^-tilt; even: factor of even partials
    pluck     place of pluck, hammer or bow on the string, 0: none
    stretch   inharmonicity B: f_k = k f sqrt(1 + B k^2)
    ratios    of bars and bells, for whole numbers; harmonics: amplitudes of the first partials, in place of tilt
    decay, damping   nepers a second of all partials, and more of high ones; 0: sustained
    attack, release  seconds
    cutoff    Hz of a low-pass at full velocity, 0: none; sweep: how many times higher it starts; closing: seconds
    formants  (Hz, width in Hz, gain) of the body
    unison    cents of detuned copies; tremolo: (Hz, depth); noise: (level, Hz from, Hz to, seconds; 0 is sustained)
    bright    how much softer notes lose of their high partials, as a power of k
    fm        (ratio of modulator, index, seconds of its fall, index that stays)
    octave    written octaves to move
    """

    tilt: float = 1.0
    even: float = 1.0
    pluck: float = 0.0
    stretch: float = 0.0
    ratios: tuple[float, ...] = ()
    harmonics: tuple[float, ...] = ()
    decay: float = 0.0
    damping: float = 0.0
    attack: float = 0.002
    release: float = 0.12
    cutoff: float = 0.0
    sweep: float = 1.0
    closing: float = 0.2
    formants: tuple[tuple[float, float, float], ...] = ()
    unison: tuple[float, ...] = (0.0,)
    tremolo: tuple[float, float] = (0.0, 0.0)
    noise: tuple[float, float, float, float] = (0.0, 0.0, 0.0, 0.0)
    bright: float = 0.6
    fm: tuple[float, float, float, float] | None = None
    octave: int = 0


@dataclass(frozen=True, eq=False)
class Spectrum:
    """frequency (K,) Hz, phase (K,) turns, levels (T, K): what `partials.additive` plays; loudest moment at RMS 1."""

    frequency: NDArray
    phase: NDArray
    levels: NDArray


def spectrum(voice: Voice, pitch: int, velocity: float, times: NDArray) -> Spectrum:
    """The partials of one note at these seconds after its onset; pitch is a MIDI number, velocity 0..1."""
    base = 440.0 * 2 ** ((pitch - 69) / 12 + voice.octave)
    course = np.arange(0, LEVELLED, 0.01)
    both = np.concatenate([course, times])
    frequency, levels = (_modulated if voice.fm else _partials)(voice, base, velocity, both)
    cents = 2.0 ** (np.array(voice.unison) / 1200)
    frequency = (frequency[None, :] * cents[:, None]).reshape(-1)
    levels = np.tile(levels / np.sqrt(len(cents)), (1, len(cents)))
    phase = np.modf(np.arange(1, len(frequency) + 1) * 0.6180339887 + pitch * 0.137)[
        0
    ]  # spread, and the same each time
    heard = (frequency < HIGHEST) & (np.abs(levels).max(0) > FAINT * np.abs(levels).max())
    frequency, phase, levels = frequency[heard], phase[heard], levels[:, heard]
    if voice.tremolo[1]:
        levels = levels * (1 + voice.tremolo[1] * np.sin(2 * np.pi * voice.tremolo[0] * both))[:, None]
    loudest = np.sqrt((levels[: len(course)] ** 2).sum(1).max() / 2)
    phase = np.modf(np.arange(1, len(frequency) + 1) * 0.6180339887 + pitch * 0.137)[
        0
    ]  # spread, and the same each time
    return Spectrum(frequency, phase, levels[len(course) :] / loudest)


def _partials(voice: Voice, base: float, velocity: float, times: NDArray) -> tuple[NDArray, NDArray]:
    """Frequencies (K,) and levels (T, K) of strings, bars, winds, organs and filtered waves."""
    if voice.ratios:
        ratio = np.array(voice.ratios)
        number = np.arange(1, len(ratio) + 1.0)
    else:
        most = len(voice.harmonics) or MOST
        number = np.arange(1, min(most, max(int(HIGHEST / base), 1)) + 1.0)
        ratio = number * np.sqrt(1 + voice.stretch * number**2)
    frequency = base * ratio
    start = np.array(voice.harmonics[: len(number)]) if voice.harmonics else number**-voice.tilt
    start = start * np.where(number % 2 == 0, voice.even, 1.0) * number ** (-voice.bright * (1 - velocity))
    if voice.pluck:
        start = start * np.abs(np.sin(np.pi * number * voice.pluck))
    for place, width, gain in voice.formants:
        start = start * (1 + (gain - 1) * np.exp(-(((frequency - place) / width) ** 2)))
    levels = np.broadcast_to(start, (len(times), len(start)))
    if voice.decay or voice.damping:
        fall = voice.decay * (base / 262) ** 0.5 + voice.damping * (frequency / 1000) ** 2
        levels = levels * np.exp(-times[:, None] * fall)
    if voice.cutoff:
        opened = 1 + (voice.sweep - 1) * np.exp(-times / voice.closing)
        edge = voice.cutoff * (0.35 + 0.65 * velocity) * (base / 262) ** 0.4 * opened
        levels = levels / (1 + (frequency / edge[:, None]) ** 4)
    if voice.attack > 0.02:  # slow winds and strings: high partials speak later
        levels = levels * (
            1 - np.exp(-(times[:, None] + SPOKEN) / (voice.attack * (0.3 + 0.1 * np.minimum(number, 10))))
        )
    return frequency, levels


def _modulated(voice: Voice, base: float, velocity: float, times: NDArray) -> tuple[NDArray, NDArray]:
    """sin(2 pi f t + I sin(2 pi r f t)) as partials f + n r f with amplitudes J_n(I); those below 0 Hz fold over."""
    ratio, index, fall, stays = voice.fm or (1.0, 0.0, 1.0, 0.0)
    course = (0.25 + 0.75 * velocity) * (stays + (index - stays) * np.exp(-times / fall))
    tables = bessel(MODULATED, course)  # (n, T)
    order = np.arange(-MODULATED, MODULATED + 1)
    place = base * (1 + order * ratio)
    sign = np.where((order < 0) & (order % 2 == 1), -1.0, 1.0) * np.where(place < 0, -1.0, 1.0)
    levels = (tables[np.abs(order)] * sign[:, None]).T
    merged, where = np.unique(np.round(np.abs(place), 6), return_inverse=True)
    summed = np.zeros((len(times), len(merged)))
    np.add.at(summed.T, where, levels.T)
    summed = summed * np.exp(-times[:, None] * voice.decay * (base / 262) ** 0.5)
    keep = merged > 1.0
    return merged[keep], summed[:, keep]
