"""Controls: everything a musician asks of a clip, in one frozen value that checks itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Final

from domains.audio.controls import checks
from domains.audio.controls.beats import BeatGrid, Tempo
from domains.audio.controls.chords import Chord
from domains.audio.controls.dynamics import Dynamics
from domains.audio.controls.notes import Key, Note
from domains.audio.controls.spans import KINDS, Span, Spans
from domains.audio.controls.tags import Tags
from shared.errors import UserError

SHORTEST: Final = 0.05  # seconds of a clip


@dataclass(frozen=True, kw_only=True)
class Controls:
    """What a clip is asked to be; a part that is None is not asked for.

    length     seconds of the clip, 0.05 to 1800; `samples(rate)` is the same at a sample rate
    melody     one note at a time; () asks for a clip without a melody, None asks for nothing
    dynamics   loudness in dB over time
    grid       beats and bars (the control called `rhythm` in spans and curves)
    chords     sorted, not overlapping; gaps are free
    key        tonic and mode
    tags       genre and mood
    spans      when each control binds
    Raises UserError for notes, chords, points or spans that overlap or leave the clip.
    """

    length: float
    melody: tuple[Note, ...] | None = None
    dynamics: Dynamics | None = None
    grid: BeatGrid | None = None
    chords: tuple[Chord, ...] | None = None
    key: Key | None = None
    tags: Tags = field(default_factory=Tags)
    spans: Spans = field(default_factory=Spans)

    def __post_init__(self) -> None:
        length = checks.real(self.length, SHORTEST, checks.LONGEST, "length", "the length", "seconds")
        object.__setattr__(self, "length", length)
        if self.melody is not None:
            object.__setattr__(self, "melody", checks.in_order(self.melody, length, "melody"))
        if self.chords is not None:
            object.__setattr__(self, "chords", checks.in_order(self.chords, length, "chords"))
        if self.dynamics is not None and self.dynamics.points[-1][0] > length:
            raise UserError(
                f"the curve ends at {self.dynamics.points[-1][0]:g} s, the clip at {length:g} s",
                where="dynamics",
                remedy="end it with the clip",
            )
        if self.grid is not None and self.grid.start >= length:
            raise UserError(
                f"starts at {self.grid.start:g} s, the clip ends at {length:g} s",
                where="grid.start",
                remedy="start it inside the clip",
            )
        object.__setattr__(self, "spans", self.spans.inside(length))

    def samples(self, rate: int) -> int:
        """Samples of the clip at a sample rate, to the nearest: what a loop has, exactly."""
        return round(self.length * rate)

    def given(self, kind: str) -> bool:
        """Whether one of `KINDS` is asked for anywhere."""
        value = self.grid if kind == "rhythm" else getattr(self, kind)
        return value is not None and self.spans.of(kind) != ()

    def bound(self, kind: str) -> tuple[Span, ...]:
        """The spans in which one of `KINDS` binds: none when not asked for, the whole clip when nothing is said."""
        if not self.given(kind):
            return ()
        said = self.spans.of(kind)
        return (Span(0.0, self.length),) if said is None else said

    def only(self, *kinds: str) -> Controls:
        """The same with other controls than these left out."""
        gone = {("grid" if kind == "rhythm" else kind): None for kind in KINDS if kind not in kinds}
        return replace(self, **gone)  # type: ignore[arg-type]

    def at_tempo(self, bpm: float) -> Controls:
        """Everything stretched so that the first tempo becomes `bpm` felt beats a minute and the music stays the same.

        Raises UserError when there is no grid, or the clip would grow longer than 1800 s.
        """
        if self.grid is None:
            raise UserError("there is no beat grid", where="tempo", remedy="give a tempo first")
        checks.real(bpm, 10.0, 960.0, "tempo", "the tempo", "beats a minute")
        faster = bpm * self.grid.metres[0].beat / self.grid.tempos[0].qpm
        tempos = tuple(Tempo(tempo.quarter, tempo.qpm * faster) for tempo in self.grid.tempos)
        grid = BeatGrid(tempos, self.grid.metres, self.grid.start / faster)
        length = self.length / faster

        def moved(seconds: float) -> float:
            return min(seconds / faster, length)

        def stretched(spans: tuple[Span, ...] | None) -> tuple[Span, ...] | None:
            return None if spans is None else tuple(Span(moved(s.start), moved(s.end)) for s in spans)

        return Controls(
            length=length,
            melody=self.melody
            and tuple(replace(note, start=moved(note.start), end=moved(note.end)) for note in self.melody),
            dynamics=self.dynamics and Dynamics(tuple((moved(at), level) for at, level in self.dynamics.points)),
            grid=grid,
            chords=self.chords
            and tuple(replace(chord, start=moved(chord.start), end=moved(chord.end)) for chord in self.chords),
            key=self.key,
            tags=self.tags,
            spans=Spans(**{kind: stretched(self.spans.of(kind)) for kind in KINDS}),
        )

    def crop(self, start: float, end: float) -> Controls:
        """The part from start to end (seconds), which begins at 0; what crosses a border is cut there."""
        start, end = max(0.0, start), min(end, self.length)
        length = checks.real(end - start, SHORTEST, checks.LONGEST, "crop", "the length", "seconds")

        def cut(items: tuple[Note, ...] | tuple[Chord, ...] | tuple[Span, ...] | None) -> tuple | None:
            if items is None:
                return None
            return tuple(
                replace(item, start=max(item.start - start, 0.0), end=min(item.end - start, length))
                for item in items
                if item.start < end
                and item.end > start
                and min(item.end - start, length) > max(item.start - start, 0.0)
            )

        points = None
        if self.dynamics is not None:
            inner = [(at - start, level) for at, level in self.dynamics.points if start < at < end]
            ends = self.dynamics.at([start, end]).tolist()
            inner = [point for point in inner if 0.0 < point[0] < length]
            points = Dynamics(((0.0, ends[0]), *inner, (length, ends[1])))
        grid = None if self.grid is None else self.grid.later(-start)
        return Controls(
            length=length,
            melody=cut(self.melody),
            dynamics=points,
            grid=None if grid is None or grid.start >= length else grid,
            chords=cut(self.chords),
            key=self.key,
            tags=self.tags,
            spans=Spans(**{kind: cut(self.spans.of(kind)) for kind in KINDS}),
        )
