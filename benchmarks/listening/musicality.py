"""What tells music from noise in a roll, and how far sets of clips are from one another.

Everything here is read from notes on sixteenths, so that a model's takes and cuts of composed pieces are read alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.listening.styles import degrees, touch
from domains.audio.compose.score import ROLES, SCALES, STEP, Notes
from domains.audio.score import roll
from domains.audio.score.judge import held_classes, onset_levels

PITCHED: Final = ROLES[:3]
KEYS: Final = np.array(
    [
        [(step - tonic) % 12 in SCALES[mode] for step in range(12)]
        for mode in ("major", "harmonic")
        for tonic in range(12)
    ]
)  # (24, 12) the diatonic scales and the harmonic minor ones


def parts_of(notes: Notes) -> list[Notes]:
    """The notes of each role."""
    return [notes.take(notes.track == number) for number in range(len(ROLES))]


def clip_features(x: NDArray, bar: float) -> NDArray:
    """Of a roll (CHANNELS, steps) with bars of so many quarter notes: touch of each part, spread of the level, tones of
    the melody and of all pitches above the class that the bass sounds longest. Nothing of tempo, swing or metre."""
    notes = roll.decode(x)
    parts = parts_of(notes)
    level = onset_levels(x)
    spread = float(np.nanstd(level)) if np.isfinite(level).any() else 0.0
    bass = np.bincount(parts[2].pitch % 12, weights=parts[2].duration, minlength=12)
    pitched = notes.take(notes.track < len(PITCHED))
    tones = [degrees(each, int(bass.argmax())) for each in (parts[0], pitched)]
    return np.array([*touch(parts, x.shape[1] * STEP / bar), spread, *np.concatenate(tones)])


# -- is it music -----------------------------------------------------------------------------------


def in_scale(x: NDArray) -> float:
    """Share of the pitched notes in the scale that holds most of them; of random pitches well above 7/12."""
    notes = roll.decode(x)
    pitch = notes.pitch[notes.track < len(PITCHED)]
    return float((np.bincount(pitch % 12, minlength=12) * KEYS).sum(1).max() / len(pitch)) if len(pitch) else 0.0


def sounding(x: NDArray) -> NDArray[np.int64]:
    """(steps,) pitches that sound at once, drums left aside."""
    return np.sum([held_classes(x, role).sum(0) for role in PITCHED], axis=0)


def silence(x: NDArray) -> float:
    """Share of sixteenths in which no pitch sounds and no drum is struck."""
    drums = x[roll.CHANNELS - roll.LANES[-1].channels :] > 0
    return float(((sounding(x) == 0) & ~drums.any(0)).mean())


def polyphony(x: NDArray) -> float:
    """Pitches at once, over the sixteenths in which any sounds."""
    count = sounding(x)
    return float(count[count > 0].mean()) if (count > 0).any() else 0.0


def notes_a_bar(x: NDArray, bar: float) -> float:
    """Notes and strokes in a bar of so many quarter notes."""
    return len(roll.decode(x)) / (x.shape[1] * STEP / bar)


def on_beats(x: NDArray) -> float:
    """Share of the onsets on a quarter note; by chance a quarter of them."""
    notes = roll.decode(x)
    return float(np.isclose(notes.onset % 1, 0).mean()) if len(notes) else 0.0


def repetition(x: NDArray, bar: float) -> float:
    """How much of a bar comes again: the share of its onsets, by pitch and place, that the most similar other bar of
    the clip has (Jaccard), mean over bars."""
    steps = round(bar / STEP)
    bars = [onsets(x[:, at : at + steps]) for at in range(0, x.shape[1] - steps + 1, steps)]
    best = np.zeros(len(bars))
    for a, b in combinations(range(len(bars)), 2):
        alike = jaccard(bars[a], bars[b])
        best[a], best[b] = max(best[a], alike), max(best[b], alike)
    return float(best.mean())


def chord_tones(x: NDArray, tones: NDArray, strong: NDArray) -> float | None:
    """Share of the strong beats (steps, bool), of those on which the melody sounds, where it sounds a chord tone; tones
    (12, steps) bool. None where it sounds on none of them."""
    classes = held_classes(x, "melody") > 0
    sung = classes.any(0) & strong
    return float((classes & tones).any(0)[sung].mean()) if sung.any() else None


def onsets(x: NDArray) -> NDArray[np.bool_]:
    """(lanes' onset channels, steps) whether a note begins."""
    base, out = 0, []
    for lane in roll.LANES:
        out.append(x[base : base + len(lane.pitches)] > 0)
        base += lane.channels
    return np.concatenate(out)


def jaccard(a: NDArray, b: NDArray) -> float:
    """Size of the intersection over that of the union; of two empty sets 0."""
    either = (a | b).sum()
    return float((a & b).sum() / either) if either else 0.0


# -- spoiled --------------------------------------------------------------------------------------


def other_pitches(x: NDArray, rng: np.random.Generator) -> NDArray:
    """The same rhythm with every pitch and drum drawn anew from its lane."""
    notes = roll.decode(x)
    drawn = [int(rng.choice(roll.LANES[track].pitches)) for track in notes.track]
    rows = np.column_stack([notes.onset, notes.duration, drawn, notes.velocity, notes.track])
    return roll.encode(Notes.of(rows), 0, x.shape[1])


def other_places(x: NDArray, rng: np.random.Generator) -> NDArray:
    """The same notes, each beginning on a sixteenth that is drawn anew."""
    notes = roll.decode(x)
    onset = rng.integers(0, x.shape[1], len(notes)) * STEP
    rows = np.column_stack([onset, notes.duration, notes.pitch, notes.velocity, notes.track])
    return roll.encode(Notes.of(rows), 0, x.shape[1])


# -- distances -------------------------------------------------------------------------------------


def axes(x: NDArray, count: int) -> tuple[NDArray, NDArray, NDArray]:
    """Mean, scale (d,) and the `count` directions (d, count) of most variance of standardised features (n, d)."""
    mean, scale = x.mean(0), x.std(0) + 1e-6
    _, _, directions = np.linalg.svd((x - mean) / scale, full_matrices=False)
    return mean, scale, directions[:count].T


def frechet(a: NDArray, b: NDArray) -> float:
    """Frechet distance of the normal laws with the moments of two sets (n, d), n well above d:
    |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2))."""
    ca, cb = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    values, vectors = np.linalg.eigh(ca)
    half = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    root = np.sqrt(np.maximum(np.linalg.eigvalsh(half @ cb @ half), 0)).sum()
    return float(np.square(a.mean(0) - b.mean(0)).sum() + np.trace(ca) + np.trace(cb) - 2 * root)


def begun(x: NDArray, roles: Sequence[str] = PITCHED) -> NDArray[np.float32]:
    """(roles, 12, steps) 1 where a note of a pitch class begins."""
    base, found = 0, []
    for lane in roll.LANES:
        if lane.role in roles:
            own = np.zeros((12, x.shape[1]), np.float32)
            np.maximum.at(own, np.array(lane.pitches) % 12, (x[base : base + len(lane.pitches)] > 0).astype(np.float32))
            found.append(own)
        base += lane.channels
    return np.stack(found)


def nearest(new: Sequence[NDArray], known: NDArray, block: int = 4096) -> NDArray[np.float64]:
    """Jaccard distance (n,) of sets (roles, 12, steps) from the nearest of known ones (m, roles, 12, steps), over the
    twelve transpositions; 1 where nothing is in common."""
    best = np.ones(len(new))
    for low in range(0, len(known), block):
        refs = known[low : low + block].reshape(len(known[low : low + block]), -1)
        sizes = refs.sum(1)
        for up in range(12):
            moved = np.stack([np.roll(one, up, axis=1).ravel() for one in new])
            shared = moved @ refs.T
            either = moved.sum(1)[:, None] + sizes - shared
            best = np.minimum(best, 1 - (shared / np.maximum(either, 1)).max(1))
    return best
