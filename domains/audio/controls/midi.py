"""Controls and tracks as a standard MIDI file, and any MIDI file as controls.

What MIDI knows is written as MIDI: tempo map, metres, key, the melody and the tracks as notes, chords as markers
(`A:min7`, `N` where one ends without another). What it does not know - dynamics in dB, spans, tags, where the clip
begins - is one text event. So a file that was edited elsewhere comes back edited, and `from_midi(to_midi(c))` is
`on_ticks(c)` to the bit.
A foreign file: the melody is the top line of the track that is called so, or else of the highest; the dynamics follow
its velocities, 40 log10(v / 127) dB below -12 dB.
"""

from __future__ import annotations

import io
import json
import math
import re
from collections import defaultdict, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from domains.audio.controls import checks
from domains.audio.controls.beats import BeatGrid, Metre, Tempo
from domains.audio.controls.chords import Chord
from domains.audio.controls.controls import SHORTEST, Controls
from domains.audio.controls.dynamics import QUIETEST, Dynamics
from domains.audio.controls.notes import Key, Note, Track, skyline
from domains.audio.controls.spans import KINDS, Span, Spans
from domains.audio.controls.tags import Tags
from domains.audio.controls.ticks import PLAIN, TICKS, Lattice, lead_in, microseconds, on_ticks, tempo_of
from shared.errors import UserError

