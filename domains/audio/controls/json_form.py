"""Controls as JSON, exactly: `from_json(to_json(controls)) == controls`, to the last bit of every number.

    {"format": "audio-controls", "version": 1, "length": 6.0,
     "melody":   [{"start": 0.0, "end": 0.5, "pitch": 60, "velocity": 80}, ...],
     "dynamics": [[0.0, -30.0], [6.0, -12.0]],
     "grid":     {"start": 0.0, "tempos": [{"quarter": 0.0, "qpm": 120.0}], "metres": [{"bar": 0, "metre": "4/4"}]},
     "chords":   [{"start": 0.0, "end": 2.0, "chord": "A:min7"}, ...],
     "key": "A minor", "tags": {"genre": "jazz", "mood": null}, "spans": {"melody": [[0.0, 3.0]]}}

A part that is not asked for is left out. A result may carry the same under `controls`, beside what made it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from domains.audio.controls import checks
from domains.audio.controls.beats import BeatGrid, Metre, Tempo
from domains.audio.controls.chords import Chord
from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import Dynamics
from domains.audio.controls.notes import Key, Note
from domains.audio.controls.spans import KINDS, Span, Spans
from domains.audio.controls.tags import Tags
from shared.errors import UserError
from shared.front.option import EXAMPLE
from shared.front.settings import read_json

FORMAT: Final = "audio-controls"
VERSION: Final = 1
_REMEDY: Final = "write it as `suite audio extract` does"


def to_json(controls: Controls) -> dict[str, Any]:
    """Plain JSON values."""
    found: dict[str, Any] = {"format": FORMAT, "version": VERSION, "length": controls.length}
    if controls.melody is not None:
        found["melody"] = [
            {"start": note.start, "end": note.end, "pitch": note.pitch, "velocity": note.velocity}
            for note in controls.melody
        ]
    if controls.dynamics is not None:
        found["dynamics"] = [list(point) for point in controls.dynamics.points]
    if controls.grid is not None:
        found["grid"] = {
            "start": controls.grid.start,
            "tempos": [{"quarter": tempo.quarter, "qpm": tempo.qpm} for tempo in controls.grid.tempos],
            "metres": [{"bar": metre.bar, "metre": metre.name} for metre in controls.grid.metres],
        }
    if controls.chords is not None:
        found["chords"] = [{"start": chord.start, "end": chord.end, "chord": chord.label} for chord in controls.chords]
    if controls.key is not None:
        found["key"] = controls.key.name
    if controls.tags != Tags():
        found["tags"] = {"genre": controls.tags.genre, "mood": controls.tags.mood}
    spans = {kind: controls.spans.of(kind) for kind in KINDS}
    if any(given is not None for given in spans.values()):
        found["spans"] = {
            kind: [[span.start, span.end] for span in given] for kind, given in spans.items() if given is not None
        }
    return found


def from_json(source: Mapping[str, Any]) -> Controls:
    """The inverse of `to_json`; also reads a result that carries controls. Raises UserError that names the place."""
    data = source.get("controls", source)
    _keys(data, ("format", "version", "length", *_PARTS), "controls")
    if data.get("format") != FORMAT or data.get("version") != VERSION:
        raise UserError(
            f"the format is {data.get('format')!r}, version {data.get('version')!r}",
            where="controls",
            remedy=f"give {FORMAT!r}, version {VERSION}",
        )
    if "length" not in data:
        raise UserError("there is no length", where="controls", remedy="give the length of the clip in seconds")
    parts = {name: read(data[name]) for name, read in _PARTS.items() if data.get(name) is not None}
    return Controls(length=data["length"], **parts)


def read_controls(path: str | Path) -> Controls:
    """The controls in a JSON file, or those of `example:NAME`; raises UserError that begins with the file's name."""
    if str(path).startswith(EXAMPLE):
        from domains.audio.controls.examples import EXAMPLES

        return EXAMPLES[checks.word(str(path).removeprefix(EXAMPLE), tuple(EXAMPLES), "controls", "the example")]()
    path = Path(path)
    found = read_json(path)
    try:
        return from_json(found)
    except UserError as error:
        where = f"{path.name}, {error.where}" if error.where else path.name
        raise UserError(error.what, where=where, remedy=error.remedy) from None


