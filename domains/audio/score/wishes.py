"""What the score model is asked, on the grid of sixteenths: melody, dynamics, chords, drums, each where it binds.

    melody 12   one-hot pitch class          dynamics 1   (dB below full velocity + 12) / 6
    chords 24   one-hot root and quality     drums 3      kick, snare, cymbal begins
    bound  4    1 where melody, dynamics, chords, drums bind; a control is 0 where it does not
    beats  2    beat, downbeat: always given, the grid is what the model writes on

Masks follow Music ControlNet (Wu et al. 2023): controls are dropped at random, all and none more often than chance has
it, and half of the time each that is left is cleared in a span of its own. The channels of `bound` are this suite's.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.compose.score import STEP, Score
from domains.audio.controls.chords import QUALITIES, Chord

KINDS: Final = ("melody", "dynamics", "chords", "drums")
WIDTHS: Final = {"melody": 12, "dynamics": 1, "chords": 12 + len(QUALITIES), "drums": 3}
CHANNELS: Final = sum(WIDTHS.values()) + len(KINDS) + 2
DRUMS: Final = {35: 0, 36: 0, 37: 1, 38: 1, 39: 1, 40: 1, 42: 2, 44: 2, 46: 2, 49: 2, 51: 2, 54: 2, 70: 2}
MIDDLE, SPAN = -12.0, 6.0  # dB: dynamics become (dB - MIDDLE) / SPAN
NONE, ALL = 0.2, 0.2  # chance to drop every control, and to drop none; otherwise each with chance a half
SPANS: Final = 0.5  # chance that what is left is cleared in spans


def wishes(score: Score, first: int, steps: int) -> dict[str, NDArray]:
    """What is true of a score from sixteenth `first` on: controls by kind (channels, steps), and beats (2, steps)."""
    place = (first + np.arange(steps)) * STEP
    out = {kind: np.zeros((width, steps), np.float32) for kind, width in WIDTHS.items()}
    tune = score.part("melody")
    for onset, end, pitch in zip(tune.onset, tune.end, tune.pitch, strict=True):
        low, high = np.searchsorted(place, [onset - 1e-6, end - 1e-6])
        out["melody"][:, low:high] = 0  # of two voices an octave apart the class is one
        out["melody"][int(pitch) % 12, low:high] = 1
    out["dynamics"][0] = (score.level(place) - MIDDLE) / SPAN
    chord, names = score.harmony.at(place), list(QUALITIES)
    out["chords"][score.harmony.root[chord], np.arange(steps)] = 1
    out["chords"][[12 + names.index(score.harmony.quality[k]) for k in chord], np.arange(steps)] = 1
    drums = score.part("drums")
    step = np.rint(drums.onset / STEP).astype(int) - first
    for at, key in zip(step, drums.pitch, strict=True):
        if 0 <= at < steps and int(key) in DRUMS:
            out["drums"][DRUMS[int(key)], at] = 1
    beats = np.stack([np.isclose(place % score.beat, 0), np.isclose(place % score.bar, 0)]).astype(np.float32)
    return {**out, "beats": beats}


Line = tuple[int, int, int]  # first sixteenth, the one after the last, pitch


def of_lines(
    steps: int,
    *,
    melody: Iterable[Line] = (),
    levels: NDArray | None = None,
    chords: Sequence[Chord | None] = (),
    strokes: Iterable[tuple[int, int]] = (),
    beats: Iterable[int] = (),
    downbeats: Iterable[int] = (),
) -> dict[str, NDArray]:
    """The same of what a user asks, already on the grid: channels by kind, (channels, steps), and beats.

    levels (steps,) dB below full velocity;  chords  one a sixteenth;  strokes  (sixteenth, key of the percussion map)
    What lies outside of 0 .. steps - 1 is left out.
    """
    out = {kind: np.zeros((width, steps), np.float32) for kind, width in WIDTHS.items()}
    for first, last, pitch in melody:
        out["melody"][:, max(first, 0) : max(last, 0)] = 0
        out["melody"][pitch % 12, max(first, 0) : max(last, 0)] = 1
    if levels is not None:
        out["dynamics"][0] = (levels - MIDDLE) / SPAN
    names = list(QUALITIES)
    for step, chord in enumerate(chords):
        if chord is not None:
            out["chords"][[chord.root, 12 + names.index(chord.quality)], step] = 1
    for step, key in strokes:
        if 0 <= step < steps and key in DRUMS:
            out["drums"][DRUMS[key], step] = 1
    out["beats"] = np.zeros((2, steps), np.float32)
    for row, places in enumerate((beats, downbeats)):
        out["beats"][row, [place for place in places if 0 <= place < steps]] = 1
    return out


def joined(asked: dict[str, NDArray], bound: NDArray) -> NDArray:
    """The condition (CHANNELS, steps) float32 of controls by kind, `bound` (4, steps) saying where each binds."""
    parts = [asked[kind] * bound[row] for row, kind in enumerate(KINDS)]
    return np.concatenate([*parts, bound, asked["beats"]]).astype(np.float32)


def draw_bound(rng: np.random.Generator, steps: int) -> NDArray:
    """Where each control binds (4, steps) in one training example."""
    kind = rng.random()
    kept = np.ones(len(KINDS), bool) if kind < ALL else np.zeros(len(KINDS), bool)
    if kind >= ALL + NONE:
        kept = rng.random(len(KINDS)) < 0.5
    bound = np.repeat(kept[:, None], steps, axis=1).astype(np.float32)
    if rng.random() < SPANS:
        for row in range(len(KINDS)):
            start, end = sorted(rng.integers(0, steps + 1, 2))
            bound[row, start:end] = 0
    return bound
