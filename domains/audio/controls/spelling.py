"""Chords as musicians write them: `Am7`, `Bb`, `F#dim`, `Cmaj7`, `Dm7b5` as well as Harte's `A:min7`; strips of bars.

A strip is one bar after the other with bars between: `Am | F | C G | -`. What stands in one bar shares it equally; `-`
or nothing leaves a bar free, `%` says the chord before once more. Where the strip ends, so do the chords.
"""

from __future__ import annotations

import re
from typing import Final

from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.chords import QUALITIES, Chord
from shared.errors import UserError

# What is written after the root, and the quality it means.
_MEANT: Final = {
    "": "maj",
    "M": "maj",
    "m": "min",
    "-": "min",
    "o": "dim",
    "°": "dim",
    "+": "aug",
    "sus": "sus4",
    "M7": "maj7",
    "Δ": "maj7",
    "Δ7": "maj7",
    "m7": "min7",
    "-7": "min7",
    "m7b5": "hdim7",
    "ø": "hdim7",
    "ø7": "hdim7",
    "o7": "dim7",
    "°7": "dim7",
    "m6": "min6",
    **{quality: quality for quality in QUALITIES},
}
_SYMBOL: Final = re.compile(r"([A-Ga-g])([#b♯♭]?):?(.*)")
_REMEDY: Final = "write it as C, Am7, Bb, F#dim, Dsus4 or A:min7"


def symbol(text: str, start: float, end: float) -> Chord:
    """The chord that a symbol means, from start to end in seconds. Raises UserError."""
    said = text.strip()
    match = _SYMBOL.fullmatch(said)
    rest = match[3].replace("♭", "b").replace("♯", "#") if match else ""
    if match is None or rest not in _MEANT:
        raise UserError(f"{said[:20]!r} is no chord that is known", where="chords", remedy=_REMEDY)
    sign = {"♯": "#", "♭": "b"}.get(match[2], match[2])
    return Chord.named(f"{match[1].upper()}{sign}:{_MEANT[rest]}", start, end)


def strip(text: str, grid: BeatGrid, length: float) -> tuple[Chord, ...]:
    """The chords of a strip on the bars of a grid, in a clip of `length` seconds. Raises UserError."""
    cells = [cell.split() for cell in text.strip().strip("|").split("|")]
    bars = list(grid.bars(length))
    if len(cells) > len(bars):
        raise UserError(
            f"{len(cells)} bars of chords, the clip has {len(bars)}", where="chords", remedy="say more bars first"
        )
    found: list[Chord] = []
    before = ""
    for cell, (place, metre) in zip(cells, bars, strict=False):
        for n, said in enumerate(cell):
            start = max(grid.seconds_at(place + metre.quarters * n / len(cell)), 0.0)
            end = min(grid.seconds_at(place + metre.quarters * (n + 1) / len(cell)), length)
            word = before if said == "%" else said
            if said == "%" and not before:
                raise UserError("'%' repeats nothing", where="chords", remedy="write a chord before it")
            if word in ("-", "–") or start >= end:
                continue
            found.append(symbol(word, start, end))
            before = word
    return _joined(found)


def _joined(chords: list[Chord]) -> tuple[Chord, ...]:
    """Equal neighbours as one chord."""
    out: list[Chord] = []
    for chord in chords:
        last = out[-1] if out else None
        same = last is not None and (last.root, last.quality) == (chord.root, chord.quality)
        if last is not None and same and abs(last.end - chord.start) < 1e-9:
            out[-1] = Chord(last.start, chord.end, chord.root, chord.quality)
        else:
            out.append(chord)
    return tuple(out)
