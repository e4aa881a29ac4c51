"""The beat grid: tempo map and metres, and where beats and bars fall in seconds.

Positions are counted in quarter notes from the first downbeat (bar 0, beat 0), times in seconds of the clip. Between
two tempo changes `seconds = start of the segment + quarters * 60 / qpm`. In compound metres (6/8, 9/8, 12/8) a beat
is a dotted quarter, everywhere else the metre's unit.
"""

from __future__ import annotations

import bisect
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from domains.audio.controls import checks
from shared.errors import UserError

SLOWEST, FASTEST = 10.0, 960.0  # quarter notes a minute
UNITS: Final = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True, order=True)
class Tempo:
    """From position `quarter` on, `qpm` quarter notes a minute (10 to 960)."""

    quarter: float
    qpm: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "quarter", checks.real(self.quarter, 0.0, 1e6, "tempo", "the position", "quarters"))
        object.__setattr__(
            self, "qpm", checks.real(self.qpm, SLOWEST, FASTEST, "tempo", "the tempo", "quarters a minute")
        )


@dataclass(frozen=True, order=True)
class Metre:
    """From bar `bar` (0 is the first) on, bars of `count` notes of 1/`unit`: Metre(0, 6, 8) is 6/8."""

    bar: int
    count: int
    unit: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "bar", checks.whole(self.bar, 0, 100_000, "metre", "the bar"))
        object.__setattr__(self, "count", checks.whole(self.count, 1, 32, "metre", "the number of beats in a bar"))
        object.__setattr__(self, "unit", checks.whole(self.unit, 1, 32, "metre", "the note that the metre counts"))
        if self.unit not in UNITS:
            raise UserError(
                f"{self.count}/{self.unit} is no metre", where="metre", remedy="count in 1, 2, 4, 8, 16 or 32"
            )

    @property
    def quarters(self) -> float:
        """Quarter notes in a bar."""
        return 4.0 * self.count / self.unit

    @property
    def beat(self) -> float:
        """Quarter notes in a beat: three units in compound metres."""
        compound = self.unit >= 8 and self.count > 3 and self.count % 3 == 0
        return (3 if compound else 1) * 4.0 / self.unit

    @property
    def beats(self) -> int:
        """Beats in a bar."""
        return round(self.quarters / self.beat)

    @property
    def name(self) -> str:
        return f"{self.count}/{self.unit}"

    @classmethod
    def named(cls, name: str, bar: int = 0) -> Metre:
        """`3/4`, `6/8` ...; raises UserError for what is no metre."""
        count, _, unit = name.partition("/") if isinstance(name, str) else ("", "", "")
        if not (count.strip().isdecimal() and unit.strip().isdecimal()):
            raise UserError(f"{name!r} is no metre", where="metre", remedy="write it as 4/4, 3/4 or 6/8")
        return cls(bar, int(count), int(unit))


