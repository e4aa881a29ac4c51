"""Spans: when each control binds. Outside its spans a control says nothing, and the model is free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from domains.audio.controls import checks

KINDS: Final = ("melody", "dynamics", "rhythm", "chords")  # the controls that vary over time, in the order of masks


@dataclass(frozen=True, order=True)
class Span:
    """From start to end, seconds; the end is not part of it."""

    start: float
    end: float

    def __post_init__(self) -> None:
        start, end = checks.times(self.start, self.end, "span")
        object.__setattr__(self, "start", start)
        object.__setattr__(self, "end", end)


@dataclass(frozen=True)
class Spans:
    """For each control, the spans in which it binds: None is the whole clip, () is nowhere. Sorted, not overlapping."""

    melody: tuple[Span, ...] | None = None
    dynamics: tuple[Span, ...] | None = None
    rhythm: tuple[Span, ...] | None = None
    chords: tuple[Span, ...] | None = None

    def of(self, kind: str) -> tuple[Span, ...] | None:
        """The spans of one of `KINDS`."""
        found: tuple[Span, ...] | None = getattr(self, kind)
        return found

    def inside(self, length: float) -> Spans:
        """Sorted; raises UserError when spans of one control overlap or leave the clip."""
        checked = {}
        for kind in KINDS:
            given = self.of(kind)
            checked[kind] = None if given is None else checks.in_order(given, length, f"spans.{kind}")
        return Spans(**checked)
