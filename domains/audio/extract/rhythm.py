"""Rhythm: onsets, tempo with its double and half, beats by librosa's tracker (Ellis 2007), and a choice of downbeats.

A tracker finds the pulse and not how people count it: 184 for a loop of 92 beats a minute is one of its errors. So the
double and the half are reported with their strength, and `bpm` and `metre` may be given. Downbeats are a vote of three
accents at every beat - new bass, new harmony, loud onset - for the phase that stands out; they are a guess.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls.beats import BeatGrid, Metre
from domains.audio.controls.frames import HOP, RATE, frame_times
from domains.audio.extract.spectra import WINDOW

MELS: Final = 128
RANGE: Final = 80.0  # dB below the loudest band that count
BASS: Final = 160.0  # Hz
STEADY: Final = 0.03  # seconds; beats this near to a straight line have one tempo
REACH: Final = 4  # frames around a beat in which its onset is looked for
FAINT: Final = 0.1  # of the median strength: weaker beats at the ends are none
LEAST: Final = 0.3  # dB over all bands: what becomes louder by less has no beat
METRES: Final = ("4/4", "3/4")  # what is tried when nobody says
FEWEST: Final = 4  # beats
SLOWEST, FASTEST = 40.0, 240.0  # beats a minute


@dataclass(frozen=True, eq=False)
class Rhythm:
    """beats, downbeats   seconds, those that were heard
    grid      the grid through them, which goes on over the whole clip; one tempo where the beats are steady
    bpm       beats a minute: the median
    others    tempi that people may hear instead (double, half, ...) with their strength beside the chosen one's 1
    steady    whether one tempo explains all beats
    """

    beats: NDArray[np.float64]
    downbeats: NDArray[np.float64]
    grid: BeatGrid
    bpm: float
    others: tuple[tuple[float, float], ...]
    steady: bool


@cache
def mel_bank() -> NDArray[np.float32]:
    """(128, 1025) mel filters."""
    import librosa

    return np.asarray(librosa.filters.mel(sr=RATE, n_fft=WINDOW, n_mels=MELS), dtype=np.float32)


def mel_levels(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """(1025, T) power -> (128, T) dB."""
    return np.asarray(10 * np.log10(mel_bank() @ power + 1e-10), dtype=np.float32)


def bass_power(power: NDArray[np.float32]) -> NDArray[np.float32]:
    """(1025, T) power -> (T,) below 160 Hz."""
    return np.asarray(power[1 : round(BASS * WINDOW / RATE) + 1].sum(axis=0))


def onset_envelope(mels: NDArray[np.float32]) -> NDArray[np.float32]:
    """(128, T) dB -> (T,) how much louder the bands become: librosa's spectral flux."""
    import librosa

    floored = np.maximum(mels, mels.max() - RANGE)
    return np.asarray(librosa.onset.onset_strength(S=floored, sr=RATE, hop_length=HOP), dtype=np.float32)


def onset_frames(envelope: NDArray[np.float32]) -> NDArray[np.int64]:
    """Frames at which something begins."""
    import librosa

    if not envelope.any():
        return np.zeros(0, dtype=np.int64)
    return np.asarray(librosa.onset.onset_detect(onset_envelope=envelope, sr=RATE, hop_length=HOP), dtype=np.int64)


def rhythm(
    envelope: NDArray[np.float32],
    bass: NDArray[np.float32],
    chroma: NDArray[np.float32],
    *,
    bpm: float | None = None,
    metre: str | None = None,
) -> Rhythm | None:
    """The rhythm of a clip, or None when fewer than four beats are heard.

    envelope, bass   (T,) of the frames;  chroma (12, T)
    bpm, metre       beats a minute and metre when they are known
    """
    tempo, others = _tempo(envelope) if bpm is None else (bpm, ())
    frames = _tracked(envelope, tempo)
    if len(frames) < FEWEST:
        return None
    beats = frame_times(len(envelope) + 1)[frames]
    line, steady = _straight(beats) if bpm is None else _at_tempo(beats, bpm)
    times = line[line >= 0] if steady else beats
    places = np.clip(np.rint(times * RATE / HOP).astype(np.int64), 0, len(envelope) - 1)
    name, phase = _downbeat(places, envelope, bass, chroma, metre)
    found = bpm or float(60.0 / ((line[1] - line[0]) if steady else np.median(np.diff(beats))))
    grid = _steady(found, name, times, phase) if steady else BeatGrid.through(times.tolist(), name, phase)
    return Rhythm(times, times[phase :: Metre.named(name).beats], grid, found, others, steady)


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
    for place, way in ((0, -1), (len(frames), 1)):  # the tracker may leave out what stands at either end
        while (more := _next(envelope, frames[-(way > 0)] + way * step, 0.12 * step, FAINT * usual)) is not None:
            frames.insert(place if way < 0 else len(frames), more)
    return np.asarray(frames, dtype=np.int64)


def _next(envelope: NDArray[np.float32], guess: float, near: float, least: float) -> int | None:
    """The frame of an onset near a guess."""
    first, last = round(guess - near), round(guess + near) + 1
    if first < 0 or last > len(envelope) or envelope[first:last].max() < least:
        return None
    return first + int(envelope[first:last].argmax())


