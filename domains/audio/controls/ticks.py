"""The lattice of MIDI ticks: which tick a time is, and the time of a tick, exact in both directions.

A tempo in a MIDI file is a whole number of microseconds a quarter, and every time a whole number of ticks. `Lattice`
moves a grid there; after that `tick(seconds(n)) == n` and seconds(n) is the same float wherever it is computed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from domains.audio.controls.beats import FASTEST, SLOWEST, BeatGrid, Tempo
from domains.audio.controls.chords import Chord
from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import Dynamics
from domains.audio.controls.notes import Note
from domains.audio.controls.spans import KINDS, Span, Spans
from shared.errors import UserError

TICKS: Final = 960  # a quarter note
PLAIN: Final = BeatGrid((Tempo(0.0, 120.0),))  # what a file without a tempo is played at
Item = TypeVar("Item", Note, Chord, Span)


def microseconds(qpm: float) -> int:
    """Whole microseconds of a quarter note at a tempo."""
    return round(6e7 / qpm)


def tempo_of(micro: int) -> float:
    """The roundest tempo (fewest decimals) that has these microseconds a quarter: 97 for 618557. Raises UserError."""
    if not SLOWEST <= (qpm := 6e7 / max(micro, 1)) <= FASTEST:
        raise UserError(
            f"has a tempo of {qpm:.4g} quarters a minute", where="tempo", remedy=f"use {SLOWEST:g} to {FASTEST:g}"
        )
    rounded = (round(qpm, places) for places in range(12))
    return next((each for each in rounded if SLOWEST <= each <= FASTEST and microseconds(each) == micro), qpm)


@dataclass(frozen=True)
class Lattice:
    """A grid as it was asked for, and the same on ticks; ticks are counted from the first downbeat."""

    asked: BeatGrid
    grid: BeatGrid

    @classmethod
    def of(cls, grid: BeatGrid) -> Lattice:
        tempos: dict[int, float] = {}
        for tempo in grid.tempos:
            tempos[round(tempo.quarter * TICKS)] = tempo_of(microseconds(tempo.qpm))
        there = BeatGrid(tuple(Tempo(tick / TICKS, qpm) for tick, qpm in tempos.items()), grid.metres)
        zero = round(grid.quarter_at(0.0) * TICKS)
        return cls(grid, replace(there, start=0.0 - there.seconds_at(zero / TICKS)))

    def tick(self, seconds: float) -> int:
        """The tick of a time of the clip."""
        return round(self.asked.quarter_at(seconds) * TICKS)

    def seconds(self, tick: int) -> float:
        """Seconds of a tick; what rounding puts just below 0 is 0."""
        return max(0.0, self.grid.seconds_at(tick / TICKS))

    def moved(self, items: Sequence[Item], end: int | None = None) -> tuple[Item, ...]:
        """Notes, chords or spans on ticks, one long at least; up to tick `end` and without overlap if that is given."""
        found: list[Item] = []
        free = self.tick(0.0)
        for item in items:
            first = self.tick(item.start)
            last = max(first + 1, self.tick(item.end))
            if end is not None:
                first, last = max(first, free), min(last, end)
                free = max(free, last)
            if first < last:
                found.append(replace(item, start=self.seconds(first), end=self.seconds(last)))
        return tuple(found)


def on_ticks(controls: Controls) -> Controls:
    """The same controls with every time on a tick and every tempo on whole microseconds: what a MIDI file can hold."""
    lattice = Lattice.of(controls.grid or PLAIN)
    end = lattice.tick(controls.length)
    points: dict[int, float] = {}
    for at, level in controls.dynamics.points if controls.dynamics else ():
        points.setdefault(min(lattice.tick(at), end), level)
    spans = {kind: controls.spans.of(kind) for kind in KINDS}
    return Controls(
        length=lattice.seconds(end),
        melody=None if controls.melody is None else lattice.moved(controls.melody, end),
        dynamics=Dynamics(tuple((lattice.seconds(tick), level) for tick, level in points.items())) if points else None,
        grid=lattice.grid if controls.grid else None,
        chords=None if controls.chords is None else lattice.moved(controls.chords, end),
        key=controls.key,
        tags=controls.tags,
        spans=Spans(**{kind: None if given is None else lattice.moved(given, end) for kind, given in spans.items()}),
    )


def lead_in(lattice: Lattice) -> int:
    """Ticks of the whole bars that a file puts in front of the first downbeat, when the clip begins before it."""
    bar = round(lattice.grid.metres[0].quarters * TICKS)
    return bar * max(0, math.ceil(-lattice.tick(0.0) / bar))
