"""Melodies: rhythm from cells, pitch by steps of the scale, chord tones where the bar leans.

A phrase says its motif twice: bars carry the rhythms a b a c, and the second a repeats the movement of the first from
the chord that sounds by then. On the first and the middle beat of a bar stands a tone of the chord; between them the
line walks by steps towards an arch, and leaps where the mood asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from domains.audio.compose.genres import Genre
from domains.audio.compose.harmony import degree_pitch, has_leading_tone
from domains.audio.compose.moods import Mood
from domains.audio.compose.score import STEP, Harmony

Cell = tuple[int, ...]  # durations in sixteenths
CELLS: Final[dict[int, tuple[Cell, ...]]] = {  # by length: half a bar of 4/4, half a bar of 6/8, a bar of 3/4
    8: (
        (8,),
        (4, 4),
        (6, 2),
        (2, 6),
        (4, 2, 2),
        (2, 2, 4),
        (3, 3, 2),
        (2, 4, 2),
        (3, 5),
        (2, 3, 3),
        (2, 2, 2, 2),
        (3, 1, 2, 2),
        (1, 1, 2, 4),
        (4, 2, 1, 1),
        (2, 1, 1, 2, 2),
        (1, 2, 1, 2, 2),
        (1, 2, 2, 1, 2),
        (2, 2, 2, 1, 1),
        (1, 1, 1, 1, 2, 2),
        (2, 2, 1, 1, 1, 1),
        (1,) * 8,
    ),
    6: ((6,), (4, 2), (2, 4), (3, 3), (2, 2, 2), (3, 1, 2), (2, 2, 1, 1), (1, 1, 1, 1, 2), (1,) * 6),
    12: (
        (12,),
        (8, 4),
        (4, 8),
        (6, 6),
        (4, 4, 4),
        (6, 2, 4),
        (3, 3, 6),
        (4, 2, 2, 4),
        (2, 2, 4, 4),
        (4, 4, 2, 2),
        (2, 2, 2, 2, 4),
        (2, 2, 2, 2, 2, 2),
        (4, 2, 2, 2, 1, 1),
        (2, 2, 1, 1, 2, 2, 2),
        (1, 1, 2, 1, 1, 2, 2, 2),
    ),
}
PLAIN: Final = {8: 2.3, 6: 1.9, 12: 3.2}  # notes of a cell at busy = 1
SPAN: Final = 6  # scale steps that a melody may be away from its centre
MIDDLE: Final = 72
LOWEST, HIGHEST = 57, 91
LEAPS: Final = (2, 2, 3, 4, 4, 5)  # scale steps


@dataclass(frozen=True)
class Bar:
    """Rhythm of one bar (onset and length in sixteenths), and, once it was sung, the steps between its notes."""

    rhythm: tuple[tuple[int, int], ...]
    moves: tuple[int, ...] = ()


def melody(
    rng: np.random.Generator,
    genre: Genre,
    mood: Mood,
    metre: str,
    tonic: int,
    mode: str,
    harmony: Harmony,
    form: str,
    phrase: int,
    bars: int,
) -> list[tuple[float, float, int]]:
    """Notes (onset, duration in quarter notes, pitch) of a whole piece; equal letters of the form repeat."""
    size = 16 if metre == "4/4" else 12
    half = {"4/4": 8, "3/4": 12, "6/8": 6}[metre]
    centre = int(np.clip(MIDDLE + mood.register, LOWEST + 8, HIGHEST - 8))
    home = min(range(70), key=lambda step: abs(degree_pitch(tonic, mode, step) - centre))
    sung: dict[str, list[Bar]] = {}
    kept: dict[tuple[str, int, tuple[int, ...]], list[tuple[int, int, int]]] = {}
    out: list[tuple[float, float, int]] = []
    last = home
    for index, letter in enumerate(form):
        if letter not in sung:
            model = next(iter(sung.values()), None)
            sung[letter] = _phrase_rhythm(rng, genre, mood, size, half, phrase, model)
        start = index * phrase
        for k in range(min(phrase, bars - start)):
            first = (start + k) * size
            degrees = tuple(harmony.degree[harmony.at((first + np.arange(0, size, half)) * STEP)].tolist())
            ending = start + k == bars - 1
            key = (letter, k, degrees)
            if key not in kept or ending:
                line = Line(rng, mood, harmony, first, home, sung[letter][k], size, half)
                steps, moves = line.sing(last, (k + 0.5) / phrase, ending)
                sung[letter] = [_learnt(bar, sung[letter][k], moves) for bar in sung[letter]]
                kept[key] = steps
            for onset, length, step in kept[key]:
                at = (first + onset) * STEP
                raised = has_leading_tone(mode, int(harmony.degree[harmony.index(at)]))
                pitch = degree_pitch(tonic, mode, step, raised)
                out.append((at, length * STEP * mood.gate, pitch))
            last = kept[key][-1][2] if kept[key] else last
    return out


def _learnt(bar: Bar, like: Bar, moves: tuple[int, ...]) -> Bar:
    """Bars of the same rhythm learn the movement that was sung first."""
    return Bar(bar.rhythm, moves) if bar.rhythm == like.rhythm and not bar.moves else bar


def _phrase_rhythm(
    rng: np.random.Generator, genre: Genre, mood: Mood, size: int, half: int, phrase: int, model: Sequence[Bar] | None
) -> list[Bar]:
    """Rhythms a b a c; a later phrase may take over the motif of the first."""
    busy = PLAIN[half] * genre.busy * mood.busy

    def bar(notes: float) -> Bar:
        cells = [_cell(rng, half, notes, genre.offbeat) for _ in range(size // half)]
        onsets = np.concatenate([[0], np.cumsum(np.concatenate(cells))])
        return Bar(tuple((int(a), int(b - a)) for a, b in zip(onsets[:-1], onsets[1:], strict=True)))

    motif = Bar(model[0].rhythm) if model is not None and rng.random() < 0.5 else bar(busy)
    answer, close = bar(busy), bar(0.6 * busy)
    return [motif, answer, motif, close][: max(phrase, 1)]


def _cell(rng: np.random.Generator, half: int, notes: float, offbeat: float) -> Cell:
    cells, (count, bent) = CELLS[half], _TRAITS[half]
    weight = np.exp(-(((count - notes) / 0.8) ** 2)) * np.where(bent, offbeat, 1 - offbeat) + 1e-9
    return cells[int(rng.choice(len(cells), p=weight / weight.sum()))]


def _syncopated(cell: Cell, half: int) -> bool:
    """Whether a note of an eighth or more starts off its own beat and holds over the next."""
    beat = 6 if half == 6 else 4
    onsets = np.cumsum((0, *cell[:-1]))
    return any(
        onset % beat and onset // beat != (onset + length - 1) // beat
        for onset, length in zip(onsets, cell, strict=True)
    )


_TRAITS: Final = {  # number of notes, and whether the cell is syncopated
    half: (np.array([len(cell) for cell in cells]), np.array([_syncopated(cell, half) for cell in cells]))
    for half, cells in CELLS.items()
}


@dataclass(frozen=True)
class Line:
    """One bar of melody: where its pitches come from."""

    rng: np.random.Generator
    mood: Mood
    harmony: Harmony
    first: int  # sixteenth of the bar's start
    home: int  # scale step of the centre
    bar: Bar
    size: int
    half: int

    def sing(self, last: int, progress: float, ending: bool) -> tuple[list[tuple[int, int, int]], tuple[int, ...]]:
        """((onset, length, scale step) a note, moves between them), from the scale step sung last.

        progress   0..1 through the phrase: the arch that the line is drawn to; ending: the piece closes on its tonic
        """
        aim = self.home + 3 * np.sin(np.pi * progress)
        strong = {0, self.half if self.half < self.size else 0}
        steps: list[tuple[int, int, int]] = []
        moves: list[int] = []
        step, rhythm = last, ((0, self.size),) if ending else self.bar.rhythm
        for index, (onset, length) in enumerate(rhythm):
            known = 0 < index <= len(self.bar.moves)
            guess = step + (self.bar.moves[index - 1] if known else self._move(step, aim))
            guess = min(max(guess, self.home - SPAN), self.home + SPAN)
            if ending:
                guess = _nearest(guess, aim, lambda step: step % 7 == 0)
            elif onset in strong:
                root = int(self.harmony.degree[self.harmony.index((self.first + onset) * STEP)]) - 1
                guess = _nearest(guess, aim, lambda step, root=root: (step - root) % 7 in (0, 2, 4))  # type: ignore[misc]
            if index:
                moves.append(guess - step)
            steps.append((onset, length, guess))
            step = guess
        return steps, tuple(moves)

    def _move(self, step: int, aim: float) -> int:
        """Scale steps to the next note, drawn towards the aim."""
        if self.rng.random() < self.mood.repeats:
            return 0
        up = self.rng.random() < min(max(0.5 + 0.12 * (aim - step), 0.1), 0.9)
        size = LEAPS[int(self.rng.integers(len(LEAPS)))] if self.rng.random() < self.mood.leaps else 1
        return size if up else -size


def _nearest(guess: int, aim: float, fits: Callable[[int], bool]) -> int:
    """The nearest step that fits; of two, the one nearer to the aim."""
    return min(
        (step for step in range(guess - 7, guess + 8) if fits(step)), key=lambda s: (abs(s - guess), abs(s - aim))
    )
