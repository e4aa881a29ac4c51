"""Chords by templates over beats, and the key by the profiles of Temperley (2001).

Chroma come from a constant-Q transform from C1 on, so that bass counts. A chord is the template (major, minor, three
sevenths) whose cosine with the chroma of a beat is largest, along the path that changes seldom (Viterbi).
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls.chords import QUALITIES, Chord
from domains.audio.controls.frames import RATE
from domains.audio.controls.notes import Key

HOP: Final = 512  # samples, of the constant-Q frames
PART: Final = 60 * RATE // HOP * HOP  # samples at once
OVERLAP: Final = 4 * RATE // HOP * HOP  # samples on both sides: the longest filter lasts 1.5 s
HEARD: Final = ("maj", "min", "7", "maj7", "min7")  # qualities that templates tell apart
PLAIN: Final = 0.02  # how much better a seventh must fit than the triad
CHANGE: Final = 0.12  # what a change of chord costs, in cosine
LEAST: Final = 0.55  # cosine below which there is no chord
CHORD_TONES, KEY_TONES = 2.4, 4.0  # classes that must sound together in a beat, and in all: with fewer nobody can tell
SILENT: Final = 0.01  # by how much no chord is better where a beat says nothing: a chord before it goes on over it
# How often each degree sounds in a key: Temperley, from the Kostka-Payne corpus.
MAJOR: Final = (0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400)
MINOR: Final = (0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330)


def chroma(wave: NDArray[np.float32]) -> NDArray[np.float32]:
    """(12, T) of a wave at 22 050 Hz, a frame every 512 samples, minute by minute."""
    import librosa

    total = -(-len(wave) // HOP)
    found = []
    for begin in range(0, len(wave), PART):
        first = max(0, begin - OVERLAP)
        piece = wave[first : begin + PART + OVERLAP]
        if len(piece) < 2 * OVERLAP:  # too short for the lowest filters
            piece = np.pad(piece, (0, 2 * OVERLAP - len(piece)))
        part = librosa.feature.chroma_cqt(y=piece, sr=RATE, hop_length=HOP, tuning=0.0, norm=None)
        lead = (begin - first) // HOP
        found.append(part[:, lead : lead + min(PART // HOP, total - begin // HOP)])
    return np.concatenate(found, axis=1).astype(np.float32)


def key_of(chroma: NDArray[np.float32]) -> tuple[Key | None, float]:
    """(12, T) chroma -> the key, and by how much its correlation beats the next best key's. Loud frames count alike.

    None where fewer than `KEY_TONES` classes sound: a tone or a chord belongs to many keys.
    """
    peaks = chroma.max(axis=0)
    total = (chroma / np.maximum(peaks, 0.01 * float(peaks.max(initial=1e-9)))).sum(axis=1, dtype=np.float64)
    keys, scores = [], []
    for mode, profile in (("major", MAJOR), ("minor", MINOR)):
        for tonic in range(12):
            keys.append(Key(tonic, mode))
            scores.append(float(np.corrcoef(np.roll(profile, tonic), total)[0, 1]))
    order = np.argsort(scores)[::-1]
    return keys[order[0]] if _sounding(total) >= KEY_TONES else None, scores[order[0]] - scores[order[1]]


def chords_of(chroma: NDArray[np.float32], edges: NDArray[np.float64], length: float) -> tuple[Chord, ...]:
    """Chords between edges; none where most beats hold too few tones for a chord.

    chroma   (12, T) a frame every 512 samples
    edges    (n + 1,) seconds, ascending: a chord holds from one to another of them
    """
    names = [(root, quality) for quality in HEARD for root in range(12)]
    bank = np.stack([_template(root, quality) for root, quality in names])  # (60, 12)
    at = np.clip(np.rint(edges * RATE / HOP).astype(int), 0, chroma.shape[1])
    held = np.stack(
        [
            chroma[:, a : max(b, a + 1)].mean(axis=1) if a < chroma.shape[1] else np.zeros(12)
            for a, b in zip(at[:-1], at[1:], strict=True)
        ]
    )
    norms = np.linalg.norm(held, axis=1, keepdims=True)
    fits = (held / np.maximum(norms, 1e-9)) @ bank.T  # (n, 60)
    fits -= PLAIN * np.array([quality not in ("maj", "min") for _, quality in names])
    loud = norms[:, 0] > 1e-3 * max(float(norms.max()), 1e-9)
    fits = np.concatenate([fits, np.where(loud, LEAST, 1.0)[:, None]], axis=1)  # no chord
    thin = loud & (_sounding(held.T) < CHORD_TONES)
    if thin.sum() > loud.sum() / 2:
        return ()
    fits[thin] = np.where(np.arange(fits.shape[1]) < len(names), LEAST - SILENT, fits[thin])
    path = _seldom(fits)
    found: list[Chord] = []
    for n, state in enumerate(path):
        start, end = max(0.0, float(edges[n])), min(float(edges[n + 1]), length)
        if state == len(names) or start >= end:
            continue
        root, quality = names[state]
        if found and found[-1].end == start and (found[-1].root, found[-1].quality) == (root, quality):
            start = found.pop().start
        found.append(Chord(start, end, root, quality))
    return tuple(found)


def _sounding(power: NDArray[np.floating]) -> NDArray[np.float64]:
    """(12, ...) -> (...): how many classes share a sound, (sum v)^2 / sum v^2; 1 for a pure tone, 12 for noise."""
    return power.sum(axis=0) ** 2 / np.maximum((power**2).sum(axis=0), 1e-24)


def _template(root: int, quality: str) -> NDArray[np.float64]:
    """(12,) unit length: the tones of a chord, and faintly the fifth above each, its strongest overtone."""
    tones = np.zeros(12)
    for step in QUALITIES[quality]:
        tones[(root + step) % 12] += 1.0
        tones[(root + step + 7) % 12] += 0.2
    return tones / np.linalg.norm(tones)


def _seldom(fits: NDArray[np.float64]) -> list[int]:
    """The path of states with the largest sum, where every change costs `CHANGE`."""
    best, back = fits[0], []
    for row in fits[1:]:
        jump = int(best.argmax())
        stay = best >= best[jump] - CHANGE
        back.append(np.where(stay, np.arange(len(best)), jump))
        best = np.where(stay, best, best[jump] - CHANGE) + row
    path = [int(best.argmax())]
    for step in reversed(back):
        path.append(int(step[path[-1]]))
    return path[::-1]