def _tempo(envelope: NDArray[np.float32]) -> tuple[float, tuple[tuple[float, float], ...]]:
    """Beats a minute by autocorrelation of the envelope, minute by minute, and others within the range."""
    import librosa

    part = 5120  # frames: a minute
    lags = round(8.0 * RATE / HOP)
    graphs = []
    for first in range(0, max(1, len(envelope) - len(envelope) % part), part):
        piece = envelope[first : first + part]
        graph = librosa.feature.tempogram(onset_envelope=piece, sr=RATE, hop_length=HOP, win_length=lags)
        graphs.append(graph.mean(axis=1))
    mean = np.mean(graphs, axis=0)
    tempo = float(librosa.feature.tempo(tg=mean[:, None], sr=RATE, hop_length=HOP)[0])
    peaks = 1 + np.flatnonzero((mean[1:-1] > mean[:-2]) & (mean[1:-1] >= mean[2:]))
    heard = [60.0 * RATE / HOP / float(lag) for lag in sorted(peaks, key=lambda lag: -mean[lag])]
    rivals = [tempo / 2, tempo * 2]
    for each in heard:
        if len(rivals) < 5 and all(abs(each / other - 1) > 0.06 for other in (tempo, *rivals)):
            rivals.append(each)
    own = max(_at(mean, tempo), 1e-9)
    found = [(round(each, 2), round(_at(mean, each) / own, 3)) for each in rivals if SLOWEST <= each <= FASTEST]
    return tempo, tuple(sorted(found, key=lambda pair: -pair[1]))


def _at(graph: NDArray[np.float64], bpm: float) -> float:
    """Strength of a tempo in an autocorrelation: the largest within a frame of its lag."""
    lag = round(60.0 / bpm * RATE / HOP)
    return float(graph[max(1, lag - 1) : lag + 2].max(initial=0.0))


def _straight(beats: NDArray[np.float64]) -> tuple[NDArray[np.float64], bool]:
    """The evenly spaced times nearest to beats, and whether they are near: nine in ten within 30 ms."""
    numbers = np.arange(len(beats))
    slope, first = np.polyfit(numbers, beats, 1)
    near = np.abs(first + slope * numbers - beats) < 2 * STEADY
    if near.sum() >= FEWEST:  # once more without the strays
        slope, first = np.polyfit(numbers[near], beats[near], 1)
    line = first + slope * numbers
    return line, bool(np.mean(np.abs(line - beats) < STEADY) >= 0.9)


def _at_tempo(beats: NDArray[np.float64], bpm: float) -> tuple[NDArray[np.float64], bool]:
    """Times at a tempo that is known to the digit, in the phase of the beats, and whether most beats lie there."""
    step = 60.0 / bpm
    first = float(np.angle(np.exp(2j * np.pi * beats / step).mean()) / (2 * np.pi) * step)
    places = (beats - first) / step
    line = first + step * np.arange(np.rint(places[0]), np.rint(places[-1]) + 1)
    return line, bool(np.mean(np.abs(places - np.rint(places)) * step < 2 * STEADY) >= 0.7) and len(line) >= FEWEST


def _steady(bpm: float, metre: str, times: NDArray[np.float64], phase: int) -> BeatGrid:
    """One tempo; the first downbeat is the last one at or before 0, so that the whole clip is counted."""
    bar = Metre.named(metre).beats * 60.0 / bpm
    first = float(times[phase])
    return BeatGrid.steady(bpm, metre, first - bar * np.ceil(first / bar - 1e-9) if first > 1e-9 else first)


def _downbeat(
    frames: NDArray[np.int64],
    envelope: NDArray[np.float32],
    bass: NDArray[np.float32],
    chroma: NDArray[np.float32],
    metre: str | None,
) -> tuple[str, int]:
    """The metre and which beat is the first downbeat: where accents stand out most."""
    accents = _accents(frames, envelope, bass, chroma)
    best, chosen = -np.inf, (metre or METRES[0], 0)
    for name in METRES if metre is None else (metre,):
        beats = Metre.named(name).beats
        if beats == 1 or len(frames) < 2 * beats:
            continue
        for phase in range(beats):
            on = np.zeros(len(frames), dtype=bool)
            on[phase::beats] = True
            spread = accents.std() * np.sqrt(1 / on.sum() + 1 / (~on).sum()) + 1e-9
            score = (accents[on].mean() - accents[~on].mean()) / spread
            if score > best:
                best, chosen = score, (name, phase)
    return chosen


def _accents(
    frames: NDArray[np.int64], envelope: NDArray[np.float32], bass: NDArray[np.float32], chroma: NDArray[np.float32]
) -> NDArray[np.float64]:
    """(beats,) the sum of three accents; about 1 each for a loud onset, a tenfold bass, and another chord."""
    ends = np.append(frames[1:], len(envelope))
    onset = np.array([envelope[max(0, f - REACH) : f + REACH + 1].max() for f in frames], dtype=np.float64)
    after = np.array([bass[f : f + 3 * REACH].mean() for f in frames], dtype=np.float64)
    before = np.array([bass[max(0, f - 3 * REACH) : max(1, f - REACH // 2)].mean() for f in frames], dtype=np.float64)
    floor = 1e-4 * max(float(after.max()), 1e-6)
    rise = np.clip(np.log10((after + floor) / (before + floor)), 0.0, 2.0)
    held = np.stack([chroma[:, f:e].mean(axis=1) for f, e in zip(frames, ends, strict=True)])
    held = held / (np.linalg.norm(held, axis=1, keepdims=True) + 1e-9)
    change = np.concatenate([[0.0], 1 - (held[1:] * held[:-1]).sum(axis=1)])
    change[0] = change[1:].mean()
    return np.asarray((onset - onset.mean()) / max(float(onset.std()), 1e-9) + rise + 4 * change)
