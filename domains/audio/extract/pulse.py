"""The pulse: beats by librosa's tracker (Ellis 2007), or by a comb where one tempo explains the clip as well.

The tracker goes from onset to onset and may change to the off-beats on the way. The comb puts evenly spaced teeth over
the whole clip - every tempo within 3 %, every phase - and counts onsets and rising bass under them, which mark beats
better than off-beats. It is taken when under its teeth sounds at least 80 % of what sounds at the tracked beats.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls.frames import HOP, RATE

FEWEST: Final = 4  # beats
REACH: Final = 4  # frames around a beat in which its onset is looked for
FAINT: Final = 0.25  # of the median strength: weaker beats at the ends are none
LEAST: Final = 0.3  # dB over all bands: what becomes louder by less has no beat
SPREAD: Final = 0.03  # of the tempo, within which the comb looks
ENOUGH: Final = 0.8  # of the tracked strength, at which the comb is believed
LONGEST: Final = 240 * RATE // HOP  # frames; nobody keeps one tempo for longer, to the hundredth of a second


@dataclass(frozen=True, eq=False)
class Pulse:
    """frames (n,) of the beats, fractions allowed; steady: whether they are evenly spaced."""

    frames: NDArray[np.float64]
    steady: bool


def find_pulse(
    envelope: NDArray[np.float32], bass: NDArray[np.float32], tempo: float, *, known: bool = False
) -> Pulse | None:
    """The beats of a clip, or None when fewer than four are heard.

    envelope, bass   (T,) onsets in dB, power of the bass;  tempo  beats a minute, kept to the digit when it is `known`
    """
    tracked = _tracked(envelope, tempo)
    if not len(tracked):
        return None
    if len(envelope) <= LONGEST:
        marks = _marks(envelope, bass)
        comb = _comb(envelope, marks, tempo, known)
        if len(comb) >= FEWEST and _under(marks, comb) >= ENOUGH * _under(marks, tracked):
            return Pulse(comb, True)
    return Pulse(tracked.astype(np.float64), False) if len(tracked) >= FEWEST else None


def _marks(envelope: NDArray[np.float32], bass: NDArray[np.float32]) -> NDArray[np.float64]:
    """(T,) what marks a beat: onsets, and the bass becoming louder within 46 ms, each in units of its spread."""
    levels = 10 * np.log10(bass + 1e-3 * float(bass.max()) + 1e-12)
    rise = np.zeros(len(levels))
    rise[REACH:] = np.maximum(0.0, levels[REACH:] - levels[:-REACH])
    return np.asarray(envelope / (envelope.std() + 1e-6) + 0.7 * rise / (rise.std() + 1.0))


def _under(marks: NDArray[np.float64], frames: NDArray) -> float:
    """Mean strength at beats, each the strongest within 46 ms."""
    at = np.rint(frames).astype(int)
    return float(np.mean([marks[max(0, f - REACH) : f + REACH + 1].max(initial=0.0) for f in at]))


def _comb(envelope: NDArray[np.float32], marks: NDArray[np.float64], tempo: float, known: bool) -> NDArray[np.float64]:
    """Frames of evenly spaced beats with the most marks under them, the spacing fitted to the onsets near them."""
    total, period = len(marks), 60.0 / tempo * RATE / HOP
    if total < FEWEST * period:
        return np.zeros(0)
    wide = np.maximum(marks, np.maximum(np.roll(marks, 1), np.roll(marks, -1)))
    steps = 1 if known else 2 * round(SPREAD * total / 2) + 1  # so close that the last tooth moves by a frame
    best, spacing, first = -np.inf, period, 0.0
    for each in period * (1 + np.linspace(-SPREAD, SPREAD, steps) * (steps > 1)):
        phases = np.arange(int(each))
        teeth = np.arange(int((total - 1 - phases[-1]) // each) + 1)
        scores = wide[np.rint(phases[:, None] + each * teeth[None]).astype(int)].mean(axis=1)
        if scores.max() > best:
            best, spacing, first = float(scores.max()), float(each), float(phases[scores.argmax()])
    numbers = np.arange(int((total - 1 - first) // spacing) + 1)
    near = [_nearest(envelope, first + spacing * n) for n in numbers]
    heard = [(n, at) for n, at in zip(numbers, near, strict=True) if at is not None]
    if len(heard) < FEWEST:
        return np.zeros(0)
    n, at = np.array(heard, dtype=np.float64).T
    if not known:
        spacing = float(np.polyfit(n, at, 1)[0])
    line = float(np.median(at - spacing * n)) + spacing * np.arange(-1, len(numbers) + 1)
    strengths = np.array(
        [envelope[max(0, round(f) - REACH) : max(0, round(f)) + REACH + 1].max(initial=0.0) for f in line]
    )
    strengths[(line < 0) | (line > total - 1)] = 0.0
    kept = np.flatnonzero(strengths >= FAINT * np.median(strengths[strengths > 0]))
    return np.asarray(line[kept[0] : kept[-1] + 1], dtype=np.float64)


def _nearest(envelope: NDArray[np.float32], guess: float) -> int | None:
    """The frame of the strongest onset within 46 ms of a guess, if there is one."""
    first = max(0, round(guess) - REACH)
    piece = envelope[first : round(guess) + REACH + 1]
    return None if piece.max(initial=0.0) < LEAST else first + int(piece.argmax())


def _tracked(envelope: NDArray[np.float32], tempo: float) -> NDArray[np.int64]:
    """Frames of the beats, from the first to the last at which something is heard; none when nothing has an onset."""
    import librosa

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numba's first call may warn of its own cache
        _, found = librosa.beat.beat_track(onset_envelope=envelope, sr=RATE, hop_length=HOP, bpm=tempo, trim=False)
    frames = [int(frame) for frame in found]
    strengths = [float(envelope[max(0, frame - REACH) : frame + REACH + 1].max()) for frame in frames]
    usual = float(np.median(strengths)) if strengths else 0.0
    if usual < LEAST:
        return np.zeros(0, dtype=np.int64)
    heard = [n for n, strength in enumerate(strengths) if strength >= FAINT * usual]
    frames = frames[heard[0] : heard[-1] + 1]
    step = 60.0 / tempo * RATE / HOP
    for way in (-1, 1):  # the tracker may leave out what stands at either end
        while (more := _next(envelope, frames[-(way > 0)] + way * step, 0.12 * step, FAINT * usual)) is not None:
            frames.insert(0 if way < 0 else len(frames), more)
    return np.asarray(frames, dtype=np.int64)


def _next(envelope: NDArray[np.float32], guess: float, near: float, least: float) -> int | None:
    """The frame of an onset near a guess."""
    first, last = round(guess - near), round(guess + near) + 1
    if first < 0 or last > len(envelope) or envelope[first:last].max() < least:
        return None
    return first + int(envelope[first:last].argmax())
