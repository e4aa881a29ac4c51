"""The checks that every part of the control language makes of its numbers: finite, in range, in order."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeVar

from shared.errors import UserError

LONGEST: Final = 1800.0  # seconds of a clip
MOST: Final = 50_000  # notes, points, beats or chords of one control


class Timed(Protocol):
    """Something that starts and ends."""

    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...


Part = TypeVar("Part")
Item = TypeVar("Item", bound=Timed)


def real(value: Any, low: float, high: float, where: str, what: str, unit: str = "") -> float:
    """A finite number from low to high, as a float; raises UserError that names what, value and range."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise UserError(f"{what} is {_shown(value)}, which is not a finite number", where=where, remedy="give a number")
    if not low <= value <= high:
        said = f" {unit}" if unit else ""
        raise UserError(
            f"{what} is {value:g}{said}", where=where, remedy=f"give a value from {low:g} to {high:g}{said}"
        )
    return float(value)


def whole(value: Any, low: int, high: int, where: str, what: str) -> int:
    """A whole number from low to high."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or value != int(value):
        raise UserError(f"{what} is {_shown(value)}", where=where, remedy="give a whole number")
    if not low <= value <= high:
        raise UserError(f"{what} is {int(value)}", where=where, remedy=f"give a whole number from {low} to {high}")
    return int(value)


def word(value: Any, allowed: Sequence[str], where: str, what: str) -> str:
    """One of the allowed words."""
    if value not in allowed:
        raise UserError(f"{what} is {_shown(value)}", where=where, remedy=f"give one of {', '.join(allowed)}")
    return str(value)


def times(start: Any, end: Any, where: str) -> tuple[float, float]:
    """Start and end in seconds, 0 <= start < end."""
    first = real(start, 0.0, LONGEST, where, "the start", "seconds")
    last = real(end, 0.0, LONGEST, where, "the end", "seconds")
    if not first < last:
        raise UserError(
            f"starts at {first:g} s and ends at {last:g} s", where=where, remedy="let it end after it starts"
        )
    return first, last


def in_order(items: Sequence[Item], length: float, where: str) -> tuple[Item, ...]:
    """The items sorted by start; raises UserError when two overlap or one leaves the clip of `length` seconds."""
    few(items, where)
    ordered = tuple(sorted(items, key=lambda item: (item.start, item.end)))
    for n, item in enumerate(ordered):
        if item.end > length:
            raise UserError(
                f"ends at {item.end:g} s, the clip at {length:g} s",
                where=f"{where}[{n}]",
                remedy="end it with the clip",
            )
        if n and item.start < ordered[n - 1].end:
            raise UserError(
                f"starts at {item.start:g} s, before the one in front of it ends at {ordered[n - 1].end:g} s",
                where=f"{where}[{n}]",
                remedy="let them follow one another",
            )
    return ordered


def few(items: Sequence[Any], where: str) -> None:
    """Refuse more than `MOST` entries."""
    if len(items) > MOST:
        raise UserError(f"has {len(items)} entries", where=where, remedy=f"give at most {MOST}")


def placed(make: Callable[[], Part], where: str) -> Part:
    """What `make` makes; a UserError from inside is raised again with this place."""
    try:
        return make()
    except UserError as error:
        raise UserError(error.what, where=where, remedy=error.remedy) from None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