@dataclass(frozen=True)
class BeatGrid:
    """Where beats and bars are.

    tempos   sorted, the first at quarter 0
    metres   sorted, the first at bar 0
    start    seconds of the first downbeat; negative when the clip begins inside a bar, at least minus one bar
    """

    tempos: tuple[Tempo, ...]
    metres: tuple[Metre, ...] = (Metre(0, 4, 4),)
    start: float = 0.0

    def __post_init__(self) -> None:
        tempos, metres = tuple(sorted(self.tempos)), tuple(sorted(self.metres))
        object.__setattr__(self, "tempos", tempos)
        object.__setattr__(self, "metres", metres)
        for places, where, what in (
            ([tempo.quarter for tempo in tempos], "tempos", "quarter"),
            ([metre.bar for metre in metres], "metres", "bar"),
        ):
            checks.few(places, where)
            if not places or places[0] != 0:
                raise UserError(
                    f"{where} begin nowhere", where=f"grid.{where}", remedy=f"let the first begin at {what} 0"
                )
            if len(set(places)) < len(places):
                raise UserError(
                    f"two {where} begin at the same {what}", where=f"grid.{where}", remedy="keep one of them"
                )
        object.__setattr__(
            self,
            "start",
            checks.real(self.start, -checks.LONGEST, checks.LONGEST, "grid.start", "the start", "seconds"),
        )
        bar = metres[0].quarters * 60 / tempos[0].qpm
        if self.start <= -bar - 1e-9:
            raise UserError(
                f"starts {-self.start:g} s before the clip, a bar has {bar:g} s",
                where="grid.start",
                remedy="let it start less than one bar before the clip",
            )

    @classmethod
    def steady(cls, bpm: float, metre: str = "4/4", start: float = 0.0) -> BeatGrid:
        """One tempo, in felt beats a minute (dotted quarters in 6/8), and one metre."""
        first = Metre.named(metre)
        checks.real(bpm, SLOWEST, FASTEST, "tempo", "the tempo", "beats a minute")
        return cls((Tempo(0.0, bpm * first.beat),), (first,), start)

    @classmethod
    def through(cls, beats: Sequence[float], metre: str = "4/4", downbeat: int = 0) -> BeatGrid:
        """The grid whose beats are at these seconds, the tempo held from one to the next and after the last.

        downbeat   which of the beats is the first downbeat, 0 to beats a bar - 1; earlier ones are a pickup
        Raises UserError for fewer than two beats, disorder, or a step whose tempo is out of range.
        """
        first = Metre.named(metre)
        if len(beats) < 2:
            raise UserError(f"{len(beats)} beats make no tempo", where="grid", remedy="give two beats or more")
        steps = np.diff(np.asarray(beats, dtype=np.float64))
        if not (steps > 0).all():
            raise UserError("the beats are not in order", where="grid", remedy="give them from first to last")
        pickup = (first.beats - downbeat) % first.beats  # beats of the bar that lie before the first one given
        qpm = [60.0 * first.beat / step for step in steps]
        tempos = [Tempo(0.0, float(qpm[0]))]
        for n, each in enumerate(qpm[1:], start=1 + pickup):
            if float(each) != tempos[-1].qpm:
                tempos.append(Tempo(n * first.beat, float(each)))
        return cls(tuple(tempos), (first,), float(beats[0]) - pickup * float(steps[0]))

    def _metre(self, bar: int) -> Metre:
        return self.metres[bisect.bisect_right(self.metres, bar, key=lambda metre: metre.bar) - 1]

    # ------------------------------------------------------------------------------------------ positions and seconds

    @cached_property
    def _segments(self) -> tuple[list[float], list[float]]:
        """Quarter and second at which each tempo begins."""
        quarters, seconds = [0.0], [self.start]
        for before, after in zip(self.tempos, self.tempos[1:], strict=False):
            seconds.append(seconds[-1] + (after.quarter - before.quarter) * 60.0 / before.qpm)
            quarters.append(after.quarter)
        return quarters, seconds

    def seconds_at(self, quarter: float) -> float:
        """Seconds of a position in quarter notes; negative positions go on at the first tempo."""
        quarters, seconds = self._segments
        n = max(0, bisect.bisect_right(quarters, quarter) - 1)
        return seconds[n] + (quarter - quarters[n]) * 60.0 / self.tempos[n].qpm

    def quarter_at(self, seconds: float) -> float:
        """Position in quarter notes of a time in seconds, the inverse of `seconds_at`."""
        quarters, starts = self._segments
        n = max(0, bisect.bisect_right(starts, seconds) - 1)
        return quarters[n] + (seconds - starts[n]) * self.tempos[n].qpm / 60.0

    def bars(self, length: float) -> Iterator[tuple[float, Metre]]:
        """Position in quarters and metre of every bar that begins before `length` seconds."""
        position, bar = 0.0, 0
        while self.seconds_at(position) < length - 1e-9:
            metre = self._metre(bar)
            yield position, metre
            position, bar = position + metre.quarters, bar + 1

    def bars_last(self, count: int) -> float:
        """Seconds that the first `count` bars last: the exact length of a loop."""
        position = 0.0
        for bar in range(count):
            position += self._metre(bar).quarters
        return self.seconds_at(position) - self.start

    def later(self, seconds: float) -> BeatGrid:
        """The same grid moved by these seconds, or earlier when negative; whole bars that lie before 0 are left out."""
        origin, first = 0.0, 0  # quarter and number of the bar that will be the first
        while self.seconds_at(origin + self._metre(first).quarters) + seconds <= 1e-9:
            origin, first = origin + self._metre(first).quarters, first + 1
        held = bisect.bisect_right(self.tempos, origin, key=lambda tempo: tempo.quarter) - 1
        return BeatGrid(
            (
                Tempo(0.0, self.tempos[held].qpm),
                *(Tempo(tempo.quarter - origin, tempo.qpm) for tempo in self.tempos[held + 1 :]),
            ),
            (
                dataclasses.replace(self._metre(first), bar=0),
                *(dataclasses.replace(each, bar=each.bar - first) for each in self.metres if each.bar > first),
            ),
            self.seconds_at(origin) + seconds,
        )

    def beats(self, length: float) -> NDArray[np.float64]:
        """Seconds of every beat in [0, length), downbeats among them."""
        found = [self.seconds_at(bar + n * metre.beat) for bar, metre in self.bars(length) for n in range(metre.beats)]
        return _inside(found, length)

    def downbeats(self, length: float) -> NDArray[np.float64]:
        """Seconds of the first beat of every bar in [0, length)."""
        return _inside([self.seconds_at(bar) for bar, _ in self.bars(length)], length)


def _inside(seconds: list[float], length: float) -> NDArray[np.float64]:
    """Those in [0, length), where rounding may have put the first just below 0 or the end just below the length."""
    found = np.asarray(seconds, dtype=np.float64)
    return np.maximum(found[(found > -1e-9) & (found < length - 1e-9)], 0.0)
