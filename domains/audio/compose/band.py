"""What the band plays under the melody: chords, bass and drums, read from the patterns of the genre.

Each function gives rows (onset, duration in quarter notes, pitch, accent in dB). A phrase letter keeps its pattern, so
that the accompaniment repeats where the melody does; a chord that changes under a held note is struck again.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.compose.genres import CRASH, HIGH_TOM, LOW_TOM, MID_TOM, SNARE, Genre, Groove
from domains.audio.compose.harmony import voicings
from domains.audio.compose.moods import Mood
from domains.audio.compose.score import CHORDS, STEP, Harmony

Row = tuple[float, float, int, float]
STROKES: Final = {"X": 2.0, "x": -1.0, "o": -8.0}  # dB
STROKE_LENGTH: Final = 0.25  # quarter notes; drums ring as they like
BASS_FLOOR: Final = 29  # F1
CHORD_CENTRE: Final = 60
LOUD: Final = -12.0  # dB; louder moods crash into a new phrase


def spans(pattern: str) -> list[tuple[int, int, str]]:
    """(onset, length in sixteenths, character) of a pattern's notes: "r--.5-" is (0, 3, r), (4, 2, 5)."""
    out: list[tuple[int, int, str]] = []
    for place, sign in enumerate(pattern):
        if sign == "-" and out and out[-1][0] + out[-1][1] == place:
            out[-1] = (out[-1][0], out[-1][1] + 1, out[-1][2])
        elif sign not in "-.":
            out.append((place, 1, sign))
    return out


def _struck(pattern: str, first: int, harmony: Harmony) -> list[tuple[int, int, str, int]]:
    """The notes of one bar from sixteenth `first`, cut where the chord changes: (onset, length, sign, chord)."""
    out, changes = [], [round(place / STEP) for place in harmony.onset.tolist()]
    for onset, length, sign in spans(pattern):
        at = first + onset
        edges = [at, *changes[bisect_right(changes, at) : bisect_left(changes, at + length)], at + length]
        for a, b in pairwise(edges):
            out.append((a, b - a, sign, harmony.index(a * STEP)))
    return out


def by_letter(rng: np.random.Generator, form: str, choices: Sequence[str]) -> dict[str, str]:
    """A pattern a letter: the first letter takes one at random, the others one that is new where there is one."""
    order = rng.permutation(len(choices))
    return {letter: choices[order[k % len(choices)]] for k, letter in enumerate(dict.fromkeys(form))}


def _bars(form: str, phrase: int, bars: int) -> list[str]:
    """The letter of every bar."""
    return [form[k // phrase] for k in range(bars)]


def chords(
    rng: np.random.Generator,
    genre: Genre,
    mood: Mood,
    metre: str,
    harmony: Harmony,
    form: str,
    phrase: int,
    bars: int,
) -> list[Row]:
    """Chords in close position, voices led from one to the next."""
    patterns, size = by_letter(rng, form, genre.comping[metre]), 16 if metre == "4/4" else 12
    shapes = voicings(harmony, CHORD_CENTRE + max(mood.register // 2, -5))
    gate = genre.gate * min(1.0, 0.35 + 0.65 * mood.gate)
    rows: list[Row] = []
    for k, letter in enumerate(_bars(form, phrase, bars)):
        pattern = patterns[letter] if k < bars - 1 else "#" + "-" * (size - 1)
        for onset, length, sign, index in _struck(pattern, k * size, harmony):
            tones = shapes[index] if sign == "#" else (shapes[index][(int(sign) - 1) % len(shapes[index])],)
            rows += [(onset * STEP, length * STEP * gate, tone, _accent(onset, size)) for tone in tones]
    return rows


def bass(
    rng: np.random.Generator,
    genre: Genre,
    mood: Mood,
    metre: str,
    harmony: Harmony,
    scale: NDArray,
    form: str,
    phrase: int,
    bars: int,
) -> list[Row]:
    """A line on the roots; `scale` holds the seven pitch classes of the key."""
    patterns, size = by_letter(rng, form, genre.lines[metre]), 16 if metre == "4/4" else 12
    gate = genre.gate * min(1.0, 0.35 + 0.65 * mood.gate)
    rows: list[Row] = []
    for k, letter in enumerate(_bars(form, phrase, bars)):
        pattern = patterns[letter] if k < bars - 1 else "r" + "-" * (size - 1)
        for onset, length, sign, index in _struck(pattern, k * size, harmony):
            if onset * STEP == harmony.onset[index]:
                sign = "r"  # a new chord is heard from its root
            pitch = _bass_tone(sign, index, harmony, scale)
            rows.append((onset * STEP, length * STEP * gate, pitch, _accent(onset, size)))
    return rows


def _root(harmony: Harmony, index: int) -> int:
    return BASS_FLOOR + (int(harmony.root[index]) - BASS_FLOOR) % 12


def _bass_tone(sign: str, index: int, harmony: Harmony, scale: NDArray) -> int:
    root, steps = _root(harmony, index), CHORDS[harmony.quality[index]]
    if sign == "a":
        target = _root(harmony, min(index + 1, len(harmony) - 1))
        below = [target - step for step in (1, 2, 3) if (target - step) % 12 in scale]
        return below[0]
    return root + {"r": 0, "3": steps[1], "5": steps[2], "8": 12}[sign]


def drums(
    rng: np.random.Generator, genre: Genre, mood: Mood, metre: str, form: str, phrase: int, bars: int
) -> list[Row]:
    """Grooves, thinned where the mood is quiet, with a fill before a new phrase and a crash into it."""
    grooves: Sequence[Groove] = genre.grooves.get(metre, ())
    if not grooves:
        return []
    size, names = 16 if metre == "4/4" else 12, [str(k) for k in range(len(grooves))]
    chosen = {letter: _thinned(rng, grooves[int(name)], mood) for letter, name in by_letter(rng, form, names).items()}
    rows: list[Row] = []
    for k, letter in enumerate(_bars(form, phrase, bars)):
        filled = k % phrase == phrase - 1 and k < bars - 1 and mood.drums > 0.4 and rng.random() < genre.fill
        until = size - 4 if filled else size
        if k == bars - 1:
            until = 1  # the piece closes on its first beat
        first = k * size
        for drum, pattern in chosen[letter].items():
            rows += [_stroke(first + at, drum, sign) for at, sign in enumerate(pattern[:until]) if sign != "."]
        if filled:
            toms = rng.choice((SNARE, HIGH_TOM, MID_TOM, LOW_TOM), 4)
            rows += [_stroke(first + until + at, int(tom), "x") for at, tom in enumerate(toms)]
        if k % phrase == 0 and k and mood.level > LOUD and genre.fill >= 0.5:
            rows.append(_stroke(first, CRASH, "x"))
    return rows


def _stroke(step: int, drum: int, sign: str) -> Row:
    return step * STEP, STROKE_LENGTH, drum, STROKES[sign]


def _thinned(rng: np.random.Generator, groove: Groove, mood: Mood) -> Groove:
    """The accents always stay, other strokes with the mood's share."""
    return {
        drum: "".join(sign if sign in "X." or rng.random() < mood.drums else "." for sign in pattern)
        for drum, pattern in groove.items()
    }


def _accent(onset: int, size: int) -> float:
    """dB by the place in the bar: its first step, a beat, in between."""
    place = onset % size
    return 1.5 if place == 0 else 0.0 if place % 4 == 0 else -1.5
