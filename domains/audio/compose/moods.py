"""What makes a mood: mode, place in the genre's range of tempo, level and its course, density, register, touch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SHAPES: Final = ("level", "rise", "fall", "arch", "swell", "terraces", "surge")


@dataclass(frozen=True)
class Mood:
    """A mood.

    modes    chances of modes of SCALES;  pace  0 the slowest, 1 the fastest tempo of the genre
    level    dB below full velocity;  shape  of SHAPES, one is drawn, over `span` dB
    busy     factor of the melody's notes;  register  semitones;  gate  sounding share of a note
    leaps    chance that the melody leaps;  sevenths  more of them;  drums  share of strokes that stay
    octaves  melody doubled an octave below;  repeats  chance that a tone is said twice;  room  more of it
    """

    modes: Mapping[str, float]
    pace: float
    level: float
    shape: tuple[str, ...]
    span: float
    busy: float = 1.0
    register: int = 0
    gate: float = 0.8
    leaps: float = 0.25
    sevenths: float = 0.0
    drums: float = 1.0
    octaves: bool = False
    repeats: float = 0.0
    room: float = 0.0


MOODS_TABLE: Final[Mapping[str, Mood]] = {
    "happy": Mood({"major": 0.8, "mixolydian": 0.2}, 0.7, -7, ("level", "swell"), 4, 1.1, 4, 0.7),
    "sad": Mood({"minor": 0.8, "harmonic": 0.2}, 0.1, -14, ("fall",), 8, 0.6, -3, 1.0, 0.1, drums=0.5, room=0.1),
    "calm": Mood({"major": 1.0}, 0.0, -19, ("arch", "level"), 4, 0.45, 0, 1.0, 0.1, drums=0.35, room=0.1),
    "energetic": Mood(
        {"mixolydian": 0.6, "dorian": 0.4}, 1.0, -3, ("level", "terraces"), 3, 1.8, 2, 0.55, 0.3, repeats=0.2
    ),
    "dark": Mood({"phrygian": 0.7, "minor": 0.3}, 0.3, -9, ("rise", "swell"), 8, 0.8, -12, 0.9, 0.15, drums=0.8),
    "romantic": Mood({"major": 0.8, "harmonic": 0.2}, 0.25, -12, ("arch",), 9, 0.9, 2, 1.0, 0.5, 0.8, 0.6, room=0.1),
    "tense": Mood({"harmonic": 0.7, "phrygian": 0.3}, 0.8, -9, ("rise", "surge"), 12, 1.5, 0, 0.35, 0.1, repeats=0.6),
    "epic": Mood({"minor": 0.7, "dorian": 0.3}, 0.5, -5, ("rise",), 9, 0.8, 7, 0.95, 0.4, octaves=True, room=0.2),
    "playful": Mood(
        {"major": 0.5, "lydian": 0.3, "mixolydian": 0.2},
        0.9,
        -11,
        ("terraces", "level"),
        6,
        1.3,
        12,
        0.3,
        0.6,
        0.0,
        0.7,
    ),
    "dreamy": Mood({"lydian": 0.9, "major": 0.1}, 0.2, -15, ("swell",), 7, 0.6, 9, 1.0, 0.35, 0.7, 0.3, room=0.35),
}