MOST_BYTES: Final = 4 * 2**20
MELODY: Final = "melody"
NO_CHORD: Final = "N"
LOUDEST_NOTE: Final = -12.0  # dB that velocity 127 stands for in a foreign file
DRUMS: Final = 9  # the channel of percussion
_OURS: Final = "diffusion-suite "
MELODIC: Final = re.compile(r"melod|lead|voc|voice|sing|solo", re.IGNORECASE)
_MAJOR: Final = ("C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
_MINOR: Final = ("Cm", "C#m", "Dm", "Ebm", "Em", "Fm", "F#m", "Gm", "G#m", "Am", "Bbm", "Bm")
_OTHERS: Final = {"C#": 1, "Gb": 6, "Cb": 11, "D#m": 3, "A#m": 10, "Abm": 8}  # the same keys, written otherwise
_REMEDY: Final = "export it again as a standard MIDI file (type 0 or 1)"


# ----------------------------------------------------------------------------------------------------------- writing


def to_midi(controls: Controls, tracks: Sequence[Track] = ()) -> bytes:
    """A MIDI file (type 1, 960 ticks a quarter) of controls, and of tracks that go with them."""
    import mido

    controls, lattice = on_ticks(controls), Lattice.of(controls.grid or PLAIN)
    lattice = Lattice.of(lattice.grid)
    lead = lead_in(lattice)
    file = mido.MidiFile(type=1, ticks_per_beat=TICKS)
    end = lattice.tick(controls.length) + lead
    file.tracks.append(_timed([*_conductor(controls, lattice, lead)], end))
    channels = [n for n in range(16) if n != DRUMS]
    written = [Track(MELODY, controls.melody)] if controls.melody else []
    for n, track in enumerate([*written, *tracks]):
        channel = DRUMS if track.drums else channels[n % len(channels)]
        file.tracks.append(_timed([*_notes(track, channel, lattice, lead)], end))
    body = io.BytesIO()
    file.save(file=body)
    return body.getvalue()


def _conductor(controls: Controls, lattice: Lattice, lead: int) -> Iterable[tuple[int, int, Any]]:
    """(tick, rank at that tick, message) of everything but notes."""
    from mido import MetaMessage

    grid = lattice.grid
    ours = {
        "version": 1,
        "zero": lattice.tick(0.0) + lead,
        "downbeat": lead,
        "length": lattice.tick(controls.length) + lead,
        "grid": controls.grid is not None,
        "melody": None if controls.melody is None else len(controls.melody),
        "chords": controls.chords is not None,
        "genre": controls.tags.genre,
        "mood": controls.tags.mood,
        "dynamics": controls.dynamics and [[lattice.tick(at) + lead, level] for at, level in controls.dynamics.points],
        "spans": {
            kind: [[lattice.tick(span.start) + lead, lattice.tick(span.end) + lead] for span in spans]
            for kind in KINDS
            if (spans := controls.spans.of(kind)) is not None
        },
    }
    yield 0, 0, MetaMessage("text", text=_OURS + json.dumps(ours))
    if controls.key is not None:
        name = (_MAJOR if controls.key.mode == "major" else _MINOR)[controls.key.tonic]
        yield 0, 1, MetaMessage("key_signature", key=name)
    first = grid.metres[0]
    yield 0, 2, MetaMessage("time_signature", numerator=first.count, denominator=first.unit)
    place, bar = 0.0, 0
    for before, after in zip(grid.metres, grid.metres[1:], strict=False):
        place, bar = place + (after.bar - bar) * before.quarters, after.bar
        tick = round(place * TICKS) + lead
        yield tick, 2, MetaMessage("time_signature", numerator=after.count, denominator=after.unit)
    for n, tempo in enumerate(grid.tempos):
        tick = round(tempo.quarter * TICKS) + lead if n else 0
        yield tick, 3, MetaMessage("set_tempo", tempo=microseconds(tempo.qpm))
    chords = controls.chords or ()
    for n, chord in enumerate(chords):
        yield lattice.tick(chord.start) + lead, 5, MetaMessage("marker", text=chord.label)
        if n + 1 == len(chords) or chords[n + 1].start > chord.end:
            yield lattice.tick(chord.end) + lead, 4, MetaMessage("marker", text=NO_CHORD)


def _notes(track: Track, channel: int, lattice: Lattice, lead: int) -> Iterable[tuple[int, int, Any]]:
    from mido import Message, MetaMessage

    yield 0, 0, MetaMessage("track_name", name=track.name.encode("latin-1", "replace").decode("latin-1"))
    yield 0, 1, Message("program_change", channel=channel, program=track.program)
    for note in lattice.moved(track.notes):
        first, last = lattice.tick(note.start) + lead, lattice.tick(note.end) + lead
        yield last, 2, Message("note_off", channel=channel, note=note.pitch)
        yield first, 3, Message("note_on", channel=channel, note=note.pitch, velocity=note.velocity)


def _timed(events: list[tuple[int, int, Any]], end: int) -> Any:
    """A track of messages at absolute ticks, with its end."""
    import mido

    events.sort(key=lambda event: event[:2])
    track, now = mido.MidiTrack(), 0
    for tick, _, message in events:
        track.append(message.copy(time=tick - now))
        now = tick
    track.append(mido.MetaMessage("end_of_track", time=max(0, end - now)))
    return track


# ----------------------------------------------------------------------------------------------------------- reading


@dataclass
class _Heard:
    """What a file says, at absolute ticks."""

    ours: dict[str, Any] | None = None
    key: Key | None = None
    tempos: dict[int, int] = field(default_factory=dict)
    metres: dict[int, tuple[int, int]] = field(default_factory=dict)
    markers: list[tuple[int, str]] = field(default_factory=list)
    tracks: list[tuple[str, int, bool, list[tuple[int, int, int, int]]]] = field(default_factory=list)
    end: int = 0


def read_midi(path: str | Path) -> tuple[Controls, tuple[Track, ...]]:
    """Controls and tracks of a MIDI file; raises UserError for a file that is absent, too large, broken or silent."""
    path = Path(path)
    if not path.is_file():
        raise UserError("there is no such file", where=path.name, remedy="give the path of a MIDI file")
    if path.stat().st_size > MOST_BYTES:
        raise UserError(
            f"the file has {path.stat().st_size / 2**20:.0f} MiB", where=path.name, remedy="give one of at most 4 MiB"
        )
    return from_midi(path.read_bytes(), path.name)


def sounding(controls: Controls, tracks: Sequence[Track]) -> tuple[Track, ...]:
    """The tracks that play, first of them the melody that is asked for, where no track plays it already."""
    if not controls.melody:
        return tuple(tracks)
    for track in tracks:
        played = {(note.pitch, round(500 * note.start) + k) for note in track.notes for k in (-1, 0, 1)}  # within 2 ms
        if all((note.pitch, round(500 * note.start)) in played for note in controls.melody):
            return tuple(tracks)
    return (Track(MELODY, controls.melody), *tracks)


def from_midi(body: bytes, where: str = "MIDI") -> tuple[Controls, tuple[Track, ...]]:
    """The inverse of `to_midi`; of a foreign file, what can be read from it (see the module)."""
    file = _parsed(body, where)
    try:
        return _controls(_heard(file), file.ticks_per_beat)
    except UserError as error:
        place = where if error.where in ("", where) else f"{where}, {error.where}"
        raise UserError(error.what, where=place, remedy=error.remedy) from None


def _parsed(body: bytes, where: str) -> Any:
    import mido

    if not body:
        raise UserError("the file is empty", where=where, remedy="give a MIDI file")
    if body[:4] != b"MThd":
        raise UserError("is not a MIDI file", where=where, remedy="give a standard MIDI file (.mid)")
    try:
        file = mido.MidiFile(file=io.BytesIO(body))
    except MemoryError:
        raise
    except Exception:  # a parser that meets damaged bytes may raise anything
        raise UserError("the MIDI file is cut short or damaged", where=where, remedy=_REMEDY) from None
    if file.type not in (0, 1) or not 0 < file.ticks_per_beat < 0x8000:
        raise UserError("is a MIDI file without one common beat", where=where, remedy=_REMEDY)
    return file


def _heard(file: Any) -> _Heard:
    heard = _Heard()
    for number, track in enumerate(file.tracks):
        name, now = "", 0
        programs: dict[int, int] = {}
        open_: dict[tuple[int, int], deque[tuple[int, int]]] = defaultdict(deque)
        notes: dict[int, list[tuple[int, int, int, int]]] = defaultdict(list)  # channel -> start, end, pitch, velocity
        for message in track:
            now += message.time
            kind = message.type
            if kind == "note_on" and message.velocity:
                open_[message.channel, message.note].append((now, message.velocity))
            elif kind in ("note_on", "note_off"):
                if waiting := open_[message.channel, message.note]:
                    start, velocity = waiting.popleft()
                    notes[message.channel].append((start, now, message.note, velocity))
            elif kind == "program_change":
                programs.setdefault(message.channel, message.program)
            elif kind == "track_name":
                name = name or message.name
            else:
                _meta(heard, message, now)
        for (channel, pitch), waiting in open_.items():
            notes[channel] += [(start, now, pitch, velocity) for start, velocity in waiting]
        heard.end = max(heard.end, now)
        for channel, found in sorted(notes.items()):
            called = name or f"track {number}"
            drums = channel == DRUMS
            heard.tracks.append((called, programs.get(channel, 0), drums, [n for n in found if n[1] > n[0]]))
    return heard


def _meta(heard: _Heard, message: Any, now: int) -> None:
    if message.type == "set_tempo":
        heard.tempos[now] = message.tempo
    elif message.type == "time_signature":
        heard.metres[now] = (message.numerator, message.denominator)
    elif message.type == "key_signature" and heard.key is None:
        names = {**{name: n for n, name in enumerate(_MAJOR)}, **{name: n for n, name in enumerate(_MINOR)}, **_OTHERS}
        heard.key = Key(names[message.key], "minor" if message.key.endswith("m") else "major")
    elif message.type == "marker":
        heard.markers.append((now, message.text))
    elif message.type == "text" and message.text.startswith(_OURS) and heard.ours is None:
        try:
            found = json.loads(message.text.removeprefix(_OURS))
            heard.ours = found if isinstance(found, dict) and found.get("version") == 1 else None
        except (ValueError, RecursionError):
            heard.ours = None


def _controls(heard: _Heard, per_quarter: int) -> tuple[Controls, tuple[Track, ...]]:
    ours = heard.ours or {}
    bounds = (-(10**9), 10**9)
    downbeat, zero = (
        checks.whole(ours.get(key, 0), *bounds, "text", f"the tick {key}") for key in ("downbeat", "zero")
    )
    grid = _grid(heard, per_quarter, downbeat)
    grid = replace(grid, start=0.0 - grid.seconds_at((zero - downbeat) / per_quarter))

    def seconds(tick: int) -> float:
        return max(0.0, grid.seconds_at((tick - downbeat) / per_quarter))

    def heard_notes(raw: Iterable[tuple[int, int, int, int]]) -> tuple[Note, ...]:
        return tuple(Note(seconds(a), seconds(b), pitch, v) for a, b, pitch, v in raw if seconds(b) > seconds(a))

    last = max([heard.end, *(note[1] for track in heard.tracks for note in track[3])])
    end = checks.whole(ours.get("length", last), *bounds, "text", "the tick length")
    length = checks.real(seconds(end), SHORTEST, checks.LONGEST, "length", "the length", "seconds")
    if heard.ours is None and not any(track[3] for track in heard.tracks):
        raise UserError("holds no notes", remedy="give a MIDI file with notes")
    checks.few([note for track in heard.tracks for note in track[3]], "notes")
    tracks = [Track(name, heard_notes(raw), program, drums) for name, program, drums, raw in heard.tracks if raw]
    sung = _melody(tracks, heard.ours)
    if heard.ours is not None:
        tracks = [track for track in tracks if track is not sung]
    melody = None
    if sung is not None or ours.get("melody") == 0:
        line = skyline(sung.notes) if sung else ()
        melody = tuple(replace(note, end=min(note.end, length)) for note in line if note.start < length)
    if heard.ours is None:
        dynamics = Dynamics(_velocities(sung.notes, length)) if sung else None
        return (
            Controls(length=length, melody=melody, dynamics=dynamics, grid=grid, chords=None, key=heard.key),
            tuple(tracks),
        )

    def spans(kind: str) -> tuple[Span, ...] | None:
        given = ours["spans"].get(kind)
        return None if given is None else tuple(Span(seconds(first), seconds(last)) for first, last in given)

    try:
        points = ours["dynamics"] and tuple((seconds(tick), level) for tick, level in ours["dynamics"])
        return (
            Controls(
                length=length,
                melody=melody,
                dynamics=Dynamics(points) if points else None,
                grid=grid if ours["grid"] else None,
                chords=_chords(heard.markers, seconds, length) if ours["chords"] else None,
                key=heard.key,
                tags=Tags(ours["genre"], ours["mood"]),
                spans=Spans(**{kind: spans(kind) for kind in KINDS}),
            ),
            tuple(tracks),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError("the suite's own text event is damaged", where="text", remedy="remove that event") from None


def _grid(heard: _Heard, per_quarter: int, downbeat: int) -> BeatGrid:
    """Tempo map and metres; the first of each holds from the first downbeat, whatever came in front of it."""
    first = PLAIN.metres[0]
    metres = {0: first}
    place, bar = 0.0, 0  # tick and number of a bar of the file
    held = first
    for tick, (count, unit) in sorted(heard.metres.items()):
        bars = max(0, math.ceil((tick - place) / (held.quarters * per_quarter) - 1e-9))
        place, bar = place + bars * held.quarters * per_quarter, bar + bars
        held = Metre(bar, count, unit)
        metres[bar] = held
    lead = round(downbeat / (metres[0].quarters * per_quarter))  # whole bars in front of the first downbeat
    shifted = {max(0, bar - lead): metre for bar, metre in sorted(metres.items())}
    tempos = {0: PLAIN.tempos[0].qpm}
    for tick, micro in sorted(heard.tempos.items()):
        tempos[max(0, tick - downbeat)] = tempo_of(micro)
    return BeatGrid(
        tuple(Tempo(tick / per_quarter, qpm) for tick, qpm in tempos.items()),
        tuple(replace(metre, bar=bar) for bar, metre in shifted.items()),
    )


def _melody(tracks: Sequence[Track], ours: dict[str, Any] | None) -> Track | None:
    """The track that holds the melody, if any."""
    if ours is not None:
        return next((track for track in tracks if track.name == MELODY), None) if ours.get("melody") else None
    tonal = [track for track in tracks if not track.drums and track.notes]
    named = [track for track in tonal if MELODIC.search(track.name)]
    return max(
        named or tonal, key=lambda track: sum(note.pitch for note in track.notes) / len(track.notes), default=None
    )


def _chords(markers: Sequence[tuple[int, str]], seconds: Any, length: float) -> tuple[Chord, ...]:
    said = [(seconds(tick), label) for tick, label in markers if ":" in label or label == NO_CHORD]
    starts = [*said, (length, NO_CHORD)]
    return tuple(
        Chord.named(label, start, min(after[0], length))
        for (start, label), after in zip(said, starts[1:], strict=True)
        if label != NO_CHORD and start < min(after[0], length)
    )


def _velocities(notes: Sequence[Note], length: float) -> tuple[tuple[float, float], ...]:
    """Break points at the notes' starts; of notes that begin together the hardest counts."""
    hardest: dict[float, int] = {}
    for note in notes:
        if note.start <= length:
            hardest[note.start] = max(note.velocity, hardest.get(note.start, 0))
    return tuple(
        (start, max(QUIETEST, LOUDEST_NOTE + 40 * math.log10(velocity / 127))) for start, velocity in hardest.items()
    )
