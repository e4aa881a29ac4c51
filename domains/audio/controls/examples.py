"""Built-in controls, `example:NAME`: a theme that is typed, a curve, a beat, chains of chords; 4 or 8 bars."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from domains.audio.controls.beats import BeatGrid
from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import Dynamics
from domains.audio.controls.notes import Key, Note
from domains.audio.controls.spans import Span, Spans
from domains.audio.controls.spelling import strip
from domains.audio.controls.tags import Tags

# Beethoven, symphony no. 9 (1824), the theme of its finale, four bars: pitch and quarter notes.
ODE: Final = (
    *((76, 1), (76, 1), (77, 1), (79, 1), (79, 1), (77, 1), (76, 1), (74, 1)),
    *((72, 1), (72, 1), (74, 1), (76, 1), (76, 1.5), (74, 0.5), (74, 2)),
)
# A hook of this project over the chords of `jazz`.
LINE: Final = ((74, 0.5), (77, 0.5), (81, 1.5), (79, 0.5), (77, 1), (76, 0.5), (72, 0.5), (71, 0.5), (74, 0.5), (77, 2))


def tune(notes: Sequence[tuple[int | None, float]], grid: BeatGrid, start: float = 0.0) -> tuple[Note, ...]:
    """Pitches (None is a rest) and lengths in quarter notes, one after the other from position `start`, in seconds of
    a grid."""
    made, place = [], start
    for pitch, quarters in notes:
        if pitch is not None:
            made.append(Note(grid.seconds_at(place), grid.seconds_at(place + quarters), pitch))
        place += quarters
    return tuple(made)


def theme() -> Controls:
    """Ode to Joy, its first four bars, piano to forte; the chords are left free."""
    grid = BeatGrid.steady(120.0)
    length = grid.bars_last(4)
    return Controls(
        length=length,
        melody=tune(ODE, grid),
        dynamics=Dynamics.shape("linear", length, middle=-24.0, span=10.0),
        grid=grid,
        key=Key(0),
        tags=Tags("classical", "happy"),
    )


def curve() -> Controls:
    """Dynamics alone: they swell and fall twice, the second time higher."""
    grid = BeatGrid.steady(90.0)
    length = grid.bars_last(4)
    levels = (-36.0, -24.0, -34.0, -15.0, -38.0)
    points = tuple((length * n / (len(levels) - 1), level) for n, level in enumerate(levels))
    return Controls(length=length, dynamics=Dynamics(points), grid=grid, tags=Tags("ambient", "calm"))


def beat() -> Controls:
    """Rhythm alone, 124 beats a minute, with a crescendo into the last bar."""
    grid = BeatGrid.steady(124.0)
    length = grid.bars_last(4)
    levels = Dynamics(((0.0, -22.0), (grid.bars_last(3), -22.0), (length, -16.0)))
    return Controls(length=length, dynamics=levels, grid=grid, tags=Tags("electronic", "energetic"))


def jazz() -> Controls:
    """ii V I VI in C with four bars, a melody over the first two, the rest of it free."""
    grid = BeatGrid.steady(132.0)
    length = grid.bars_last(4)
    controls = Controls(
        length=length,
        melody=tune(LINE, grid),
        grid=grid,
        chords=strip("Dm7 | G7 | Cmaj7 | A7", grid, length),
        key=Key(0),
        tags=Tags("jazz", "playful"),
    )
    return replace(controls, spans=Spans(melody=(Span(0.0, grid.bars_last(2)),)))


def waltz() -> Controls:
    """Chords in 3/4, minor, with a fall of the dynamics to the end."""
    grid = BeatGrid.steady(108.0, "3/4")
    length = grid.bars_last(8)
    return Controls(
        length=length,
        dynamics=Dynamics.shape("cosine", length, middle=-22.0, span=9.0, falling=True),
        grid=grid,
        chords=strip("Am | Am | Dm | Dm | E7 | E7 | Am | Am", grid, length),
        key=Key(9, "minor"),
        tags=Tags("classical", "romantic"),
    )


EXAMPLES: Final[dict[str, Callable[[], Controls]]] = {
    "theme": theme,
    "curve": curve,
    "beat": beat,
    "jazz": jazz,
    "waltz": waltz,
}
