"""Chords: root and quality over a span of time, named as Harte does (`C:maj`, `F#:min7`) and mir_eval reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from domains.audio.controls import checks
from domains.audio.controls.notes import NAMES

# Semitones above the root.
QUALITIES: Final = {
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "dim": (0, 3, 6),
    "aug": (0, 4, 8),
    "sus2": (0, 2, 7),
    "sus4": (0, 5, 7),
    "maj7": (0, 4, 7, 11),
    "7": (0, 4, 7, 10),
    "min7": (0, 3, 7, 10),
    "hdim7": (0, 3, 6, 10),
    "dim7": (0, 3, 6, 9),
    "min6": (0, 3, 7, 9),
}
_FLATS: Final = {"Db": 1, "Eb": 3, "Fb": 4, "Gb": 6, "Ab": 8, "Bb": 10, "Cb": 11, "E#": 5, "B#": 0}


@dataclass(frozen=True, order=True)
class Chord:
    """A chord that holds from start to end (seconds); times without a chord are left free by leaving them out.

    root      pitch class, 0 is C
    quality   one of `QUALITIES`
    """

    start: float
    end: float
    root: int
    quality: str = "maj"

    def __post_init__(self) -> None:
        start, end = checks.times(self.start, self.end, "chord")
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "end", end)
        object.__setattr__(self, "root", checks.whole(self.root, 0, 11, "chord", "the root"))
        object.__setattr__(self, "quality", checks.word(self.quality, tuple(QUALITIES), "chord", "the quality"))

    @property
    def label(self) -> str:
        """As in `A:min7`."""
        return f"{NAMES[self.root]}:{self.quality}"

    @property
    def pitch_classes(self) -> tuple[int, ...]:
        """Its notes, the root first."""
        return tuple((self.root + step) % 12 for step in QUALITIES[self.quality])

    @classmethod
    def named(cls, label: Any, start: float, end: float) -> Chord:
        """The inverse of `label`; reads flats too, and `C` alone as C major. Raises UserError."""
        root, _, quality = label.partition(":") if isinstance(label, str) else ("", "", "")
        roots = {**{name: n for n, name in enumerate(NAMES)}, **_FLATS}
        checks.word(root, tuple(roots), "chord", "the root")
        return cls(start, end, roots[root], quality or "maj")
