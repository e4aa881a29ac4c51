"""What one does to controls as a whole: another tempo, metre or number of bars, and how their parts follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from domains.audio.controls import checks
from domains.audio.controls.beats import BeatGrid, Metre, Tempo
from domains.audio.controls.controls import Controls

PLAIN: Final = BeatGrid.steady(120.0)  # of controls that ask for no grid
STEADY: Final = 0.03  # seconds that a hand may be off


def with_tempo(controls: Controls, bpm: float, *, follow: bool = True) -> Controls:
    """The first tempo becomes `bpm` felt beats a minute; all else is stretched with it, or stays at its seconds."""
    grid = controls.grid
    if grid is None:
        checks.real(bpm, 10.0, 960.0, "tempo", "the tempo", "beats a minute")
        return replace(controls, grid=BeatGrid.steady(bpm))
    if follow:
        return controls.at_tempo(bpm)
    checks.real(bpm, 10.0, 960.0, "tempo", "the tempo", "beats a minute")
    return times_tempo(controls, bpm * grid.metres[0].beat / grid.tempos[0].qpm)


def times_tempo(controls: Controls, factor: float) -> Controls:
    """Every tempo times a factor while notes stay at their seconds: mends a tempo heard as its double or half."""
    grid = controls.grid or PLAIN
    tempos = [Tempo(tempo.quarter * factor, tempo.qpm * factor) for tempo in grid.tempos]
    return replace(controls, grid=_begun(tempos, grid.metres, grid.start))


def with_beats(controls: Controls, beats: Sequence[float]) -> Controls:
    """Felt beats at these seconds, ascending, the first of them the first of a bar; all else stays where it is.

    One tempo where it explains the beats within `STEADY` seconds (root mean square), each beat as it is otherwise. The
    grid goes on before the first of them at its pace. Raises UserError as `BeatGrid.through`.
    """
    metre = (controls.grid or PLAIN).metres[0]
    checks.few(beats, "beats")
    found = [checks.real(beat, 0.0, controls.length, "beats", "a beat", "seconds") for beat in beats]
    grid = BeatGrid.through(found, metre.name)
    number = np.arange(len(found))
    pace, begin = np.polyfit(number, found, 1)
    if np.sqrt(np.mean((begin + pace * number - found) ** 2)) <= STEADY:
        bar = pace * metre.beats
        start = begin - bar * np.ceil(begin / bar - 1e-9)
        return replace(controls, grid=BeatGrid.steady(60.0 / float(pace), metre.name, float(start)))
    before = int(np.ceil(found[0] / (gap := found[1] - found[0])))
    earlier = [found[0] - gap * (before - n) for n in range(before)]
    whole = [beat for beat in earlier if beat >= 0] + found
    grid = BeatGrid.through(whole, metre.name, (len(whole) - len(found)) % metre.beats)
    return replace(controls, grid=grid)


def with_metre(controls: Controls, name: str) -> Controls:
    """One metre, the tempo of quarter notes kept, as many bars as before."""
    grid = controls.grid or PLAIN
    count = len(list(grid.bars(controls.length)))
    return with_bars(replace(controls, grid=_begun(grid.tempos, (Metre.named(name),), grid.start)), count)


def with_bars(controls: Controls, count: int) -> Controls:
    """So many bars, counted from the first downbeat: cut at their end, or longer with nothing in what is new."""
    count = checks.whole(count, 1, 1000, "bars", "the number of bars")
    grid = controls.grid or PLAIN
    return lasting(replace(controls, grid=grid), grid.start + grid.bars_last(count))


def lasting(controls: Controls, length: float) -> Controls:
    """The same with another length in seconds."""
    if length < controls.length:
        return controls.crop(0.0, length)
    return replace(controls, length=length)


def _begun(tempos: Sequence[Tempo], metres: Sequence[Metre], start: float) -> BeatGrid:
    """A grid that starts at these seconds; whole bars that would lie before the clip are left out."""
    return BeatGrid(tuple(tempos), tuple(metres)).later(start)
