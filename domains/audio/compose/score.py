"""An exact score: notes on a grid of sixteenths, and everything that is true of the piece they belong to.

Time is counted in quarter notes from the start of the piece; seconds come from the tempo map and the swing alone:

    seconds(q) = integral of 60 / tempo over the swung place of q
    swing s    moves the middle of each unit u to s u, and what lies between along with it; 0.5 is straight

Beats never swing, since a unit begins and ends on one. Velocities follow the dynamics curve: a note's level in dB below
full velocity is what the curve says at its onset, plus the accent of its place in the bar and a small variation.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

ROLES: Final = ("melody", "chords", "bass", "drums")
STEP: Final = 0.25  # quarter notes: the grid of sixteenths
METRES: Final = {"4/4": (4, 4), "3/4": (3, 4), "6/8": (6, 8)}
NOTES: Final = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
SCALES: Final = {
    "major": (0, 2, 4, 5, 7, 9, 11),
    "lydian": (0, 2, 4, 6, 7, 9, 11),
    "mixolydian": (0, 2, 4, 5, 7, 9, 10),
    "dorian": (0, 2, 3, 5, 7, 9, 10),
    "minor": (0, 2, 3, 5, 7, 8, 10),
    "phrygian": (0, 1, 3, 5, 7, 8, 10),
    "harmonic": (0, 2, 3, 5, 7, 8, 11),
}
MAJOR_LIKE: Final = ("major", "lydian", "mixolydian")  # modes with a major third over the tonic
CHORDS: Final = {  # semitones over the root
    "maj": (0, 4, 7),
    "min": (0, 3, 7),
    "dim": (0, 3, 6),
    "aug": (0, 4, 8),
    "maj7": (0, 4, 7, 11),
    "min7": (0, 3, 7, 10),
    "7": (0, 4, 7, 10),
    "hdim7": (0, 3, 6, 10),
    "dim7": (0, 3, 6, 9),
}
VELOCITY_DB: Final = 40.0  # level of a velocity v: 40 log10(v / 127) dB, the law of General MIDI


def velocity_of(level: ArrayLike) -> NDArray:
    """MIDI velocities 1..127 of levels in dB below full velocity."""
    return np.clip(np.rint(127 * 10 ** (np.asarray(level, float) / VELOCITY_DB)), 1, 127).astype(np.int64)


def level_of(velocity: ArrayLike) -> NDArray:
    """Levels in dB below full velocity of MIDI velocities 1..127."""
    return VELOCITY_DB * np.log10(np.asarray(velocity, float) / 127)


@dataclass(frozen=True, eq=False)
class Notes:
    """n notes, ordered by onset, then track, then pitch.

    onset, duration  (n,) float64 quarter notes, duration > 0
    pitch            (n,) int MIDI 0..127; on a drum track the key of General MIDI's percussion map
    velocity         (n,) int 1..127
    track            (n,) int index into the tracks of the score
    """

    onset: NDArray
    duration: NDArray
    pitch: NDArray
    velocity: NDArray
    track: NDArray

    def __len__(self) -> int:
        return len(self.onset)

    @classmethod
    def of(cls, rows: ArrayLike) -> Notes:
        """Notes of rows (onset, duration, pitch, velocity, track) in any order."""
        table = np.asarray(rows, float).reshape(-1, 5)
        table = table[np.lexsort((table[:, 2], table[:, 4], table[:, 0]))]
        whole = table[:, 2:].astype(np.int64)
        return cls(table[:, 0], table[:, 1], whole[:, 0], whole[:, 1], whole[:, 2])

    def take(self, rows: NDArray) -> Notes:
        """Some of the notes: indices or a mask."""
        return Notes(**{name: value[rows] for name, value in vars(self).items()})

    @property
    def end(self) -> NDArray:
        """(n,) quarter notes at which each note ends."""
        return self.onset + self.duration


@dataclass(frozen=True)
class Track:
    """role of ROLES; General MIDI program 0..127 (ignored on drums); pan -1 left .. 1 right; gain in dB of the mix."""

    role: str
    program: int
    pan: float = 0.0
    gain: float = 0.0

    @property
    def drums(self) -> bool:
        """Whether pitches name drums."""
        return self.role == "drums"


@dataclass(frozen=True, eq=False)
class Tempo:
    """Piecewise constant: from place[k] on, bpm[k] quarter notes a minute; place[0] = 0."""

    place: NDArray
    bpm: NDArray

    def seconds(self, quarters: ArrayLike) -> NDArray:
        """Seconds of places in quarter notes, beyond the last change at its tempo."""
        q = np.asarray(quarters, float)
        starts = np.concatenate([[0.0], np.cumsum(np.diff(self.place) * 60 / self.bpm[:-1])])
        part = np.clip(np.searchsorted(self.place, q, side="right") - 1, 0, len(self.place) - 1)
        return starts[part] + (q - self.place[part]) * 60 / self.bpm[part]

    def quarters(self, seconds: ArrayLike) -> NDArray:
        """The inverse of `seconds`."""
        t, starts = np.asarray(seconds, float), self.seconds(self.place)
        part = np.clip(np.searchsorted(starts, t, side="right") - 1, 0, len(starts) - 1)
        return self.place[part] + (t - starts[part]) * self.bpm[part] / 60


@dataclass(frozen=True, eq=False)
class Harmony:
    """m chords that follow one another: onset, duration (m,) quarter notes; root (m,) pitch class; degree (m,) 1..7;
    quality, m words of CHORDS."""

    onset: NDArray
    duration: NDArray
    root: NDArray
    degree: NDArray
    quality: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.onset)

    def at(self, quarters: ArrayLike) -> NDArray:
        """Index of the chord that sounds at each place."""
        return np.clip(np.searchsorted(self.onset, np.asarray(quarters) + 1e-9, side="right") - 1, 0, len(self) - 1)

    def index(self, quarters: float) -> int:
        """`at` for one place."""
        return max(bisect_right(self._starts, quarters + 1e-9) - 1, 0)

    @cached_property
    def _starts(self) -> list[float]:
        return list(self.onset.tolist())

    def classes(self, index: int) -> tuple[int, ...]:
        """Pitch classes of one chord, root first."""
        return tuple((int(self.root[index]) + step) % 12 for step in CHORDS[self.quality[index]])


@dataclass(frozen=True, eq=False)
class Score:
    """One piece.

    tempo           in quarter notes; a beat of 6/8 is a dotted quarter
    tonic, mode     0 is C; mode of SCALES
    dynamics        (bars * steps of a bar + 1,) dB below full velocity as asked, at each sixteenth, linear between
    form            one letter a phrase of `phrase` bars; equal letters carry equal material
    swing           (share, unit in quarter notes)
    room            0..1: how much reverberation belongs to the style
    maker           seed, index and split it was composed from
    """

    notes: Notes
    tracks: tuple[Track, ...]
    tempo: Tempo
    metre: str
    bars: int
    tonic: int
    mode: str
    harmony: Harmony
    dynamics: NDArray
    form: str
    phrase: int
    genre: str
    mood: str
    swing: tuple[float, float]
    room: float
    maker: tuple[int, int, str]

    @property
    def bar(self) -> float:
        """Quarter notes of a bar."""
        upper, lower = METRES[self.metre]
        return upper * 4 / lower

    @property
    def beat(self) -> float:
        """Quarter notes of a felt beat: a dotted quarter in 6/8."""
        return 1.5 if self.metre == "6/8" else 1.0

    @property
    def length(self) -> float:
        """Quarter notes of the piece."""
        return self.bars * self.bar

    @property
    def seconds_in_all(self) -> float:
        """Seconds from the first beat to the end of the last bar."""
        return float(self.tempo.seconds(self.length))

    @property
    def scale(self) -> tuple[int, ...]:
        """The seven pitch classes of the key, tonic first."""
        return tuple((self.tonic + step) % 12 for step in SCALES[self.mode])

    @property
    def key(self) -> str:
        """Such as "D minor"."""
        return f"{NOTES[self.tonic]} {self.mode}"

    def swung(self, quarters: ArrayLike) -> NDArray:
        """Where the places are played, in quarter notes."""
        q, (share, unit) = np.asarray(quarters, float), self.swing
        start = np.floor(q / unit + 1e-9) * unit
        part = (q - start) / unit
        return start + unit * np.where(part < 0.5, 2 * share * part, share + (2 * part - 1) * (1 - share))

    def seconds(self, quarters: ArrayLike) -> NDArray:
        """When a note at these places is played."""
        return self.tempo.seconds(self.swung(quarters))

    def beats(self) -> NDArray:
        """Seconds of all beats."""
        return self.tempo.seconds(np.arange(0, self.length - 1e-9, self.beat))

    def downbeats(self) -> NDArray:
        """Seconds of the first beat of every bar."""
        return self.tempo.seconds(np.arange(self.bars) * self.bar)

    def level(self, quarters: ArrayLike) -> NDArray:
        """The dynamics asked at these places, dB below full velocity."""
        steps = np.arange(len(self.dynamics)) * STEP
        return np.interp(np.asarray(quarters, float), steps, self.dynamics)

    def part(self, role: str) -> Notes:
        """The notes of all tracks with a role."""
        wanted = [index for index, track in enumerate(self.tracks) if track.role == role]
        return self.notes.take(np.isin(self.notes.track, wanted))

    def to_json(self) -> dict[str, Any]:
        """The whole score as plain JSON."""
        notes, chords = self.notes, self.harmony
        return {
            "genre": self.genre,
            "mood": self.mood,
            "key": self.key,
            "metre": self.metre,
            "bars": self.bars,
            "form": self.form,
            "phrase_bars": self.phrase,
            "swing": list(self.swing),
            "room": self.room,
            "tempo": [[q, b] for q, b in zip(self.tempo.place.tolist(), self.tempo.bpm.tolist(), strict=True)],
            "tracks": [dict(vars(track)) for track in self.tracks],
            "chords": [
                [float(chords.onset[k]), float(chords.duration[k]), NOTES[chords.root[k]], chords.quality[k]]
                for k in range(len(chords))
            ],
            "dynamics_db": [round(value, 3) for value in self.dynamics.tolist()],
            "notes": [
                [float(notes.onset[k]), float(notes.duration[k]), *(int(v[k]) for v in columns)]
                for columns in [(notes.pitch, notes.velocity, notes.track)]
                for k in range(len(notes))
            ],
            "maker": dict(zip(("seed", "index", "split"), self.maker, strict=True)),
        }
