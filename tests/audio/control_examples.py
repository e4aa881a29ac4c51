"""Controls drawn at random, valid ones, for tests that hold for all of them."""

from __future__ import annotations

from hypothesis import strategies as st

from domains.audio.controls.beats import BeatGrid, Metre, Tempo
from domains.audio.controls.chords import QUALITIES, Chord
from domains.audio.controls.controls import Controls
from domains.audio.controls.dynamics import Dynamics
from domains.audio.controls.notes import MODES, Key, Note
from domains.audio.controls.spans import KINDS, Span, Spans
from domains.audio.controls.tags import GENRES, MOODS, Tags

NAMES = ("2/4", "3/4", "4/4", "5/4", "6/8", "7/8", "12/8", "3/2")


def between(low: float, high: float):
    """Finite floats, none of them smaller than anyone can hear or MIDI can tell."""
    return st.floats(low, high, allow_nan=False).map(lambda x: round(x, 6))


@st.composite
def parts(draw, length: float, most: int = 5):
    """Pairs of start and end, in order, apart or touching, inside the clip."""
    ends = sorted(set(draw(st.lists(between(0.0, length), max_size=2 * most))))
    pairs = list(zip(ends, ends[1:], strict=False))
    return [pair for pair in pairs if draw(st.booleans())]


@st.composite
def grids(draw, length: float):
    places = sorted(draw(st.sets(between(0.1, 40.0), max_size=3)))
    tempos = [Tempo(q, draw(between(30.0, 300.0))) for q in (0.0, *places)]
    bars = sorted(draw(st.sets(st.integers(1, 12), max_size=2)))
    metres = [Metre.named(draw(st.sampled_from(NAMES)), bar) for bar in (0, *bars)]
    bar = metres[0].quarters * 60 / tempos[0].qpm
    return BeatGrid(tuple(tempos), tuple(metres), draw(between(-0.99 * bar, 0.9 * length)))


@st.composite
def controls(draw):
    length = draw(between(0.5, 30.0))
    sure = parts(length)
    notes = [Note(a, b, draw(st.integers(0, 127)), draw(st.integers(1, 127))) for a, b in draw(sure)]
    chords = [Chord(a, b, draw(st.integers(0, 11)), draw(st.sampled_from(list(QUALITIES)))) for a, b in draw(sure)]
    points = [
        (at, draw(between(-80.0, 0.0))) for at in sorted(draw(st.sets(between(0.0, length), min_size=1, max_size=6)))
    ]
    spans = {kind: tuple(Span(a, b) for a, b in draw(sure)) if draw(st.booleans()) else None for kind in KINDS}
    perhaps = st.booleans()
    return Controls(
        length=length,
        melody=tuple(notes) if draw(perhaps) else None,
        dynamics=Dynamics(tuple(points)) if draw(perhaps) else None,
        grid=draw(grids(length)) if draw(perhaps) else None,
        chords=tuple(chords) if draw(perhaps) else None,
        key=Key(draw(st.integers(0, 11)), draw(st.sampled_from(MODES))) if draw(perhaps) else None,
        tags=Tags(draw(st.sampled_from((None, *GENRES))), draw(st.sampled_from((None, *MOODS)))),
        spans=Spans(**spans),
    )
