"""Rhythm: onsets, tempo with its double and half, beats (see `pulse`), and a choice of downbeats.

A tracker finds the pulse and not how people count it: 184 for a loop of 92 beats a minute is one of its errors. So the
double and the half are reported with their strength, and `bpm` and `metre` may be given. Downbeats are a vote of three
accents at every beat - new bass, new harmony, loud onset - for the phase that stands out; they are a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls.beats import BeatGrid, Metre
from domains.audio.controls.frames import HOP, RATE
from domains.audio.extract.pulse import REACH, find_pulse
from domains.audio.extract.spectra import WINDOW

MELS: Final = 128
RANGE: Final = 80.0  # dB below the loudest band that count
BASS: Final = 160.0  # Hz
EARLY: Final = 2  # frames by which the flux comes before an onset
METRES: Final = ("4/4", "3/4")  # what is tried when nobody says
CLEAR: Final = 1.5  # standard errors by which accents of 3/4 must stand out; what is not clear is in 4/4
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
    """(128, T) dB -> (T,) how much louder the bands become: librosa's spectral flux.

    A sound enters the window of a frame half a window before its centre; on average the flux is largest 23 ms before
    the onset, by which it is moved (librosa's own 46 ms would find every beat late).
    """
    import librosa

    floored = np.maximum(mels, mels.max() - RANGE)
    flux = librosa.onset.onset_strength(S=floored, sr=RATE, hop_length=HOP, center=False)
    return np.pad(np.asarray(flux, dtype=np.float32), (EARLY, 0))[: len(flux)]


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
    pulse = find_pulse(envelope, bass, tempo, known=bpm is not None)
    if pulse is None:
        return None
    times = pulse.frames * (HOP / RATE)
    places = np.clip(np.rint(pulse.frames).astype(np.int64), 0, len(envelope) - 1)
    name, phase = _downbeat(places, envelope, bass, chroma, metre)
    found = bpm or float(60.0 / ((times[1] - times[0]) if pulse.steady else np.median(np.diff(times))))
    grid = _steady(found, name, times, phase) if pulse.steady else BeatGrid.through(times.tolist(), name, phase)
    return Rhythm(times, times[phase :: Metre.named(name).beats], grid, found, others, pulse.steady)


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
            if score > best and (score > CLEAR or name in (metre, METRES[0])):
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
    loud = np.clip((onset - onset.mean()) / max(float(onset.std()), 1e-9), -2.0, 2.0)
    return np.asarray(loud + rise + 4 * change)
