"""Sounds with known notes, beats and chords, made of sines and noise: small, and of nobody's making but ours."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.chords import Chord
from domains.audio.controls.controls import Controls
from domains.audio.controls.frames import RATE
from domains.audio.controls.notes import Note


def sine(frequency: float, seconds: float, level: float = 0.5, rate: int = RATE) -> np.ndarray:
    """(n,) float32."""
    return (level * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def tone(note: Note, gain: float, partials: int = 5) -> np.ndarray:
    """A note with overtones that fall off, a soft start and a soft end."""
    n = round((note.end - note.start) * RATE)
    t = np.arange(n) / RATE
    made = sum(np.sin(2 * np.pi * k * note.frequency * t) / k**1.5 for k in range(1, partials + 1))
    fade = np.minimum(1, np.minimum(t / 0.01, (n / RATE - t) / 0.02))
    return gain * note.velocity / 127 * made * np.maximum(fade, 0) * np.exp(-0.8 * t)


def clicks(times: Sequence[float], seconds: float, loud: Sequence[float] | None = None) -> np.ndarray:
    """Bursts of noise of 20 ms at the times."""
    wave, rng = np.zeros(round(seconds * RATE)), np.random.default_rng(0)
    for n, at in enumerate(times):
        add(wave, at, (0.5 if loud is None else loud[n]) * burst(rng, 0.02, 0.005))
    return wave.astype(np.float32)


def burst(rng: np.random.Generator, seconds: float, decay: float) -> np.ndarray:
    n = round(seconds * RATE)
    return rng.standard_normal(n) * np.exp(-np.arange(n) / RATE / decay)


def add(wave: np.ndarray, at: float, piece: np.ndarray) -> None:
    first = round(at * RATE)
    last = min(len(wave), first + len(piece))
    wave[first:last] += piece[: last - first]


def band(
    asked: Controls, *, melody: float = 0.25, chords: float = 0.06, drums: float = 0.25, seed: int = 0
) -> np.ndarray:
    """Controls played: melody and chords as tones, a kick on downbeats, a tick on beats."""
    rng = np.random.default_rng(seed)
    wave = np.zeros(asked.samples(RATE))
    for note in asked.melody or ():
        add(wave, note.start, tone(note, melody))
    for chord in asked.chords or ():
        low = 36 + chord.root
        for pitch in (low, *(60 - 12 + c for c in chord.pitch_classes)):
            add(
                wave,
                chord.start,
                tone(Note(chord.start, chord.end, pitch, 100), chords * (2 if pitch == low else 1), 3),
            )
    if asked.grid is not None and drums:
        down = asked.grid.downbeats(asked.length)
        for at in asked.grid.beats(asked.length):
            add(wave, at, 0.3 * drums * burst(rng, 0.05, 0.01))
        for at in down:
            t = np.arange(round(0.15 * RATE)) / RATE
            add(wave, at, drums * np.sin(2 * np.pi * 55 * t) * np.exp(-t / 0.06))
    return (wave / max(1.0, np.abs(wave).max())).astype(np.float32)


def song(seed: int, *, bpm: float = 100.0, metre: str = "4/4", bars: int = 4, tonic: int = 0) -> Controls:
    """A melody on chord tones over four chords of a major key, one chord a bar."""
    rng = np.random.default_rng(seed)
    grid = BeatGrid.steady(bpm, metre)
    length = grid.bars_last(bars)
    scale = [(0, "maj"), (9, "min"), (5, "maj"), (7, "maj")]
    edges = [*grid.downbeats(length), length]
    chords = [
        Chord(a, b, (tonic + scale[n % 4][0]) % 12, scale[n % 4][1])
        for n, (a, b) in enumerate(zip(edges, edges[1:], strict=False))
    ]
    starts = grid.beats(length)
    notes = []
    for start, end in zip(starts, [*starts[1:], length], strict=True):
        inner = next(chord for chord in chords if chord.start <= start + 1e-9 < chord.end)
        pitch = 72 + int(rng.choice(inner.pitch_classes))
        notes.append(Note(start, min(end, length), pitch, int(rng.integers(70, 120))))
    return Controls(length=length, melody=tuple(notes), grid=grid, chords=tuple(chords))
