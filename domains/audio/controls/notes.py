"""Notes, and tracks of them; pitches are MIDI numbers (60 is middle C, C4), times are seconds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, Final

from domains.audio.controls import checks

NAMES: Final = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")  # pitch classes 0 to 11
MODES: Final = ("major", "minor")
SCALES: Final = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10)}  # natural minor


@dataclass(frozen=True, order=True)
class Note:
    """One note.

    start, end   seconds, 0 <= start < end
    pitch        MIDI number, 0 to 127
    velocity     how hard it is struck, 1 to 127 (MIDI's velocity 0 means silence, hence is no note)
    """

    start: float
    end: float
    pitch: int
    velocity: int = 80

    def __post_init__(self) -> None:
        start, end = checks.times(self.start, self.end, "note")
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "end", end)
        object.__setattr__(self, "pitch", checks.whole(self.pitch, 0, 127, "note", "the pitch"))
        object.__setattr__(self, "velocity", checks.whole(self.velocity, 1, 127, "note", "the velocity"))

    @property
    def pitch_class(self) -> int:
        """0 (C) to 11 (B)."""
        return self.pitch % 12

    @property
    def name(self) -> str:
        """As in C4 for 60."""
        return f"{NAMES[self.pitch % 12]}{self.pitch // 12 - 1}"

    @property
    def frequency(self) -> float:
        """Hz, equal temperament, A4 = 440 Hz."""
        return float(440.0 * 2.0 ** ((self.pitch - 69) / 12))


@dataclass(frozen=True)
class Track:
    """Notes of one instrument, of any number at a time, sorted by start.

    name     as a MIDI file shows it
    program  General MIDI program, 0 to 127 (without meaning for drums)
    drums    whether pitches are General MIDI percussion keys (36 bass drum, 38 snare, 42 closed hi-hat ...)
    """

    name: str
    notes: tuple[Note, ...]
    program: int = 0
    drums: bool = False

    def __post_init__(self) -> None:
        checks.few(self.notes, f"track {self.name}")
        object.__setattr__(self, "notes", tuple(sorted(self.notes)))
        object.__setattr__(self, "program", checks.whole(self.program, 0, 127, f"track {self.name}", "the program"))


@dataclass(frozen=True)
class Key:
    """Tonic (pitch class, 0 is C) and mode, `major` or `minor`."""

    tonic: int
    mode: str = "major"

    def __post_init__(self) -> None:
        object.__setattr__(self, "tonic", checks.whole(self.tonic, 0, 11, "key", "the tonic"))
        object.__setattr__(self, "mode", checks.word(self.mode, MODES, "key", "the mode"))

    @property
    def name(self) -> str:
        """As in `A minor`."""
        return f"{NAMES[self.tonic]} {self.mode}"

    @property
    def pitch_classes(self) -> frozenset[int]:
        """The seven of its scale (natural minor)."""
        return frozenset((self.tonic + step) % 12 for step in SCALES[self.mode])

    @classmethod
    def named(cls, name: Any) -> Key:
        """The inverse of `name`; raises UserError."""
        words = {f"{tonic} {mode}": cls(n, mode) for n, tonic in enumerate(NAMES) for mode in MODES}
        checks.word(name, tuple(words), "key", "the key")
        return words[name]


def skyline(notes: Iterable[Note]) -> tuple[Note, ...]:
    """One note at a time out of many: how a melody is taken from a polyphonic track.

    A higher note cuts the one that is held. A lower one that begins under it waits for its end, as in legato playing,
    unless more than half of it would be lost: then it is an inner voice and left out. Velocities stay.
    """
    kept: list[Note] = []
    for note in sorted(notes, key=lambda note: (note.start, -note.pitch)):
        held = kept[-1] if kept else None
        if held is None or held.end <= note.start:
            kept.append(note)
        elif note.pitch > held.pitch and note.start > held.start:
            kept[-1] = replace(held, end=note.start)
            kept.append(note)
        elif note.end - held.end >= (note.end - note.start) / 2:
            kept.append(replace(note, start=held.end))
    return tuple(kept)
