"""What is asked as tables to type in: notes, points, chords, spans; rows of text and numbers, and back.

Positions are quarter notes from the first downbeat, or seconds; durations are in the same unit. A table that is edited
changes its own control alone. Numbers are shown with four digits behind the point, so an edited table is as exact as
what it shows; one that is not touched changes nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from domains.audio.controls import edits
from domains.audio.controls.chords import Chord
from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import Dynamics
from domains.audio.controls.notes import NAMES, Note
from domains.audio.controls.spans import KINDS, Span, Spans
from domains.audio.controls.spelling import symbol
from shared.errors import UserError

UNITS: Final = ("quarter notes", "seconds")
HEADERS: Final = {
    "notes": ["start", "duration", "pitch"],
    "points": ["time", "dB"],
    "chords": ["start", "duration", "chord"],
    "spans": ["lane", "asked from", "to"],
}
Rows = list[list[Any]]
_NUMBER: Final = re.compile(r"\d{1,3}(\.0*)?")
_NAME: Final = re.compile(r"([A-Ga-g])([#b]?)(-1|\d)")


def rows_of(controls: Controls, unit: str) -> dict[str, Rows]:
    """The rows of every table by its name, each with an empty row to go on in."""
    place, lasting = _scale(controls, unit)
    notes = [
        [place(note.start), lasting(note.start, note.end), f"{NAMES[note.pitch % 12]}{note.pitch // 12 - 1}"]
        for note in controls.melody or ()
    ]
    points = [[place(at), round(level, 2)] for at, level in (controls.dynamics.points if controls.dynamics else ())]
    chords = [[place(chord.start), lasting(chord.start, chord.end), chord.label] for chord in controls.chords or ()]
    spans = [
        [kind, place(span.start), place(span.end)]
        for kind in KINDS
        if controls.given(kind) and controls.spans.of(kind) is not None
        for span in controls.spans.of(kind) or ()
    ]
    found: dict[str, Rows] = {"notes": notes, "points": points, "chords": chords, "spans": spans}
    return {name: [*rows, [""] * len(HEADERS[name])] for name, rows in found.items()}


def with_rows(controls: Controls, table: str, rows: Sequence[Sequence[Any]], unit: str) -> Controls:
    """The controls with one control as its table says; an empty table asks for nothing.

    Raises UserError that names table and row.
    """
    at = _reader(controls, unit)
    read: Callable[..., Any] = {"notes": _note, "points": _point, "chords": _chord, "spans": _span}[table]
    made: list[Any] = []
    for n, row in enumerate(rows):
        if not any(str(cell if cell is not None else "").strip() for cell in row):
            continue
        try:
            made.append(read(row, at))
        except UserError as error:
            raise UserError(error.what, where=f"{table}, row {n + 1}", remedy=error.remedy) from None
    if table == "notes":
        return replace(controls, melody=tuple(made) or None)
    if table == "points":
        return replace(controls, dynamics=Dynamics(tuple(made)) if made else None)
    if table == "chords":
        return replace(controls, chords=tuple(made) or None)
    spans: dict[str, tuple[Span, ...]] = {kind: () for kind in KINDS if controls.spans.of(kind) == ()}  # switched off
    for kind, span in made:
        spans[kind] = (*spans.get(kind, ()), span)
    return replace(controls, spans=Spans(**spans))


def _scale(controls: Controls, unit: str) -> tuple[Callable[[float], float], Callable[[float, float], float]]:
    grid = controls.grid or edits.PLAIN
    shown = grid.quarter_at if unit == UNITS[0] else float

    def place(at: float) -> float:
        return round(shown(at), 4) + 0.0

    return place, lambda start, end: round(shown(end) - shown(start), 4)


def _reader(controls: Controls, unit: str) -> Callable[[float], float]:
    """From a position as it is typed to seconds; what rounding has put beyond an end of the clip lies on it."""
    grid = controls.grid or edits.PLAIN

    def at(value: float) -> float:
        seconds = grid.seconds_at(value) if unit == UNITS[0] else value
        near = [end for end in (0.0, controls.length) if abs(seconds - end) < 1e-3]
        return near[0] if near else seconds

    return at


def _note(row: Sequence[Any], at: Callable[[float], float]) -> Note:
    return Note(*_pair(row, at), _pitch(row[2]))


def _chord(row: Sequence[Any], at: Callable[[float], float]) -> Chord:
    return symbol(str(row[2]), *_pair(row, at))


def _point(row: Sequence[Any], at: Callable[[float], float]) -> tuple[float, float]:
    return at(_number(row[0], "time")), _number(row[1], "dB")


def _span(row: Sequence[Any], at: Callable[[float], float]) -> tuple[str, Span]:
    kind = str(row[0]).strip().lower()
    if kind not in KINDS:
        raise UserError(f"{kind[:20]!r} is no lane", remedy=f"write one of {', '.join(KINDS)}")
    return kind, Span(at(_number(row[1], "from")), at(_number(row[2], "to")))


def _pair(row: Sequence[Any], at: Callable[[float], float]) -> tuple[float, float]:
    start = _number(row[0], "start")
    return at(start), at(start + _number(row[1], "duration"))


def _number(cell: Any, what: str) -> float:
    try:
        value = float(str(cell).strip().replace(",", ".").replace("−", "-"))
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise UserError(f"{what} is {str(cell)[:20]!r}", remedy="write a number")
    return value


def _pitch(cell: Any) -> int:
    """60, C4, F#5, Bb3."""
    said = str(cell).strip().replace("♯", "#").replace("♭", "b")
    if _NUMBER.fullmatch(said):
        return int(float(said))
    match = _NAME.fullmatch(said)
    if match is None:
        raise UserError(f"the pitch is {said[:20]!r}", remedy="write C4, F#5 or a MIDI number")
    letters = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
    return letters[match[1].upper()] + {"": 0, "#": 1, "b": -1}[match[2]] + 12 * (int(match[3]) + 1)
