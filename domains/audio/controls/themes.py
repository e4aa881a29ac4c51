"""Ten themes in the public domain as notes that are typed, each cut in two: melodies as Music ControlNet is asked.

Each theme has its composer, work, year, key and metre; a cut lasts whole bars, about six seconds at the tempo given. A
theme in 2/4 is written in 4/4, two bars in one. Upbeats before the first bar and grace notes are left away.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from domains.audio.controls.beats import BeatGrid, Metre
from domains.audio.controls.controls import Controls
from domains.audio.controls.examples import ODE, tune
from domains.audio.controls.notes import Key

Line = tuple[tuple[int | None, float], ...]  # pitch, None for a rest, and quarter notes
R: Final = None


@dataclass(frozen=True)
class Theme:
    """notes   from the first downbeat, whole bars;  bpm  felt beats a minute;  cuts  (first bar, bars) of each"""

    composer: str
    work: str
    year: str
    key: Key
    metre: str
    bpm: float
    notes: Line
    cuts: tuple[tuple[int, int], tuple[int, int]]

    @property
    def bars(self) -> float:
        """Bars that the notes fill."""
        return sum(length for _, length in self.notes) / Metre.named(self.metre).quarters


def eighths(*pitches: int | None) -> Line:
    """Pitches that last an eighth each."""
    return tuple((pitch, 0.5) for pitch in pitches)


def quarters(*pitches: int | None) -> Line:
    """Pitches that last a quarter each."""
    return tuple((pitch, 1.0) for pitch in pitches)


def sixteenths(*pitches: int | None) -> Line:
    """Pitches that last a sixteenth each."""
    return tuple((pitch, 0.25) for pitch in pitches)


# One line a bar.
_CANON: Final = (
    *quarters(78, 76, 74, 73),
    *quarters(71, 69, 71, 73),
    *quarters(74, 73, 71, 69),
    *quarters(67, 66, 67, 64),
)
_MINUET: Final = (
    *((74, 1.0), *eighths(67, 69, 71, 72)),
    *quarters(74, 67, 67),
    *((76, 1.0), *eighths(72, 74, 76, 78)),
    *quarters(79, 67, 67),
    *((72, 1.0), *eighths(74, 72, 71, 69)),
    *((71, 1.0), *eighths(72, 71, 69, 67)),
    *((66, 1.0), *eighths(67, 69, 71, 67)),
    *((69, 3.0),),
)
_SURPRISE: Final = (
    *(*eighths(72, 72, 76, 76), *eighths(79, 79), (76, 1.0)),
    *(*eighths(77, 77, 74, 74), *eighths(71, 71), (67, 1.0)),
    *(*eighths(72, 72, 76, 76), *eighths(79, 79), (76, 1.0)),
    *(*eighths(84, 84, 78, 78), (79, 1.0), (R, 1.0)),
)
_HYMN: Final = (
    *((67, 1.5), (69, 0.5), (71, 1.0), (69, 1.0)),
    *((72, 1.0), (71, 1.0), *eighths(69, 66), (67, 1.0)),
    *quarters(76, 74, 72, 71),
    *((69, 1.0), *eighths(71, 67), (74, 2.0)),
)
_G_MINOR: Final = (
    *((74, 1.0), *eighths(75, 74), (74, 1.0), *eighths(75, 74)),
    *((74, 1.0), (82, 1.0), (R, 1.0), *eighths(82, 81)),
    *((79, 1.0), *eighths(79, 77), (75, 1.0), *eighths(75, 74)),
    *((72, 1.0), (72, 1.0), (R, 1.0), *eighths(74, 72)),
    *((72, 1.0), *eighths(74, 72), (72, 1.0), *eighths(74, 72)),
    *((72, 1.0), (81, 1.0), (R, 1.0), *eighths(81, 79)),
    *((78, 1.0), *eighths(78, 75), (74, 1.0), *eighths(74, 72)),
    *((70, 1.0), (70, 1.0), (R, 2.0)),
)
_TURKISH: Final = (
    *((72, 0.5), (R, 0.5), *sixteenths(74, 72, 71, 72), (76, 0.5), (R, 0.5), *sixteenths(77, 76, 75, 76)),
    *(*sixteenths(83, 81, 80, 81, 83, 81, 80, 81), (84, 1.0), *eighths(81, 84)),
    *eighths(83, 81, 79, 81, 83, 81, 79, 81),
    *(*eighths(83, 81, 79, 78), (76, 1.0), (R, 1.0)),
)
_ODE: Final = (
    *((pitch + 2, length) for pitch, length in ODE),  # the example has it in C
    *quarters(78, 78, 79, 81),
    *quarters(81, 79, 78, 76),
    *quarters(74, 74, 76, 78),
    *((76, 1.5), (74, 0.5), (74, 2.0)),
)
_FESTGESANG: Final = (
    *((62, 1.0), (67, 1.0), (67, 1.5), (66, 0.5)),
    *quarters(67, 71, 71, 69),
    *((74, 1.0), (74, 1.0), (74, 1.5), (72, 0.5)),
    *((71, 1.0), (69, 1.0), (71, 2.0)),
    *((62, 1.0), (67, 1.0), (67, 1.5), (66, 0.5)),
    *quarters(67, 71, 71, 69),
    *((74, 1.0), (69, 1.0), (69, 1.5), (66, 0.5)),
    *((66, 1.0), (64, 1.0), (62, 2.0)),
)
_HALL: Final = (
    *(*eighths(59, 61, 62, 64, 66, 62), (66, 1.0)),
    *(*eighths(65, 61), (65, 1.0), *eighths(64, 60), (64, 1.0)),
    *eighths(59, 61, 62, 64, 66, 62, 66, 71),
    *(*eighths(69, 66, 62, 66), (69, 2.0)),
)
_MORNING: Final = (
    *eighths(83, 80, 78, 76, 78, 80),
    *(*eighths(83, 80, 78, 76), *sixteenths(78, 80, 78, 80)),
    *eighths(83, 80, 83, 85, 80, 85),
    *(*eighths(83, 80, 78), (76, 1.5)),
)

THEMES: Final[dict[str, Theme]] = {
    "canon": Theme(
        "Johann Pachelbel", "Canon in D, first violin", "about 1690", Key(2), "4/4", 80, _CANON, ((0, 2), (2, 2))
    ),
    "minuet": Theme(
        "Christian Petzold",
        "Minuet in G, BWV Anh. 114 in the notebook of Anna Magdalena Bach",
        "1725",
        Key(7),
        "3/4",
        120,
        _MINUET,
        ((0, 4), (4, 4)),
    ),
    "surprise": Theme(
        "Joseph Haydn",
        "Symphony no. 94, second movement",
        "1791",
        Key(0),
        "4/4",
        80,
        _SURPRISE,
        ((0, 2), (2, 2)),
    ),
    "hymn": Theme(
        "Joseph Haydn",
        "Gott erhalte Franz den Kaiser, Hob. XXVIa:43",
        "1797",
        Key(7),
        "4/4",
        84,
        _HYMN,
        ((0, 2), (2, 2)),
    ),
    "g_minor": Theme(
        "Wolfgang Amadeus Mozart",
        "Symphony no. 40, K. 550, first movement",
        "1788",
        Key(7, "minor"),
        "4/4",
        168,
        _G_MINOR,
        ((0, 4), (4, 4)),
    ),
    "turkish": Theme(
        "Wolfgang Amadeus Mozart",
        "Piano sonata no. 11, K. 331, Alla turca",
        "about 1783",
        Key(9, "minor"),
        "4/4",
        92,
        _TURKISH,
        ((0, 2), (2, 2)),
    ),
    "ode": Theme(
        "Ludwig van Beethoven",
        "Symphony no. 9, op. 125, finale",
        "1824",
        Key(2),
        "4/4",
        160,
        _ODE,
        ((0, 4), (4, 4)),
    ),
    "festgesang": Theme(
        "Felix Mendelssohn Bartholdy",
        "Festgesang, second number: Vaterland, in deinen Gauen",
        "1840",
        Key(7),
        "4/4",
        144,
        _FESTGESANG,
        ((0, 4), (4, 4)),
    ),
    "hall": Theme(
        "Edvard Grieg",
        "Peer Gynt, op. 23: In the hall of the mountain king",
        "1875",
        Key(11, "minor"),
        "4/4",
        126,
        _HALL,
        ((0, 3), (1, 3)),
    ),
    "morning": Theme(
        "Edvard Grieg", "Peer Gynt, op. 23: Morning", "1875", Key(4), "6/8", 60, _MORNING, ((0, 3), (1, 3))
    ),
}


def theme_melody(name: str, cut: int) -> Controls:
    """A cut, 0 or 1, of one of `THEMES`: melody, beat grid and key, the rest left free."""
    theme = THEMES[name]
    first, count = theme.cuts[cut]
    grid = BeatGrid.steady(theme.bpm, theme.metre)
    whole = Controls(length=grid.bars_last(round(theme.bars)), melody=tune(theme.notes, grid), grid=grid, key=theme.key)
    return whole.crop(grid.bars_last(first) if first else 0.0, grid.bars_last(first + count))
