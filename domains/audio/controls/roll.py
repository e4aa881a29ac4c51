"""Notes as a piano roll on the grid's steps, and back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.notes import Note

STEPS: Final = 4  # a quarter note: sixteenths


@dataclass(frozen=True, eq=False)
class PianoRoll:
    """A roll of S steps, step n from quarter n / steps on.

    velocity   (S, 128) float32, velocity / 127 while a note sounds, else 0
    onset      (S, 128) bool, where a note begins; without it, two repeated notes would be one long one
    steps      steps a quarter note
    """

    velocity: NDArray[np.float32]
    onset: NDArray[np.bool_]
    steps: int = STEPS


def piano_roll(notes: Sequence[Note], grid: BeatGrid, length: float, steps: int = STEPS) -> PianoRoll:
    """The roll of notes (any number at a time), from the first downbeat to the end of the clip of `length` seconds.

    Starts and ends go to the nearest step; a note lasts one step at least. What begins before the first downbeat or
    beyond the end is left out.
    """
    total = max(0, round(grid.quarter_at(length) * steps))
    velocity = np.zeros((total, 128), dtype=np.float32)
    onset = np.zeros((total, 128), dtype=bool)
    for note in sorted(notes):
        first = round(grid.quarter_at(note.start) * steps)
        last = max(first + 1, round(grid.quarter_at(note.end) * steps))
        if 0 <= first < total:
            velocity[first:last, note.pitch] = note.velocity / 127
            onset[first, note.pitch] = True
            onset[first + 1 : last, note.pitch] = False
    return PianoRoll(velocity, onset, steps)


def roll_notes(roll: PianoRoll, grid: BeatGrid) -> tuple[Note, ...]:
    """The notes of a roll, the inverse of `piano_roll` for notes that lie on its steps.

    A note goes on while its velocity is above 0 and no new onset comes; a sound without an onset at its first step
    begins a note, too.
    """
    sounding = np.asarray(roll.velocity) > 0
    total = len(sounding)
    begins = sounding & (roll.onset | ~np.pad(sounding, ((1, 0), (0, 0)))[:-1])
    notes = []
    for pitch in np.flatnonzero(begins.any(axis=0)):
        starts = np.flatnonzero(begins[:, pitch])
        ends = np.append(starts[1:], total)
        for first, next_ in zip(starts, ends, strict=True):
            quiet = np.flatnonzero(~sounding[first:next_, pitch])
            last = int(first + quiet[0]) if len(quiet) else int(next_)
            start, end = grid.seconds_at(int(first) / roll.steps), grid.seconds_at(last / roll.steps)
            velocity = int(np.clip(round(float(roll.velocity[first, pitch]) * 127), 1, 127))
            notes.append(Note(start, end, int(pitch), velocity))
    return tuple(sorted(notes))