def text(controls: Controls) -> str:
    """JSON text of the controls, as a file holds it."""
    return json.dumps(to_json(controls), indent=1, allow_nan=False)


# ------------------------------------------------------------------------------------------------------------- parts


def _keys(value: Any, allowed: Sequence[str], where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise UserError("is no JSON object", where=where, remedy=_REMEDY)
    if unknown := sorted(str(key) for key in set(value) - set(allowed)):
        raise UserError(f"has the unknown entry {unknown[0]!r}", where=where, remedy=f"known are {', '.join(allowed)}")
    return value


def _list(value: Any, where: str) -> Sequence[Any]:
    if not isinstance(value, list):
        raise UserError("is no list", where=where, remedy=_REMEDY)
    checks.few(value, where)
    return value


def _objects(keys: tuple[str, ...], make: Callable[..., Any], where: str) -> Callable[[Any], tuple[Any, ...]]:
    """A reader of a list of objects with these keys, each made by `make`, with the place of what is wrong."""

    def read(value: Any) -> tuple[Any, ...]:
        made = []
        for n, each in enumerate(_list(value, where)):
            place = f"{where}[{n}]"
            _keys(each, keys, place)
            if absent := [key for key in keys if key not in each]:
                raise UserError(f"has no {absent[0]}", where=place, remedy=_REMEDY)
            made.append(checks.placed(lambda each=each: make(**each), place))  # type: ignore[misc]
        return tuple(made)

    return read


def _pairs(make: Callable[[Any, Any], Any], where: str) -> Callable[[Any], tuple[Any, ...]]:
    """The same for a list of pairs of numbers."""

    def read(value: Any) -> tuple[Any, ...]:
        made = []
        for n, each in enumerate(_list(value, where)):
            place = f"{where}[{n}]"
            if not isinstance(each, list) or len(each) != 2:
                raise UserError("is no pair of numbers", where=place, remedy=_REMEDY)
            made.append(checks.placed(lambda each=each: make(*each), place))  # type: ignore[misc]
        return tuple(made)

    return read


def _chord(start: Any, end: Any, chord: Any) -> Chord:
    return Chord.named(chord, start, end)


def _metre(bar: Any, metre: Any) -> Metre:
    return Metre.named(metre, bar)


def _grid(value: Any) -> BeatGrid:
    data = _keys(value, ("start", "tempos", "metres"), "grid")
    tempos = _objects(("quarter", "qpm"), Tempo, "grid.tempos")(data.get("tempos", []))
    metres = _objects(("bar", "metre"), _metre, "grid.metres")(data.get("metres", [{"bar": 0, "metre": "4/4"}]))
    return BeatGrid(tempos, metres, data.get("start", 0.0))


def _tags(value: Any) -> Tags:
    return Tags(**_keys(value, ("genre", "mood"), "tags"))


def _spans(value: Any) -> Spans:
    data = _keys(value, KINDS, "spans")
    return Spans(**{kind: _pairs(Span, f"spans.{kind}")(given) for kind, given in data.items() if given is not None})


_PARTS: Final[Mapping[str, Callable[[Any], Any]]] = {
    "melody": _objects(("start", "end", "pitch", "velocity"), Note, "melody"),
    "dynamics": lambda value: Dynamics(_pairs(lambda at, level: (at, level), "dynamics")(value)),
    "grid": _grid,
    "chords": _objects(("start", "end", "chord"), _chord, "chords"),
    "key": Key.named,
    "tags": _tags,
    "spans": _spans,
}
